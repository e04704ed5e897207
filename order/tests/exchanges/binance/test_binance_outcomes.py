"""Every documented error of Binance's is judged as documented, and nothing else is ever called a refusal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimp.order.exchanges.outcomes import Answer, Row, Verdict
from kimp.order.exchanges.outcomes_binance import BINANCE, judge
from kimp.shared.domain.orders import Rejected, Unknown

LISTED = {row.code for row in BINANCE.rows if row.code}


@pytest.mark.parametrize("row", BINANCE.rows, ids=lambda row: f"{row.status}-{row.code}-{row.text}")
def test_every_row_decides_the_answer_it_describes(row: Row) -> None:
    status = 400 if row.status is None else row.status
    outcome = judge(Answer(status, row.code, row.text))
    assert isinstance(outcome, Rejected if row.verdict is Verdict.REJECTED else Unknown)
    assert row.page.startswith("https://developers.binance.com/docs/derivatives/usds-margined-futures/")


@pytest.mark.parametrize(
    ("answer", "is_refused"),
    [
        (Answer(503, "-1000", "Unknown error, please check your request or try again later."), False),
        (Answer(503, "0", "Service Unavailable."), True),
        (Answer(503, "-1001", "Internal error; unable to process your request. Please try again."), True),
        (Answer(503, "-1008", "Request throttled by system-level protection."), True),
        (Answer(503, "", ""), False),
        (Answer(500, "-1001", "Internal error; unable to process your request. Please try again."), False),
        (Answer(400, "-1007", "Timeout waiting for response from backend server."), False),
        (Answer(408, "-1007", ""), False),
        (Answer(400, "-4116", "ClientOrderId is duplicated."), False),
        (Answer(400, "-1021", "Timestamp for this request is outside of the recvWindow."), True),
        (Answer(400, "-4999", "a filter of tomorrow"), True),
        (Answer(400, "-1199", "a complaint of tomorrow"), True),
        (Answer(500, "-2019", "Margin is insufficient."), False),
        (Answer(400, "-1099999", ""), False),
        (Answer(400, "-9000", "who knows"), False),
        (Answer(400, "-1009", "who knows"), False),
        (Answer(200, "-2019", "in a success"), False),
        (Answer(400, "", "Margin is insufficient."), False),
        (Answer(404, "", ""), False),
    ],
)
def test_what_is_documented_as_failed_is_a_refusal_and_nothing_else(answer: Answer, is_refused: bool) -> None:
    assert isinstance(judge(answer), Rejected) is is_refused


@given(
    status=st.integers(0, 999),
    code=st.one_of(st.sampled_from(sorted(LISTED)), st.integers(-99_999, 99_999).map(str), st.text(max_size=8)),
    message=st.text(max_size=300),
)
def test_whatever_comes_is_judged_and_only_a_word_of_the_venue_is_a_refusal(
    status: int, code: str, message: str
) -> None:
    outcome = judge(Answer(status, code, message))
    assert isinstance(outcome, Rejected | Unknown)
    if isinstance(outcome, Rejected):
        assert code != "" or status in (403, 418, 429, 503)
        assert status < 500 or status == 503 or code == "-1008"
