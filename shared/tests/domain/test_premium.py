"""Both bases of the premium, at the middle, at the touch and for a real size."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.fx import FxQuote
from kimp.shared.domain.instruments import Instrument, Pair, binance_perpetual, upbit_spot
from kimp.shared.domain.money import Price
from kimp.shared.domain.premium import Basis, BasisRates, KimpCalculator, premium
from kimp.shared.errors import UnitMismatch

NOW = 1_000
USDKRW = FxQuote("USD", Decimal(1_380), at=0, valid_until=2_000, source="bank")
USDTKRW = FxQuote("USDT", Decimal(1_400), at=0, valid_until=2_000, source="upbit")
PRICES = st.decimals(min_value=1, max_value=10**6, places=2)


def book(instrument: Instrument, bids: list[tuple[str, str]], asks: list[tuple[str, str]]) -> Book:
    def side(quotes: list[tuple[str, str]]) -> tuple[Level, ...]:
        return tuple(Level(Decimal(price), Decimal(size)) for price, size in quotes)

    return Book(instrument.id, side(bids), side(asks), venue_at=0, received_at=0)


KOREA = book(
    upbit_spot("BTC"),
    bids=[("143000000", "0.1"), ("142000000", "0.1")],
    asks=[("145000000", "0.1"), ("147000000", "0.1")],
)
ABROAD = book(
    binance_perpetual("BTC"), bids=[("99900", "0.1"), ("99700", "0.1")], asks=[("100100", "0.1"), ("100300", "0.1")]
)


def rates(pair: Pair, quantity: str | None = None) -> tuple[BasisRates, BasisRates]:
    size = None if quantity is None else Decimal(quantity)
    both = KimpCalculator(pair).rates(KOREA, ABROAD, now=NOW, usdkrw=USDKRW, usdtkrw=USDTKRW, quantity=size)
    assert both.fx is not None
    assert both.usdt is not None
    return both.fx, both.usdt


def test_each_basis_takes_its_own_rate_into_won(pair: Pair) -> None:
    fx, usdt = rates(pair)
    assert fx.mid == Decimal(144_000_000) / (Decimal(100_000) * 1_380) - 1
    assert usdt.mid == Decimal(144_000_000) / (Decimal(100_000) * 1_400) - 1
    assert fx.mid > usdt.mid


def test_the_two_bases_may_differ_in_sign(pair: Pair) -> None:
    cheap_dollar = msgspec.structs.replace(USDKRW, value=Decimal(1_430))
    dear_tether = msgspec.structs.replace(USDTKRW, value=Decimal(1_450))
    both = KimpCalculator(pair).rates(KOREA, ABROAD, now=NOW, usdkrw=cheap_dollar, usdtkrw=dear_tether)
    assert both.fx is not None
    assert both.usdt is not None
    assert both.usdt.mid < 0 < both.fx.mid


def test_bases_name_the_currency_of_their_rate() -> None:
    assert (Basis.FX.asset, Basis.USDT.asset) == ("USD", "USDT")


def test_buying_korea_pays_korean_asks_and_gets_perpetual_bids(pair: Pair) -> None:
    _, usdt = rates(pair, "0.2")
    assert usdt.touch_buy_korea == Decimal(145_000_000) / (Decimal(99_900) * 1_400) - 1
    assert usdt.executable_buy_korea == Decimal(146_000_000) / (Decimal(99_800) * 1_400) - 1


def test_selling_korea_gets_korean_bids_and_pays_perpetual_asks(pair: Pair) -> None:
    _, usdt = rates(pair, "0.2")
    assert usdt.touch_sell_korea == Decimal(143_000_000) / (Decimal(100_100) * 1_400) - 1
    assert usdt.executable_sell_korea == Decimal(142_500_000) / (Decimal(100_200) * 1_400) - 1


def test_whoever_trades_pays_the_spread_of_both_books(pair: Pair) -> None:
    for basis in rates(pair, "0.15"):
        assert basis.executable_buy_korea is not None
        assert basis.executable_sell_korea is not None
        assert basis.executable_buy_korea > basis.touch_buy_korea > basis.mid
        assert basis.mid > basis.touch_sell_korea > basis.executable_sell_korea


def test_a_size_within_the_touch_executes_at_the_touch(pair: Pair) -> None:
    fx, usdt = rates(pair, "0.1")
    assert (fx.executable_buy_korea, fx.executable_sell_korea) == (fx.touch_buy_korea, fx.touch_sell_korea)
    assert (usdt.executable_buy_korea, usdt.executable_sell_korea) == (usdt.touch_buy_korea, usdt.touch_sell_korea)


def test_without_a_size_nothing_is_executable(pair: Pair) -> None:
    for basis in rates(pair):
        assert basis.executable_buy_korea is None
        assert basis.executable_sell_korea is None


def test_a_size_too_big_for_one_book_is_not_executable(pair: Pair) -> None:
    thin_asks = msgspec.structs.replace(ABROAD, asks=ABROAD.asks[:1])
    both = KimpCalculator(pair).rates(
        KOREA, thin_asks, now=NOW, usdkrw=USDKRW, usdtkrw=USDTKRW, quantity=Decimal("0.15")
    )
    assert both.usdt is not None
    assert both.usdt.executable_buy_korea is not None
    assert both.usdt.executable_sell_korea is None
    for basis in rates(pair, "0.21"):
        assert basis.executable_buy_korea is None
        assert basis.executable_sell_korea is None


UNUSABLE = [
    None,
    msgspec.structs.replace(USDKRW, valid_until=NOW - 1),
    msgspec.structs.replace(USDKRW, at=NOW + 1),
    msgspec.structs.replace(USDKRW, value=Decimal(0)),
    msgspec.structs.replace(USDKRW, value=Decimal("NaN")),
]


@pytest.mark.parametrize("unusable", UNUSABLE, ids=["missing", "expired", "not yet known", "zero", "NaN"])
def test_a_basis_without_a_usable_rate_has_no_premium_and_the_other_goes_on(
    pair: Pair, unusable: FxQuote | None
) -> None:
    calculator = KimpCalculator(pair)
    without_fx = calculator.rates(KOREA, ABROAD, now=NOW, usdkrw=unusable, usdtkrw=USDTKRW)
    assert without_fx.fx is None
    assert without_fx.usdt == rates(pair)[1]
    tether = None if unusable is None else msgspec.structs.replace(unusable, base="USDT")
    without_usdt = calculator.rates(KOREA, ABROAD, now=NOW, usdkrw=USDKRW, usdtkrw=tether)
    assert without_usdt.usdt is None
    assert without_usdt.fx == rates(pair)[0]
    assert (without_usdt.symbol, without_usdt.at) == ("BTC", NOW)


def test_a_dollar_rate_in_the_place_of_the_tether_rate_is_refused(pair: Pair) -> None:
    with pytest.raises(UnitMismatch):
        KimpCalculator(pair).rates(KOREA, ABROAD, now=NOW, usdkrw=None, usdtkrw=USDKRW)


def test_a_tether_rate_in_the_place_of_the_dollar_rate_is_refused(pair: Pair) -> None:
    with pytest.raises(UnitMismatch, match="not a price of the dollar"):
        KimpCalculator(pair).rates(KOREA, ABROAD, now=NOW, usdkrw=USDTKRW, usdtkrw=None)


@pytest.mark.parametrize(
    "wrong",
    [
        Pair("BTC", binance_perpetual("BTC"), upbit_spot("BTC")),
        Pair("BTC", upbit_spot("BTC"), upbit_spot("BTC")),
        Pair("BTC", binance_perpetual("BTC"), binance_perpetual("BTC")),
    ],
    ids=["swapped", "won twice", "tether twice"],
)
def test_a_pair_that_does_not_chain_has_no_premium(wrong: Pair) -> None:
    with pytest.raises(UnitMismatch, match="KRW and USDT legs"):
        KimpCalculator(wrong)


@given(PRICES, PRICES, PRICES)
def test_the_bare_formula_and_the_one_with_units_agree(korea: Decimal, abroad: Decimal, fx: Decimal) -> None:
    prices = Price(korea, "BTC", "KRW"), Price(abroad, "BTC", "USDT"), Price(fx, "USDT", "KRW")
    assert KimpCalculator.ratio(korea, abroad, fx) == premium(*prices)


@given(PRICES, PRICES, PRICES)
def test_the_premium_is_positive_exactly_when_korea_is_dearer(korea: Decimal, abroad: Decimal, fx: Decimal) -> None:
    assert (KimpCalculator.ratio(korea, abroad, fx) > 0) == (korea > abroad * fx)


def test_swapped_books_are_refused(pair: Pair) -> None:
    with pytest.raises(ValueError, match="are not the legs of BTC"):
        KimpCalculator(pair).rates(ABROAD, KOREA, now=NOW, usdkrw=USDKRW, usdtkrw=USDTKRW)
