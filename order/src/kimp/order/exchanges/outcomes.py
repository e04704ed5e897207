"""What a venue's answer to an order proves: that it was taken, that nothing happened, or nothing at all.

Both venues' answers are judged by tables of :class:`Row`, one row per documented error, so that every judgement can be
read, cited and tested. Upbit's table stands here, Binance's in :mod:`kimp.order.exchanges.outcomes_binance`.

A wrong ``Rejected`` loses a hedge, a wrong ``Unknown`` costs a question. So ``Rejected`` needs proof, and everything
else is ``Unknown``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from enum import StrEnum

import aiohttp
import msgspec

from kimp.shared.domain.orders import Rejected, Unknown

REASON_LENGTH_MAX = 200
"""A venue's text in a journal: long enough to understand, short enough to keep."""


class Answer(msgspec.Struct, frozen=True):
    """A venue's answer that was not a success: HTTP status, the error's code or name, and its text.

    ``code`` is empty when the body was not an error of the venue's documented form (a proxy's page, half a body).
    """

    status: int
    code: str = ""
    message: str = ""


class Refused(Exception):
    """Carries a venue's error answer and its headers out of the transport; never leaves an adapter."""

    def __init__(self, answer: Answer, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"HTTP {answer.status} {answer.code}")
        self.answer = answer
        self.headers: Mapping[str, str] = headers or {}


class Trouble(StrEnum):
    """How a request can end without an answer."""

    HELD_BACK = "rate_limited"
    NOT_SENT = "not_sent"
    TIMED_OUT = "timed_out"
    BROKEN_OFF = "broken_off"
    UNREADABLE = "unreadable"
    CANCELLED = "cancelled"


class Verdict(StrEnum):
    """What an error answer proves about the order."""

    REJECTED = "rejected"
    UNKNOWN = "unknown"


class Row(msgspec.Struct, frozen=True):
    """One kind of error answer and what it proves.

    It matches when status, code and a part of the text do; ``None`` matches any status, an empty text matches all.
    ``page`` is the venue's page that says so.
    """

    status: int | None
    code: str
    verdict: Verdict
    page: str
    text: str = ""

    def matches(self, answer: Answer) -> bool:
        """Whether this row speaks of that answer."""
        return (
            self.status in (None, answer.status)
            and self.code in ("", answer.code)
            and self.text.casefold() in answer.message.casefold()
        )


class OutcomeTable(msgspec.Struct, frozen=True):
    """A venue's rows, in order of precedence, and the statuses under which any well-formed error is a refusal."""

    rows: tuple[Row, ...]
    refusing: frozenset[int]

    def judge(self, answer: Answer) -> Rejected | Unknown:
        """What the answer proves: the first row that matches, else a refusal only under a documented refusing status."""
        if self._verdict(answer) is Verdict.REJECTED:
            return Rejected(answer.code or str(answer.status), _cut(answer.message))
        return Unknown(_cut(f"HTTP {answer.status} {answer.code} {answer.message}".rstrip()))

    def _verdict(self, answer: Answer) -> Verdict:
        for row in self.rows:
            if row.matches(answer):
                return row.verdict
        is_refusal = answer.status in self.refusing and answer.code != ""
        return Verdict.REJECTED if is_refusal else Verdict.UNKNOWN


RATE_LIMITED = Rejected("rate_limited", "our own request budget is spent; nothing was sent")
"""What an adapter answers when the limiter refuses: proven, because nothing left."""


def without_answer(trouble: Trouble) -> Rejected | Unknown:
    """What a request without an answer proves: nothing, except when it cannot have left."""
    match trouble:
        case Trouble.HELD_BACK:
            return RATE_LIMITED
        case Trouble.NOT_SENT:
            return Rejected(trouble.value, "no connection to the venue; nothing was sent")
    return Unknown(trouble.value)


