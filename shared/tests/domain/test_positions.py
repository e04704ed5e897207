"""What a pair has earned, leg by leg: the worked table, the exact identity, and parts that add up."""

import operator
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import reduce
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimp.shared.domain.instruments import Pair, Side
from kimp.shared.domain.money import ONE, ZERO
from kimp.shared.domain.orders import Fill
from kimp.shared.domain.positions import Breakdown, LegPlan, LegPosition, Mark, Position
from kimp.shared.domain.signals import Direction

PREMIUMS = st.decimals(min_value=Decimal("-0.2"), max_value=Decimal("0.6"), places=4)
ABROAD_PRICES = st.decimals(min_value=5_000, max_value=300_000, places=1)
RATES = st.decimals(min_value=900, max_value=2_000, places=1)
KOREAN_PRICES = st.integers(5_000, 600_000).map(lambda thousands: Decimal(thousands * 1_000))
KOREAN_QUANTITIES = st.integers(1, 10**9).map(lambda n: Decimal(n).scaleb(-8))
ABROAD_QUANTITIES = st.integers(1, 5_000).map(lambda n: Decimal(n).scaleb(-3))
SIDES = st.sampled_from(Side)
LONG, SHORT = Direction.LONG_PREMIUM, Direction.SHORT_PREMIUM
NO_FEE = ZERO


class Traded(NamedTuple):
    """A fill, the price it was decided on, and the KRW worth of its quote asset at that moment."""

    fill: Fill
    reference: Decimal
    krw_rate: Decimal


@pytest.fixture(scope="session")
def trades(pair: Pair, fill_of: Callable[..., Fill]) -> st.SearchStrategy[list[Traded]]:
    """Any fills of both legs in any order and size: entries, exits, repairs, flips."""
    korean = st.builds(
        lambda side, quantity, price, slip: Traded(
            fill_of(pair.korea, side, quantity, price), price + slip * 500, krw_rate=ONE
        ),
        *(SIDES, KOREAN_QUANTITIES, KOREAN_PRICES, st.integers(-3, 3)),
    )
    abroad = st.builds(
        lambda side, quantity, price, slip, rate: Traded(
            fill_of(pair.abroad, side, quantity, price), price + slip * Decimal("0.05"), krw_rate=rate
        ),
        *(SIDES, ABROAD_QUANTITIES, ABROAD_PRICES, st.integers(-3, 3), RATES),
    )
    return st.lists(korean | abroad, min_size=1, max_size=10)


MARKS = st.tuples(KOREAN_PRICES, ABROAD_PRICES, RATES)


def marks_of(pair: Pair, drawn: tuple[Decimal, Decimal, Decimal]) -> dict[str, Mark]:
    korea, abroad, rate = drawn
    return {pair.korea.id: Mark(korea, ONE), pair.abroad.id: Mark(abroad, rate)}


def after(position: Position, trades: Sequence[Traded]) -> Position:
    return reduce(lambda held, trade: held.with_fill(*trade), trades, position)


def earned_by_cash_flow(pair: Pair, trades: Sequence[Traded], funding: Decimal, marks: dict[str, Mark]) -> Fraction:
    """The definition, in fractions and from the fills alone: what came in, what went out, what is left at its mark."""
    net = Fraction(funding)
    for leg in (pair.korea, pair.abroad):
        mark = marks[leg.id]
        cash = held = Fraction(0)
        for fill, _, krw_rate in trades:
            if fill.instrument_id == leg.id:
                bought = Fraction(fill.quantity) * (1 if fill.side is Side.BUY else -1)
                cash, held = cash - bought * Fraction(fill.price), held + bought
                net -= Fraction(fill.fee.value) * Fraction(krw_rate)
        net += (cash + held * Fraction(mark.price)) * Fraction(mark.krw_rate)
    return net


# The worked table


def percent_of_entry(position: Position, net: Decimal, row: Any) -> Decimal:
    assert position.is_flat
    return (net / (row.quantity * row.entry.korea) * 100).quantize(Decimal("0.001"))


