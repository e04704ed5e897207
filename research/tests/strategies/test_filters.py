from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimp.research.strategies.filters import (
    Zone,
    distant_level,
    is_beyond,
    is_breakout,
    is_enough,
    is_surging,
    pays_funding,
    second_tranche,
)
from kimp.shared.domain.signals import Direction

LONG, SHORT = Direction.LONG_PREMIUM, Direction.SHORT_PREMIUM
LEVEL = Decimal("0.03")
TICK = Decimal("1e-27")
"""The last digit a quotient of prices has here: the nearest a premium can come to its level."""

shares = st.decimals(min_value=0, max_value=1, places=4)


@pytest.mark.parametrize("level", [LEVEL, Decimal(0), Decimal("-0.02")])
def test_a_premium_on_its_level_is_beyond_it_on_neither_side(level: Decimal) -> None:
    assert not is_beyond(level, level, Zone.ABOVE)
    assert not is_beyond(level, level, Zone.BELOW)
    assert is_beyond(level + TICK, level, Zone.ABOVE)
    assert not is_beyond(level + TICK, level, Zone.BELOW)
    assert is_beyond(level - TICK, level, Zone.BELOW)
    assert not is_beyond(level - TICK, level, Zone.ABOVE)


def test_a_level_written_with_more_zeros_is_the_same_level() -> None:
    assert not is_beyond(Decimal("0.0300000"), LEVEL, Zone.ABOVE)


def test_a_distant_level_lies_that_many_deviations_off_the_mean() -> None:
    assert distant_level(LEVEL, Decimal("0.002"), Decimal("1.5"), Zone.ABOVE) == Decimal("0.033")
    assert distant_level(LEVEL, Decimal("0.002"), Decimal("1.5"), Zone.BELOW) == Decimal("0.027")


def test_funding_of_exactly_the_minimum_does_not_pay() -> None:
    assert not pays_funding(Decimal(0), LONG, Decimal(0))
    assert not pays_funding(Decimal("-0"), SHORT, Decimal(0))
    assert pays_funding(TICK, LONG, Decimal(0))
    assert not pays_funding(-TICK, LONG, Decimal(0))
    assert not pays_funding(Decimal("0.0001"), LONG, Decimal("0.0001"))
    assert pays_funding(Decimal("-0.00009"), LONG, Decimal("-0.0001"))


def test_positive_funding_is_income_for_long_premium_and_a_cost_for_short() -> None:
    rate = Decimal("0.0001")
    assert pays_funding(rate, LONG, Decimal(0))
    assert not pays_funding(rate, SHORT, Decimal(0))
    assert pays_funding(-rate, SHORT, Decimal(0))


def test_the_dollar_surges_only_above_its_mean_times_the_factor() -> None:
    mean, factor = Decimal(1400), Decimal("1.001")
    assert not is_surging(Decimal("1401.4"), mean, factor)
    assert is_surging(Decimal("1401.4000001"), mean, factor)
    assert not is_surging(Decimal("1401.3999999"), mean, factor)


@pytest.mark.parametrize("minimum", [Decimal(0), Decimal("0.015"), Decimal("0.02")])
def test_a_net_of_exactly_the_target_is_not_enough(minimum: Decimal) -> None:
    capital = Decimal(10_000_000)
    target = capital * minimum
    won = Decimal("0.00000001")
    assert not is_enough(target, capital, minimum)
    assert is_enough(target + won, capital, minimum)
    assert not is_enough(target - won, capital, minimum)


def test_a_breakout_needs_both_the_profit_and_the_spike() -> None:
    capital, minimum, earned = Decimal(1000), Decimal("0.005"), Decimal("5.01")
    assert is_breakout(earned, capital, minimum, LEVEL + TICK, LEVEL)
    assert not is_breakout(earned, capital, minimum, LEVEL, LEVEL)
    assert not is_breakout(Decimal(5), capital, minimum, LEVEL + TICK, LEVEL)
    assert is_breakout(earned, capital, minimum, LEVEL - TICK, LEVEL, Zone.BELOW)


def test_the_second_tranche_is_what_the_first_left_over() -> None:
    assert second_tranche(Decimal("0.4"), Decimal("0.4")) == Decimal("0.6")
    assert second_tranche(Decimal("0.37"), Decimal("0.4")) == Decimal("0.6")  # lots cut the first one short
    assert second_tranche(Decimal("0.45"), Decimal("0.4")) == Decimal("0.55")


def test_the_second_tranche_is_on_once_half_of_it_is() -> None:
    assert second_tranche(Decimal("0.6999"), Decimal("0.4")) == Decimal("0.3001")
    assert second_tranche(Decimal("0.7"), Decimal("0.4")) is None
    assert second_tranche(Decimal("0.97"), Decimal("0.4")) is None
    assert second_tranche(Decimal(1), Decimal("0.4")) is None


@given(filled=shares, first=st.decimals(min_value=Decimal("0.05"), max_value=Decimal("0.95"), places=2))
def test_tranches_never_exceed_a_full_position(filled: Decimal, first: Decimal) -> None:
    added = second_tranche(filled, first)
    assert added is None or (added > 0 and filled + added <= 1)
