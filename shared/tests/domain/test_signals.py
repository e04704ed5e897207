"""The two directions of the trade."""

from decimal import Decimal

from kimp.shared.domain.instruments import Side
from kimp.shared.domain.signals import Direction, Enter, Refusal


def test_a_long_premium_buys_in_korea_and_a_short_premium_sells_there() -> None:
    assert Direction.LONG_PREMIUM.korea_side is Side.BUY
    assert Direction.SHORT_PREMIUM.korea_side is Side.SELL


def test_an_entry_is_of_full_size_unless_it_says_otherwise() -> None:
    assert Enter(Direction.LONG_PREMIUM, "low").share == Decimal(1)


def test_refusal_codes_are_their_names_in_small_letters() -> None:
    assert all(refusal.value == refusal.name.lower() for refusal in Refusal)
