"""The parts that need no wire: numbered books, forms, filters, codes, and what a restart keeps."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimp.portfolio.exchange import codes
from kimp.portfolio.exchange.binance_wire import ApiKey, BinanceWire
from kimp.portfolio.exchange.binance_wire.depth import DepthTape
from kimp.portfolio.exchange.binance_wire.errors import REFUSALS, Refusal, VenueError
from kimp.portfolio.exchange.binance_wire.filters import Filters
from kimp.portfolio.exchange.binance_wire.forms import Form
from kimp.portfolio.exchange.binance_wire.order_forms import NewOrder, read_order
from kimp.portfolio.exchange.binance_wire.sockets import WAITING_MAX, Line, Route
from kimp.portfolio.exchange.diary import Diary
from kimp.portfolio.exchange.serving import serve
from kimp.portfolio.exchange.virtual import VirtualExchange
from kimp.portfolio.markets.boards import Boards
from kimp.research.simulation.venue import SimulatedVenue
from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.instruments import Venue, binance_perpetual
from kimp.shared.domain.time import MILLISECOND
from kimp.storage.feeds.binance.depth import DepthBook
from kimp.storage.feeds.binance.wire import DepthUpdate, Snapshot

BTC = binance_perpetual("BTC")
NOT_ON_THE_WIRE = {codes.MAINTENANCE, codes.DUPLICATE_TRANSFER}
"""A 503 of the gateway, and the owner's own act."""

sizes = st.dictionaries(st.integers(1, 12), st.integers(1, 5), min_size=1, max_size=8)


def a_book(bids: dict[int, int], asks: dict[int, int], at: int) -> Book:
    """Bids below 1,000 and asks above it, however far from it."""
    down = tuple(Level(Decimal(1_000 - n), Decimal(size)) for n, size in sorted(bids.items()))
    up = tuple(Level(Decimal(1_000 + n), Decimal(size)) for n, size in sorted(asks.items()))
    return Book(BTC.id, down, up, at, at)


@settings(deadline=None)
@given(st.lists(st.tuples(sizes, sizes), min_size=2, max_size=12), st.data())
def test_a_client_that_joins_anywhere_has_the_venues_book(books: list[Any], data: st.DataObject) -> None:
    tape, client = DepthTape("BTCUSDT", 4711), DepthBook(BTC.id)
    joins_at = data.draw(st.integers(0, len(books) - 1))
    for step, (bids, asks) in enumerate(books):
        now = (step + 1) * MILLISECOND
        change = tape.show(a_book(bids, asks, now))
        if change is not None:
            message = msgspec.json.encode(change.message("BTCUSDT", now))
            client.read(msgspec.json.decode(message, type=DepthUpdate), now)
        if step == joins_at:
            snapshot = msgspec.json.encode(tape.snapshot(1_000, now))
            client.join(msgspec.json.decode(snapshot, type=Snapshot), now)
        if step >= joins_at:
            shown = client.book(now)
            assert tape.book is not None
            assert client.last == tape.last
            assert (shown.bids, shown.asks) == (tape.book.bids, tape.book.asks)


WORDS = st.sampled_from(
    [
        "",
        "BTCUSDT",
        "BUY",
        "SELL",
        "LIMIT",
        "MARKET",
        "GTC",
        "FOK",
        "GTX",
        "true",
        "0",
        "-1",
        "0.1",
        "101000",
        "1e9",
        "NaN",
    ]
)
NAMES = [
    "symbol", "side", "type", "timeInForce", "quantity", "price", "reduceOnly", "newClientOrderId", "positionSide",
    "newOrderRespType",
]  # fmt: skip


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), WORDS | st.text(max_size=40)), st.booleans())
def test_any_form_is_read_or_refused(fields: dict[str, str], is_hedged: bool) -> None:
    outcome = read_or_refused(fields, is_hedged=is_hedged)
    if isinstance(outcome, VenueError):
        assert outcome.code < -1000
        return
    quantity = outcome.ticket.quantity
    assert quantity is not None
    assert quantity > 0
    assert quantity % BTC.rules.lot == 0


def read_or_refused(fields: dict[str, str], *, is_hedged: bool) -> NewOrder | VenueError:
    find = {"BTCUSDT": Filters(BTC)}.get
    try:
        return read_order(Form(fields), find, lambda _: Decimal(100_000), is_hedged=is_hedged)
    except Refusal as refusal:
        return refusal.error


