"""The same tape through the live shell: what a backtest did, done again by the runner that trades live, on virtual time.

Everything of the live side is real: the asyncio runner, its inbox and requests, virtual venues behind the exchange port
at the backtest's latency. Only the market comes from the tape, in the order the backtest lives it. Both must write the
same journal, byte by byte; where they do not, one of the two drivers is wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kimp.order.engine.engine import TradingEngine
from kimp.order.runtime.journal import MemoryJournal
from kimp.order.runtime.runner import Runner
from kimp.order.runtime.virtual_loop import VirtualClock, run_virtual
from kimp.portfolio.exchange.virtual import VirtualExchange
from kimp.portfolio.paper import PaperVenues
from kimp.research.backtest.engine import BacktestEngine, decision_hash
from kimp.research.backtest.tape import Settlement
from kimp.research.backtest.treasury import Treasury
from kimp.research.simulation.margin import MarginRules
from kimp.shared.domain.books import Book
from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.instruments import Venue
from kimp.shared.domain.money import ZERO, Amount, exact
from kimp.shared.domain.time import DAY, MINUTE, Nanos
from kimp.shared.messages.effects import Effect
from kimp.shared.messages.events import Event, FundsMoved, MarketMoved
from kimp.shared.messages.notices import Notice
from kimp.shared.messages.records import Record

NEVER_AGAIN: Nanos = 100 * 366 * DAY
"""The interval the venue is told of, so that nothing settles but what was recorded: a venue goes on by itself."""

Between = Callable[[int, Mapping[Venue, VirtualExchange]], None]
"""Called when the engine has decided on a bar, with the number of the next one: to take a venue into maintenance."""


@dataclass(frozen=True, slots=True)
class LiveStory:
    """What the live shell made of a tape: its journal, and the hash a backtest publishes over the same."""

    records: Sequence[Record]
    decision_hash: str


def live_story(backtest: BacktestEngine, latency: Nanos, between: Between | None = None) -> LiveStory:
    """Let the runner trade a backtest that was prepared and not run; its engine is used up by this.

    ``latency`` is one way (nanoseconds) and must be the backtest's own.
    """
    return run_virtual(_Live(backtest, latency, between).play(), backtest.data.start)


class _Live:
    """The twin of ``BacktestEngine._play`` on the live shell."""

    def __init__(self, backtest: BacktestEngine, latency: Nanos, between: Between | None) -> None:
        self._backtest = backtest
        self._engine: TradingEngine = backtest.trading
        self._between = between
        self._clock = VirtualClock()
        pair = backtest.pair
        leverage = backtest.settings.engine.leverage
        self._venues = PaperVenues(
            [pair.korea, pair.abroad], {}, self._clock, one_way=latency, margin=MarginRules(leverage=leverage)
        )
        self._journal = MemoryJournal()
        self._handled = 0
        self._transfers: list[FundsMoved] = []
        self._treasury = Treasury(self, self._engine, pair, backtest.direction, backtest.settings.capital)
        self._settlements = iter(backtest.tape.settlements())
        self._due = next(self._settlements, None)

    async def play(self) -> LiveStory:
        self._runner = Runner(
            self._engine,
            self._venues.exchanges,
            journal=self._journal,
            clock=self._clock,
            notifier=_Silent(),
            observers=(self,),
        )
        async with asyncio.TaskGroup() as group:
            running = group.create_task(self._runner.run())
            await self._runner.is_restored.wait()
            await self._fund()
            for index, event in enumerate(self._backtest.tape):
                await self._bar(index, event)
            self._see(self._backtest.tape.empty(len(self._backtest.tape) - 1))
            await self._clock.sleep_until(self._clock.now() + MINUTE)
            running.cancel()
        return LiveStory(self._journal.records, decision_hash(self._journal.records, self._engine.refusals))

    async def _bar(self, index: int, event: MarketMoved) -> None:
        tape, opened_at = self._backtest.tape, event.at - self._backtest.data.interval
        if self._between is not None:
            self._between(index, self._venues.exchanges)
        if self._clock.now() < opened_at:
            # A pause: orders sent into it find nobody to trade with.
            if index:
                self._see(tape.empty(index - 1))
            await self._until(opened_at)
        self._see(tape.opened(index))
        while self._due is not None and self._due.at < event.at:
            await self._until(self._due.at)
            self._see((), self._taken_due())
        await self._until(event.at)
        is_due = self._due is not None and self._due.at == event.at
        self._see(event.books, self._taken_due() if is_due else None)
        await self._told(lambda: self._runner.move(event))
        if event.at >= self._treasury.next_look:
            self._treasury.look(event.at, self._backtest.settings.rebalance)
            await self._moved_funds()

    # -- time ------------------------------------------------------------------------------------------------------

    async def _until(self, at: Nanos) -> None:
        await self._clock.sleep_until(at)

    async def _told(self, tell: Callable[[], None]) -> None:
        """Tell the engine something and wait until it has handled it."""
        handled = self._handled
        tell()
        while self._handled == handled:
            await asyncio.sleep(0)

    def after(self, event: Event, effects: Sequence[Effect], engine: TradingEngine) -> None:  # noqa: ARG002
        """Count what the engine has handled: the runner's observer."""
        self._handled += 1

    # -- the venues ------------------------------------------------------------------------------------------------

    def _see(self, books: Sequence[Book], due: Settlement | None = None) -> None:
        rates: tuple[FundingRate, ...] = ()
        if due is not None:
            rates = (FundingRate(due.instrument_id, due.rate, due.at, due.at, NEVER_AGAIN),)
        self._venues.see(MarketMoved(self._clock.now(), tuple(books), (), rates))

    def _taken_due(self) -> Settlement | None:
        due, self._due = self._due, next(self._settlements, None)
        return due

    # -- the owner's hand ------------------------------------------------------------------------------------------

    async def _fund(self) -> None:
        backtest = self._backtest
        asset = backtest.settings.engine.valuation_basis.asset
        coin = exact(float(backtest.data.korea.open[0]))
        self._treasury.fund(backtest.data.start, coin, backtest.tape.krw_rate_at(asset, backtest.data.start))
        await self._moved_funds()

    async def _moved_funds(self) -> None:
        transfers, self._transfers = self._transfers, []
        for moved in transfers:
            handled = self._handled
            await self._runner.put(moved)
            while self._handled == handled:
                await asyncio.sleep(0)

    @property
    def is_busy(self) -> bool:
        """Whether a request is under way (``Drawers``)."""
        return not self._runner.is_idle

    def show(self, books: Sequence[Book], at: Nanos) -> None:
        """The clock tells the time here (``Drawers``)."""

    def move_funds(self, transfer_id: str, venue: Venue, amount: Amount) -> None:
        """Move money at the venue now, and tell the engine next (``Drawers``)."""
        if amount.value != ZERO:
            self._venues.exchanges[venue].move_funds(transfer_id, amount)
            self._transfers.append(FundsMoved(self._clock.now(), transfer_id, venue, amount))


class _Silent:
    """Nobody is told; notices are no part of the story."""

    def send(self, notice: Notice, at: Nanos) -> None: ...
