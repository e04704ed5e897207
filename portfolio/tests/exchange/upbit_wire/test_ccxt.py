"""An unmodified ccxt client trades on the virtual Upbit: only its addresses and keys are set."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from kimp.shared.domain.time import MINUTE
from kimp.storage.feeds.clocks import SystemClock


@asynccontextmanager
async def stock_client(kind: type, market: Any) -> AsyncIterator[Any]:
    """A client as anybody would build it, pointed at loopback."""
    async with market.open() as raw:
        key = raw.key
        client = kind({"apiKey": key.access_key, "secret": key.secret, "enableRateLimit": False})
        http, ws = market.served.http_url, market.served.ws_url
        client.urls["api"] = {"public": http, "private": http, "ws": f"{ws}/websocket/v1"}
        try:
            yield client
        finally:
            await client.close()


@pytest.fixture
def live(kit: SimpleNamespace) -> Any:
    """A market on the real clock, quoting around a hundred million won."""
    clock = SystemClock()
    key = kit.api_key(expires_at=clock.now() + 1000 * MINUTE)
    market = kit.Market(clock, {"trader": key}, kit.balances(btc="1"))
    market.quote()
    market.quote("100001000", "100002000")
    return market


def test_a_stock_client_reads_the_market(kit: SimpleNamespace, live: Any) -> None:
    import ccxt.async_support as ccxt

    async def story() -> None:
        async with stock_client(ccxt.upbit, live) as client:
            markets = await client.load_markets()
            assert {"BTC/KRW", "USDT/KRW"} == set(markets)
            order_book = await client.fetch_order_book("BTC/KRW", 2)
            assert order_book["bids"] == [[100_001_000, 1], [100_000_000, 1]]
            assert order_book["asks"] == [[100_002_000, 1], [100_003_000, 1]]
            ticker = await client.fetch_ticker("BTC/KRW")
            assert ticker["last"] == 100_002_000
            tickers = await client.fetch_tickers()
            assert list(tickers) == ["BTC/KRW"]  # nothing traded in the other
            trades = await client.fetch_trades("BTC/KRW")
            assert [trade["price"] for trade in trades] == [100_001_000, 100_002_000]
            bars = await client.fetch_ohlcv("BTC/KRW", "1m")
            assert sum(bar[5] for bar in bars) == 2
            assert bars[-1][4] == 100_002_000
            fee = await client.fetch_trading_fee("BTC/KRW")
            assert (fee["maker"], fee["taker"]) == (0.0005, 0.0005)

    kit.run(story())


def test_a_stock_client_trades_and_sees_its_locks(kit: SimpleNamespace, live: Any) -> None:
    import ccxt.async_support as ccxt

    async def story() -> None:
        async with stock_client(ccxt.upbit, live) as client:
            await client.load_markets()
            taken = await client.create_order("BTC/KRW", "limit", "buy", 0.05, 100_002_000, {"timeInForce": "IOC"})
            done = await client.fetch_order(taken["id"])
            assert (done["status"], done["filled"], done["average"]) == ("closed", 0.05, 100_002_000)
            resting = await client.create_order(
                "BTC/KRW", "limit", "buy", 0.01, 90_000_000, {"clientOrderId": "mine-1", "postOnly": True}
            )
            raw = await client.private_get_order({"identifier": "mine-1"})
            assert (raw["uuid"], raw["state"], raw["locked"]) == (resting["id"], "wait", "900450")
            balance = await client.fetch_balance()
            assert balance["KRW"]["used"] == 900_450
            assert balance["BTC"]["free"] == 1.05
            assert [order["clientOrderId"] for order in await client.fetch_open_orders("BTC/KRW")] == ["mine-1"]
            await client.cancel_order(resting["id"])
            assert (await client.fetch_order(resting["id"]))["status"] == "canceled"
            assert (await client.fetch_balance())["KRW"]["used"] == 0
            closed = await client.fetch_closed_orders("BTC/KRW")
            assert [order["id"] for order in closed] == [taken["id"]]

    kit.run(story())


def test_a_stock_client_uses_market_orders_and_the_rehearsal(kit: SimpleNamespace, live: Any) -> None:
    import ccxt.async_support as ccxt

    async def story() -> None:
        async with stock_client(ccxt.upbit, live) as client:
            await client.load_markets()
            sold = await client.create_order("BTC/KRW", "market", "sell", 0.1)
            assert (await client.fetch_order(sold["id"]))["cost"] == pytest.approx(10_000_100)
            bought = await client.create_order("BTC/KRW", "market", "buy", 1, 1_000_000)
            found = await client.fetch_order(bought["id"])
            # a purchase by amount ends "cancel" when everything was bought: the rest pays for no whole step
            assert (found["status"], found["filled"]) == ("canceled", pytest.approx(0.00999980))
            await client.create_order("BTC/KRW", "limit", "buy", 0.01, 100_000_000, {"test": True})
            assert await client.fetch_open_orders("BTC/KRW") == []
            with pytest.raises(ccxt.InsufficientFunds):
                await client.create_order("BTC/KRW", "limit", "sell", 5, 100_000_000)
            with pytest.raises(ccxt.OrderNotFound):
                await client.fetch_order("no-such-order")

    kit.run(story())


def test_a_stock_streaming_client_follows_book_orders_trades_and_balance(kit: SimpleNamespace, live: Any) -> None:
    import ccxt.pro as ccxt

    async def story() -> None:
        async with stock_client(ccxt.upbit, live) as client, asyncio.TaskGroup() as group:
            await client.load_markets()
            shown = await client.watch_order_book("BTC/KRW")
            assert shown["bids"][0] == [100_001_000, 1]
            ticker = await client.watch_ticker("BTC/KRW")
            assert ticker["last"] == 100_002_000
            watching = [
                group.create_task(watch)
                for watch in (client.watch_orders("BTC/KRW"), client.watch_my_trades("BTC/KRW"), client.watch_balance())
            ]
            await live.until_wanted("myOrder", "myAsset")
            taken = await client.create_order("BTC/KRW", "limit", "buy", 0.05, 100_002_000, {"timeInForce": "IOC"})
            orders, trades, balance = [await task for task in watching]
            assert orders[0]["id"] == taken["id"]
            assert (trades[0]["order"], trades[0]["amount"], trades[0]["takerOrMaker"]) == (taken["id"], 0.05, "taker")
            assert Decimal(str(trades[0]["fee"]["cost"])) == Decimal("2500.05")
            assert balance["BTC"]["free"] == 1.05
            assert balance["KRW"]["free"] == pytest.approx(10_000_000 - 5_000_100 - 2_500.05)

    kit.run(story())
