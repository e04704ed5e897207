"""The adapter that trades on the real Upbit trades on the virtual one, and their books agree."""

import asyncio
from decimal import Decimal
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from kimp.order.exchanges.upbit import UpbitExchange
from kimp.portfolio.exchange.upbit_wire import Permission
from kimp.portfolio.exchange.wire_faults import EXECUTED_AND_DROPPED, TRUNCATED, WireFault, answered_after
from kimp.shared.domain.instruments import Side
from kimp.shared.domain.orders import Accepted, Order, OrderStatus, Rejected, TimeInForce, Unknown
from kimp.shared.domain.time import DAY
from kimp.shared.messages.events import OrderFilled, OrderReported
from kimp.shared.settings import SecretStr, Upbit
from kimp.storage.feeds.clocks import SystemClock


def adapter(market: Any, kit: SimpleNamespace) -> UpbitExchange:
    key, served = next(iter(market.keys.values())), market.served
    settings = Upbit(
        rest_url=served.http_url,
        ws_url=f"{served.ws_url}/websocket/v1",
        ws_private_url=f"{served.ws_url}/websocket/v1/private",
        access_key=SecretStr(key.access_key),
        secret_key=SecretStr(key.secret),
    )
    return UpbitExchange(settings, [kit.BTC], market.clock, Random(1))


@pytest.fixture
def live(kit: SimpleNamespace) -> Any:
    import ccxt.async_support.upbit  # noqa: F401 - takes seconds, which are not the venue's

    clock = SystemClock()
    key = kit.api_key(expires_at=clock.now() + 100 * DAY, allowed_ips=frozenset({"127.0.0.1"}))
    market = kit.Market(clock, {"trader": key}, kit.balances(btc="1"))
    market.quote()
    return market


def buy(client_id: str, limit: str = "100001000", wait: TimeInForce = TimeInForce.IOC) -> Order:
    return Order(client_id, "upbit:KRW-BTC", Side.BUY, Decimal("0.05"), Decimal(limit), wait)


def test_orders_outcomes_and_balances_agree_with_the_venues_books(kit: SimpleNamespace, live: Any) -> None:
    async def story() -> None:
        async with live.open(), adapter(live, kit) as upbit:
            assert isinstance(await upbit.place(buy("a")), Accepted)
            report = await upbit.query("a", "upbit:KRW-BTC")
            assert report is not None
            assert (report.status, report.executed) == (OrderStatus.DONE, Decimal("0.05"))
            truth = live.exchange.simulated.trades[0]
            assert [(f.price, f.quantity, f.fee) for f in report.fills] == [(truth.price, truth.quantity, truth.fee)]
            assert isinstance(await upbit.place(buy("low", "90000000", TimeInForce.GTC)), Accepted)
            assert await upbit.open_orders("upbit:KRW-BTC") == ("low",)
            assert isinstance(await upbit.cancel("low", "upbit:KRW-BTC"), Accepted)
            assert isinstance(await upbit.cancel("low", "upbit:KRW-BTC"), Accepted)  # over already
            account = await upbit.account()
            assert account is not None
            held = {name: amount for name, amount in live.exchange.simulated.balances.items() if amount}
            assert {balance.asset: balance.total for balance in account.balances} == held
            assert await upbit.query("never", "upbit:KRW-BTC") is not None
            rejected = await upbit.place(buy("rich", "100000500"))
            assert isinstance(rejected, Rejected)
            assert rejected.code == "invalid_price_bid"
            (instrument,) = await upbit.instruments(["BTC"]) or ()
            assert (instrument.fee_rate, instrument.rules.tick_at(Decimal(100_000_000))) == (
                Decimal("0.0005"),
                Decimal(1000),
            )

    kit.run(story())


@pytest.mark.parametrize("fault", [EXECUTED_AND_DROPPED, TRUNCATED, answered_after(502, b"<html>Bad Gateway</html>")])
def test_an_order_whose_answer_is_lost_is_unknown_and_found_by_asking(
    kit: SimpleNamespace, live: Any, fault: WireFault
) -> None:
    live.faults = lambda request: fault if request.method == "POST" else None

    async def story() -> None:
        async with live.open(), adapter(live, kit) as upbit:
            assert isinstance(await upbit.place(buy("a")), Unknown)
            assert len(live.exchange.orders()) == 1
            report = await upbit.query("a", "upbit:KRW-BTC")
            assert report is not None
            assert (report.status, report.executed) == (OrderStatus.DONE, Decimal("0.05"))

    kit.run(story())


def test_the_private_stream_tells_fills_and_the_end(kit: SimpleNamespace, live: Any) -> None:
    async def story() -> None:
        async with live.open(), adapter(live, kit) as upbit:
            reports = upbit.reports()
            told: list[Any] = []

            async def listen() -> None:
                async for event in reports:
                    told.append(event)
                    if isinstance(event, OrderReported) and event.report.status is OrderStatus.DONE:
                        return

            async with asyncio.TaskGroup() as group:
                group.create_task(listen())
                await live.until_wanted("myOrder")
                await upbit.place(buy("a"))
            await reports.aclose()
            fills = {event.fill.trade_id: event.fill for event in told if isinstance(event, OrderFilled)}
            (fill,) = fills.values()
            truth = live.exchange.simulated.trades[0]
            assert (fill.client_id, fill.price, fill.quantity, fill.fee) == (
                "a",
                truth.price,
                truth.quantity,
                truth.fee,
            )

    kit.run(story())


def test_a_key_that_may_withdraw_does_not_pass_the_examination(kit: SimpleNamespace, live: Any) -> None:
    async def story() -> None:
        async with live.open(), adapter(live, kit) as upbit:
            good = await upbit.examine([kit.BTC], Decimal(1))
            assert good
            assert all(check.ok for check in good), [check for check in good if not check.ok]
        key = kit.api_key("greedy", expires_at=live.clock.now() + 100 * DAY, permissions=frozenset(Permission))
        live.keys = {"greedy": key}
        async with live.open(), adapter(live, kit) as upbit:
            assert not all(check.ok for check in await upbit.examine([kit.BTC], Decimal(1)))

    kit.run(story())
