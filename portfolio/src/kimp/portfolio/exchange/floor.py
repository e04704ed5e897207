"""The trading floor of the virtual exchange: takes tickets, shows them to the market, keeps the accounts. Synchronous.

What it changes is written to the diary before anybody is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from hashlib import blake2b

from kimp.portfolio.exchange import codes
from kimp.portfolio.exchange.batch import Batch
from kimp.portfolio.exchange.blotter import Blotter
from kimp.portfolio.exchange.conversion import convert
from kimp.portfolio.exchange.diary import Diary, DiaryFailed
from kimp.portfolio.exchange.facts import (
    FundsMoved,
    IdentifierBurnt,
    LeverageSet,
    ModeSet,
)
from kimp.portfolio.exchange.fundings import Fundings
from kimp.portfolio.exchange.happenings import (
    LISTENER_MAX,
    Audience,
    AvailabilityMoved,
    BooksShown,
    Listener,
)
from kimp.portfolio.exchange.tickets import Ticket, VirtualOrder
from kimp.research.simulation.arrivals import EventAt
from kimp.research.simulation.venue import SimulatedVenue
from kimp.shared.domain.instruments import InstrumentId, Venue
from kimp.shared.domain.money import ONE, ZERO, Amount
from kimp.shared.domain.orders import ClientId, Rejected
from kimp.shared.domain.time import Nanos
from kimp.shared.messages.events import MarketMoved
from kimp.shared.ports.clock import Clock

LEVERAGE_MAX = Decimal(125)
"""Binance's highest initial leverage of BTCUSDT's first bracket."""


class Floor:
    """One venue's orders, balances and contracts, over a ``SimulatedVenue`` that matches.

    Every request may raise ``DiaryFailed``: then nobody knows what is durable, and no further request is taken.
    """

    def __init__(self, simulated: SimulatedVenue, clock: Clock, *, diary: Diary | None = None) -> None:
        self.simulated = simulated
        self.clock = clock
        self.is_hedge_mode = False
        self.reason = ""
        self._diary = diary
        self._failure: DiaryFailed | None = None
        self._audience = Audience()
        self.blotter = Blotter(simulated)
        self.transfers: set[str] = set()
        self._countdowns: dict[InstrumentId, Nanos] = {}
        self.fundings = Fundings(simulated)

    # -- the market ------------------------------------------------------------------------------------------------

    def see(self, moved: MarketMoved) -> None:
        """Show new books and rates: resting orders are met, funding due is settled, positions are liquidated.

        Funding settles at the last price before its moment, and at this one if it is due now.
        """
        self._check()
        mine = tuple(book for book in moved.books if book.instrument_id in self.simulated.instruments)
        batch = Batch(moved.at)
        self._run_countdowns(batch)
        self.fundings.settle(moved.at - 1, batch)
        for book in mine:
            self.blotter.note(self.simulated.show(book, moved.at), batch)
        self.fundings.note(moved.funding, batch)
        self.fundings.settle(moved.at, batch)
        if mine:
            batch.happenings.append(BooksShown(mine, moved.at))
        self._commit(batch)

    # -- requests --------------------------------------------------------------------------------------------------

    def submit(self, ticket: Ticket) -> VirtualOrder | Rejected:
        """Take an order and match it, or say why not (:mod:`.codes`)."""
        self.catch_up()
        batch = Batch(self.clock.now())
        client_id = self._made_up() if ticket.client_id is None else ticket.client_id
        was_burnt = client_id in self.simulated.burnt_ids
        refusal = self._place(ticket, client_id, batch)
        if refusal is not None:
            self._burn(ticket.client_id, client_id, was_burnt, batch)
        self._commit(batch)
        return self.blotter.orders[-1] if refusal is None else refusal

    def withdraw(self, number: int) -> VirtualOrder | Rejected:
        """Cancel what is left of an order."""
        self.catch_up()
        order = self.find(number=number)
        if order is None:
            return Rejected(codes.ORDER_NOT_FOUND, f"there is no order {number}")
        if not self.simulated.is_available:
            return Rejected(codes.MAINTENANCE, f"{self.simulated.venue.value} is in maintenance")
        if order.is_done:
            return Rejected(codes.ORDER_DONE, f"order {number} is {order.state.value} already")
        batch = Batch(self.clock.now())
        self.blotter.withdraw(order, batch)
        self._commit(batch)
        return order

    def find(self, *, number: int | None = None, client_id: ClientId | None = None) -> VirtualOrder | None:
        """An order by either of its names; of a client id used twice, the latest."""
        self.catch_up()
        if number is not None:
            return self.blotter.orders[number - 1] if 0 < number <= len(self.blotter.orders) else None
        return None if client_id is None else self.blotter.latest.get(client_id)

    def orders(self) -> Sequence[VirtualOrder]:
        """Every order ever taken, oldest first; liquidations included."""
        self.catch_up()
        return self.blotter.orders

    def working(self) -> list[VirtualOrder]:
        """The orders that rest now, oldest first."""
        self.catch_up()
        return [working.order for working in self.blotter.working.values()]

    # -- the account -----------------------------------------------------------------------------------------------

    @property
    def leverage(self) -> dict[str, Decimal]:
        """Leverage by symbol; change it with ``set_leverage``."""
        instruments = self.simulated.instruments
        return {instruments[id_].symbol: margin.leverage for id_, margin in self.simulated.margins.items()}

    def set_leverage(self, symbol: str, leverage: Decimal) -> Rejected | None:
        """Change a contract's leverage, unless its position would need more margin than there is."""
        self._check()
        margins = self.simulated.margins
        id_ = next((id_ for id_ in margins if self.simulated.instruments[id_].symbol == symbol), None)
        if id_ is None:
            return Rejected(codes.INVALID_SYMBOL, f"{symbol} is not a contract here")
        if not (leverage.is_finite() and ONE <= leverage <= LEVERAGE_MAX and leverage % 1 == ZERO):
            return Rejected(codes.INVALID_PARAMETER, f"leverage is a whole number from 1 to {LEVERAGE_MAX}")
        before = margins[id_]
        if leverage < before.leverage and not self.is_priced:
            return Rejected(codes.NO_MARKET, "an open contract has no book yet")
        margins[id_] = replace(before, leverage=leverage)
        if leverage < before.leverage and self.simulated.free(self.simulated.instruments[id_].quote) < ZERO:
            margins[id_] = before
            return Rejected(codes.LEVERAGE_TOO_LOW, f"{symbol} at {leverage}x needs more margin than there is")
        if leverage != before.leverage:
            self._commit(Batch(self.clock.now(), facts=[LeverageSet(symbol, leverage)]))
        return None

    def set_hedge_mode(self, is_hedge_mode: bool) -> Rejected | None:
        """Change the position mode; orders are matched one-way whatever it says, and the wire refuses hedge mode."""
        self._check()
        if is_hedge_mode is self.is_hedge_mode:
            return Rejected(codes.ALREADY_SO, "No need to change position side.")
        if self.blotter.working or any(contract.quantity for contract in self.simulated.contracts.values()):
            return Rejected(
                codes.MODE_IN_USE, "Position side cannot be changed if there exists open orders or position."
            )
        self.is_hedge_mode = is_hedge_mode
        self._commit(Batch(self.clock.now(), facts=[ModeSet(is_hedge_mode)]))
        return None

    @property
    def is_priced(self) -> bool:
        """Whether everything held or ordered on margin has a price; after a restart that takes until the first books."""
        simulated = self.simulated
        needed = [id_ for id_, contract in simulated.contracts.items() if contract.quantity]
        needed += [working.order.order.instrument_id for working in self.blotter.working.values()]
        return all(id_ not in simulated.contracts or self.mark(id_) is not None for id_ in needed)

    def mark(self, instrument_id: InstrumentId) -> Decimal | None:
        """The price positions are valued at; ``None`` before the first book."""
        try:
            return self.simulated.mark(instrument_id)
        except KeyError:
            return None

    def move_funds(self, transfer_id: str, amount: Amount) -> Rejected | None:
        """The owner's money comes in (positive) or goes out; of a transfer id only the first counts."""
        self.catch_up()
        if transfer_id in self.transfers:
            return Rejected(codes.DUPLICATE_TRANSFER, f"{transfer_id} was booked before")
        if amount.value < ZERO:
            if not self.is_priced:
                return Rejected(codes.NO_MARKET, "an open contract has no book yet")
            if self.simulated.free(amount.asset) + amount.value < ZERO:
                return Rejected(codes.INSUFFICIENT_FUNDS, f"less than {-amount} is free")
        batch = Batch(self.clock.now())
        self.transfers.add(transfer_id)
        self.simulated.move_funds(amount)
        batch.facts.append(FundsMoved(transfer_id, amount, batch.at))
        batch.touch("transfer", amount.asset)
        self._commit(batch)
        return None

    def maintain(self, *, is_available: bool, reason: str) -> None:
        """Go into or come out of maintenance; what rests stays."""
        self.simulated.is_available, self.reason = is_available, reason
        at = self.clock.now()
        self._audience.tell([AvailabilityMoved(is_available, reason, at)], at)

    def count_down(self, instrument_id: InstrumentId, countdown: Nanos) -> None:
        """Cancel what rests on a contract once ``countdown`` has passed without a new call; zero stops the clock.

        Not remembered over a restart. https://developers.binance.com/docs/derivatives/usds-margined-futures/trade/rest-api/Auto-Cancel-All-Open-Orders
        """
        self.catch_up()
        if countdown > 0 and instrument_id in self.simulated.contracts:
            self._countdowns[instrument_id] = self.clock.now() + countdown
        else:
            self._countdowns.pop(instrument_id, None)

    def catch_up(self) -> None:
        """Do what has come due by itself: countdowns that ran out."""
        self._check()
        if self._countdowns:
            batch = Batch(self.clock.now())
            self._run_countdowns(batch)
            self._commit(batch)

    def listen(self, limit: int = LISTENER_MAX) -> Listener:
        """Hear of everything that happens: ``async with exchange.listen() as happenings``."""
        return Listener(self._audience, limit)

    @property
    def is_broken(self) -> bool:
        """Whether the diary failed: nothing is taken and nothing told any more."""
        return self._failure is not None

    # -- inside ----------------------------------------------------------------------------------------------------

    def _made_up(self) -> ClientId:
        """A client id as the venue makes one: a function of the number, so that a restart makes the same ones."""
        cause = f"{self.simulated.venue.value}:{len(self.blotter.orders) + 1}"
        return f"v{blake2b(cause.encode(), digest_size=10).hexdigest()}"

    def _place(self, ticket: Ticket, client_id: ClientId, batch: Batch) -> Rejected | None:
        converted = convert(ticket, client_id, self.simulated)
        if isinstance(converted, Rejected):
            return converted
        if not self.is_priced:
            return Rejected(codes.NO_MARKET, "an open contract has no book yet")
        outcome = self.simulated.place(converted.order, batch.at, converted.funds)
        if isinstance(outcome, Rejected):
            return outcome
        self.blotter.take(ticket, self.simulated.history[-1], batch)
        return None

    def _burn(self, given: ClientId | None, client_id: ClientId, was_burnt: bool, batch: Batch) -> None:
        """Upbit never takes an identifier again, not even of an order it refused; one nobody gave is not used up."""
        if self.simulated.venue is not Venue.UPBIT or was_burnt:
            return
        if given is None:
            self.simulated.burnt_ids.discard(client_id)
        else:
            self.simulated.burnt_ids.add(client_id)
            batch.facts.append(IdentifierBurnt(client_id))

    def _run_countdowns(self, batch: Batch) -> None:
        now = self.clock.now()
        for id_ in [id_ for id_, deadline in self._countdowns.items() if deadline <= now]:
            del self._countdowns[id_]
            for working in [
                known.order for known in self.blotter.working.values() if known.order.order.instrument_id == id_
            ]:
                self.blotter.withdraw(working, batch)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _commit(self, batch: Batch) -> None:
        """Write, then tell."""
        if self._diary is not None and batch.facts:
            try:
                self._diary.append(batch.facts)
            except DiaryFailed as failure:
                self._failure = failure
                raise
        for event_at in batch.news:
            self._tell_news(event_at)
        self._audience.tell(batch.told(), batch.at)

    def _tell_news(self, event_at: EventAt) -> None:
        """What the private stream of the port tells; here nobody listens to one."""
