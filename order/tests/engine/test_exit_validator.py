"""Never close a pair at a loss: the worked table, the strict zero, and bounds that hold whatever fills at them."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kimp.order.engine.exit_validator import ExitValidator
from kimp.order.engine.settings import EngineSettings
from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.instruments import Instrument, Pair, Side, default_pair
from kimp.shared.domain.money import ONE, ZERO, Amount
from kimp.shared.domain.orders import Fill
from kimp.shared.domain.positions import ExitVerdict, LegPosition, Mark, Position
from kimp.shared.domain.signals import Direction, Refusal
from kimp.shared.domain.time import DAY

LONG, SHORT = Direction.LONG_PREMIUM, Direction.SHORT_PREMIUM
FREE = default_pair(fee_rate=ZERO)
NOW = 20_000 * DAY


class Row(NamedTuple):
    """One path of the worked table: premiums in percent, moves as fractions, nets in percent of the Korean entry leg."""

    entry: str
    leave: str
    abroad_rise: str
    fx_rise: str
    long_net: str
    short_net: str

    def quotes(self) -> tuple[Decimal, Decimal, Decimal, Decimal, Decimal]:
        """Korea and abroad at entry (F is 1,400), then Korea, abroad and F at exit."""
        entry = Decimal(140_000_000) * (1 + Decimal(self.entry) / 100)
        abroad, fx = Decimal(100_000) * (1 + Decimal(self.abroad_rise)), Decimal(1_400) * (1 + Decimal(self.fx_rise))
        return entry, Decimal(100_000), abroad * fx * (1 + Decimal(self.leave) / 100), abroad, fx


TABLE = {
    "premium fell": Row("3.5", "1.0", "0", "0", "-2.611", "2.220"),
    "premium rose": Row("3.5", "4.5", "0", "0", "0.769", "-1.163"),
    "premium fell, coin rose": Row("3.5", "1.0", "0.2", "0", "-2.437", "2.007"),
    "premium stayed, coin rose": Row("3.5", "3.5", "0.2", "0", "0.460", "-0.893"),
    "premium rose from low": Row("0.5", "1.2", "0", "0", "0.497", "-0.896"),
    "the exchange rate ate it": Row("0.5", "1.2", "0", "-0.005", "-0.006", "-0.392"),
}


@pytest.fixture
def validator(pair: Pair) -> ExitValidator:
    return ExitValidator(pair, EngineSettings())


@pytest.fixture
def held(pair: Pair, position_of: Callable[..., Position]) -> Callable[..., Position]:
    """Makes an opened pair from its two entry prices and quantities, entered at 1,400 KRW."""

    def make(
        direction: Direction, korea: Any, abroad: Any, quantity: Any = "0.07", hedge: Any = None, funding: Any = 0
    ) -> Position:
        side = direction.korea_side
        trades = (
            (pair.korea, side, quantity, korea, ONE),
            (pair.abroad, side.opposite, hedge or quantity, abroad, 1_400),
        )
        return position_of(direction, trades, funding)

    return make


@pytest.fixture
def judge(pair: Pair, validator: ExitValidator, book_of: Callable[..., Any]) -> Callable[..., ExitVerdict]:
    """Asks for a verdict at one price per leg, offered in any size."""

    def make(position: Position, korea: Any, abroad: Any, rate: Any, funding: str | None = None) -> ExitVerdict:
        korea, abroad = Decimal(korea), Decimal(abroad)
        k_side = Side.SELL if position.leg(pair.korea.id).quantity > 0 else Side.BUY
        books = [
            book_of(leg, *(([(price, 9)], [(price * 2, 9)]) if side is Side.SELL else ([(price / 2, 9)], [(price, 9)])))
            for leg, price, side in ((pair.korea, korea, k_side), (pair.abroad, abroad, k_side.opposite))
        ]
        known = None if funding is None else FundingRate(pair.abroad.id, Decimal(funding), NOW, NOW)
        return validator.verdict(position, *books, Decimal(rate), NOW + DAY, known)

    return make


# The worked table


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
@pytest.mark.parametrize("direction", [LONG, SHORT])
def test_an_exit_is_allowed_exactly_where_the_worked_table_nets_above_zero(
    row: Row, direction: Direction, held: Callable[..., Position], judge: Callable[..., ExitVerdict]
) -> None:
    korea, abroad, leave_korea, leave_abroad, rate = row.quotes()
    verdict = judge(held(direction, korea, abroad), leave_korea, leave_abroad, rate)
    expected = Decimal(row.long_net if direction is LONG else row.short_net)
    percent = verdict.net / (Decimal("0.07") * korea) * 100
    assert percent.quantize(Decimal("0.001")) == expected
    assert verdict.is_allowed is (expected > 0)
    assert verdict.refusals == (() if expected > 0 else (Refusal.NET_NOT_POSITIVE.value,))


def test_a_premium_that_rose_while_the_rate_fell_is_refused_because_the_rate_ate_it(
    held: Callable[..., Position], judge: Callable[..., ExitVerdict]
) -> None:
    korea, abroad, leave_korea, leave_abroad, rate = TABLE["the exchange rate ate it"].quotes()
    verdict = judge(held(LONG, korea, abroad), leave_korea, leave_abroad, rate)
    assert verdict.premium_now > Decimal("0.005")
    assert verdict.breakdown.fx == Decimal("0.07") * 100_000 * (rate - 1_400) < 0
    assert verdict.breakdown.premium > 0 > verdict.breakdown.net == verdict.net


# The strict zero and thin books


@pytest.fixture
def free_exit(book_of: Callable[..., Any]) -> Callable[..., ExitVerdict]:
    """A pair without fees bought at 140,000,000 against 100,000 and left at the given Korean price."""

    def make(leave: Any, size: Any = 9) -> ExitVerdict:
        position = Position("s", "f", "BTC", LONG, tuple(_flat(leg) for leg in (FREE.korea, FREE.abroad)), NOW)
        for leg, side, price in ((FREE.korea, Side.BUY, 140_000_000), (FREE.abroad, Side.SELL, 100_000)):
            fill = Fill(leg.id, "i", leg.id, side, Decimal("0.07"), Decimal(price), Amount(ZERO, leg.quote), NOW)
            position = position.with_fill(fill, Decimal(price), Decimal(1_400) if leg is FREE.abroad else ONE)
        books = (
            book_of(FREE.korea, [(leave, size)], [(Decimal(leave) + 1_000, 9)]),
            book_of(FREE.abroad, [(99_999, 9)], [(100_000, 9)]),
        )
        return ExitValidator(FREE, EngineSettings()).verdict(position, *books, Decimal(1_400), NOW)

    return make


def _flat(leg: Instrument) -> Any:
    return LegPosition(leg.id)


def test_a_net_of_exactly_zero_is_refused(free_exit: Callable[..., ExitVerdict]) -> None:
    verdict = free_exit(140_000_000)
    assert verdict.net == 0
    assert not verdict.is_allowed


def test_a_net_of_zero_is_refused(
    book_of: Callable[..., Any],
) -> None:
    position = Position("s", "f", "BTC", LONG, tuple(LegPosition(leg.id) for leg in (FREE.korea, FREE.abroad)), NOW)
    for leg, side, price in ((FREE.korea, Side.BUY, 140_000_500), (FREE.abroad, Side.SELL, 100_000)):
        fill = Fill(leg.id, "i", leg.id, side, Decimal("0.07"), Decimal(price), Amount(ZERO, leg.quote), NOW)
        position = position.with_fill(fill, Decimal(price), Decimal(1_400) if leg is FREE.abroad else ONE)
    korea = book_of(FREE.korea, [(140_001_000, "0.035"), (140_000_000, "0.035")], [(140_002_000, 9)])
    abroad = book_of(FREE.abroad, [(99_999, 9)], [(100_000, 9)])
    verdict = ExitValidator(FREE, EngineSettings()).verdict(position, korea, abroad, Decimal(1_400), NOW)
    assert verdict.net == 0
    assert not verdict.is_allowed


def test_the_first_tick_above_zero_is_allowed(free_exit: Callable[..., ExitVerdict]) -> None:
    verdict = free_exit(140_001_000)
    assert verdict.net == 70
    assert verdict.is_allowed
    assert verdict.worst_net > 0


def test_a_book_too_thin_for_the_size_is_refused_without_figures(free_exit: Callable[..., ExitVerdict]) -> None:
    verdict = free_exit(150_000_000, size="0.0699")
    assert not verdict.is_allowed
    assert verdict.refusals == (Refusal.BOOK_TOO_THIN.value,)
    assert (verdict.net, verdict.worst_net, verdict.breakdown, verdict.bounds) == (None, None, None, ())


def test_a_book_of_exactly_the_size_is_enough(free_exit: Callable[..., ExitVerdict]) -> None:
    assert free_exit(150_000_000, size="0.07").is_allowed


def test_the_fast_net_is_none_when_either_book_is_too_thin(
    pair: Pair, validator: ExitValidator, held: Callable[..., Position], book_of: Callable[..., Any]
) -> None:
    position = held(LONG, 144_900_000, 100_000)
    deep_korea, thin_korea = (book_of(pair.korea, [(145_000_000, size)], [(145_001_000, 9)]) for size in (9, "0.06"))
    deep_abroad, thin_abroad = (book_of(pair.abroad, [(99_999, 9)], [(100_000, size)]) for size in (9, "0.06"))
    assert validator.net(position, deep_korea, deep_abroad, Decimal(1_400)) is not None
    assert validator.net(position, thin_korea, deep_abroad, Decimal(1_400)) is None
    assert validator.net(position, deep_korea, thin_abroad, Decimal(1_400)) is None


# What waiting costs


@pytest.mark.parametrize(("direction", "sign"), [(LONG, 1), (SHORT, -1)])
def test_a_positive_funding_rate_pays_the_short_and_costs_the_long(
    direction: Direction, sign: int, held: Callable[..., Position], judge: Callable[..., ExitVerdict]
) -> None:
    verdict = judge(held(direction, 144_900_000, 100_000), 141_000_000, 110_000, 1_300, funding="0.0001")
    assert verdict.carry_per_day == sign * Decimal("0.07") * 110_000 * Decimal("0.0001") * 1_300 * 3


def test_days_to_break_even_are_what_is_missing_over_what_a_day_brings(
    held: Callable[..., Position], judge: Callable[..., ExitVerdict]
) -> None:
    position = held(LONG, 144_900_000, 100_000)
    verdict = judge(position, 144_900_000, 100_000, 1_400, funding="0.0001")
    assert verdict.days_to_break_even == -verdict.net / verdict.carry_per_day > 0
    assert judge(position, 144_900_000, 100_000, 1_400, funding="-0.0001").days_to_break_even is None
    assert judge(position, 144_900_000, 100_000, 1_400, funding="0").days_to_break_even is None
    assert judge(position, 144_900_000, 100_000, 1_400).days_to_break_even is None
    assert judge(position, 149_000_000, 100_000, 1_400, funding="-0.0001").days_to_break_even == 0
    assert verdict.held_for == DAY


def test_a_leg_that_is_gone_leaves_no_break_even_premium(
    pair: Pair, position_of: Callable[..., Position], judge: Callable[..., ExitVerdict]
) -> None:
    only_abroad = position_of(SHORT, [(pair.abroad, Side.BUY, "0.07", 100_000, 1_400)])
    assert judge(only_abroad, 140_000_000, 101_000, 1_400).break_even_premium is None


# Properties

QUANTITIES = st.integers(1, 2_000).map(lambda lots: Decimal(lots).scaleb(-3))
TRIMS = st.integers(0, 99_999).map(lambda units: Decimal(units).scaleb(-8))
KOREAN = st.integers(20_000, 300_000).map(lambda thousands: Decimal(thousands * 1_000))
ABROAD = st.integers(150_000, 2_500_000).map(lambda tenths: Decimal(tenths) / 10)
RATES = st.integers(9_000, 20_000).map(lambda tenths: Decimal(tenths) / 10)
FUNDINGS = st.integers(-500_000, 500_000).map(Decimal)
DIRECTIONS = st.sampled_from(Direction)


class Case(NamedTuple):
    """A pair as it was entered (perhaps in two pieces, a little unequal) and where the market stands at the exit."""

    direction: Direction
    quantity: Decimal
    trim: Decimal
    korea: Decimal
    abroad: Decimal
    rate: Decimal
    korea_move: Decimal
    abroad_move: Decimal
    rate_move: Decimal
    funding: Decimal
    depth: tuple[int, int]


MOVES = st.integers(-800, 800).map(lambda units: Decimal(units).scaleb(-4))
CASES = st.builds(
    Case, *(DIRECTIONS, QUANTITIES, TRIMS, KOREAN, ABROAD, RATES, MOVES, MOVES, MOVES, FUNDINGS),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
)  # fmt: skip


class Judged(NamedTuple):
    """A case with everything that follows from it."""

    case: Case
    fills: list[tuple[Fill, Decimal]]
    position: Position
    books: tuple[Any, Any]
    rate: Decimal
    verdict: ExitVerdict


@pytest.fixture(scope="session")
def judged(pair: Pair, book_of: Callable[..., Any]) -> Callable[[Case], Judged]:
    """Enters a case, shows it a market of a few levels and asks for the verdict."""
    validator = ExitValidator(pair, EngineSettings())

    def ladder(price: Decimal, side: Side, tick: Decimal, quantity: Decimal, levels: int) -> list[tuple[Any, Any]]:
        step = tick * (-1 if side is Side.SELL else 1)
        return [(price + step * 3 * level, quantity / levels + (level == levels - 1)) for level in range(levels)]

    def make(case: Case) -> Judged:
        side = case.direction.korea_side
        entries = [
            (pair.korea, side, case.quantity - min(case.trim, case.quantity / 2), case.korea, ONE),
            (pair.abroad, side.opposite, case.quantity, case.abroad, case.rate),
        ]
        fills, position = [], Position("s", "f", "BTC", case.direction, tuple(_flat(leg) for leg, *_ in entries), NOW)
        for leg, way, quantity, price, rate in entries:
            fill = _paid(leg, way, quantity, price, f"{leg.id}-in")
            fills.append((fill, rate))
            position = position.with_fill(fill, price, rate)
        position = position.with_funding(case.funding)
        books = []
        for (leg, way, quantity, price, _), move, levels in zip(
            entries, (case.korea_move, case.abroad_move), case.depth, strict=True
        ):
            leave, out = leg.rules.bound(price * (1 + move), way), way.opposite
            taken = ladder(leave, out, leg.rules.tick_at(leave), quantity, levels)
            other = [(leave + leg.rules.tick_at(leave) * (1 if out is Side.SELL else -1), 1)]
            books.append(book_of(leg, *((taken, other) if out is Side.SELL else (other, taken))))
        rate = case.rate * (1 + case.rate_move)
        verdict = validator.verdict(position, *books, rate, NOW)
        return Judged(case, fills, position, tuple(books), rate, verdict)

    return make


def _paid(leg: Instrument, side: Side, quantity: Decimal, price: Decimal, trade_id: str) -> Fill:
    fee = Amount(quantity * price * leg.fee_rate, leg.quote)
    return Fill(trade_id, "id", leg.id, side, quantity, price, fee, NOW)


def cash_flow(fills: list[tuple[Fill, Decimal]], leave_rate: Decimal, funding: Decimal, pair: Pair) -> Fraction:
    """What is in the owner's pocket after all fills, in won: the definition, in fractions, sharing no code."""
    total = Fraction(funding)
    for fill, rate in fills:
        worth = Fraction(1) if fill.instrument_id == pair.korea.id else Fraction(leave_rate)
        flow = Fraction(fill.quantity) * Fraction(fill.price)
        total += flow * worth * (1 if fill.side is Side.SELL else -1) - Fraction(fill.fee.value) * Fraction(rate)
    return total


