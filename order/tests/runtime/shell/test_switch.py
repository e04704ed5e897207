"""The stop switch: unclear means stopped, a stop holds at once and over restarts, only a newer act resumes."""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimp.order.runtime.journal import MemoryJournal
from kimp.order.runtime.switch import FileSwitch, SwitchAct
from kimp.order.runtime.units import SwitchWatch
from kimp.order.runtime.virtual_loop import VirtualClock, run_virtual
from kimp.shared.domain.time import MILLISECOND, SECOND
from kimp.shared.errors import KimpError, TimedOut
from kimp.shared.messages.events import SwitchChanged, SwitchState

ACTIVE, REDUCING, HALTED = SwitchState.ACTIVE, SwitchState.REDUCING, SwitchState.HALTED


class Fixed:
    """A clock that stands where it is put."""

    def __init__(self, now: int) -> None:
        self.at = now

    def now(self) -> int:
        return self.at

    async def sleep_until(self, _: int) -> None:
        raise AssertionError("nobody waits here")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "paper" / "switch.json"


def test_what_was_set_is_read_by_another_with_its_story(path: Path, start: int) -> None:
    FileSwitch(path, Fixed(start)).set(HALTED, "cli:kim", "긴급 정지")
    other = FileSwitch(path, Fixed(start))
    assert asyncio.run(other.read()) is HALTED
    act = other.act()
    assert act is not None
    assert (act.by, act.reason, act.at) == ("cli:kim", "긴급 정지", start)
    assert path.stat().st_mode & 0o077 == 0
    assert not list(path.parent.glob("*.new"))


def test_a_missing_switch_means_stopped(path: Path, start: int) -> None:
    assert FileSwitch(path, Fixed(start)).state() is REDUCING


@given(cut=st.integers(0, 200), flip=st.integers(0, 255))
def test_a_torn_or_damaged_switch_never_allows_more_than_the_whole_one(
    cut: int, flip: int, tmp_path_factory: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "torn.json"
    FileSwitch(path, Fixed(5)).set(REDUCING, "cli", "stop")
    whole = path.read_bytes()
    path.write_bytes(whole[: cut % len(whole)])
    assert FileSwitch(path, Fixed(5)).state() is REDUCING
    damaged = bytearray(whole)
    damaged[cut % len(whole)] = flip
    path.write_bytes(bytes(damaged))
    assert FileSwitch(path, Fixed(5)).state() is not ACTIVE


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"active",
        b'{"state": "active"}',
        b'{"state": "on", "by": "x", "at": 1, "reason": "", "serial": 1}',
        b'{"state": "active", "by": "x", "at": 1, "reason": "", "serial": "1"}',
        b'{"state": "active", "by": "x", "at": 1, "reason": "", "serial": 1}' + b" " * 70_000,
        b"\xff\xfe",
    ],
)
def test_what_is_no_act_means_stopped(path: Path, text: bytes, start: int) -> None:
    path.parent.mkdir()
    path.write_bytes(text)
    assert FileSwitch(path, Fixed(start)).state() is REDUCING


def test_a_directory_in_its_place_means_stopped_and_setting_says_so(path: Path, start: int) -> None:
    path.mkdir(parents=True)
    switch = FileSwitch(path, Fixed(start))
    assert switch.state() is REDUCING
    with pytest.raises(KimpError, match="could not be written"):
        switch.set(HALTED, "cli", "stop")


def test_the_first_start_allows_entries_once_and_never_again(path: Path, start: int) -> None:
    switch = FileSwitch(path, Fixed(start))
    switch.ensure_first_start(journal_length=3)
    assert switch.state() is REDUCING
    switch.ensure_first_start(journal_length=0)
    assert switch.state() is ACTIVE
    switch.set(HALTED, "cli", "stop")
    FileSwitch(path, Fixed(start)).ensure_first_start(journal_length=0)
    assert switch.state() is HALTED


def test_an_old_act_put_back_does_not_resume(path: Path, start: int) -> None:
    switch = FileSwitch(path, Fixed(start))
    switch.set(ACTIVE, "cli", "go")
    backup = path.read_bytes()
    switch.set(HALTED, "cli", "stop")
    path.write_bytes(backup)
    assert switch.state() is REDUCING


def test_an_act_after_the_file_was_lost_is_newer_than_all_before(path: Path, start: int) -> None:
    clock = Fixed(start)
    trader, hand = FileSwitch(path, clock), FileSwitch(path, clock)
    hand.set(HALTED, "cli", "stop")
    assert trader.state() is HALTED
    path.unlink()
    assert trader.state() is REDUCING
    clock.at += SECOND
    FileSwitch(path, clock).set(ACTIVE, "cli", "go")
    assert trader.state() is ACTIVE


def test_a_stop_waits_for_nobody_and_a_resume_needs_the_switch_alone(path: Path, start: int) -> None:
    path.parent.mkdir()
    other = os.open(path.with_name("switch.json.lock"), os.O_RDWR | os.O_CREAT)
    fcntl.flock(other, fcntl.LOCK_EX)
    try:
        switch = FileSwitch(path, Fixed(start))
        assert switch.set(HALTED, "cli", "stop").state is HALTED
        with pytest.raises(TimedOut, match="another process"):
            switch.set(ACTIVE, "cli", "go")
        assert switch.state() is HALTED
    finally:
        os.close(other)


