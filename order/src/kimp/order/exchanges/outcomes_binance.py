"""What Binance's errors prove about an order. The rows are Binance's own; the types stand in ``outcomes``.

An error is ``{"code": -2019, "msg": "Margin is insufficient."}``. Anything without a code (a proxy's page, half a body)
is no word of the venue's and proves nothing.
"""

from __future__ import annotations

import re

from kimp.order.exchanges.outcomes import Answer, OutcomeTable, Row, Verdict
from kimp.shared.domain.orders import Rejected, Unknown

_DOCS = "https://developers.binance.com/docs/derivatives/usds-margined-futures"
ERRORS = f"{_DOCS}/error-code"
"""Binance, "Error Codes" of USDT-M futures: 10xx server and network, 11xx request, 20xx processing, 40xx filters and
others, 50xx execution.
"""
GENERAL = f"{_DOCS}/general-info"
"""Binance, "General Info", "HTTP Return Codes": what 403, 408, 418, 429 and the variants of 503 mean."""

DUPLICATE_ID = "-4116"
"""DUPLICATED_CLIENT_ORDER_ID: an *open* order has this id; a filled one would not be in the way ("New Order")."""
NO_SUCH_ORDER = "-2013"
CANCEL_REJECTED = "-2011"
CLOCK_IS_OFF = frozenset({"-1021", "-5028"})
TOO_MANY_REQUESTS = "-1003"
ALREADY_SO = frozenset({"-4046", "-4059", "-4171"})
"""No need to change margin type, position side, multi-assets mode: what was asked for is so already."""
NO_SUCH_KEY = "-1125"

_REFUSING = frozenset({400, 401, 403, 404, 409, 429})


def _rows(verdict: Verdict, page: str, status: int | None, *codes: str) -> tuple[Row, ...]:
    return tuple(Row(status, code, verdict, page) for code in codes)


def _unknown(page: str, status: int | None, *codes: str) -> tuple[Row, ...]:
    return _rows(Verdict.UNKNOWN, page, status, *codes)


def _rejected(page: str, status: int | None, *codes: str) -> tuple[Row, ...]:
    return _rows(Verdict.REJECTED, page, status, *codes)


_ROWS = (
    # "Execution status unknown", whatever the HTTP status around it.
    *_unknown(ERRORS, None, "-1000", "-1006", "-1007"),
    Row(503, "", Verdict.UNKNOWN, GENERAL, "Unknown error, please check your request or try again later"),
    # The other variants of 503 are documented as failed: nothing was executed.
    Row(503, "", Verdict.REJECTED, GENERAL, "Service Unavailable"),
    Row(503, "", Verdict.REJECTED, GENERAL, "Internal error; unable to process your request"),
    Row(503, "", Verdict.REJECTED, GENERAL, "Request throttled by system-level protection"),
    *_rejected(GENERAL, None, "-1008"),
    # The same words under any other status are explained nowhere: ask.
    *_unknown(ERRORS, None, "-1001"),
    *_unknown(GENERAL, 408, ""),
    # An open order bears our id: perhaps the very one we were about to send, so it has to be looked up.
    *_unknown(ERRORS, None, DUPLICATE_ID),
    # Counted or stopped at the gate, before anything is done with the request.
    *_rejected(GENERAL, 429, ""),
    *_rejected(GENERAL, 418, ""),
    *_rejected(GENERAL, 403, ""),
    *_rejected(ERRORS, 400, TOO_MANY_REQUESTS, "-1015", "-1016"),
    # Outside recvWindow at the gate or at the matching engine: never executed. Our clock has to be measured again.
    *_rejected(ERRORS, 400, "-1021", "-5028"),
    # Key, signature and permission.
    *_rejected(ERRORS, 400, "-1002", "-1011", "-1022", "-1099", "-2014", "-2015"),
    *_rejected(ERRORS, 401, "-1002", "-1022", "-1099", "-2014", "-2015"),
    # The request itself.
    *_rejected(ERRORS, 400, "-1013", "-1014", "-1020", "-1023", "-1100", "-1102", "-1111", "-1116", "-1121"),
    # Processing: refused, insufficient margin, would immediately fill, reduce-only without a position, limits.
    *_rejected(ERRORS, 400, "-2010", "-2018", "-2019", "-2020", "-2021", "-2022", "-2023", "-2024", "-2025", "-2026"),
    *_rejected(ERRORS, 400, "-2027", "-2028"),
    # Filters: price, quantity, precision, notional, position side; trading rules and restrictions.
    *_rejected(ERRORS, 400, "-4003", "-4004", "-4005", "-4014", "-4016", "-4023", "-4024", "-4061", "-4087", "-4088"),
    *_rejected(ERRORS, 400, "-4118", "-4131", "-4140", "-4141", "-4164", "-4192", "-4400", "-4401"),
    # FOK that cannot fill, post-only that would take.
    *_rejected(ERRORS, 400, "-5021", "-5022"),
    *_unknown(GENERAL, 500, ""),
    *_unknown(GENERAL, 502, ""),
    *_unknown(GENERAL, 503, ""),
    *_unknown(GENERAL, 504, ""),
)

BINANCE = OutcomeTable(rows=_ROWS, refusing=frozenset())
"""Every documented answer to an order that says whether it was carried out."""

_IN_RANGE = OutcomeTable(rows=_ROWS, refusing=_REFUSING)
_REFUSING_RANGES = re.compile(r"-(11|2\d|4\d)\d\d")
"""11xx request issues, 2xxx processing issues, 4xxx filters: whatever number is added there, it is a refusal."""


def judge(answer: Answer) -> Rejected | Unknown:
    """What an error answer proves about the order: by its row; unlisted ones are refusals only within the documented
    ranges of request, processing and filter errors, under a 4xx status.
    """
    table = _IN_RANGE if _REFUSING_RANGES.fullmatch(answer.code) else BINANCE
    return table.judge(answer)
