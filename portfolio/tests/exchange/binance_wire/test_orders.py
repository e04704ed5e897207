"""Orders over raw HTTP: what is taken, what is refused with which code, and what the venue says of them later."""

from decimal import Decimal
from typing import Any

import pytest

from kimp.portfolio.exchange.binance_wire.errors import Refusal
from kimp.portfolio.exchange.binance_wire.filters import Filters
from kimp.shared.domain.instruments import Side, binance_perpetual
from kimp.shared.domain.time import DAY, MILLISECOND, SECOND

ORDER = "/fapi/v1/order"


def test_an_order_can_be_placed_asked_for_and_cancelled(tell: Any) -> None:
    async def story(rig: Any) -> None:
        placed = await rig.order(newClientOrderId="mine-1")
        assert placed.status == 200
        assert (placed.json["status"], placed.json["clientOrderId"]) == ("NEW", "mine-1")
        assert placed.headers["X-MBX-ORDER-COUNT-10S"] == "1"
        asked = await rig.signed("GET", ORDER, symbol="BTCUSDT", origClientOrderId="mine-1")
        assert asked.json["orderId"] == placed.json["orderId"]
        assert len((await rig.signed("GET", "/fapi/v1/openOrders")).json) == 1
        assert (await rig.signed("GET", "/fapi/v1/openOrder", symbol="BTCUSDT", orderId=placed.json["orderId"])).json
        ended = await rig.signed("DELETE", ORDER, symbol="BTCUSDT", orderId=placed.json["orderId"])
        assert ended.json["status"] == "CANCELED"
        again = await rig.signed("DELETE", ORDER, symbol="BTCUSDT", orderId=placed.json["orderId"])
        assert again.refusal == (400, -2011, "Unknown order sent.")
        assert (await rig.signed("GET", "/fapi/v1/openOrders", symbol="BTCUSDT")).json == []
        over = await rig.signed("GET", "/fapi/v1/openOrder", symbol="BTCUSDT", orderId=placed.json["orderId"])
        assert over.refusal[1] == -2013

    tell(story)


def test_an_immediate_order_answers_with_what_came_of_it_only_when_a_result_is_wanted(tell: Any) -> None:
    async def story(rig: Any) -> None:
        ack = await rig.order(timeInForce="IOC", price="99000", quantity="0.1")
        assert (ack.json["status"], ack.json["executedQty"]) == ("NEW", "0")
        result = await rig.order(timeInForce="IOC", price="99000", quantity="0.1", newOrderRespType="RESULT")
        assert (result.json["status"], result.json["executedQty"]) == ("FILLED", "0.100")
        assert result.json["avgPrice"] == "100000.00000000"
        rest = await rig.order(timeInForce="IOC", price="100000", quantity="9", newOrderRespType="RESULT")
        assert (rest.json["status"], rest.json["executedQty"]) == ("EXPIRED", "4.800")

    tell(story, usdt="10000000")


