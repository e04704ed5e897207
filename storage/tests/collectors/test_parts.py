"""The collector's parts one by one: bars from trades, the board, the supervisor, what people type."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any

import pytest
import typer

from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.fx import FxQuote
from kimp.shared.domain.instruments import Side
from kimp.shared.domain.ticks import PublicTrade
from kimp.shared.domain.time import HOUR, MINUTE, SECOND, Nanos
from kimp.shared.settings import Collect
from kimp.storage.collectors.board import Board, Pulses
from kimp.storage.collectors.markets import Desk, UpbitCollector
from kimp.storage.collectors.minutes import GRACE, KEPT, MinuteBuilder
from kimp.storage.collectors.program import forgiving
from kimp.storage.collectors.supervisor import Supervisor
from kimp.storage.database.rows import GapReason
from kimp.storage.feeds.events import Ticker
from kimp.storage.feeds.frames import ChannelOpened
from kimp.storage.options import moment_of, span_of

BTC = "upbit:KRW-BTC"
BEGIN = 29_000_000 * MINUTE


def trade(number: int, at: Nanos, price: int, quantity: str = "1") -> PublicTrade:
    return PublicTrade(BTC, number, Side.BUY, Decimal(price), Decimal(quantity), at, at)


@pytest.fixture
def bars() -> MinuteBuilder:
    """Listening since a little before the first minute."""
    builder = MinuteBuilder(BTC)
    builder.heard(BEGIN - SECOND)
    return builder


def test_a_bar_is_told_once_and_only_when_its_minute_is_over(bars: MinuteBuilder) -> None:
    for number, price in enumerate((100, 105, 95, 101)):
        bars.add(trade(number, BEGIN + number * SECOND, price, "0.5"))
    assert bars.closed(BEGIN + MINUTE) == []
    (bar,) = bars.closed(BEGIN + MINUTE + GRACE)
    assert (bar.open, bar.high, bar.low, bar.close) == (100, 105, 95, 101)
    assert (bar.volume, bar.turnover) == (2, Decimal("200.5"))
    assert bars.closed(BEGIN + MINUTE + GRACE + SECOND) == []


def test_a_late_trade_amends_its_bar_in_its_place(bars: MinuteBuilder) -> None:
    bars.add(trade(5, BEGIN + 5 * SECOND, 100))
    bars.closed(BEGIN + MINUTE + GRACE)
    bars.add(trade(4, BEGIN + 4 * SECOND, 90))
    (bar,) = bars.closed(BEGIN + MINUTE + GRACE + SECOND)
    assert (bar.open, bar.close, bar.volume) == (90, 100, 2)
    assert bars.closed(BEGIN + MINUTE + KEPT) == []


def test_a_minute_that_was_not_heard_whole_is_left_to_the_venue(bars: MinuteBuilder) -> None:
    bars.add(trade(1, BEGIN + SECOND, 100))
    bars.lost()
    bars.heard(BEGIN + 10 * SECOND)
    bars.add(trade(2, BEGIN + 11 * SECOND, 101))
    bars.add(trade(3, BEGIN + MINUTE + SECOND, 102))
    assert [bar.opened_at for bar in bars.closed(BEGIN + 3 * MINUTE)] == [BEGIN + MINUTE]


def book(at: Nanos, price: int = 100) -> Book:
    return Book(BTC, (Level(Decimal(price), Decimal(1)),), (Level(Decimal(price + 1), Decimal(1)),), at, at)


def test_the_board_remembers_what_was_known_when_the_minute_began() -> None:
    board = Board(MINUTE)
    board.tell(book(BEGIN - SECOND, 100))
    board.tell(book(BEGIN + SECOND, 200))
    board.tell(FxQuote("USD", Decimal(1400), BEGIN + SECOND, BEGIN + MINUTE, "bank"))
    known = board.book(BTC, BEGIN)
    assert known is not None
    assert known.bids[0].price == 100
    assert board.rate("USD", BEGIN) is None
    assert board.rate("USD", BEGIN + SECOND) is not None
    board.forget(BTC)
    assert board.book(BTC, BEGIN + MINUTE) is None


def test_pulses_tell_the_age_of_data_and_not_of_connections() -> None:
    pulses = Pulses()
    pulses.expect("book", 5 * SECOND)
    pulses.expect("trades", None)
    assert [health.state for health in pulses.facts(BEGIN).values()] == ["waiting", "quiet"]
    pulses.beat("book", BEGIN)
    assert pulses.facts(BEGIN + 5 * SECOND)["book"].state == "fresh"
    late = pulses.facts(BEGIN + 6 * SECOND)["book"]
    assert (late.state, late.age_ms, late.messages) == ("stale", 6_000, 1)


class Told:
    """A feed that tells some events and then nothing more; a bug ends it, if it is given one."""

    def __init__(self, *events: Any, then: Exception | None = None) -> None:
        self._events, self._then = events, then

    async def run(self, outbox: asyncio.Queue[Any]) -> None:
        for event in self._events:
            await outbox.put(event)
        if self._then is not None:
            raise self._then
        await asyncio.Event().wait()


class Rows:
    """Keeps what it is handed."""

    def __init__(self) -> None:
        self.rows: list[Any] = []

    async def put(self, rows: list[Any]) -> None:
        self.rows += rows


@pytest.fixture
def collected(still_clock: Any, run: Any) -> Callable[..., list[Any]]:
    """What the Upbit collector writes because of some events, until there are so many rows."""

    def collect(*feeds: Told, rows: int, **settings: Any) -> list[Any]:
        async def story() -> list[Any]:
            sink, waiting = Rows(), list(feeds)
            desk = Desk(sink, Board(MINUTE), Pulses(), still_clock, Collect(**settings))
            unit = UpbitCollector(lambda: waiting.pop(0), desk, [BTC])
            supervisor = Supervisor([unit], clock=still_clock, dice=Random(1))
            async with asyncio.TaskGroup() as group:
                task = group.create_task(supervisor.run())
                while len(sink.rows) < rows:
                    await asyncio.sleep(0)
                task.cancel()
            return sink.rows

        found: list[Any] = run(story())
        return found

    return collect


def ticker(at: Nanos, *, halted: bool) -> Ticker:
    return Ticker(BTC, Decimal(100), Decimal(1), Decimal(1), halted, at, at)


def test_a_halt_is_written_down_minute_by_minute(collected: Any) -> None:
    halted = [ticker(BEGIN + seconds * SECOND, halted=True) for seconds in (10, 20, 70)]
    resumed = [ticker(BEGIN + 130 * SECOND, halted=False), ticker(BEGIN + 190 * SECOND, halted=True)]
    gaps = collected(Told(*halted, *resumed), rows=3)
    assert [(gap.start - BEGIN, gap.end - BEGIN) for gap in gaps] == [
        (0, MINUTE),
        (0, 2 * MINUTE),
        (3 * MINUTE, 4 * MINUTE),
    ]
    assert {gap.reason for gap in gaps} == {GapReason.HALTED}


def test_books_are_written_in_an_even_rhythm_and_no_deeper_than_asked(collected: Any, still_clock: Any) -> None:
    begin = still_clock.now()
    books = [deep_book(begin + number) for number in range(50)]
    (row,) = collected(Told(*books), rows=1, levels=3)
    assert row.venue_at == books[-1].venue_at
    assert (len(row.bids), len(row.asks)) == (3, 3)


def deep_book(at: Nanos) -> Book:
    bids = tuple(Level(Decimal(100 - i), Decimal(1)) for i in range(30))
    return Book(BTC, bids, tuple(Level(Decimal(101 + i), Decimal(1)) for i in range(30)), at, at)


def test_a_feed_that_dies_is_replaced_by_a_new_one(collected: Any, still_clock: Any) -> None:
    begin = still_clock.now()
    first = Told(trade(1, begin, 100), then=RuntimeError("planted"))
    rows = collected(first, Told(trade(2, begin, 100)), rows=2)
    assert [row.trade_id for row in rows] == [1, 2]


class Unit:
    """Counts its starts, and dies as often as it is told."""

    def __init__(self, name: str, deaths: int, then: Callable[[], Any]) -> None:
        self.name = name
        self.deaths = deaths
        self.starts = 0
        self._then = then

    async def run(self) -> None:
        self.starts += 1
        if self.starts <= self.deaths:
            async with asyncio.TaskGroup():
                raise RuntimeError("planted")
        self._then()
        await asyncio.Event().wait()


def test_one_collectors_death_leaves_the_others_running(still_clock: Any, run: Any) -> None:
    async def story() -> None:
        ended = asyncio.Event()
        frail, steady = Unit("frail", 3, ended.set), Unit("steady", 0, lambda: None)
        supervisor = Supervisor([frail, steady], clock=still_clock, dice=Random(1))
        began = still_clock.now()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(supervisor.run())
            await ended.wait()
            task.cancel()
        assert (frail.starts, steady.starts) == (4, 1)
        assert supervisor.states["frail"].restarts == 3
        assert supervisor.states["frail"].reason == "RuntimeError: planted"
        assert supervisor.states["steady"].state == "running"
        assert still_clock.now() - began > SECOND  # the pauses grow

    run(story())


def test_a_full_disk_ends_the_recording_and_nothing_else() -> None:
    seen = []

    def recorder(item: Any) -> None:
        seen.append(item)
        raise OSError("No space left on device")

    tap = forgiving(recorder)
    for at in (1, 2):
        tap(ChannelOpened("upbit", at))
    assert len(seen) == 1


def test_spans_and_moments_are_read_as_people_type_them() -> None:
    now = BEGIN
    assert span_of("90s", "--for") == 90 * SECOND
    assert span_of("1H", "--for") == HOUR
    assert moment_of("now", "--to", now) == now
    assert moment_of("2h", "--from", now) == now - 2 * HOUR
    assert moment_of("2026-01-31", "--from", now) == moment_of("2026-01-31T09:00+09:00", "--from", now)
    for wrong in ("soon", "0s", "10", "2026-01-31T09:00", "1888-01-01"):
        with pytest.raises(typer.BadParameter):
            moment_of(wrong, "--from", now)
