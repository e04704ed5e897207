"""The flight recorder: what is recorded can be flown again to the same journal; trouble with it never ends trading."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path
from typing import Any

import pytest

from kimp.order.engine.engine import Assignment, TradingEngine
from kimp.order.engine.settings import EngineSettings
from kimp.order.runtime.flight import FlightRecorder, read_flight
from kimp.order.runtime.journal import MemoryJournal, digest
from kimp.order.runtime.replay import first_difference, replay
from kimp.order.runtime.virtual_loop import run_virtual
from kimp.shared.domain.instruments import default_pair
from kimp.shared.domain.signals import Exit, Hold
from kimp.shared.domain.time import DAY, SECOND
from kimp.shared.errors import DataError


class ByPremium:
    """Enters below 5 % and leaves above: a strategy that needs to be told nothing."""

    def __init__(self, enter: Any) -> None:
        self.name, self._enter, self._hold = "told", enter, None

    def observe(self, view: Any) -> None: ...

    def decide(self, view: Any, position: Any) -> Any:
        if position is None and view.premium < 5 / 100:
            return self._enter
        if position is not None and view.premium > 5 / 100:
            return Exit("high")
        return Hold("waits")


def fly(stage: Any, enter: Any, start: int, directory: Path, journal: Any, **recorder: Any) -> FlightRecorder:
    """Five minutes of trading, recorded."""

    async def play() -> FlightRecorder:
        recording = FlightRecorder(directory, journal="j1", version="1", **recorder)
        shown = stage(journal=journal, observers=(recording,))
        shown.engine.desks[0].strategy = ByPremium(enter)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(shown.runner.run())
            await shown.runner.is_restored.wait()
            for second in range(300):
                shown.runner.move(shown.quotes(premium="0.03" if second % 140 < 70 else "0.08"))
                await shown.clock.sleep_until(shown.clock.now() + SECOND)
            running.cancel()
        recording.close()
        return recording

    return run_virtual(play(), start)


def fresh(enter: Any, settings: EngineSettings | None = None) -> TradingEngine:
    return TradingEngine((Assignment(ByPremium(enter), default_pair()),), settings or EngineSettings())


def test_a_recorded_run_flown_again_journals_the_same_to_the_byte(
    stage: Any, enter: Any, start: int, tmp_path: Path
) -> None:
    journal = MemoryJournal()
    fly(stage, enter, start, tmp_path, journal)
    first = journal.length
    fly(stage, enter, start + DAY, tmp_path, journal)
    runs = list(read_flight(tmp_path))
    assert [(run.start.at, run.start.length, run.start.journal) for run in runs] == [
        (start, 2, "j1"),
        (start + DAY, first, "j1"),
    ]
    for run, end in zip(runs, (first, journal.length), strict=True):
        before, after = journal.records[: run.start.length], journal.records[run.start.length : end]
        produced = list(replay(run, before, fresh(enter)))
        assert len(after) > 20
        assert digest(produced) == digest(after)
        assert first_difference(produced, after) is None
        assert run.warnings == []


def test_a_different_journal_is_told_from_the_replay_with_its_place(
    stage: Any, enter: Any, start: int, tmp_path: Path
) -> None:
    journal = MemoryJournal()
    fly(stage, enter, start, tmp_path, journal)
    (run,) = read_flight(tmp_path)
    produced = list(replay(run, journal.records[:2], fresh(enter)))
    told = journal.records[2:]
    assert first_difference(produced, [*told[:4], *told[5:]]) == 4
    assert first_difference(produced, told[:-1]) == len(told) - 1


def test_an_engine_set_up_otherwise_is_refused(stage: Any, enter: Any, start: int, tmp_path: Path) -> None:
    fly(stage, enter, start, tmp_path, MemoryJournal())
    (run,) = read_flight(tmp_path)
    other = fresh(enter, EngineSettings(cooldown=7 * SECOND))
    with pytest.raises(DataError, match="other settings"):
        list(replay(run, [], other))


def test_a_recording_cut_by_a_kill_is_read_up_to_there_and_says_so(
    stage: Any, enter: Any, start: int, tmp_path: Path
) -> None:
    fly(stage, enter, start, tmp_path, MemoryJournal())
    (run,) = read_flight(tmp_path)
    whole = list(run.events())
    path = run.files[0]
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    (cut,) = read_flight(tmp_path)
    events = list(cut.events())
    assert 0 < len(events) < len(whole)
    assert events == whole[: len(events)]
    assert cut.warnings == [f"{path.name} ends in the middle: the trader was killed while writing it"]


def test_what_was_written_is_on_disk_a_second_later(stage: Any, start: int, tmp_path: Path) -> None:
    """A recorder that is never closed, as after kill −9."""

    async def play() -> int:
        recording = FlightRecorder(tmp_path)
        shown = stage(observers=(recording,))
        async with asyncio.TaskGroup() as group:
            running = group.create_task(shown.runner.run())
            await shown.runner.is_restored.wait()
            for _ in range(10):
                shown.runner.move(shown.quotes())
                await shown.clock.sleep_until(shown.clock.now() + SECOND)
            (run,) = read_flight(tmp_path)
            count = len(list(run.events()))
            running.cancel()
        recording.close()
        return count

    assert run_virtual(play(), start) >= 9


def test_long_runs_are_cut_into_parts_that_gunzip_reads(stage: Any, enter: Any, start: int, tmp_path: Path) -> None:
    journal = MemoryJournal()
    fly(stage, enter, start, tmp_path, journal, part_bytes_max=4_000)
    (run,) = read_flight(tmp_path)
    assert len(run.files) > 3
    for path in run.files:
        assert b"RunStart" in gzip.decompress(path.read_bytes())[:20]
    assert digest(replay(run, journal.records[:2], fresh(enter))) == digest(journal.records[2:])


def test_a_missing_part_is_named_and_nothing_after_it_is_believed(
    stage: Any, enter: Any, start: int, tmp_path: Path
) -> None:
    fly(stage, enter, start, tmp_path, MemoryJournal(), part_bytes_max=4_000)
    (run,) = read_flight(tmp_path)
    whole = len(list(run.events()))
    run.files[1].unlink()
    (holed,) = read_flight(tmp_path)
    assert 0 < len(list(holed.events())) < whole
    assert holed.warnings == [f"part 1 of the run is missing, the next there is: {holed.files[1].name}"]
    run.files[0].unlink()
    (headless,) = read_flight(tmp_path)
    with pytest.raises(DataError, match="begin at the beginning"):
        list(replay(headless, [], fresh(enter)))


def test_a_part_cut_in_the_middle_of_a_run_ends_the_replay_there(
    stage: Any, enter: Any, start: int, tmp_path: Path
) -> None:
    fly(stage, enter, start, tmp_path, MemoryJournal(), part_bytes_max=4_000)
    (run,) = read_flight(tmp_path)
    path, whole = run.files[0], list(run.events())
    path.write_bytes(path.read_bytes()[:-200])
    (cut,) = read_flight(tmp_path)
    events = list(cut.events())
    assert events == whole[: len(events)]
    assert len(events) < len(whole) // 2
    assert cut.warnings == [f"{path.name} ends in the middle: what follows cannot be replayed"]


def test_what_is_no_recording_is_called_that(tmp_path: Path) -> None:
    (tmp_path / "1-2-3.flight.gz").write_bytes(b"hello")
    with pytest.raises(DataError, match="damaged"):
        list(read_flight(tmp_path))
    (tmp_path / "1-2-3.flight.gz").write_bytes(gzip.compress(b"\0\0\0\2\x91\x01"))
    with pytest.raises(DataError, match="no frame"):
        list(read_flight(tmp_path))
    (tmp_path / "1-2-3.flight.gz").write_bytes(gzip.compress(b"\0\0\0\3\x92\xa1x\x00"[:4]))
    with pytest.raises(DataError, match="does not begin"):
        list(read_flight(tmp_path))


def test_recordings_older_than_they_are_to_be_kept_are_deleted(
    stage: Any, enter: Any, start: int, tmp_path: Path
) -> None:
    for day in (0, 1, 40, 41):
        fly(stage, enter, start + day * DAY, tmp_path, MemoryJournal(), keep_days=14)
    # A part ends where the next begins, so that of day 1 ends with day 40.
    assert [(run.start.at - start) // DAY for run in read_flight(tmp_path)] == [1, 40, 41]


def test_recordings_take_no_more_room_than_they_may(stage: Any, enter: Any, start: int, tmp_path: Path) -> None:
    for day in range(3):
        fly(stage, enter, start + day * DAY, tmp_path, MemoryJournal(), part_bytes_max=4_000, bytes_max=20_000)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 20_000 + 2 * 4_000
    assert len(list(tmp_path.iterdir())) > 2
    last = list(read_flight(tmp_path))[-1]
    assert last.start.at == start + 2 * DAY


def test_a_full_disk_ends_the_recording_and_not_the_trading(stage: Any, enter: Any, start: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    journal = MemoryJournal()
    recording = fly(stage, enter, start, tmp_path / "file" / "flight", journal)
    assert not recording.is_recording
    assert journal.length > 20
