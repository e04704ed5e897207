"""Orders over REST: what is taken, what is refused and with which words, and how an order reads afterwards."""

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimp.portfolio.exchange.upbit_wire.figures import number, order_number, order_uuid, text
from kimp.shared.domain.time import DAY, SECOND

REFUSALS = [
    ({"price": "100000500", "volume": "0.01"}, 400, "invalid_price_bid"),
    ({"side": "ask", "price": "100000500", "volume": "0.01"}, 400, "invalid_price_ask"),
    ({"price": "1000000", "volume": "0.00499999"}, 400, "under_min_total_bid"),
    ({"side": "ask", "price": "1000000", "volume": "0.00499999"}, 400, "under_min_total_ask"),
    ({"ord_type": "price", "price": "4999"}, 400, "under_min_total_bid"),
    ({"price": "100000000", "volume": "0.1"}, 400, "insufficient_funds_bid"),  # the fee is not covered
    ({"side": "ask", "price": "100000000", "volume": "1.00000001"}, 400, "insufficient_funds_ask"),
    ({"ord_type": "price", "price": "10000000"}, 400, "insufficient_funds_bid"),
    ({"side": "ask", "ord_type": "market", "volume": "1.5"}, 400, "insufficient_funds_ask"),
    ({"price": "100000000", "volume": "0.010000001"}, 400, "invalid_volume_bid"),
    ({"price": "100000000", "volume": "-1"}, 400, "invalid_volume_bid"),
    ({"price": "-1000", "volume": "1"}, 400, "invalid_price_bid"),
    ({"price": "many", "volume": "1"}, 400, "validation_error"),
    ({"price": "NaN", "volume": "1"}, 400, "validation_error"),
    ({"price": "100000000"}, 400, "create_bid_error"),
    ({"side": "ask", "ord_type": "market", "volume": "0.1", "price": "1000"}, 400, "create_ask_error"),
    ({"ord_type": "market", "volume": "0.1"}, 400, "create_bid_error"),
    ({"side": "ask", "ord_type": "price", "price": "10000"}, 400, "create_ask_error"),
    ({"side": "up", "price": "100000000", "volume": "0.01"}, 400, "validation_error"),
    ({"ord_type": "stop", "price": "100000000", "volume": "0.01"}, 400, "validation_error"),
    ({"ord_type": "best", "price": "10000"}, 400, "validation_error"),  # wants ioc or fok
    ({"ord_type": "best", "price": "10000", "time_in_force": "post_only"}, 400, "validation_error"),
    ({"ord_type": "price", "price": "10000", "time_in_force": "ioc"}, 400, "validation_error"),
    ({"price": "1000000", "volume": "0.1", "time_in_force": "gtc"}, 400, "validation_error"),
    (
        {"price": "1000000", "volume": "0.1", "time_in_force": "post_only", "smp_type": "reduce"},
        400,
        "validation_error",
    ),
    ({"market": "KRW-NIX", "price": "100000000", "volume": "0.01"}, 400, "notfoundmarket"),
    ({"market": "KRW-USDT", "price": "1400", "volume": "10"}, 400, "market_offline"),  # no book yet
]


@pytest.mark.parametrize("path", ["/v1/orders", "/v1/orders/test"])
@pytest.mark.parametrize(("fields", "status", "name"), REFUSALS)
def test_what_the_venue_refuses_it_refuses_by_name(
    kit: SimpleNamespace, market: Any, fields: dict[str, str], status: int, name: str, path: str
) -> None:
    market.quote()

    async def story() -> None:
        async with market.open() as client:
            reply = await client.order(path=path, **fields)
            assert (reply.status, reply.error) == (status, name)
            assert not market.exchange.orders()
            assert market.exchange.simulated.balances == kit.balances(btc="1")

    kit.run(story())


def test_a_body_that_is_no_object_is_refused(kit: SimpleNamespace, market: Any) -> None:
    async def story() -> None:
        async with market.open() as client:
            for raw in (b"[]", b"{", b"\xff", b"market=KRW-BTC"):
                headers = {"Authorization": f"Bearer {client.token()}"}
                async with client.session.post(
                    f"{market.served.http_url}/v1/orders", data=raw, headers=headers
                ) as response:
                    assert response.status == 400

    kit.run(story())


