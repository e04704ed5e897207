"""A venue's steps and minimums: rounding never goes to our disadvantage."""

from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kimp.shared.domain.instruments import (
    UPBIT_KRW_BANDS,
    Instrument,
    Kind,
    Pair,
    Side,
    TickBand,
    TradingRules,
    Venue,
    binance_perpetual,
    default_pair,
    upbit_spot,
)

UPBIT = upbit_spot("BTC").rules
BINANCE = binance_perpetual("BTC").rules
UNEVEN = TradingRules(
    bands=(TickBand(Decimal(1_000), Decimal(30)), TickBand(Decimal(95), Decimal(20)), TickBand(Decimal(0), Decimal(7))),
    lot=Decimal("0.003"),
    minimum_quantity=Decimal("0.006"),
    minimum_notional=Decimal(10),
)
"""No venue has such a grid; its band edges are no multiples of its steps and its lot no power of ten."""

ALL_RULES = st.sampled_from([UPBIT, BINANCE, UNEVEN])


@st.composite
def long_decimals(draw: st.DrawFn) -> Decimal:
    """Positive numbers of up to 28 digits, as an average price or a division leaves them."""
    digits = draw(st.integers(1, 28))
    number = draw(st.integers(1, 10**digits - 1))
    return Decimal(number).scaleb(-draw(st.integers(max(0, digits - 10), digits + 7)))


@pytest.mark.parametrize(
    ("edge", "tick", "tick_below"),
    [
        ("1000000", "1000", "500"),
        ("500000", "500", "100"),
        ("100000", "100", "50"),
        ("50000", "50", "10"),
        ("10000", "10", "5"),
        ("5000", "5", "1"),
        ("1000", "1", "1"),
        ("100", "1", "0.1"),
        ("10", "0.1", "0.01"),
        ("1", "0.01", "0.001"),
        ("0.1", "0.001", "0.0001"),
        ("0.01", "0.0001", "0.00001"),
        ("0.001", "0.00001", "0.000001"),
        ("0.0001", "0.000001", "0.0000001"),
        ("0.00001", "0.0000001", "0.00000001"),
    ],
)
def test_upbit_prices_step_by_their_band_from_its_edge_on(edge: str, tick: str, tick_below: str) -> None:
    at_edge = Decimal(edge)
    assert UPBIT.tick_at(at_edge) == Decimal(tick)
    assert UPBIT.tick_at(at_edge + Decimal(tick)) == Decimal(tick)
    assert UPBIT.tick_at(at_edge - Decimal(tick_below)) == Decimal(tick_below)


def test_the_dearest_and_the_cheapest_coins_have_a_tick_too() -> None:
    assert UPBIT.tick_at(Decimal(200_000_000)) == 1_000
    assert UPBIT.tick_at(Decimal("0.00000001")) == Decimal("0.00000001")
    assert UPBIT.tick_at(Decimal(0)) == Decimal("0.00000001")


def test_the_lowest_band_serves_prices_below_all_bands() -> None:
    rules = TradingRules((TickBand(Decimal(10), Decimal(1)),), Decimal(1), Decimal(0), Decimal(0))
    assert rules.tick_at(Decimal(5)) == 1


def test_upbit_bands_run_from_the_highest_price_down_and_every_edge_lies_on_both_grids() -> None:
    starts = [band.from_price for band in UPBIT_KRW_BANDS]
    assert starts == sorted(starts, reverse=True)
    assert starts[-1] == 0
    for above, below in pairwise(UPBIT_KRW_BANDS):
        assert above.from_price % above.tick == 0
        assert above.from_price % below.tick == 0


@given(long_decimals(), ALL_RULES)
@example(Decimal("999999.9999999999999999999999"), UPBIT)
def test_a_purchase_is_never_bounded_above_the_price_asked(price: Decimal, rules: TradingRules) -> None:
    assert rules.bound(price, Side.BUY) <= price


