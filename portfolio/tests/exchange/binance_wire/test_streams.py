"""The WebSocket: routes, subscriptions, books that join, and the account's own stream."""

from decimal import Decimal
from typing import Any

import pytest

from kimp.shared.domain.money import Amount
from kimp.shared.domain.time import DAY, MINUTE, SECOND

KEYS = "/fapi/v1/listenKey"


async def sell(rig: Any, quantity: str, **params: Any) -> Any:
    return await rig.order(**({"timeInForce": "IOC", "price": "99000", "quantity": quantity} | params))


# -- routes and subscriptions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/public/ws/btcusdt@depth@100ms", "/ws/btcusdt@depth@100ms"])
def test_a_stream_can_be_named_in_the_path(tell: Any, path: str) -> None:
    async def story(rig: Any) -> None:
        async with rig.listening(path) as listener:
            await listener.ask("LIST_SUBSCRIPTIONS")
            rig.show("100010")
            assert (await listener.next())["e"] == "depthUpdate"

    tell(story)


def test_combined_streams_are_wrapped(tell: Any) -> None:
    async def story(rig: Any) -> None:
        async with rig.listening("/public/stream?streams=btcusdt@bookTicker/ethusdt@bookTicker") as listener:
            assert (await listener.ask("LIST_SUBSCRIPTIONS"))["result"] == ["btcusdt@bookTicker", "ethusdt@bookTicker"]
            rig.show("100010")
            message = await listener.next()
            assert message["stream"] == "btcusdt@bookTicker"
            assert message["data"]["b"] == "100010"

    tell(story)


def test_a_stream_on_the_wrong_route_is_acknowledged_and_then_silent(tell: Any) -> None:
    async def story(rig: Any) -> None:
        async with rig.listening("/market/ws") as wrong, rig.listening("/public/ws") as right:
            assert await wrong.ask("SUBSCRIBE", "btcusdt@depth", "btcusdt@aggTrade") == {"result": None, "id": 7}
            await right.ask("SUBSCRIBE", "btcusdt@depth", "btcusdt@aggTrade")
            rig.show("100010")
            rig.show("100020")
            assert [(await wrong.next())["e"] for _ in range(2)] == ["aggTrade", "aggTrade"]
            assert [(await right.next())["e"] for _ in range(2)] == ["depthUpdate", "depthUpdate"]

    tell(story)


def test_subscriptions_change_while_connected(tell: Any) -> None:
    async def story(rig: Any) -> None:
        async with rig.listening("/public/ws/0") as listener:
            await listener.ask("SUBSCRIBE", "btcusdt@bookTicker", "btcusdt@depth")
            await listener.ask("UNSUBSCRIBE", "btcusdt@depth")
            assert (await listener.ask("LIST_SUBSCRIPTIONS"))["result"] == ["0", "btcusdt@bookTicker"]
            rig.show("100010")
            rig.show("100020")
            assert [(await listener.next())["e"] for _ in range(2)] == ["bookTicker", "bookTicker"]
            await listener.ask("SET_PROPERTY", "combined", True)
            assert (await listener.ask("GET_PROPERTY", "combined"))["result"] is True
            rig.show("100030")
            assert (await listener.next())["stream"] == "btcusdt@bookTicker"

    tell(story)


def test_nonsense_is_answered_with_an_error_and_changes_nothing(tell: Any) -> None:
    async def story(rig: Any) -> None:
        async with rig.listening("/public/ws/btcusdt@bookTicker") as listener:
            assert (await listener.ask("BUY", "everything"))["error"]["code"] == 2
            await listener.socket.send_str("{nonsense")
            assert (await listener.next())["error"]["code"] == 3
            assert (await listener.ask("SUBSCRIBE", *[f"x{n}@depth" for n in range(1024)]))["error"]["code"] == 2
            assert (await listener.ask("LIST_SUBSCRIPTIONS"))["result"] == ["btcusdt@bookTicker"]

    tell(story)