def test_a_taken_order_is_answered_201_before_anything_is_known_of_it(kit: SimpleNamespace, market: Any) -> None:
    market.quote()

    async def story() -> None:
        async with market.open() as client:
            reply = await client.order(price="100001000", volume="0.05", identifier="mine")
            assert reply.status == 201
            uuid = reply.json.pop("uuid")
            assert reply.json == {
                "market": "KRW-BTC",
                "side": "bid",
                "ord_type": "limit",
                "price": "100001000",
                "state": "wait",
                "created_at": "2026-09-21T23:13:20+09:00",
                "volume": "0.05",
                "remaining_volume": "0.05",
                "executed_volume": "0",
                "reserved_fee": "2500.025",
                "remaining_fee": "2500.025",
                "paid_fee": "0",
                "locked": "5002550.025",
                "prevented_volume": "0",
                "prevented_locked": "0",
                "trades_count": 0,
                "identifier": "mine",
            }
            done = (await client.get("/v1/order", f"uuid={uuid}")).json
            assert (done["state"], done["executed_volume"], done["remaining_volume"]) == ("done", "0.05", "0")
            assert (done["paid_fee"], done["remaining_fee"], done["locked"]) == ("2500.025", "0", "0")
            (trade,) = done["trades"]
            assert trade.pop("uuid") != uuid
            assert trade == {
                "market": "KRW-BTC",
                "price": "100001000",
                "volume": "0.05",
                "funds": "5000050",
                "trend": "up",
                "created_at": "2026-09-21T23:13:20.000000+09:00",
                "side": "bid",
            }

    kit.run(story())


def test_a_resting_order_locks_until_it_is_cancelled(kit: SimpleNamespace, market: Any) -> None:
    market.quote()

    async def story() -> None:
        async with market.open() as client:
            await client.order(price="90000000", volume="0.01", identifier="low")
            await client.order("ask", price="110000000", volume="0.4", identifier="high")
            won, coin = (await client.get("/v1/accounts")).json
            assert (won["currency"], won["balance"], won["locked"]) == ("KRW", "9099550", "900450")
            assert (coin["currency"], coin["balance"], coin["locked"]) == ("BTC", "0.6", "0.4")
            listed = (await client.get("/v1/orders/open", "market=KRW-BTC&states[]=wait&order_by=asc")).json
            assert [order["identifier"] for order in listed] == ["low", "high"]
            assert listed[0]["executed_funds"] == "0"
            gone = await client.call("DELETE", "/v1/order", "identifier=low")
            assert (gone.status, gone.json["state"]) == (200, "wait")
            order = (await client.get("/v1/order", "identifier=low")).json
            assert (order["state"], order["executed_volume"], order["trades"]) == ("cancel", "0", [])
            assert (await client.get("/v1/accounts")).json[0]["locked"] == "0"
            again = await client.call("DELETE", "/v1/order", "identifier=low")
            assert (again.status, again.error) == (404, "order_not_found")

    kit.run(story())


def test_a_maker_trades_at_its_own_price(kit: SimpleNamespace, clock: Any, market: Any) -> None:
    market.quote()

    async def story() -> None:
        async with market.open() as client:
            await client.order(price="99000000", volume="0.01", time_in_force="post_only", identifier="m")
            await clock.move(SECOND)
            market.quote("98000000", "98500000", size="0.004", rows=1)
            order = (await client.get("/v1/order", "identifier=m")).json
            assert (order["state"], order["executed_volume"], order["time_in_force"]) == ("wait", "0.004", "post_only")
            assert [(trade["price"], trade["trend"]) for trade in order["trades"]] == [("99000000", "down")]
            assert order["locked"] == "594297"  # 0.006 at 99,000,000 and the fee on it

    kit.run(story())


