"""What a client asks for over a WebSocket.

Upbit, "WebSocket 사용 및 에러 안내": one JSON list holds a ticket, one object per data type and, last, the format::

    [{"ticket":"…"},{"type":"orderbook","codes":["KRW-BTC.15"]},{"type":"trade","codes":["KRW-BTC"],
      "is_only_realtime":true},{"format":"SIMPLE"}]

A second list replaces the first. Codes nobody knows are ignored without a word; what is malformed is answered::

    {"error":{"name":"NO_TICKET","message":"티켓이 존재하지 않거나, 유효하지 않습니다."}}
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from kimp.portfolio.exchange.upbit_wire.figures import encode

MESSAGE_LENGTH_MAX = 65_536
"""Bytes of a request: hundreds of markets with all their types fit."""

UNITS = (1, 5, 15, 30)
UNITS_DEFAULT = 30

PUBLIC_TYPES = frozenset({"ticker", "trade", "orderbook", "candle.1m"})
"""Other candles are refused rather than promised and never sent."""

PRIVATE_TYPES = frozenset({"myOrder", "myAsset"})

ERRORS = {
    "INVALID_AUTH": "인증 정보가 올바르지 않습니다.",
    "WRONG_FORMAT": "Format 이 맞지 않습니다.",
    "NO_TICKET": "티켓이 존재하지 않거나, 유효하지 않습니다.",
    "NO_TYPE": "type 필드가 존재하지 않습니다.",
    "NO_CODES": "codes 필드가 존재하지 않습니다.",
    "INVALID_PARAM": "codes 필드가 비어 있습니다.",
    "TOO_MANY_REQUESTS": "요청 수 제한을 초과했습니다.",
}


class Form(StrEnum):
    """The spelling of what is sent."""

    DEFAULT = "DEFAULT"
    SIMPLE = "SIMPLE"
    JSON_LIST = "JSON_LIST"
    SIMPLE_LIST = "SIMPLE_LIST"

    @property
    def is_simple(self) -> bool:
        """Whether field names are abbreviated."""
        return self in (Form.SIMPLE, Form.SIMPLE_LIST)

    @property
    def is_list(self) -> bool:
        """Whether every message comes inside a list."""
        return self in (Form.JSON_LIST, Form.SIMPLE_LIST)


class SubscriptionError(Exception):
    """A request that cannot be served; ``name`` is Upbit's word for why."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def body(self) -> bytes:
        """The JSON a client reads."""
        return error_body(self.name)


def error_body(name: str) -> bytes:
    """An error as it is sent."""
    return encode({"error": {"name": name, "message": ERRORS[name]}})


class Wanted(msgspec.Struct, frozen=True):
    """One data type: market codes and how many rows of a book are wanted; none of them for a private type means all."""

    kind: str
    markets: Mapping[str, int]
    has_snapshot: bool = True
    has_stream: bool = True


class Subscription(msgspec.Struct, frozen=True):
    """Everything one connection wants."""

    wanted: tuple[Wanted, ...]
    form: Form = Form.DEFAULT


def parse(raw: str | bytes, *, is_private: bool) -> Subscription:
    """Read a request.

    Raises:
        SubscriptionError: it is malformed, or asks for private data where nobody signed in.
    """
    if len(raw) > MESSAGE_LENGTH_MAX:
        raise SubscriptionError("WRONG_FORMAT")
    try:
        parts = msgspec.json.decode(raw, type=list[dict[str, Any]])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SubscriptionError("WRONG_FORMAT") from error
    if not any(isinstance(part.get("ticket"), str) and part["ticket"] for part in parts):
        raise SubscriptionError("NO_TICKET")
    typed = [part for part in parts if "ticket" not in part and "format" not in part]
    if not typed or not all(isinstance(part.get("type"), str) for part in typed):
        raise SubscriptionError("NO_TYPE")
    return Subscription(tuple(_wanted(part, is_private) for part in typed), _form(parts))


def _wanted(part: dict[str, Any], is_private: bool) -> Wanted:
    kind, codes = part["type"], part.get("codes")
    is_personal = kind in PRIVATE_TYPES
    if is_personal and not is_private:
        raise SubscriptionError("INVALID_AUTH")
    if not is_personal and kind not in PUBLIC_TYPES:
        raise SubscriptionError("INVALID_PARAM")
    if codes is None and not is_personal:
        raise SubscriptionError("NO_CODES")
    if not isinstance(codes, list | None) or not all(isinstance(code, str) for code in codes or ()):
        raise SubscriptionError("WRONG_FORMAT")
    if not codes and not is_personal:
        raise SubscriptionError("INVALID_PARAM")
    return Wanted(
        kind,
        dict(_split(code) for code in codes or ()),
        has_snapshot=part.get("is_only_realtime") is not True,
        has_stream=part.get("is_only_snapshot") is not True,
    )


def _form(parts: list[dict[str, Any]]) -> Form:
    given = next((part["format"] for part in parts if "format" in part), Form.DEFAULT)
    try:
        return Form(given)
    except ValueError as error:
        raise SubscriptionError("WRONG_FORMAT") from error


def _split(code: str) -> tuple[str, int]:
    """``KRW-BTC.15`` → the market and 15 rows; a number that is not offered counts as 30."""
    market, _, rows = code.partition(".")
    units = int(rows) if rows.isascii() and rows.isdigit() and len(rows) < 4 else UNITS_DEFAULT
    return market, units if units in UNITS else UNITS_DEFAULT