@settings(max_examples=300, deadline=None)
@given(case=CASES)
def test_whenever_an_exit_is_allowed_filling_at_both_bounds_earns_money(
    case: Case, judged: Callable[[Case], Judged], pair: Pair
) -> None:
    told = judged(case)
    assume(told.verdict.is_allowed)
    fills = list(told.fills)
    for leg, rate in ((pair.korea, ONE), (pair.abroad, told.rate)):
        quantity, bound = told.position.leg(leg.id).quantity, dict(told.verdict.bounds)[leg.id]
        side = Side.SELL if quantity > 0 else Side.BUY
        fills.append((_paid(leg, side, abs(quantity), bound, f"{leg.id}-out"), rate))
    assert cash_flow(fills, told.rate, case.funding, pair) > 0
    assert abs(cash_flow(fills, told.rate, case.funding, pair) - Fraction(told.verdict.worst_net)) < Fraction(1, 1000)


@settings(max_examples=200, deadline=None)
@given(case=CASES)
def test_bounds_are_on_tick_and_never_give_away_more_than_the_slippage_allowed(
    case: Case, judged: Callable[[Case], Judged], pair: Pair
) -> None:
    told = judged(case)
    slippage = EngineSettings().slippage_max
    for leg, book in zip((pair.korea, pair.abroad), told.books, strict=True):
        quantity, bound = told.position.leg(leg.id).quantity, dict(told.verdict.bounds)[leg.id]
        side = Side.SELL if quantity > 0 else Side.BUY
        price = book.reach(side, abs(quantity))
        assert bound % leg.rules.tick_at(bound) == 0
        assert bound >= price * (1 - slippage) if side is Side.SELL else bound <= price * (1 + slippage)