ENDS = [
    ({"price": "100001000", "volume": "3", "time_in_force": "ioc", "side": "bid"}, "cancel", "1"),
    ({"price": "100001000", "volume": "3", "time_in_force": "fok", "side": "bid"}, "cancel", "0"),
    ({"price": "100001000", "volume": "1", "time_in_force": "fok", "side": "bid"}, "done", "1"),
    ({"price": "100001000", "volume": "1", "time_in_force": "post_only", "side": "bid"}, "cancel", "0"),
    ({"ord_type": "market", "volume": "0.5", "side": "ask"}, "done", "0.5"),
    ({"ord_type": "best", "volume": "0.5", "side": "ask", "time_in_force": "ioc"}, "done", "0.5"),
    ({"ord_type": "best", "volume": "1.5", "side": "ask", "time_in_force": "ioc"}, "cancel", "1"),
    ({"ord_type": "best", "volume": "1.5", "side": "ask", "time_in_force": "fok"}, "cancel", "0"),
    # purchases by amount end "cancel" although everything was bought, even to the last won
    ({"ord_type": "price", "price": "50000500", "side": "bid"}, "cancel", "0.5"),
    ({"ord_type": "price", "price": "50000000", "side": "bid"}, "cancel", "0.49999500"),
    ({"ord_type": "best", "price": "50000000", "side": "bid", "time_in_force": "ioc"}, "cancel", "0.49999500"),
]


@pytest.mark.parametrize(("fields", "state", "executed"), ENDS)
def test_orders_end_as_upbits_do(
    kit: SimpleNamespace, market: Any, fields: dict[str, str], state: str, executed: str
) -> None:
    market = kit.Market(market.clock, market.keys, kit.balances("400000000", "2"))
    market.quote(rows=1)

    async def story() -> None:
        async with market.open() as client:
            taken = await client.order(**fields)
            assert taken.status == 201, taken.json
            order = (await client.get("/v1/order", f"uuid={taken.json['uuid']}")).json
            assert (order["state"], Decimal(order["executed_volume"])) == (state, Decimal(executed))
            assert sum(Decimal(trade["volume"]) for trade in order["trades"]) == Decimal(executed)

    kit.run(story())


def test_a_purchase_by_amount_names_no_volume(kit: SimpleNamespace, market: Any) -> None:
    market.quote()

    async def story() -> None:
        async with market.open() as client:
            taken = (await client.order(ord_type="price", price="1000000")).json
            assert (taken["price"], taken["volume"], taken["remaining_volume"]) == ("1000000", None, None)
            assert (taken["reserved_fee"], taken["locked"]) == ("500", "1000500")

    kit.run(story())


def test_an_identifier_is_used_up_for_ever_even_by_an_error(kit: SimpleNamespace, clock: Any, market: Any) -> None:
    market.quote()

    async def story() -> None:
        async with market.open() as client:
            assert (await client.order(price="1", volume="1", identifier="poor")).status == 400
            assert (await client.order(price="many", volume="1", identifier="wrong")).status == 400
            assert (await client.order(price="90000000", volume="0.01", identifier="done")).status == 201
            await client.call("DELETE", "/v1/order", "identifier=done")
            await clock.move(300 * DAY)
            for identifier in ("poor", "wrong", "done"):
                reply = await client.order(price="90000000", volume="0.01", identifier=identifier)
                assert (reply.status, reply.error) == (400, "identifier_already_used")
            assert len(market.exchange.orders()) == 1

    kit.run(story())


def test_a_rehearsal_places_nothing_and_uses_nothing_up(kit: SimpleNamespace, market: Any) -> None:
    market.quote()

    async def story() -> None:
        async with market.open() as client:
            tried = await client.order(path="/v1/orders/test", price="90000000", volume="0.01", identifier="a")
            assert (tried.status, tried.json["state"]) == (201, "wait")
            assert (await client.get("/v1/order", f"uuid={tried.json['uuid']}")).error == "order_not_found"
            assert not market.exchange.orders()
            assert (await client.order(price="90000000", volume="0.01", identifier="a")).status == 201
            again = await client.order(path="/v1/orders/test", price="90000000", volume="0.01", identifier="a")
            assert again.error == "identifier_already_used"

    kit.run(story())