def test_every_reason_of_the_exchange_has_a_number() -> None:
    assert set(codes.ALL_CODES) - NOT_ON_THE_WIRE == set(REFUSALS)


@pytest.mark.parametrize(
    ("stream", "route"),
    [
        ("btcusdt@depth@100ms", Route.PUBLIC),
        ("btcusdt@depth20@100ms", Route.PUBLIC),
        ("btcusdt@bookTicker", Route.PUBLIC),
        ("btcusdt@trade", Route.PUBLIC),
        ("btcusdt@aggTrade", Route.MARKET),
        ("btcusdt@markPrice@1s", Route.MARKET),
        ("btcusdt@kline_1m", Route.MARKET),
        ("f00f", Route.PRIVATE),
    ],
)
def test_every_stream_speaks_on_one_route_and_on_the_old_path(stream: str, route: Route) -> None:
    assert [one for one in Route if one.carries(stream)] == [route, Route.LEGACY]


def test_a_client_too_slow_for_its_messages_is_sent_away() -> None:
    async def story() -> None:
        line = Line(Route.PUBLIC, is_combined=False)
        for _ in range(WAITING_MAX + 1):
            line.tell("x@depth", "{}", "depthUpdate")
        code, reason = await asyncio.wait_for(line.ended(), 1)
        assert (code, reason) == (1008, "too slow")

    asyncio.run(story())


def test_a_secret_is_not_shown_with_its_key() -> None:
    assert "hidden" not in repr(ApiKey("hidden"))
    assert "hidden" not in f"{ApiKey('hidden')}"


# -- a restart, and a memory that fails --------------------------------------------------------------------------------


def test_trades_orders_and_income_survive_a_restart(tell: Any, tmp_path: Path) -> None:
    paths = ("/fapi/v1/userTrades", "/fapi/v1/allOrders", "/fapi/v1/income", "/fapi/v1/openOrders")

    async def told(rig: Any) -> list[Any]:
        return [(await rig.signed("GET", path, symbol="BTCUSDT")).json for path in paths]

    async def story(rig: Any) -> None:
        with Diary(tmp_path / "venue") as diary:
            rig.exchange = venue(rig, diary)
            async with served_again(rig, rig.exchange):
                rig.show("100000")
                await rig.order(timeInForce="IOC", price="99000", quantity="0.2")
                await rig.order(quantity="0.1", newClientOrderId="rests")
                await rig.clock.advance(MILLISECOND)
                await rig.order(side="BUY", price="100500", quantity="0.1", timeInForce="IOC")
                before = await told(rig)
        assert [len(found) for found in before] == [2, 3, 3, 1]
        with Diary(tmp_path / "venue") as diary:
            again = venue(rig, diary)
            async with served_again(rig, again):
                assert await told(rig) == before

    def venue(rig: Any, diary: Diary) -> VirtualExchange:
        simulated = SimulatedVenue(Venue.BINANCE, [BTC], {"USDT": Decimal(100_000)})
        return VirtualExchange(simulated, rig.clock, diary=diary)

    tell(story)


def test_a_venue_that_cannot_remember_says_that_the_outcome_is_unknown(tell: Any, tmp_path: Path) -> None:
    async def story(rig: Any) -> None:
        diary = Diary(tmp_path / "venue")
        simulated = SimulatedVenue(Venue.BINANCE, [BTC], {"USDT": Decimal(100_000)})
        rig.exchange = VirtualExchange(simulated, rig.clock, diary=diary)
        async with served_again(rig, rig.exchange):
            rig.show("100000")
            diary.close()
            answer = await rig.order()
            assert answer.status == 503
            assert answer.json["msg"] == "Unknown error, please check your request or try again later."
            assert (await rig.signed("GET", "/fapi/v1/openOrders")).status == 503

    tell(story)


@asynccontextmanager
async def served_again(rig: Any, exchange: VirtualExchange) -> AsyncIterator[None]:
    """Another venue in the rig's place, for as long as the block runs."""
    wire = BinanceWire(exchange, Boards(), rig.clock, {rig.key: ApiKey(rig.secret)})
    async with serve(wire.application()) as rig.served, aiohttp.ClientSession() as rig.session:
        yield
