"""The private stream over a real socket: what is pushed, what is missed, and what is silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from kimp.order.exchanges import upbit_stream
from kimp.order.exchanges.upbit import UpbitExchange
from kimp.shared.domain.orders import OrderStatus
from kimp.shared.domain.time import KST, MILLISECOND, SECOND, Nanos, to_datetime
from kimp.shared.messages.events import ClockMeasured, Event, OrderFilled, OrderReported, VenueChanged
from kimp.storage.feeds.clocks import SystemClock

Play = Callable[[Callable[[UpbitExchange, Any], Any]], Any]


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses as short as a test needs."""
    monkeypatch.setattr(upbit_stream, "CHECK_EVERY", 100 * MILLISECOND)
    monkeypatch.setattr(upbit_stream, "RETRY_AFTER", 50 * MILLISECOND)
    monkeypatch.setattr(upbit_stream, "BEAT", 100 * MILLISECOND)
    monkeypatch.setattr(upbit_stream, "PONG_S", 0.3)
    monkeypatch.setattr("kimp.order.exchanges.ratelimit.WAIT_MAX", 5 * SECOND)


def pushed(state: str, **more: Any) -> dict[str, Any]:
    told = {"type": "myOrder", "code": "KRW-BTC", "uuid": "u1", "ask_bid": "BID", "order_type": "limit"}
    numbers = {"price": 150_000_000, "volume": 0.01, "executed_volume": 0.01}
    return {**told, **numbers, "state": state, "identifier": "kimp-1", **more}


def trade(name: str) -> dict[str, Any]:
    at = SystemClock().now() // MILLISECOND
    return pushed("trade", trade_uuid=name, trade_fee=750, trade_timestamp=at)


def order(name: str, trade_name: str, at: Nanos, **more: Any) -> dict[str, Any]:
    moment = to_datetime(at).astimezone(KST).isoformat()
    deal = {"uuid": trade_name, "price": "150000000", "volume": "0.01", "created_at": moment}
    told = {"uuid": name, "market": "KRW-BTC", "side": "bid", "state": "done", "created_at": moment}
    numbers = {"executed_volume": "0.01", "paid_fee": "750"}
    return {**told, **numbers, "identifier": "kimp-1", "trades": [deal], **more}


def with_history(fake: Any, *orders: dict[str, Any]) -> None:
    """These orders happened; nothing rests."""
    fake.on("GET /v1/orders/closed", (200, list(orders)))
    fake.on("GET /v1/orders/open", (200, []))

    async def answer_one(request: web.Request) -> web.StreamResponse:
        return web.json_response(next(found for found in orders if found["uuid"] == request.query["uuid"]))

    fake.on("GET /v1/order", answer_one)


async def first(events: AsyncIterator[Event], kind: type[Event], count: int = 1) -> list[Any]:
    """The next ``count`` events of a kind; clock readings and the rest are let pass."""
    found: list[Any] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            event = await anext(events)
            if isinstance(event, kind):
                found.append(event)
    return found


@asynccontextmanager
async def reading(events: AsyncIterator[Event], kind: type[Event]) -> AsyncIterator[asyncio.Task[list[Any]]]:
    """Somebody reads on meanwhile."""
    async with asyncio.TaskGroup() as group:
        yield group.create_task(first(events, kind))


def test_what_is_pushed_is_told(play: Play) -> None:
    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        with_history(fake)
        async with aclosing(exchange.reports()) as events:
            async with reading(events, OrderFilled) as found:
                await fake.until(lambda: bool(fake.said))
                await fake.push(trade("t1"))
            (filled,) = found.result()
            await fake.push(pushed("done"))
            (reported,) = await first(events, OrderReported)
        return filled, reported, fake.socket_headers[0], fake.said[0]

    filled, reported, headers, said = play(scene)
    assert (filled.fill.trade_id, filled.fill.quantity) == ("t1", Decimal("0.01"))
    assert (reported.report.status, reported.report.executed) == (OrderStatus.DONE, Decimal("0.01"))
    assert headers["Authorization"].startswith("Bearer ")
    assert "Origin" not in headers
    assert said == '[{"ticket":"kimp"},{"type":"myOrder"},{"type":"myAsset"}]'


def test_what_was_missed_while_away_is_fetched_and_told_once(play: Play) -> None:
    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        with_history(fake)
        async with aclosing(exchange.reports()) as events:
            await first(events, ClockMeasured)
            with_history(fake, order("u1", "missed", SystemClock().now()))
            await fake.sockets[-1].close()
            (filled,) = await first(events, OrderFilled)
            (reported,) = await first(events, OrderReported)
            again = []
            async with asyncio.timeout(10):
                while len(fake.sockets) < 2 or len(again) < 3:  # several checks later
                    again.append(await anext(events))
        return filled, reported, again

    filled, reported, again = play(scene)
    assert filled.fill.trade_id == "missed"
    assert filled.fill.fee.value == Decimal(750)
    assert (reported.report.client_id, reported.report.executed) == ("kimp-1", Decimal("0.01"))
    assert not [event for event in again if isinstance(event, OrderFilled | OrderReported)]