@settings(max_examples=200, deadline=None)
@given(case=CASES)
def test_the_fast_net_equals_the_slow_breakdown_less_the_fees_still_to_pay(
    case: Case, judged: Callable[[Case], Judged], pair: Pair
) -> None:
    told = judged(case)
    fast = ExitValidator(pair, EngineSettings()).net(told.position, *told.books, told.rate)
    marks, to_pay = {}, ZERO
    for leg, book, rate in zip((pair.korea, pair.abroad), told.books, (ONE, told.rate), strict=True):
        quantity = told.position.leg(leg.id).quantity
        price = book.vwap(Side.SELL if quantity > 0 else Side.BUY, abs(quantity))
        marks[leg.id] = Mark(price, rate)
        to_pay += abs(quantity) * price * leg.fee_rate * rate
    slow = told.position.breakdown(marks).net - to_pay
    assert fast == told.verdict.net
    assert abs(fast - slow) < Decimal("1e-9")
    assert abs(told.verdict.breakdown.net - slow) < Decimal("1e-9")


@settings(max_examples=200, deadline=None)
@given(case=CASES)
def test_selling_korea_at_the_break_even_premium_nets_nothing(
    case: Case, judged: Callable[[Case], Judged], pair: Pair, book_of: Callable[..., Any]
) -> None:
    told = judged(case)
    abroad_quantity = told.position.leg(pair.abroad.id).quantity
    abroad = told.books[1].vwap(Side.SELL if abroad_quantity > 0 else Side.BUY, abs(abroad_quantity))
    price = (told.verdict.break_even_premium + 1) * abroad * told.rate
    assume(price > 0)
    korea = book_of(pair.korea, [(price, 99)], [(price, 99)])
    net = ExitValidator(pair, EngineSettings()).net(told.position, korea, told.books[1], told.rate)
    assert abs(net) < Decimal("1e-9")
