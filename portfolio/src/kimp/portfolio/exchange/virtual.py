"""The virtual exchange: a venue in memory behind the very port the real ones stand behind, with their rules and delays.

What was traded, paid and refused survives a crash where it is given a diary; books and rates do not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from types import TracebackType
from typing import Self

from kimp.portfolio.exchange import codes
from kimp.portfolio.exchange.diary import Diary, DiaryFailed
from kimp.portfolio.exchange.floor import Floor
from kimp.portfolio.exchange.reporting import Reports
from kimp.portfolio.exchange.restoring import restore
from kimp.portfolio.exchange.statement import account_of
from kimp.portfolio.exchange.tickets import OrderKind, Ticket
from kimp.research.simulation.arrivals import EventAt, filled, paid, reported
from kimp.research.simulation.venue import SimulatedVenue
from kimp.shared.domain.accounts import Account, Check
from kimp.shared.domain.funding import FundingPayment
from kimp.shared.domain.instruments import Instrument, InstrumentId, Venue
from kimp.shared.domain.orders import (
    Accepted,
    ClientId,
    Fill,
    Order,
    OrderReport,
    OrderStatus,
    Outcome,
    Rejected,
    Unknown,
)
from kimp.shared.domain.time import Nanos
from kimp.shared.messages.events import Event, VenueChanged
from kimp.shared.ports.clock import Clock


class VirtualExchange(Floor):
    """Implements ``Exchange``; ``see``, ``submit``, ``withdraw`` and the rest of the floor serve the wire layers.

    Args:
        simulated: matches; its opening balances count only while the diary is empty.
        clock: time, also for the way to the venue and back.
        diary: the venue's memory; without one it forgets everything when it ends.
        one_way: how long a request, and how long its answer, travels (nanoseconds).

    Raises:
        DataError: the diary cannot be read or is another venue's.
    """

    def __init__(
        self, simulated: SimulatedVenue, clock: Clock, *, diary: Diary | None = None, one_way: Nanos = 0
    ) -> None:
        super().__init__(simulated, clock, diary=diary)
        self.one_way = one_way
        self._is_answering = False
        self._reports = Reports(clock, self._missed)
        if diary is not None:
            restore(self, diary)

    @property
    def venue(self) -> Venue:
        """Which venue this plays."""
        return self.simulated.venue

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    # -- orders ----------------------------------------------------------------------------------------------------

    async def place(self, order: Order, *, is_urgent: bool = False) -> Outcome:  # noqa: ARG002 - the port's
        """Take an order at what the book is on its arrival."""
        ticket = Ticket(
            order.client_id, order.instrument_id, order.side, OrderKind.LIMIT, order.quantity, order.limit,
            time_in_force=order.time_in_force, reduce_only=order.reduce_only,
        )  # fmt: skip
        await self._travel()
        outcome: Outcome
        try:
            with self._answering():
                taken = self.submit(ticket)
        except DiaryFailed as failure:
            outcome = Unknown(str(failure))
        else:
            outcome = taken if isinstance(taken, Rejected) else Accepted(taken.venue_order_id)
        await self._answer_and_push(order.client_id)
        return outcome

    async def cancel(self, client_id: ClientId, instrument_id: InstrumentId) -> Outcome:  # noqa: ARG002 - the port's
        """Cancel what is left; the stream then tells all of the order again."""
        await self._travel()
        try:
            with self._answering():
                outcome = self._cancelled(client_id)
        except DiaryFailed as failure:
            outcome = Unknown(str(failure))
        await self._answer_and_push(client_id)
        return outcome

    def _cancelled(self, client_id: ClientId) -> Outcome:
        known = self.find(client_id=client_id)
        if known is None:
            return Rejected(codes.ORDER_NOT_FOUND, f"{client_id} is not known here")
        if not self.simulated.is_available:
            return Rejected(codes.MAINTENANCE, f"{self.venue.value} is in maintenance")
        if not known.is_done:
            self.withdraw(known.number)
        return Accepted(known.venue_order_id)

    async def query(self, client_id: ClientId, instrument_id: InstrumentId) -> OrderReport | None:  # noqa: ARG002
        """The order as it stands when the question arrives."""
        if not await self._is_asked():
            return None
        report = self.simulated.query(client_id)
        await self._travel()
        return report

    # -- the truth -------------------------------------------------------------------------------------------------

    async def account(self) -> Account | None:
        """Balances and contracts; on Binance margin counts as locked."""
        if not await self._is_asked():
            return None
        account = account_of(self.simulated, is_priced=self.is_priced)
        await self._travel()
        return account

    async def open_orders(self, instrument_id: InstrumentId) -> tuple[ClientId, ...] | None:
        """Client ids of what rests, oldest first."""
        if not await self._is_asked():
            return None
        ids = tuple(order.client_id for order in self.working() if order.order.instrument_id == instrument_id)
        await self._travel()
        return ids

    async def fills_since(self, instrument_id: InstrumentId, since: Nanos) -> tuple[Fill, ...] | None:
        """Every trade of the instrument, liquidations included."""
        if not await self._is_asked():
            return None
        fills = tuple(f for f in self.simulated.trades if f.instrument_id == instrument_id and f.at >= since)
        await self._travel()
        return fills

    async def funding_since(self, since: Nanos) -> tuple[FundingPayment, ...] | None:
        """Every settlement."""
        if not await self._is_asked():
            return None
        payments = tuple(payment for payment in self.simulated.income if payment.at >= since)
        await self._travel()
        return payments

    # -- the venue itself ------------------------------------------------------------------------------------------

    async def instruments(self, symbols: Sequence[str]) -> tuple[Instrument, ...] | None:
        """Its instruments among those symbols: the venue's spelling, or the coin."""
        if not await self._is_asked():
            return None
        known = self.simulated.instruments.values()
        await self._travel()
        return tuple(leg for leg in known if leg.symbol in symbols or leg.base in symbols)

    async def clock_skew(self) -> Nanos | None:
        """Zero: venue and trader look at one clock."""
        if not await self._is_asked():
            return None
        await self._travel()
        return 0

    async def examine(self, instruments: Sequence[Instrument], leverage: Decimal) -> tuple[Check, ...]:
        """Instruments, position mode and leverage; a virtual venue has no keys."""
        if not await self._is_asked():
            return (Check(f"{self.venue.value} account", False, "the venue is in maintenance"),)
        await self._travel()
        checks = [
            Check(f"{leg.id} traded", leg.id in self.simulated.instruments, "virtual")
            for leg in instruments
            if leg.venue is self.venue
        ]
        for leg in instruments:
            if leg.id in self.simulated.contracts:
                found = self.leverage[leg.symbol]
                checks.append(Check(f"{leg.id} leverage", found == leverage, f"{found}x, wanted {leverage}x"))
        if self.simulated.contracts:
            checks.append(Check("position mode", not self.is_hedge_mode, "one-way is wanted"))
        return tuple(checks)

    async def keep_alive(self, instruments: Iterable[Instrument], countdown: Nanos) -> None:
        """Binance cancels what rests in ``countdown``; Upbit has no such thing."""
        if not await self._is_asked():
            return
        for instrument in instruments:
            self.count_down(instrument.id, countdown)
        await self._travel()

    def reports(self) -> AsyncIterator[Event]:
        """Fills and reports of orders, funding, liquidations, maintenance: each ``one_way`` after it happened."""
        return self._reports.stream()

    def maintain(self, *, is_available: bool, reason: str) -> None:
        """Go into or come out of maintenance, and say so."""
        super().maintain(is_available=is_available, reason=reason)
        self._reports.tell(lambda at: VenueChanged(at, self.venue, is_available, reason), self.clock.now())

    # -- the way there and back ------------------------------------------------------------------------------------

    async def _travel(self) -> None:
        if self.one_way:
            await self.clock.sleep_until(self.clock.now() + self.one_way)

    async def _is_asked(self) -> bool:
        """Bring a question to the venue; one in maintenance says nothing, nor does one that lost its diary."""
        await self._travel()
        try:
            self.catch_up()
        except DiaryFailed:
            return False
        return self.simulated.is_available

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """What this request does is told together with its answer, not by itself."""
        self.catch_up()
        self._is_answering = True
        try:
            yield
        finally:
            self._is_answering = False

    async def _answer_and_push(self, client_id: ClientId) -> None:
        """Bring the answer back; the stream tells every fill and the bare report in the same moment, after it."""
        answered, due = asyncio.Event(), self.clock.now() + self.one_way
        for event_at in self._told_of(client_id):
            self._reports.tell(event_at, due, answered)
        try:
            await self._travel()
        finally:
            # Also when nobody waits for the answer any more: the stream must not wait with him.
            answered.set()

    def _told_of(self, client_id: ClientId) -> list[EventAt]:
        report = self.simulated.query(client_id)
        if report.status is OrderStatus.ABSENT or not self.simulated.is_available or self.is_broken:
            return []
        bare = OrderReport(client_id, report.status, report.executed)
        return [*map(filled, report.fills), reported(bare)]

    def _tell_news(self, event_at: EventAt) -> None:
        if not self._is_answering:
            self._reports.tell(event_at, self.clock.now() + self.one_way)

    def _missed(self, since: Nanos) -> Iterable[EventAt]:
        """All that a reader may have missed that fell behind at that moment: told perhaps twice, never not."""
        since -= self.one_way
        told = [filled(fill) for fill in self.simulated.trades if fill.at >= since]
        told += [paid(payment) for payment in self.simulated.income if payment.at >= since]
        for order in self.orders():
            if order.updated_at >= since:
                status = OrderStatus.DONE if order.is_done else OrderStatus.WORKING
                told.append(reported(OrderReport(order.client_id, status, order.executed)))
        return told
