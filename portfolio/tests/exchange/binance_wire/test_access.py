"""Who may ask, how often, and what comes when the venue is away or the wire is bad."""

import asyncio
import hmac
from hashlib import sha256
from typing import Any

import aiohttp
import pytest

from kimp.portfolio.exchange.binance_wire import Limits
from kimp.portfolio.exchange.binance_wire.errors import (
    BACKEND_TIMEOUT,
    UNAVAILABLE,
    UNEXPECTED_RESPONSE,
    UNKNOWN_OUTCOME,
    gateway_body,
)
from kimp.portfolio.exchange.wire_faults import (
    EXECUTED_AND_DROPPED,
    LOST_ON_THE_WAY,
    TRUNCATED,
    answered_after,
    answered_instead,
    delayed,
)
from kimp.shared.domain.time import MILLISECOND, MINUTE, SECOND

ACCOUNT, ORDER = "/fapi/v3/account", "/fapi/v1/order"


# -- keys, signatures, time --------------------------------------------------------------------------------------------


def test_only_a_known_key_with_its_signature_gets_in(tell: Any) -> None:
    async def story(rig: Any) -> None:
        assert (await rig.signed("GET", ACCOUNT)).status == 200
        assert (await rig.ask("GET", ACCOUNT)).refusal == (401, -2014, "API-key format invalid.")
        rig.key = "Z" * 64
        refusal = (await rig.signed("GET", ACCOUNT)).refusal
        assert refusal == (401, -2015, "Invalid API-key, IP, or permissions for action.")
        rig.key = "C" * 64
        assert (await rig.signed("GET", ACCOUNT)).refusal[:2] == (401, -2015)
        rig.key, rig.secret = "A" * 64, "another"
        assert (await rig.signed("GET", ACCOUNT)).refusal == (400, -1022, "Signature for this request is not valid.")

    tell(story)


def test_a_signature_covers_query_and_body_as_they_were_sent(tell: Any) -> None:
    async def story(rig: Any) -> None:
        now = rig.clock.now() // MILLISECOND
        query = f"symbol=BTCUSDT&side=SELL&type=LIMIT&timeInForce=GTC&timestamp={now}"
        body = "quantity=0.1&price=101000&newClientOrderId=a%3Ab"
        signature = hmac.new(rig.secret.encode(), (query + body).encode(), sha256).hexdigest()
        headers = {"X-MBX-APIKEY": rig.key}
        placed = await rig.raw("POST", ORDER, query, headers, f"{body}&signature={signature.upper()}")
        assert placed.json["clientOrderId"] == "a:b"
        changed = body.replace("0.1", "0.9")
        tampered = await rig.raw("POST", ORDER, query, headers, f"{changed}&signature={signature}")
        assert tampered.refusal[1] == -1022
        unsigned = await rig.raw("POST", ORDER, query, headers, body)
        assert unsigned.refusal == (
            400, -1102, "Mandatory parameter 'signature' was not sent, was empty/null, or malformed.",
        )  # fmt: skip

    tell(story)


def test_a_request_is_of_this_moment(tell: Any) -> None:
    async def story(rig: Any) -> None:
        now = rig.clock.now() // MILLISECOND
        outside = (400, -1021, "Timestamp for this request is outside of the recvWindow.")
        assert (await rig.signed("GET", ACCOUNT, timestamp=now - 5000)).status == 200
        assert (await rig.signed("GET", ACCOUNT, timestamp=now - 5001)).refusal == outside
        assert (await rig.signed("GET", ACCOUNT, timestamp=now - 5001, recvWindow=6000)).status == 200
        assert (await rig.signed("GET", ACCOUNT, timestamp=now - 2, recvWindow=1)).refusal == outside
        assert (await rig.signed("GET", ACCOUNT, timestamp=now + 999)).status == 200
        ahead = await rig.signed("GET", ACCOUNT, timestamp=now + 1000)
        assert ahead.refusal == (400, -1021, "Timestamp for this request was 1000ms ahead of the server's time.")
        assert (await rig.signed("GET", ACCOUNT, timestamp=None)).refusal[1] == -1102
        assert (await rig.signed("GET", ACCOUNT, timestamp="soon")).refusal[1] == -1102
        assert (await rig.signed("GET", ACCOUNT, recvWindow=60_001)).refusal[1] == -1130

    tell(story)


def test_a_key_that_may_not_trade_may_still_look(tell: Any) -> None:
    async def story(rig: Any) -> None:
        rig.key = "B" * 64
        assert (await rig.signed("GET", ACCOUNT)).status == 200
        assert (await rig.order()).refusal[:2] == (401, -2015)
        assert list(rig.exchange.orders()) == []

    tell(story)


# -- limits ------------------------------------------------------------------------------------------------------------


