"""Plays the demo for whoever watches: a picture on a terminal, plain lines in a pipe, nothing for a program."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text

from kimp.order.engine.engine import TradingEngine
from kimp.order.runtime.supervisor import Trader
from kimp.order.trading import trading
from kimp.portfolio.demo import words
from kimp.portfolio.demo.books import Account, Copied, accounts_of, copied_to
from kimp.portfolio.demo.scenario import AFTERMATH, RESTARTED_AFTER, Scenario
from kimp.portfolio.demo.screen import moment_of, picture, sentences_of, tag_of
from kimp.portfolio.demo.snapshot import Observer, Snapshot
from kimp.portfolio.demo.stage import MODE, Stage, quietly, staged
from kimp.portfolio.demo.story import Line, Story
from kimp.portfolio.demo.words import Kind
from kimp.research.backtest.report.numerals import signed_percent, won
from kimp.shared.domain.premium import Basis
from kimp.shared.domain.time import MINUTE, Nanos
from kimp.shared.messages.records import Phase

LOOK_S = 0.05
"""Between two looks, of this machine's time; a trader looked at more often gets less done."""

FRAME_S = 0.1
"""Between two pictures. Each takes ten milliseconds, in which nothing else runs: half a second of the market."""

QUIET_S_MAX = 15.0
"""How long is waited for the last answer and the last copied record, of this machine's time."""

STOOD_EVERY: Nanos = 5 * MINUTE
"""How often the plain lines say how things stand."""

SENTENCES_CELLS = 67
"""Room for a sentence under the figures, on a line of 80."""

PAIRS = 2


class Audience(Protocol):
    """Who watches."""

    def step(self) -> None:
        """Time has passed; something may have happened."""
        ...


class Nobody:
    """A program waits for the facts; nothing is shown."""

    def step(self) -> None:
        """Look away."""


class Reader:
    """Plain lines, as they come."""

    def __init__(self, stage: Stage, story: Story, observer: Observer, console: Console) -> None:
        self._stage = stage
        self._story = story
        self._observer = observer
        self._console = console
        self._printed = 0
        self._next: Nanos = stage.scenario.start + STOOD_EVERY

    def step(self) -> None:
        """Print what was added, and every few minutes how things stand."""
        for line in self._story.lines[self._printed :]:
            text = Text(f"{moment_of(line)}  ", "dim").append_text(tag_of(line)).append(f"  {line.facts}")
            self._print(text)
            for sentence in sentences_of(line, SENTENCES_CELLS):
                self._print(Text(f"          {sentence}", "italic dim"))
        self._printed = len(self._story.lines)
        if self._stage.clock.now() >= self._next and (seen := self._observer.look()) is not None:
            self._print(Text(_stand(seen), "dim"))
            self._next += STOOD_EVERY

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)


def _stand(seen: Snapshot) -> str:
    fx, usdt = (signed_percent(seen.premiums[basis]) for basis in (Basis.FX, Basis.USDT))
    return f"-- 김프 premium fx {fx} usdt {usdt}, 자산 equity {won(seen.equity[-1] if seen.equity else None)}"


class Spectator:
    """A live picture, drawn anew ten times a second."""

    def __init__(self, observer: Observer, live: Live) -> None:
        self._observer = observer
        self._live = live
        self._next = 0.0

    def step(self) -> None:
        """Draw, when it is time."""
        now = perf_counter()
        if now < self._next:
            return
        self._next = now + FRAME_S
        seen = self._observer.look()
        if seen is not None:
            size = self._live.console.size
            self._live.update(picture(seen, size.width, size.height), refresh=True)


@dataclass(frozen=True, slots=True)
class Played:
    """A finished showing: the last trader's engine, the story, both sides' books, and the copy in the database."""

    stage: Stage
    engine: TradingEngine
    story: Story
    accounts: tuple[Account, ...]
    copied: Copied
    is_quiet: bool
    restored: int
    equity: tuple[float, float]
    elapsed_s: float


MakeAudience = Callable[[Stage, Story, Observer], Audience]


