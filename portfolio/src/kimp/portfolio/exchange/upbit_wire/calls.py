"""One request to the REST API: its parameters, and the table of endpoints they go to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from kimp.portfolio.exchange.upbit_wire.errors import invalid
from kimp.portfolio.exchange.upbit_wire.keys import ApiKey, Permission
from kimp.shared.domain.time import Nanos

PARAMETERS_MAX = 300
"""More than any endpoint takes (100 ids and a few more)."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was let in."""

    now: Nanos
    query: Sequence[tuple[str, str]] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)
    path: Mapping[str, str] = field(default_factory=dict)
    key: ApiKey | None = None

    def text(self, name: str) -> str | None:
        """The last value given for a parameter, or ``None``; empty ones count as not given."""
        return next((value for given, value in reversed(self.query) if given == name), None) or None

    def texts(self, name: str) -> list[str]:
        """Every value of ``name[]``, and of ``name`` with commas in between."""
        listed = [value for given, value in self.query if given == f"{name}[]"]
        return listed or [part for part in (self.text(name) or "").split(",") if part]

    def required(self, name: str) -> str:
        """A parameter that must be there.

        Raises:
            UpbitError: it is not.
        """
        value = self.text(name)
        if value is None:
            raise invalid(f"{name} is missing")
        return value

    def count(self, name: str, default: int, maximum: int) -> int:
        """A positive number, cut to its maximum.

        Raises:
            UpbitError: it is no such number.
        """
        written = self.text(name)
        if written is None:
            return default
        if not written.isascii() or not written.isdigit() or len(written) > 9 or int(written) < 1:
            raise invalid(f"{name} does not have a valid value")
        return min(int(written), maximum)


def pairs(raw: str) -> list[tuple[str, str]]:
    """A query string's parameters in their order.

    Raises:
        UpbitError: there are too many.
    """
    try:
        return parse_qsl(raw, keep_blank_values=True, max_num_fields=PARAMETERS_MAX)
    except ValueError as error:
        raise invalid("too many parameters") from error


class Answer(msgspec.Struct, frozen=True):
    """What an endpoint says."""

    payload: Any
    status: int = 200


Endpoint = Callable[[Call], Answer]


class Route(msgspec.Struct, frozen=True):
    """One endpoint: ``is_private`` needs a signature, ``permission`` something of the key besides."""

    method: str
    path: str
    group: str
    endpoint: Endpoint
    is_private: bool = True
    permission: Permission | None = None
