"""A perpetual turns into wallet balance what it closes, at its average entry, as the venue itself does."""

from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimp.shared.domain.instruments import Side, Venue, binance_perpetual
from kimp.shared.domain.ledger import SETTLEMENT_STEP, realised, settlement
from kimp.shared.domain.money import ONE, ZERO
from kimp.shared.domain.orders import Fill

ABROAD = binance_perpetual("BTC")
Trade = tuple[Side, Decimal, Decimal]
PRICES = st.integers(50_000, 3_000_000).map(lambda n: Decimal(n).scaleb(-1))
TRADES = st.tuples(st.sampled_from(Side), st.integers(1, 300).map(lambda n: Decimal(n).scaleb(-3)), PRICES)


def signed(fill: Fill) -> Fraction:
    return Fraction(fill.quantity) * (1 if fill.side is Side.BUY else -1)


def received(fills: Sequence[Fill]) -> Fraction:
    """Cash flow of all fills less their fees."""
    return sum((-signed(fill) * Fraction(fill.price) - Fraction(fill.fee.value) for fill in fills), Fraction(0))


class AverageCostAccount:
    """A margin account as a help page explains it, in fractions: size, average entry price, realised profit."""

    def __init__(self) -> None:
        self.size = self.entry = self.profit = Fraction(0)

    def trade(self, fill: Fill) -> None:
        size, price = signed(fill), Fraction(fill.price)
        if self.size * size < 0:
            closed = min(abs(size), abs(self.size)) * (1 if self.size > 0 else -1)
            self.profit += (price - self.entry) * closed
            self.size -= closed
            size += closed
        if size:
            self.entry = (self.entry * self.size + price * size) / (self.size + size)
            self.size += size


def test_opening_a_perpetual_moves_contracts_and_only_the_fee(funded: Any, fill_of: Callable[..., Fill]) -> None:
    ledger = funded([fill_of(ABROAD, Side.SELL, Decimal("0.07"), Decimal(100_000))])
    assert ledger.usdt == funded.usdt_start - Decimal("3.5")
    assert (ledger.contracts, ledger.unsettled) == (Decimal("-0.07"), 7_000)
    assert ledger.wallet(Venue.BINANCE, "BTC") == 0


def test_closing_a_perpetual_settles_its_profit_into_the_wallet(
    funded: Any, fills_of: Callable[..., list[Fill]]
) -> None:
    size = Decimal("0.07")
    trades = [(Side.SELL, size, Decimal(100_000)), (Side.BUY, size, Decimal(90_000))]
    ledger = funded(fills_of(ABROAD, trades, fee_rate=ZERO))
    assert ledger.usdt == funded.usdt_start + 700
    assert (ledger.contracts, ledger.unsettled) == (0, 0)
    assert ledger.balance("trading:signal:binance:BTCUSDT", "USDT") == -700


def test_closing_a_part_settles_that_part_at_the_average_entry(
    funded: Any, fills_of: Callable[..., list[Fill]]
) -> None:
    tenth, fifth = Decimal("0.1"), Decimal("0.2")
    trades = [
        (Side.SELL, tenth, Decimal(100_000)),
        (Side.SELL, fifth, Decimal(103_000)),
        (Side.BUY, tenth, Decimal(101_000)),
    ]
    ledger = funded(fills_of(ABROAD, trades, fee_rate=ZERO))
    assert ledger.usdt == funded.usdt_start + 100  # sold at 102,000 on average
    assert (ledger.contracts, ledger.unsettled) == (-fifth, 20_400)


def test_turning_a_perpetual_around_settles_the_old_side_and_opens_the_new(
    funded: Any, fills_of: Callable[..., list[Fill]]
) -> None:
    trades = [(Side.BUY, ONE, Decimal(100)), (Side.SELL, Decimal(3), Decimal(110))]
    ledger = funded(fills_of(ABROAD, trades, fee_rate=ZERO))
    assert ledger.usdt == funded.usdt_start + 10
    assert (ledger.contracts, ledger.unsettled) == (-2, 220)


@pytest.mark.parametrize(
    ("holding", "cost", "trade", "cash", "profit"),
    [
        ("0", "0", "1", "-100", "0"),
        ("1", "-100", "1", "-120", "0"),
        ("-1", "100", "-1", "120", "0"),
        ("2", "-200", "-1", "110", "10"),
        ("-2", "200", "1", "-110", "-10"),
        ("2", "-200", "-2", "220", "20"),
        ("1", "-100", "-3", "330", "10"),
        ("-1", "100", "3", "-330", "-10"),
        ("3", "-100", "-1", "50", "16.66666667"),
        ("1", "-100", "-3", "100", "-66.66666667"),
        ("1", "-0.123456789012", "-1", "0.2", "0.076543210988"),  # all that is left, whatever its digits
        ("-1", "0.2", "1", "-0.123456789012", "0.076543210988"),
    ],
)
def test_what_a_fill_realises(holding: str, cost: str, trade: str, cash: str, profit: str) -> None:
    assert realised(*map(Decimal, (holding, cost, trade, cash))) == Decimal(profit)


