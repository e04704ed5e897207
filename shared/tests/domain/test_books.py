"""Books: which may be traded on, and what a real size costs in them."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimp.shared.domain.books import Book, BookFault, Level
from kimp.shared.domain.instruments import Side

Quote = tuple[str, str]
SIZES = st.decimals(min_value=Decimal("0.001"), max_value=5, places=3)
QUANTITIES = st.decimals(min_value=Decimal("0.001"), max_value=20, places=3)


def book(bids: list[Quote], asks: list[Quote]) -> Book:
    def side(quotes: list[Quote]) -> tuple[Level, ...]:
        return tuple(Level(Decimal(price), Decimal(size)) for price, size in quotes)

    return Book("upbit:KRW-BTC", side(bids), side(asks), venue_at=1, received_at=2)


@st.composite
def sound_books(draw: st.DrawFn) -> Book:
    """Books of one to eight levels a side that sort and do not cross."""
    middle = draw(st.integers(100_000, 200_000))
    steps = st.lists(st.integers(1, 50), min_size=1, max_size=8)

    def side(direction: int) -> tuple[Level, ...]:
        levels, price = [], middle
        for step in draw(steps):
            price += direction * step
            levels.append(Level(Decimal(price) / 10, draw(SIZES)))
        return tuple(levels)

    return Book("binance:BTCUSDT", side(-1), side(+1), venue_at=1, received_at=2)


DEEP = book([("99", "1"), ("98", "2"), ("95", "3")], [("101", "1"), ("102", "2"), ("105", "3")])


@given(sound_books())
def test_a_sorted_uncrossed_book_has_no_fault(sound: Book) -> None:
    assert sound.fault() is None


def test_a_single_level_on_each_side_is_a_book() -> None:
    assert book([("99", "1")], [("101", "1")]).fault() is None


@pytest.mark.parametrize(
    ("bids", "asks"), [([], []), ([], [("101", "1")]), ([("99", "1")], [])], ids=["both", "bids", "asks"]
)
def test_a_book_with_a_missing_side_is_empty(bids: list[Quote], asks: list[Quote]) -> None:
    assert book(bids, asks).fault() is BookFault.EMPTY


SECOND_BID, SECOND_ASK = ("90", "1"), ("110", "1")
FAULTY_TOUCHES = [
    pytest.param(("99", "1"), ("98", "1"), BookFault.CROSSED, id="crossed"),
    pytest.param(("99", "1"), ("99", "1"), BookFault.CROSSED, id="locked"),
    pytest.param(("99", "1"), ("99.0", "1"), BookFault.CROSSED, id="locked, written otherwise"),
    pytest.param(("0", "0"), ("101", "1"), BookFault.NOT_POSITIVE, id="padded bid"),
    pytest.param(("99", "1"), ("0", "0"), BookFault.NOT_POSITIVE, id="padded ask"),
    pytest.param(("99", "0"), ("101", "1"), BookFault.NOT_POSITIVE, id="bid without size"),
    pytest.param(("99", "1"), ("101", "0"), BookFault.NOT_POSITIVE, id="ask without size"),
    pytest.param(("0", "1"), ("101", "1"), BookFault.NOT_POSITIVE, id="bid at zero"),
    pytest.param(("99", "1"), ("0", "1"), BookFault.NOT_POSITIVE, id="ask at zero"),
    pytest.param(("-1", "1"), ("101", "1"), BookFault.NOT_POSITIVE, id="negative bid"),
    pytest.param(("99", "-1"), ("101", "1"), BookFault.NOT_POSITIVE, id="negative size"),
    pytest.param(("NaN", "1"), ("101", "1"), BookFault.NOT_FINITE, id="NaN bid"),
    pytest.param(("99", "1"), ("NaN", "1"), BookFault.NOT_FINITE, id="NaN ask"),
    pytest.param(("99", "1"), ("sNaN", "1"), BookFault.NOT_FINITE, id="signalling NaN"),
    pytest.param(("99", "NaN"), ("101", "1"), BookFault.NOT_FINITE, id="NaN size"),
    pytest.param(("99", "1"), ("Infinity", "1"), BookFault.NOT_FINITE, id="infinite ask"),
    pytest.param(("-Infinity", "1"), ("101", "1"), BookFault.NOT_FINITE, id="infinite bid"),
    pytest.param(("99", "1"), ("101", "Infinity"), BookFault.NOT_FINITE, id="infinite size asked"),
    pytest.param(("99", "Infinity"), ("101", "1"), BookFault.NOT_FINITE, id="infinite size bid"),
]


@pytest.mark.parametrize(("bid", "ask", "fault"), FAULTY_TOUCHES)
def test_a_faulty_touch_is_named_alike_in_thin_and_deep_books(bid: Quote, ask: Quote, fault: BookFault) -> None:
    assert book([bid], [ask]).fault() is fault
    assert book([bid, SECOND_BID], [ask, SECOND_ASK]).fault() is fault
    assert book([bid], [ask, SECOND_ASK]).fault() is fault
    assert book([bid, SECOND_BID], [ask]).fault() is fault


@pytest.mark.parametrize(
    ("second", "fault"),
    [
        (("0", "0"), BookFault.NOT_POSITIVE),  # Upbit pads thin books so
        (("98", "0"), BookFault.NOT_POSITIVE),
        (("NaN", "1"), BookFault.NOT_FINITE),
        (("98", "Infinity"), BookFault.NOT_FINITE),
        (("99", "1"), BookFault.UNSORTED),
        (("100", "1"), BookFault.UNSORTED),
    ],
)
def test_a_fault_behind_the_best_bid_is_found(second: Quote, fault: BookFault) -> None:
    assert book([("99", "1"), second], [("101", "1")]).fault() is fault


@pytest.mark.parametrize(
    ("second", "fault"),
    [
        (("0", "0"), BookFault.NOT_POSITIVE),
        (("102", "-1"), BookFault.NOT_POSITIVE),
        (("102", "NaN"), BookFault.NOT_FINITE),
        (("Infinity", "1"), BookFault.NOT_FINITE),
        (("101", "1"), BookFault.UNSORTED),
        (("100", "1"), BookFault.UNSORTED),
    ],
)
def test_a_fault_behind_the_best_ask_is_found(second: Quote, fault: BookFault) -> None:
    assert book([("99", "1")], [("101", "1"), second]).fault() is fault


@given(sound_books(), st.data())
def test_a_book_out_of_order_is_never_sound(sound: Book, data: st.DataObject) -> None:
    bids, asks = data.draw(st.permutations(sound.bids)), data.draw(st.permutations(sound.asks))
    shuffled = Book(sound.instrument_id, tuple(bids), tuple(asks), 1, 2)
    assert (shuffled.fault() is None) == (shuffled == sound)


def test_a_purchase_eats_asks_and_a_sale_eats_bids() -> None:
    assert DEEP.eats(Side.BUY) == DEEP.asks
    assert DEEP.eats(Side.SELL) == DEEP.bids
    assert (DEEP.touch(Side.BUY), DEEP.touch(Side.SELL)) == (101, 99)
    assert DEEP.vwap(Side.BUY, Decimal(2)) == Decimal("101.5")
    assert DEEP.vwap(Side.SELL, Decimal(2)) == Decimal("98.5")
    assert DEEP.mid() == 100


@given(sound_books(), QUANTITIES)
def test_a_round_trip_through_a_book_never_earns(sound: Book, quantity: Decimal) -> None:
    bought, sold = sound.vwap(Side.BUY, quantity), sound.vwap(Side.SELL, quantity)
    if bought is not None and sold is not None:
        assert bought >= sound.touch(Side.BUY) > sound.mid() > sound.touch(Side.SELL) >= sold


@given(sound_books(), st.sampled_from(Side), QUANTITIES)
def test_the_average_price_is_that_of_eating_the_book_coin_by_coin(sound: Book, side: Side, quantity: Decimal) -> None:
    left, cost = Fraction(quantity), Fraction(0)
    for level in sound.asks if side is Side.BUY else sound.bids:
        eaten = min(left, Fraction(level.size))
        left, cost = left - eaten, cost + eaten * Fraction(level.price)
    vwap = sound.vwap(side, quantity)
    if left:
        assert vwap is None
    else:
        assert vwap is not None
        assert abs(Fraction(vwap) - cost / Fraction(quantity)) < Fraction(1, 10**20)


@given(sound_books(), st.sampled_from(Side))
def test_a_whole_side_can_be_eaten_and_not_a_crumb_more(sound: Book, side: Side) -> None:
    depth = sum((level.size for level in sound.eats(side)), Decimal(0))
    assert sound.vwap(side, depth) is not None
    assert sound.vwap(side, depth + Decimal("0.00000001")) is None


@given(sound_books(), st.sampled_from(Side), QUANTITIES, st.integers(99_000, 201_000))
def test_a_sweep_passes_neither_its_limit_nor_its_quantity(
    sound: Book, side: Side, quantity: Decimal, tenths: int
) -> None:
    limit = Decimal(tenths) / 10
    fills = sound.sweep(side, quantity, limit)
    within = [x for x in sound.eats(side) if (x.price <= limit if side is Side.BUY else x.price >= limit)]
    assert [fill.price for fill in fills] == [level.price for level in within[: len(fills)]]
    assert all(Decimal(0) < fill.size <= level.size for fill, level in zip(fills, within, strict=False))
    assert sum(fill.size for fill in fills) == min(quantity, sum(level.size for level in within))


@given(sound_books(), st.sampled_from(Side), QUANTITIES)
def test_a_sweep_without_a_limit_costs_the_average_price(sound: Book, side: Side, quantity: Decimal) -> None:
    fills = sound.sweep(side, quantity, Decimal(10**9) if side is Side.BUY else Decimal(0))
    vwap = sound.vwap(side, quantity)
    if vwap is not None:
        assert abs(sum(fill.size * fill.price for fill in fills) - vwap * quantity) < Decimal("1e-18")


def test_a_sweep_at_the_limit_price_still_trades() -> None:
    assert DEEP.sweep(Side.BUY, Decimal(5), Decimal(102)) == [*DEEP.asks[:2]]
    assert DEEP.sweep(Side.SELL, Decimal(5), Decimal(98)) == [*DEEP.bids[:2]]


@pytest.mark.parametrize("quantity", [Decimal(0), Decimal(-1)])
def test_a_sweep_for_nothing_takes_nothing(quantity: Decimal) -> None:
    assert DEEP.sweep(Side.BUY, quantity, Decimal(1_000)) == []
