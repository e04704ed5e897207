"""What the venue pushes reaches the engine, and what it does not push is found out and fetched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from random import Random
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimp.order.exchanges.binance import BinanceExchange
from kimp.order.exchanges.binance_lists import next_funding
from kimp.order.exchanges.binance_pushes import decode
from kimp.order.exchanges.binance_stream import stream_url
from kimp.shared.domain.instruments import Side
from kimp.shared.domain.money import Amount
from kimp.shared.domain.orders import Accepted, Fill, Order, OrderReport, OrderStatus
from kimp.shared.domain.time import HOUR, MILLISECOND, MINUTE, SECOND
from kimp.shared.messages.events import ClockMeasured, Event, FundingPaid, OrderFilled, OrderReported, VenueChanged
from kimp.shared.settings import Binance

With = Callable[..., None]
TRADES, ORDER, INCOME = "GET /fapi/v1/userTrades", "GET /fapi/v1/order", "GET /fapi/v1/income"
POST, KEYS = "POST /fapi/v1/order", "POST /fapi/v1/listenKey"
FAST = 60  # a minute a second
WITHIN_S = 8.0


def order_update(**changed: Any) -> dict[str, Any]:
    """ "Event: Order Update" as documented."""
    order = {
        "s": "BTCUSDT",
        "c": "kimp-0123456789abcdef0123-1-0",
        "S": "SELL",
        "o": "LIMIT",
        "f": "IOC",
        "q": "0.070",
        "p": "100000",
        "ap": "0",
        "sp": "0",
        "x": "TRADE",
        "X": "PARTIALLY_FILLED",
        "i": 8886774,
        "l": "0.020",
        "z": "0.030",
        "L": "100000.5",
        "N": "USDT",
        "n": "1.00000500",
        "T": 1568879465650,
        "t": 77,
        "b": "0",
        "a": "9.91",
        "m": False,
        "R": False,
        "wt": "CONTRACT_PRICE",
        "ot": "LIMIT",
        "ps": "BOTH",
        "cp": False,
        "rp": "0",
        "si": 0,
        "ss": 0,
    }
    return {"e": "ORDER_TRADE_UPDATE", "E": 1568879465651, "T": 1568879465650, "o": order | changed}


def account_update(reason: str) -> dict[str, Any]:
    """ "Event: Balance and Position Update" as documented."""
    balances = [{"a": "USDT", "wb": "122624.12345678", "cw": "100.12345678", "bc": "-0.25"}]
    return {"e": "ACCOUNT_UPDATE", "E": 1564745798939, "T": 1564745798938, "a": {"m": reason, "B": balances, "P": []}}


def events_of(payload: Any) -> tuple[Event, ...]:
    return decode(msgspec.json.encode(payload), 5).events


# -- one message ------------------------------------------------------------------------------------------------------


def test_a_trade_is_a_fill_with_its_fee() -> None:
    assert events_of(order_update()) == (
        OrderFilled(
            5,
            Fill(
                "77",
                "kimp-0123456789abcdef0123-1-0",
                "binance:BTCUSDT",
                Side.SELL,
                Decimal("0.020"),
                Decimal("100000.5"),
                Amount(Decimal("1.00000500"), "USDT"),
                1568879465650 * MILLISECOND,
            ),
        ),
    )


def test_a_trade_without_a_fee_costs_nothing() -> None:
    payload = order_update()
    del payload["o"]["n"], payload["o"]["N"]
    (event,) = events_of(payload)
    assert isinstance(event, OrderFilled)
    assert event.fill.fee == Amount(Decimal(0), "USDT")


@pytest.mark.parametrize("status", ["FILLED", "CANCELED", "EXPIRED", "EXPIRED_IN_MATCH"])
def test_an_end_is_reported_with_what_was_filled_in_all(status: str) -> None:
    (event,) = events_of(order_update(x=status, X=status, l="0", t=0))
    report = OrderReport("kimp-0123456789abcdef0123-1-0", OrderStatus.DONE, Decimal("0.030"))
    assert event == OrderReported(5, report)


def test_the_last_trade_is_told_before_the_end() -> None:
    filled, reported = events_of(order_update(X="FILLED", z="0.070"))
    assert isinstance(filled, OrderFilled)
    assert isinstance(reported, OrderReported)


@pytest.mark.parametrize("execution", ["NEW", "AMENDMENT"])
def test_a_resting_order_is_no_event_but_proof_that_the_stream_lives(execution: str) -> None:
    push = decode(msgspec.json.encode(order_update(x=execution, X="NEW", l="0", t=0)), 5)
    assert push.events == ()
    assert push.order == "kimp-0123456789abcdef0123-1-0"


@pytest.mark.parametrize("client_id", ["autoclose-1568879465650", "adl_autoclose", "settlement_autoclose-1"])
def test_a_liquidation_keeps_the_venues_name(client_id: str) -> None:
    filled, _ = events_of(order_update(c=client_id, o="LIQUIDATION", x="CALCULATED", X="FILLED"))
    assert isinstance(filled, OrderFilled)
    assert filled.fill.client_id == client_id


def test_a_trade_without_a_number_is_looked_up_instead_of_invented() -> None:
    push = decode(msgspec.json.encode(order_update(x="CALCULATED", X="FILLED", t=0)), 5)
    assert push.has_nameless_trade
    assert not any(isinstance(event, OrderFilled) for event in push.events)


def test_funding_is_not_booked_from_the_balance() -> None:
    push = decode(msgspec.json.encode(account_update("FUNDING_FEE")), 5)
    assert push.has_funding
    assert push.events == ()
    assert not decode(msgspec.json.encode(account_update("ORDER")), 5).has_funding


def test_a_combined_streams_wrapping_is_taken_off() -> None:
    assert len(events_of({"stream": "key", "data": order_update()})) == 1


def test_an_expired_key_is_noticed() -> None:
    assert decode(b'{"e":"listenKeyExpired","E":"1736996475556","listenKey":"x"}', 5).has_key_expired


def test_other_news_is_passed_over() -> None:
    push = decode(b'{"e":"MARGIN_CALL","E":1,"cw":"3","p":[]}', 5)
    assert push.is_readable
    assert push.events == ()


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60)))
def test_nonsense_is_never_raised(payload: bytes | str) -> None:
    assert decode(payload, 5).events == ()


@given(st.sampled_from(sorted(order_update()["o"])), st.one_of(st.none(), st.text(max_size=4), st.integers()))
def test_a_broken_field_is_told_as_unreadable_or_still_understood(field: str, value: Any) -> None:
    push = decode(msgspec.json.encode(order_update(**{field: value})), 5)
    assert push.events or not push.is_readable or push.has_nameless_trade or push.order is not None


def test_the_address_names_the_key_and_what_is_wanted() -> None:
    url = stream_url("wss://fstream.binance.com/private/", "a/b")
    wanted = "ORDER_TRADE_UPDATE/ACCOUNT_UPDATE/listenKeyExpired"
    assert url == f"wss://fstream.binance.com/private/ws?listenKey=a%2Fb&events={wanted}"


@given(st.integers(0, 10**6))
def test_funding_is_looked_for_a_minute_past_every_hour(minute: int) -> None:
    now = minute * MINUTE + 17 * SECOND
    at = next_funding(now)
    assert now < at <= now + 10 * MINUTE
    assert any((at + step * 10 * MINUTE) % HOUR == MINUTE for step in range(6))


# -- the stream -------------------------------------------------------------------------------------------------------

E = TypeVar("E", bound=Event)


class Listener:
    """Takes every event and lets a test wait for one."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._news = asyncio.Event()

    async def take(self, reports: AsyncIterator[Event]) -> None:
        async for event in reports:
            self.events.append(event)
            self._news.set()

    async def wait_for(self, kind: type[E], fits: Callable[[E], bool] = lambda _: True) -> E:
        async with asyncio.timeout(WITHIN_S):
            while True:
                for event in self.events:
                    if isinstance(event, kind) and fits(event):
                        return event
                self._news.clear()
                await self._news.wait()

    def count(self, kind: type[E]) -> int:
        return sum(isinstance(event, kind) for event in self.events)


