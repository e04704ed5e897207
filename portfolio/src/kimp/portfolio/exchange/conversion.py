"""Turns what clients ask for into the limit orders that are matched: which bound a market order gets, and how big it is."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from kimp.portfolio.exchange import codes
from kimp.portfolio.exchange.tickets import OrderKind, Ticket
from kimp.research.simulation.venue import SimulatedVenue
from kimp.shared.domain.books import INFINITY, Level
from kimp.shared.domain.instruments import Instrument, Side, Venue
from kimp.shared.domain.ledger import SETTLEMENT_STEP
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.orders import CLIENT_ID_LENGTH_MAX, ClientId, Order, Rejected, TimeInForce

DIGITS_MAX = 15
"""Prices, sizes and amounts end below 10^16: beyond it sums would no longer be exact in 28 digits."""

_AT_ONCE = (TimeInForce.IOC, TimeInForce.FOK)


@dataclass(frozen=True, slots=True)
class Convertible:
    """An order ready to be matched; ``funds`` is what a purchase by amount may spend (quote asset)."""

    order: Order
    funds: Decimal | None = None


def convert(ticket: Ticket, client_id: ClientId, simulated: SimulatedVenue) -> Convertible | Rejected:
    """The limit order a ticket amounts to at the book of this moment, or why the venue would not have it.

    An order without a limit gets the worst price it needs for its size; what the book does not hold stays unfilled.
    """
    instrument = simulated.instruments.get(ticket.instrument_id)
    if instrument is None:
        return Rejected(codes.INVALID_SYMBOL, f"{ticket.instrument_id} is not traded here")
    if not 0 < len(client_id) <= CLIENT_ID_LENGTH_MAX:
        return Rejected(codes.INVALID_CLIENT_ID, f"a client id has 1 to {CLIENT_ID_LENGTH_MAX} characters")
    if refusal := _shape_refusal(ticket, simulated.venue):
        return refusal
    if ticket.kind is OrderKind.LIMIT:
        assert ticket.quantity is not None
        assert ticket.price is not None
        return Convertible(_order(ticket, client_id, ticket.quantity, ticket.price, ticket.time_in_force))
    if not simulated.is_available:
        return Rejected(codes.MAINTENANCE, f"{simulated.venue.value} is in maintenance")
    if not _has_market(simulated, instrument):
        return Rejected(codes.NO_MARKET, f"{instrument.id} has no book")
    if ticket.funds is not None:
        return _by_funds(ticket, client_id, simulated, instrument, ticket.funds)
    return _by_quantity(ticket, client_id, simulated, instrument)


def _shape_refusal(ticket: Ticket, venue: Venue) -> Rejected | None:
    """Whether kind, quantity, price and funds go together: https://docs.upbit.com/kr/reference/new-order and
    https://developers.binance.com/docs/derivatives/usds-margined-futures/trade/rest-api/New-Order.
    """
    has_quantity, has_price, has_funds = (part is not None for part in (ticket.quantity, ticket.price, ticket.funds))
    is_upbit, is_buy = venue is Venue.UPBIT, ticket.side is Side.BUY
    match ticket.kind:
        case OrderKind.LIMIT:
            fits = has_quantity and has_price and not has_funds
        case OrderKind.MARKET:
            fits = has_quantity and not has_price and not has_funds and not (is_upbit and is_buy)
        case OrderKind.PRICE:
            fits = is_upbit and is_buy and has_funds and not has_quantity and not has_price
        case OrderKind.BEST:
            fits = is_upbit and has_funds == is_buy and has_quantity != is_buy and not has_price
            fits = fits and ticket.time_in_force in _AT_ONCE
    parts = [part for part in (ticket.quantity, ticket.price, ticket.funds) if part is not None]
    if not fits or not all(map(_is_sane, parts)) or _is_splinter(ticket.funds):
        return Rejected(codes.INVALID_PARAMETER, f"{venue.value} has no such {ticket.kind.value} {ticket.side.value}")
    return None


def _is_splinter(funds: Decimal | None) -> bool:
    return funds is not None and funds % SETTLEMENT_STEP != ZERO


def _is_sane(number: Decimal) -> bool:
    return number.is_finite() and number.adjusted() <= DIGITS_MAX


def _by_quantity(
    ticket: Ticket, client_id: ClientId, simulated: SimulatedVenue, instrument: Instrument
) -> Convertible | Rejected:
    assert ticket.quantity is not None
    if ticket.quantity <= ZERO or ticket.quantity % instrument.rules.lot != ZERO:
        return Rejected(codes.INVALID_LOT, f"{ticket.quantity} is not a multiple of {instrument.rules.lot}")
    offers = _offered(simulated, instrument, ticket.side, ticket.quantity)
    if ticket.kind is OrderKind.BEST:
        offers = offers[:1]
    limit = _bound(simulated, instrument, ticket.side, offers)
    return Convertible(_order(ticket, client_id, ticket.quantity, limit, _wait(ticket)))


def _by_funds(
    ticket: Ticket, client_id: ClientId, simulated: SimulatedVenue, instrument: Instrument, funds: Decimal
) -> Convertible | Rejected:
    """As many coins as the amount pays for, walking down the book, floored to the lot; the rest of it is left over."""
    if funds <= ZERO or funds < instrument.rules.minimum_notional:
        return Rejected(codes.BELOW_MINIMUM, f"{funds} {instrument.quote} is below the minimum")
    offers = _offered(simulated, instrument, ticket.side, None)
    if ticket.kind is OrderKind.BEST:
        offers = offers[:1]
    used: list[Level] = []
    quantity, left = ZERO, funds
    for level in offers:
        size = min(level.size, _coins(instrument, left, level.price))
        if size > ZERO:
            used.append(level)
            quantity += size
            left -= size * level.price
        if size < level.size:
            break
    limit = _bound(simulated, instrument, ticket.side, used)
    if ticket.kind is OrderKind.BEST or not used:
        # What the best level does not hold stays unfilled (and makes a ``fok`` order fail): it was asked for.
        quantity = _coins(instrument, funds, limit)
    return Convertible(_order(ticket, client_id, quantity, limit, _wait(ticket)), funds)


def _coins(instrument: Instrument, money: Decimal, price: Decimal) -> Decimal:
    """How many whole lots the money pays for; exact, where a quotient of 28 digits may be rounded up."""
    lot = instrument.rules.lot
    return money // (price * lot) * lot


def _offered(simulated: SimulatedVenue, instrument: Instrument, side: Side, quantity: Decimal | None) -> list[Level]:
    limit = INFINITY if side is Side.BUY else ZERO
    book = simulated.books[instrument.id]
    wanted = sum((level.size for level in book.eats(side)), ZERO) if quantity is None else quantity
    return simulated.offers(Order("", instrument.id, side, wanted, limit), wanted)


def _bound(simulated: SimulatedVenue, instrument: Instrument, side: Side, offers: list[Level]) -> Decimal:
    """The worst price that is needed, on the tick grid; where nothing is offered, a price that is good for the books."""
    if offers:
        price = offers[-1].price
    else:
        levels = simulated.books[instrument.id].eats(side)
        price = levels[0].price if levels else simulated.mark(instrument.id)
    return instrument.rules.bound(price, side.opposite)


def _has_market(simulated: SimulatedVenue, instrument: Instrument) -> bool:
    try:
        simulated.mark(instrument.id)
    except KeyError:
        return False
    return True


def _wait(ticket: Ticket) -> TimeInForce:
    return TimeInForce.FOK if ticket.time_in_force is TimeInForce.FOK else TimeInForce.IOC


def _order(ticket: Ticket, client_id: ClientId, quantity: Decimal, limit: Decimal, wait: TimeInForce) -> Order:
    return Order(client_id, ticket.instrument_id, ticket.side, quantity, limit, wait, ticket.reduce_only)