def test_orders_are_found_by_many_ids_and_by_when_they_ended(kit: SimpleNamespace, clock: Any, market: Any) -> None:
    market.quote()

    async def story() -> None:
        async with market.open() as client:
            first = (await client.order(price="100001000", volume="0.01", identifier="one")).json["uuid"]
            await clock.move(3 * DAY)
            second = (await client.order(price="90000000", volume="0.01", identifier="two")).json["uuid"]
            found = await client.get("/v1/orders/uuids", f"uuids[]={first}&uuids[]={second}&uuids[]=x")
            assert [order["identifier"] for order in found.json] == ["two", "one"]
            found = await client.get("/v1/orders/uuids", "identifiers[]=one")
            assert [order["uuid"] for order in found.json] == [first]
            assert (await client.get("/v1/orders/uuids")).error == "validation_error"
            await client.call("DELETE", "/v1/orders/uuids", f"uuids[]={second}")
            closed = (await client.get("/v1/orders/closed", "states[]=done&states[]=cancel")).json
            assert [(order["uuid"], order["state"]) for order in closed] == [(second, "cancel"), (first, "done")]
            assert closed[1]["executed_funds"] == "1000010"
            early = await client.get("/v1/orders/closed", "end_time=2026-09-22T00:00:00Z")
            assert [order["uuid"] for order in early.json] == [first]
            wide = await client.get(
                "/v1/orders/closed", "start_time=2026-09-01T00:00:00Z&end_time=2026-09-30T00:00:00Z"
            )
            assert wide.error == "validation_error"

    kit.run(story())


def test_everything_that_rests_is_cancelled_at_once(kit: SimpleNamespace, market: Any) -> None:
    market.quote()

    async def story() -> None:
        async with market.open() as client:
            await client.order(price="90000000", volume="0.01")
            await client.order("ask", price="110000000", volume="0.01")
            sales = await client.call("DELETE", "/v1/orders/open", "cancel_side=ask")
            assert sales.json["success"]["count"] == 1
            assert [order["side"] for order in (await client.get("/v1/orders/open")).json] == ["bid"]

    kit.run(story())


def test_an_order_is_not_found_by_what_it_is_not(kit: SimpleNamespace, market: Any) -> None:
    async def story() -> None:
        async with market.open() as client:
            for query in (f"uuid={order_uuid(1)}", "uuid=x", "identifier=x", "uuid=&identifier=x"):
                reply = await client.get("/v1/order", query)
                assert (reply.status, reply.error) == (404, "order_not_found")
            assert (await client.get("/v1/order")).error == "validation_error"

    kit.run(story())


def test_fees_minimum_and_both_accounts_are_told_before_an_order(kit: SimpleNamespace, market: Any) -> None:
    market.quote()

    async def story() -> None:
        async with market.open() as client:
            await client.order(price="100001000", volume="0.05")
            chance = (await client.get("/v1/orders/chance", "market=KRW-BTC")).json
            assert (chance["bid_fee"], chance["market"]["bid"]["min_total"]) == ("0.0005", "5000")
            assert chance["market"]["state"] == "active"
            assert chance["ask_account"]["avg_buy_price"] == "100001000"
            assert (await client.get("/v1/orders/chance", "market=KRW-NIX")).error == "notfoundmarket"
            wallets = (await client.get("/v1/status/wallet")).json
            assert {wallet["wallet_state"] for wallet in wallets} == {"working"}

    kit.run(story())


@given(st.integers(1, 2**47))
def test_an_order_number_comes_back_from_its_uuid(wanted: int) -> None:
    uuid = order_uuid(wanted)
    assert order_number(uuid) == wanted
    assert order_number(uuid[:-1] + ("0" if uuid[-1] != "0" else "1")) is None


@given(st.decimals(allow_nan=False, allow_infinity=False, places=8, min_value=-(10**12), max_value=10**12))
def test_a_number_reads_back_as_it_was(value: Decimal) -> None:
    written = text(value)
    assert number(written) == value
    assert "E" not in written
    assert not (written.endswith("0") and "." in written)
