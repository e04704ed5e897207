"""What a venue checks before it takes an order: symbol, tick, lot, minimum, reduce-only and means, in its own words."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from kimp.research.simulation.margin import Contract, MarginRules
from kimp.shared.domain.instruments import Instrument, Kind, Side
from kimp.shared.domain.money import ONE, ZERO
from kimp.shared.domain.orders import Order, Rejected

REDUCE_ONLY = Rejected("-2022", "ReduceOnly Order is rejected.")
"""Binance's answer to a reduce-only order that would open, add to or turn a position."""

NOT_A_MAKER = Rejected(
    "-5022", "Due to the order could not be executed as maker, the Post Only order will be rejected."
)
"""Binance refuses a post-only order that would trade at once; Upbit takes it and cancels it."""


def form_refusal(instrument: Instrument, order: Order, funds: Decimal | None = None) -> Rejected | None:
    """Whether price and quantity are written as the venue wants them. Reducing a position knows no minimum notional.

    A purchase for an amount must reach the minimum with that amount (``funds``), not with the coins it buys.
    """
    rules = instrument.rules
    if order.limit <= ZERO or order.limit % rules.tick_at(order.limit) != ZERO:
        return Rejected("invalid_price", f"{order.limit} is not on the tick grid")
    if order.quantity <= ZERO or order.quantity % rules.lot != ZERO:
        return Rejected("invalid_lot", f"{order.quantity} is not a multiple of {rules.lot}")
    if order.reduce_only and instrument.kind is Kind.SPOT:
        return Rejected("invalid_parameter", "a spot order cannot be reduce-only")
    if funds is not None and funds >= rules.minimum_notional:
        return None
    if not order.reduce_only and (funds is not None or not rules.permits(order.quantity, order.limit)):
        return Rejected("below_minimum", f"{order.quantity} at {order.limit} is below the minimum")
    return None


def reduce_only_refusal(contract: Contract, order: Order) -> Rejected | None:
    """Whether a reduce-only order really reduces, and by no more than there is."""
    is_reducing = contract.quantity * order.side.sign < ZERO
    return None if is_reducing and order.quantity <= abs(contract.quantity) else REDUCE_ONLY


def opening_part(contract: Contract, order: Order, quantity: Decimal) -> Decimal:
    """How much of an order would open or add to a position: only that needs margin."""
    reducible = max(ZERO, -contract.quantity * order.side.sign)
    return max(ZERO, quantity - reducible)


def margin_needed(
    instrument: Instrument, order: Order, quantity: Decimal, touch: Decimal, mark: Decimal, margin: MarginRules
) -> Decimal:
    """What Binance holds back for an opening order (quote asset): initial margin, fee and the loss it opens with.

    A sale is margined at the better of its limit and the best bid, because that is where it would trade.
    """
    price = max(order.limit, touch) if order.side is Side.SELL else order.limit
    open_loss = max(ZERO, (order.limit - mark) * order.side.sign)
    return quantity * (price / margin.leverage + price * instrument.fee_rate + open_loss)


def spot_needed(instrument: Instrument, order: Order, quantity: Decimal) -> Mapping[str, Decimal]:
    """What a spot order holds back: a purchase its worst price and fee, a sale its coins."""
    if order.side is Side.BUY:
        return {instrument.quote: quantity * order.limit * (ONE + instrument.fee_rate)}
    return {instrument.base: quantity}
