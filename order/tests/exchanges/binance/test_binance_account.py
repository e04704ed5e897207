"""What the venue says we have, what happened on the account, and what must be right before trading."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from kimp.order.exchanges.binance import BinanceExchange, is_play
from kimp.order.exchanges.binance_transport import base_urls
from kimp.shared.domain.accounts import Balance, ContractPosition
from kimp.shared.domain.instruments import Instrument
from kimp.shared.domain.money import Amount
from kimp.shared.domain.time import DAY, MILLISECOND
from kimp.shared.ports.exchange import Exchange
from kimp.shared.settings import Binance
from kimp.storage.feeds.clocks import SystemClock

TRADES, ORDER, ALL_ORDERS = "GET /fapi/v1/userTrades", "GET /fapi/v1/order", "GET /fapi/v1/allOrders"
INCOME, ACCOUNT, RISK = "GET /fapi/v1/income", "GET /fapi/v3/account", "GET /fapi/v3/positionRisk"

With = Callable[..., None]


def now_ms() -> int:
    return SystemClock().now() // MILLISECOND


def a_trade(number: int, at_ms: int, order_id: int = 1) -> dict[str, Any]:
    return {
        "commission": "0.5",
        "commissionAsset": "USDT",
        "id": number,
        "orderId": order_id,
        "price": "100000.0",
        "qty": "0.010",
        "side": "BUY",
        "symbol": "BTCUSDT",
        "time": at_ms,
    }


def an_order(order_id: int, client_id: str) -> dict[str, Any]:
    return {"orderId": order_id, "clientOrderId": client_id, "symbol": "BTCUSDT", "status": "FILLED"}


def an_income(number: int, at_ms: int, income: str = "-0.25") -> dict[str, Any]:
    return {
        "symbol": "BTCUSDT",
        "incomeType": "FUNDING_FEE",
        "income": income,
        "asset": "USDT",
        "info": "FUNDING_FEE",
        "time": at_ms,
        "tranId": number,
        "tradeId": "",
    }


def pages(records: list[dict[str, Any]], size: int) -> Callable[[dict[str, str]], list[dict[str, Any]]]:
    """A list as the venue gives it: from a time or a number on, oldest first, at most a page."""

    def page(params: dict[str, str]) -> list[dict[str, Any]]:
        assert not ("fromId" in params and "startTime" in params)
        if "startTime" in params:
            first, last = int(params["startTime"]), int(params["endTime"])
            assert last - first < 7 * DAY // MILLISECOND
            found = [record for record in records if first <= record["time"] <= last]
        else:
            found = [record for record in records if record["id"] >= int(params["fromId"])]
        return found[:size]

    return page


def test_the_adapter_is_an_exchange() -> None:
    exchange: Exchange = BinanceExchange(Binance(), [], SystemClock(), Random(1))
    assert exchange.venue.value == "binance"


def test_the_addresses_come_from_the_settings_alone() -> None:
    for root in ("https://demo-fapi.binance.com", "http://127.0.0.1:8080/"):
        assert all(url.startswith(root.rstrip("/") + "/") for url in base_urls(root).values())
    real = base_urls("https://fapi.binance.com")
    assert real.pop("sapi") == "https://api.binance.com/sapi/v1"
    assert set(real.values()) == {"https://fapi.binance.com/fapi/v1", "https://fapi.binance.com/fapi/v3"}


def test_only_demo_trading_and_this_machine_are_play() -> None:
    assert is_play("https://demo-fapi.binance.com")
    assert is_play("http://127.0.0.1:8080")
    assert not is_play("https://fapi.binance.com")
    assert not is_play("https://relay.example/binance")


# -- balances and contracts ------------------------------------------------------------------------------------------


def test_the_wallet_is_told_without_unrealised_profit_and_what_is_tied_up_is_not_free(with_venue: With) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        asset = {"unrealizedProfit": "500.0", "marginBalance": "1500.0", "updateTime": 0}
        usdt = {"asset": "USDT", "walletBalance": "1000.0", "initialMargin": "300.0", "availableBalance": "1200.0"}
        bnb = {"asset": "BNB", "walletBalance": "0.0", "initialMargin": "0", "availableBalance": "0"}
        held = {"symbol": "BTCUSDT", "positionSide": "BOTH", "positionAmt": "-0.070", "notional": "-7000"}
        venue.always[ACCOUNT] = {"assets": [asset | usdt, asset | bnb], "positions": [held]}
        venue.always[RISK] = [
            {
                "symbol": "BTCUSDT",
                "positionSide": "BOTH",
                "positionAmt": "-0.070",
                "entryPrice": "100000.0",
                "markPrice": "99000.5",
                "liquidationPrice": "199000.1",
            }
        ]
        account = await exchange.account()
        assert account is not None
        assert account.balances == (Balance("USDT", Decimal(700), Decimal(300)),)
        assert account.contracts == (
            ContractPosition(
                "binance:BTCUSDT", Decimal("-0.070"), Decimal(100_000), Decimal("99000.5"), Decimal("199000.1")
            ),
        )

    with_venue(story)


def test_an_account_that_cannot_be_read_whole_is_no_account(with_venue: With) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        held = {"symbol": "BTCUSDT", "positionSide": "BOTH", "positionAmt": "-0.070"}
        venue.always[ACCOUNT] = {"assets": [], "positions": [held]}
        venue.script[RISK].extend([(500, {}), [], "reset"])
        venue.always[RISK] = (500, {})
        for _ in range(3):
            assert await exchange.account() is None
        venue.always[ACCOUNT] = {"assets": [{"asset": "USDT"}], "positions": []}
        assert await exchange.account() is None

    with_venue(story)


def test_hedge_mode_is_not_told_as_one_signed_position(with_venue: With) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        sides = [{"symbol": "BTCUSDT", "positionSide": side, "positionAmt": "0.1"} for side in ("LONG", "SHORT")]
        venue.always[ACCOUNT] = {"assets": [], "positions": sides}
        venue.always[RISK] = [{"symbol": "BTCUSDT", "entryPrice": "1", "markPrice": "1", "liquidationPrice": "0"}]
        assert await exchange.account() is None

    with_venue(story)


def test_resting_orders_are_named_by_client_id_or_else_by_number(with_venue: With) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.always["GET /fapi/v1/openOrders"] = [an_order(1, "kimp-a"), an_order(2, "")]
        assert await exchange.open_orders("binance:BTCUSDT") == ("kimp-a", "2")

    with_venue(story)


# -- history ----------------------------------------------------------------------------------------------------------


def test_trades_are_read_window_by_window_and_name_the_orders_they_belong_to(with_venue: With) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        now = now_ms()
        day = DAY // MILLISECOND
        records = [a_trade(1, now - 20 * day, 7), a_trade(2, now - 9 * day, 8), a_trade(3, now - 10, 8)]
        venue.always[TRADES] = pages(records, 1000)
        venue.always[ORDER] = lambda params: an_order(int(params["orderId"]), f"autoclose-{params['orderId']}")
        fills = await exchange.fills_since("binance:BTCUSDT", (now - 21 * day) * MILLISECOND)
        assert fills is not None
        assert [(fill.trade_id, fill.client_id) for fill in fills] == [
            ("1", "autoclose-7"),
            ("2", "autoclose-8"),
            ("3", "autoclose-8"),
        ]
        assert len(venue.told(ORDER)) == 2
        assert await exchange.fills_since("binance:BTCUSDT", (now - 21 * day) * MILLISECOND) == fills
        assert len(venue.told(ORDER)) == 2

    with_venue(story)


def test_a_full_page_is_followed_to_the_last_trade(with_venue: With, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kimp.order.exchanges.binance_history.PAGE", 3)

    async def story(venue: Any, exchange: BinanceExchange) -> None:
        now = now_ms()
        records = [a_trade(number, now - 1000 + number) for number in range(1, 9)]
        venue.always[TRADES] = pages(records, 3)
        venue.always[ORDER] = an_order(1, "kimp-a")
        fills = await exchange.fills_since("binance:BTCUSDT", (now - 5_000) * MILLISECOND)
        assert fills is not None
        assert [fill.trade_id for fill in fills] == [str(number) for number in range(1, 9)]

    with_venue(story)


def test_half_a_history_is_never_given_out(with_venue: With, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kimp.order.exchanges.binance_history.PAGE", 3)

    async def story(venue: Any, exchange: BinanceExchange) -> None:
        now = now_ms()
        records = [a_trade(number, now - 1000 + number) for number in range(1, 9)]
        since = (now - 5_000) * MILLISECOND
        venue.script[TRADES].append(records[:3])
        venue.always[TRADES] = (500, {})
        assert await exchange.fills_since("binance:BTCUSDT", since) is None
        venue.always[TRADES] = pages(records, 3)
        venue.always[ORDER] = (500, {})
        assert await exchange.fills_since("binance:BTCUSDT", since) is None

    with_venue(story)


def test_many_unknown_orders_are_asked_for_at_once(with_venue: With) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        now = now_ms()
        records = [a_trade(number, now - 100 + number, order_id=number) for number in range(1, 20)]
        venue.always[TRADES] = pages(records, 1000)
        venue.always[ALL_ORDERS] = [an_order(number, f"kimp-{number}") for number in range(1, 19)]
        venue.always[ORDER] = (400, {"code": -2013, "msg": "Order does not exist."})
        fills = await exchange.fills_since("binance:BTCUSDT", (now - 5_000) * MILLISECOND)
        assert fills is not None
        assert [fill.client_id for fill in fills] == [f"kimp-{number}" for number in range(1, 19)] + ["19"]
        assert len(venue.told(ALL_ORDERS)) == len(venue.told(ORDER)) == 1

    with_venue(story)


def test_more_unknown_orders_than_one_call_may_ask_for_are_learnt_by_the_next(
    with_venue: With, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kimp.order.exchanges.binance_history.SINGLE_ORDERS_MAX", 6)

    async def story(venue: Any, exchange: BinanceExchange) -> None:
        now = now_ms()
        records = [a_trade(number, now - 100 + number, order_id=number) for number in range(1, 11)]
        venue.always[TRADES] = pages(records, 1000)
        venue.always[ALL_ORDERS] = []
        venue.always[ORDER] = lambda params: an_order(int(params["orderId"]), f"kimp-{params['orderId']}")
        since = (now - 5_000) * MILLISECOND
        assert await exchange.fills_since("binance:BTCUSDT", since) is None
        fills = await exchange.fills_since("binance:BTCUSDT", since)
        assert fills is not None
        assert len(fills) == len(venue.told(ORDER)) == 10

    with_venue(story)


def test_funding_is_booked_from_the_records_with_their_sign_and_number(
    with_venue: With, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kimp.order.exchanges.binance_history.PAGE", 3)

    async def story(venue: Any, exchange: BinanceExchange) -> None:
        now, day = now_ms(), DAY // MILLISECOND
        times = [now - 10 * day, now - 10 * day, now - 9 * day, now - day, now - 5]
        records = [an_income(100 + i, at, str(i - 2)) for i, at in enumerate(times)]
        records.insert(2, an_income(500, now - 9 * day, "9") | {"incomeType": "COMMISSION"})
        venue.always[INCOME] = pages(records, 3)
        payments = await exchange.funding_since((now - 11 * day) * MILLISECOND)
        assert payments is not None
        assert [payment.payment_id for payment in payments] == ["100", "101", "102", "103", "104"]
        assert payments[0].amount == Amount(Decimal(-2), "USDT")
        assert payments[0].instrument_id == "binance:BTCUSDT"
        assert venue.told(INCOME)[0]["incomeType"] == "FUNDING_FEE"
        venue.always[INCOME] = (500, {})
        assert await exchange.funding_since((now - 11 * day) * MILLISECOND) is None

    with_venue(story)


# -- rules ------------------------------------------------------------------------------------------------------------


def a_contract(symbol: str, **changed: Any) -> dict[str, Any]:
    filters = [
        {"filterType": "PRICE_FILTER", "tickSize": "0.10", "minPrice": "556.80", "maxPrice": "4529764"},
        {"filterType": "LOT_SIZE", "stepSize": "0.001", "minQty": "0.001", "maxQty": "1000"},
        {"filterType": "MARKET_LOT_SIZE", "stepSize": "0.001", "minQty": "0.002", "maxQty": "120"},
        {"filterType": "MIN_NOTIONAL", "notional": "100"},
    ]
    contract = {"symbol": symbol, "baseAsset": symbol[:3], "quoteAsset": "USDT", "filters": filters}
    return contract | {"contractType": "PERPETUAL", "status": "TRADING"} | changed


def test_rules_and_our_fee_are_the_venues(with_venue: With) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        listed = [
            a_contract("BTCUSDT"),
            a_contract("ETHUSDT"),
            a_contract("XRPUSDT", status="BREAK"),
            {"symbol": "ODD"},
        ]
        venue.always["GET /fapi/v1/exchangeInfo"] = {"symbols": listed}
        fee = {"makerCommissionRate": "0.000200", "takerCommissionRate": "0.000400"}
        venue.always["GET /fapi/v1/commissionRate"] = lambda params: fee | {"symbol": params["symbol"]}
        found = await exchange.instruments(["BTCUSDT", "XRPUSDT", "NOSUCH"])
        assert found is not None
        (btc,) = found
        assert (btc.id, btc.base, btc.quote, btc.fee_rate) == ("binance:BTCUSDT", "BTC", "USDT", Decimal("0.0004"))
        assert btc.rules.tick_at(Decimal(100_000)) == Decimal("0.10")
        assert (btc.rules.lot, btc.rules.minimum_quantity) == (Decimal("0.001"), Decimal("0.002"))
        assert btc.rules.minimum_notional == Decimal(100)
        venue.always["GET /fapi/v1/commissionRate"] = (500, {})
        assert await exchange.instruments(["BTCUSDT"]) is None

    with_venue(story)


def test_rules_with_a_missing_filter_are_no_rules(with_venue: With) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.always["GET /fapi/v1/exchangeInfo"] = {"symbols": [a_contract("BTCUSDT", filters=[])]}
        venue.always["GET /fapi/v1/commissionRate"] = {"symbol": "BTCUSDT", "takerCommissionRate": "0.0004"}
        assert await exchange.instruments(["BTCUSDT"]) is None

    with_venue(story)


def test_the_clock_is_measured_halfway_of_the_shortest_round_trip(with_venue: With) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.skew = 1_500 * MILLISECOND
        skew = await exchange.clock_skew()
        assert skew is not None
        assert abs(skew - venue.skew) < 100 * MILLISECOND
        venue.always["GET /fapi/v1/time"] = (503, {})
        assert await exchange.clock_skew() is None

    with_venue(story)


# -- examination ------------------------------------------------------------------------------------------------------

GOOD: dict[str, Any] = {
    "GET /fapi/v1/positionSide/dual": {"dualSidePosition": False},
    "GET /fapi/v1/multiAssetsMargin": {"multiAssetsMargin": False},
    "GET /fapi/v1/feeBurn": {"feeBurn": False},
    "POST /fapi/v1/marginType": (400, {"code": -4046, "msg": "No need to change margin type."}),
    "POST /fapi/v1/leverage": {"leverage": 2, "maxNotionalValue": "1000000", "symbol": "BTCUSDT"},
    "GET /sapi/v1/account/apiRestrictions": {"ipRestrict": True, "enableWithdrawals": False, "enableFutures": True},
}


def examined(with_venue: With, btc: Instrument, changed: dict[str, Any]) -> dict[str, bool]:
    found: dict[str, bool] = {}

    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.always |= GOOD | changed
        checks = await exchange.examine([btc], Decimal(2))
        found.update({check.name: check.ok for check in checks})
        assert all(check.detail for check in checks)

    with_venue(story)
    return found


def test_an_account_that_is_right_passes(with_venue: With, btc: Instrument) -> None:
    found = examined(with_venue, btc, {})
    assert all(found.values())
    assert len(found) == 7


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        (
            {
                "GET /fapi/v1/positionSide/dual": {"dualSidePosition": True},
                "POST /fapi/v1/positionSide/dual": (400, {"code": -4068, "msg": "there exists position."}),
            },
            "binance one-way mode",
        ),
        ({"GET /fapi/v1/positionSide/dual": (401, {"code": -2015, "msg": "Invalid API-key"})}, "binance key"),
        (
            {
                "GET /fapi/v1/multiAssetsMargin": {"multiAssetsMargin": True},
                "POST /fapi/v1/multiAssetsMargin": (400, {"code": -4170, "msg": "open orders"}),
            },
            "binance multi-assets mode",
        ),
        ({"GET /fapi/v1/multiAssetsMargin": (500, {})}, "binance multi-assets mode"),
        ({"GET /fapi/v1/feeBurn": {"feeBurn": True}}, "binance BNB discount"),
        ({"GET /fapi/v1/feeBurn": (500, {})}, "binance BNB discount"),
        ({"POST /fapi/v1/marginType": (400, {"code": -4047, "msg": "open orders"})}, "binance margin type BTCUSDT"),
        ({"POST /fapi/v1/leverage": {"leverage": 20, "symbol": "BTCUSDT"}}, "binance leverage BTCUSDT"),
        ({"POST /fapi/v1/leverage": (401, {"code": -2015, "msg": "no"})}, "binance leverage BTCUSDT"),
        (
            {
                "GET /sapi/v1/account/apiRestrictions": {
                    "ipRestrict": True,
                    "enableWithdrawals": True,
                    "enableFutures": True,
                }
            },
            "binance key permissions",
        ),
        (
            {
                "GET /sapi/v1/account/apiRestrictions": {
                    "ipRestrict": False,
                    "enableWithdrawals": False,
                    "enableFutures": True,
                }
            },
            "binance key permissions",
        ),
    ],
)
def test_each_thing_that_is_wrong_is_found_by_name(
    with_venue: With, btc: Instrument, changed: dict[str, Any], name: str
) -> None:
    found = examined(with_venue, btc, changed)
    assert [check for check, ok in found.items() if not ok] == [name]


def test_modes_that_may_be_changed_are_changed(with_venue: With, btc: Instrument) -> None:
    changed = {
        "GET /fapi/v1/positionSide/dual": {"dualSidePosition": True},
        "POST /fapi/v1/positionSide/dual": {"code": 200, "msg": "success"},
        "GET /fapi/v1/multiAssetsMargin": {"multiAssetsMargin": True},
        "POST /fapi/v1/multiAssetsMargin": {"code": 200, "msg": "success"},
        "POST /fapi/v1/marginType": {"code": 200, "msg": "success"},
    }
    assert all(examined(with_venue, btc, changed).values())


def test_permissions_nobody_tells_are_allowed_only_where_no_real_money_is(with_venue: With, btc: Instrument) -> None:
    from kimp.order.exchanges.binance_examination import BinanceExamination

    silent = {"GET /sapi/v1/account/apiRestrictions": (404, {})}
    assert examined(with_venue, btc, silent)["binance key permissions"]

    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.always |= GOOD | silent
        checks = await BinanceExamination(exchange._line, is_real_venue=True).examine([btc], Decimal(2))
        assert [check.name for check in checks if not check.ok] == ["binance key permissions"]

    with_venue(story)


def test_leverage_is_a_whole_number(with_venue: With, btc: Instrument) -> None:
    async def story(venue: Any, exchange: BinanceExchange) -> None:
        venue.always |= GOOD
        checks = await exchange.examine([btc], Decimal("1.5"))
        assert [check.name for check in checks if not check.ok] == ["binance leverage BTCUSDT"]
        assert not venue.told("POST /fapi/v1/leverage")

    with_venue(story)


def test_before_it_is_opened_it_sends_nothing() -> None:
    async def story() -> None:
        exchange = BinanceExchange(Binance(), [], SystemClock(), Random(1))
        assert await exchange.account() is None
        assert await exchange.instruments(["BTCUSDT"]) is None
        assert await exchange.clock_skew() is None
        checks = await exchange.examine([], Decimal(1))
        assert [(check.name, check.ok) for check in checks] == [("binance key", False)]

    asyncio.run(story())