def heard(path: Path, start: int, *steps: Any) -> list[tuple[int, SwitchState, bool]]:
    """What the engine is told while the steps are done, one a second: (milliseconds after the start, state, resume)."""

    async def play() -> list[tuple[int, SwitchState, bool]]:
        clock, told = VirtualClock(), []

        async def put(event: SwitchChanged) -> None:
            told.append(((event.at - start) // MILLISECOND, event.state, event.is_resume))

        async with asyncio.TaskGroup() as group:
            following = group.create_task(SwitchWatch(FileSwitch(path, clock), put, clock).run())
            for number, step in enumerate(steps, 1):
                await clock.sleep_until(start + number * SECOND)
                step(FileSwitch(path, clock))
            await clock.sleep_until(start + (len(steps) + 1) * SECOND)
            following.cancel()
        return told

    return run_virtual(play(), start)


def test_the_engine_hears_how_it_stands_then_every_act_within_50_ms(path: Path, start: int) -> None:
    FileSwitch(path, Fixed(start)).set(ACTIVE, "cli", "go")
    told = heard(
        path,
        start,
        lambda switch: switch.set(HALTED, "cli", "stop"),
        lambda switch: switch.set(ACTIVE, "cli", "go"),
        lambda switch: switch.set(ACTIVE, "cli", "go again"),
    )
    assert [(state, is_resume) for _, state, is_resume in told] == [
        (ACTIVE, False),
        (HALTED, False),
        (ACTIVE, True),
        (ACTIVE, True),
    ]
    assert all(0 <= at % 1000 <= 50 for at, _, _ in told)


def test_the_same_act_read_again_after_trouble_is_no_resume(path: Path, start: int) -> None:
    FileSwitch(path, Fixed(start)).set(ACTIVE, "cli", "go")
    whole = path.read_bytes()
    told = heard(path, start, lambda _: path.unlink(), lambda _: path.write_bytes(whole))
    assert [(state, is_resume) for _, state, is_resume in told] == [
        (ACTIVE, False),
        (REDUCING, False),
        (ACTIVE, False),
    ]


def test_an_old_act_that_turns_up_after_the_start_is_no_resume(path: Path, start: int) -> None:
    FileSwitch(path, Fixed(start - 1)).set(ACTIVE, "cli", "last year")
    whole = path.read_bytes()
    path.unlink()
    told = heard(path, start, lambda _: path.write_bytes(whole), lambda switch: switch.set(ACTIVE, "cli", "now"))
    assert [(state, is_resume) for _, state, is_resume in told] == [
        (REDUCING, False),
        (ACTIVE, False),
        (ACTIVE, True),
    ]


def test_changes_are_told_to_whoever_knows_only_the_port(path: Path, start: int) -> None:
    async def play() -> list[SwitchState]:
        clock = VirtualClock()
        states: asyncio.Queue[SwitchState] = asyncio.Queue()
        switch = FileSwitch(path, clock)
        switch.set(ACTIVE, "cli", "go")

        async def listen() -> None:
            async for state in switch.changes():
                states.put_nowait(state)

        async with asyncio.TaskGroup() as group:
            listening = group.create_task(listen())
            for state in (HALTED, REDUCING, ACTIVE):
                await clock.sleep_until(clock.now() + SECOND)
                FileSwitch(path, clock).set(state, "cli", "")
            await clock.sleep_until(clock.now() + SECOND)
            listening.cancel()
        return [states.get_nowait() for _ in range(states.qsize())]

    assert run_virtual(play(), start) == [HALTED, REDUCING, ACTIVE]


def test_after_a_stop_no_entry_leaves_within_100_ms_and_none_after_a_restart(
    stage: Any, enter: Any, path: Path, start: int
) -> None:
    """Quotes that ask for an entry come every millisecond; the stop falls among them."""

    async def trade(journal: Any, seconds: int, stop_after: int | None) -> list[int]:
        shown = stage(journal=journal)
        switch = FileSwitch(path, shown.clock)
        switch.ensure_first_start(0)
        began = shown.clock.now()
        async with asyncio.TaskGroup() as group:
            watch = SwitchWatch(switch, shown.runner.put, shown.clock)
            tasks = [group.create_task(watch.run()), group.create_task(shown.runner.run())]
            await shown.runner.is_restored.wait()
            for tick in range(seconds * 1000):
                if tick == stop_after:
                    FileSwitch(path, shown.clock).set(HALTED, "cli", "stop")
                # Nothing is wanted until the stop, so that what leaves after it is what was not stopped.
                shown.strategy.says = enter if stop_after is None or tick >= stop_after + 100 else shown.strategy.says
                shown.runner.move(shown.quotes())
                await shown.clock.sleep_until(began + tick * MILLISECOND)
            for task in tasks:
                task.cancel()
        assert shown.engine.refusals["stopped"] > 0
        return list(shown.korea.placed_at)

    journal = MemoryJournal()
    assert run_virtual(trade(journal, 1, 300), start) == []
    assert run_virtual(trade(journal, 1, None), start + 10 * SECOND) == []


def test_two_acts_at_one_moment_are_in_order(path: Path, start: int) -> None:
    switch = FileSwitch(path, Fixed(start))
    acts = [switch.set(state, "cli", "") for state in (ACTIVE, HALTED, REDUCING)]
    assert [act.serial for act in acts] == [start, start + 1, start + 2]
    assert isinstance(acts[0], SwitchAct)


def test_who_turned_the_switch_and_why_reaches_the_engine(path: Path) -> None:
    switch = FileSwitch(path, Fixed(SECOND))
    switch.set(REDUCING, "cli:kim", "holiday")

    async def first() -> SwitchChanged:
        async with aclosing(switch.events()) as events:
            return await anext(aiter(events))

    told = asyncio.run(first())
    assert (told.state, told.actor, told.reason) == (REDUCING, "cli:kim", "holiday")
