"""What each pair really did, from the venues' trades and income alone: coins, contracts, money, time unhedged."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from kimp.shared.domain.instruments import Kind
from kimp.shared.domain.money import ONE, ZERO
from kimp.shared.domain.orders import Fill
from kimp.shared.domain.positions import Action, Purpose
from kimp.shared.domain.time import Nanos
from kimp.shared.messages.records import FillBooked, FundingBooked

if TYPE_CHECKING:
    from kimp.research.chaos.oracle import Case

UNCLAIMED = "unclaimed"
"""Trades that neither an intent nor the books explain."""


@dataclass(slots=True)
class PairMoney:
    """One pair by the venues' books. ``net`` is in KRW, contracts' cash at the rate the last exit was decided at."""

    signal_id: str
    coins: Decimal = ZERO
    contracts: Decimal = ZERO
    won: Decimal = ZERO
    dollars: Decimal = ZERO
    costs: Decimal = ZERO
    turnover: Decimal = ZERO
    krw_rate: Decimal = ONE
    last_price: Decimal = ZERO
    decided_at: Nanos = 0
    is_labelled: bool = False

    @property
    def net(self) -> Decimal:
        """What the pair earned, a remainder of coins counted at its last price."""
        return self.won + self.dollars * self.krw_rate - self.costs + self.coins * self.last_price


def pairs_of(case: Case) -> list[PairMoney]:
    """Every pair that ever traded, by the signal that began it."""
    pairs: dict[str, PairMoney] = {}
    booked = {(r.fill.instrument_id, r.fill.trade_id): r for r in case.world.records if isinstance(r, FillBooked)}
    for fill in case.trades:
        intent, known = case.intents.get(fill.client_id), booked.get((fill.instrument_id, fill.trade_id))
        signal_id = intent.signal_id if intent else known.signal_id if known else UNCLAIMED
        money = pairs.setdefault(signal_id, PairMoney(signal_id))
        _take(case, money, fill)
        money.is_labelled |= intent is None or intent.purpose in (Purpose.REPAIR, Purpose.OVERRIDE)
    for plan in case.plans:
        left = pairs.get(case.pair_of.get(plan.signal_id, UNCLAIMED))
        if plan.action is Action.EXIT and left is not None:
            left.decided_at = plan.decided_at
            left.krw_rate = rate_at(case.rates, plan.decided_at)
    _take_funding(case, pairs)
    return list(pairs.values())


def _take(case: Case, money: PairMoney, fill: Fill) -> None:
    signed = fill.quantity * fill.side.sign
    cash, rate = -signed * fill.price, rate_at(case.rates, fill.at)
    if case.pair.instrument(fill.instrument_id).kind is Kind.SPOT:
        money.coins += signed
        money.won += cash
        money.costs += fill.fee.value
        money.turnover += abs(cash)
        money.last_price = fill.price
    else:
        money.contracts += signed
        money.dollars += cash
        money.costs += fill.fee.value * rate
        money.turnover += abs(cash) * rate


def _take_funding(case: Case, pairs: dict[str, PairMoney]) -> None:
    """Funding counts for a pair as far as it was known when its last exit was decided; the venue's amounts count."""
    paid = {payment.payment_id: payment for venue in case.world.venues.values() for payment in venue.income}
    for record in case.world.records:
        if isinstance(record, FundingBooked) and record.signal_id in pairs:
            payment, money = paid[record.payment.payment_id], pairs[record.signal_id]
            if record.at <= money.decided_at:
                money.costs -= payment.amount.value * rate_at(case.rates, payment.at)


def rate_at(rates: list[tuple[Nanos, Decimal]], at: Nanos) -> Decimal:
    """The true KRW per USDT at a moment: the last one quoted by then."""
    return rates[max(0, bisect_right(rates, at, key=lambda quoted: quoted[0]) - 1)][1]


def naked_times(case: Case) -> list[Nanos]:
    """How long each stretch lasted in which the venues' books differed by a lot or more (nanoseconds)."""
    spans, exposure, since = [], ZERO, None
    for fill in case.trades:
        exposure += fill.quantity * fill.side.sign
        if abs(exposure) >= case.pair.lot:
            since = fill.at if since is None else since
        elif since is not None:
            spans.append(fill.at - since)
            since = None
    if since is not None:
        spans.append(case.world.now - since)
    return spans
