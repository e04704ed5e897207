"""Asks the venues what is true and tells the engine, so that nothing missed on a broken stream stays missed.

Everything goes through the exchange port, and everything found is told as an event: the engine decides, and drops what
it knows already. Until a venue has been reconciled once it is told to be unavailable, so that nothing is entered on
books nobody has looked at; repairs go on meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from kimp.order.engine.engine import TradingEngine
from kimp.order.runtime.comparing import Findings
from kimp.order.runtime.inquiry import Answers, Inquiry, inquire
from kimp.order.runtime.reconciliation import Reconciliation, SeenOrder, VenueReconciliation, Verdict
from kimp.order.runtime.watches import Watch, watch
from kimp.shared.domain.funding import FundingPayment
from kimp.shared.domain.instruments import Venue
from kimp.shared.domain.ledger import funding_id
from kimp.shared.domain.orders import Fill, OrderStatus
from kimp.shared.domain.time import SECOND, Nanos
from kimp.shared.logs import get
from kimp.shared.messages.effects import Effect, Notify
from kimp.shared.messages.events import (
    ClockMeasured,
    Event,
    FeedLost,
    FundingPaid,
    FundsMoved,
    OrderFilled,
    OrderReported,
    VenueChanged,
)
from kimp.shared.messages.notices import ForeignFill, FundsFound, PositionMismatch, StrayOrder, VenueTurned
from kimp.shared.ports.clock import Clock
from kimp.shared.ports.exchange import Exchange
from kimp.shared.ports.notifier import Notifier

OURS = "reconcile: "
"""What our own words about a venue begin with, to be told from its adapter's."""

HELD = "not reconciled yet"
RECONCILED = "reconciled"
"""Why a venue is unavailable at the start, and available afterwards."""

SOON: Nanos = 2 * SECOND
"""How soon a doubt is looked at again; doubling from there, so that a venue that is away is not asked in a loop."""

WOKEN_AFTER: Nanos = 5 * SECOND
"""A feed that flaps wakes us again and again: each look costs request budget that repairs may need."""

POLL: Nanos = SECOND
"""How often a wish to look sooner is noticed."""

AWAY_AFTER = 2
"""Looks in a row that failed before a venue counts as away: a single timeout is an ordinary event."""

Missed = tuple[tuple[Fill, ...], tuple[FundingPayment, ...]]

LOOK_S_MAX = 60.0
"""A venue that takes longer for one look counts as away; each request has its own, shorter limit."""


