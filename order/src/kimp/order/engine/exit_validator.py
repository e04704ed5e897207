"""Never close a pair at a loss: the one place that says whether a pair may be closed, and on what terms.

The answer comes from the legs' real cash flows, both fees paid and the two still to come, the funding ledger and
executable prices for the exact size. A premium that moved the right way is no argument: FX may have eaten it
(docs/strategy.md).
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from kimp.order.engine.settings import EngineSettings
from kimp.shared.domain.books import Book
from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.instruments import Instrument, InstrumentId, Pair, Side
from kimp.shared.domain.money import ONE, ZERO
from kimp.shared.domain.positions import Breakdown, ExitVerdict, LegPosition, Mark, Position
from kimp.shared.domain.signals import Refusal
from kimp.shared.domain.time import DAY, SECOND, Nanos

BOUND_SAFETY = Decimal("0.9")
"""Share of the affordable slippage that bounds may use, leaving room for tick rounding to stay on the safe side."""


FUNDING_MARGIN: Nanos = 15 * SECOND
"""How far a charge may lie from its settlement (Binance, "Introduction to Binance Futures Funding Rates": 15 seconds)."""


class _Terms:
    """A position boiled down to ``net = fixed + korea_unit·s + (cash + abroad_unit·b)·F``: what the inner loop
    evaluates.
    """

    __slots__ = (
        "abroad_quantity",
        "abroad_side",
        "abroad_unit",
        "cash",
        "fixed",
        "korea_quantity",
        "korea_side",
        "korea_unit",
    )

    def __init__(self, pair: Pair, position: Position) -> None:
        korea, abroad = position.leg(pair.korea.id), position.leg(pair.abroad.id)
        self.korea_side, self.abroad_side = _closing(korea), _closing(abroad)
        self.korea_quantity, self.abroad_quantity = abs(korea.quantity), abs(abroad.quantity)
        self.korea_unit = korea.quantity - self.korea_quantity * pair.korea.fee_rate
        self.abroad_unit = abroad.quantity - self.abroad_quantity * pair.abroad.fee_rate
        self.fixed = korea.cash + position.funding_krw - korea.fees_krw - abroad.fees_krw
        self.cash = abroad.cash

    def net(self, korea: Decimal, abroad: Decimal, krw_rate: Decimal) -> Decimal:
        """Net in KRW of closing everything at these two prices and this KRW per USDT."""
        return self.fixed + self.korea_unit * korea + (self.cash + self.abroad_unit * abroad) * krw_rate


class ExitValidator:
    """Judges exits of one pair. Missing, stale, crossed or non-finite input never reaches it as numbers: it is refused."""

    def __init__(self, pair: Pair, settings: EngineSettings) -> None:
        self._pair = pair
        self._settings = settings
        self._judged: Position | None = None
        self._terms: _Terms | None = None

    def net(self, position: Position, korea: Book, abroad: Book, krw_rate: Decimal) -> Decimal | None:
        """What closing the whole pair at executable prices would leave, in KRW; ``None`` when a book is too thin."""
        terms = self._terms_of(position)
        ours = korea.vwap(terms.korea_side, terms.korea_quantity)
        theirs = abroad.vwap(terms.abroad_side, terms.abroad_quantity)
        if ours is None or theirs is None:
            return None
        # terms.net, spelled out: a call costs as much as the sum, and this is asked at every quote.
        return terms.fixed + terms.korea_unit * ours + (terms.cash + terms.abroad_unit * theirs) * krw_rate

    def verdict(
        self,
        position: Position,
        korea: Book,
        abroad: Book,
        krw_rate: Decimal,
        now: Nanos,
        funding: FundingRate | None = None,
    ) -> ExitVerdict:
        """Whether the pair may be closed now, with the whole breakdown; the bounds keep ``worst_net`` above zero.

        Bounds start from the deepest level the size needs: a limit at the average would fill only the better half of it.
        A funding charge that is due around now and not in the books yet counts against it, a payment to come does not.
        ``krw_rate`` is KRW per USDT at the valuation basis. Books and rate must have passed the data gates.
        """
        terms = self._terms_of(position)
        ours = korea.vwap(terms.korea_side, terms.korea_quantity)
        theirs = abroad.vwap(terms.abroad_side, terms.abroad_quantity)
        deepest = korea.reach(terms.korea_side, terms.korea_quantity)
        furthest = abroad.reach(terms.abroad_side, terms.abroad_quantity)
        if ours is None or theirs is None or deepest is None or furthest is None:
            return _refused(position, now, Refusal.BOOK_TOO_THIN)
        net = terms.net(ours, theirs, krw_rate)
        held = position.leg(self._pair.abroad.id)
        due = _charge_due(position, held, theirs * krw_rate, funding, now)
        spare = terms.net(deepest, furthest, krw_rate) - due
        bounds = self._bounds(terms, deepest, furthest, krw_rate, spare)
        worst = terms.net(bounds[0][1], bounds[1][1], krw_rate) - due
        is_allowed = net > ZERO and worst > ZERO
        carry = _carry_per_day(held, theirs * krw_rate, funding)
        break_even = (ours - net / terms.korea_unit) / (theirs * krw_rate) - ONE if terms.korea_unit else None
        return ExitVerdict(
            is_allowed=is_allowed,
            refusals=() if is_allowed else (Refusal.NET_NOT_POSITIVE.value,),
            breakdown=self._breakdown(position, terms, ours, theirs, krw_rate),
            net=net,
            worst_net=worst,
            bounds=bounds,
            premium_now=ours / (theirs * krw_rate) - ONE,
            break_even_premium=break_even,
            carry_per_day=carry,
            days_to_break_even=_days(net, carry),
            held_for=now - position.opened_at,
        )

    def _breakdown(
        self, position: Position, terms: _Terms, ours: Decimal, theirs: Decimal, krw_rate: Decimal
    ) -> Breakdown:
        """The parts of ``net``: what was earned at these prices, less the two fees still to be paid."""
        earned = position.breakdown(
            {self._pair.korea.id: Mark(ours, ONE), self._pair.abroad.id: Mark(theirs, krw_rate)}
        )
        to_pay = terms.korea_quantity * ours * self._pair.korea.fee_rate
        to_pay += terms.abroad_quantity * theirs * self._pair.abroad.fee_rate * krw_rate
        return msgspec.structs.replace(earned, fees=earned.fees - to_pay)

    def _bounds(
        self, terms: _Terms, ours: Decimal, theirs: Decimal, krw_rate: Decimal, spare: Decimal
    ) -> tuple[tuple[InstrumentId, Decimal], tuple[InstrumentId, Decimal]]:
        """Limits as wide as the profit affords and at most ``slippage_max`` beyond these prices, to our advantage."""
        at_stake = abs(terms.korea_unit) * ours + abs(terms.abroad_unit) * theirs * krw_rate
        affordable = max(ZERO, spare) / at_stake * BOUND_SAFETY if at_stake else ZERO
        slippage = min(self._settings.slippage_max, affordable)
        return (
            (self._pair.korea.id, worst_limit(self._pair.korea, ours, terms.korea_side, slippage)),
            (self._pair.abroad.id, worst_limit(self._pair.abroad, theirs, terms.abroad_side, slippage)),
        )

    def _terms_of(self, position: Position) -> _Terms:
        if self._judged is not position or self._terms is None:
            self._judged, self._terms = position, _Terms(self._pair, position)
        return self._terms


def _closing(leg: LegPosition) -> Side:
    return Side.SELL if leg.quantity > ZERO else Side.BUY


def worst_limit(leg: Instrument, price: Decimal, side: Side, slippage: Decimal) -> Decimal:
    """The limit that accepts ``slippage`` (fraction) beyond ``price`` at most, on the tick grid, rounded to our
    advantage.
    """
    return leg.rules.bound(price * (ONE + side.sign * slippage), side)


def _carry_per_day(leg: LegPosition, price_krw: Decimal, funding: FundingRate | None) -> Decimal | None:
    """Funding received per day (KRW) at the last known rate: a forecast; a positive rate pays a short."""
    if funding is None:
        return None
    return -leg.quantity * price_krw * funding.rate * DAY / funding.interval


def _charge_due(
    position: Position, leg: LegPosition, price_krw: Decimal, funding: FundingRate | None, now: Nanos
) -> Decimal:
    """What settlements that were, or will be before our orders fill, may still charge this position (KRW, positive).

    The venue charges at the settlement and tells of it later; an exit decided in between would count money that is gone.
    """
    if funding is None:
        return ZERO
    settlements = (funding.settles_at - funding.interval, funding.settles_at)
    pending = sum(
        position.opened_at - FUNDING_MARGIN < at <= now + FUNDING_MARGIN and at > position.funded_at
        for at in settlements
    )
    return max(ZERO, leg.quantity * price_krw * funding.rate) * pending


def _days(net: Decimal, carry: Decimal | None) -> Decimal | None:
    if net > ZERO:
        return ZERO
    return None if carry is None or carry <= ZERO else -net / carry


def _refused(position: Position, now: Nanos, reason: Refusal) -> ExitVerdict:
    return ExitVerdict(
        is_allowed=False,
        refusals=(reason.value,),
        breakdown=None,
        net=None,
        worst_net=None,
        bounds=(),
        premium_now=None,
        break_even_premium=None,
        carry_per_day=None,
        days_to_break_even=None,
        held_for=now - position.opened_at,
    )