def test_a_stream_that_keeps_silent_about_a_fill_is_replaced(play: Play) -> None:
    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        with_history(fake)
        async with aclosing(exchange.reports()) as events:
            await first(events, ClockMeasured)
            with_history(fake, order("u1", "untold", SystemClock().now() - 10 * SECOND))
            (filled,) = await first(events, OrderFilled)
            async with reading(events, VenueChanged) as found:
                await fake.until(lambda: len(fake.said) >= 2)
                found.cancel()
        return filled

    assert play(scene).fill.trade_id == "untold"


def test_a_fill_told_by_the_stream_does_not_make_it_suspect(play: Play) -> None:
    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        with_history(fake)
        async with aclosing(exchange.reports()) as events:
            await first(events, ClockMeasured)
            await fake.push(trade("t1"))
            await first(events, OrderFilled)
            with_history(fake, order("u1", "t1", SystemClock().now() - 10 * SECOND))
            await first(events, ClockMeasured, 4)
        return len(fake.sockets)

    assert play(scene) == 1


def test_a_fill_so_fresh_that_its_message_may_be_on_its_way_accuses_nobody(play: Play) -> None:
    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        with_history(fake)
        async with aclosing(exchange.reports()) as events:
            await first(events, ClockMeasured)
            with_history(fake, order("u1", "fresh", SystemClock().now()))
            await first(events, OrderFilled)
            await first(events, ClockMeasured, 3)
        return len(fake.sockets)

    assert play(scene) == 1


def test_a_message_that_cannot_be_read_sends_us_to_rest(play: Play) -> None:
    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        with_history(fake)
        async with aclosing(exchange.reports()) as events:
            await first(events, ClockMeasured)
            with_history(fake, order("u1", "unread", SystemClock().now()))
            await fake.push({"type": "myOrder", "surprise": True})
            (filled,) = await first(events, OrderFilled)
        return filled

    assert play(scene).fill.trade_id == "unread"


def test_a_stream_without_pongs_is_dead(play: Play) -> None:
    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        with_history(fake)
        socket = fake._socket

        async def deaf(request: web.Request) -> web.StreamResponse:
            if fake.socket_headers:
                response: web.StreamResponse = await socket(request)
                return response
            fake.socket_headers.append({})
            answer = web.WebSocketResponse(autoping=False)
            await answer.prepare(request)
            async for _ in answer:
                pass
            return answer

        fake._socket = deaf
        async with aclosing(exchange.reports()) as events, reading(events, VenueChanged) as found:
            await fake.until(lambda: bool(fake.said))
            found.cancel()
        return True

    assert play(scene)


def test_maintenance_is_told_when_it_begins_and_when_it_ends(play: Play) -> None:
    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        with_history(fake)
        async with aclosing(exchange.reports()) as events:
            await first(events, ClockMeasured)
            fake.on("GET /v1/orders/open", (503, {}))
            (away,) = await first(events, VenueChanged)
            with_history(fake)
            (back,) = await first(events, VenueChanged)
        return away, back

    away, back = play(scene)
    assert (away.is_available, back.is_available) == (False, True)
    assert "503" in away.reason


def test_an_order_nobody_can_read_hides_no_other(play: Play) -> None:
    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        now = SystemClock().now()
        with_history(fake, order("u0", "odd", now, side="sideways"), order("u1", "plain", now))
        async with aclosing(exchange.reports()) as events:
            (filled,) = await first(events, OrderFilled)
        return filled

    assert play(scene).fill.trade_id == "plain"


def test_without_a_stream_rest_still_tells_what_happens(play: Play) -> None:
    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        fake.socket_status = 401
        with_history(fake, order("u1", "t1", SystemClock().now()))
        async with aclosing(exchange.reports()) as events:
            (filled,) = await first(events, OrderFilled)
        return filled

    assert play(scene).fill.trade_id == "t1"


def test_the_stream_ends_with_its_reader(play: Play) -> None:
    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        with_history(fake)
        async with aclosing(exchange.reports()) as events:
            await first(events, ClockMeasured)
        await fake.until(lambda: fake.ended == 1)
        return True

    assert play(scene)


def test_leaving_the_exchange_ends_a_stream_whose_reader_looks_away(play: Play) -> None:
    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        with_history(fake)
        events = exchange.reports()
        await first(events, ClockMeasured)
        return events

    play(scene)