def test_weight_is_counted_told_and_limited_and_going_on_is_banned(tell: Any) -> None:
    async def story(rig: Any) -> None:
        first = await rig.ask("GET", "/fapi/v1/time")
        assert first.headers["X-MBX-USED-WEIGHT-1M"] == "1"
        deep = await rig.ask("GET", "/fapi/v1/depth", symbol="BTCUSDT", limit=1000)
        assert deep.headers["X-MBX-USED-WEIGHT-1M"] == "21"
        assert (await rig.ask("GET", "/fapi/v1/depth", symbol="BTCUSDT", limit=1000)).status == 200
        refused = await rig.ask("GET", "/fapi/v1/depth", symbol="BTCUSDT", limit=1000)
        assert refused.refusal[:2] == (429, -1003)
        assert 0 < int(refused.headers["Retry-After"]) <= 60
        for _ in range(2):
            assert (await rig.ask("GET", "/fapi/v1/time")).status == 429
        banned = await rig.ask("GET", "/fapi/v1/time")
        assert banned.refusal[:2] == (418, -1003)
        assert int(banned.headers["Retry-After"]) == 120
        await rig.clock.advance(MINUTE)
        assert (await rig.ask("GET", "/fapi/v1/time")).status == 418
        await rig.clock.advance(MINUTE)
        assert (await rig.ask("GET", "/fapi/v1/time")).headers["X-MBX-USED-WEIGHT-1M"] == "1"

    tell(story, limits=Limits(weight_per_minute=50, patience=3))


def test_each_ban_is_longer_than_the_one_before(tell: Any) -> None:
    async def story(rig: Any) -> None:
        waits = []
        for _ in range(3):
            while (answer := await rig.ask("GET", "/fapi/v1/time")).status != 418:
                pass
            waits.append(int(answer.headers["Retry-After"]))
            await rig.clock.advance(waits[-1] * SECOND)
        assert waits == [120, 240, 480]

    tell(story, limits=Limits(weight_per_minute=2, patience=1))


def test_orders_are_counted_in_ten_seconds_and_in_a_minute(tell: Any) -> None:
    async def story(rig: Any) -> None:
        for count in (1, 2):
            assert (await rig.order(quantity="0.01")).headers["X-MBX-ORDER-COUNT-10S"] == str(count)
        refused = await rig.order(quantity="0.01")
        assert refused.refusal == (429, -1015, "Too many new orders; current limit is 2 orders per 10 SECONDS.")
        assert 0 < int(refused.headers["Retry-After"]) <= 10
        await rig.clock.advance(10 * SECOND)
        again = await rig.order(quantity="0.01")
        assert (again.status, again.headers["X-MBX-ORDER-COUNT-1M"]) == (200, "4")
        assert (await rig.order(quantity="0.01")).refusal[1] == -1015
        assert len(rig.exchange.working()) == 3

    tell(story, limits=Limits(orders_per_ten_seconds=2, orders_per_minute=4))


# -- maintenance and faults --------------------------------------------------------------------------------------------


def test_a_venue_in_maintenance_answers_503_and_closes_its_sockets(tell: Any) -> None:
    async def story(rig: Any) -> None:
        async with rig.listening("/public/ws/btcusdt@depth") as listener:
            await listener.ask("LIST_SUBSCRIPTIONS")
            rig.exchange.maintain(is_available=False, reason="upgrade")
            assert await listener.closed() is not None
        away = await rig.order()
        assert (away.status, away.json["msg"], away.json["path"]) == (503, "Service Unavailable.", ORDER)
        assert (await rig.ask("GET", "/fapi/v1/ping")).status == 503
        with pytest.raises(aiohttp.WSServerHandshakeError):
            async with rig.listening("/public/ws/btcusdt@depth"):
                pass
        rig.exchange.maintain(is_available=True, reason="")
        assert (await rig.order()).status == 200

    tell(story)


@pytest.mark.parametrize(
    ("fault", "executes"), [(EXECUTED_AND_DROPPED, True), (LOST_ON_THE_WAY, False), (TRUNCATED, True)]
)
def test_an_answer_can_be_lost_whether_or_not_the_order_was_taken(tell: Any, fault: Any, executes: bool) -> None:
    async def story(rig: Any) -> None:
        rig.faults[ORDER] = fault
        with pytest.raises(aiohttp.ClientError):
            await rig.order(newClientOrderId="lost")
        del rig.faults[ORDER]
        asked = await rig.signed("GET", ORDER, symbol="BTCUSDT", origClientOrderId="lost")
        assert (asked.status == 200) is executes

    tell(story)


@pytest.mark.parametrize(
    ("status", "body", "executes"),
    [
        (502, b"<html>502 Bad Gateway</html>", True),
        (504, b"", True),
        (503, gateway_body(ORDER, 0, UNKNOWN_OUTCOME), True),
        (503, gateway_body(ORDER, 0, UNAVAILABLE), False),
        (UNEXPECTED_RESPONSE.status, UNEXPECTED_RESPONSE.response().body, True),
        (BACKEND_TIMEOUT.status, BACKEND_TIMEOUT.response().body, True),
    ],
)
def test_an_answer_can_be_wrong(tell: Any, status: int, body: bytes, executes: bool) -> None:
    async def story(rig: Any) -> None:
        rig.faults[ORDER] = answered_after(status, body) if executes else answered_instead(status, body)
        answer = await rig.order(newClientOrderId="odd")
        assert (answer.status, answer.text) == (status, body.decode())
        assert bool(rig.exchange.working()) is executes

    tell(story)


def test_a_request_can_be_late_so_late_that_it_is_refused(tell: Any) -> None:
    async def story(rig: Any) -> None:
        rig.faults[ORDER] = delayed(6 * SECOND)
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(rig.order())
            while not sending.done():
                await rig.clock.advance(100 * MILLISECOND)
                await asyncio.sleep(0)
        assert sending.result().refusal[1] == -1021

    tell(story)