def test_market_orders_fill_at_the_book(tell: Any) -> None:
    async def story(rig: Any) -> None:
        bought = await rig.signed(
            "POST", ORDER, symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.5", newOrderRespType="RESULT"
        )
        assert (bought.json["status"], bought.json["type"], bought.json["price"]) == ("FILLED", "MARKET", "0")
        assert bought.json["avgPrice"] == "100000.10000000"

    tell(story)


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"symbol": None}, -1102),
        ({"symbol": "DOGEUSDT"}, -1121),
        ({"side": None}, -1102),
        ({"side": "HOLD"}, -1117),
        ({"type": "STOP"}, -4120),
        ({"type": "SOON"}, -1116),
        ({"timeInForce": None}, -1102),
        ({"timeInForce": "NOW"}, -1115),
        ({"quantity": None}, -1102),
        ({"quantity": "1e-1"}, -1100),
        ({"quantity": "0"}, -4003),
        ({"quantity": "-1"}, -4003),
        ({"quantity": "0.0001"}, -1111),
        ({"quantity": "1001"}, -4005),
        ({"price": None}, -1102),
        ({"price": "NaN"}, -1100),
        ({"price": "0"}, -4001),
        ({"price": "101000.01"}, -1111),
        ({"price": "20000000"}, -4002),
        ({"price": "80000"}, -4024),
        ({"side": "BUY", "price": "120000"}, -4016),
        ({"quantity": "0.001", "side": "BUY", "price": "99000"}, -4164),
        ({"newClientOrderId": "a b"}, -1100),
        ({"newClientOrderId": "x" * 37}, -4015),
        ({"newOrderRespType": "FULL"}, -1136),
        ({"positionSide": "LONG"}, -4061),
        ({"positionSide": "UP"}, -1130),
        ({"reduceOnly": "yes"}, -1130),
        ({"reduceOnly": "true"}, -2022),
        ({"timeInForce": "GTX", "price": "99000"}, -5022),
        ({"timeInForce": "FOK", "price": "100000", "quantity": "6"}, -5021),
        ({"quantity": "3"}, -2019),
        ({"type": "MARKET"}, -1106),
        ({"type": "MARKET", "timeInForce": None, "price": None, "quantity": "121"}, -4005),
        ({"type": "MARKET", "timeInForce": None, "price": None, "quantity": "0.0001"}, -1111),
    ],
)
def test_an_order_the_venue_would_not_take_is_refused_with_its_code(tell: Any, params: Any, code: int) -> None:
    async def story(rig: Any) -> None:
        refused = await rig.order(**params)
        assert refused.refusal[:2] == (400, code), refused.text
        assert list(rig.exchange.working()) == []
        assert rig.exchange.simulated.trades == []

    tell(story, usdt="200000" if code != -5021 else "10000000")


def test_price_and_size_off_the_grid_are_told_apart_from_too_many_digits() -> None:
    odd = Filters(binance_perpetual("ETH", tick=Decimal("0.05"), lot=Decimal("0.005")))
    with pytest.raises(Refusal, match="-4014"):
        odd.check_price(Decimal("100.02"), Side.BUY, None)
    with pytest.raises(Refusal, match="-4023"):
        odd.check_quantity(Decimal("0.013"), is_market=False)
    with pytest.raises(Refusal, match="-4004"):
        odd.check_quantity(Decimal("0.001"), is_market=False)


def test_a_killed_order_is_not_in_the_history(tell: Any) -> None:
    async def story(rig: Any) -> None:
        refused = await rig.order(timeInForce="FOK", price="100000", quantity="6", newClientOrderId="killed")
        assert refused.refusal[1] == -5021
        asked = await rig.signed("GET", ORDER, symbol="BTCUSDT", origClientOrderId="killed")
        assert asked.refusal == (400, -2013, "Order does not exist.")
        assert (await rig.signed("GET", "/fapi/v1/allOrders", symbol="BTCUSDT")).json == []

    tell(story, usdt="10000000")


def test_a_client_id_is_unique_among_open_orders_only(tell: Any) -> None:
    async def story(rig: Any) -> None:
        first = await rig.order(newClientOrderId="same")
        assert (await rig.order(newClientOrderId="same")).refusal == (400, -4116, "ClientOrderId is duplicated.")
        await rig.signed("DELETE", ORDER, symbol="BTCUSDT", origClientOrderId="same")
        second = await rig.order(newClientOrderId="same")
        assert second.json["orderId"] > first.json["orderId"]
        asked = await rig.signed("GET", ORDER, symbol="BTCUSDT", origClientOrderId="same")
        assert asked.json["orderId"] == second.json["orderId"]

    tell(story)


def test_an_order_is_asked_for_under_its_own_symbol(tell: Any) -> None:
    async def story(rig: Any) -> None:
        await rig.order(newClientOrderId="btc")
        asked = await rig.signed("GET", ORDER, symbol="ETHUSDT", origClientOrderId="btc")
        assert asked.refusal[1] == -2013
        assert (await rig.signed("GET", ORDER, symbol="BTCUSDT")).refusal[1] == -1102

    tell(story)


