"""Judges a storm by the venues' own books, never by what the engine believes; the journal is read only for intentions.

With a belief-side oracle, an engine that takes an unknown order for a rejected one looks perfect: it believes itself
flat.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from kimp.order.engine.engine import TradingEngine
from kimp.research.chaos.commitments import overcommitments
from kimp.research.chaos.pairs import PairMoney, pairs_of
from kimp.research.simulation.world import World
from kimp.shared.domain.instruments import Pair, Venue
from kimp.shared.domain.ledger import wallet_of
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.orders import ClientId, Fill
from kimp.shared.domain.positions import Action, Plan, Purpose
from kimp.shared.domain.time import Nanos
from kimp.shared.messages.events import SwitchState
from kimp.shared.messages.records import OrderIntended, Phase, PlanMade, SwitchSet

DUST_PRICE_SLACK = Decimal(2)
"""Dust was below the minimum when it was left; the price may have halved or doubled since."""

ROUNDING = Decimal("0.00002")
"""Of a pair's turnover: fees are valued at the rate of their booking, a moment after that of the trade."""


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that did not hold, in which seed, and what was seen."""

    seed: int
    invariant: str
    what: str


@dataclass(frozen=True, slots=True)
class Case:
    """Everything the oracle may look at. ``rates`` are the true KRW per USDT by time, ``deposits`` what was paid in."""

    seed: int
    world: World
    pair: Pair
    leverage: Decimal
    capital_share: Decimal
    deposits: dict[tuple[Venue, str], Decimal]
    rates: list[tuple[Nanos, Decimal]]
    intents: dict[ClientId, OrderIntended] = field(default_factory=dict)
    plan_of: dict[ClientId, Plan] = field(default_factory=dict)
    plans: list[Plan] = field(default_factory=list)
    pair_of: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read the journal once: which order was meant for what, and which plan was about which pair."""
        current: dict[str, Plan] = {}
        for record in self.world.records:
            if isinstance(record, PlanMade):
                current[f"{record.plan.strategy}:{record.plan.symbol}"] = record.plan
                self.plans.append(record.plan)
            elif isinstance(record, OrderIntended):
                self.intents[record.order.client_id] = record
                self.plan_of[record.order.client_id] = current[record.slot]
                self.pair_of[current[record.slot].signal_id] = record.signal_id

    @property
    def trades(self) -> list[Fill]:
        """Every trade of both venues, in time order."""
        both = [fill for venue in self.world.venues.values() for fill in venue.trades]
        return sorted(both, key=lambda fill: fill.at)


def violations(case: Case) -> list[Violation]:
    """Everything that does not hold at the end of a storm that has had time to heal."""
    found = [("settled", what) for what in _unsettled(case)]
    found += [("conservation", what) for what in _unbalanced(case)]
    found += [("hedged", what) for what in _unhedged(case)]
    found += [("exactly_once", what) for what in _repeated(case)]
    found += [("one_attempt", what) for what in _forgotten(case)]
    found += [("stop", what) for what in _entered_after_stop(case)]
    found += [("no_loss", what) for what in _losses(case)]
    found += [("committed", what) for what in overcommitments(case)]
    return [Violation(case.seed, invariant, what) for invariant, what in found]


def believed(seed: int, engine: TradingEngine) -> list[Violation]:
    """What an oracle that asks the engine itself would find: kept only to show how little that is worth."""
    found = []
    for slot in engine.state.slots.values():
        lot = max(leg.rules.lot for leg in slot.legs)
        if slot.unsettled:
            found.append(Violation(seed, "settled", f"{slot.key} has orders in flight"))
        if slot.position is not None and abs(slot.position.exposure) >= lot:
            found.append(Violation(seed, "hedged", f"{slot.key} is exposed by {slot.position.exposure}"))
    return found


def _unsettled(case: Case) -> Iterator[str]:
    state = case.world.engine.state
    for client_id in state.unsettled:
        yield f"nobody knows what became of {client_id}"
    for slot in state.slots.values():
        if slot.phase not in (Phase.FLAT, Phase.OPEN):
            yield f"{slot.key} is stuck {slot.phase.value}"
    for venue in case.world.venues.values():
        for resting in venue.resting:
            yield f"{resting.order.client_id} still rests at {venue.venue.value}"


