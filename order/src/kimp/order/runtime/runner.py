"""Runs the engine against the real world: one event at a time, intents durable before orders leave, both legs together.

The asynchronous twin of the backtest's ``World``: the same engine, the same order of effects, the same events back.
Whatever costs time is a task of its own and comes back through the inbox; the engine itself is only ever called from
one place, to the end, with nothing awaited in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import takewhile
from typing import Protocol, assert_never, runtime_checkable

import msgspec

from kimp.order.engine.engine import TradingEngine
from kimp.order.runtime.counters import Counters
from kimp.order.runtime.inbox import Inbox, Moved
from kimp.order.runtime.requests import ORDER_TIMEOUT, Requests
from kimp.shared import logs
from kimp.shared.domain.instruments import InstrumentId, Venue
from kimp.shared.domain.time import SECOND, Nanos
from kimp.shared.messages.effects import Append, CancelOrder, Effect, Notify, PlaceOrders, QueryOrder, SetTimer
from kimp.shared.messages.events import Event, MarketMoved, TimerFired
from kimp.shared.messages.notices import Notice
from kimp.shared.messages.records import OrderIntended, PlanMade, Record
from kimp.shared.ports.clock import Clock
from kimp.shared.ports.exchange import Exchange
from kimp.shared.ports.journal import Journal
from kimp.shared.ports.notifier import Notifier

LISTEN_PAUSE: Nanos = SECOND
"""Before a venue's reports are listened to again after they ended; they never should."""

TURNS_TO_WIRE = 2
"""Turns of the loop until a request's bytes are with the kernel: in one it is signed, and before Python 3.12 aiohttp
writes a body in the next. Observers write files, which would take a millisecond from the orders they look at.
"""

log = logs.get(__name__)


class Observer(Protocol):
    """Sees everything the engine was told and wanted, after it was carried out; must not raise and must be quick."""

    def after(self, event: Event, effects: Sequence[Effect], engine: TradingEngine) -> None:
        """One event was handled and its effects were carried out (requests are under way)."""
        ...


@runtime_checkable
class StartObserver(Protocol):
    """An observer that also wants to know what the run began from."""

    def started(self, at: Nanos, length: int, effects: Sequence[Effect], engine: TradingEngine) -> None:
        """The engine was restored at ``at`` from the first ``length`` records of the journal and wanted ``effects``."""
        ...


