from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kimp.order.engine.settings import engine_settings
from kimp.order.runtime import rerun as module
from kimp.order.runtime.flight import FlightRecorder, FlightRun, read_flight
from kimp.order.runtime.journal import SqliteJournal
from kimp.order.runtime.rerun import Rerun, rerun
from kimp.shared.domain.signals import Hold, Signal
from kimp.shared.errors import DataError
from kimp.shared.messages.events import Event
from kimp.shared.messages.records import FundsBooked, PlanMade, Record
from kimp.shared.settings import Settings

SETTINGS = Settings()


class Recorded:
    """A run of a trader on disk: its journal and its flight."""

    def __init__(self, directory: Path, make_story: Callable[..., Any], rule_strategy: Callable[[], Any]) -> None:
        self.path = directory / "journal.sqlite"
        self.flight = directory / "flight"
        self.story = make_story(settings=engine_settings(SETTINGS), strategy=rule_strategy())
        self.before = len(self.story.records)
        recorder = FlightRecorder(self.flight, version="1")
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


def test_a_run_of_other_settings_is_not_replayed(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded.keep(recorded.story.records)
    monkeypatch.setattr(module, "engine_settings", lambda _settings: recorded.story.settings.__class__(leverage=2))
    with pytest.raises(DataError, match="other settings"):
        recorded.again()
