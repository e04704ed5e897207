"""A rate is used from its publication until it says itself that it has expired, and never otherwise."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimp.shared.domain.fx import FxQuote, at_par
from kimp.shared.domain.money import Price
from kimp.shared.domain.time import MINUTE, SECOND
from kimp.shared.errors import UnitMismatch

AT = 1_000 * SECOND


def quote(value: str = "1400", base: str = "USDT") -> FxQuote:
    return FxQuote(base, Decimal(value), at=AT, valid_until=AT + 2 * MINUTE, source="upbit")


@pytest.mark.parametrize(
    ("now", "is_valid"),
    [
        (AT - 1, False),
        (AT, True),
        (AT + MINUTE, True),
        (AT + 2 * MINUTE, True),
        (AT + 2 * MINUTE + 1, False),
    ],
    ids=["before it was known", "when it was known", "within", "at its last moment", "a nanosecond later"],
)
def test_a_rate_is_valid_from_its_publication_to_its_last_moment(now: int, is_valid: bool) -> None:
    assert quote().is_valid(now) is is_valid


@pytest.mark.parametrize("value", ["0", "-0", "-1400", "NaN", "-NaN", "sNaN", "Infinity", "-Infinity"])
def test_a_rate_that_is_no_price_is_never_valid(value: str) -> None:
    assert quote(value).is_valid(AT) is False


def test_a_rate_below_one_is_a_rate() -> None:
    assert quote("0.00000001").is_valid(AT) is True


def test_a_rate_that_expired_before_it_was_known_is_never_valid() -> None:
    backwards = FxQuote("USD", Decimal(1_380), at=AT, valid_until=AT - 1, source="bank")
    assert not any(backwards.is_valid(now) for now in (AT - 1, AT, AT + 1))


@given(st.integers(0, 10**19), st.integers(0, 10**19), st.integers(0, 10**19))
def test_a_sound_rate_is_valid_exactly_within_its_time(at: int, valid_until: int, now: int) -> None:
    assert FxQuote("USD", Decimal(1_380), at, valid_until, "bank").is_valid(now) == (at <= now <= valid_until)


def test_a_quote_is_a_price_in_won() -> None:
    assert quote().price == Price(Decimal(1_400), "USDT", "KRW")


def test_par_takes_the_dollar_rate_for_a_tether() -> None:
    assert at_par(quote("1380", "USD").price) == Price(Decimal(1_380), "USDT", "KRW")


@pytest.mark.parametrize("base", ["USDT", "EUR"])
def test_par_takes_nothing_but_the_dollar(base: str) -> None:
    with pytest.raises(UnitMismatch, match="not a price of the dollar"):
        at_par(quote(base=base).price)
