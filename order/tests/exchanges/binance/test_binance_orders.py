"""An order is sent once, and what the venue answers is never taken for more than it proves."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any

import msgspec
import pytest

from kimp.order.exchanges.binance import BinanceExchange
from kimp.shared.domain.instruments import Instrument
from kimp.shared.domain.money import Amount
from kimp.shared.domain.orders import Accepted, Order, OrderStatus, Rejected, TimeInForce, Unknown
from kimp.shared.settings import Binance, SecretStr
from kimp.storage.feeds.clocks import SystemClock

POST, GET, DELETE = "POST /fapi/v1/order", "GET /fapi/v1/order", "DELETE /fapi/v1/order"
TRADES = "GET /fapi/v1/userTrades"

With = Callable[..., None]


def the_order(order: Order, status: str = "NEW", executed: str = "0.000") -> dict[str, Any]:
    """ "Query Order" as documented, cut to what is not decoration."""
    return {
        "orderId": 22542179,
        "symbol": "BTCUSDT",
        "status": status,
        "clientOrderId": order.client_id,
        "price": "100000.0",
        "avgPrice": "0.00000",
        "origQty": "0.070",
        "executedQty": executed,
        "cumQuote": "0",
        "timeInForce": "IOC",
        "type": "LIMIT",
        "reduceOnly": False,
        "side": "SELL",
        "positionSide": "BOTH",
        "time": SystemClock().now() // 1_000_000,
        "updateTime": SystemClock().now() // 1_000_000,
    }


def a_trade(
    number: int, qty: str, *, order_id: int = 22542179, asset: str = "USDT", fee: str = "3.5"
) -> dict[str, Any]:
    return {
        "buyer": False,
        "commission": fee,
        "commissionAsset": asset,
        "id": number,
        "maker": False,
        "orderId": order_id,
        "price": "100000.10",
        "qty": qty,
        "quoteQty": "1",
        "realizedPnl": "0",
        "side": "SELL",
        "positionSide": "BOTH",
        "symbol": "BTCUSDT",
        "time": SystemClock().now() // 1_000_000,
    }


def error(code: int, text: str = "no", status: int = 400) -> tuple[int, dict[str, Any]]:
    return status, {"code": code, "msg": text}


@pytest.mark.parametrize(
    ("time_in_force", "word"),
    [(TimeInForce.IOC, "IOC"), (TimeInForce.FOK, "FOK"), (TimeInForce.GTC, "GTC"), (TimeInForce.POST_ONLY, "GTX")],
)
def test_a_limit_order_leaves_with_our_id_and_exact_numbers(
    with_venue: With, an_order: Order, time_in_force: TimeInForce, word: str
) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.always[POST] = the_order(an_order)
        order = msgspec.structs.replace(an_order, time_in_force=time_in_force, quantity=Decimal("1E-3"))
        assert await exchange.place(order) == Accepted("22542179")
        (sent,) = venue.told(POST)
        assert sent["symbol"] == "BTCUSDT"
        assert (sent["side"], sent["type"], sent["timeInForce"]) == ("SELL", "LIMIT", word)
        assert (sent["quantity"], sent["price"]) == ("0.001", "100000.0")
        assert sent["newClientOrderId"] == an_order.client_id
        assert "reduceOnly" not in sent

    with_venue(story)


def test_an_exit_is_sent_as_reduce_only(with_venue: With, an_order: Order) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.always[POST] = the_order(an_order)
        await exchange.place(msgspec.structs.replace(an_order, reduce_only=True), is_urgent=True)
        assert venue.told(POST)[0]["reduceOnly"] == "true"

    with_venue(story)


@pytest.mark.parametrize("wire", ["reset", "truncated", "nonsense", {"unexpected": 1}, []])
def test_an_answer_that_breaks_off_leaves_the_order_unknown_and_is_sent_once(
    with_venue: With, an_order: Order, wire: Any
) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.always[POST] = wire
        assert isinstance(await exchange.place(an_order), Unknown)
        assert len(venue.told(POST)) == 1

    with_venue(story)


def test_an_order_without_an_answer_is_unknown(
    with_venue: With, an_order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.always[POST] = "hang"
        assert isinstance(await exchange.place(an_order), Unknown)
        assert len(venue.told(POST)) == 1

    monkeypatch.setattr("kimp.order.exchanges.binance.ORDER_ANSWER_S", 0.1)
    with_venue(story)


def test_cancelling_the_caller_ends_the_request_and_nothing_else(with_venue: With, an_order: Order) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.script[POST].append("hang")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await exchange.place(an_order)
        venue.always[POST] = the_order(an_order)
        assert isinstance(await exchange.place(an_order), Accepted)

    with_venue(story)


@pytest.mark.parametrize("key", ["", "some-key"])
def test_a_venue_that_cannot_be_reached_was_not_sent_anything(an_order: Order, key: str) -> None:
    async def story() -> None:
        settings = Binance(rest_url="http://127.0.0.1:9", api_key=SecretStr(key), secret_key=SecretStr(key))
        async with BinanceExchange(settings, [], SystemClock(), Random(1)) as exchange:
            assert await exchange.clock_skew() is None
            outcome = await exchange.place(an_order)
            assert isinstance(outcome, Rejected)
            assert outcome.code == "not_sent"

    asyncio.run(story())


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error(-2019, "Margin is insufficient."), Rejected),
        (error(-2022, "ReduceOnly Order is rejected."), Rejected),
        (error(-5022, "Due to the order could not be executed as maker"), Rejected),
        (error(-1007, "Timeout waiting for response from backend server."), Unknown),
        (error(-1000, "Unknown error, please check your request or try again later.", 503), Unknown),
        (error(0, "Service Unavailable.", 503), Rejected),
        ((503, "<html>503 Service Unavailable</html>"), Unknown),
        ((502, "bad gateway"), Unknown),
        ((404, {}), Unknown),
        (error(-1015, "Too many new orders.", 429), Rejected),
    ],
)
def test_an_error_proves_what_the_venue_documents(
    with_venue: With, an_order: Order, answer: Any, kind: type[Rejected | Unknown]
) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.always[POST] = answer
        assert isinstance(await exchange.place(an_order), kind)
        assert len(venue.told(POST)) == 1

    with_venue(story)


def test_a_clock_that_is_off_is_measured_again(with_venue: With, an_order: Order) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.script[POST].append(error(-1021, "Timestamp for this request is outside of the recvWindow."))
        venue.always[POST] = the_order(an_order)
        venue.skew = -7_000_000_000
        assert isinstance(await exchange.place(an_order), Rejected)
        assert exchange._line.is_clock_doubted
        skew = await exchange.clock_skew()
        assert skew is not None
        assert abs(skew + 7_000_000_000) < 200_000_000
        assert isinstance(await exchange.place(an_order), Accepted)
        stamped = int(venue.told(POST)[-1]["timestamp"]) * 1_000_000
        assert abs(SystemClock().now() - 7_000_000_000 - stamped) < 500_000_000

    with_venue(story)


def test_after_a_429_nothing_is_sent_until_the_venue_wants_it(with_venue: With, an_order: Order) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.headers = {"Retry-After": "30"}
        venue.always[POST] = error(-1003, "Too many requests queued.", 429)
        assert isinstance(await exchange.place(an_order), Rejected)
        asked = len(venue.asked)
        assert await exchange.place(an_order) == Rejected(
            "rate_limited", "our own request budget is spent; nothing was sent"
        )
        assert await exchange.account() is None
        assert len(venue.asked) == asked

    with_venue(story)


# -- −4116 ------------------------------------------------------------------------------------------------------------


def test_an_order_that_is_open_already_is_adopted_and_never_sent_again(with_venue: With, an_order: Order) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.always[POST] = error(-4116, "ClientOrderId is duplicated.")
        venue.always[GET] = the_order(an_order, "PARTIALLY_FILLED", "0.010")
        assert await exchange.place(an_order) == Accepted("22542179")
        assert len(venue.told(POST)) == 1

    with_venue(story)


def test_an_order_of_another_name_is_not_adopted(with_venue: With, an_order: Order) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.always[POST] = error(-4116, "ClientOrderId is duplicated.")
        venue.always[GET] = the_order(an_order) | {"clientOrderId": "web_1"}
        assert isinstance(await exchange.place(an_order), Unknown)
        assert await exchange.query(an_order.client_id, an_order.instrument_id) is None

    with_venue(story)


@pytest.mark.parametrize("answer", [error(-2013, "Order does not exist."), (503, {}), "reset", {"orderId": 1}])
def test_a_duplicate_that_cannot_be_shown_is_unknown(with_venue: With, an_order: Order, answer: Any) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.always[POST] = error(-4116, "ClientOrderId is duplicated.")
        venue.always[GET] = answer
        assert isinstance(await exchange.place(an_order), Unknown)
        assert len(venue.told(POST)) == 1

    with_venue(story)


# -- asking -----------------------------------------------------------------------------------------------------------


def test_an_expired_order_is_told_with_what_it_filled(with_venue: With, an_order: Order) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.always[GET] = the_order(an_order, "EXPIRED", "0.030")
        venue.always[TRADES] = [a_trade(2, "0.020"), a_trade(1, "0.010"), a_trade(3, "1", order_id=9)]
        report = await exchange.query(an_order.client_id, an_order.instrument_id)
        assert report is not None
        assert (report.status, report.executed) == (OrderStatus.DONE, Decimal("0.030"))
        assert [fill.trade_id for fill in report.fills] == ["1", "2"]
        assert sum(fill.quantity for fill in report.fills) == report.executed
        assert report.fills[0].fee == Amount(Decimal("3.5"), "USDT")
        assert {fill.client_id for fill in report.fills} == {an_order.client_id}

    with_venue(story)


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        ("NEW", OrderStatus.WORKING),
        ("PARTIALLY_FILLED", OrderStatus.WORKING),
        ("FILLED", OrderStatus.DONE),
        ("CANCELED", OrderStatus.DONE),
        ("EXPIRED_IN_MATCH", OrderStatus.DONE),
        ("REJECTED", OrderStatus.DONE),
    ],
)
def test_every_status_has_its_meaning(with_venue: With, an_order: Order, status: str, meaning: OrderStatus) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.always[GET] = the_order(an_order, status)
        report = await exchange.query(an_order.client_id, an_order.instrument_id)
        assert report is not None
        assert report.status is meaning

    with_venue(story)


def test_a_status_nobody_documented_leaves_the_order_in_doubt(with_venue: With, an_order: Order) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.always[GET] = the_order(an_order, "NEW_INSURANCE")
        assert await exchange.query(an_order.client_id, an_order.instrument_id) is None

    with_venue(story)


def test_an_order_the_venue_does_not_know_is_absent_and_other_trouble_is_no_answer(
    with_venue: With, an_order: Order
) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.script[GET].extend([error(-2013, "Order does not exist."), (503, {}), "reset", "nonsense"])
        report = await exchange.query(an_order.client_id, an_order.instrument_id)
        assert report is not None
        assert report.status is OrderStatus.ABSENT
        venue.always[GET] = error(-1001, "Internal error", 500)
        for _ in range(3):
            assert await exchange.query(an_order.client_id, an_order.instrument_id) is None

    with_venue(story)


def test_a_filled_order_is_not_told_without_its_trades(with_venue: With, an_order: Order) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.always[GET] = the_order(an_order, "FILLED", "0.070")
        venue.always[TRADES] = (500, {})
        assert await exchange.query(an_order.client_id, an_order.instrument_id) is None

    with_venue(story)


# -- cancelling -------------------------------------------------------------------------------------------------------


def test_a_resting_order_is_cancelled_by_our_id(with_venue: With, an_order: Order) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.always[DELETE] = the_order(an_order, "CANCELED")
        assert await exchange.cancel(an_order.client_id, an_order.instrument_id) == Accepted("22542179")
        assert venue.told(DELETE)[0]["origClientOrderId"] == an_order.client_id

    with_venue(story)


def test_a_refused_cancel_is_accepted_only_when_the_order_is_over(with_venue: With, an_order: Order) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.always[DELETE] = error(-2011, "Unknown order sent.")
        looks = [the_order(an_order, "FILLED", "0.070"), the_order(an_order), error(-2013, "gone"), "reset"]
        venue.script[GET].extend(looks)
        venue.always[GET] = (503, {})
        kinds = [type(await exchange.cancel(an_order.client_id, an_order.instrument_id)) for _ in looks]
        assert kinds == [Accepted, Unknown, Rejected, Unknown]

    with_venue(story)


def test_a_countdown_is_renewed_for_every_instrument_and_trouble_with_it_is_swallowed(
    with_venue: With, btc: Instrument
) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        route = "POST /fapi/v1/countdownCancelAll"
        venue.script[route].append({"symbol": "BTCUSDT", "countdownTime": "120000"})
        venue.always[route] = "reset"
        await exchange.keep_alive([btc], 120_000_000_000)
        await exchange.keep_alive([btc], 120_000_000_000)
        sent = venue.told(route)
        assert len(sent) >= 2
        assert (sent[0]["symbol"], sent[0]["countdownTime"]) == ("BTCUSDT", "120000")

    with_venue(story)


# -- around it --------------------------------------------------------------------------------------------------------


def test_the_adapter_is_imported_without_its_heavy_client() -> None:
    check = "import sys, kimp.order.exchanges.binance; sys.exit('ccxt' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False, timeout=30).returncode == 0


def test_giving_up_while_opening_leaves_nothing_open(with_venue: With) -> None:
    async def story(venue: Any, _: BinanceExchange) -> None:
        venue.always["GET /fapi/v1/time"] = "hang"
        exchange = BinanceExchange(Binance(rest_url=venue.url), [], SystemClock(), Random(1))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3), exchange:
                pytest.fail("a silent venue was not waited for")
        assert exchange._line._session is None

    with_venue(story)


def test_no_log_carries_the_keys(
    with_venue: With, an_order: Order, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = ["the-key", "the-secret", "a-listen-key", "signature="]

    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.always["POST /fapi/v1/listenKey"] = {"listenKey": "a-listen-key"}
        venue.script[POST].extend(["reset", (503, {}), "nonsense", "truncated"])
        venue.always[POST] = the_order(an_order)
        reports = exchange.reports()
        await anext(reports)
        async with asyncio.timeout(5):
            while not venue.streams:
                await asyncio.sleep(0.005)
        for _ in range(5):
            await exchange.place(an_order)
        await reports.aclose()

    with_venue(story)
    printed = capsys.readouterr()
    assert caplog.records
    for secret in secrets:
        assert secret not in caplog.text + printed.out + printed.err
