"""A paper trader left alone for a virtual day: nothing dies, nothing is lost, nothing grows, and it can be done again."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from kimp.order import trading
from kimp.order.runtime.flight import FlightRun, read_flight
from kimp.order.runtime.flight_views import NOT_NOTED
from kimp.order.runtime.place import trade_place
from kimp.order.runtime.rerun import Rerun, rerun
from kimp.order.runtime.warming import Load
from kimp.portfolio.alone import (
    BEGINS,
    Aftermath,
    Sample,
    Stay,
    blocks_per_hour,
    naked_too_long,
    settings_of,
    stay_alone,
)
from kimp.portfolio.gap import Gap, depth_paid, gap_of
from kimp.portfolio.naked import nakedness
from kimp.research.simulation.market import simulate_market
from kimp.shared.domain.history import MarketData
from kimp.shared.domain.instruments import Side
from kimp.shared.domain.money import Amount
from kimp.shared.domain.orders import Fill
from kimp.shared.domain.time import HOUR, MINUTE, SECOND
from kimp.shared.settings import Settings, Strategy


@dataclass
class Day:
    """What a day left behind."""

    stay: Stay
    found: Aftermath
    again: Rerun
    gap: Gap
    logs: list[Any]


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    directory = tmp_path_factory.mktemp("day")
    stay = Stay(hours=20, every=15 * SECOND)
    with capture_logs() as logs:
        found = stay_alone(stay, directory)
    settings = settings_of(stay, directory)
    place = trade_place(settings, "paper")
    (run,) = read_flight(place.flight)
    again = rerun(settings, place.journal, run)
    return Day(stay, found, again, gap_of(stay, found, directory), list(logs))


def test_several_pairs_open_and_close_and_refused_legs_are_repaired(day: Day) -> None:
    told = day.found.notices
    assert told["PairClosed"] == day.found.pairs >= 2
    assert told["LegNaked"] == told["LegRepaired"] >= 1
    assert told["VenueTurned"] == 4, "both venues were away once and came back"
    assert day.found.net > 0


def test_no_part_dies_and_nobody_complains(day: Day) -> None:
    assert day.found.restarts == {}
    assert "PartFailed" not in day.found.notices
    assert [line for line in day.logs if line["log_level"] != "info"] == []


def test_by_the_venues_own_trades_no_leg_stands_alone_for_long(day: Day) -> None:
    assert day.found.naked.spans
    assert naked_too_long(day.found) == []
    assert day.found.naked.longest <= 3 * SECOND


def test_in_the_end_books_and_venues_agree_to_the_last_digit(day: Day) -> None:
    assert day.found.is_clean
    assert day.found.differences == {}


def test_memory_grows_by_the_candles_of_the_boards_only_and_files_stay_small(day: Day) -> None:
    samples = day.found.samples
    grown = (samples[-1].blocks - samples[9].blocks) / (len(samples) - 10)
    assert grown < 1_500, "two candles a minute are 1,080 blocks an hour, and end after a day and an hour"
    last = samples[-1].disk
    assert last["journal.sqlite-wal"] < 8 * 1024 * 1024
    assert last["pulse.json"] < 64 * 1024
    assert last["venues"] < 1024 * 1024


def test_the_recorded_day_replays_to_the_same_hash(day: Day) -> None:
    assert day.again.is_equal
    assert day.again.ours_hash == day.again.theirs_hash
    assert (day.again.records, day.again.warnings) == (day.found.records, ())


def test_the_difference_to_a_backtest_is_told_in_parts_that_add_up(day: Day) -> None:
    gap = day.gap
    assert len(gap.paper.trades) == day.found.pairs
    assert gap.paper.net == day.found.net
    assert sum(gap.causes.values()) == gap.paper.net - gap.backtest.net
    for side in (gap.paper, gap.backtest, gap.tight, gap.quick):
        assert sum(side.parts.values()) == side.net


def test_a_day_tells_the_same_story_twice(tmp_path: Path) -> None:
    stay = Stay(hours=2, every=15 * SECOND)
    hashes = set()
    for name in ("one", "two"):
        settings = settings_of(stay, tmp_path / name)
        with capture_logs():
            stay_alone(stay, tmp_path / name)
        place = trade_place(settings, "paper")
        (run,) = read_flight(place.flight)
        hashes.add(rerun(settings, place.journal, run).ours_hash)
    assert len(hashes) == 1


def test_a_strategy_that_was_shown_the_past_replays_without_it_being_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windowed = "threshold=null, percentile=0.9, window_hours=24, step_minutes=10, target_net=0.0002"
    stay = Stay(hours=2, every=15 * SECOND, strategy=Strategy(preset="low_entry", parameters=windowed), warms_up=True)

    def recorded(_: Settings) -> Load:
        async def load(_: str, start: int, end: int) -> MarketData:
            return simulate_market(seed=stay.seed, start=start, end=end)

        return load

    monkeypatch.setattr(trading, "_load", recorded)
    with capture_logs():
        found = stay_alone(stay, tmp_path)
    assert found.notices["PairOpened"] >= 1, "without its past it would have waited for twenty hours"
    place = trade_place(settings_of(stay, tmp_path), "paper")
    (run,) = read_flight(place.flight)
    assert run.start.views == 24 * 60
    # Whatever is configured today: the run knows what it was.
    again = rerun(Settings(), place.journal, run)
    assert (again.is_equal, again.warnings, again.records) == (True, (), found.records)
    run.start = msgspec.structs.replace(run.start, views=NOT_NOTED)
    monkeypatch.setattr(FlightRun, "views", lambda _: iter(()))
    assert not rerun(Settings(), place.journal, run).is_equal


def fill(at: int, side: Side, quantity: str, price: str = "100", client_id: str = "a") -> Fill:
    return Fill(
        f"t{at}{client_id}", client_id, "x", side, Decimal(quantity), Decimal(price), Amount(Decimal(0), "KRW"), at
    )


def test_a_leg_alone_is_found_in_the_trades_and_one_lot_is_none() -> None:
    lot = Decimal("0.001")
    hedged = [fill(1, Side.BUY, "0.1"), fill(1, Side.SELL, "0.099")]
    assert nakedness(hedged, lot, 99).spans == []
    late = nakedness([fill(1, Side.BUY, "0.1"), fill(7, Side.SELL, "0.1")], lot, 99)
    assert (late.spans, late.longest, late.exposure) == ([(1, 7)], 6, 0)
    never = nakedness([fill(1, Side.BUY, "0.1")], lot, 99)
    assert (never.spans, never.exposure) == ([(1, 99)], Decimal("0.1"))


def test_a_leg_alone_for_too_long_is_told_unless_its_venue_was_away() -> None:
    found = Aftermath()
    found.naked.spans = [(0, 29 * SECOND), (HOUR, HOUR + 31 * SECOND)]
    assert naked_too_long(found) == [(HOUR, HOUR + 31 * SECOND)]
    found.outages = [(HOUR - MINUTE, HOUR + 25 * SECOND)]
    assert naked_too_long(found) == []
    found.outages = [(HOUR - MINUTE, HOUR + 20 * SECOND)]
    assert naked_too_long(found) == [(HOUR, HOUR + 31 * SECOND)]


def test_growth_is_told_after_the_boards_are_full() -> None:
    found = Aftermath()
    found.samples = [Sample(BEGINS + hour * HOUR, 1_000 * hour, 0, {}) for hour in range(1, 30)]
    assert blocks_per_hour(found) is None
    found.samples += [Sample(BEGINS + hour * HOUR, 29_000 + 7 * (hour - 29), 0, {}) for hour in range(30, 60)]
    assert 7 < blocks_per_hour(found) < 110  # type: ignore[operator]


def test_depth_is_what_lies_beyond_the_first_price() -> None:
    fills = [
        fill(1, Side.BUY, "1", "100"),
        fill(1, Side.BUY, "2", "103"),
        fill(2, Side.SELL, "1", "100", "b"),
        fill(2, Side.SELL, "1", "99", "b"),
    ]
    assert depth_paid(fills, Decimal(1_400)) == 7


def test_a_strategy_that_never_enters_leaves_nothing_to_compare(tmp_path: Path) -> None:
    idle = Strategy(preset="low_entry", parameters="threshold=-0.5")
    stay = Stay(hours=1, every=15 * SECOND, strategy=idle)
    with capture_logs():
        found = stay_alone(stay, tmp_path)
    gap = gap_of(stay, found, tmp_path)
    assert (found.pairs, gap.total, gap.per_pair, gap.left) == (0, None, None, None)
