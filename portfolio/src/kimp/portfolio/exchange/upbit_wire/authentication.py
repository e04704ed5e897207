"""Checks that a request was signed by the owner of a key, the way Upbit does.

Upbit, "인증": the header is ``Authorization: Bearer <JWT>``, signed with HS512 (recommended) or HS256. Its payload::

    {"access_key":"…","nonce":"…","query_hash":"<SHA-512 in hex>","query_hash_alg":"SHA512"}

``query_hash`` is over the query string *as it reads before URL encoding* and in the order it was sent, for a POST over
the body's fields written in the same way; lists are ``uuids[]=a&uuids[]=b``. Requests without parameters have none.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

import msgspec

from kimp.portfolio.exchange.upbit_wire.errors import known
from kimp.portfolio.exchange.upbit_wire.keys import ApiKey, Permission
from kimp.shared.domain.time import Nanos

NONCES_MAX = 100_000
"""Nonces remembered per key; at the highest permitted rate of 42 requests a second that is the last forty minutes."""

TOKEN_LENGTH_MAX = 8_192
"""Longer than any token a client makes; whatever is longer is not worth decoding."""

_DIGESTS = {"HS512": hashlib.sha512, "HS256": hashlib.sha256}
_BEARER = "Bearer "


class Claim(msgspec.Struct):
    """What the token says."""

    access_key: str
    nonce: str
    query_hash: str | None = None
    query_hash_alg: str | None = None


class _Header(msgspec.Struct):
    alg: str


class Authenticator:
    """Knows the keys and remembers nonces; every failure is the error Upbit answers with."""

    def __init__(self, keys: Mapping[str, ApiKey]) -> None:
        self._keys = {key.access_key: key for key in keys.values()}
        self._nonces: dict[str, dict[str, None]] = {}

    def check(
        self, authorization: str | None, query: str, *, ip: str, now: Nanos, needed: Permission | None = None
    ) -> ApiKey:
        """The key a request was signed with.

        Args:
            authorization: the header's value.
            query: what the hash has to be over (``plain_query`` or ``plain_body``).
            ip: where the request comes from.
            now: the venue's time.
            needed: the permission the endpoint asks for.

        Raises:
            UpbitError: with the first thing that is wrong.
        """
        claim, key = self._verified(authorization)
        self._admit(key, ip, now)
        self._check_hash(claim, query)
        self._burn(key, claim.nonce)
        if needed is not None and needed not in key.permissions:
            raise known("out_of_scope")
        return key

    def check_socket(self, authorization: str | None, *, ip: str, now: Nanos) -> ApiKey:
        """The key a private WebSocket was opened with.

        Reconnecting with the same token is let through: widely used clients make one token per process.

        Raises:
            UpbitError: with the first thing that is wrong.
        """
        _, key = self._verified(authorization)
        self._admit(key, ip, now)
        return key

    def _verified(self, authorization: str | None) -> tuple[Claim, ApiKey]:
        if not authorization or not authorization.startswith(_BEARER):
            raise known("no_authorization_token")
        token = authorization.removeprefix(_BEARER)
        if len(token) > TOKEN_LENGTH_MAX:
            raise known("jwt_verification")
        signed, _, signature = token.rpartition(".")
        try:
            header_part, payload_part = signed.split(".")
            header = msgspec.json.decode(_unpack(header_part), type=_Header)
            claim = msgspec.json.decode(_unpack(payload_part), type=Claim)
            given = _unpack(signature)
        except (ValueError, msgspec.MsgspecError) as error:
            raise known("jwt_verification") from error
        digest = _DIGESTS.get(header.alg)  # never "none"
        key = self._keys.get(claim.access_key)
        if digest is None:
            raise known("jwt_verification")
        if key is None:
            raise known("invalid_access_key")
        if not hmac.compare_digest(hmac.new(key.secret.encode(), signed.encode(), digest).digest(), given):
            raise known("jwt_verification")
        return claim, key

    def _admit(self, key: ApiKey, ip: str, now: Nanos) -> None:
        if now >= key.expires_at:
            raise known("expired_access_key")
        if key.allowed_ips is not None and ip not in key.allowed_ips:
            raise known("no_authorization_ip")

    def _check_hash(self, claim: Claim, query: str) -> None:
        if not query and claim.query_hash is None:
            return
        expected = hashlib.sha512(query.encode()).hexdigest()
        given = (claim.query_hash or "").lower()
        is_known_way = claim.query_hash_alg in (None, "SHA512")
        if not is_known_way or not hmac.compare_digest(expected.encode(), given.encode()):
            raise known("invalid_query_payload")

    def _burn(self, key: ApiKey, nonce: str) -> None:
        used = self._nonces.setdefault(key.access_key, {})
        if nonce in used:
            raise known("nonce_used")
        used[nonce] = None
        if len(used) > NONCES_MAX:
            del used[next(iter(used))]


def plain_query(raw: str) -> str:
    """A query string as it read before it was encoded: ``states%5B%5D=wait`` is ``states[]=wait``."""
    return unquote_plus(raw)


def body_fields(raw: bytes) -> dict[str, Any]:
    """A POST's fields with numbers as they were written, so that ``1000.0`` does not become ``1000``.

    Raises:
        UpbitError: the body is no JSON object.
    """
    try:
        fields = json.loads(raw or b"{}", parse_float=str, parse_int=str)
    except (ValueError, RecursionError) as error:
        raise known("validation_error") from error
    if not isinstance(fields, dict) or not _is_text(plain_body(fields)):
        raise known("validation_error")
    return fields


def plain_body(fields: Mapping[str, Any]) -> str:
    """A body's fields written like a query string, in the order they were sent."""
    parts = []
    for name, value in fields.items():
        values = value if isinstance(value, list) else [value]
        label = f"{name}[]" if isinstance(value, list) else name
        parts += [f"{label}={_text(item)}" for item in values]
    return "&".join(parts)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _is_text(value: str) -> bool:
    r"""Whether it can be written at all: JSON's ``"\ud800"`` is half a character."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unpack(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))
