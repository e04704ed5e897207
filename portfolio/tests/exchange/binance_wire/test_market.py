"""Public market data over raw HTTP."""

from typing import Any

import pytest

from kimp.shared.domain.time import HOUR, MILLISECOND, MINUTE, SECOND


def test_the_venue_tells_its_clock_its_rules_and_its_limits(tell: Any) -> None:
    async def story(rig: Any) -> None:
        assert (await rig.ask("GET", "/fapi/v1/ping")).json == {}
        assert (await rig.ask("GET", "/fapi/v1/time")).json == {"serverTime": rig.clock.now() // MILLISECOND}
        info = (await rig.ask("GET", "/fapi/v1/exchangeInfo")).json
        btc, eth = info["symbols"]
        filters = {one["filterType"]: one for one in btc["filters"]}
        assert (filters["PRICE_FILTER"]["tickSize"], filters["LOT_SIZE"]["stepSize"]) == ("0.1", "0.001")
        assert (filters["MIN_NOTIONAL"]["notional"], filters["LOT_SIZE"]["maxQty"]) == ("100", "1000.000")
        assert (btc["pricePrecision"], btc["quantityPrecision"], eth["pricePrecision"]) == (1, 3, 2)
        assert info["rateLimits"][0]["limit"] == 2400

    tell(story)


def test_a_book_has_as_many_rows_as_were_asked_for(tell: Any) -> None:
    async def story(rig: Any) -> None:
        book = (await rig.ask("GET", "/fapi/v1/depth", symbol="BTCUSDT", limit=5)).json
        assert book["bids"][0] == ["100000", "5"]
        assert (len(book["bids"]), len(book["asks"])) == (5, 5)
        empty = (await rig.ask("GET", "/fapi/v1/depth", symbol="ETHUSDT")).json
        assert (empty["bids"], empty["asks"]) == ([], [])
        assert (await rig.ask("GET", "/fapi/v1/depth", symbol="BTCUSDT", limit=7)).refusal[1] == -4021

    tell(story)


def test_tickers_of_one_symbol_or_all(tell: Any) -> None:
    async def story(rig: Any) -> None:
        rig.show("100100")
        one = (await rig.ask("GET", "/fapi/v1/ticker/bookTicker", symbol="BTCUSDT")).json
        assert (one["bidPrice"], one["askPrice"]) == ("100100", "100100.1")
        assert (await rig.ask("GET", "/fapi/v1/ticker/bookTicker")).json == [one]
        assert (await rig.ask("GET", "/fapi/v1/ticker/price", symbol="BTCUSDT")).json["price"] == "100100.1"
        day = (await rig.ask("GET", "/fapi/v1/ticker/24hr", symbol="BTCUSDT")).json
        assert (day["openPrice"], day["lastPrice"], day["priceChange"]) == ("100000.1", "100100.1", "100.0")
        assert len((await rig.ask("GET", "/fapi/v1/ticker/24hr")).json) == 2

    tell(story)


def test_trades_can_be_asked_for_from_an_id_or_a_moment_on(tell: Any) -> None:
    async def story(rig: Any) -> None:
        for step in range(4):
            await rig.clock.advance(SECOND)
            rig.show(f"{100_001 + step}")
        everything = (await rig.ask("GET", "/fapi/v1/aggTrades", symbol="BTCUSDT")).json
        assert [trade["a"] for trade in everything] == [1, 2, 3, 4, 5]
        rest = await rig.ask("GET", "/fapi/v1/aggTrades", symbol="BTCUSDT", fromId=2, limit=2)
        assert rest.json == everything[1:3]
        late = await rig.ask("GET", "/fapi/v1/aggTrades", symbol="BTCUSDT", startTime=everything[3]["T"])
        assert late.json == everything[3:]
        assert [trade["id"] for trade in (await rig.ask("GET", "/fapi/v1/trades", symbol="BTCUSDT", limit=2)).json] == [
            4,
            5,
        ]
        hour = HOUR // MILLISECOND
        long = await rig.ask("GET", "/fapi/v1/aggTrades", symbol="BTCUSDT", startTime=0, endTime=hour + 1)
        assert long.refusal[1] == -4165

    tell(story)


def test_longer_candles_are_made_of_whole_minutes(tell: Any) -> None:
    async def story(rig: Any) -> None:
        await rig.clock.advance(5 * MINUTE - rig.clock.now() % (5 * MINUTE))
        for price in (100_100, 100_300, 99_900, 100_050, 100_070, 100_080):
            rig.show(f"{price}")
            await rig.clock.advance(MINUTE)
        rows = (await rig.ask("GET", "/fapi/v1/klines", symbol="BTCUSDT", interval="5m")).json
        assert [row[1:5] for row in rows[-2:]] == [
            ["100100.1", "100300.1", "99900.0", "100070.1"],
            ["100080.1", "100080.1", "100080.1", "100080.1"],
        ]
        recent = await rig.ask("GET", "/fapi/v1/klines", symbol="BTCUSDT", interval="1m", limit=2)
        assert [row[4] for row in recent.json] == ["100070.1", "100080.1"]
        since = await rig.ask("GET", "/fapi/v1/klines", symbol="BTCUSDT", interval="5m", startTime=rows[-1][0])
        assert since.json == rows[-1:]

    tell(story)


@pytest.mark.parametrize(
    ("path", "params", "code"),
    [
        ("/fapi/v1/depth", {}, -1102),
        ("/fapi/v1/depth", {"symbol": "XUSDT"}, -1121),
        ("/fapi/v1/klines", {"symbol": "BTCUSDT", "interval": "7m"}, -1120),
        ("/fapi/v1/klines", {"symbol": "BTCUSDT"}, -1102),
        ("/fapi/v1/trades", {"symbol": "BTCUSDT", "limit": "0"}, -1130),
        ("/fapi/v1/trades", {"symbol": "BTCUSDT", "limit": "x"}, -1102),
        ("/fapi/v1/premiumIndex", {"symbol": ""}, -1105),
        ("/fapi/v1/fundingRate", {"startTime": "2", "endTime": "1"}, -1023),
    ],
)
def test_a_question_written_wrongly_gets_its_code(tell: Any, path: str, params: Any, code: int) -> None:
    async def story(rig: Any) -> None:
        assert (await rig.ask("GET", path, **params)).refusal[:2] == (400, code)

    tell(story)
