"""A venue that exists only in memory, with the real venues' own rules: this is where orders of a backtest or storm land.

It knows nothing of the engine, keeps its own books, and is therefore the truth an oracle may ask.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from kimp.research.simulation.margin import Contract, MarginRules
from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.funding import FundingPayment
from kimp.shared.domain.instruments import Instrument, InstrumentId, Kind, Side, Venue
from kimp.shared.domain.money import ONE, ZERO, Amount
from kimp.shared.domain.orders import (
    Accepted,
    ClientId,
    Fill,
    Order,
    OrderReport,
    OrderStatus,
    Outcome,
    Rejected,
    TimeInForce,
)
from kimp.shared.domain.time import Nanos


@dataclass(slots=True)
class VenueOrder:
    """An order as the venue keeps it."""

    order: Order
    venue_order_id: str
    fills: list[Fill] = field(default_factory=list)
    is_done: bool = False

    @property
    def executed(self) -> Decimal:
        """Base coins filled so far."""
        return sum((fill.quantity for fill in self.fills), ZERO)

    @property
    def left(self) -> Decimal:
        """Base coins still wanted."""
        return self.order.quantity - self.executed


class SimulatedVenue:
    """Matches orders against the books it is shown: price-time of its own orders, partial fills, fees, locks, margin.

    Its own fills use up the shown depth until the next book, so that two orders cannot both take the same coins.
    Upbit burns a client id for ever; Binance keeps one unique only among open orders, so a blind resend fills twice.
    """

    def __init__(
        self,
        venue: Venue,
        instruments: Iterable[Instrument],
        balances: dict[str, Decimal],
        margin: MarginRules | None = None,
    ) -> None:
        self.venue = venue
        self.instruments = {instrument.id: instrument for instrument in instruments}
        self.balances: dict[str, Decimal] = dict(balances)
        self.contracts = {id_: Contract() for id_, leg in self.instruments.items() if leg.kind is Kind.PERPETUAL}
        self.books: dict[InstrumentId, Book] = {}
        self.history: list[VenueOrder] = []
        self.is_available = True
        self._margin = margin or MarginRules()
        self._by_client: dict[ClientId, VenueOrder] = {}
        self._used_ids: set[ClientId] = set()
        self._resting: list[VenueOrder] = []
        self._taken: dict[tuple[InstrumentId, Side, Decimal], Decimal] = {}
        self._trades = 0

    # -- the market moves ------------------------------------------------------------------------------------------

    def see(self, books: Iterable[Book], at: Nanos) -> list[Fill]:
        """Show new books; answers the fills they cause: resting orders met, and liquidations."""
        for book in books:
            if book.instrument_id in self.instruments:
                self.books[book.instrument_id] = book
        if self._taken:
            self._taken.clear()
        fills: list[Fill] = []
        if self._resting:
            for resting in self._resting:
                fills += self._match(resting, at)
                resting.is_done = resting.left == ZERO
            self._resting = [resting for resting in self._resting if not resting.is_done]
        for instrument_id, contract in self.contracts.items():
            if contract.quantity:
                fills += self._liquidate(self.instruments[instrument_id], contract, at)
        return fills

    # -- requests --------------------------------------------------------------------------------------------------

    def place(self, order: Order, at: Nanos) -> Outcome:
        """Take an order, or say by the venue's own rules why not. What it filled is told by ``query``."""
        if refusal := self._refusal(order):
            return refusal
        self._used_ids.add(order.client_id)
        placed = VenueOrder(order, f"{self.venue.value}-{len(self.history) + 1}")
        self._by_client[order.client_id] = placed
        self.history.append(placed)
        if order.time_in_force is TimeInForce.FOK and not self._fills_whole(order):
            placed.is_done = True
        elif order.time_in_force is not TimeInForce.POST_ONLY:
            self._match(placed, at)
        if order.time_in_force in (TimeInForce.IOC, TimeInForce.FOK) or placed.left == ZERO:
            placed.is_done = True
        else:
            self._resting.append(placed)
        return Accepted(placed.venue_order_id)

    def cancel(self, client_id: ClientId) -> Outcome:
        """Cancel what is left of an order; cancelling one that is over changes nothing."""
        known = self._by_client.get(client_id)
        if known is None:
            return Rejected("order_not_found", f"{client_id} is not known here")
        known.is_done = True
        self._resting = [resting for resting in self._resting if resting is not known]
        return Accepted(known.venue_order_id)

    def query(self, client_id: ClientId) -> OrderReport:
        """The venue's word on an order, with every fill."""
        known = self._by_client.get(client_id)
        if known is None:
            return OrderReport(client_id, OrderStatus.ABSENT, ZERO)
        status = OrderStatus.DONE if known.is_done else OrderStatus.WORKING
        return OrderReport(client_id, status, known.executed, tuple(known.fills))

    def settle_funding(self, instrument_id: InstrumentId, rate: Decimal, at: Nanos) -> FundingPayment | None:
        """Settle funding on an open contract at the book's mid: a positive rate takes from longs and gives to shorts."""
        contract, book = self.contracts[instrument_id], self.books.get(instrument_id)
        if contract.quantity == ZERO or book is None:
            return None
        instrument = self.instruments[instrument_id]
        amount = -contract.quantity * book.mid() * rate
        self.balances[instrument.quote] = self.balances.get(instrument.quote, ZERO) + amount
        return FundingPayment(f"{instrument.symbol}:{at}", instrument_id, Amount(amount, instrument.quote), at)

    def move_funds(self, amount: Amount) -> None:
        """The owner's money comes in (positive) or goes out."""
        self.balances[amount.asset] = self.balances.get(amount.asset, ZERO) + amount.value

    # -- holdings: the truth ---------------------------------------------------------------------------------------

    def locked(self, asset: str) -> Decimal:
        """How much of an asset resting orders hold back (their worst price and fee included)."""
        total = ZERO
        for resting in self._resting:
            instrument = self.instruments[resting.order.instrument_id]
            total += self._lock(instrument, resting.order, resting.left, asset)
        return total

    def free(self, asset: str) -> Decimal:
        """How much of an asset a new order may use: for margin that is after unrealised losses."""
        free = self.balances.get(asset, ZERO) - self.locked(asset)
        for instrument_id, contract in self.contracts.items():
            if self.instruments[instrument_id].quote == asset and contract.quantity:
                free += self._margin.equity_change(contract, self.books[instrument_id].mid())
        return free

    # -- rules -----------------------------------------------------------------------------------------------------

    def _refusal(self, order: Order) -> Rejected | None:
        instrument = self.instruments.get(order.instrument_id)
        if instrument is None:
            return Rejected("invalid_symbol", f"{order.instrument_id} is not traded here")
        if not self.is_available:
            return Rejected("maintenance", f"{self.venue.value} is in maintenance")
        if order.instrument_id not in self.books:
            return Rejected("no_market", f"{order.instrument_id} has no book")
        if self._is_used(order.client_id):
            return Rejected("duplicate_client_id", f"{order.client_id} was used before")
        rules = instrument.rules
        if order.limit % rules.tick_at(order.limit) != ZERO:
            return Rejected("invalid_price", f"{order.limit} is not on the tick grid")
        if order.quantity <= ZERO or order.quantity % rules.lot != ZERO:
            return Rejected("invalid_lot", f"{order.quantity} is not a multiple of {rules.lot}")
        if not order.reduce_only and not rules.permits(order.quantity, order.limit):
            return Rejected("below_minimum", f"{order.quantity} at {order.limit} is below the minimum")
        return self._means_refusal(instrument, order)

    def _is_used(self, client_id: ClientId) -> bool:
        if self.venue is Venue.UPBIT:
            return client_id in self._used_ids
        known = self._by_client.get(client_id)
        return known is not None and not known.is_done

    def _means_refusal(self, instrument: Instrument, order: Order) -> Rejected | None:
        if instrument.kind is Kind.PERPETUAL:
            contract = self.contracts[instrument.id]
            is_reducing = contract.quantity * order.side.sign < ZERO
            if order.reduce_only:
                fits = is_reducing and order.quantity <= abs(contract.quantity)
                return None if fits else Rejected("-2022", "ReduceOnly Order is rejected.")
            if is_reducing and order.quantity <= abs(contract.quantity):
                return None
            asset = instrument.quote
        else:
            asset = instrument.quote if order.side is Side.BUY else instrument.base
        needed = self._lock(instrument, order, order.quantity, asset)
        if needed > self.free(asset):
            return Rejected(
                "insufficient_funds", f"{order.client_id} needs {needed:f} {asset}, {self.free(asset):f} is free"
            )
        return None

    def _lock(self, instrument: Instrument, order: Order, quantity: Decimal, asset: str) -> Decimal:
        if order.reduce_only:
            return ZERO
        if instrument.kind is Kind.PERPETUAL:
            is_ours = asset == instrument.quote
            return quantity * order.limit * (ONE / self._margin.leverage + instrument.fee_rate) if is_ours else ZERO
        if order.side is Side.BUY:
            return quantity * order.limit * (ONE + instrument.fee_rate) if asset == instrument.quote else ZERO
        return quantity if asset == instrument.base else ZERO

    # -- matching --------------------------------------------------------------------------------------------------

    def _fills_whole(self, order: Order) -> bool:
        return sum((level.size for level in self._offers(order, order.quantity)), ZERO) == order.quantity

    def _offers(self, order: Order, quantity: Decimal) -> list[Level]:
        """What the book still offers this order: shown depth less what our own orders already took."""
        book, side = self.books[order.instrument_id], order.side
        offers, left = [], quantity
        for level in book.eats(side):
            if left <= ZERO or (level.price > order.limit if side is Side.BUY else level.price < order.limit):
                break
            lot = self.instruments[order.instrument_id].rules.lot
            size = level.size - self._taken.get((book.instrument_id, side, level.price), ZERO)
            size = min(left, size) // lot * lot
            if size > ZERO:
                offers.append(Level(level.price, size))
                left -= size
        return offers

    def _match(self, placed: VenueOrder, at: Nanos) -> list[Fill]:
        fills = []
        for offer in self._offers(placed.order, placed.left):
            key = (placed.order.instrument_id, placed.order.side, offer.price)
            self._taken[key] = self._taken.get(key, ZERO) + offer.size
            fills.append(self._trade(placed.order, offer, at))
        placed.fills += fills
        return fills

    def _trade(self, order: Order, offer: Level, at: Nanos, fee_rate: Decimal | None = None) -> Fill:
        instrument = self.instruments[order.instrument_id]
        rate = instrument.fee_rate if fee_rate is None else fee_rate
        fee = Amount(offer.price * offer.size * rate, instrument.quote)
        self._trades += 1
        fill = Fill(f"{self._trades}", order.client_id, instrument.id, order.side, offer.size, offer.price, fee, at)
        self._book(instrument, fill)
        return fill

    def _book(self, instrument: Instrument, fill: Fill) -> None:
        signed = fill.quantity * fill.side.sign
        cash = -signed * fill.price
        if instrument.kind is Kind.SPOT:
            self.balances[instrument.base] = self.balances.get(instrument.base, ZERO) + signed
        else:
            cash = self.contracts[instrument.id].trade(signed, cash)
        self.balances[instrument.quote] = self.balances.get(instrument.quote, ZERO) + cash - fill.fee.value

    def _liquidate(self, instrument: Instrument, contract: Contract, at: Nanos) -> list[Fill]:
        book = self.books[instrument.id]
        wallet = self.balances.get(instrument.quote, ZERO)
        if not self._margin.is_liquidated(contract, wallet, book.mid()):
            return []
        side = Side.SELL if contract.quantity > ZERO else Side.BUY
        order = Order(f"autoclose-{at}", instrument.id, side, abs(contract.quantity), book.touch(side))
        offer = Level(book.touch(side), abs(contract.quantity))
        return [self._trade(order, offer, at, self._margin.liquidation_fee)]
