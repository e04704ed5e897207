"""How much to trade: 95 % of what lies on each venue, the smaller leg deciding, in whole lots."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from kimp.order.engine.settings import EngineSettings
from kimp.order.engine.state import EngineState, Slot
from kimp.shared.domain.instruments import Instrument, Kind, Pair, Side
from kimp.shared.domain.money import ONE, ZERO
from kimp.shared.domain.positions import LegPosition, Purpose
from kimp.shared.domain.signals import Direction, Refusal


class Commitment(msgspec.Struct, frozen=True):
    """One venue's money, in one asset, at cost: ``used`` by positions and orders, out of ``capital`` (both in that
    asset).
    """

    asset: str
    used: Decimal
    capital: Decimal

    @property
    def share(self) -> Decimal:
        """The part of the capital in use; 0 where there is no capital and nothing is used."""
        return self.used / self.capital if self.capital else ZERO

    def free(self, capital_share: Decimal, part: Decimal = ONE) -> Decimal:
        """What one entry may still take: ``part`` of the whole budget, and never more than what is left of it."""
        budget = capital_share * self.capital
        return max(ZERO, min(part * budget, budget - self.used))


class Sizing(msgspec.Struct, frozen=True):
    """A size that both legs can carry, or why there is none; ``unused`` is the budget the lot leaves idle, per asset."""

    quantity: Decimal
    refusal: Refusal | None
    unused: tuple[tuple[str, Decimal], ...]


class CapitalAllocator:
    """Sizes entries of one pair so that committed money stays within the share at every instant.

    ``q = min(0.95·KRW / (ask·(1+fee)), 0.95·USDT·leverage / (bid·(1+fee)))`` (docs/strategy.md), with each price taken
    at the worst its limit lets it be, because a resting lock counts as committed too. ``SHORT_PREMIUM`` sells coins
    held on the Korean venue, so its Korean budget is counted in coins.
    """

    def __init__(self, pair: Pair, settings: EngineSettings) -> None:
        self._pair = pair
        self._settings = settings

    def size(
        self,
        state: EngineState,
        direction: Direction,
        korea_limit: Decimal,
        abroad_limit: Decimal,
        part: Decimal = ONE,
    ) -> Sizing:
        """The largest quantity (base coins) for ``part`` of a full position, at limits that are the worst prices
        possible.

        A sale of contracts may fill above its limit, so its margin is counted with ``slippage_max`` on both sides of
        the touch.
        """
        settings = self._settings
        korea, abroad = self._pair.korea, self._pair.abroad
        korea_unit = korea_limit * (ONE + korea.fee_rate) if direction.korea_side is Side.BUY else ONE
        abroad_unit = margin_per_coin(abroad, direction.korea_side.opposite, abroad_limit, settings)
        korea_free = self.korea(state, direction).free(settings.capital_share, part)
        abroad_free = self.abroad(state).free(settings.capital_share, part)
        wanted = min(korea_free / korea_unit, abroad_free / abroad_unit)
        quantity = (wanted // self._pair.lot) * self._pair.lot
        unused = (
            (korea.quote if direction.korea_side is Side.BUY else korea.base, korea_free - quantity * korea_unit),
            (abroad.quote, abroad_free - quantity * abroad_unit),
        )
        fits = korea.rules.permits(quantity, korea_limit) and abroad.rules.permits(quantity, abroad_limit)
        return Sizing(quantity if fits else ZERO, None if fits else Refusal.TOO_SMALL, unused)

    def korea(self, state: EngineState, direction: Direction) -> Commitment:
        """The Korean venue's money: KRW for buying, coins for ``SHORT_PREMIUM``."""
        leg = self._pair.korea
        return spot_commitment(state, leg, leg.quote if direction.korea_side is Side.BUY else leg.base)

    def abroad(self, state: EngineState) -> Commitment:
        """The perpetual venue's USDT: margin of contracts and of opening orders, out of the wallet without unrealised
        profit.
        """
        return margin_commitment(state, self._pair.abroad, self._settings)

    def capital(self, state: EngineState) -> tuple[Decimal, Decimal]:
        """All money at cost as (KRW, USDT); coins that are inventory for ``SHORT_PREMIUM`` are not part of it."""
        korea = self.korea(state, Direction.LONG_PREMIUM)
        return korea.capital, self.abroad(state).capital


