"""One's own orders and balances over the private WebSocket."""

from types import SimpleNamespace
from typing import Any

import msgspec

from kimp.portfolio.exchange.upbit_wire.spelling import NAMES
from kimp.shared.domain.time import SECOND


def ask(*kinds: str, form: str = "DEFAULT", **options: Any) -> str:
    types = [{"type": kind} | options for kind in kinds]
    return msgspec.json.encode([{"ticket": "t"}, *types, {"format": form}]).decode()


def test_every_step_of_an_order_is_told(kit: SimpleNamespace, market: Any) -> None:
    market.quote(size="0.03")

    async def story() -> None:
        async with market.open() as client, client.socket(is_private=True) as socket:
            await socket.send_str(ask("myOrder"))
            await market.until_wanted("myOrder")
            taken = await client.order(price="100003000", volume="0.05", identifier="mine")
            wait, first, second, done = await kit.messages(socket, 4)
            assert [step["state"] for step in (wait, first, second, done)] == ["wait", "trade", "trade", "done"]
            assert {step["uuid"] for step in (wait, first, second, done)} == {taken.json["uuid"]}
            assert (wait["price"], wait["volume"], wait["trade_uuid"]) == (100003000, 0.05, None)
            assert (wait["locked"], wait["trade_fee"], wait["is_maker"]) == (5002650.075, None, None)
            assert (first["price"], first["volume"], first["executed_volume"]) == (100001000, 0.03, 0.03)
            assert (second["price"], second["volume"], second["executed_volume"]) == (100002000, 0.02, 0.05)
            assert (first["trade_fee"], first["paid_fee"], second["paid_fee"]) == (1500.015, 1500.015, 2500.035)
            assert (first["is_maker"], first["trades_count"], second["trades_count"]) == (False, 1, 2)
            order = (await client.get("/v1/order", "identifier=mine")).json
            assert [trade["uuid"] for trade in order["trades"]] == [first["trade_uuid"], second["trade_uuid"]]
            assert (done["price"], done["volume"], done["remaining_volume"]) == (100003000, 0.05, 0)
            assert done["executed_funds"] == 5000070
            assert done["avg_price"] == 100001400
            assert (done["identifier"], done["order_type"], done["ask_bid"]) == ("mine", "limit", "BID")
            assert done["trade_timestamp"] == done["order_timestamp"] == kit.START // 10**6

    kit.run(story())


def test_a_maker_is_told_so_and_a_cancelled_rest_too(kit: SimpleNamespace, clock: Any, market: Any) -> None:
    market.quote()

    async def story() -> None:
        async with market.open() as client, client.socket(is_private=True) as socket:
            await socket.send_str(ask("myOrder"))
            await market.until_wanted("myOrder")
            await client.order("ask", price="100005000", volume="0.5", identifier="s")
            await clock.move(SECOND)
            market.quote("100005000", "100006000", size="0.2", rows=1)
            await client.call("DELETE", "/v1/order", "identifier=s")
            wait, trade, cancel = await kit.messages(socket, 3)
            assert [step["state"] for step in (wait, trade, cancel)] == ["wait", "trade", "cancel"]
            assert (trade["is_maker"], trade["price"], trade["volume"]) == (True, 100005000, 0.2)
            assert trade["timestamp"] == wait["timestamp"] + 1000
            assert (cancel["executed_volume"], cancel["remaining_volume"], cancel["locked"]) == (0.2, 0.3, 0.3)

    kit.run(story())


def test_a_purchase_by_amount_ends_cancel(kit: SimpleNamespace, market: Any) -> None:
    market.quote()

    async def story() -> None:
        async with market.open() as client, client.socket(is_private=True) as socket:
            await socket.send_str(ask("myOrder"))
            await market.until_wanted("myOrder")
            await client.order(ord_type="price", price="1000000")
            steps = await kit.messages(socket, 3)
            assert [step["state"] for step in steps] == ["wait", "trade", "cancel"]
            assert (steps[0]["price"], steps[0]["volume"]) == (1000000, None)

    kit.run(story())


def test_balances_are_told_as_they_change(kit: SimpleNamespace, market: Any) -> None:
    market.quote()

    async def story() -> None:
        async with market.open() as client, client.socket(is_private=True) as socket:
            await socket.send_str(ask("myAsset"))
            await market.until_wanted("myAsset")
            await client.order(price="90000000", volume="0.01", identifier="low")
            held = await kit.message(socket)
            assert {"currency": "KRW", "balance": 9099550, "locked": 900450} in held["assets"]
            await client.call("DELETE", "/v1/order", "identifier=low")
            freed = await kit.message(socket)
            assert {"currency": "KRW", "balance": 10000000, "locked": 0} in freed["assets"]
            assert (freed["type"], freed["stream_type"]) == ("myAsset", "REALTIME")

    kit.run(story())


def test_only_the_markets_asked_for_are_told(kit: SimpleNamespace, clock: Any, market: Any) -> None:
    market = kit.Market(clock, market.keys, kit.balances(btc="1", usdt="1000"))
    market.quote()
    market.show(kit.book(kit.USDT, "1400", "1401", clock.now(), size="1000"))

    async def story() -> None:
        async with market.open() as client, client.socket(is_private=True) as socket:
            await socket.send_str(ask("myOrder", codes=["KRW-USDT"], form="SIMPLE"))
            await market.until_wanted("myOrder")
            await client.order("ask", price="100000000", volume="0.01")
            await client.order("ask", market="KRW-USDT", price="1400", volume="10")
            step = await kit.message(socket)
            assert (step["ty"], step["cd"], step["s"]) == ("myOrder", "KRW-USDT", "wait")
            assert set(step) == set(NAMES["myOrder"].values())

    kit.run(story())


def test_a_short_spelling_stands_for_one_field_only() -> None:
    for kind, names in NAMES.items():
        nested = {"orderbook": {"as", "bs"}, "myAsset": {"l", "b"}}.get(kind, set())
        spellings = [short for short in names.values() if short not in nested]
        assert len(set(spellings)) == len(spellings), kind
