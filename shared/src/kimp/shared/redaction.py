"""Blacks out secrets in anything that is about to be written where people or machines can read it.

Two nets: the secrets that are known, in every spelling they travel in (plain, URL-encoded, base64, hex, inside JSON),
and whatever looks like a credential although nobody announced it (a JWT, a Telegram token, an Authorization header).
"""

import base64
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

BLACK = "[REDACTED]"
DEPTH_MAX = 12  # deeper than any message we log; a structure that holds itself must end somewhere

_LOOKS_SECRET = (
    # JSON Web Token: Upbit's carries the access key in its payload
    re.compile(r"eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)?"),
    # Telegram bot token, also as it stands in the bot's URL: /bot123456789:AA…
    re.compile(r"(?<!\d)\d{6,12}:[A-Za-z0-9_-]{30,}"),
    re.compile(r"(?i)(?<=authorization)[\"']?\s*[:=]\s*[\"']?(?:(?:bearer|basic)\s+)?[^\s\"',}]+"),
    re.compile(r"(?i)(?<=x-mbx-apikey)[\"']?\s*[:=]\s*[\"']?[^\s\"',}]+"),
    re.compile(r"(?i)(?<=bearer )[A-Za-z0-9._~+/=-]{8,}"),
    re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"),  # the password in postgres://user:password@host
    re.compile(r"(?i)(?<=[?&]signature=)[0-9a-f]{16,}"),
)
_SECRET_KEY = re.compile(r"(?i)authorization|passw|secret|token|api_?-?key|access_?-?key|apikey|signature|cookie")


def scrub(text: str) -> str:
    """The text without whatever looks like a credential; for places that know no particular secret."""
    for pattern in _LOOKS_SECRET:
        text = pattern.sub(BLACK, text)
    return text


class Redactor:
    """Blacks out known secrets and whatever looks like one.

    Args:
        secrets: the plain values; empty ones are ignored.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets if secret for form in spellings(secret)}
        # longest first, or a short spelling would leave the rest of a longer one standing
        alternatives = "|".join(re.escape(form) for form in sorted(forms, key=lambda form: (-len(form), form)))
        self._known = re.compile(alternatives) if alternatives else None

    def text(self, text: str) -> str:
        """The text with every secret blacked out."""
        return scrub(self._known.sub(BLACK, text) if self._known else text)

    def value(self, value: Any, depth: int = 0) -> Any:
        """The same for nested data: numbers stay, containers are walked, all else becomes redacted text."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str | bytes):
            return self.text(value if isinstance(value, str) else value.decode(errors="backslashreplace"))
        if depth < DEPTH_MAX and isinstance(value, Mapping):
            return {self.text(str(key)): self._entry(key, item, depth) for key, item in value.items()}
        if depth < DEPTH_MAX and isinstance(value, list | tuple | set | frozenset):
            return [self.value(item, depth + 1) for item in value]
        return self.text(repr(value))

    def _entry(self, key: Any, item: Any, depth: int) -> Any:
        is_text = isinstance(item, str | bytes)
        return BLACK if is_text and item and _SECRET_KEY.search(str(key)) else self.value(item, depth + 1)


def spellings(secret: str) -> set[str]:
    """Every form in which a secret may appear in a line: plain, escaped, URL-encoded, hex, inside base64."""
    raw = secret.encode()
    forms = {secret, quote(secret, safe=""), quote_plus(secret), raw.hex(), raw.hex().upper()}
    forms |= {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    forms |= {repr(raw)[2:-1]}  # bytes inside something that is shown by its repr
    return forms | _base64_spellings(raw)


def _base64_spellings(raw: bytes) -> set[str]:
    """Base64 of the secret wherever it begins inside a longer text: only the characters it alone decides."""
    forms = set()
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw).decode().rstrip("=")
        first = (0, 2, 3)[offset]  # characters that also hold bits of what stands before
        last = len(encoded) - (1 if (offset + len(raw)) % 3 else 0)  # and one that may hold bits of what follows
        middle = encoded[first:last]
        forms |= {middle, middle.replace("+", "-").replace("/", "_")}
    return {form for form in forms if len(form) >= 6}  # shorter ones would black out ordinary words
