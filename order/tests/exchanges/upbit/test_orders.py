"""Orders to Upbit: sent once, spelt exactly, and judged by what the answer proves."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from aiohttp import web

from kimp.order.exchanges.upbit import UpbitExchange, order_words
from kimp.shared.domain.instruments import Side, upbit_spot
from kimp.shared.domain.orders import (
    Accepted,
    Order,
    OrderStatus,
    Outcome,
    Rejected,
    TimeInForce,
    Unknown,
)
from kimp.shared.settings import Upbit
from kimp.storage.feeds.clocks import SystemClock

Play = Callable[[Callable[[UpbitExchange, Any], Any]], Any]
BTC = "upbit:KRW-BTC"
NAME = "kimp-0123456789abcdef0123-0-1"
ORDER = Order(NAME, BTC, Side.BUY, Decimal("0.07000000"), Decimal("150000000"))
UUID = "cdd92199-2897-4e14-9448-f923320408ad"
TAKEN = (201, {"uuid": UUID, "market": "KRW-BTC", "identifier": NAME, "state": "wait"})


def error(status: int, name: str | int, message: str = "", **headers: str) -> tuple[Any, ...]:
    return status, {"error": {"name": name, "message": message}}, headers


def placed(play: Play, *answers: Any) -> tuple[Outcome, list[Any]]:
    async def scene(exchange: UpbitExchange, fake: Any) -> tuple[Outcome, list[Any]]:
        fake.on("POST /v1/orders", *answers)
        return await exchange.place(ORDER), fake.requests("POST /v1/orders")

    outcome, asked = play(scene)
    return outcome, asked


def test_an_order_is_spelt_exactly_and_signed(play: Play) -> None:
    outcome, asked = placed(play, TAKEN)
    assert outcome == Accepted(UUID)
    assert len(asked) == 1
    assert asked[0].body == {
        "market": "KRW-BTC",
        "side": "bid",
        "ord_type": "limit",
        "volume": "0.07000000",
        "price": "150000000",
        "identifier": NAME,
        "time_in_force": "ioc",
    }
    assert asked[0].claims["access_key"] == "canary-access-key"
    assert "Origin" not in asked[0].headers  # one request per 10 s is allowed with it


@pytest.mark.parametrize(
    ("time_in_force", "word"),
    [(TimeInForce.IOC, "ioc"), (TimeInForce.FOK, "fok"), (TimeInForce.POST_ONLY, "post_only"), (TimeInForce.GTC, None)],
)
def test_an_order_waits_as_long_as_it_should(time_in_force: TimeInForce, word: str | None) -> None:
    order = Order(NAME, BTC, Side.SELL, Decimal("1E-8"), Decimal("1.5E+8"), time_in_force)
    words = order_words(order)
    assert words.get("time_in_force") == word
    assert (words["volume"], words["price"], words["side"]) == ("0.00000001", "150000000", "ask")


def test_every_request_has_a_nonce_of_its_own(play: Play) -> None:
    async def scene(exchange: UpbitExchange, fake: Any) -> list[str]:
        fake.on("POST /v1/orders", TAKEN)
        for _ in range(5):
            await exchange.place(ORDER)
        return [asked.claims["nonce"] for asked in fake.asked if asked.claims]

    nonces = play(scene)
    assert len(set(nonces)) == len(nonces) == 5


@pytest.mark.parametrize(
    ("status", "name", "message"),
    [
        (400, "insufficient_funds_bid", "주문가능한 금액(KRW)이 부족합니다."),
        (400, "invalid_price_bid", "주문가격 단위를 잘못 입력하셨습니다. 확인 후 시도해주세요."),
        (400, "under_min_total_bid", "최소주문금액 이상으로 주문해주세요"),
        (401, "out_of_scope", "권한이 부족합니다."),
        (401, "jwt_verification", "Jwt 토큰 검증에 실패했습니다."),
    ],
)
def test_a_documented_refusal_is_rejected(play: Play, status: int, name: str, message: str) -> None:
    outcome, asked = placed(play, error(status, name, message))
    assert outcome == Rejected(name, message)
    assert len(asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        error(500, "server_error", "internal"),
        error(503, "maintenance", "점검 중"),
        error(401, "nonce_used", "The nonce has been used."),
        error(400, "validation_error", "identifier already exists"),
        (400, "not an error of the documented form"),
        (201, {"nothing": "known"}),
        (201, {"uuid": UUID, "identifier": "somebody-elses"}),
        (302, {"uuid": UUID}),
        (202, {"uuid": UUID}),
    ],
)
def test_whatever_proves_nothing_is_unknown_and_never_resent(play: Play, answer: Any) -> None:
    outcome, asked = placed(play, answer, TAKEN)
    assert isinstance(outcome, Unknown)
    assert len(asked) == 1


def test_a_connection_that_breaks_after_sending_is_unknown_and_never_resent(play: Play) -> None:
    async def hang_up(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    outcome, asked = placed(play, hang_up, TAKEN)
    assert isinstance(outcome, Unknown)
    assert len(asked) == 1


def test_half_a_body_is_unknown(play: Play) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=201, headers={"Content-Length": "500", "Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(b'{"uuid":"cdd9')
        assert request.transport is not None
        request.transport.close()
        return response

    outcome, asked = placed(play, cut, TAKEN)
    assert isinstance(outcome, Unknown)
    assert len(asked) == 1


def test_an_answer_that_does_not_come_is_unknown(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kimp.order.exchanges.upbit_client.ANSWER_S", 0.2)

    async def wait_for_ever(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    outcome, asked = placed(play, wait_for_ever, TAKEN)
    assert isinstance(outcome, Unknown)
    assert len(asked) == 1


def test_a_cancelled_order_is_unknown(play: Play) -> None:
    async def scene(exchange: UpbitExchange, fake: Any) -> Outcome:
        arrived = asyncio.Event()

        async def hold(_: web.Request) -> web.StreamResponse:
            arrived.set()
            await asyncio.Event().wait()
            raise AssertionError

        fake.on("POST /v1/orders", hold)
        async with asyncio.TaskGroup() as group:
            placing = group.create_task(exchange.place(ORDER))
            await arrived.wait()
            placing.cancel()
        outcome: Outcome = placing.result()
        return outcome

    assert isinstance(play(scene), Unknown)


def test_an_unreachable_venue_gets_no_order_and_says_so(stage: Any) -> None:
    serving, settings_for = stage

    async def scene() -> Outcome:
        async with serving() as fake:
            settings = settings_for(fake)
        async with UpbitExchange(settings, [upbit_spot("BTC")], SystemClock(), Random(1)) as exchange:
            return await exchange.place(ORDER)

    outcome = asyncio.run(scene())
    assert isinstance(outcome, Rejected)
    assert outcome.code == "not_sent"


def test_an_order_that_cannot_be_signed_is_not_sent(stage: Any) -> None:
    serving, _ = stage

    async def scene() -> Any:
        async with serving() as fake:
            settings = Upbit(rest_url=f"http://127.0.0.1:{fake.url}")
            async with UpbitExchange(settings, [], SystemClock(), Random(1)) as exchange:
                return await exchange.place(ORDER), fake.requests("POST /v1/orders")

    outcome, asked = asyncio.run(scene())
    assert isinstance(outcome, Rejected)
    assert (outcome.code, asked) == ("not_sent", [])


def test_an_order_travels_on_a_connection_that_is_warm_already(play: Play) -> None:
    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        fake.on("POST /v1/orders", TAKEN)
        warmed = {asked.peer for asked in fake.asked}
        await exchange.place(ORDER)
        return warmed, fake.requests("POST /v1/orders")[0].peer

    warmed, peer = play(scene)
    assert len(warmed) == 2
    assert peer in warmed


def test_connections_are_kept_warm(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kimp.order.exchanges.upbit_client.WARM_EVERY", 50_000_000)

    async def scene(_: UpbitExchange, fake: Any) -> None:
        await fake.until(lambda: len(fake.requests("GET /v1/orderbook/instruments")) >= 6)

    play(scene)


def test_a_header_in_small_letters_loses_no_answer(play: Play) -> None:
    async def small(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        body = json.dumps(TAKEN[1]).encode()
        head = f"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        request.transport.write(head.encode() + body)  # type: ignore[attr-defined]
        await asyncio.Event().wait()
        raise AssertionError

    outcome, _ = placed(play, small)
    assert outcome == Accepted(UUID)


def test_a_429_is_refused_and_silences_the_group(play: Play) -> None:
    async def scene(exchange: UpbitExchange, fake: Any) -> tuple[Outcome, Outcome, int]:
        fake.on("POST /v1/orders", error(429, "too_many_requests", "slow down", **{"Retry-After": "60"}), TAKEN)
        first, second = await exchange.place(ORDER), await exchange.place(ORDER, is_urgent=True)
        return first, second, len(fake.requests("POST /v1/orders"))

    first, second, sent = play(scene)
    assert isinstance(first, Rejected)
    assert isinstance(second, Rejected)
    assert (first.code, second.code, sent) == ("too_many_requests", "rate_limited", 1)


def test_only_urgent_orders_use_what_the_venue_says_is_left(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kimp.order.exchanges.ratelimit.WAIT_MAX", 0)

    async def scene(exchange: UpbitExchange, fake: Any) -> list[Outcome]:
        fake.on("POST /v1/orders", (*TAKEN, {"Remaining-Req": "group=order; min=1800; sec=4"}))
        return [await exchange.place(ORDER), await exchange.place(ORDER), await exchange.place(ORDER, is_urgent=True)]

    first, ordinary, urgent = play(scene)
    assert isinstance(first, Accepted)
    assert isinstance(ordinary, Rejected)
    assert isinstance(urgent, Accepted)


def whole(state: str, executed: str, identifier: str | None = NAME, **more: Any) -> dict[str, Any]:
    return {
        "uuid": UUID,
        "market": "KRW-BTC",
        "side": "bid",
        "ord_type": "limit",
        "state": state,
        "created_at": "2026-08-09T16:44:00+09:00",
        "executed_volume": executed,
        "paid_fee": "0",
        "identifier": identifier,
        "trades": [],
        **more,
    }


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("wait", OrderStatus.WORKING),
        ("watch", OrderStatus.WORKING),
        ("done", OrderStatus.DONE),
        ("cancel", OrderStatus.DONE),
    ],
)
def test_a_question_tells_the_state_and_what_was_executed(play: Play, state: str, status: OrderStatus) -> None:
    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        fake.on("GET /v1/order", (200, whole(state, "0.05")))
        return await exchange.query(NAME, BTC), fake.requests("GET /v1/order")[0].query

    report, query = play(scene)
    assert (report.client_id, report.status, report.executed) == (NAME, status, Decimal("0.05"))
    assert query == {"identifier": NAME}


def test_an_order_the_venue_does_not_know_is_absent(play: Play) -> None:
    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        fake.on("GET /v1/order", error(404, "order_not_found", "주문을 찾지 못했습니다."))
        return await exchange.query(NAME, BTC)

    assert play(scene).status is OrderStatus.ABSENT


@pytest.mark.parametrize(
    "answer",
    [
        error(404, 404, "no such page"),
        error(401, "jwt_verification"),
        error(500, "server_error"),
        (200, whole("quantum", "0.05")),
        (200, whole("done", "0.05", market="KRW-ETH")),
        (200, whole("done", "0.05", identifier="somebody-elses")),
        (
            200,
            whole(
                "done",
                "0.05",
                side="sideways",
                trades=[{"uuid": "a", "price": "1", "volume": "0.05", "created_at": "x"}],
            ),
        ),
        (200, {"uuid": UUID}),
        (200, []),
    ],
)
def test_an_unclear_answer_to_a_question_is_no_answer(play: Play, answer: Any) -> None:
    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        fake.on("GET /v1/order", answer)
        return await exchange.query(NAME, BTC)

    assert play(scene) is None


def test_an_order_of_another_hand_is_asked_for_by_the_venues_id(play: Play) -> None:
    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        fake.on("GET /v1/order", (200, whole("wait", "0", identifier=None)))
        return await exchange.query(UUID, BTC), fake.requests("GET /v1/order")[0].query

    report, query = play(scene)
    assert report.client_id == UUID
    assert query == {"uuid": UUID}


def test_a_cancellation_names_our_id(play: Play) -> None:
    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        fake.on("DELETE /v1/order", (200, whole("wait", "0")))
        return await exchange.cancel(NAME, BTC), fake.requests("DELETE /v1/order")[0].query

    assert play(scene) == (Accepted(UUID), {"identifier": NAME})


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        ((200, whole("cancel", "0.05")), Accepted),
        ((200, whole("wait", "0")), Unknown),
        (error(404, "order_not_found"), Rejected),
        (error(500, "server_error"), Unknown),
    ],
)
def test_a_refused_cancellation_is_decided_by_the_order_itself(play: Play, found: Any, kind: type[Outcome]) -> None:
    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        fake.on("DELETE /v1/order", error(404, "order_not_found"))
        fake.on("GET /v1/order", found)
        return await exchange.cancel(NAME, BTC)

    assert isinstance(play(scene), kind)


def test_no_secret_reaches_a_log(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        placed(play, error(401, "jwt_verification"), TAKEN)
    assert "canary" not in caplog.text
    assert "Bearer" not in caplog.text
