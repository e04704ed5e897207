"""The questions one look at a venue asks, in an order in which a later answer can only know more than an earlier one."""

from __future__ import annotations

from dataclasses import dataclass

from kimp.order.engine.state import EngineState
from kimp.order.runtime.reconciliation import SeenOrder
from kimp.shared.domain.accounts import Account
from kimp.shared.domain.funding import FundingPayment
from kimp.shared.domain.instruments import Instrument, InstrumentId
from kimp.shared.domain.orders import Accepted, ClientId, Fill, OrderReport, OrderStatus
from kimp.shared.domain.time import SECOND, Nanos
from kimp.shared.ports.clock import Clock
from kimp.shared.ports.exchange import Exchange

CLIENT_ID_PREFIX = "kimp-"
"""What every client id of ours begins with (``client_order_id``), whichever journal it was made from."""

ASK_AFTER: Nanos = 5 * SECOND
"""An order younger than this is the engine's own to ask about: "no such order" so early is only read lag."""

STRAYS_MAX = 100
"""How many orders that are not ours are listed per instrument; an owner trading by hand may have some."""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What to ask about, and since when."""

    instruments: tuple[Instrument, ...]
    fills_from: Nanos
    funding_from: Nanos
    state: EngineState
    may_cancel: bool


@dataclass(frozen=True, slots=True)
class Answers:
    """Everything a venue said in one look."""

    account: Account
    fills: tuple[Fill, ...]
    funding: tuple[FundingPayment, ...]
    orders: tuple[SeenOrder, ...]
    reports: tuple[OrderReport, ...]
    skew: Nanos | None


async def inquire(exchange: Exchange, inquiry: Inquiry, clock: Clock) -> Answers | str:
    """Ask everything; a text says what the venue did not answer.

    The account comes before the trades: a trade that is in the balances is then in the list as well.
    """
    account = await exchange.account()
    if account is None:
        return "account not readable"
    fills: list[Fill] = []
    for instrument in inquiry.instruments:
        answer = await exchange.fills_since(instrument.id, inquiry.fills_from)
        if answer is None:
            return f"fills of {instrument.id} not readable"
        fills += answer
    funding = await exchange.funding_since(inquiry.funding_from)
    if funding is None:
        return "funding not readable"
    orders, reports = await _unsettled(exchange, inquiry, clock.now())
    for instrument in inquiry.instruments:
        resting = await exchange.open_orders(instrument.id)
        if resting is None:
            return f"open orders of {instrument.id} not readable"
        more, words = await _resting(exchange, inquiry, instrument.id, resting)
        orders += more
        reports += words
    fills.sort(key=lambda fill: fill.at)
    return Answers(account, tuple(fills), funding, tuple(orders), tuple(reports), await exchange.clock_skew())


async def _unsettled(exchange: Exchange, inquiry: Inquiry, now: Nanos) -> tuple[list[SeenOrder], list[OrderReport]]:
    """The venue's word on every order whose end is not proven."""
    here = {instrument.id for instrument in inquiry.instruments}
    waiting = [inquiry.state.orders[client_id] for client_id in inquiry.state.unsettled]
    orders, reports = [], []
    for tracked in waiting:
        order = tracked.order
        if order.instrument_id not in here or now < tracked.intended_at + ASK_AFTER:
            continue
        report = await exchange.query(order.client_id, order.instrument_id)
        if report is not None:
            reports.append(report)
        status = None if report is None else report.status
        orders.append(SeenOrder(order.instrument_id, order.client_id, is_ours=True, is_settled=False, status=status))
    return orders, reports


async def _resting(
    exchange: Exchange, inquiry: Inquiry, instrument_id: InstrumentId, resting: tuple[ClientId, ...]
) -> tuple[list[SeenOrder], list[OrderReport]]:
    """Orders that rest although they should not; ours are cancelled, because none of ours is meant to rest."""
    state = inquiry.state
    orders, reports = [], []
    for client_id in resting[:STRAYS_MAX]:
        if client_id in state.unsettled:
            continue
        if client_id not in state.orders and not client_id.startswith(CLIENT_ID_PREFIX):
            working = OrderStatus.WORKING
            orders.append(SeenOrder(instrument_id, client_id, is_ours=False, is_settled=True, status=working))
            continue
        # It may have ended between the list and now: ask for it by itself before anything is said about it.
        report = await exchange.query(client_id, instrument_id)
        if client_id in state.unsettled:
            continue
        status = None if report is None else report.status
        is_cancelled = False
        if report is not None and status is OrderStatus.WORKING:
            if client_id in state.orders:
                reports.append(report)
            if inquiry.may_cancel:
                is_cancelled = isinstance(await exchange.cancel(client_id, instrument_id), Accepted)
        orders.append(SeenOrder(instrument_id, client_id, True, True, status, is_cancelled))
    return orders, reports
