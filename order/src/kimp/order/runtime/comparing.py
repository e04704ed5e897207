"""Holds a venue's balances and positions against the books, and says what a difference is.

A number that differs may be a fill on its way, rounding, the owner's money coming or going, or something nobody knows.
Only the last is an alarm, and only money that no trade can explain is booked as the owner's.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from kimp.order.engine.foreign import booked
from kimp.order.engine.state import EngineState
from kimp.order.runtime.reconciliation import Compared, Verdict
from kimp.shared.domain.accounts import Account
from kimp.shared.domain.instruments import Instrument, Kind, Venue
from kimp.shared.domain.money import ZERO, Amount
from kimp.shared.domain.time import HOUR, MINUTE, SECOND, Nanos
from kimp.shared.messages.events import Event, FundsMoved, PositionSeen

ROUNDING_MAX = {"KRW": Decimal(10), "USDT": Decimal("0.01")}
"""Fees are rounded by the venues in ways they do not publish: fractions of a won or a cent per fill. The smallest order
(5,000 KRW, 5 USDT) is far above, so that no trade hides in here. Other assets: none.
"""

TRANSFER_APART: Nanos = 20 * SECOND
"""Money counts as moved by the owner when two looks this far apart agree: trades are listed within a few seconds."""

FUNDING_LAG: Nanos = 10 * MINUTE
"""After a full hour with contracts held, a difference may be funding that the income records do not show yet."""


class Sighting(msgspec.Struct, frozen=True):
    """A difference as it was first seen."""

    ours: Decimal
    theirs: Decimal
    at: Nanos


class Findings(msgspec.Struct, frozen=True):
    """What was compared, and the events that follow from it, in order."""

    wallets: tuple[Compared, ...]
    positions: tuple[Compared, ...]
    events: tuple[Event, ...]


def start_id(venue: Venue, asset: str) -> str:
    """The id of what was found at a venue at the very first start; there is one per journal."""
    return f"start:{venue.value}:{asset}"


class Comparer:
    """One venue's numbers over time: it remembers differences until they are explained."""

    def __init__(self, state: EngineState, venue: Venue, instruments: Sequence[Instrument]) -> None:
        self._state = state
        self._venue = venue
        self._instruments = tuple(instruments)
        self._quotes = tuple(dict.fromkeys(instrument.quote for instrument in instruments))
        self._sightings: dict[str, Sighting] = {}

    @property
    def started_at(self) -> Nanos | None:
        """When the first start's money was found; ``None`` before. Trades of before are in that money already."""
        wanted = {f"transfer:{start_id(self._venue, asset)}" for asset in self._quotes}
        moments = [entry.at for entry in self._state.ledger.entries if entry.entry_id in wanted]
        return min(moments) if len(moments) == len(wanted) else None

    def first_start(self, account: Account, asked_at: Nanos) -> Findings:
        """Take everything that lies on the venue as the owner's. Quote assets come last, even when there is none of
        them: they mark this as done.
        """
        coins = tuple(dict.fromkeys(leg.base for leg in self._instruments if leg.kind is Kind.SPOT))
        wallets, events = [], list[Event]()
        for asset in (*coins, *self._quotes):
            ours, theirs = self._state.ledger.wallet(self._venue, asset), account.total(asset)
            if theirs != ours or asset in self._quotes:
                found = Amount(theirs - ours, asset)
                events.append(FundsMoved(asked_at, start_id(self._venue, asset), self._venue, found))
            wallets.append(Compared(asset, ours, theirs, Verdict.FIRST_START))
        positions = []
        for leg in self._instruments:
            theirs = held_there(account, leg)
            events.append(PositionSeen(asked_at, leg.id, theirs))
            if leg.kind is not Kind.SPOT:
                verdict = Verdict.MISMATCH if theirs else Verdict.EQUAL
                positions.append(Compared(leg.id, ZERO, theirs, verdict))
        return Findings(tuple(wallets), tuple(positions), tuple(events))

    def compare(self, account: Account, now: Nanos, *, is_quiet: bool) -> Findings:
        """Compare all numbers. Unless quiet (nothing in flight before and after the venue was asked) a difference says
        nothing, and is only shown.
        """
        wallets = [
            (asset, self._state.ledger.wallet(self._venue, asset), account.total(asset)) for asset in self._quotes
        ]
        legs = [(leg, booked(self._state, leg), held_there(account, leg)) for leg in self._instruments]
        if not is_quiet:
            self._sightings.clear()
            shown = [_shown(name, ours, theirs) for name, ours, theirs in wallets]
            places = [_shown(leg.id, ours, theirs) for leg, ours, theirs in legs]
            return Findings(tuple(shown), tuple(places), ())
        events: list[Event] = []
        are_wallets_right = all(_is_rounding(asset, theirs - ours) for asset, ours, theirs in wallets)
        are_legs_right = all(ours == theirs for _, ours, theirs in legs)
        positions = [self._position(*leg, now, events, can_be_moved=are_wallets_right) for leg in legs]
        money = [self._wallet(*wallet, now, events, can_be_moved=are_legs_right) for wallet in wallets]
        return Findings(tuple(money), tuple(positions), tuple(events))

    def _position(
        self, leg: Instrument, ours: Decimal, theirs: Decimal, now: Nanos, events: list[Event], *, can_be_moved: bool
    ) -> Compared:
        seen = PositionSeen(now, leg.id, theirs)
        if ours == theirs:
            self._sightings.pop(leg.id, None)
            events.append(seen)
            return Compared(leg.id, ours, theirs, Verdict.EQUAL)
        # Coins that changed while the money did not were not traded. Those of an open pair are never written off.
        is_spare = leg.kind is Kind.SPOT and (theirs > ours or ours - theirs <= ours - self._in_pairs(leg))
        if can_be_moved and is_spare and not self._lost_lately(now):
            return self._moved(leg.id, leg.base, ours, theirs, now, events)
        if self._age(leg.id, ours, theirs, now) is None:
            return Compared(leg.id, ours, theirs, Verdict.SEEN_ONCE)
        events.append(seen)
        return Compared(leg.id, ours, theirs, Verdict.MISMATCH)

    def _wallet(
        self, asset: str, ours: Decimal, theirs: Decimal, now: Nanos, events: list[Event], *, can_be_moved: bool
    ) -> Compared:
        if _is_rounding(asset, theirs - ours):
            self._sightings.pop(asset, None)
            return Compared(asset, ours, theirs, Verdict.EQUAL if ours == theirs else Verdict.ROUNDING)
        # Coins and money that differ together look like a trade, and a trade is never booked as the owner's money.
        if not can_be_moved or self._funding_may_follow(now) or self._lost_lately(now):
            self._sightings.pop(asset, None)
            return Compared(asset, ours, theirs, Verdict.WAITING)
        return self._moved(asset, asset, ours, theirs, now, events)

    def _moved(
        self, name: str, asset: str, ours: Decimal, theirs: Decimal, now: Nanos, events: list[Event]
    ) -> Compared:
        age = self._age(name, ours, theirs, now)
        if age is None or age < TRANSFER_APART:
            return Compared(name, ours, theirs, Verdict.SEEN_ONCE)
        self._sightings.pop(name)
        # How many entries are booked stands for the journal's position: a crash finds the same difference at the same
        # place, and once it is booked that place is past.
        transfer_id = f"seen:{self._venue.value}:{asset}:{len(self._state.ledger.entries)}"
        events.append(FundsMoved(now, transfer_id, self._venue, Amount(theirs - ours, asset)))
        return Compared(name, ours, theirs, Verdict.TRANSFER)

    def _age(self, name: str, ours: Decimal, theirs: Decimal, now: Nanos) -> Nanos | None:
        """How long this very difference has been seen; ``None`` the first time."""
        known = self._sightings.get(name)
        if known is not None and (known.ours, known.theirs) == (ours, theirs):
            return now - known.at
        self._sightings[name] = Sighting(ours, theirs, now)
        return None

    def _in_pairs(self, leg: Instrument) -> Decimal:
        positions = (slot.position for slot in self._state.slots.values() if leg in slot.legs)
        return sum((position.leg(leg.id).quantity for position in positions if position is not None), ZERO)

    def _lost_lately(self, now: Nanos) -> bool:
        return any(tracked.is_watched(now) for tracked in self._state.orders.values())

    def _funding_may_follow(self, now: Nanos) -> bool:
        contracts = [leg for leg in self._instruments if leg.kind is not Kind.SPOT]
        return now % HOUR < FUNDING_LAG and any(booked(self._state, leg) for leg in contracts)


def held_there(account: Account, leg: Instrument) -> Decimal:
    """What the venue says we hold of an instrument: coins, or signed contracts."""
    return account.total(leg.base) if leg.kind is Kind.SPOT else account.contract(leg.id)


def _is_rounding(asset: str, difference: Decimal) -> bool:
    return abs(difference) <= ROUNDING_MAX.get(asset, ZERO)


def _shown(name: str, ours: Decimal, theirs: Decimal) -> Compared:
    return Compared(name, ours, theirs, Verdict.EQUAL if ours == theirs else Verdict.WAITING)