@asynccontextmanager
async def listening(exchange: BinanceExchange) -> AsyncIterator[Listener]:
    listener = Listener()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(listener.take(exchange.reports()))
        yield listener
        task.cancel()


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not true():
            await asyncio.sleep(0.005)


def listed(clock: Any, number: int, ago_s: int = 0) -> dict[str, Any]:
    return {
        "commission": "0.5",
        "commissionAsset": "USDT",
        "id": number,
        "orderId": 1,
        "price": "100000.0",
        "qty": "0.010",
        "side": "BUY",
        "symbol": "BTCUSDT",
        "time": (clock.now() - ago_s * SECOND) // MILLISECOND,
    }


def an_income(clock: Any, number: int) -> dict[str, Any]:
    at = clock.now() // MILLISECOND
    return {
        "symbol": "BTCUSDT",
        "incomeType": "FUNDING_FEE",
        "income": "-1",
        "asset": "USDT",
        "tranId": number,
        "time": at,
    }


def test_a_push_reaches_us_and_the_clock_is_told(with_venue: With) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.skew = 100 * MILLISECOND
        async with listening(exchange) as heard:
            await until(lambda: venue.streams)
            await venue.push(order_update())
            filled = await heard.wait_for(OrderFilled)
            assert filled.fill.trade_id == "77"
            measured = await heard.wait_for(ClockMeasured)
            assert abs(measured.skew - venue.skew) < 50 * MILLISECOND
        assert not venue.told("DELETE /fapi/v1/listenKey")  # another program may use the same key

    with_venue(story)