class Runner:
    """One engine, its venues and its journal, until it is cancelled.

    The journal, the exchanges and the notifier belong to the caller, who closes them after :meth:`run` has ended;
    nothing is appended, sent or told any more by then.
    """

    def __init__(
        self,
        engine: TradingEngine,
        exchanges: Mapping[Venue, Exchange],
        *,
        journal: Journal,
        clock: Clock,
        notifier: Notifier,
        observers: Sequence[Observer] = (),
        order_timeout: Nanos = ORDER_TIMEOUT,
    ) -> None:
        self.engine = engine
        self.is_restored = asyncio.Event()
        self.counters = Counters()
        exchange_of: dict[InstrumentId, Exchange] = {}
        for desk in engine.desks:
            for leg in (desk.pair.korea, desk.pair.abroad):
                if leg.venue not in exchanges:
                    raise ValueError(f"{leg.id} is to be traded, but no exchange of {leg.venue.value} was given")
                exchange_of[leg.id] = exchanges[leg.venue]
        self._exchanges = tuple(exchanges.values())
        self._journal = journal
        self._clock = clock
        self._notifier = notifier
        self._observers = list(observers)
        self._inbox = Inbox(ahead_max=engine.market.ahead_max)
        self._requests = Requests(exchange_of, clock, self.put, self.counters, order_timeout)
        self._group: asyncio.TaskGroup | None = None

    # -- the way in ------------------------------------------------------------------------------------------------

    def move(self, moved: Moved) -> None:
        """The market moved or a feed came or went: never waits; newer quotes overtake older ones."""
        self._inbox.move(moved)
        self.counters.coalesced = self._inbox.coalesced

    async def put(self, event: Event) -> None:
        """Anything about orders, money, venues and the switch: waits while too much is waiting, is never dropped."""
        await self._inbox.put(event)
        self.counters.queue_high_water = self._inbox.high_water

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way and nothing waits to be handled. Timers may still be set."""
        return self._requests.is_idle and self._inbox.is_empty

    # -- running ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Become what the journal says, then handle events until cancelled.

        When cancelled nothing new is begun; requests under way get a few seconds, and what they bring is journaled.

        Raises:
            KimpError: the journal could not be read or written; nothing that is not journaled has been sent.
        """
        try:
            async with asyncio.TaskGroup() as self._group:
                self._restore()
                for exchange in self._exchanges:
                    self._group.create_task(self._listen(exchange))
                try:
                    await self._work()
                except asyncio.CancelledError:
                    await self._drain()
                    raise
        except BaseExceptionGroup as trouble:
            raise _first(trouble) from None
        finally:
            self._group = None

    def _restore(self) -> None:
        at = self._clock.now()
        read = _Counted(self._journal.read())
        effects = self.engine.restore(read, at)
        self._carry_out(effects, at)
        for observer in tuple(self._observers):
            if isinstance(observer, StartObserver):
                self._guarded(observer, partial(observer.started, at, read.count, effects, self.engine))
        log.info("engine restored", records=read.count, effects=len(effects))
        self.is_restored.set()

    async def _work(self) -> None:
        while True:
            event = await self._inbox.next()
            now = self._clock.now()
            if type(event) is MarketMoved and event.at < now:
                # Quotes are judged by their age when they are decided on, not by their age when they were received.
                event = msgspec.structs.replace(event, at=now)
            effects = self.engine.handle(event)
            self.counters.events += 1
            has_begun = bool(effects) and self._carry_out(effects, now)
            try:
                if has_begun:
                    # Requests leave before anybody looks on and before the next event, however many are waiting.
                    for _ in range(TURNS_TO_WIRE):
                        await asyncio.sleep(0)
            finally:
                self._observe(event, effects)

    def _observe(self, event: Event, effects: Sequence[Effect]) -> None:
        for observer in tuple(self._observers):
            self._guarded(observer, partial(observer.after, event, effects, self.engine))

    def _guarded(self, observer: Observer, tell: Callable[[], None]) -> None:
        try:
            tell()
        except Exception:
            log.exception("observer failed and is not told anything any more", observer=type(observer).__name__)
            self._observers.remove(observer)

    async def _drain(self) -> None:
        """Journal and tell what the requests still under way bring; what would have to be sent for it waits."""
        await self._requests.answered()
        while (event := self._inbox.next_order()) is not None:
            effects = self.engine.handle(event)
            known = [effect for effect in _before_intents(effects) if isinstance(effect, Append | Notify)]
            self._carry_out(known, self._clock.now())
            self._observe(event, effects)
            if any(isinstance(effect, PlaceOrders) for effect in effects):
                # The engine now believes that these orders left. They did not and are not journaled: after the restart
                # it decides on them anew, at once, as if it had been killed in between.
                break

    # -- effects ---------------------------------------------------------------------------------------------------

    def _carry_out(self, effects: Iterable[Effect], now: Nanos) -> bool:
        """Do what the engine wants in the order it wants it; whether any request was begun.

        Records that follow each other are one append, durable before what comes after them.
        """
        records: list[Record] = []
        has_begun = False
        for effect in effects:
            if isinstance(effect, Append):
                records.append(effect.record)
                continue
            if records:
                self._journal.append(records)
                records = []
            has_begun |= self._begin(effect, now)
        if records:
            self._journal.append(records)
        return has_begun

    def _begin(self, effect: PlaceOrders | QueryOrder | CancelOrder | SetTimer | Notify, now: Nanos) -> bool:
        assert self._group is not None, "effects are carried out while running only"
        match effect:
            case PlaceOrders(orders=orders, is_urgent=is_urgent):
                self._requests.place(self._group, orders, now, is_urgent=is_urgent)
            case QueryOrder(client_id=client_id, instrument_id=instrument_id):
                self._requests.query(self._group, client_id, instrument_id)
            case CancelOrder(client_id=client_id, instrument_id=instrument_id):
                self._requests.cancel(self._group, client_id, instrument_id)
            case SetTimer(timer=timer, at=at):
                self._group.create_task(self._wake(timer, at))
                return False
            case Notify(notice=notice):
                self._notify(notice, now)
                return False
            case _:
                assert_never(effect)
        return True

    def _notify(self, notice: Notice, now: Nanos) -> None:
        try:
            self._notifier.send(notice, now)
        except Exception:
            log.exception("notice not taken", notice=type(notice).__name__)

    async def _wake(self, timer: str, at: Nanos) -> None:
        await self._clock.sleep_until(at)
        await self.put(TimerFired(self._clock.now(), timer))

    async def _listen(self, exchange: Exchange) -> None:
        """Pass on what a venue pushes, for ever: an adapter that breaks is listened to again, and says so in the log."""
        while True:
            reports = exchange.reports()
            try:
                async for event in reports:
                    await self.put(event)
                log.error("reports ended", venue=exchange.venue.value)
            except Exception:
                log.exception("reports failed in their adapter", venue=exchange.venue.value)
            finally:
                if isinstance(reports, AsyncGenerator):
                    await reports.aclose()
            await self._clock.sleep_until(self._clock.now() + LISTEN_PAUSE)


def _before_intents(effects: Iterable[Effect]) -> Iterator[Effect]:
    """The effects up to the first that plans or intends orders."""
    return takewhile(
        lambda it: not (isinstance(it, Append) and isinstance(it.record, PlanMade | OrderIntended)), effects
    )


class _Counted:
    """Records on their way into the engine, counted."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._records = records
        self.count = 0

    def __iter__(self) -> Iterator[Record]:
        for record in self._records:
            self.count += 1
            yield record


def _first(trouble: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first exception in a tree of them: what a person has to read."""
    first: BaseException = trouble
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