def test_a_long_premium_nets_what_the_worked_table_prints(worked_row: Any, round_trip: Callable[..., Any]) -> None:
    position, marks = round_trip(LONG, worked_row.quantity, worked_row.entry, worked_row.exit)
    assert percent_of_entry(position, position.breakdown(marks).net, worked_row) == worked_row.long_net


def test_a_short_premium_nets_what_the_worked_table_prints(worked_row: Any, round_trip: Callable[..., Any]) -> None:
    position, marks = round_trip(SHORT, worked_row.quantity, worked_row.entry, worked_row.exit)
    assert percent_of_entry(position, position.breakdown(marks).net, worked_row) == worked_row.short_net


def test_a_long_premium_may_leave_exactly_where_the_worked_table_allows_it(
    worked_row: Any, round_trip: Callable[..., Any]
) -> None:
    position, marks = round_trip(LONG, worked_row.quantity, worked_row.entry, worked_row.exit)
    assert (position.breakdown(marks).net > 0) is worked_row.long_may_exit


def test_a_falling_won_rate_shows_as_the_part_that_ate_the_gain(
    worked_table: Sequence[Any], round_trip: Callable[..., Any]
) -> None:
    (row,) = (row for row in worked_table if row.fx_rise)
    position, marks = round_trip(LONG, row.quantity, row.entry, row.exit)
    parts = position.breakdown(marks)
    spot = row.quantity * (row.exit.korea - row.entry.korea)
    shorted = row.quantity * row.entry.abroad
    assert parts.fx == shorted * (row.exit.fx - row.entry.fx) < 0
    assert parts.premium == spot + shorted * row.entry.fx - row.quantity * row.exit.abroad * row.exit.fx
    assert (parts.slippage, parts.funding) == (0, 0)
    assert parts.fees < 0 < parts.net - parts.fees


# The exact identity


@settings(deadline=None)
@given(
    *(ABROAD_QUANTITIES, PREMIUMS, PREMIUMS, ABROAD_PRICES, ABROAD_PRICES, RATES, RATES),
)
def test_the_gross_of_both_directions_follows_the_identity(
    round_trip: Callable[..., Any],
    worked_table: Sequence[Any],
    quantity: Decimal,
    k0: Decimal,
    k1: Decimal,
    b0: Decimal,
    b1: Decimal,
    f0: Decimal,
    f1: Decimal,
) -> None:
    quotes = type(worked_table[0].entry)
    entry, leave = quotes(b0 * f0 * (1 + k0), b0, f0), quotes(b1 * f1 * (1 + k1), b1, f1)
    identity = quantity * (k1 * b1 * f1 - k0 * b0 * f0 + b0 * (f1 - f0))
    notional = quantity * max(entry.korea, leave.korea)

    long, marks = round_trip(LONG, quantity, entry, leave, fee_rate=NO_FEE)
    short, _ = round_trip(SHORT, quantity, entry, leave, fee_rate=NO_FEE)
    assert abs(long.breakdown(marks).net - identity) <= notional * Decimal("1e-9")
    assert abs(short.breakdown(marks).net + identity) <= notional * Decimal("1e-9")


# Parts that add up


@settings(deadline=None)
@given(st.data(), st.sampled_from(Direction), st.lists(st.integers(-(10**9), 10**9), max_size=4), MARKS)
def test_the_parts_add_up_to_what_came_in_less_what_went_out(
    pair: Pair,
    open_pair: Callable[[Direction], Position],
    trades: st.SearchStrategy[list[Traded]],
    data: st.DataObject,
    direction: Direction,
    settlements: list[int],
    drawn: tuple[Decimal, Decimal, Decimal],
) -> None:
    traded = data.draw(trades)
    marks = marks_of(pair, drawn)
    position = after(open_pair(direction), traded)
    for settlement in settlements:
        position = position.with_funding(Decimal(settlement).scaleb(-4))
    parts = position.breakdown(marks)
    funding = Decimal(sum(settlements)).scaleb(-4)
    assert Fraction(parts.net) == earned_by_cash_flow(pair, traded, funding, marks)
    assert parts.funding == funding


