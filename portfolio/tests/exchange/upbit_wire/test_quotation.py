"""Public data over REST."""

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimp.portfolio.exchange.upbit_wire.public import orderbook
from kimp.portfolio.exchange.upbit_wire.tape import bars
from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.candles import Candle
from kimp.shared.domain.time import DAY, HOUR, MINUTE, SECOND

WALK = ["100000000", "100500000", "99000000", "101000000", "101000000", "98000000"]


async def walk(market: Any, clock: Any, pause: int) -> None:
    """The market moves along, one quote per pause."""
    for bid in WALK:
        market.quote(bid, str(int(bid) + 1000))
        await clock.move(pause)


def test_markets_are_listed_with_their_names(kit: SimpleNamespace, market: Any) -> None:
    async def story() -> None:
        async with market.open() as client:
            listed = (await client.get("/v1/market/all")).json
            assert listed[0] == {"market": "KRW-BTC", "korean_name": "비트코인", "english_name": "Bitcoin"}
            detailed = (await client.get("/v1/market/all", "is_details=true")).json
            assert detailed[0]["market_event"]["warning"] is False

    kit.run(story())


def test_a_book_has_as_many_rows_as_asked_for(kit: SimpleNamespace, market: Any) -> None:
    market.quote(rows=5)

    async def story() -> None:
        async with market.open() as client:
            (whole,) = (await client.get("/v1/orderbook", "markets=KRW-BTC")).json
            assert len(whole["orderbook_units"]) == 5
            assert whole["orderbook_units"][0] == {
                "ask_price": 100001000,
                "bid_price": 100000000,
                "ask_size": 1,
                "bid_size": 1,
            }
            (some,) = (await client.get("/v1/orderbook", "markets=KRW-BTC&count=2")).json
            assert (len(some["orderbook_units"]), some["total_bid_size"]) == (2, 2)
            assert some["timestamp"] == kit.START // 10**6
            missing = await client.get("/v1/orderbook", "markets=KRW-BTC,KRW-NIX")
            assert (missing.status, missing.error) == (404, 404)
            assert (await client.get("/v1/orderbook")).status == 400
            assert (await client.get("/v1/orderbook", "markets=KRW-USDT")).json == []  # no book yet

    kit.run(story())


def test_the_price_step_is_the_one_in_force_at_this_price(kit: SimpleNamespace, clock: Any, market: Any) -> None:
    market.show(kit.book(kit.USDT, "1400", "1401", clock.now()))
    market.quote("900000", "900500")

    async def story() -> None:
        async with market.open() as client:
            policies = (await client.get("/v1/orderbook/instruments", "markets=KRW-BTC,KRW-USDT")).json
            assert [(policy["market"], policy["tick_size"]) for policy in policies] == [
                ("KRW-BTC", "500"),
                ("KRW-USDT", "1"),
            ]

    kit.run(story())


def test_ticker_trades_and_candles_tell_the_same_story(kit: SimpleNamespace, clock: Any, market: Any) -> None:
    async def story() -> None:
        async with market.open() as client:
            await walk(market, clock, 20 * SECOND)
            trades = (await client.get("/v1/trades/ticks", "market=KRW-BTC&count=500")).json
            prices = [trade["trade_price"] for trade in trades]
            # bought at the ask when the market rose, sold at the bid when it fell, nothing where it stood still
            assert prices == [98000000, 101001000, 99000000, 100501000, 100001000]
            assert [trade["sequential_id"] for trade in trades] == [5, 4, 3, 2, 1]
            assert trades[0]["ask_bid"] == "ASK"
            rest = (await client.get("/v1/trades/ticks", "market=KRW-BTC&count=500&cursor=3")).json
            assert [trade["sequential_id"] for trade in rest] == [2, 1]
            (ticker,) = (await client.get("/v1/ticker", "markets=KRW-BTC")).json
            assert (ticker["trade_price"], ticker["opening_price"]) == (98000000, 100001000)
            assert (ticker["high_price"], ticker["low_price"]) == (max(prices), min(prices))
            assert ticker["acc_trade_volume_24h"] == 5
            assert ticker["acc_trade_price_24h"] == sum(prices)
            assert ticker["change"] == "FALL"
            candles = (await client.get("/v1/candles/minutes/1", "market=KRW-BTC&count=200")).json
            assert sum(candle["candle_acc_trade_volume"] for candle in candles) == 5
            assert candles[0]["trade_price"] == prices[0]
            assert candles[-1]["opening_price"] == prices[-1]

    kit.run(story())