class Reconciler:
    """Looks at every venue in turn; ``last`` is what it found, ``reached_at`` when each venue last answered in full.

    ``put`` hands an event to the engine. Without ``may_cancel`` nothing at the venues is changed: for a command that
    only wants to know.
    """

    name = "reconciler"

    def __init__(
        self,
        engine: TradingEngine,
        exchanges: Mapping[Venue, Exchange],
        *,
        put: Callable[[Event], Awaitable[None]],
        clock: Clock,
        notifier: Notifier,
        every: Nanos,
        may_cancel: bool = True,
    ) -> None:
        self._engine = engine
        self._exchanges = dict(exchanges)
        self._put = put
        self._clock = clock
        self._notifier = notifier
        self._every = every
        self._may_cancel = may_cancel
        self._watches: dict[Venue, Watch] = {}
        self._busy = asyncio.Lock()
        self._is_wanted = False
        self._again: list[Venue] = []
        self._down: set[Venue] = set()
        self._is_contradicted = asyncio.Event()
        self._log = get("kimp.order.reconcile")
        self.first_done = asyncio.Event()
        self.last: Reconciliation | None = None
        self.reached_at: dict[Venue, Nanos] = {}
        self.skews: dict[Venue, Nanos] = {}

    # -- when ------------------------------------------------------------------------------------------------------

    async def hold(self) -> None:
        """Tell every venue unavailable until it has been reconciled. Await this before any quote reaches the engine."""
        for venue, watched in self._all().items():
            watched.is_held = True
            await self._turn(venue, is_available=False, reason=HELD)

    async def _turn(self, venue: Venue, *, is_available: bool, reason: str) -> None:
        event = VenueChanged(self._clock.now(), venue, is_available, f"{OURS}{reason}")
        await self._put(event)

    def wake(self) -> None:
        """Look again soon."""
        self._is_wanted = True

    def after(self, event: Event, effects: Sequence[Effect], _: TradingEngine) -> None:
        """Watch what the engine does: doubts are looked into soon, and a venue held back stays held back whoever else
        says that it is fine.
        """
        for effect in effects:
            if isinstance(effect, Notify) and isinstance(effect.notice, PositionMismatch | ForeignFill):
                self.wake()
        if isinstance(event, FeedLost):
            self.wake()
        elif isinstance(event, VenueChanged) and not event.reason.startswith(OURS):
            self.wake()
            # What an adapter says itself (maintenance) only it takes back.
            (self._down.discard if event.is_available else self._down.add)(event.venue)
            watched = self._watches.get(event.venue)
            if watched is not None and watched.is_held and event.is_available:
                self._again.append(event.venue)
                self._is_contradicted.set()

    async def run(self) -> None:
        """Look for ever, every now and then and sooner when there is doubt."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hold_on())
            hurries = 0
            while True:
                found = await self.once()
                hurries = hurries + 1 if any(venue.wants_more for venue in found.venues) else 0
                pause = min(self._every, SOON << min(hurries - 1, 16)) if hurries else self._every
                await self._rest(self._clock.now() + pause)

    async def _rest(self, until: Nanos) -> None:
        earliest = min(until, self._clock.now() + WOKEN_AFTER)
        while (now := self._clock.now()) < until and not (self._is_wanted and now >= earliest):
            await self._clock.sleep_until(min(until, now + POLL))
        self._is_wanted = False

    async def _hold_on(self) -> None:
        """An adapter that sees its venue come up does not know that our books have not been compared yet."""
        while True:
            await self._is_contradicted.wait()
            self._is_contradicted.clear()
            again, self._again = self._again, []
            for venue in again:
                if self._watches[venue].is_held:
                    await self._turn(venue, is_available=False, reason=HELD)

    # -- one look --------------------------------------------------------------------------------------------------

    async def once(self) -> Reconciliation:
        """Compare everything once, all venues side by side; what is missing is told to the engine."""
        async with self._busy:
            watches, at = self._all(), self._clock.now()
            async with asyncio.TaskGroup() as group:
                looks = [group.create_task(self._look(venue, watched)) for venue, watched in watches.items()]
            self.last = Reconciliation(at, tuple(look.result() for look in looks))
            if not self.first_done.is_set() and not any(watched.is_held for watched in watches.values()):
                self.first_done.set()
            return self.last

    async def _look(self, venue: Venue, watched: Watch) -> VenueReconciliation:
        state, at = self._engine.state, self._clock.now()
        version, was_quiet = state.version, not state.unsettled
        inquiry = Inquiry(watched.instruments, watched.ask_from(at), watched.funding_from, state, self._may_cancel)
        try:
            async with asyncio.timeout(LOOK_S_MAX):
                answers = await inquire(watched.exchange, inquiry, self._clock)
        except TimeoutError:
            answers = "timeout"
        except Exception as error:  # an adapter's bug must not end reconciliation of the other venue
            self._log.exception("venue raised while asked", venue=venue.value)
            answers = f"{type(error).__name__}: {error}"
        if isinstance(answers, str):
            return await self._failed(venue, watched, at, answers)
        watched.asked(at)
        if watched.comparer.started_at is None:
            return await self._start(venue, watched, at, answers)
        missed = await self._tell_missed(watched, answers)
        is_quiet = was_quiet and not state.unsettled and state.version == version and not any(missed)
        findings = watched.comparer.compare(answers.account, self._clock.now(), is_quiet=is_quiet)
        await self._tell(venue, findings)
        self._tell_strays(watched, answers.orders)
        found = _reported(venue, at, is_quiet=is_quiet, answers=answers, findings=findings, missed=missed)
        await self._reached(venue, watched, found)
        return found

    async def _start(self, venue: Venue, watched: Watch, at: Nanos, answers: Answers) -> VenueReconciliation:
        """The first start of all: what lies there is the owner's money, and trades of before are in it already."""
        findings = watched.comparer.first_start(answers.account, at)
        for event in findings.events:
            await self._put(event)
        self._tell_strays(watched, answers.orders)
        found = _reported(venue, at, is_quiet=True, answers=answers, findings=findings, missed=((), ()))
        await self._reached(venue, watched, found)
        return found

    async def _tell_missed(self, watched: Watch, answers: Answers) -> Missed:
        """What the engine does not know yet, oldest first. The reports of orders go last: their fills count first."""
        state, started_at = self._engine.state, watched.comparer.started_at or 0
        fills = tuple(fill for fill in answers.fills if fill.at >= started_at and not state.has_fill(fill))
        ours = {instrument.id for instrument in watched.instruments}
        funding = tuple(
            payment
            for payment in answers.funding
            if payment.at >= started_at and payment.instrument_id in ours and not state.ledger.has(funding_id(payment))
        )
        for fill in fills:
            await self._put(OrderFilled(self._clock.now(), fill))
        for payment in funding:
            await self._put(FundingPaid(self._clock.now(), payment))
        for report in answers.reports:
            await self._put(OrderReported(self._clock.now(), report))
        return fills, funding

    async def _tell(self, venue: Venue, findings: Findings) -> None:
        for event in findings.events:
            await self._put(event)
            if isinstance(event, FundsMoved):
                self._notifier.send(FundsFound(venue, event.amount), self._clock.now())

    def _tell_strays(self, watched: Watch, orders: Sequence[SeenOrder]) -> None:
        """Alert once for each order that rests and should not; those that are gone are forgotten."""
        strays = [seen for seen in orders if seen.is_settled and seen.status is OrderStatus.WORKING]
        for seen in strays:
            if seen.client_id not in watched.told:
                self._notifier.send(StrayOrder(seen.instrument_id, seen.client_id, seen.is_ours), self._clock.now())
        watched.told = {seen.client_id for seen in strays}

    # -- what follows ----------------------------------------------------------------------------------------------

    async def _failed(self, venue: Venue, watched: Watch, at: Nanos, reason: str) -> VenueReconciliation:
        watched.failures += 1
        if watched.failures >= AWAY_AFTER:
            if not watched.is_held:
                watched.is_held = True
                await self._turn(venue, is_available=False, reason=reason)
            if not watched.is_alerted:
                watched.is_alerted = True
                self._notifier.send(VenueTurned(venue, is_available=False, reason=reason), self._clock.now())
        return VenueReconciliation(venue, at, is_reachable=False, reason=reason)

    async def _reached(self, venue: Venue, watched: Watch, found: VenueReconciliation) -> None:
        """Let go of a venue that was held back, once nothing found is still on its way to the engine."""
        watched.failures = 0
        self.reached_at[venue] = found.at
        if found.clock_skew is not None:
            self.skews[venue] = found.clock_skew
            await self._put(ClockMeasured(self._clock.now(), venue, found.clock_skew))
        doubted = (Verdict.SEEN_ONCE, Verdict.MISMATCH)
        watched.is_suspect = any(compared.verdict in doubted for compared in found.positions)
        if found.wants_more:
            return
        if watched.is_held:
            watched.is_held = False
            if venue not in self._down:
                await self._turn(venue, is_available=True, reason=RECONCILED)
        if watched.is_alerted:
            watched.is_alerted = False
            self._notifier.send(VenueTurned(venue, is_available=True, reason=RECONCILED), self._clock.now())

    def _all(self) -> dict[Venue, Watch]:
        """Every venue with its legs; made at the first call, when the engine has been restored from its journal."""
        for venue, exchange in self._exchanges.items():
            if venue not in self._watches:
                self._watches[venue] = watch(self._engine.state, venue, exchange, self._clock.now())
        return self._watches


def _reported(
    venue: Venue,
    at: Nanos,
    *,
    is_quiet: bool,
    answers: Answers,
    findings: Findings,
    missed: tuple[tuple, tuple],  # type: ignore[type-arg]
) -> VenueReconciliation:
    return VenueReconciliation(
        venue,
        at,
        is_reachable=True,
        is_quiet=is_quiet,
        clock_skew=answers.skew,
        missed_fills=missed[0],
        missed_funding=missed[1],
        orders=answers.orders,
        wallets=findings.wallets,
        positions=findings.positions,
    )