@settings(deadline=None)
@given(st.data(), MARKS)
def test_each_part_is_what_it_is_called(
    pair: Pair,
    open_pair: Callable[[Direction], Position],
    trades: st.SearchStrategy[list[Traded]],
    data: st.DataObject,
    drawn: tuple[Decimal, Decimal, Decimal],
) -> None:
    traded = data.draw(trades)
    marks = marks_of(pair, drawn)
    parts = after(open_pair(LONG), traded).breakdown(marks)
    slippage = fx = fees = Fraction(0)
    for fill, reference, krw_rate in traded:
        bought, now = Fraction(fill.quantity * fill.side.sign), Fraction(marks[fill.instrument_id].krw_rate)
        slippage -= bought * (Fraction(fill.price) - Fraction(reference)) * now
        fx -= bought * Fraction(reference) * (now - Fraction(krw_rate))
        fees -= Fraction(fill.fee.value) * Fraction(krw_rate)
    assert (Fraction(parts.slippage), Fraction(parts.fx), Fraction(parts.fees)) == (slippage, fx, fees)


@settings(deadline=None)
@given(st.data())
def test_fills_in_any_order_make_the_same_position(
    open_pair: Callable[[Direction], Position], trades: st.SearchStrategy[list[Traded]], data: st.DataObject
) -> None:
    traded = data.draw(trades)
    shuffled = data.draw(st.permutations(traded))
    assert after(open_pair(LONG), traded) == after(open_pair(LONG), shuffled)


@settings(deadline=None)
@given(st.data(), MARKS)
def test_a_position_at_its_marks_is_worth_what_closing_there_earns(
    pair: Pair,
    open_pair: Callable[[Direction], Position],
    trades: st.SearchStrategy[list[Traded]],
    fill_of: Callable[..., Fill],
    data: st.DataObject,
    drawn: tuple[Decimal, Decimal, Decimal],
) -> None:
    position = after(open_pair(LONG), data.draw(trades))
    marks = marks_of(pair, drawn)
    closed = position
    for leg in position.legs:
        mark = marks[leg.instrument_id]
        side = Side.SELL if leg.quantity > 0 else Side.BUY
        closing = fill_of(pair.instrument(leg.instrument_id), side, abs(leg.quantity), mark.price, fee_rate=NO_FEE)
        closed = closed.with_fill(closing, mark.price, mark.krw_rate)
    assert closed.is_flat
    assert closed.breakdown(marks) == position.breakdown(marks)


# Marks and legs


def test_a_rising_mark_moves_the_net_by_what_is_held(
    pair: Pair, fill_of: Callable[..., Fill], open_pair: Callable[[Direction], Position]
) -> None:
    bought = fill_of(pair.korea, Side.BUY, Decimal("0.07"), Decimal(144_900_000))
    position = open_pair(LONG).with_fill(bought, bought.price, ONE)
    before = position.breakdown(marks_of(pair, (bought.price, Decimal(100_000), Decimal(1_400))))
    later = position.breakdown(marks_of(pair, (bought.price + 1_000_000, Decimal(100_000), Decimal(1_400))))
    assert later.net - before.net == 70_000
    assert before.net == before.fees == -bought.fee.value


def test_the_mark_of_a_flat_leg_matters_only_by_its_rate_into_won(
    worked_table: Sequence[Any], round_trip: Callable[..., Any], pair: Pair
) -> None:
    row = worked_table[2]
    position, marks = round_trip(LONG, row.quantity, row.entry, row.exit)
    elsewhere = {key: Mark(Decimal(7), mark.krw_rate) for key, mark in marks.items()}
    assert position.breakdown(elsewhere) == position.breakdown(marks)
    dearer = {**marks, pair.abroad.id: Mark(row.exit.abroad, row.exit.fx + 1)}
    lost_abroad = row.quantity * (row.exit.abroad - row.entry.abroad)
    assert position.breakdown(dearer).net == position.breakdown(marks).net - lost_abroad