@settings(deadline=None)
@given(st.lists(TRADES, max_size=12))
def test_realised_profit_is_that_of_an_average_cost_account(
    funded: Any, fills_of: Callable[..., list[Fill]], trades: Sequence[Trade]
) -> None:
    ledger, account = funded(), AverageCostAccount()
    fees = Fraction(0)
    for count, fill in enumerate(fills_of(ABROAD, trades), start=1):
        ledger.book(fill)
        account.trade(fill)
        fees += Fraction(fill.fee.value)
        tolerance = count * Fraction(SETTLEMENT_STEP)
        assert abs(Fraction(ledger.usdt) - Fraction(funded.usdt_start) + fees - account.profit) <= tolerance
        assert abs(Fraction(ledger.unsettled) + account.size * account.entry) <= tolerance
        assert Fraction(ledger.contracts) == account.size


@settings(deadline=None)
@given(st.lists(TRADES, max_size=8), st.data())
def test_wallet_and_unsettled_together_do_not_depend_on_the_order_of_fills(
    funded: Any, fills_of: Callable[..., list[Fill]], trades: Sequence[Trade], data: st.DataObject
) -> None:
    once = fills_of(ABROAD, trades)
    one, other = funded(once), funded(data.draw(st.permutations(once + once)))
    assert one.usdt + one.unsettled == other.usdt + other.unsettled
    assert Fraction(one.usdt) + Fraction(one.unsettled) == Fraction(funded.usdt_start) + received(once)
    assert one.contracts == other.contracts
    for account in ("fees:signal", "trading:signal:binance:BTCUSDT"):
        assert one.balance(account, "USDT") == other.balance(account, "USDT")


def test_the_wallet_alone_does_depend_on_the_order_while_something_is_held(
    funded: Any, fills_of: Callable[..., list[Fill]]
) -> None:
    trades = [(Side.BUY, ONE, Decimal(100)), (Side.BUY, ONE, Decimal(200)), (Side.SELL, ONE, Decimal(300))]
    bought, dearer, sold = fills_of(ABROAD, trades)
    averaged, in_turn = funded([bought, dearer, sold]), funded([bought, sold, dearer])
    assert in_turn.usdt - averaged.usdt == 50
    assert averaged.unsettled - in_turn.unsettled == 50


@settings(deadline=None)
@given(st.lists(TRADES, min_size=1, max_size=8), PRICES, st.data())
def test_a_flat_perpetual_leaves_exactly_nothing_unsettled_in_any_order(
    funded: Any, fills_of: Callable[..., list[Fill]], trades: list[Trade], price: Decimal, data: st.DataObject
) -> None:
    open_size = sum((side.sign * quantity for side, quantity, _ in trades), ZERO)
    if open_size:
        trades = [*trades, (Side.SELL if open_size > 0 else Side.BUY, abs(open_size), price)]
    fills = fills_of(ABROAD, trades)
    for order in (fills, data.draw(st.permutations(fills))):
        ledger = funded(order)
        assert (ledger.contracts, ledger.unsettled) == (0, 0)
        assert Fraction(ledger.usdt) == Fraction(funded.usdt_start) + received(fills)


def test_strategies_on_one_contract_share_the_venue_account_and_keep_their_own_profit(
    funded: Any, fills_of: Callable[..., list[Fill]]
) -> None:
    trades = [(Side.SELL, ONE, Decimal(100)), (Side.BUY, ONE, Decimal(90))]
    short, long = fills_of(ABROAD, trades, fee_rate=ZERO)
    ledger = funded()
    ledger.book(short, "short")
    ledger.book(long, "long")
    assert (ledger.contracts, ledger.usdt) == (0, funded.usdt_start + 10)
    assert ledger.balance("trading:short:binance:BTCUSDT", "USDT") == -100
    assert ledger.balance("trading:long:binance:BTCUSDT", "USDT") == 90


def test_a_thread_whose_rounding_somebody_changed_settles_the_same() -> None:
    tie = Decimal("2694.127319745")
    with localcontext(rounding=ROUND_HALF_UP):
        assert settlement(tie) == Decimal("2694.12731974")
        half = realised(Decimal(2), Decimal("-0.00000001"), Decimal(-1), ZERO)
    assert half == realised(Decimal(2), Decimal("-0.00000001"), Decimal(-1), ZERO) == ZERO