def spot_commitment(state: EngineState, leg: Instrument, asset: str) -> Commitment:
    """A spot venue's ``asset``, won or coins. What a position put in is used, what it has taken out (coins of a long
    pair, proceeds of a short one) is no capital: so the capital stays at cost until the pair is over.
    """
    put_in = locked = taken_out = ZERO
    for slot in state.slots.values():
        for instrument in slot.legs:
            if instrument.venue is leg.venue and instrument.kind is Kind.SPOT:
                locked += _spot_lock(state, slot, instrument, asset)
                if slot.position is not None:
                    flow = _flow(slot.position.leg(instrument.id), instrument, asset)
                    put_in += max(ZERO, -flow)
                    taken_out += max(ZERO, flow)
    wallet = state.ledger.wallet(leg.venue, asset)
    return Commitment(asset, put_in + locked, wallet + put_in - taken_out)


def _flow(held: LegPosition, leg: Instrument, asset: str) -> Decimal:
    """How much of an asset a position has brought into the wallet (positive) or taken from it."""
    if asset == leg.quote:
        return held.cash
    return held.quantity if asset == leg.base else ZERO


def margin_commitment(state: EngineState, leg: Instrument, settings: EngineSettings) -> Commitment:
    """A perpetual venue's margin asset: what contracts cost (at their average entry, as the venue counts it) and what
    opening orders may still take.
    """
    used = ZERO
    for slot in state.slots.values():
        for instrument in slot.legs:
            if instrument.venue is leg.venue and instrument.kind is Kind.PERPETUAL:
                cost = state.ledger.balance(f"{instrument.venue.value}:unsettled:{instrument.symbol}", instrument.quote)
                used += abs(cost) / settings.leverage + _margin_lock(state, slot, instrument, settings)
    return Commitment(leg.quote, used, state.ledger.wallet(leg.venue, leg.quote))


def affordable(
    state: EngineState, leg: Instrument, side: Side, price: Decimal, reference: Decimal, settings: EngineSettings
) -> Decimal:
    """How many more coins an order that opens may trade at ``price``, decided on at the mid ``reference``, without
    committing more than the share allows.
    """
    if leg.kind is Kind.PERPETUAL:
        free = margin_commitment(state, leg, settings).free(settings.capital_share)
        return free / margin_per_coin(leg, side, price, settings, reference)
    asset = leg.quote if side is Side.BUY else leg.base
    free = spot_commitment(state, leg, asset).free(settings.capital_share)
    return free / (price * (ONE + leg.fee_rate)) if side is Side.BUY else free


def margin_per_coin(
    leg: Instrument, side: Side, limit: Decimal, settings: EngineSettings, reference: Decimal = ZERO
) -> Decimal:
    """Margin and fee that one contract coin needs at the worst price of a limit order (quote asset).

    The limit of a sale is its lowest price. The highest it may meet is as far above the touch as an entry's limit is
    below; a repair's limit may lie much lower, so that the mid it was decided on (``reference``) counts as well.
    """
    if side is Side.SELL:
        limit = max(limit * (ONE + 2 * settings.slippage_max), reference)
    return limit * (ONE / settings.leverage + leg.fee_rate)


def _spot_lock(state: EngineState, slot: Slot, leg: Instrument, asset: str) -> Decimal:
    # What buys a short pair's coins back, or sells a long pair's, frees money instead of committing it.
    is_short = slot.plan is not None and slot.plan.direction is Direction.SHORT_PREMIUM
    total = ZERO
    for client_id in slot.unsettled:
        tracked = state.orders[client_id]
        order = tracked.order
        if order.instrument_id != leg.id:
            continue
        if order.side is Side.BUY and asset == leg.quote and not is_short:
            total += tracked.open_quantity * order.limit * (ONE + leg.fee_rate)
        elif order.side is Side.SELL and asset == leg.base and is_short:
            total += tracked.open_quantity
    return total


def _margin_lock(state: EngineState, slot: Slot, leg: Instrument, settings: EngineSettings) -> Decimal:
    total = ZERO
    for client_id in slot.unsettled:
        tracked = state.orders[client_id]
        if tracked.order.instrument_id == leg.id and not tracked.order.reduce_only:
            order, reference = tracked.order, tracked.reference if tracked.purpose is Purpose.REPAIR else ZERO
            total += tracked.open_quantity * margin_per_coin(leg, order.side, order.limit, settings, reference)
    return total
