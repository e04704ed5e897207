"""Plays the demo for whoever watches: a picture on a terminal, plain lines in a pipe, nothing for a program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text

from kimp.portfolio.demo.books import Account, accounts_of
from kimp.portfolio.demo.scenario import KNOBS, PRESET, Stage
from kimp.portfolio.demo.screen import moment_of, picture, sentences_of, tag_of
from kimp.portfolio.demo.snapshot import Observer
from kimp.portfolio.demo.story import Line, Story
from kimp.research.backtest.report.numerals import signed_percent, won
from kimp.research.backtest.result import BacktestResult
from kimp.shared.domain.premium import Basis
from kimp.shared.domain.time import DAY, Nanos
from kimp.shared.messages.records import Phase

if TYPE_CHECKING:
    from kimp.research.simulation.world import World

FRAMES_PER_DAY = 8
FRAME_S = 0.08
"""A fortnight in 112 frames: 9 s, and about twice that again to linger on what happens."""

LINGER_S = 0.3
"""How long a new line is looked at; what was injected and has to be explained, three times that."""

SENTENCES_CELLS = 67
"""Room for a sentence under the figures, on a line of 80."""

STEP_S = 0.06
"""Between two steps of an order under way, of which a second of the market's time has many."""


class Audience(Protocol):
    """Who watches."""

    def step(self, world: World, added: list[Line]) -> None:
        """Something happened, perhaps worth ``added`` lines of the story."""
        ...


class Nobody:
    """A program waits for the facts; nothing is shown."""

    def step(self, world: World, added: list[Line]) -> None:
        """Look away."""


class Reader:
    """Plain lines, as fast as they come."""

    def __init__(self, stage: Stage, observer: Observer, console: Console) -> None:
        self._stage = stage
        self._observer = observer
        self._console = console
        self._next_day: Nanos = stage.scenario.start + DAY

    def step(self, world: World, added: list[Line]) -> None:
        """Print what was added, and once a day how things stand."""
        for line in added:
            text = Text(f"{moment_of(line)}  ", "dim").append_text(tag_of(line)).append(f"  {line.facts}")
            self._print(text)
            for sentence in sentences_of(line, SENTENCES_CELLS):
                self._print(Text(f"             {sentence}", "italic dim"))
        while world.now >= self._next_day:
            self._print(Text(self._day(), "dim"))
            self._next_day += DAY

    def _day(self) -> str:
        seen = self._observer.look(self._next_day)
        fx, usdt = (signed_percent(seen.premiums[basis]) for basis in (Basis.FX, Basis.USDT))
        day = (self._next_day - self._stage.scenario.start) // DAY
        stand = f"-- {day:>2}/{seen.days}일 day: 김프 fx {fx} 테더 usdt {usdt}"
        return f"{stand}, 자산 equity {won(seen.equity[-1] if seen.equity else None)}"

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)


class Spectator:
    """A live picture at a pace one can follow. ``speed`` 2 is twice as fast."""

    def __init__(self, stage: Stage, observer: Observer, live: Live, speed: float) -> None:
        self._slot = stage.backtest.trading.desks[0].slot
        self._observer = observer
        self._live = live
        self._speed = speed
        self._next_frame: Nanos = stage.scenario.start

    def step(self, world: World, added: list[Line]) -> None:
        """Draw when something happened or a frame is due, and leave time to look."""
        is_moving = self._slot.phase not in (Phase.FLAT, Phase.OPEN)
        if not added and not is_moving and world.now < self._next_frame:
            return
        began = perf_counter()
        size = self._live.console.size
        self._live.update(picture(self._observer.look(world.now), size.width, size.height), refresh=True)
        is_explained = any(line.is_injected for line in added)
        pause = LINGER_S * (3 if is_explained else 1) if added else STEP_S if is_moving else FRAME_S
        while self._next_frame <= world.now:
            self._next_frame += DAY // FRAMES_PER_DAY
        sleep(max(0.0, pause / self._speed - (perf_counter() - began)))


@dataclass(frozen=True, slots=True)
class Played:
    """A finished showing: the result, the story and both sides' books."""

    stage: Stage
    result: BacktestResult
    story: Story
    accounts: tuple[Account, ...]
    elapsed_s: float


def play(stage: Stage, audience: Callable[[Observer], Audience]) -> Played:
    """Run the whole fortnight in front of somebody."""
    began = perf_counter()
    story = Story(stage)
    watcher = audience(Observer(stage, story))

    def on_step(world: World) -> None:
        watcher.step(world, story.observe(world))

    stage.backtest.world.on_step = on_step
    meta = {"seed": stage.scenario.seed, "command": f"kimp demo --seed {stage.scenario.seed}", "knobs": KNOBS}
    result = stage.backtest.run(preset=f"{PRESET} (demo)", meta=meta)
    return Played(stage, result, story, accounts_of(stage.backtest), perf_counter() - began)
