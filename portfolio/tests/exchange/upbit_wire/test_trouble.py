"""Maintenance, and what may go wrong between client and venue: every way an order's outcome becomes unknown."""

import asyncio
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from kimp.portfolio.exchange.serving import serve
from kimp.portfolio.exchange.upbit_wire import UpbitWire
from kimp.portfolio.exchange.virtual import VirtualExchange
from kimp.portfolio.exchange.wire_faults import (
    EXECUTED_AND_DROPPED,
    LOST_ON_THE_WAY,
    TRUNCATED,
    WireFault,
    answered_after,
    delayed,
)
from kimp.research.simulation.venue import SimulatedVenue
from kimp.shared.domain.instruments import Venue, binance_perpetual
from kimp.shared.domain.time import SECOND

ORDER = {"price": "90000000", "volume": "0.01", "identifier": "mine"}


def only_orders(fault: WireFault) -> Any:
    return lambda request: fault if request.method == "POST" else None


async def placed(client: Any) -> list[str]:
    return [order["identifier"] for order in (await client.get("/v1/orders/open")).json]


@pytest.mark.parametrize(("fault", "is_executed"), [(EXECUTED_AND_DROPPED, True), (LOST_ON_THE_WAY, False)])
def test_a_broken_connection_does_not_tell_whether_the_order_stands(
    kit: SimpleNamespace, market: Any, fault: WireFault, *, is_executed: bool
) -> None:
    market.faults = only_orders(fault)
    market.quote()

    async def story() -> None:
        async with market.open() as client:
            with pytest.raises(aiohttp.ClientError):
                await client.order(**ORDER)
            assert await placed(client) == (["mine"] if is_executed else [])

    kit.run(story())


def test_a_truncated_answer_follows_an_executed_order(kit: SimpleNamespace, market: Any) -> None:
    market.faults = only_orders(TRUNCATED)
    market.quote()

    async def story() -> None:
        async with market.open() as client:
            with pytest.raises(aiohttp.ClientPayloadError):
                await client.order(**ORDER)
            assert await placed(client) == ["mine"]

    kit.run(story())


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_gateway_may_answer_for_an_executed_order(kit: SimpleNamespace, market: Any, status: int) -> None:
    market.faults = only_orders(answered_after(status, b'{"error":{"name":"gateway","message":""}}'))
    market.quote()

    async def story() -> None:
        async with market.open() as client:
            assert (await client.order(**ORDER)).status == status
            assert await placed(client) == ["mine"]

    kit.run(story())


def test_a_late_order_is_carried_out_when_it_arrives(kit: SimpleNamespace, clock: Any, market: Any) -> None:
    market.faults = only_orders(delayed(3 * SECOND))
    market.quote()

    async def story() -> None:
        async with market.open() as client, asyncio.TaskGroup() as group:
            waiting = group.create_task(client.order(**ORDER))
            assert await placed(client) == []
            while not waiting.done():
                await clock.move(SECOND)
                await asyncio.sleep(0)
            assert (await waiting).status == 201
            assert await placed(client) == ["mine"]

    kit.run(story())


def test_in_maintenance_everything_answers_503_and_sockets_close(kit: SimpleNamespace, market: Any) -> None:
    market.quote()

    async def story() -> None:
        async with market.open() as client:
            async with client.socket() as public, client.socket(is_private=True) as private:
                for socket in (public, private):
                    await socket.send_str("PING")
                    await kit.message(socket)
                market.exchange.maintain(is_available=False, reason="works")
                for socket in (public, private):
                    assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
            for path in ("/v1/accounts", "/v1/ticker"):
                reply = await client.get(path)
                assert (reply.status, reply.error) == (503, "service_unavailable")
            assert (await client.order(**ORDER)).status == 503
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await client.socket()
            assert refused.value.status == 503
            market.exchange.maintain(is_available=True, reason="done")
            assert (await client.order(**ORDER)).status == 201

    kit.run(story())


def test_serving_ends_although_somebody_listens(kit: SimpleNamespace, clock: Any, market: Any) -> None:
    async def story() -> None:
        wire = UpbitWire(market.exchange, market.boards, clock, market.keys)
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
            async with serve(wire.application()) as served:
                socket = await session.ws_connect(f"{served.ws_url}/websocket/v1")
                await socket.send_str("PING")
                await kit.message(socket)
                listening = group.create_task(socket.receive())
            assert (await listening).type is aiohttp.WSMsgType.CLOSE

    kit.run(story())


def test_only_an_upbit_speaks_upbits_protocol(clock: Any, market: Any) -> None:
    other = VirtualExchange(SimulatedVenue(Venue.BINANCE, [binance_perpetual("BTC")], {}), clock)
    with pytest.raises(ValueError, match="binance"):
        UpbitWire(other, market.boards, clock, {})