@given(long_decimals(), ALL_RULES)
@example(Decimal("1000000.000000000000000000001"), UPBIT)
def test_a_sale_is_never_bounded_below_the_price_asked(price: Decimal, rules: TradingRules) -> None:
    assert rules.bound(price, Side.SELL) >= price


@given(long_decimals(), ALL_RULES, st.sampled_from(Side))
@example(Decimal("999999.9"), UPBIT, Side.SELL)
@example(Decimal(93), UNEVEN, Side.SELL)
def test_a_bound_lies_on_the_grid_of_its_own_band(price: Decimal, rules: TradingRules, side: Side) -> None:
    bound = rules.bound(price, side)
    assert (Fraction(bound) / Fraction(rules.tick_at(bound))).denominator == 1


@given(long_decimals(), st.sampled_from([UPBIT, BINANCE]), st.sampled_from(Side))
def test_a_bound_gives_away_less_than_one_tick(price: Decimal, rules: TradingRules, side: Side) -> None:
    distance = abs(Fraction(rules.bound(price, side)) - Fraction(price))
    assert distance < Fraction(rules.tick_at(price))


@given(long_decimals(), ALL_RULES, st.sampled_from(Side))
def test_a_bound_is_bounded_by_itself(price: Decimal, rules: TradingRules, side: Side) -> None:
    bound = rules.bound(price, side)
    assert rules.bound(bound, side) == bound


@pytest.mark.parametrize(
    ("price", "buy", "sell"),
    [
        ("144901234.5", "144901000", "144902000"),
        ("999999.9", "999500", "1000000"),
        ("1000000", "1000000", "1000000"),
        ("999.5", "999", "1000"),
        ("99.95", "99.9", "100"),
        ("0.000000005", "0", "0.00000001"),
    ],
)
def test_bounds_at_the_edges_of_upbit_bands(price: str, buy: str, sell: str) -> None:
    assert UPBIT.bound(Decimal(price), Side.BUY) == Decimal(buy)
    assert UPBIT.bound(Decimal(price), Side.SELL) == Decimal(sell)


@given(long_decimals(), ALL_RULES)
@example(Decimal("0.005999999999999999999999999999"), UNEVEN)
def test_a_quantity_is_floored_to_the_lot_below_it(quantity: Decimal, rules: TradingRules) -> None:
    floored = rules.floor(quantity)
    assert floored <= quantity
    assert (Fraction(floored) / Fraction(rules.lot)).denominator == 1
    assert Fraction(quantity) - Fraction(floored) < Fraction(rules.lot)


@given(st.integers(0, 10**12), ALL_RULES)
def test_a_quantity_on_the_lot_grid_stays_as_it_is(lots: int, rules: TradingRules) -> None:
    assert rules.floor(lots * rules.lot) == lots * rules.lot


@pytest.mark.parametrize(
    ("rules", "quantity", "price", "is_permitted"),
    [
        (UPBIT, "0.00005", "100000000", True),  # 5,000 KRW exactly
        (UPBIT, "0.00005", "99999000", False),
        (UPBIT, "0.00004999", "100000000", False),
        (UPBIT, "0.000050001", "100000000", False),  # nine decimals
        (BINANCE, "0.001", "100000", True),  # 100 USDT exactly
        (BINANCE, "0.001", "99999.9", False),
        (BINANCE, "0.0005", "1000000", False),  # half the smallest quantity
        (BINANCE, "0.0015", "100000", False),
        (UNEVEN, "0.006", "2000", True),
        (UNEVEN, "0.003", "9000", False),
        (UNEVEN, "0.007", "9000", False),
    ],
)
def test_an_order_is_permitted_from_the_minimums_on(
    rules: TradingRules, quantity: str, price: str, is_permitted: bool
) -> None:
    assert rules.permits(Decimal(quantity), Decimal(price)) is is_permitted


