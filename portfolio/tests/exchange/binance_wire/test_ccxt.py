"""A stock ccxt, with nothing but its addresses changed, trades on the virtual Binance."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kimp.shared.domain.time import MILLISECOND, MINUTE

SYMBOL = "BTC/USDT:USDT"
PATIENCE_S = 10.0


def elsewhere(urls: Any, rig: Any) -> Any:
    """The same addresses on the virtual venue."""
    if isinstance(urls, dict):
        return {name: elsewhere(url, rig) for name, url in urls.items()}
    scheme, _, rest = urls.partition("://")
    base = rig.served.ws_url if scheme == "wss" else rig.served.http_url
    return f"{base}/{rest.partition('/')[2]}"


@asynccontextmanager
async def client(kind: Any, rig: Any) -> AsyncIterator[Any]:
    made = kind({"apiKey": rig.key, "secret": rig.secret, "enableRateLimit": False})
    made.urls["api"] = elsewhere(made.urls["api"], rig)
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
def rest() -> Any:
    from ccxt.async_support import binanceusdm

    return binanceusdm


@pytest.fixture
def pro() -> Any:
    from ccxt.pro import binanceusdm

    return binanceusdm


async def soon(told: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(told, PATIENCE_S)


def test_ccxt_reads_the_market(tell_live: Any, rest: Any) -> None:
    async def story(rig: Any) -> None:
        rig.show("100100")
        rig.fund("0.0001", settles_at=rig.clock.now() + 60 * MINUTE, interval=4 * 60 * MINUTE)
        async with client(rest, rig) as ccxt:
            markets = await ccxt.load_markets()
            market = markets[SYMBOL]
            assert (market["precision"], market["limits"]["cost"]["min"]) == (
                {"amount": 0.001, "price": 0.1} | {"base": 1e-8, "quote": 1e-8},
                100,
            )
            book = await ccxt.fetch_order_book(SYMBOL, 5)
            assert (book["bids"][0], book["asks"][0]) == ([100100.0, 5.0], [100100.1, 5.0])
            assert (await ccxt.fetch_ticker(SYMBOL))["last"] == 100100.1
            assert (await ccxt.fetch_bids_asks([SYMBOL]))[SYMBOL]["bid"] == 100100.0
            assert [trade["price"] for trade in await ccxt.fetch_trades(SYMBOL)] == [100000.1, 100100.1]
            assert (await ccxt.fetch_ohlcv(SYMBOL, "1m"))[-1][4] == 100100.1
            rate = await ccxt.fetch_funding_rate(SYMBOL)
            assert (rate["fundingRate"], rate["markPrice"]) == (0.0001, 100100.05)
            assert (await ccxt.fetch_funding_intervals([SYMBOL]))[SYMBOL]["interval"] == "4h"
            assert await ccxt.fetch_funding_rate_history(SYMBOL) == []
            assert abs(await ccxt.fetch_time() - rig.clock.now() // MILLISECOND) < 10_000

    tell_live(story)


def test_ccxt_trades(tell_live: Any, rest: Any) -> None:
    async def story(rig: Any) -> None:
        async with client(rest, rig) as ccxt:
            resting = await ccxt.create_order(
                SYMBOL, "limit", "sell", 0.1, 101000, {"clientOrderId": "resting-1", "timeInForce": "GTC"}
            )
            assert (resting["status"], resting["clientOrderId"]) == ("open", "resting-1")
            asked = await ccxt.fetch_order(None, SYMBOL, {"origClientOrderId": "resting-1"})
            assert (asked["id"], asked["price"], asked["amount"]) == (resting["id"], 101000, 0.1)
            assert [order["id"] for order in await ccxt.fetch_open_orders(SYMBOL)] == [resting["id"]]
            assert (await ccxt.cancel_order(resting["id"], SYMBOL))["status"] == "canceled"

            params = {"clientOrderId": "ioc-1", "timeInForce": "IOC", "newOrderRespType": "RESULT"}
            ioc = await ccxt.create_order(SYMBOL, "limit", "sell", 0.2, 99000, params)
            assert (ioc["status"], ioc["filled"], ioc["average"]) == ("closed", 0.2, 100000)
            market = await ccxt.create_order(SYMBOL, "market", "buy", 0.1, None, {"newOrderRespType": "RESULT"})
            assert (market["status"], market["filled"]) == ("closed", 0.1)
            assert len(await ccxt.fetch_orders(SYMBOL)) == 3

            trades = await ccxt.fetch_my_trades(SYMBOL)
            assert [(trade["side"], trade["amount"]) for trade in trades] == [("sell", 0.2), ("buy", 0.1)]
            assert trades[0]["fee"] == {"cost": 10.0, "currency": "USDT"}
            balance = await ccxt.fetch_balance()
            assert balance["USDT"]["total"] == pytest.approx(100_000 - 10 - 5.000005 - 0.01, abs=0.1)
            assert balance["USDT"]["free"] < balance["USDT"]["total"]
            (position,) = await ccxt.fetch_positions([SYMBOL])
            assert (position["side"], position["contracts"], position["entryPrice"]) == ("short", 0.1, 100000)
            assert position["liquidationPrice"] > 100000

    tell_live(story)


def test_ccxt_sees_funding_and_changes_settings(tell_live: Any, rest: Any) -> None:
    from ccxt.base.errors import ExchangeError, InvalidOrder, MarginModeAlreadySet, OperationRejected, OrderNotFound

    async def story(rig: Any) -> None:
        async with client(rest, rig) as ccxt:
            await ccxt.create_order(SYMBOL, "market", "sell", 0.2)
            due = rig.clock.now() + 50 * MILLISECOND
            rig.fund("0.0001", settles_at=due)
            await rig.clock.sleep_until(due)
            rig.show("100010")
            (paid,) = await ccxt.fetch_funding_history(SYMBOL)
            assert paid["amount"] == pytest.approx(2.0, abs=0.01)
            kinds = {entry["incomeType"] for entry in await ccxt.fapiPrivateGetIncome()}
            assert kinds == {"COMMISSION", "FUNDING_FEE"}
            assert int((await ccxt.set_leverage(2, SYMBOL))["leverage"]) == 2
            assert (await ccxt.fetch_leverages([SYMBOL]))[SYMBOL]["shortLeverage"] == 2
            assert (await ccxt.fetch_position_mode(SYMBOL))["hedged"] is False
            with pytest.raises(OperationRejected, match="-4059"):
                await ccxt.set_position_mode(False, SYMBOL)
            with pytest.raises(MarginModeAlreadySet):
                await ccxt.set_margin_mode("cross", SYMBOL)
            fee = await ccxt.fetch_trading_fee(SYMBOL)
            assert fee["taker"] == 0.0005
            with pytest.raises(OrderNotFound):
                await ccxt.fetch_order("4711", SYMBOL)
            with pytest.raises(ExchangeError, match="-2019"):
                await ccxt.create_order(SYMBOL, "limit", "sell", 40, 100500)
            with pytest.raises(InvalidOrder):
                await ccxt.create_order(SYMBOL, "limit", "sell", 0.1, 99000, {"postOnly": True})

    tell_live(story)


def test_ccxt_pro_watches_the_book(tell_live: Any, pro: Any) -> None:
    async def story(rig: Any) -> None:
        async with client(pro, rig) as ccxt, asyncio.TaskGroup() as group:
            moving = group.create_task(keep_moving(rig))
            book = await soon(ccxt.watch_order_book(SYMBOL))
            for _ in range(5):
                nonce = book["nonce"]
                book = await soon(ccxt.watch_order_book(SYMBOL))
                assert book["nonce"] >= nonce
                assert book["bids"][0][0] < book["asks"][0][0]
                assert len(book["bids"]) == 20
            ticker = await soon(ccxt.watch_bids_asks([SYMBOL]))
            assert ticker[SYMBOL]["bid"] >= 100_000
            assert (await soon(ccxt.watch_trades(SYMBOL)))[-1]["price"] >= 100_000
            assert (await soon(ccxt.watch_mark_price(SYMBOL)))["markPrice"] >= 100_000
            assert (await soon(ccxt.watch_ohlcv(SYMBOL, "1m")))[-1][4] >= 100_000
            moving.cancel()

    tell_live(story)


async def keep_moving(rig: Any) -> None:
    for step in range(1_000_000):
        rig.show(f"{100_000 + step % 50}")
        await rig.clock.sleep_until(rig.clock.now() + 20 * MILLISECOND)


def test_ccxt_pro_watches_the_account(tell_live: Any, pro: Any) -> None:
    async def story(rig: Any) -> None:
        async with client(pro, rig) as ccxt, asyncio.TaskGroup() as group:
            await ccxt.load_markets()
            watches = {
                "orders": group.create_task(ccxt.watch_orders(SYMBOL)),
                "trades": group.create_task(ccxt.watch_my_trades(SYMBOL)),
                "positions": group.create_task(ccxt.watch_positions([SYMBOL])),
                "balance": group.create_task(ccxt.watch_balance()),
            }
            trading = group.create_task(keep_trading(rig))
            told = {name: await soon(watch) for name, watch in watches.items()}
            trading.cancel()
            assert told["orders"][-1]["symbol"] == SYMBOL
            assert told["trades"][-1]["fee"]["currency"] == "USDT"
            assert told["positions"][-1]["side"] == "short"
            assert 99_000 < told["balance"]["USDT"]["total"] < 100_000

    tell_live(story)


async def keep_trading(rig: Any) -> None:
    while True:
        await rig.order(timeInForce="IOC", price="99000", quantity="0.002")
        await rig.clock.sleep_until(rig.clock.now() + 20 * MILLISECOND)
