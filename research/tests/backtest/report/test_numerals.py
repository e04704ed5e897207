from decimal import Decimal

from kimp.research.backtest.report import numerals
from kimp.shared.domain.time import DAY, HOUR, MINUTE


def test_won_have_separators_and_no_decimals() -> None:
    assert numerals.won(Decimal("1234567.8")) == "1,234,568원"
    assert numerals.signed_won(-1234.4) == "-1,234원"
    assert numerals.signed_won(Decimal("-0.2")) == "+0원"


def test_premiums_have_two_decimals_and_a_sign() -> None:
    assert numerals.signed_percent(Decimal("0.035")) == "+3.50%"
    assert numerals.signed_percent(-0.01234) == "-1.23%"


def test_undefined_is_a_dash_and_never_a_zero() -> None:
    shown = (
        numerals.won(None),
        numerals.percent(None),
        numerals.ratio(None),
        numerals.span(None),
        numerals.moment(None),
    )
    assert set(shown) == {numerals.NOTHING}


def test_times_are_korean() -> None:
    assert numerals.moment(0) == "1970-01-01 09:00"


def test_lengths_use_their_two_largest_units() -> None:
    assert numerals.span(12 * DAY + 3 * HOUR + MINUTE) == "12일 3시간"
    assert numerals.span(3 * HOUR + 20 * MINUTE) == "3시간 20분"
    assert numerals.span(5 * MINUTE) == "5분"


def test_control_characters_do_not_reach_a_terminal() -> None:
    assert numerals.plain("김프\x1b[31m\n") == "김프·[31m·"
