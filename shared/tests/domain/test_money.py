"""Units are checked by every operator: a wrong unit raises and never becomes a wrong number."""

import operator
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimp.shared.domain.money import Amount, Price, exact
from kimp.shared.domain.premium import premium
from kimp.shared.errors import UnitMismatch

KRW = Amount(Decimal(5_000), "KRW")
USDT = Amount(Decimal(4), "USDT")
BTC = Amount(Decimal("0.07"), "BTC")
BTC_KRW = Price(Decimal(144_900_000), "BTC", "KRW")
BTC_USDT = Price(Decimal(100_000), "BTC", "USDT")
USDT_KRW = Price(Decimal(1_400), "USDT", "KRW")
USD_KRW = Price(Decimal(1_380), "USD", "KRW")
ETH_KRW = Price(Decimal(5_000_000), "ETH", "KRW")

COMPARISONS = (operator.lt, operator.le, operator.gt, operator.ge)
SUMS = (operator.add, operator.sub)
MONEY = st.decimals(min_value=-(10**10), max_value=10**10, places=8, allow_nan=False, allow_infinity=False)
POSITIVE = st.decimals(min_value=Decimal("0.01"), max_value=10**6, places=2)


@pytest.mark.parametrize("combine", [*SUMS, *COMPARISONS, operator.truediv])
def test_amounts_of_different_assets_do_not_combine(combine: Callable[[Any, Any], object]) -> None:
    with pytest.raises(UnitMismatch, match=r"5000 KRW and 4 USDT"):
        combine(KRW, USDT)


@pytest.mark.parametrize("combine", [*SUMS, *COMPARISONS, operator.truediv])
@pytest.mark.parametrize("other", [USDT_KRW, ETH_KRW, BTC_USDT], ids=str)
def test_prices_of_different_pairs_do_not_combine(combine: Callable[[Any, Any], object], other: Price) -> None:
    with pytest.raises(UnitMismatch):
        combine(BTC_KRW, other)


@pytest.mark.parametrize("combine", [*SUMS, *COMPARISONS])
@pytest.mark.parametrize("money", [KRW, BTC_KRW], ids=str)
@pytest.mark.parametrize("bare", [1, 0, 1.5, Decimal(1), "1", None], ids=repr)
def test_a_bare_number_is_not_money(combine: Callable[[Any, Any], object], money: Amount | Price, bare: object) -> None:
    with pytest.raises(UnitMismatch):
        combine(money, bare)


@pytest.mark.parametrize("combine", [*SUMS, *COMPARISONS])
def test_an_amount_and_a_price_neither_add_nor_compare(combine: Callable[[Any, Any], object]) -> None:
    with pytest.raises(UnitMismatch):
        combine(KRW, BTC_KRW)
    with pytest.raises(UnitMismatch):
        combine(BTC_KRW, KRW)


@pytest.mark.parametrize("money", [KRW, BTC_KRW], ids=str)
@pytest.mark.parametrize("factor", [0.5, True, "2", None, 1j, np.float64(0.5)], ids=repr)
def test_a_factor_must_be_an_exact_number(money: Amount | Price, factor: object) -> None:
    for combine in (lambda: money * factor, lambda: money / factor, lambda: factor * money):
        with pytest.raises(TypeError):
            combine()


def test_a_float_factor_is_named_in_the_error() -> None:
    with pytest.raises(UnitMismatch, match=r"0\.0005 \(float\) with money"):
        KRW * 0.0005


def test_two_amounts_do_not_multiply() -> None:
    with pytest.raises(UnitMismatch):
        KRW * KRW


def test_a_price_does_not_divide_by_a_bare_number() -> None:
    with pytest.raises(UnitMismatch):
        BTC_KRW / 2


@pytest.mark.parametrize("price", [USDT_KRW, ETH_KRW], ids=str)
def test_an_amount_is_not_valued_at_the_price_of_something_else(price: Price) -> None:
    with pytest.raises(UnitMismatch, match="cannot value"):
        BTC * price


@pytest.mark.parametrize("price", [USDT_KRW, BTC_KRW], ids=str)
def test_an_amount_is_not_divided_by_a_price_in_another_asset(price: Price) -> None:
    with pytest.raises(UnitMismatch, match="cannot divide"):
        USDT / price


@pytest.mark.parametrize("rate", [USD_KRW, ETH_KRW, BTC_KRW], ids=str)
def test_prices_that_do_not_meet_do_not_chain(rate: Price) -> None:
    with pytest.raises(UnitMismatch, match="cannot chain"):
        BTC_USDT * rate


def test_bitcoin_in_tether_and_tether_in_won_chain_to_bitcoin_in_won() -> None:
    chained = BTC_USDT * USDT_KRW
    assert chained == Price(Decimal(140_000_000), "BTC", "KRW")