def trouble_of(error: BaseException) -> Trouble:
    """What went wrong, from an exception of the HTTP client or of ccxt around it.

    Only a failure to connect proves that nothing was sent. aiohttp sends a request again by itself when a kept
    connection turns out dead, but never a POST (``IDEMPOTENT_METHODS`` in its client), so for orders this holds.
    """
    for cause in _chain(error):
        match cause:
            case asyncio.CancelledError():
                return Trouble.CANCELLED
            case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
                return Trouble.NOT_SENT
            case TimeoutError():
                return Trouble.TIMED_OUT
            case aiohttp.ClientPayloadError():
                return Trouble.UNREADABLE
            case aiohttp.ClientError() | OSError():
                return Trouble.BROKEN_OFF
    return Trouble.UNREADABLE


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it was raised from, outermost first: ccxt's own classes match nothing, and the HTTP
    client's say more than the system's below them.
    """
    cause: BaseException | None = error
    for _ in range(8):  # deeper chains do not occur
        if cause is None:
            return
        yield cause
        cause = cause.__cause__


def _cut(text: str) -> str:
    return text if len(text) <= REASON_LENGTH_MAX else text[: REASON_LENGTH_MAX - 1] + "…"


# -- Upbit -----------------------------------------------------------------------------------------------------------

GUIDE = "https://docs.upbit.com/kr/reference/rest-api-guide"
"""Upbit, "REST API 사용 및 에러 안내": statuses and names; an error is ``{"error": {"name": ..., "message": ...}}``."""

LIMITS = "https://docs.upbit.com/kr/reference/rate-limits"
"""Upbit, "요청 수 제한": 429 when over the limit, 418 with a growing block for those who go on."""

NEW_ORDER = "https://docs.upbit.com/kr/reference/new-order"
"""Upbit, "주문 생성": an ``identifier`` may be used once per account, for ever, even if its order was refused."""


def _rejected(status: int, page: str, *codes: str) -> tuple[Row, ...]:
    return tuple(Row(status, code, Verdict.REJECTED, page) for code in codes)


def _unknown(status: int | None, page: str, code: str = "", text: str = "") -> tuple[Row, ...]:
    return (Row(status, code, Verdict.UNKNOWN, page, text),)


UPBIT = OutcomeTable(
    rows=(
        # An order with this id exists or existed: whatever the error is called, the order decides, so ask for it.
        *_unknown(None, NEW_ORDER, text="identifier"),
        *_unknown(None, NEW_ORDER, text="식별자"),
        *_unknown(None, NEW_ORDER, text="중복"),
        *_unknown(None, NEW_ORDER, text="duplicate"),
        *_unknown(None, NEW_ORDER, text="already"),
        *_unknown(None, NEW_ORDER, text="이미"),
        # A copy of this very request may have got through before.
        *_unknown(None, GUIDE, code="nonce_used"),
        *_rejected(400, GUIDE, "create_ask_error", "create_bid_error"),
        *_rejected(400, GUIDE, "insufficient_funds_ask", "insufficient_funds_bid"),
        *_rejected(400, GUIDE, "under_min_total_ask", "under_min_total_bid"),
        *_rejected(400, GUIDE, "under_min_total_market_ask", "under_min_total_market_bid"),
        *_rejected(400, GUIDE, "invalid_price_ask", "invalid_price_bid"),
        *_rejected(400, GUIDE, "invalid_volume_ask", "invalid_volume_bid"),
        *_rejected(400, GUIDE, "validation_error", "invalid_parameter", "400"),
        *_rejected(401, GUIDE, "invalid_query_payload", "jwt_verification", "invalid_access_key"),
        *_rejected(401, GUIDE, "expired_access_key", "no_authorization_ip", "no_authorization_i_p"),
        *_rejected(401, GUIDE, "no_authorization_token", "out_of_scope"),
        *_rejected(403, GUIDE, "out_of_scope", "thirdparty_agreement_required"),
        *_rejected(404, GUIDE, "404", "order_not_found"),
        # Counted at the gate, before anything is done with the request.
        *_rejected(429, LIMITS, ""),
        *_rejected(418, LIMITS, ""),
        *_unknown(500, GUIDE),
        *_unknown(502, GUIDE),
        *_unknown(503, GUIDE),
        *_unknown(504, GUIDE),
    ),
    refusing=frozenset({400, 401, 403, 404}),
)
"""Upbit's errors. Statuses 400, 401, 403 and 404 are documented as requests that were not carried out, so an unlisted
name under them is a refusal too, if the body is a well-formed error.
"""