def test_after_a_break_what_was_missed_is_fetched_and_told_once(with_venue: With) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.always[ORDER] = {"orderId": 1, "clientOrderId": "autoclose-1", "symbol": "BTCUSDT"}
        async with listening(exchange) as heard:
            await until(lambda: venue.streams)
            await venue.push(order_update(t=5))
            await heard.wait_for(OrderFilled)
            venue.always[TRADES] = lambda _: [listed(venue.clock, 5), listed(venue.clock, 6)]
            venue.always[INCOME] = lambda _: [an_income(venue.clock, 900)]
            venue.keys = 2
            await venue.break_streams()
            missed = await heard.wait_for(OrderFilled, lambda told: told.fill.trade_id == "6")
            assert missed.fill.client_id == "autoclose-1"
            paid = await heard.wait_for(FundingPaid)
            assert (paid.payment.payment_id, paid.payment.amount) == ("900", Amount(Decimal(-1), "USDT"))
            await until(lambda: len(venue.opened) == 2 and venue.streams)
            assert venue.opened[1].startswith("key-2 ")
            await venue.push(order_update(t=7))
            await heard.wait_for(OrderFilled, lambda told: told.fill.trade_id == "7")
            assert [event.fill.trade_id for event in heard.events if isinstance(event, OrderFilled)] == ["5", "6", "7"]

    with_venue(story, speed=5)


def test_a_list_that_cannot_be_read_after_a_break_is_read_again(with_venue: With) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.always[ORDER] = {"orderId": 1, "clientOrderId": "kimp-a", "symbol": "BTCUSDT"}
        venue.script[TRADES].extend([(500, {})] * 4 + ["reset", (429, {"code": -1003, "msg": "slow down"})])
        venue.always[TRADES] = lambda _: [listed(venue.clock, 6)]
        async with listening(exchange) as heard:
            await heard.wait_for(OrderFilled, lambda told: told.fill.trade_id == "6")

    with_venue(story, speed=10)


def test_a_stream_that_says_nothing_of_our_order_is_replaced(with_venue: With, an_order: Order) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.always[POST] = {"orderId": 1, "clientOrderId": an_order.client_id, "symbol": "BTCUSDT", "status": "NEW"}
        venue.is_deaf = True
        async with listening(exchange):
            await until(lambda: venue.opened)
            assert isinstance(await exchange.place(an_order), Accepted)
            venue.is_deaf = False
            await until(lambda: venue.streams)
            assert len(venue.opened) == 2

    with_venue(story, speed=FAST)


@pytest.mark.parametrize("is_overtaken", [False, True])
def test_a_stream_that_tells_of_our_order_is_kept(with_venue: With, an_order: Order, is_overtaken: bool) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.always[POST] = {"orderId": 1, "clientOrderId": an_order.client_id, "symbol": "BTCUSDT", "status": "NEW"}
        async with listening(exchange) as heard:
            await until(lambda: venue.streams)
            push = order_update(c=an_order.client_id, x="EXPIRED", X="EXPIRED", l="0", t=0)
            if is_overtaken:  # a push may be faster than the answer
                await venue.push(push)
                await heard.wait_for(OrderReported)
            assert isinstance(await exchange.place(an_order), Accepted)
            if not is_overtaken:
                await venue.push(push)
            placed_at = venue.clock.now()
            await until(lambda: venue.clock.now() > placed_at + 15 * SECOND)
            assert len(venue.opened) == 1

    with_venue(story, speed=10)