@given(POSITIVE, POSITIVE)
def test_chaining_does_not_depend_on_which_price_comes_first(abroad: Decimal, fx: Decimal) -> None:
    first, second = Price(abroad, "BTC", "USDT"), Price(fx, "USDT", "KRW")
    assert first * second == second * first == Price(abroad * fx, "BTC", "KRW")


@given(POSITIVE, POSITIVE, POSITIVE)
def test_valuing_through_the_chain_equals_valuing_step_by_step(coins: Decimal, abroad: Decimal, fx: Decimal) -> None:
    amount, in_usdt, in_krw = Amount(coins, "BTC"), Price(abroad, "BTC", "USDT"), Price(fx, "USDT", "KRW")
    assert amount * (in_usdt * in_krw) == amount * in_usdt * in_krw


@given(MONEY, MONEY)
def test_amounts_of_one_asset_calculate_as_their_values_do(a: Decimal, b: Decimal) -> None:
    first, second = Amount(a, "KRW"), Amount(b, "KRW")
    assert (first + second).value == a + b
    assert first - second == first + -second
    assert (first < second, first <= second, first > second, first >= second) == (a < b, a <= b, a > b, a >= b)
    assert abs(first).value == abs(a)
    assert bool(first) is (a != 0)


@given(MONEY, st.integers(-1_000, 1_000))
def test_a_whole_or_decimal_factor_scales_an_amount_from_either_side(value: Decimal, factor: int) -> None:
    amount = Amount(value, "KRW")
    assert amount * factor == factor * amount == amount * Decimal(factor) == Amount(value * factor, "KRW")


@given(POSITIVE, POSITIVE)
def test_prices_of_one_pair_calculate_as_their_values_do(a: Decimal, b: Decimal) -> None:
    first, second = Price(a, "BTC", "KRW"), Price(b, "BTC", "KRW")
    assert (first + second).value == a + b
    assert (first - second).value == a - b
    assert first / second == a / b
    assert (first < second, first <= second, first > second, first >= second) == (a < b, a <= b, a > b, a >= b)
    assert (first * 2).value == 2 * a


def test_dividing_money_by_a_price_gives_what_it_buys() -> None:
    assert Amount(Decimal(14_490_000), "KRW") / BTC_KRW == Amount(Decimal("0.1"), "BTC")


def test_dividing_money_by_money_gives_a_ratio_and_by_a_number_a_part() -> None:
    ratio, part = KRW / Amount(Decimal(2_000), "KRW"), KRW / 4
    assert ratio == Decimal("2.5")
    assert part == Amount(Decimal(1_250), "KRW")


def test_equal_numbers_of_different_assets_are_not_equal() -> None:
    assert Amount(Decimal(0), "KRW") != Amount(Decimal(0), "USDT")
    assert Price(Decimal(1), "USD", "KRW") != Price(Decimal(1), "USDT", "KRW")


def test_money_cannot_be_changed_in_place() -> None:
    with pytest.raises(AttributeError):
        KRW.value = Decimal(1)  # type: ignore[misc]


def test_money_prints_without_exponents() -> None:
    assert str(Amount(Decimal("1E+3"), "KRW")) == "1000 KRW"
    assert str(Price(Decimal("1E-8"), "BTC", "USDT")) == "0.00000001 BTC/USDT"


def test_the_premium_says_how_much_dearer_korea_is() -> None:
    assert premium(BTC_KRW, BTC_USDT, USDT_KRW) == Decimal("0.035")
    assert premium(Price(Decimal(138_600_000), "BTC", "KRW"), BTC_USDT, USDT_KRW) == Decimal("-0.01")


@pytest.mark.parametrize(
    ("korea", "abroad", "fx"),
    [
        (BTC_KRW, BTC_USDT, USD_KRW),
        (BTC_KRW, USDT_KRW, BTC_KRW),
        (ETH_KRW, BTC_USDT, USDT_KRW),
        (BTC_USDT, BTC_USDT, USDT_KRW),
    ],
    ids=["dollar rate", "legs swapped", "another coin", "not in won"],
)
def test_a_premium_of_prices_that_do_not_chain_is_refused(korea: Price, abroad: Price, fx: Price) -> None:
    with pytest.raises(UnitMismatch):
        premium(korea, abroad, fx)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_exact_decimal_of_a_float_reads_back_as_that_float(number: float) -> None:
    assert float(exact(number)) == number


@pytest.mark.parametrize(("number", "text"), [(0.1, "0.1"), (144_900_000.5, "144900000.5"), (1e-8, "1E-8"), (3, "3")])
def test_the_exact_decimal_is_what_was_written_and_not_its_binary_expansion(number: float, text: str) -> None:
    assert exact(number) == Decimal(text)


def test_a_float_out_of_a_recorded_column_is_taken_like_any_other() -> None:
    (number,) = np.array([0.1])
    assert exact(number) == Decimal("0.1")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_float_that_is_no_number_is_not_traded_on(number: float) -> None:
    with pytest.raises(ValueError, match="not a number to trade on"):
        exact(number)
