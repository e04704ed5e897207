"""A venue that exists only in memory, with the real venues' own rules: this is where orders of a backtest or storm land.

It knows nothing of the engine, keeps its own books, and is therefore the truth an oracle may ask.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from kimp.research.simulation.admission import (
    NOT_A_MAKER,
    form_refusal,
    margin_needed,
    opening_part,
    reduce_only_refusal,
    spot_needed,
)
from kimp.research.simulation.margin import Contract, MarginRules
from kimp.research.simulation.venue_order import VenueOrder
from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.funding import FundingPayment
from kimp.shared.domain.instruments import Instrument, InstrumentId, Kind, Side, Venue
from kimp.shared.domain.ledger import settlement
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


class SimulatedVenue:
    """Matches orders against the books it is shown: price-time of its own orders, partial fills, fees, locks, margin.

    Its own fills use up the shown depth until the instrument's next book, so that two orders cannot both take the same
    coins. Upbit burns a client id for ever, even by an error; Binance keeps one unique only among open orders, so a
    blind resend fills twice. ``history`` holds every order taken, ``trades`` every fill, ``income`` every funding.
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
        self.trades: list[Fill] = []
        self.income: list[FundingPayment] = []
        self.resting: list[VenueOrder] = []
        self.burnt_ids: set[ClientId] = set()
        self.is_available = True
        self.margins = dict.fromkeys(self.contracts, margin or MarginRules())
        self._by_client: dict[ClientId, VenueOrder] = {}
        self._taken: dict[tuple[InstrumentId, Side, Decimal], Decimal] = {}
        self._marked: dict[InstrumentId, Book] = {}
        self._edges: dict[InstrumentId, tuple[Decimal, Decimal, Decimal]] = {}

    # -- the market moves ------------------------------------------------------------------------------------------

    def see(self, books: Sequence[Book], at: Nanos) -> list[Fill]:
        """Show new books; answers the fills they cause, liquidations too. Nothing trades in maintenance."""
        return [fill for book in books if book.instrument_id in self.instruments for fill in self.show(book, at)]

    def show(self, book: Book, at: Nanos) -> Sequence[Fill]:
        """Show one new book of an instrument traded here; a backtest does so at every quote."""
        instrument_id = book.instrument_id
        if not (book.bids and book.asks):
            self._remember_mark(instrument_id)
        self.books[instrument_id] = book
        if self._taken:
            self._taken = {key: size for key, size in self._taken.items() if key[0] != instrument_id}
        if not self.is_available:
            return ()
        fills = self._meet_resting(at) if self.resting else []
        contract = self.contracts.get(instrument_id)
        if contract is not None and contract.quantity and self._is_endangered(instrument_id, contract):
            fills += self._liquidate(instrument_id, contract, at)
        return fills

    # -- requests --------------------------------------------------------------------------------------------------

    def place(self, order: Order, at: Nanos, funds: Decimal | None = None) -> Outcome:
        """Take an order, or say by the venue's own rules why not. What it filled is told by ``query``.

        ``funds`` is what a purchase for an amount is given (quote asset): that is checked instead of size times limit.
        """
        refusal = self._refusal(order, funds)
        if self.venue is Venue.UPBIT:
            self.burnt_ids.add(order.client_id)
        if refusal is not None:
            return refusal
        placed = VenueOrder(order, f"{self.venue.value}-{len(self.history) + 1}")
        if self._may_trade_now(order):
            self._match(placed, at)
        placed.is_done = placed.left == ZERO or self._ends_now(order)
        self.adopt(placed)
        return Accepted(placed.venue_order_id)

    def adopt(self, placed: VenueOrder) -> None:
        """Keep an order that was taken, now or before a restart, and let it rest unless it is over."""
        self._by_client[placed.order.client_id] = placed
        self.history.append(placed)
        if not placed.is_done:
            self.resting.append(placed)
            # Best price first; the sort is stable, so orders at one price keep their turn.
            self.resting.sort(key=lambda resting: resting.order.limit * -resting.order.side.sign)

    def cancel(self, client_id: ClientId) -> Outcome:
        """Cancel what is left of an order; cancelling one that is over changes nothing."""
        known = self._by_client.get(client_id)
        if known is None:
            return Rejected("order_not_found", f"{client_id} is not known here")
        known.is_done = True
        self.resting = [resting for resting in self.resting if resting is not known]
        return Accepted(known.venue_order_id)

    def query(self, client_id: ClientId) -> OrderReport:
        """The venue's word on an order, with every fill; of a client id used twice, on the latest."""
        known = self._by_client.get(client_id)
        if known is None:
            return OrderReport(client_id, OrderStatus.ABSENT, ZERO)
        status = OrderStatus.DONE if known.is_done else OrderStatus.WORKING
        return OrderReport(client_id, status, known.executed, tuple(known.fills))

    def settle_funding(self, instrument_id: InstrumentId, rate: Decimal, at: Nanos) -> FundingPayment | None:
        """Settle funding on an open contract at the book's mid: a positive rate takes from longs and gives to shorts."""
        contract = self.contracts[instrument_id]
        if contract.quantity == ZERO:
            return None
        instrument = self.instruments[instrument_id]
        # Binance's income records have eight decimals; more digits would be cut differently in different sums.
        amount = settlement(-contract.quantity * self.mark(instrument_id) * rate)
        payment = FundingPayment(f"{instrument.symbol}:{at}", instrument_id, Amount(amount, instrument.quote), at)
        self.receive(payment)
        return payment

    def receive(self, payment: FundingPayment) -> None:
        """Book a settlement, new or from before a restart."""
        self.move_funds(payment.amount)
        self.income.append(payment)

    def move_funds(self, amount: Amount) -> None:
        """The owner's money comes in (positive) or goes out."""
        self.balances[amount.asset] = self.balances.get(amount.asset, ZERO) + amount.value

    # -- holdings: the truth ---------------------------------------------------------------------------------------

    def mark(self, instrument_id: InstrumentId) -> Decimal:
        """The price positions are valued at: the mid of the last book with two sides.

        Raises:
            KeyError: no such book was ever shown.
        """
        return self._two_sided(instrument_id).mid()

    def _is_marked(self, instrument_id: InstrumentId) -> bool:
        book = self.books.get(instrument_id)
        return book is not None and (bool(book.bids and book.asks) or instrument_id in self._marked)

    def _remember_mark(self, instrument_id: InstrumentId) -> None:
        if (known := self.books.get(instrument_id)) and known.bids and known.asks:
            self._marked[instrument_id] = known

    def _two_sided(self, instrument_id: InstrumentId) -> Book:
        book = self.books[instrument_id]
        return book if book.bids and book.asks else self._marked[instrument_id]

    def locked(self, asset: str) -> Decimal:
        """How much of an asset resting orders hold back (their worst price and fee included)."""
        return sum((self._needed(resting.order, resting.left, asset) for resting in self.resting), ZERO)

    def free(self, asset: str) -> Decimal:
        """How much of an asset a new order may use: for margin that is after unrealised profit and loss."""
        free = self.balances.get(asset, ZERO) - self.locked(asset)
        for instrument_id, contract in self.contracts.items():
            if self.instruments[instrument_id].quote == asset and contract.quantity:
                free += self.margins[instrument_id].equity_change(contract, self.mark(instrument_id))
        return free

    # -- rules -----------------------------------------------------------------------------------------------------

    def _refusal(self, order: Order, funds: Decimal | None) -> Rejected | None:
        instrument = self.instruments.get(order.instrument_id)
        if instrument is None:
            return Rejected("invalid_symbol", f"{order.instrument_id} is not traded here")
        if not self.is_available:
            return Rejected("maintenance", f"{self.venue.value} is in maintenance")
        if not self._is_marked(order.instrument_id):
            return Rejected("no_market", f"{order.instrument_id} has no book")
        if self._is_used(order.client_id):
            return Rejected("duplicate_client_id", f"{order.client_id} was used before")
        return form_refusal(instrument, order, funds) or self._means_refusal(instrument, order, funds)

    def _is_used(self, client_id: ClientId) -> bool:
        if self.venue is Venue.UPBIT:
            return client_id in self.burnt_ids
        known = self._by_client.get(client_id)
        return known is not None and not known.is_done

    def _means_refusal(self, instrument: Instrument, order: Order, funds: Decimal | None) -> Rejected | None:
        if order.reduce_only and (refusal := reduce_only_refusal(self.contracts[instrument.id], order)):
            return refusal
        is_maker_only = order.time_in_force is TimeInForce.POST_ONLY and self.venue is not Venue.UPBIT
        if is_maker_only and self.offers(order, order.quantity):
            return NOT_A_MAKER
        asset = instrument.base if instrument.kind is Kind.SPOT and order.side is Side.SELL else instrument.quote
        needed = self._needed(order, order.quantity, asset) if funds is None else funds * (ONE + instrument.fee_rate)
        free = self.free(asset)
        if ZERO < needed > free:
            return Rejected("insufficient_funds", f"{order.client_id} needs {needed:f} {asset}, {free:f} is free")
        return None

    def _needed(self, order: Order, quantity: Decimal, asset: str) -> Decimal:
        instrument = self.instruments[order.instrument_id]
        if instrument.kind is Kind.SPOT:
            return spot_needed(instrument, order, quantity).get(asset, ZERO)
        if order.reduce_only or asset != instrument.quote:
            return ZERO
        book = self._two_sided(order.instrument_id)
        opening = opening_part(self.contracts[instrument.id], order, quantity)
        margin = self.margins[instrument.id]
        return margin_needed(instrument, order, opening, book.touch(order.side), book.mid(), margin)

    # -- matching --------------------------------------------------------------------------------------------------

    def _may_trade_now(self, order: Order) -> bool:
        if order.time_in_force is TimeInForce.FOK:
            return sum((level.size for level in self.offers(order, order.quantity)), ZERO) == order.quantity
        return order.time_in_force is not TimeInForce.POST_ONLY

    def _ends_now(self, order: Order) -> bool:
        if order.time_in_force is TimeInForce.POST_ONLY:
            return bool(self.offers(order, order.quantity))
        return order.time_in_force is not TimeInForce.GTC

    def offers(self, order: Order, quantity: Decimal) -> list[Level]:
        """What the book still offers this order: shown depth less what our own orders already took."""
        book, side = self.books[order.instrument_id], order.side
        lot = self.instruments[order.instrument_id].rules.lot
        offers, left = [], quantity
        for level in book.eats(side):
            if left <= ZERO or (level.price > order.limit if side is Side.BUY else level.price < order.limit):
                break
            size = level.size - self._taken.get((book.instrument_id, side, level.price), ZERO)
            size = min(left, size) // lot * lot
            if size > ZERO:
                offers.append(Level(level.price, size))
                left -= size
        return offers

    def _meet_resting(self, at: Nanos) -> list[Fill]:
        """Resting orders the market has come to trade at their own limit: they were there first."""
        fills: list[Fill] = []
        for resting in self.resting:
            order = resting.order
            if order.instrument_id not in self.books:
                continue  # it rests since before a restart, and its market has not been seen since
            if order.reduce_only and reduce_only_refusal(self.contracts[order.instrument_id], order):
                # Binance expires a reduce-only order once there is less left to reduce than it wants.
                resting.is_done = True
                continue
            fills += self._match(resting, at, order.limit)
            resting.is_done = resting.left == ZERO
        self.resting = [resting for resting in self.resting if not resting.is_done]
        return fills

    def _match(self, placed: VenueOrder, at: Nanos, price: Decimal | None = None) -> list[Fill]:
        fills = []
        for offer in self.offers(placed.order, placed.left):
            key = (placed.order.instrument_id, placed.order.side, offer.price)
            self._taken[key] = self._taken.get(key, ZERO) + offer.size
            fills.append(self._trade(placed.order, offer.price if price is None else price, offer.size, at))
        placed.fills += fills
        return fills

    def _trade(self, order: Order, price: Decimal, size: Decimal, at: Nanos, fee: Decimal | None = None) -> Fill:
        """Book one trade. Fees have eight decimals, as in the venues' own trade lists."""
        instrument = self.instruments[order.instrument_id]
        if fee is None:
            fee = settlement(price * size * instrument.fee_rate)
        trade_id = f"{len(self.trades) + 1}"
        fill = Fill(
            trade_id, order.client_id, instrument.id, order.side, size, price, Amount(fee, instrument.quote), at
        )
        self.book(fill)
        return fill

    def book(self, fill: Fill) -> None:
        """Book a trade, new or from before a restart, into balances and contracts."""
        self.trades.append(fill)
        instrument = self.instruments[fill.instrument_id]
        signed = fill.quantity * fill.side.sign
        cash = -signed * fill.price
        if instrument.kind is Kind.SPOT:
            self.balances[instrument.base] = self.balances.get(instrument.base, ZERO) + signed
        else:
            cash = self.contracts[instrument.id].trade(signed, cash)
        self.balances[instrument.quote] = self.balances.get(instrument.quote, ZERO) + cash - fill.fee.value

    # -- liquidation -----------------------------------------------------------------------------------------------

    def behind(self, instrument_id: InstrumentId) -> Decimal:
        """The wallet that stands behind a contract: other contracts' profit or loss and maintenance count in it."""
        wallet = self.balances.get(self.instruments[instrument_id].quote, ZERO)
        if len(self.contracts) == 1:
            return wallet  # a backtest's, which asks at every quote
        others = [id_ for id_, held in self.contracts.items() if held.quantity and id_ != instrument_id]
        marked = [id_ for id_ in others if self._is_marked(id_)]
        return sum((self.margins[id_].cushion(self.contracts[id_], self.mark(id_)) for id_ in marked), wallet)

    def _is_endangered(self, instrument_id: InstrumentId, contract: Contract) -> bool:
        """Whether a touch has come to the price of liquidation, which moves only with wallet and contract."""
        wallet = self.behind(instrument_id)
        known = self._edges.get(instrument_id)
        if known is None or known[0] is not wallet or known[1] is not contract.cash:
            edge = self.margins[instrument_id].edge(contract, wallet)
            known = self._edges[instrument_id] = (wallet, contract.cash, edge)
        book = self.books[instrument_id]
        if not (book.bids and book.asks):
            return True
        return book.asks[0].price >= known[2] if contract.quantity < ZERO else book.bids[0].price <= known[2]

    def _liquidate(self, instrument_id: InstrumentId, contract: Contract, at: Nanos) -> list[Fill]:
        """Take a position away that its wallet no longer carries, after cancelling what rests on it."""
        instrument, book = self.instruments[instrument_id], self._two_sided(instrument_id)
        wallet = self.behind(instrument_id)
        margin = self.margins[instrument_id]
        if not margin.is_liquidated(contract, wallet, book.mid()):
            return []
        for resting in [resting for resting in self.resting if resting.order.instrument_id == instrument_id]:
            self.cancel(resting.order.client_id)
        side, quantity = Side.SELL if contract.quantity > ZERO else Side.BUY, abs(contract.quantity)
        touch = book.touch(side)
        price, fee = margin.takeover(contract, wallet, touch, instrument.rules.tick_at(touch))
        order = Order(f"autoclose-{at}", instrument_id, side, quantity, price)
        return [self._trade(order, price, quantity, at, fee)]