def test_a_leg_without_a_mark_is_not_guessed(pair: Pair, open_pair: Callable[[Direction], Position]) -> None:
    with pytest.raises(KeyError, match=pair.abroad.id):
        open_pair(LONG).breakdown({pair.korea.id: Mark(Decimal(1), ONE)})


def test_a_fill_on_no_leg_of_the_position_is_not_lost_silently(
    pair: Pair, fill_of: Callable[..., Fill], open_pair: Callable[[Direction], Position]
) -> None:
    alone = Position("signal", "kimp", "BTC", LONG, open_pair(LONG).legs[:1], opened_at=0)
    with pytest.raises(KeyError, match="has no leg binance:BTCUSDT"):
        alone.with_fill(fill_of(pair.abroad, Side.SELL, Decimal(1), Decimal(1)), Decimal(1), ONE)


def test_a_fill_touches_its_own_leg_only(
    pair: Pair, fill_of: Callable[..., Fill], open_pair: Callable[[Direction], Position]
) -> None:
    position = open_pair(LONG)
    filled = position.with_fill(fill_of(pair.abroad, Side.SELL, ONE, Decimal(10)), Decimal(10), Decimal(1_400))
    assert filled.leg(pair.korea.id) == position.leg(pair.korea.id)
    assert filled.leg(pair.abroad.id) == LegPosition(
        pair.abroad.id,
        quantity=-ONE,
        cash=Decimal(10),
        reference_cash=Decimal(10),
        reference_cash_krw=Decimal(14_000),
        fees_krw=Decimal(7),
    )


def test_exposure_is_what_the_other_leg_does_not_cover(
    pair: Pair, fill_of: Callable[..., Fill], open_pair: Callable[[Direction], Position]
) -> None:
    naked = open_pair(LONG).with_fill(fill_of(pair.korea, Side.BUY, Decimal("0.07"), ONE), ONE, ONE)
    assert naked.exposure == Decimal("0.07")
    partly = naked.with_fill(fill_of(pair.abroad, Side.SELL, Decimal("0.05"), ONE), ONE, ONE)
    assert partly.exposure == Decimal("0.02")
    hedged = partly.with_fill(fill_of(pair.abroad, Side.SELL, Decimal("0.02"), ONE), ONE, ONE)
    assert hedged.exposure == 0
    assert not hedged.is_flat


def test_a_position_of_one_leg_is_meant_to_be_exposed(
    pair: Pair, fill_of: Callable[..., Fill], open_pair: Callable[[Direction], Position]
) -> None:
    alone = Position("signal", "trend", "BTC", SHORT, open_pair(SHORT).legs[1:], opened_at=0)
    alone = alone.with_fill(fill_of(pair.abroad, Side.SELL, ONE, ONE), ONE, ONE)
    assert alone.exposure == 0
    assert not alone.is_flat


def test_a_planned_order_may_open_unless_it_says_otherwise() -> None:
    assert LegPlan("upbit:KRW-BTC", Side.BUY, ONE, limit=ONE, reference=ONE).reduce_only is False


def test_a_new_position_is_flat_and_has_earned_nothing(pair: Pair, open_pair: Callable[[Direction], Position]) -> None:
    position = open_pair(SHORT)
    assert position.is_flat
    assert position.breakdown(marks_of(pair, (ONE, ONE, ONE))) == Breakdown(ZERO, ZERO, ZERO, ZERO, ZERO)


@given(st.lists(st.decimals(-(10**9), 10**9, places=4), min_size=5, max_size=5))
def test_the_net_is_the_sum_of_its_parts(parts: list[Decimal]) -> None:
    assert Breakdown(*parts).net == reduce(operator.add, parts)
