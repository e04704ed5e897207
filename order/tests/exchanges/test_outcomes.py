"""Every documented error is judged as documented, and nothing else is ever called a refusal."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimp.order.exchanges.outcomes import (
    RATE_LIMITED,
    UPBIT,
    Answer,
    Row,
    Trouble,
    Verdict,
    trouble_of,
    without_answer,
)
from kimp.shared.domain.orders import Rejected, Unknown

NAMES_THAT_REFUSE = {row.code for row in UPBIT.rows if row.verdict is Verdict.REJECTED and row.code}


@pytest.mark.parametrize("row", UPBIT.rows, ids=lambda row: f"{row.status}-{row.code}-{row.text}")
def test_every_row_decides_the_answer_it_describes(row: Row) -> None:
    status = 400 if row.status is None else row.status
    outcome = UPBIT.judge(Answer(status, row.code or "some_name", f"venue says {row.text}"))
    wanted = Rejected if row.verdict is Verdict.REJECTED else Unknown
    assert isinstance(outcome, wanted)
    assert row.page.startswith("https://docs.upbit.com/")


@pytest.mark.parametrize("row", UPBIT.rows, ids=lambda row: f"{row.status}-{row.code}-{row.text}")
def test_no_row_is_hidden_behind_another_of_the_opposite_verdict(row: Row) -> None:
    answer = Answer(row.status or 400, row.code or "some_name", row.text)
    first = next(other for other in UPBIT.rows if other.matches(answer))
    assert first.verdict is row.verdict


def test_a_refusal_keeps_the_venues_name_and_words() -> None:
    answer = Answer(400, "insufficient_funds_bid", "주문가능한 금액(KRW)이 부족합니다.")
    assert UPBIT.judge(answer) == Rejected("insufficient_funds_bid", "주문가능한 금액(KRW)이 부족합니다.")


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 599])
def test_a_server_error_proves_nothing_whatever_its_body_says(status: int) -> None:
    assert isinstance(UPBIT.judge(Answer(status, "insufficient_funds_bid", "no money")), Unknown)


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refusing_status_without_a_well_formed_error_proves_nothing(status: int) -> None:
    assert isinstance(UPBIT.judge(Answer(status)), Unknown)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(400, "validation_error", "identifier has already been used"),
        Answer(400, "400", "이미 사용된 식별자입니다."),
        Answer(409, "conflict", "duplicate order"),
        Answer(400, "create_bid_error", "중복된 주문입니다."),
    ],
)
def test_a_used_identifier_is_never_a_refusal(answer: Answer) -> None:
    assert isinstance(UPBIT.judge(answer), Unknown)


def test_a_used_nonce_is_never_a_refusal() -> None:
    assert isinstance(UPBIT.judge(Answer(401, "nonce_used", "The nonce has been used.")), Unknown)


@given(status=st.integers(100, 599), code=st.text(max_size=20), message=st.text(max_size=400))
def test_only_documented_statuses_refuse_and_reasons_stay_short(status: int, code: str, message: str) -> None:
    outcome = UPBIT.judge(Answer(status, code, message))
    assert len(outcome.reason) <= 200
    if isinstance(outcome, Rejected):
        assert status in (400, 401, 403, 404, 418, 429)
        assert code or status in (418, 429)


def test_only_a_connection_that_never_stood_proves_that_nothing_was_sent() -> None:
    outcomes = {trouble: without_answer(trouble) for trouble in Trouble}
    assert isinstance(outcomes.pop(Trouble.NOT_SENT), Rejected)
    assert outcomes.pop(Trouble.HELD_BACK) == RATE_LIMITED
    assert all(isinstance(outcome, Unknown) for outcome in outcomes.values())


def wrapped(cause: BaseException) -> Exception:
    try:
        raise RuntimeError("as ccxt wraps it") from cause
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (asyncio.CancelledError(), Trouble.CANCELLED),
        (TimeoutError(), Trouble.TIMED_OUT),
        (aiohttp.ServerTimeoutError(), Trouble.TIMED_OUT),
        (aiohttp.ConnectionTimeoutError(), Trouble.NOT_SENT),
        (aiohttp.ServerDisconnectedError(), Trouble.BROKEN_OFF),
        (aiohttp.ClientOSError(104, "reset by peer"), Trouble.BROKEN_OFF),
        (aiohttp.ClientPayloadError(), Trouble.UNREADABLE),
        (ConnectionResetError(), Trouble.BROKEN_OFF),
        (ValueError("something else"), Trouble.UNREADABLE),
    ],
)
def test_trouble_is_told_from_its_cause(error: BaseException, trouble: Trouble) -> None:
    assert trouble_of(error) is trouble
    assert trouble_of(wrapped(error)) is trouble


def test_a_refused_connection_is_told_from_a_broken_one() -> None:
    async def ask_a_closed_port() -> BaseException | None:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        async with aiohttp.ClientSession() as session:
            try:
                await session.post(f"http://127.0.0.1:{port}/v1/orders")
            except aiohttp.ClientError as error:
                return error
        return None

    error = asyncio.run(ask_a_closed_port())
    assert error is not None
    assert trouble_of(wrapped(error)) is Trouble.NOT_SENT