@pytest.mark.parametrize("quantity", [Decimal(0), Decimal("-0.001")])
def test_nothing_and_less_is_never_permitted(quantity: Decimal) -> None:
    free_for_all = TradingRules(UPBIT_KRW_BANDS, Decimal("0.001"), Decimal(-1), Decimal(-(10**9)))
    assert not free_for_all.permits(quantity, Decimal(100_000))


@given(long_decimals(), long_decimals(), ALL_RULES)
def test_a_permitted_quantity_is_its_own_floor(quantity: Decimal, price: Decimal, rules: TradingRules) -> None:
    floored = rules.floor(quantity)
    if rules.permits(quantity, price):
        assert floored == quantity
    if rules.permits(floored, price):
        assert floored >= rules.minimum_quantity
        assert floored * price >= rules.minimum_notional


def test_sides_have_signs_and_opposites() -> None:
    assert (Side.BUY.sign, Side.SELL.sign) == (1, -1)
    assert Side.BUY.opposite is Side.SELL
    assert Side.SELL.opposite is Side.BUY


def test_instruments_are_named_by_venue_and_symbol() -> None:
    korea, abroad = upbit_spot("BTC"), binance_perpetual("BTC")
    assert (korea.id, abroad.id) == ("upbit:KRW-BTC", "binance:BTCUSDT")
    assert (korea.venue, korea.kind) == (Venue.UPBIT, Kind.SPOT)
    assert (abroad.venue, abroad.kind) == (Venue.BINANCE, Kind.PERPETUAL)
    assert str(korea.price(Decimal(1))) == "1 BTC/KRW"
    assert str(abroad.price(Decimal(1))) == "1 BTC/USDT"


def test_an_instrument_makes_its_own_id_and_keeps_it_true() -> None:
    korea = upbit_spot("BTC")
    assert msgspec.structs.replace(korea, symbol="KRW-ETH").id == "upbit:KRW-ETH"
    assert msgspec.structs.replace(korea, id="binance:BTCUSDT") == korea
    assert msgspec.json.decode(msgspec.json.encode(korea), type=Instrument) == korea


def test_a_pair_finds_its_legs_by_id_and_nothing_else() -> None:
    pair = default_pair("ETH")
    assert pair.instrument("upbit:KRW-ETH") is pair.korea
    assert pair.instrument("binance:ETHUSDT") is pair.abroad
    with pytest.raises(KeyError, match="upbit:KRW-BTC is not a leg of ETH"):
        pair.instrument("upbit:KRW-BTC")


@pytest.mark.parametrize(
    ("symbol", "korea", "abroad"), [("BTC", "BTC", "ETH"), ("BTC", "ETH", "BTC"), ("BTC", "ETH", "ETH")]
)
def test_a_pair_is_made_of_one_coin(symbol: str, korea: str, abroad: str) -> None:
    with pytest.raises(ValueError, match="not both BTC"):
        Pair(symbol, upbit_spot(korea), binance_perpetual(abroad))


def test_a_pair_trades_in_the_coarser_lot_wherever_that_is() -> None:
    assert default_pair("BTC").lot == Decimal("0.001")
    assert Pair("X", upbit_spot("X"), binance_perpetual("X", lot=Decimal("0.000000001"))).lot == Decimal("0.00000001")


def test_a_pair_of_the_default_venues_takes_one_fee_for_both_legs() -> None:
    free = default_pair("BTC", fee_rate=Decimal(0))
    assert (free.korea.fee_rate, free.abroad.fee_rate) == (0, 0)
    assert default_pair("BTC").korea.fee_rate == Decimal("0.0005")


@pytest.mark.parametrize("fee_rate", ["1", "5", "-0.0001"])
def test_a_fee_that_is_no_fraction_is_refused(fee_rate: str) -> None:
    with pytest.raises(ValueError, match="not a fraction"):
        default_pair("BTC", fee_rate=Decimal(fee_rate))