def test_candles_come_newest_first_without_empty_minutes_and_before_to(
    kit: SimpleNamespace, clock: Any, market: Any
) -> None:
    async def story() -> None:
        async with market.open() as client:
            await walk(market, clock, 3 * MINUTE)
            every = (await client.get("/v1/candles/minutes/1", "market=KRW-BTC&count=200")).json
            labels = [candle["candle_date_time_utc"] for candle in every]
            assert len(labels) == 5  # sixteen minutes, five of them with a trade
            assert labels == sorted(labels, reverse=True)
            assert every[0]["unit"] == 1
            cut = (await client.get("/v1/candles/minutes/1", f"market=KRW-BTC&count=200&to={labels[1]}Z")).json
            assert [candle["candle_date_time_utc"] for candle in cut] == labels[2:]
            korean = every[1]["candle_date_time_kst"]
            again = await client.get("/v1/candles/minutes/1", f"market=KRW-BTC&count=200&to={korean}+09:00")
            assert again.json == cut
            assert len((await client.get("/v1/candles/minutes/1", "market=KRW-BTC")).json) == 1
            (hour,) = (await client.get("/v1/candles/minutes/60", "market=KRW-BTC&count=5")).json
            assert hour["candle_acc_trade_volume"] == 5
            (day,) = (await client.get("/v1/candles/days", "market=KRW-BTC&count=5")).json
            assert (day["candle_date_time_utc"], day["low_price"]) == ("2026-09-21T00:00:00", 98000000)
            assert (await client.get("/v1/candles/minutes/7", "market=KRW-BTC")).status == 400

    kit.run(story())


@pytest.mark.parametrize(
    "query", ["count=0", "count=x", "count=-1", "to=yesterday", "count=99999999999999999999", "cursor=x"]
)
def test_nonsense_is_refused(kit: SimpleNamespace, market: Any, query: str) -> None:
    path = "/v1/trades/ticks" if "cursor" in query else "/v1/candles/minutes/1"

    async def story() -> None:
        async with market.open() as client:
            reply = await client.get(path, f"market=KRW-BTC&{query}")
            assert (reply.status, reply.error) == (400, "validation_error")

    kit.run(story())


def test_what_nobody_offers_is_not_found(kit: SimpleNamespace, market: Any) -> None:
    async def story() -> None:
        async with market.open() as client:
            assert (await client.get("/v1/nothing")).status == 404
            assert (await client.call("PUT", "/v1/orders")).status == 405

    kit.run(story())


def test_the_thinner_side_of_a_book_is_filled_up_with_nothing() -> None:
    bids = (Level(Decimal("2.50E-7"), Decimal("9124.5")), Level(Decimal("2.4E-7"), Decimal(1)))
    shown = orderbook(Book("upbit:BTC-X", bids, (Level(Decimal(1), Decimal(2)),), 0, 0), 30)
    assert shown["orderbook_units"][1] == {"ask_price": 0, "bid_price": Decimal("2.4E-7"), "ask_size": 0, "bid_size": 1}


minutes_with_trades = st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 50), st.integers(1, 9)), max_size=80)


@given(minutes_with_trades, st.sampled_from([1, 3, 5, 60, 240, 1440]), st.integers(0, 3000))
def test_longer_bars_hold_exactly_what_their_minutes_hold(
    traded: list[tuple[int, int, int]], length: int, before: int
) -> None:
    by_minute = {minute: (price, size) for minute, price, size in traded}
    candles = [
        Candle("upbit:KRW-BTC", MINUTE, minute * MINUTE, *([Decimal(price)] * 4), Decimal(size), Decimal(price * size),
               is_closed=True, received_at=0)
        for minute, (price, size) in sorted(by_minute.items())
    ]  # fmt: skip
    made = bars(candles, length, before=before * MINUTE, count=5000, now=3 * DAY)
    kept = {minute: it for minute, it in by_minute.items() if minute // length * length < before}
    assert sum(bar.volume for bar in made) == sum(size for _, size in kept.values())
    assert [bar.opened_at for bar in made] == sorted({m // length * length * MINUTE for m in kept}, reverse=True)
    for bar in made:
        inside = [it[0] for m, it in sorted(kept.items()) if m // length * length * MINUTE == bar.opened_at]
        assert (bar.open, bar.close, bar.high, bar.low) == (inside[0], inside[-1], max(inside), min(inside))


def test_yesterdays_close_is_what_today_is_compared_with(kit: SimpleNamespace, clock: Any, market: Any) -> None:
    async def story() -> None:
        async with market.open() as client:
            market.quote("100000000", "100001000")
            await clock.move(12 * HOUR)  # past 09:00 in Korea
            market.quote("110000000", "110001000")
            (ticker,) = (await client.get("/v1/ticker", "markets=KRW-BTC")).json
            assert (ticker["prev_closing_price"], ticker["opening_price"]) == (100001000, 110001000)
            assert (ticker["change"], ticker["signed_change_price"]) == ("RISE", 10000000)
            assert ticker["acc_trade_volume"] == 1
            assert ticker["acc_trade_volume_24h"] == 2

    kit.run(story())


def test_numbers_are_json_numbers_to_the_last_digit(kit: SimpleNamespace, clock: Any, market: Any) -> None:
    market.show(kit.book(kit.USDT, "1400", "1401", clock.now(), size="0.00000001"))

    async def story() -> None:
        async with market.open() as client:
            url = f"{market.served.http_url}/v1/orderbook?markets=KRW-USDT"
            async with client.session.get(url) as response:
                raw = await response.read()
            assert b'"ask_size":1E-8' in raw
            assert msgspec.json.decode(raw)[0]["total_ask_size"] == 3e-08

    kit.run(story())