async def play(scenario: Scenario, directory: Path, audience: MakeAudience) -> Played:
    """Run the whole hour in front of somebody.

    Raises:
        KimpError: the directory cannot be used, the database cannot be started, or a trader ended by itself.
    """
    began = perf_counter()
    async with staged(scenario, directory) as stage, quietly(directory):
        story = Story(stage)
        observer = Observer(stage, story)
        showing = _Showing(stage, story, observer, audience(stage, story, observer))
        return await showing.run(began)


class _Showing:
    """The course of events: a trader that holds, its end, and a second one that goes on."""

    def __init__(self, stage: Stage, story: Story, observer: Observer, audience: Audience) -> None:
        self._stage = stage
        self._story = story
        self._observer = observer
        self._audience = audience
        self._first_equity: float | None = None

    async def run(self, began: float) -> Played:
        stage = self._stage
        stage_line = f"{stage.scenario.speed}× seed {stage.scenario.seed}"
        self._story.tell(Line(stage.clock.now(), Kind.CURTAIN, stage_line, words.CURTAIN))
        async with self._trader() as first:
            await self._until(lambda: self._is_to_be_ended(first))
            held = first.runner.engine.state.version
            self._story.tell(Line(stage.clock.now(), Kind.ENDED, f"원장 journal {held}건 records", words.ENDED, True))
            self._look()
        async with self._trader() as second:
            await self._until(second.reconciler.first_done.is_set)
            restored = self._restored(second, held)
            await self._until(lambda: self._is_over(second))
            is_quiet = await self._settled(second)
            engine = second.runner.engine
            accounts = accounts_of(engine, stage.venues.exchanges)
            copied = await copied_to(stage.database, stage.place.journal, MODE, engine.state)
            now = self._observer.equity(engine)
        equity = (self._first_equity or 0.0, now or 0.0)
        return Played(stage, engine, self._story, accounts, copied, is_quiet, restored, equity, perf_counter() - began)

    @asynccontextmanager
    async def _trader(self) -> AsyncIterator[Trader]:
        """A trader at work; it is ended with the block."""
        async with trading(self._stage.request()) as trader, asyncio.TaskGroup() as group:
            running = group.create_task(trader.run())
            self._stage.engine = trader.runner.engine
            try:
                yield trader
            finally:
                running.cancel()

    def _is_to_be_ended(self, trader: Trader) -> bool:
        slot = trader.runner.engine.desks[0].slot
        if slot.phase is not Phase.OPEN or slot.position is None or slot.unsettled:
            return False
        return self._stage.clock.now() >= slot.position.opened_at + RESTARTED_AFTER

    def _restored(self, trader: Trader, held: int) -> int:
        slot = trader.runner.engine.desks[0].slot
        quantity = max((abs(leg.quantity) for leg in slot.position.legs), default=None) if slot.position else None
        facts = f"원장 journal {held}건 records" + ("" if quantity is None else f", {quantity.normalize():f} BTC")
        self._story.tell(Line(self._stage.clock.now(), Kind.RESTORED, facts, words.RESTORED, True))
        return held

    def _is_over(self, trader: Trader) -> bool:
        closed = trader.runner.engine.desks[0].slot.closed
        if len(closed) == 1:
            self._stage.mishaps.refuse_next()
        return len(closed) >= PAIRS and self._stage.clock.now() >= closed[-1].closed_at + AFTERMATH

    async def _until(self, is_so: Callable[[], bool]) -> None:
        """Look on until something is so, or the hour is over."""
        while not is_so() and self._stage.clock.now() < self._stage.scenario.end:
            self._look()
            await asyncio.sleep(LOOK_S)

    async def _settled(self, trader: Trader) -> bool:
        """Wait for what is still under way; whether it came."""
        try:
            async with asyncio.timeout(QUIET_S_MAX):
                while not self._is_quiet(trader):
                    self._look()
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            return False
        return True

    def _is_quiet(self, trader: Trader) -> bool:
        engine, mirror = trader.runner.engine, trader.mirror
        is_moving = engine.desks[0].slot.phase not in (Phase.FLAT, Phase.OPEN) or bool(engine.state.unsettled)
        return not is_moving and trader.runner.is_idle and mirror is not None and mirror.lag == 0

    def _look(self) -> None:
        self._story.observe()
        engine = self._stage.engine
        if self._first_equity is None and engine is not None:
            self._first_equity = self._observer.equity(engine)
        self._audience.step()