def _unbalanced(case: Case) -> Iterator[str]:
    ledger = case.world.engine.state.ledger
    for venue in case.world.venues.values():
        booked = {asset for account, asset in ledger.balances() if account == wallet_of(venue.venue)}
        for asset in sorted(booked | set(venue.balances)):
            theirs, ours = venue.balances.get(asset, ZERO), ledger.wallet(venue.venue, asset)
            if theirs != ours:
                yield f"{venue.venue.value} holds {theirs:f} {asset}, our ledger says {ours:f}"
        for id_, contract in venue.contracts.items():
            ours = ledger.balance(f"{venue.venue.value}:contracts", venue.instruments[id_].symbol)
            if contract.quantity != ours:
                yield f"{venue.venue.value} holds {contract.quantity:f} contracts, our ledger says {ours:f}"


def _unhedged(case: Case) -> Iterator[str]:
    """Pair by pair: an open one is hedged to one lot, of a closed one only what no venue would trade may be left."""
    korea = case.world.venues[case.pair.korea.venue]
    dust = case.pair.korea.rules.minimum_notional / korea.mark(case.pair.korea.id) * DUST_PRICE_SLACK
    (slot,) = case.world.engine.state.slots.values()
    position = slot.position
    for money in pairs_of(case):
        is_open = position is not None and money.signal_id == position.signal_id
        allowed = case.pair.lot if is_open and money.contracts else dust
        if abs(money.coins + money.contracts) >= allowed:
            yield f"{money.signal_id} holds {money.coins:f} coins and {money.contracts:f} contracts"
        elif not is_open and abs(money.contracts) > ZERO:
            yield f"{money.signal_id} is over and still holds {money.contracts:f} contracts"


def _repeated(case: Case) -> Iterator[str]:
    executed: defaultdict[tuple[str, str], Decimal] = defaultdict(lambda: ZERO)
    planned: dict[tuple[str, str], Decimal] = {}
    for venue in case.world.venues.values():
        times = Counter(placed.order.client_id for placed in venue.history if placed.fills)
        for client_id, count in times.items():
            if count > 1:
                yield f"{client_id} executed {count} times at {venue.venue.value}"
        for placed in venue.history:
            intent = case.intents.get(placed.order.client_id)
            if intent is None:
                yield f"{placed.order.client_id} was sent to {venue.venue.value} without being journaled"
            elif intent.purpose in (Purpose.ENTER, Purpose.EXIT):
                plan = case.plan_of[placed.order.client_id]
                key = (plan.signal_id, placed.order.instrument_id)
                executed[key] += placed.executed
                planned.update({(plan.signal_id, leg.instrument_id): leg.quantity for leg in plan.legs})
    for key, quantity in executed.items():
        if quantity > planned.get(key, ZERO):
            yield f"{key[0]} executed {quantity:f} on {key[1]}, planned were {planned.get(key, ZERO):f}"


def _forgotten(case: Case) -> Iterator[str]:
    """An order that still fills after the next plan was begun had been given up too early."""
    last: dict[ClientId, Nanos] = {}
    for fill in case.trades:
        last[fill.client_id] = fill.at
    begun = [(plan.decided_at, plan.signal_id) for plan in case.plans]
    for client_id, at in last.items():
        intent = case.intents.get(client_id)
        if intent is None:
            continue
        for decided_at, signal_id in begun:
            if intent.at < decided_at < at:
                yield f"{client_id} filled after {signal_id} was begun"
                break


def _entered_after_stop(case: Case) -> Iterator[str]:
    is_active = True
    for record in case.world.records:
        if isinstance(record, SwitchSet):
            is_active = record.state is SwitchState.ACTIVE
        elif isinstance(record, PlanMade) and record.plan.action is Action.ENTER and not is_active:
            yield f"{record.plan.signal_id} entered after the stop"


def _losses(case: Case) -> Iterator[str]:
    """Closed pairs below zero that no repair and no foreign trade explains."""
    slots = case.world.engine.state.slots.values()
    closed = {pair.position.signal_id for slot in slots for pair in slot.closed}
    for money in pairs_of(case):
        if money.signal_id in closed and not money.is_labelled and _is_loss(money):
            yield f"{money.signal_id} was closed at {money.net:.0f} KRW"


def _is_loss(money: PairMoney) -> bool:
    return money.net < -ROUNDING * money.turnover
