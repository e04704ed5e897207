"""Kills the trader −9 at random and at aimed moments, starts it again, and has the judge look at what is left.

The parent is single-threaded and has imported everything; each life is a fork of it that is never cleaned up.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from crash.database import CrashDatabase
from crash.journal_facts import JournalFacts
from crash.judge import Complaint, Judge
from crash.life import MODE, RECONCILED, RESTORED, Life, begin, import_everything, settings_of
from crash.swinging import Weather
from crash.traps import AIMS
from crash.venues import VenuesProcess

from kimp.order.runtime.place import TradePlace
from kimp.order.runtime.switch import FileSwitch
from kimp.shared.domain.time import SECOND
from kimp.shared.messages.events import SwitchState
from kimp.storage.feeds.clocks import SystemClock

CALM_EVERY = 60
"""Kills between two calm phases, after which everything has to add up."""

HEALED_S_MAX = 45.0
"""I16 gives sixty seconds after the last fault; the calm phase gets less, restarts of its own included."""

CALM_LIFE_S_MAX = 20.0
CALM_S = 3.0
"""A calm life ends so long after it has reconciled: repairs and exits then have been and gone."""

AIMED_S_MAX = 8.0
"""A life that never comes by where it should die is killed after this wherever it is."""

TROUBLES = (0.0, 0.1, 0.1, 0.3, 0.5)
REPAIRING = ("repairing", "halted")


@dataclass(frozen=True, slots=True)
class Storm:
    """How much is to happen. ``venue_share`` and ``database_share`` are kills that hit those processes as well.

    One of ``troubles`` is each life's share of requests that something happens to; the venues' books are looked at every
    ``look_every`` lives; ``is_first_only`` dies the first time an aim is come by.
    """

    kills: int
    seed: int
    directory: Path
    mutant: str | None = None
    aims: tuple[str, ...] = AIMS
    aimed_share: float = 0.5
    stop_share: float = 0.08
    mirror_share: float = 0.0
    database_share: float = 0.0
    venue_share: float = 0.0
    seconds_max: float = 3_600.0
    healed_s_max: float = HEALED_S_MAX
    troubles: tuple[float, ...] = TROUBLES
    look_every: int = 5
    is_first_only: bool = False
    aimed_s_max: float = AIMED_S_MAX


@dataclass(slots=True)
class Figures:
    """What was counted."""

    lives: int = 0
    kills: int = 0
    venue_kills: int = 0
    database_kills: int = 0
    phases: Counter[str] = field(default_factory=Counter)
    aims: Counter[str] = field(default_factory=Counter)
    calms: int = 0
    unknown: set[str] = field(default_factory=set)
    left_open: set[str] = field(default_factory=set)
    reconciled_ms: list[float] = field(default_factory=list)
    healed_ms: list[float] = field(default_factory=list)
    ended_by_itself: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    complaints: list[Complaint] = field(default_factory=list)


class Killer:
    """One storm over one pair of venues and one journal."""

    def __init__(self, storm: Storm, tell: Callable[[str], None] = lambda _: None) -> None:
        import_everything()
        assert threading.active_count() == 1, "only a process with a single thread may be forked like this"
        self.storm, self.figures = storm, Figures()
        self._dice = Random(storm.seed)
        self._tell = tell
        self._weather = Weather()
        self._venues = VenuesProcess(storm.directory / "venues", storm.seed)
        self._data = storm.directory / "trader"
        self._place = TradePlace(self._data / "trade" / MODE)
        self._switch = FileSwitch(self._place.switch, SystemClock())
        self.judge = Judge(JournalFacts(self._place.journal))
        self._database = CrashDatabase(storm.directory / "database") if storm.mirror_share else None
        self._log = storm.directory / "trader.log"
        self._is_active = True
        self.books: dict[str, Any] = {}

    def run(self) -> Figures:
        """The whole storm, and the calm after it; ends early at the first complaint."""
        deadline = time.monotonic() + self.storm.seconds_max
        self._venues.start(self._weather)
        try:
            if self._database is not None:
                self._database.start()
            while self.figures.kills < self.storm.kills and time.monotonic() < deadline:
                self._strike()
                if self.figures.complaints:
                    return self.figures
                if self.figures.kills % CALM_EVERY == 0 and not self._calm():
                    return self.figures
            self._calm()
            if self._database is not None and not self.figures.complaints:
                self.figures.complaints += self._mirrored()
            return self.figures
        finally:
            self._venues.kill()
            if self._database is not None:
                self._database.stop()
            gc.unfreeze()

    # -- one life --------------------------------------------------------------------------------------------------

    def _strike(self) -> None:
        dice, storm = self._dice, self.storm
        self._set_weather(is_calm=False, trouble=dice.choice(storm.troubles))
        self._turn_switch(is_active=dice.random() >= storm.stop_share)
        aim = dice.choice(storm.aims) if storm.aims and dice.random() < storm.aimed_share else None
        life = Life(
            seed=dice.getrandbits(32),
            mirror=self._database is not None and dice.random() < storm.mirror_share,
            aim=aim,
            count=1 if storm.is_first_only else _count(aim, dice, self.judge.journal.sequence),
            mutant=storm.mutant,
        )
        limit = (
            storm.aimed_s_max
            if aim
            else dice.choice((dice.uniform(0.05, 1.0), dice.uniform(0.5, 4.0), dice.uniform(3, 8)))
        )
        hurts = self._accomplice()
        was_reconciled = self._live(life, limit, hurts)
        self._count(life, was_reconciled=was_reconciled)
        if self.figures.kills % self.storm.look_every == 0:
            self._look(self.judge.always)

    def _accomplice(self) -> str | None:
        throw = self._dice.random()
        if throw < self.storm.venue_share:
            return "venues"
        if self._database is not None and throw < self.storm.venue_share + self.storm.database_share:
            return "database"
        return None

    def _live(self, life: Life, limit: float, hurts: str | None = None, *, is_calm: bool = False) -> bool:
        """Fork, wait, kill; whether it came as far as having compared its books with the venues'."""
        url = self._database.url if self._database is not None and life.mirror else ""
        settings = settings_of(self._venues.environment, self._data, mirror=life.mirror, database_url=url)
        began, hurt_at = time.monotonic(), time.monotonic() + self._dice.uniform(0, limit)
        ends = began + limit
        pid, said = begin(life, settings, self._log)
        self.figures.lives += 1
        marks: dict[bytes, float] = {}
        handle = os.pidfd_open(pid)
        try:
            while (now := time.monotonic()) < ends:
                if hurts is not None and now >= hurt_at:
                    self._hurt(hurts)
                    hurts = None
                wait = (ends if hurts is None else min(ends, hurt_at)) - now
                sources = [handle] if RECONCILED in marks else [handle, said]
                ready, _, _ = select.select(sources, [], [], max(wait, 0))
                if said in ready:
                    _note(marks, os.read(said, 4096))
                if is_calm and RECONCILED in marks:
                    ends = min(ends, marks[RECONCILED] + CALM_S)
                if handle in ready:
                    break
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            if RECONCILED not in marks and select.select([said], [], [], 0)[0]:
                _note(marks, os.read(said, 4096))
        finally:
            os.close(handle)
            os.close(said)
        if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
            self.figures.ended_by_itself += 1
            self.figures.complaints.append(("liveness", f"a trader ended by itself ({status}); see {self._log.name}"))
        if RECONCILED in marks:
            self.figures.reconciled_ms.append((marks[RECONCILED] - began) * 1e3)
        return RECONCILED in marks and RESTORED in marks

    def _hurt(self, what: str) -> None:
        if what == "venues":
            self.figures.faults.update(self._venues.books()["fired"])  # its counts die with it
            self._venues.kill()
            self._venues.start(self._weather)
            self.figures.venue_kills += 1
        elif self._database is not None:
            self._database.kill()
            self._database.start()
            self.figures.database_kills += 1

    def _count(self, life: Life, *, was_reconciled: bool) -> None:
        journal, figures = self.judge.journal, self.figures
        journal.catch_up()
        figures.kills += 1
        phase = "repairing" if journal.phase in REPAIRING else journal.phase
        figures.phases[phase] += 1
        figures.phases["restoring (not reconciled yet)"] += not was_reconciled
        if life.aim is not None:
            figures.aims[life.aim] += 1
        figures.left_open |= set(journal.unsettled())
        figures.unknown = {id_ for id_, it in journal.intents.items() if it.was_unknown} | figures.unknown

    # -- looking ---------------------------------------------------------------------------------------------------

    def _look(self, check: Callable[[dict[str, Any]], list[Complaint]]) -> list[Complaint]:
        before, self.books = self.books, self._venues.books()
        found = check(self.books) + _forgotten(before, self.books)
        if check == self.judge.always:
            self.figures.complaints += found
        return found

    def _calm(self) -> bool:
        """No faults, no entries, no way out at a profit: everything has to add up soon; whether it did."""
        self._set_weather(is_calm=True, trouble=0.0)
        self._turn_switch(is_active=False)
        began = time.monotonic()
        while True:
            mirror = self._database is not None
            life = Life(self._dice.getrandbits(32), mirror=mirror, mutant=self.storm.mutant)
            self._live(life, CALM_LIFE_S_MAX, is_calm=True)
            self.judge.journal.catch_up()
            found = self._look(self.judge.at_rest)
            took = time.monotonic() - began
            if not found or took > self.storm.healed_s_max:
                break
        self.figures.calms += 1
        self.figures.healed_ms.append(took * 1e3)
        self.figures.complaints += found
        self._tell(f"{self.figures.kills} kills, calm after {took:.1f} s, {len(found)} complaints")
        return not self.figures.complaints

    def _mirrored(self) -> list[Complaint]:
        assert self._database is not None
        fills, sequence = self._database.copied()
        journal = self.judge.journal
        if (fills, sequence) == (len(journal.fills), journal.sequence):
            return []
        return [
            ("mirror", f"{fills} fills up to record {sequence}, {len(journal.fills)} up to {journal.sequence} are due")
        ]

    # -- what the owner and the weather do -------------------------------------------------------------------------

    def _set_weather(self, *, is_calm: bool, trouble: float) -> None:
        self._weather.is_calm, self._weather.trouble = is_calm, trouble
        self._venues.weather(self._weather)

    def _turn_switch(self, *, is_active: bool) -> None:
        """Also resumes what was halted: the owner looks at it and goes on."""
        if is_active is self._is_active and self.judge.journal.phase != "halted":
            return
        if not self.judge.journal.sequence:
            return  # the first start sets it itself
        self._is_active = is_active
        state = SwitchState.ACTIVE if is_active else SwitchState.REDUCING
        self.judge.acts.append((self._switch.set(state, "owner", "storm").at, is_active))


def _count(aim: str | None, dice: Random, records: int) -> int:
    if aim == "restoring":
        return dice.randrange(1, max(records, 1) + 1)
    return dice.randrange(1, 14) if aim == "reconciling" else dice.choice((1, 1, 2, 3))


def _note(marks: dict[bytes, float], words: bytes) -> None:
    for line in words.splitlines():
        what, _, at = line.partition(b" ")
        marks[what] = int(at) / SECOND


def _forgotten(before: dict[str, Any], now: dict[str, Any]) -> list[Complaint]:
    """The venues' memory: what they once had on their books they have for ever, whoever killed them."""
    complaints = []
    for venue, books in before.get("venues", {}).items():
        orders = now["venues"][venue]["orders"]
        for number, order in enumerate(books["orders"]):
            found = orders[number] if number < len(orders) else {"client_id": "", "fills": ()}
            if found["client_id"] != order["client_id"] or len(found["fills"]) < len(order["fills"]):
                complaints.append(("diary", f"{venue} has forgotten {order['client_id']} or fills of it"))
    return complaints