def test_a_client_that_talks_too_much_is_sent_away(tell: Any) -> None:
    async def story(rig: Any) -> None:
        async with rig.listening("/public/ws") as listener:
            for _ in range(10):
                await listener.ask("LIST_SUBSCRIPTIONS")
            await listener.socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 1})
            assert await listener.closed() == 1008

    tell(story)


def test_a_connection_lives_a_day(tell: Any) -> None:
    async def story(rig: Any) -> None:
        async with rig.listening("/public/ws") as listener:
            await listener.ask("LIST_SUBSCRIPTIONS")
            await rig.clock.advance(DAY)
            assert await listener.closed() == 1001

    tell(story)


# -- public streams ----------------------------------------------------------------------------------------------------


def test_differences_form_one_chain_that_joins_the_snapshot(tell: Any) -> None:
    async def story(rig: Any) -> None:
        async with rig.listening("/public/stream?streams=btcusdt@depth@100ms/btcusdt@bookTicker") as listener:
            await listener.ask("LIST_SUBSCRIPTIONS")
            rig.show("100007", size="3")
            await listener.until("bookTicker")
            snapshot = (await rig.ask("GET", "/fapi/v1/depth", symbol="BTCUSDT", limit=1000)).json
            bids = dict(snapshot["bids"])
            last = snapshot["lastUpdateId"]
            for step, levels in enumerate((20, 3, 25, 25, 7, 19)):
                rig.show(f"{100_000 + 3 * step}.{step}", size=f"{step + 1}", levels=levels)
                change = await listener.until("depthUpdate")
                touch = await listener.until("bookTicker")
                assert (change["pu"], change["U"]) == (last, last + 1)
                assert change["u"] >= change["U"]
                last = change["u"]
                for price, size in change["b"]:
                    bids[price] = size
                    if Decimal(size) == 0:
                        del bids[price]
                true = rig.exchange.simulated.books["binance:BTCUSDT"].bids
                assert {Decimal(price): Decimal(size) for price, size in bids.items()} == {
                    level.price: level.size for level in true
                }
                assert len(bids) == len(true)
                assert (touch["u"], Decimal(touch["b"])) == (last, true[0].price)

    tell(story)


def test_a_book_that_does_not_change_is_not_told_again(tell: Any) -> None:
    async def story(rig: Any) -> None:
        async with rig.listening("/public/ws/btcusdt@depth") as listener:
            await listener.ask("LIST_SUBSCRIPTIONS")
            rig.show("100000")
            rig.show("100000")
            rig.show("100001")
            rig.show("100001")
            rig.show("100002")
            first, second = await listener.next(), await listener.next()
            assert ["100001", "5"] in first["b"]
            assert ["100002", "5"] in second["b"]

    tell(story)


def test_partial_books_are_whole_and_best_first(tell: Any) -> None:
    async def story(rig: Any) -> None:
        async with rig.listening("/public/ws/btcusdt@depth5@100ms") as listener:
            await listener.ask("LIST_SUBSCRIPTIONS")
            rig.show("100010")
            book = await listener.next()
            assert [price for price, _ in book["a"]] == [
                f"10001{n}.{m}" for n, m in ((0, 1), (0, 2), (0, 3), (0, 4), (0, 5))
            ]
            assert len(book["b"]) == 5

    tell(story)


def test_trades_marks_and_candles_go_together(tell: Any) -> None:
    async def story(rig: Any) -> None:
        names = "btcusdt@aggTrade/btcusdt@kline_1m/btcusdt@kline_5m/btcusdt@markPrice"
        async with rig.listening(f"/market/stream?streams={names}") as listener:
            await listener.ask("LIST_SUBSCRIPTIONS")
            await rig.clock.advance(5 * MINUTE - rig.clock.now() % (5 * MINUTE))
            rig.show("100010")
            trade = await listener.until("aggTrade")
            assert (trade["p"], trade["m"]) == ("100010.1", False)
            while (bar := (await listener.until("kline"))["k"])["i"] != "5m":
                pass
            assert (bar["c"], bar["x"]) == ("100010.1", False)
            await rig.clock.advance(SECOND)
            while (await listener.until("markPriceUpdate"))["p"] != "100010.05":
                pass
            await rig.clock.advance(3 * MINUTE)
            rig.show("100020")
            closed = await listener.until("kline")
            assert (closed["k"]["i"], closed["k"]["x"]) == ("1m", True)
        rows = (await rig.ask("GET", "/fapi/v1/klines", symbol="BTCUSDT", interval="1m")).json[-4:]
        assert [row[0] - rows[0][0] for row in rows] == [n * 60_000 for n in range(4)]
        assert (rows[1][5], rows[1][4]) == ("0", rows[0][4])

    tell(story)


