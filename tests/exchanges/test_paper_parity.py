"""Paper in the trader's own process and paper on the wire: the same orders at the same books are the same fills."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.instruments import Instrument, Side, Venue, binance_perpetual, upbit_spot
from kimp.shared.domain.ledger import settlement
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.orders import Order, OrderReport, OrderStatus, TimeInForce
from kimp.shared.domain.time import MILLISECOND
from kimp.shared.messages.events import MarketMoved
from kimp.storage.feeds.binance import BinanceDecoder, BinanceSubscription
from kimp.storage.feeds.captures import merge_items
from kimp.storage.feeds.frames import Frame
from kimp.storage.feeds.upbit import UpbitDecoder, UpbitSubscription

PATIENCE_S = 60.0
BOOKS_MAX = 60
STEP = 400 * MILLISECOND  # Upbit takes eight ordinary orders a second from us
IN_PROCESS = {Venue.UPBIT: "virtual upbit", Venue.BINANCE: "virtual binance"}
ON_THE_WIRE = {Venue.UPBIT: "upbit on the wire", Venue.BINANCE: "binance on the wire"}
CAPTURES = {
    Venue.UPBIT: ("cryptofeed_UPBIT.ws.62.0.txt.gz",),
    Venue.BINANCE: ("cryptofeed_BINANCE_FUTURES.ws.1.0.txt.gz", "cryptofeed_BINANCE_FUTURES.http.0.0.txt.gz"),
}
SIDES = (Side.BUY, Side.SELL)


def seeded(seed: int) -> Any:
    """Books of a market that wanders, thin and uneven, with sizes of as many digits as the venues have."""

    def books(venue: Venue) -> tuple[Instrument, list[Book]]:
        leg = upbit_spot("BTC") if venue is Venue.UPBIT else binance_perpetual("BTC")
        dice, price = Random(seed), Decimal(140_000_000 if venue is Venue.UPBIT else 100_000)
        tick, told = leg.rules.tick_at(price), []
        for _ in range(BOOKS_MAX):
            price += dice.randint(-4, 4) * tick
            rows = [tuple(_rows(dice, price, step * tick)) for step in (-1, 1)]
            told.append(Book(leg.id, *rows, 0, 0))
        return leg, told

    return books


def _rows(dice: Random, price: Decimal, step: Decimal) -> Iterator[Level]:
    for _ in range(dice.randint(3, 12)):
        price += step * dice.randint(1, 3)
        yield Level(price, Decimal(dice.randint(1, 300_000_000)).scaleb(-8))


def recorded(venue: Venue) -> tuple[Instrument, list[Book]]:
    """Books of the busiest bitcoin market of a capture, through the decoders that run live."""
    folder = os.environ.get("KIMP_TEST_DATA")
    if not folder:
        pytest.skip("needs recorded wire frames: set KIMP_TEST_DATA to the folder that holds market/ and frames/")
    items = merge_items([Path(folder) / "frames" / name for name in CAPTURES[venue]])
    decoder: Any = UpbitDecoder(UpbitSubscription()) if venue is Venue.UPBIT else BinanceDecoder(BinanceSubscription())
    told = [event for item in items if isinstance(item, Frame) for event in decoder.read(item)]
    books = [event for event in told if isinstance(event, Book) and event.fault() is None]
    ((busiest, _),) = Counter(book.instrument_id for book in books).most_common(1)
    mine = [book for book in books if book.instrument_id == busiest]
    symbol = busiest.partition(":")[2]
    if venue is Venue.UPBIT:
        return upbit_spot(symbol.removeprefix("KRW-")), mine[-BOOKS_MAX:]
    digits = min(min(book.bids[0].price.as_tuple().exponent, book.asks[0].price.as_tuple().exponent) for book in mine)
    base = symbol.removesuffix("USDT")
    leg = binance_perpetual(base, tick=Decimal(1).scaleb(digits), lot=Decimal(1), minimum_notional=Decimal(5))
    return leg, mine[-BOOKS_MAX:]


MARKETS = {"seeded 1": seeded(1), "seeded 2": seeded(2), "recorded": recorded}


def orders(leg: Instrument, books: Sequence[Book], dice: Random) -> Iterator[Order | None]:
    """One order per book: any side, size, depth and time in force, whatever became of those before."""
    for number, book in enumerate(books):
        side = dice.choice(SIDES)
        levels = book.eats(side)
        depth = dice.randrange(len(levels))
        offered = sum((level.size for level in levels[: depth + 1]), ZERO)
        quantity = leg.rules.floor(offered * dice.randint(1, 150) / 100)
        limit = leg.rules.bound(levels[depth].price, side)
        wait = dice.choice(tuple(TimeInForce))
        if wait in (TimeInForce.GTC, TimeInForce.POST_ONLY) and dice.random() < 0.7:
            own = book.eats(side.opposite)
            limit = leg.rules.bound(own[dice.randrange(len(own))].price, side)
        is_permitted = leg.rules.permits(quantity, limit)
        yield Order(f"o{number}", leg.id, side, quantity, limit, wait) if is_permitted else None


async def played(desk: Any, books: Sequence[Book], plan: Sequence[Order | None], dice: Random) -> list[OrderReport]:
    """Every order at its book, some cancelled later; what the venue says of them all in the end."""
    for book, order in zip(books, plan, strict=True):
        desk.clock.push(STEP)
        at = desk.venue_clock.now()
        desk.move(MarketMoved(at, (msgspec.structs.replace(book, venue_at=at, received_at=at),)))
        if order is not None:
            await desk.exchange.place(order)
        if dice.random() < 0.2:
            await desk.exchange.cancel(f"o{dice.randrange(len(plan))}", desk.leg.id)
    told = []
    for order in plan:
        if order is not None:
            desk.clock.push(STEP)  # questions are counted too
            told.append(await desk.query(order.client_id))
    return told


def facts(fills: Any) -> list[tuple[Any, ...]]:
    """All of a fill but its name and time. Upbit's REST tells the fee of an order and not of its trades: where two ties
    cancel out, sharing it cannot tell whether the venue rounded them.
    """
    return [(fill.client_id, fill.side, fill.quantity, fill.price, settlement(fill.fee.value)) for fill in fills]


def word(report: OrderReport) -> tuple[Any, ...]:
    # an order that did nothing may be over or may never have been taken: a FOK in vain is a refusal at Binance
    status = OrderStatus.WORKING if report.status is OrderStatus.WORKING else None
    fees = sum((fill.fee.value for fill in report.fills), ZERO)
    return report.client_id, status, report.executed, fees, facts(report.fills)


@pytest.mark.parametrize("venue", Venue)
@pytest.mark.parametrize("market", MARKETS)
def test_the_same_orders_at_the_same_books_are_the_same_fills(desk_of: Any, market: str, venue: Venue) -> None:
    leg, books = MARKETS[market](venue)
    plan = list(orders(leg, books, Random(7)))
    money = {leg.quote: Decimal(10**12), leg.base: Decimal(10**6)} if venue is Venue.UPBIT else {"USDT": Decimal(10**9)}

    async def ending(kind: str) -> tuple[Any, ...]:
        async with asyncio.timeout(PATIENCE_S), desk_of(kind, leg=leg, money=money) as desk:
            began = desk.venue_clock.now() - MILLISECOND
            reports = await played(desk, books, plan, Random(8))
            desk.clock.push(2 * STEP)
            fills = await desk.exchange.fills_since(leg.id, began)
            account, resting = await desk.account(), await desk.exchange.open_orders(leg.id)
            totals = {balance.asset: balance.total for balance in account.balances}
            # several orders may be met by one book; which of them is named first is the list's own affair
            traded = sorted(facts(fills), key=str)
            return [word(report) for report in reports], traded, totals, account.contract(leg.id), set(resting)

    here, there = asyncio.run(ending(IN_PROCESS[venue])), asyncio.run(ending(ON_THE_WIRE[venue]))
    assert len(here[1]) > len(books) // 4, "hardly anything traded: this shows nothing"
    for mine, theirs in zip(here[0], there[0], strict=True):
        assert mine == theirs
    assert here[1:] == there[1:]