def test_a_stream_that_hides_a_trade_is_replaced(with_venue: With) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.always[ORDER] = {"orderId": 1, "clientOrderId": "kimp-a", "symbol": "BTCUSDT"}
        async with listening(exchange) as heard:
            await until(lambda: venue.streams)
            opened_at = venue.clock.now()
            await until(lambda: venue.clock.now() > opened_at + 20 * SECOND)
            hidden = listed(venue.clock, 6)
            venue.always[TRADES] = [hidden]
            await heard.wait_for(OrderFilled)
            await until(lambda: len(venue.opened) == 2)

    with_venue(story, speed=FAST)


def test_a_liquidation_told_without_its_number_is_fetched_from_the_list_at_once(with_venue: With) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.always[ORDER] = {"orderId": 1, "clientOrderId": "autoclose-1", "symbol": "BTCUSDT"}
        async with listening(exchange) as heard:
            await until(lambda: venue.streams and venue.told(TRADES))
            venue.always[TRADES] = [listed(venue.clock, 6)]
            await venue.push(order_update(c="autoclose-1", x="CALCULATED", X="FILLED", t=0))
            told = await heard.wait_for(OrderFilled)
            assert (told.fill.trade_id, told.fill.client_id) == ("6", "autoclose-1")

    with_venue(story)


def test_an_expired_key_is_replaced_by_a_new_one(with_venue: With) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        async with listening(exchange):
            await until(lambda: venue.streams)
            venue.keys = 2
            await venue.push({"e": "listenKeyExpired", "E": "1", "listenKey": "key-1"})
            await until(lambda: len(venue.opened) == 2)
            assert venue.opened[1].startswith("key-2 ")

    with_venue(story, speed=FAST)


def test_a_key_is_renewed_in_time_and_replaced_when_it_is_gone(with_venue: With) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        put = "PUT /fapi/v1/listenKey"
        async with listening(exchange):
            await until(lambda: len(venue.told(put)) >= 2)
            assert len(venue.opened) == 1
            venue.always[put] = (400, {"code": -1125, "msg": "This listenKey does not exist."})
            await until(lambda: len(venue.opened) == 2)

    with_venue(story, speed=3_600)


def test_a_connection_is_replaced_before_its_day_is_over(with_venue: With) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        async with listening(exchange):
            await until(lambda: len(venue.opened) == 2)
            assert len(venue.told(KEYS)) == 2

    with_venue(story, speed=50_000)


def test_a_settlement_pushed_is_told_from_its_record(with_venue: With) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        async with listening(exchange) as heard:
            await until(lambda: venue.streams)
            opened_at = venue.clock.now()
            await until(lambda: venue.clock.now() > opened_at + 3 * SECOND)  # the first readings are over
            venue.always[INCOME] = lambda _: [an_income(venue.clock, 900), an_income(venue.clock, 901)]
            await venue.push(account_update("FUNDING_FEE"))
            await heard.wait_for(FundingPaid, lambda told: told.payment.payment_id == "901")
            assert heard.count(FundingPaid) == 2

    with_venue(story, speed=10)


def test_a_venue_that_stops_answering_is_told_and_its_return_too(with_venue: With) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        time, good = "GET /fapi/v1/time", venue.always["GET /fapi/v1/time"]
        async with listening(exchange) as heard:
            await heard.wait_for(ClockMeasured)
            assert not heard.count(VenueChanged)
            venue.always[time] = (503, {"code": 0, "msg": "Service Unavailable."})
            gone = await heard.wait_for(VenueChanged)
            assert not gone.is_available
            assert "Service Unavailable" in gone.reason
            venue.always[time] = good
            await heard.wait_for(VenueChanged, lambda told: told.is_available)
            assert heard.count(VenueChanged) == 2

    with_venue(story, speed=FAST)


def test_a_venue_that_is_away_at_the_start_is_waited_for(with_venue: With) -> None:
    async def story(venue: Any, _: BinanceExchange) -> None:
        settings = Binance(rest_url="http://127.0.0.1:9", ws_private_url="ws://127.0.0.1:9")
        async with BinanceExchange(settings, [], venue.clock, Random(3)) as exchange, listening(exchange) as heard:
            gone = await heard.wait_for(VenueChanged)
            assert (gone.is_available, gone.reason) == (False, "not_sent")

    with_venue(story, speed=FAST)


def test_nobody_listening_any_more_ends_the_stream(with_venue: With) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        reports = exchange.reports()
        await anext(reports)
        await until(lambda: venue.streams)
        await reports.aclose()
        await until(lambda: not venue.streams)
        reports = exchange.reports()
        await anext(reports)
        await until(lambda: venue.streams)
        await reports.aclose()

    with_venue(story)