# -- the account's own stream ------------------------------------------------------------------------------------------


def test_an_order_is_told_from_new_to_its_end(tell: Any) -> None:
    async def story(rig: Any) -> None:
        listen_key = (await rig.keyed("POST", KEYS)).json["listenKey"]
        async with rig.listening(f"/private/ws/{listen_key}") as listener:
            await listener.ask("LIST_SUBSCRIPTIONS")
            await sell(rig, "6", price="100000", newClientOrderId="big")
            new = (await listener.until("ORDER_TRADE_UPDATE"))["o"]
            assert (new["x"], new["X"], new["c"], new["z"]) == ("NEW", "NEW", "big", "0")
            account = (await listener.until("ACCOUNT_UPDATE"))["a"]
            assert (account["m"], account["P"][0]["pa"]) == ("ORDER", "-5.000")
            fill = (await listener.until("ORDER_TRADE_UPDATE"))["o"]
            assert (fill["x"], fill["X"], fill["l"], fill["z"]) == ("TRADE", "PARTIALLY_FILLED", "5.000", "5.000")
            assert (fill["L"], fill["n"], fill["N"], fill["m"]) == ("100000.0", "250.00000000", "USDT", False)
            end = (await listener.until("ORDER_TRADE_UPDATE"))["o"]
            assert (end["x"], end["X"], end["z"]) == ("EXPIRED", "EXPIRED", "5.000")
            (trade,) = (await rig.signed("GET", "/fapi/v1/userTrades", symbol="BTCUSDT")).json
            assert fill["t"] == trade["id"]

    tell(story, usdt="10000000")


def test_a_resting_order_is_met_as_maker_and_a_cancelled_one_says_so(tell: Any) -> None:
    async def story(rig: Any) -> None:
        listen_key = (await rig.keyed("POST", KEYS)).json["listenKey"]
        async with rig.listening(f"/private/ws?listenKey={listen_key}&events=ORDER_TRADE_UPDATE") as listener:
            await listener.ask("LIST_SUBSCRIPTIONS")
            await rig.order(quantity="0.1", price="100500")
            await rig.order(quantity="0.1", newClientOrderId="gone")
            await rig.clock.advance(SECOND)
            rig.show("100600")
            await rig.signed("DELETE", "/fapi/v1/order", symbol="BTCUSDT", origClientOrderId="gone")
            told = [(await listener.next())["o"] for _ in range(4)]
            assert [event["x"] for event in told] == ["NEW", "NEW", "TRADE", "CANCELED"]
            assert (told[2]["m"], told[2]["X"], told[2]["L"]) == (True, "FILLED", "100500")

    tell(story)