def test_a_test_order_is_checked_and_not_sent(tell: Any) -> None:
    async def story(rig: Any) -> None:
        fields = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quantity": "0.1"}
        assert (await rig.signed("POST", f"{ORDER}/test", **fields)).json == {}
        refused = await rig.signed("POST", f"{ORDER}/test", **fields | {"side": "HOLD"})
        assert refused.refusal[1] == -1117
        assert list(rig.exchange.orders()) == []

    tell(story)


def test_everything_that_rests_is_cancelled_at_once_or_when_the_countdown_runs_out(tell: Any) -> None:
    async def story(rig: Any) -> None:
        for _ in range(3):
            await rig.order()
        told = await rig.signed("DELETE", "/fapi/v1/allOpenOrders", symbol="BTCUSDT")
        assert told.json["code"] == 200
        assert rig.exchange.working() == []
        await rig.order()
        counted = await rig.signed("POST", "/fapi/v1/countdownCancelAll", symbol="BTCUSDT", countdownTime=5000)
        assert counted.json == {"symbol": "BTCUSDT", "countdownTime": "5000"}
        await rig.clock.advance(4 * SECOND)
        assert len((await rig.signed("GET", "/fapi/v1/openOrders")).json) == 1
        await rig.clock.advance(2 * SECOND)
        assert (await rig.signed("GET", "/fapi/v1/openOrders")).json == []
        refused = await rig.signed("POST", "/fapi/v1/countdownCancelAll", symbol="BTCUSDT", countdownTime=-1)
        assert refused.refusal[1] == -1130

    tell(story)


def test_trades_carry_commission_realised_profit_and_who_was_maker(tell: Any) -> None:
    async def story(rig: Any) -> None:
        opened = await rig.order(timeInForce="IOC", price="99000", quantity="0.2")
        await rig.clock.advance(SECOND)
        closed = await rig.order(side="BUY", price="98000", quantity="0.1", newClientOrderId="later")
        await rig.clock.advance(SECOND)
        rig.show("97990")
        trades = (await rig.signed("GET", "/fapi/v1/userTrades", symbol="BTCUSDT")).json
        assert [trade["orderId"] for trade in trades] == [opened.json["orderId"], closed.json["orderId"]]
        first, second = trades
        assert (first["maker"], first["realizedPnl"], first["buyer"]) == (False, "0", False)
        assert (first["commission"], first["commissionAsset"]) == ("10.00000000", "USDT")
        assert (second["maker"], float(second["realizedPnl"])) == (True, 200.0)
        only = await rig.signed("GET", "/fapi/v1/userTrades", symbol="BTCUSDT", orderId=closed.json["orderId"])
        assert only.json == [second]
        rest = await rig.signed("GET", "/fapi/v1/userTrades", symbol="BTCUSDT", fromId=second["id"])
        assert rest.json == [second]
        early = await rig.signed(
            "GET", "/fapi/v1/userTrades", symbol="BTCUSDT", startTime=first["time"], endTime=first["time"]
        )
        assert early.json == [first]
        assert (await rig.signed("GET", "/fapi/v1/userTrades", symbol="ETHUSDT")).json == []

    tell(story)


def test_trades_and_orders_are_shown_for_seven_days_at_a_time(tell: Any) -> None:
    async def story(rig: Any) -> None:
        began = rig.clock.now() // MILLISECOND
        await rig.order(timeInForce="IOC", price="99000")
        await rig.clock.advance(8 * DAY)
        for path in ("/fapi/v1/userTrades", "/fapi/v1/allOrders"):
            assert (await rig.signed("GET", path, symbol="BTCUSDT")).json == []
            assert len((await rig.signed("GET", path, symbol="BTCUSDT", startTime=began)).json) == 1
            week = DAY * 7 // MILLISECOND
            refused = await rig.signed("GET", path, symbol="BTCUSDT", startTime=began, endTime=began + week + 1)
            assert refused.refusal[1] == -4165
            turned = await rig.signed("GET", path, symbol="BTCUSDT", startTime=began, endTime=began - 1)
            assert turned.refusal[1] == -1023
        both = await rig.signed("GET", "/fapi/v1/userTrades", symbol="BTCUSDT", fromId=1, startTime=began)
        assert both.refusal[1] == -1130

    tell(story)
