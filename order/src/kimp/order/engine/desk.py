"""Decides for one strategy on one pair: gates, then the strategy, then our own refusals, then size, then the plan."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

from kimp.order.engine.allocator import CapitalAllocator, Sizing
from kimp.order.engine.executor import OrderExecutor
from kimp.order.engine.exit_validator import ExitValidator, worst_limit
from kimp.order.engine.foreign import booked
from kimp.order.engine.guards import entry_refusals
from kimp.order.engine.market import MarketState
from kimp.order.engine.outbox import Outbox
from kimp.order.engine.repair import is_tradable
from kimp.order.engine.settings import EngineSettings
from kimp.order.engine.state import EngineState, Slot
from kimp.shared.domain.books import Book
from kimp.shared.domain.fx import USD
from kimp.shared.domain.instruments import InstrumentId, Pair, Side
from kimp.shared.domain.money import ONE, ZERO
from kimp.shared.domain.positions import Action, ExitVerdict, LegPlan, Plan, Position, Purpose
from kimp.shared.domain.premium import KimpCalculator
from kimp.shared.domain.signals import Direction, Enter, Exit, Refusal, Signal
from kimp.shared.domain.time import Nanos
from kimp.shared.messages.events import CloseOrdered, PositionSeen
from kimp.shared.messages.notices import CloseRefused, PositionMismatch
from kimp.shared.messages.records import CloseTaken, Phase
from kimp.shared.ports.strategy import MarketView, PositionView, Strategy

OVERRIDE_REASON = "owner_override"
"""Why a pair is over that its owner closed whatever it cost."""

# Looking up an enum's member costs as much as the rest of the comparison, and this is asked at every quote.
_FLAT, _OPEN = Phase.FLAT, Phase.OPEN


class PairDesk:
    """One slot's decisions. ``refusals`` counts why nothing was done; ``last_signal`` is what the strategy said last."""

    def __init__(
        self,
        slot: Slot,
        strategy: Strategy,
        pair: Pair,
        state: EngineState,
        market: MarketState,
        executor: OrderExecutor,
        settings: EngineSettings,
    ) -> None:
        self.slot = slot
        self.strategy = strategy
        self.pair = pair
        self.refusals: Counter[str] = Counter()
        self.last_signal: Signal | None = None
        self.last_refusals: tuple[Refusal, ...] = ()
        self.allocator = CapitalAllocator(pair, settings)
        self.validator = ExitValidator(pair, settings)
        self._state = state
        self.market = market
        self._executor = executor
        self._settings = settings
        self._ratio = KimpCalculator(pair).ratio
        self._korea_id, self._abroad_id = pair.korea.id, pair.abroad.id
        self._mismatched: set[InstrumentId] = set()
        self._signal_asset = settings.signal_basis.asset
        self._valuation_asset = settings.valuation_basis.asset
        self._holdings = (ZERO, ZERO, ONE)
        self._holdings_version = -1

    def consider(self, at: Nanos) -> None:
        """New quotes are in: let the strategy see them and do what it says, as far as that is safe."""
        books = self.market.books
        korea, abroad = books.get(self._korea_id), books.get(self._abroad_id)
        if korea is None or abroad is None:
            self._refuse(self.market.undecidable(self.pair, at))
            return
        doubts = self.market.doubts(korea, abroad, at)
        if doubts:
            self._refuse(doubts)
            return
        view = self._view(at, korea.asks[0].price, korea.bids[0].price, abroad.bids[0].price, abroad.asks[0].price)
        self.strategy.observe(view)
        phase = self.slot.phase
        if phase is not _FLAT and phase is not _OPEN:
            return
        position = self._position_view(korea, abroad)
        signal = self.last_signal = self.strategy.decide(view, position)
        if type(signal) is Enter:
            self._enter(signal, position, at, korea, abroad)
        elif type(signal) is Exit:
            self._exit(signal, at, korea, abroad)

    def verdict(self, at: Nanos) -> ExitVerdict | None:
        """Whether the open pair could be closed now and what waiting costs; ``None`` when flat or the quotes are not
        good.
        """
        if self.slot.position is None or self.market.undecidable(self.pair, at):
            return None
        return self._judge(self.slot.position, at)

    def sight(self, at: Nanos) -> tuple[MarketView, PositionView | None] | None:
        """What the strategy is shown now, for those who explain decisions; ``None`` while none may be made."""
        if self.market.undecidable(self.pair, at):
            return None
        korea, abroad = self.market.books[self._korea_id], self.market.books[self._abroad_id]
        touches = korea.asks[0].price, korea.bids[0].price, abroad.bids[0].price, abroad.asks[0].price
        return self._view(at, *touches), self._position_view(korea, abroad)

    def compare(self, seen: PositionSeen, out: Outbox) -> None:
        """Hold a venue's word on a leg against our books; a difference blocks entries until it is gone."""
        if seen.instrument_id not in (self._korea_id, self._abroad_id) or self.slot.unsettled:
            return
        ours = booked(self._state, self.pair.instrument(seen.instrument_id))
        if ours == seen.quantity:
            self._mismatched.discard(seen.instrument_id)
        elif seen.instrument_id not in self._mismatched:
            self._mismatched.add(seen.instrument_id)
            out.notify(PositionMismatch(self.slot.key, seen.instrument_id, ours, seen.quantity))
            self._executor.doubt(seen.instrument_id)

    def close_anyway(self, order: CloseOrdered, out: Outbox) -> None:
        """Close the pair at the market because its owner says so, at a loss if need be; the ledger carries the label.

        Only what would make the order meaningless stops it: nothing held, an order still in flight, no good quotes.
        """
        refusals = self._close_refusals(order.at)
        codes = tuple(refusal.value for refusal in refusals)
        out.record(CloseTaken(order.at, order.command_id, self.slot.key, order.actor, order.reason, codes))
        if refusals:
            self._refuse(refusals)
            out.notify(CloseRefused(self.slot.key, order.command_id, codes))
            return
        position = self.slot.position
        assert position is not None, "nothing held is a refusal"
        books = {leg.id: self.market.books[leg.id] for leg in (self.pair.korea, self.pair.abroad)}
        limits = {}
        for leg in (self.pair.korea, self.pair.abroad):
            side = Side.SELL if position.leg(leg.id).quantity > ZERO else Side.BUY
            limits[leg.id] = worst_limit(leg, books[leg.id].touch(side), side, self._settings.override_slippage)
        legs = self._exit_legs(position, limits, books)
        self._begin(Action.EXIT, position.direction, legs, order.at, OVERRIDE_REASON, Purpose.OVERRIDE)

    def _close_refusals(self, at: Nanos) -> tuple[Refusal, ...]:
        if self.slot.position is None:
            return (Refusal.NOT_HELD,)
        if self.slot.unsettled or self.slot.phase is not _OPEN:
            return (Refusal.ORDER_UNKNOWN,)
        if self.market.is_down(self.pair):
            return (Refusal.VENUE_UNAVAILABLE,)
        return self.market.undecidable(self.pair, at)

    # -- what the strategy sees ------------------------------------------------------------------------------------

    def _view(self, at: Nanos, ask: Decimal, bid: Decimal, perp_bid: Decimal, perp_ask: Decimal) -> MarketView:
        market = self.market
        rate = market.rates[self._signal_asset].value
        funding = market.funding.get(self._abroad_id)
        usdkrw, ratio = market.rates.get(USD), self._ratio
        return MarketView(
            at,
            ratio(ask, perp_bid, rate),
            ratio(bid, perp_ask, rate),
            None if funding is None else funding.rate,
            usdkrw.value if usdkrw is not None and at <= usdkrw.valid_until else None,
        )

    def _position_view(self, korea: Book, abroad: Book) -> PositionView | None:
        position = self.slot.position
        if position is None:
            return None
        if self._holdings_version != self._state.version:
            self._holdings = self._holdings_of(position)
            self._holdings_version = self._state.version
        won, dollars, filled_share = self._holdings
        rate = self.market.rates[self._valuation_asset].value
        return PositionView(
            position.direction,
            position.opened_at,
            self.validator.net(position, korea, abroad, rate),
            won + dollars * rate,
            filled_share,
        )

    def _holdings_of(self, position: Position) -> tuple[Decimal, Decimal, Decimal]:
        """All money at cost (KRW, USDT) and the share of a full position: they change with records, not with quotes."""
        korea = self.allocator.korea(self._state, position.direction)
        full = korea.capital * self._settings.capital_share
        return *self.allocator.capital(self._state), korea.used / full if full else ONE

    def _valuation_rate(self) -> Decimal:
        return self.market.rates[self._valuation_asset].value

    # -- entering --------------------------------------------------------------------------------------------------

    def _enter(self, signal: Enter, position: PositionView | None, at: Nanos, korea: Book, abroad: Book) -> None:
        refusals = self._entry_refusals(at)
        if position is not None and position.direction is not signal.direction:
            # Entering the other way would close what is held, past the validator.
            refusals += (Refusal.HELD_THE_OTHER_WAY,)
        if refusals:
            self._refuse(refusals)
            return
        side = signal.direction.korea_side
        slippage = self._settings.slippage_max
        korea_limit = worst_limit(self.pair.korea, korea.touch(side), side, slippage)
        abroad_limit = worst_limit(self.pair.abroad, abroad.touch(side.opposite), side.opposite, slippage)
        sizing = self.allocator.size(self._state, signal.direction, korea_limit, abroad_limit, signal.share)
        refusal = sizing.refusal or self._refusal_at_size(signal, position, sizing, at, korea, abroad)
        if refusal:
            self._refuse((refusal,))
            return
        legs = (
            LegPlan(self._korea_id, side, sizing.quantity, korea_limit, korea.mid()),
            LegPlan(self._abroad_id, side.opposite, sizing.quantity, abroad_limit, abroad.mid()),
        )
        self._begin(Action.ENTER, signal.direction, legs, at, signal.reason, Purpose.ENTER)

    def _entry_refusals(self, at: Nanos) -> tuple[Refusal, ...]:
        own = entry_refusals(self._state, self.slot, self._settings, at)
        mismatch = (Refusal.POSITION_MISMATCH,) if self._mismatched else ()
        return own + mismatch + self.market.entry_refusals(self.pair, at)

    def _refusal_at_size(
        self, signal: Enter, position: PositionView | None, sizing: Sizing, at: Nanos, korea: Book, abroad: Book
    ) -> Refusal | None:
        """Ask the strategy again with the prices its real size would get: a good touch is not a good fill."""
        korea_buy, abroad_buy = (book.vwap(Side.BUY, sizing.quantity) for book in (korea, abroad))
        korea_sell, abroad_sell = (book.vwap(Side.SELL, sizing.quantity) for book in (korea, abroad))
        if korea_buy is None or korea_sell is None or abroad_buy is None or abroad_sell is None:
            return Refusal.BOOK_TOO_THIN
        view = self._view(at, korea_buy, korea_sell, abroad_sell, abroad_buy)
        confirmed = self.strategy.decide(view, position)
        is_same = isinstance(confirmed, Enter) and confirmed.direction is signal.direction
        return None if is_same else Refusal.NOT_AT_SIZE

    # -- leaving ---------------------------------------------------------------------------------------------------

    def _exit(self, signal: Exit, at: Nanos, korea: Book, abroad: Book) -> None:
        position = self.slot.position
        if position is None:
            self._refuse((Refusal.NOT_HELD,))
            return
        refusals = self._exit_refusals(at)
        if refusals:
            self._refuse(refusals)
            return
        verdict = self._judge(position, at)
        if not verdict.is_allowed:
            self._refuse(tuple(Refusal(reason) for reason in verdict.refusals))
            return
        legs = self._exit_legs(
            position, dict(verdict.bounds), {korea.instrument_id: korea, abroad.instrument_id: abroad}
        )
        if self._cannot_afford(legs):
            self._refuse((Refusal.CANNOT_AFFORD,))
            return
        self._begin(Action.EXIT, position.direction, legs, at, signal.reason, Purpose.EXIT)

    def _exit_refusals(self, at: Nanos) -> tuple[Refusal, ...]:
        """What makes an exit impossible or pointless right now; a stop is none of it."""
        refusals: list[Refusal] = []
        if self.slot.unsettled:
            # An order taken as over turned out not to be: what is held is about to change.
            refusals.append(Refusal.ORDER_UNKNOWN)
        if self.market.is_down(self.pair):
            refusals.append(Refusal.VENUE_UNAVAILABLE)
        if self.slot.exit_failed_at is not None and at < self.slot.exit_failed_at + self._settings.exit_pause:
            refusals.append(Refusal.COOLING_DOWN)
        return tuple(refusals)

    def _cannot_afford(self, legs: tuple[LegPlan, ...]) -> bool:
        """Whether buying coins back needs more KRW than lies on the venue: it would refuse, after the other leg filled."""
        korea = self.pair.korea
        wallet = self._state.ledger.wallet(korea.venue, korea.quote)
        buys = [leg for leg in legs if leg.instrument_id == korea.id and leg.side is Side.BUY]
        return any(leg.quantity * leg.limit * (ONE + korea.fee_rate) > wallet for leg in buys)

    def _exit_legs(
        self, position: Position, limits: dict[InstrumentId, Decimal], books: dict[InstrumentId, Book]
    ) -> tuple[LegPlan, ...]:
        legs = []
        for leg in (self.pair.korea, self.pair.abroad):
            held = position.leg(leg.id).quantity
            is_contract = leg.id == self._abroad_id
            if is_tradable(leg, leg.rules.floor(abs(held)), limits[leg.id], reduce_only=is_contract):
                side = Side.SELL if held > ZERO else Side.BUY
                quantity = leg.rules.floor(abs(held))
                legs.append(LegPlan(leg.id, side, quantity, limits[leg.id], books[leg.id].mid(), is_contract))
        return tuple(legs)

    def _judge(self, position: Position, at: Nanos) -> ExitVerdict:
        return self.validator.verdict(
            position,
            self.market.books[self._korea_id],
            self.market.books[self._abroad_id],
            self._valuation_rate(),
            at,
            self.market.funding.get(self._abroad_id),
        )

    # -- both ------------------------------------------------------------------------------------------------------

    def _begin(
        self,
        action: Action,
        direction: Direction,
        legs: tuple[LegPlan, ...],
        at: Nanos,
        reason: str,
        purpose: Purpose,
    ) -> None:
        signal_id = f"{self.slot.key}:{action.value}:{at}"
        if signal_id in self._state.consumed:
            self._refuse((Refusal.SIGNAL_CONSUMED,))
            return
        plan = Plan(
            signal_id,
            self.slot.strategy,
            self.slot.symbol,
            action,
            direction,
            legs,
            at,
            self._valuation_rate(),
            self.market.rates[self._signal_asset].value,
            reason,
        )
        self._executor.begin(self.slot, plan, purpose)

    def _refuse(self, refusals: tuple[Refusal, ...]) -> None:
        self.last_refusals = refusals
        for refusal in refusals:
            self.refusals[refusal.value] += 1