def test_realised_profit_funding_and_transfers_are_told(tell: Any) -> None:
    async def story(rig: Any) -> None:
        listen_key = (await rig.keyed("POST", KEYS)).json["listenKey"]
        await sell(rig, "0.2")
        rig.show("99000")
        async with rig.listening(f"/private/ws/{listen_key}") as listener:
            await listener.ask("LIST_SUBSCRIPTIONS")
            await sell(rig, "0.1", side="BUY", price="99500", reduceOnly="true")
            while (fill := (await listener.until("ORDER_TRADE_UPDATE"))["o"])["x"] != "TRADE":
                pass
            assert Decimal(fill["rp"]) == Decimal("99.99")
            assert fill["R"] is True
            rig.fund("0.0001", settles_at=rig.clock.now() + MINUTE)
            await rig.clock.advance(MINUTE)
            rig.show("99000")
            funding = (await listener.until("ACCOUNT_UPDATE"))["a"]
            assert (funding["m"], Decimal(funding["B"][0]["bc"]) > 0, funding["P"]) == ("FUNDING_FEE", True, [])
            rig.exchange.move_funds("in-1", Amount(Decimal(7), "USDT"))
            deposit = (await listener.until("ACCOUNT_UPDATE"))["a"]
            assert (deposit["m"], Decimal(deposit["B"][0]["bc"])) == ("DEPOSIT", 7)
            rig.exchange.move_funds("out-1", Amount(Decimal(-3), "USDT"))
            withdrawal = (await listener.until("ACCOUNT_UPDATE"))["a"]
            assert (withdrawal["m"], Decimal(withdrawal["B"][0]["bc"])) == ("WITHDRAW", -3)

    tell(story)


def test_a_liquidation_is_the_venues_own_order(tell: Any) -> None:
    async def story(rig: Any) -> None:
        listen_key = (await rig.keyed("POST", KEYS)).json["listenKey"]
        await rig.signed("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=20)
        await sell(rig, "3")
        async with rig.listening(f"/private/ws/{listen_key}") as listener:
            await listener.ask("LIST_SUBSCRIPTIONS")
            rig.show("140000")
            while (fill := (await listener.until("ORDER_TRADE_UPDATE"))["o"])["x"] != "CALCULATED":
                pass
            assert fill["c"].startswith("autoclose-")
            assert (fill["o"], fill["S"], fill["l"], fill["X"]) == ("LIQUIDATION", "BUY", "3.000", "FILLED")
        assert (await rig.signed("GET", "/fapi/v3/positionRisk")).json == []
        trades = (await rig.signed("GET", "/fapi/v1/userTrades", symbol="BTCUSDT")).json
        order = await rig.signed("GET", "/fapi/v1/order", symbol="BTCUSDT", orderId=trades[-1]["orderId"])
        assert order.json["clientOrderId"] == fill["c"]

    tell(story)


def test_a_listen_key_is_prolonged_expires_and_then_says_nothing(tell: Any) -> None:
    async def story(rig: Any) -> None:
        listen_key = (await rig.keyed("POST", KEYS)).json["listenKey"]
        assert (await rig.keyed("POST", KEYS)).json["listenKey"] == listen_key
        async with rig.listening(f"/private/ws/{listen_key}") as listener:
            await listener.ask("LIST_SUBSCRIPTIONS")
            await rig.clock.advance(50 * MINUTE)
            assert (await rig.keyed("PUT", KEYS)).json["listenKey"] == listen_key
            await rig.clock.advance(59 * MINUTE)
            await sell(rig, "0.1")
            await listener.until("ORDER_TRADE_UPDATE")
            await rig.clock.advance(MINUTE)
            assert (await listener.until("listenKeyExpired"))["listenKey"] == listen_key
            await sell(rig, "0.1")
            assert (await listener.ask("LIST_SUBSCRIPTIONS"))["result"] == []
        assert (await rig.keyed("PUT", KEYS)).refusal == (400, -1125, "This listenKey does not exist.")
        fresh = (await rig.keyed("POST", KEYS)).json["listenKey"]
        assert fresh != listen_key
        assert (await rig.keyed("DELETE", KEYS)).json == {}
        assert (await rig.keyed("PUT", KEYS)).refusal[1] == -1125

    tell(story)


def test_user_data_is_silent_without_a_key_and_on_other_routes(tell: Any) -> None:
    async def story(rig: Any) -> None:
        listen_key = (await rig.keyed("POST", KEYS)).json["listenKey"]
        async with rig.listening(f"/market/ws/{listen_key}") as astray, rig.listening("/private/ws/guess") as guess:
            for listener in (astray, guess):
                await listener.ask("LIST_SUBSCRIPTIONS")
            await sell(rig, "0.1")
            for listener in (astray, guess):
                assert "result" in await listener.ask("LIST_SUBSCRIPTIONS")

    tell(story)
