from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from kimp.order.engine.settings import EngineSettings, engine_settings
from kimp.order.runtime import rerun as module
from kimp.order.runtime.flight import FlightRecorder, FlightRun, read_flight
from kimp.order.runtime.flight_views import NOT_NOTED, ShownViews
from kimp.order.runtime.journal import SqliteJournal
from kimp.order.runtime.rerun import Rerun, rerun
from kimp.shared.domain.signals import Direction, Enter, Exit, Hold, Signal
from kimp.shared.domain.time import MINUTE
from kimp.shared.errors import DataError
from kimp.shared.messages.events import Event
from kimp.shared.messages.records import FundsBooked, PlanMade, Record
from kimp.shared.ports.strategy import Condition, MarketView, PositionView
from kimp.shared.settings import Settings, Strategy

SETTINGS = Settings()


class Recorded:
    """A run of a trader on disk: its journal and its flight."""

    def __init__(
        self,
        directory: Path,
        make_story: Callable[..., Any],
        rule_strategy: Callable[[], Any],
        *,
        strategy: Strategy | None = None,
        shown: Sequence[MarketView] = (),
    ) -> None:
        self.path = directory / "journal.sqlite"
        self.flight = directory / "flight"
        self.story = make_story(settings=engine_settings(SETTINGS), strategy=rule_strategy())
        self.before = len(self.story.records)
        recorder = FlightRecorder(self.flight, version="1", strategy=strategy)
        for view in shown:
            self.story.strategy.observe(view)
            recorder.shown("BTC", view)
        recorder.started(self.story.now, self.before, (), self.story.engine)
        self.story.observers = (recorder,)
        for premium in ("0.02", "0.005", "0.01", "0.04", "0.02"):
            self.story.quote(premium)
            self.story.settle()
            self.story.wait(90)
        recorder.close()

    def keep(self, records: list[Record]) -> None:
        with SqliteJournal(self.path) as journal:
            journal.append(records)

    @property
    def run(self) -> FlightRun:
        (run,) = read_flight(self.flight)
        return run

    def again(self, watch: Any = None) -> Rerun:
        return rerun(SETTINGS, self.path, self.run, None, watch)


@pytest.fixture
def recorded(
    tmp_path: Path, make_story: Callable[..., Any], rule_strategy: Any, monkeypatch: pytest.MonkeyPatch
) -> Recorded:
    monkeypatch.setattr(module, "strategy_of", lambda _settings: rule_strategy())
    return Recorded(tmp_path, make_story, rule_strategy)


def test_the_same_events_make_the_same_journal(recorded: Recorded) -> None:
    recorded.keep(recorded.story.records)
    result = recorded.again()
    assert result.is_equal
    assert result.ours_hash == result.theirs_hash
    assert result.records == len(recorded.story.records) - recorded.before >= 20
    assert result.warnings == ()


def test_the_first_record_that_differs_is_shown(recorded: Recorded) -> None:
    records = list(recorded.story.records)
    place = recorded.before + 3
    forged = FundsBooked(records[place].at, "forged", *_funds(records[0]))
    recorded.keep([*records[:place], forged, *records[place + 1 :]])
    result = recorded.again()
    assert not result.is_equal
    assert result.difference == 4
    assert (result.ours, result.theirs) == (records[place], forged)
    assert result.ours_hash != result.theirs_hash


def _funds(record: Any) -> tuple[Any, Any]:
    return record.venue, record.amount


def test_a_record_too_few_in_the_middle_is_a_difference(recorded: Recorded) -> None:
    records = list(recorded.story.records)
    del records[recorded.before + 5]
    recorded.keep(records)
    assert recorded.again().difference == 6


def test_a_journal_that_ends_long_before_the_run_is_a_difference(recorded: Recorded) -> None:
    recorded.keep(recorded.story.records[: recorded.before + 4])
    result = recorded.again()
    assert result.difference == 5
    assert result.theirs is None


