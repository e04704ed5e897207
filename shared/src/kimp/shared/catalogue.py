"""The list of all settings, made from :mod:`kimp.shared.settings`, and the check of one value against it.

A refusal is one sentence with the place (file and key, or variable), what stood there, and what would be right.
"""

from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec

from kimp.shared.errors import ConfigurationError
from kimp.shared.setting import Setting
from kimp.shared.settings import OFFICIAL_HOSTS, SecretStr, Settings

PREFIX = "KIMP__"
SECRET_LENGTH_MIN = 8  # shorter ones cannot be blacked out in logs without shredding ordinary words
UNENCRYPTED = {"https": "http", "wss": "ws"}

Key = tuple[str, str]
"""Section and name of a setting."""


@dataclass(frozen=True, slots=True)
class Field:
    """One setting of the catalogue: its key, type, default, and what is to be known about it."""

    section: str
    name: str
    type: Any
    default: Any
    about: Setting

    @property
    def variable(self) -> str:
        return f"{PREFIX}{self.section}__{self.name}".upper()

    @property
    def is_secret(self) -> bool:
        return self.type is SecretStr

    @property
    def is_url(self) -> bool:
        return self.about.unit == "URL"

    @property
    def choices(self) -> tuple[str, ...]:
        return get_args(self.type) if get_origin(self.type) is Literal else ()


@cache
def catalogue() -> dict[Key, Field]:
    """Every setting by (section, name), in the order of the documentation."""
    fields: dict[Key, Field] = {}
    for section in msgspec.structs.fields(Settings):
        hints = get_type_hints(section.type, include_extras=True)
        for field in msgspec.structs.fields(section.type):
            hint = hints[field.name]
            assert get_origin(hint) is Annotated, f"{section.name}.{field.name} has no Setting"
            kind, about, *_ = get_args(hint)
            fields[section.name, field.name] = Field(section.name, field.name, kind, field.default, about)
    return fields


def default(field: Field) -> Any:
    """The value of a setting nobody set."""
    return field.default.expanduser() if isinstance(field.default, Path) else field.default


def convert(field: Field, raw: Any, origin: str) -> Any:
    """The checked value of a setting from what a file, a variable or a command line says.

    Raises:
        ConfigurationError: it is of another kind or out of bounds.
    """
    if field.is_secret:
        if len(raw) < SECRET_LENGTH_MIN:
            raise ConfigurationError(f"{origin} is shorter than {SECRET_LENGTH_MIN} characters; that is no secret")
        return SecretStr(raw)
    try:
        value = msgspec.convert(raw, field.type, strict=False, dec_hook=_to_path)
        acceptable = _is_within(field, value)
    except (msgspec.ValidationError, TypeError):
        acceptable = False
    if not acceptable:
        raise ConfigurationError(f"{_place(field, origin)} is {_show(raw)}, but must be {expectation(field)}")
    return value


def _to_path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str) and value:
        return Path(value).expanduser()
    raise TypeError(f"no {kind.__name__} can be made of {value!r}")


def _is_within(field: Field, value: Any) -> bool:
    if isinstance(value, Decimal) and not value.is_finite():
        return False
    low, high = field.about.at_least, field.about.at_most
    return (low is None or value >= low) and (high is None or value <= high)


def expectation(field: Field) -> str:
    """What a setting accepts, in words: ``a number from 0.01 to 0.95``."""
    if field.choices:
        return "one of " + ", ".join(field.choices)
    kinds = {
        bool: "true or false",
        int: "a whole number",
        Decimal: "a number",
        Path: "a path",
        str: "text",
        SecretStr: "text",
    }
    low, high = field.about.at_least, field.about.at_most
    return kinds[field.type] + (f" from {low} to {high}" if low is not None else "")


def _place(field: Field, origin: str) -> str:
    return origin if origin.startswith(PREFIX) else f"{field.section}.{field.name} in {origin}"


def _show(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


def check_url(field: Field, url: str, origin: str, *, foreign_allowed: bool) -> None:
    """A base URL is where keys and orders go: a venue's own host, this machine, or one expressly allowed.

    Raises:
        ConfigurationError: it is none of these, carries credentials, or leaves the machine unencrypted.
    """
    if not url and not field.default:
        return  # one that may be left out
    place = _place(field, origin)
    secure = urlsplit(field.default).scheme or "https"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigurationError(f"{place} is {url}, which is not a URL: {error}") from error
    if (
        parts.scheme not in (secure, UNENCRYPTED[secure])
        or not host
        or parts.username is not None
        or parts.password is not None
    ):
        raise ConfigurationError(
            f"{place} is {_show(url)}, but must be a URL like {field.default or 'https://host'}, without credentials"
        )
    if is_loopback(host):
        return
    if host in OFFICIAL_HOSTS and parts.scheme != secure:
        raise ConfigurationError(f"{place} is {url}, which is not encrypted; write {secure}:// instead")
    if host not in OFFICIAL_HOSTS and not foreign_allowed:
        raise ConfigurationError(
            f"{place} leads to {host}, which is neither the venue's nor this machine and would receive your API keys; "
            "if you mean it, set network.allow_foreign_urls = true"
        )


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this very machine."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