def test_an_engine_that_does_nothing_is_a_difference(
    recorded: Recorded, rule_strategy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded.keep(recorded.story.records)

    class Idle(rule_strategy):  # type: ignore[misc]
        def decide(self, view: Any, position: Any) -> Signal:
            self.shown = (view, position)
            return Hold("idle")

    monkeypatch.setattr(module, "strategy_of", lambda _settings: Idle())
    result = recorded.again()
    assert result.difference == 1
    assert isinstance(result.theirs, PlanMade)


def test_a_record_nobody_can_account_for_is_a_difference(recorded: Recorded) -> None:
    records = recorded.story.records
    forged = FundsBooked(records[-1].at, "forged", *_funds(records[0]))
    recorded.keep([*records, forged])
    result = recorded.again()
    assert (result.difference, result.ours, result.theirs) == (len(records) - recorded.before + 1, None, forged)


def test_what_was_journaled_after_the_recording_ends_is_not_compared(recorded: Recorded) -> None:
    last = recorded.story.records[0]
    later = FundsBooked(recorded.story.now + 10**9, "later", *_funds(last))
    recorded.keep([*recorded.story.records, later])
    result = recorded.again()
    assert result.is_equal
    assert len(result.warnings) == 1


def test_only_the_run_itself_is_compared_when_another_followed(recorded: Recorded) -> None:
    records = recorded.story.records
    other = FundsBooked(recorded.story.now, "of the next run", *_funds(records[0]))
    recorded.keep([*records, other])
    assert rerun(SETTINGS, recorded.path, recorded.run, len(records)).is_equal


def test_every_event_is_shown_with_what_came_of_it(recorded: Recorded) -> None:
    recorded.keep(recorded.story.records)
    seen: list[tuple[Event, int]] = []
    result = recorded.again(lambda event, effects: seen.append((event, len(effects))))
    assert len(seen) == result.events
    assert sum(effects > 0 for _, effects in seen) >= 8


def test_a_run_of_another_journal_is_not_replayed(recorded: Recorded) -> None:
    recorded.keep(recorded.story.records[:1])
    with pytest.raises(DataError, match="fewer than"):
        recorded.again()


def test_the_limits_of_the_run_count_whatever_is_configured_today(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded.keep(recorded.story.records)
    monkeypatch.setattr(module, "engine_settings", lambda _settings: EngineSettings(leverage=Decimal(2)))
    assert recorded.again().is_equal


def test_an_older_run_that_did_not_note_its_limits_needs_the_same_ones(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded.keep(recorded.story.records)
    run = recorded.run
    run.start = msgspec.structs.replace(run.start, engine=None)
    assert rerun(SETTINGS, recorded.path, run).is_equal
    monkeypatch.setattr(module, "engine_settings", lambda _settings: EngineSettings(leverage=Decimal(2)))
    with pytest.raises(DataError, match="other settings"):
        rerun(SETTINGS, recorded.path, run)


def test_the_strategy_the_owner_had_typed_is_built_again(
    tmp_path: Path, make_story: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Strategy] = []

    def strategy_of(settings: Settings) -> Windowed:
        asked.append(settings.strategy)
        return Windowed()

    monkeypatch.setattr(module, "strategy_of", strategy_of)
    typed = Strategy(name="windowed", preset="mine", parameters="threshold=0.05", direction="SHORT_PREMIUM")
    recorded = Recorded(tmp_path, make_story, Windowed, strategy=typed)
    recorded.keep(recorded.story.records)
    assert recorded.again().is_equal
    assert asked == [typed] != [SETTINGS.strategy]


class Windowed:
    """In below the mean of all it has seen, out above it: what it was shown before decides when."""

    name = "windowed"
    warm_up = 3 * MINUTE

    def __init__(self) -> None:
        self.views: list[MarketView] = []

    def observe(self, view: MarketView) -> None:
        self.views.append(view)

    def decide(self, view: MarketView, position: PositionView | None) -> Signal:
        mean = sum(seen.premium for seen in self.views) / len(self.views)
        if position is not None:
            return Exit("up") if view.premium > mean and position.net and position.net > 0 else Hold("down")
        return Enter(Direction.LONG_PREMIUM, "down", Decimal(1)) if view.premium < mean else Hold("up")

    def explain(self, *_: Any) -> tuple[Condition, ...]:
        return ()


def past(count: int) -> list[MarketView]:
    """Minutes at a premium of three percent."""
    premium, usdkrw = Decimal("0.03"), Decimal(1390)
    return [MarketView(minute * MINUTE, premium, premium, None, usdkrw) for minute in range(count)]


def test_what_the_strategy_was_shown_before_is_shown_to_it_again(
    tmp_path: Path, make_story: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "strategy_of", lambda _settings: Windowed())
    recorded = Recorded(tmp_path, make_story, Windowed, shown=past(1_000))
    recorded.keep(recorded.story.records)
    assert len(recorded.story.records) - recorded.before >= 10
    assert [shown.view for shown in recorded.run.views()] == past(1_000)
    assert {shown.coin for shown in recorded.run.views()} == {"BTC"}
    result = recorded.again()
    assert (result.is_equal, result.warnings) == (True, ())
    assert result.records == len(recorded.story.records) - recorded.before


def test_views_that_are_missing_are_an_error_and_not_another_story(
    tmp_path: Path, make_story: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "strategy_of", lambda _settings: Windowed())
    recorded = Recorded(tmp_path, make_story, Windowed, shown=past(3))
    recorded.keep(recorded.story.records)
    run = recorded.run
    run.start = msgspec.structs.replace(run.start, views=4)
    with pytest.raises(DataError, match="3 of the 4 views"):
        rerun(SETTINGS, recorded.path, run)


def test_a_warmed_up_run_whose_views_were_not_noted_says_so(
    tmp_path: Path, make_story: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "strategy_of", lambda _settings: Windowed())
    recorded = Recorded(tmp_path, make_story, Windowed, shown=past(1))
    recorded.keep(recorded.story.records)
    run = recorded.run
    run.start = msgspec.structs.replace(run.start, views=NOT_NOTED)
    assert any("not noted" in warning for warning in rerun(SETTINGS, recorded.path, run).warnings)


def test_too_many_views_are_given_up_together() -> None:
    with structlog.testing.capture_logs():
        shown = ShownViews(bytes_max=1_000)
        for view in past(50_000):
            shown.note("BTC", view)
    assert shown.count == NOT_NOTED
    assert shown.packed() == b""
