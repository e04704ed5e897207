"""Binance's messages and its book of differences, made by hand in the shapes its pages and recordings show."""

from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimp.shared.domain.books import Book
from kimp.shared.domain.candles import Candle
from kimp.shared.domain.instruments import Side
from kimp.shared.domain.ticks import MarkPrice, PublicTrade
from kimp.shared.domain.time import HOUR, MILLISECOND, MINUTE, SECOND
from kimp.storage.feeds.binance import BinanceDecoder, BinanceSubscription
from kimp.storage.feeds.binance.depth import RECENT_MAX
from kimp.storage.feeds.binance.levels import ROWS_MAX, TOLD_MAX
from kimp.storage.feeds.binance.levels import Side as BookSide
from kimp.storage.feeds.events import Refused, Touch
from kimp.storage.feeds.frames import BINANCE_MARKET, BINANCE_PUBLIC, Frame, depth_channel
from kimp.storage.feeds.reader import Gap

AT = 1_700_000_000 * SECOND
PERP = "binance:BTCUSDT"


class Wire:
    """A decoder and short ways to feed it."""

    def __init__(self, **wanted: Any) -> None:
        self.decoder = BinanceDecoder(BinanceSubscription(**wanted))
        self.at = AT

    def read(self, payload: str, channel: str = BINANCE_PUBLIC) -> list[Any]:
        return self.decoder.read(Frame(channel, self.at, payload.encode()))

    def difference(self, first: int, last: int, previous: int, bids: str = "", asks: str = "") -> list[Any]:
        return self.read(
            f'{{"stream":"btcusdt@depth@100ms","data":{{"e":"depthUpdate","E":{last},"T":{last},"s":"BTCUSDT",'
            f'"U":{first},"u":{last},"pu":{previous},"b":[{bids}],"a":[{asks}]}}}}'
        )

    def snapshot(self, last: int, bids: str = '["100.0","1.000"]', asks: str = '["101.0","2.000"]') -> list[Any]:
        return self.read(
            f'{{"lastUpdateId":{last},"E":{last},"T":{last},"bids":[{bids}],"asks":[{asks}]}}', depth_channel("BTCUSDT")
        )

    def touch(self, update: int, bid: str = "100.0", size: str = "1.000", ask: str = "101.0") -> list[Any]:
        return self.read(
            f'{{"stream":"btcusdt@bookTicker","data":{{"e":"bookTicker","u":{update},"s":"BTCUSDT","b":"{bid}",'
            f'"B":"{size}","a":"{ask}","A":"2.000","T":{update},"E":{update}}}}}'
        )

    def wanted(self, seconds: float = 0) -> list[str]:
        self.at += round(seconds * SECOND)
        return self.decoder.wanted(self.at)


@pytest.fixture
def wire() -> Wire:
    return Wire(depth=("BTCUSDT",))


def joined() -> Wire:
    wire = Wire(depth=("BTCUSDT",))
    wire.difference(8, 12, 5)
    assert wire.snapshot(10)
    return wire


# --- joining snapshot and differences ---------------------------------------------------------------------------------


def test_nothing_is_told_before_the_snapshot_and_it_is_asked_for_once(wire: Wire) -> None:
    assert wire.wanted() == []  # the stream comes first
    assert wire.difference(1, 5, 0) == []
    assert wire.wanted() == [depth_channel("BTCUSDT")]
    assert wire.wanted() == []
    assert wire.wanted(16) == [depth_channel("BTCUSDT")]  # no answer; once more


def test_differences_older_than_the_snapshot_are_dropped_and_the_straddling_one_is_applied(wire: Wire) -> None:
    wire.difference(1, 5, 0, bids='["99.0","9"]')
    wire.difference(8, 12, 5, bids='["100.0","3.000"]')
    (book,) = wire.snapshot(10)
    assert (str(book.bids[0].price), str(book.bids[0].size)) == ("100.0", "3.000")
    assert len(book.bids) == 1
    assert book.venue_at == 12 * MILLISECOND
    assert book.received_at == AT


def test_a_snapshot_between_two_differences_of_a_quiet_symbol_joins(wire: Wire) -> None:
    wire.difference(1, 5, 0)
    assert wire.snapshot(7)
    assert wire.difference(9, 12, 5, bids='["100.0","3.000"]')[0].bids[0].size == Decimal("3.000")


def test_a_snapshot_equal_to_a_differences_end_joins(wire: Wire) -> None:
    wire.difference(1, 5, 0)
    assert wire.snapshot(5)
    assert wire.difference(8, 12, 5)


def test_a_snapshot_older_than_all_that_is_known_does_not_join_and_is_asked_for_again(wire: Wire) -> None:
    wire.difference(20, 25, 18)
    assert wire.wanted()
    assert wire.snapshot(10) == []
    assert wire.wanted() == []  # not at once
    assert wire.wanted(1)
    assert wire.snapshot(22)


def test_a_whole_book_goes_on_when_a_snapshot_comes_that_connects_to_nothing() -> None:
    wire = joined()
    for last in range(13, 13 + 2 * RECENT_MAX):
        assert wire.difference(last, last, last - 1)
    assert wire.snapshot(14) == []  # what followed it is forgotten by now
    assert wire.difference(last + 1, last + 1, last, bids='["100.0","9"]')[0].bids[0].size == 9


def test_a_snapshot_newer_than_all_that_is_known_waits_for_its_difference(wire: Wire) -> None:
    wire.difference(1, 5, 0)
    (book,) = wire.snapshot(30)
    assert book.venue_at == 30 * MILLISECOND
    assert wire.difference(8, 12, 5) == []  # older
    assert wire.difference(28, 33, 12, asks='["100.5","1"]')[0].asks[0].price == Decimal("100.5")


def test_a_snapshot_may_miss_the_link_to_what_comes_next(wire: Wire) -> None:
    wire.difference(1, 5, 0)
    assert wire.snapshot(30)
    assert wire.difference(40, 45, 35) == []  # what followed 30 is missing
    assert wire.wanted(2)


# --- the chain --------------------------------------------------------------------------------------------------------


def test_each_difference_is_told_as_a_whole_book_best_first() -> None:
    wire = joined()
    (book,) = wire.difference(15, 18, 12, bids='["99.5","1"],["100.5","2"]', asks='["101.0","0.000"],["102.0","4"]')
    assert [str(level.price) for level in book.bids] == ["100.5", "100.0", "99.5"]
    assert [str(level.price) for level in book.asks] == ["102.0"]
    assert book.fault() is None


def test_a_missing_difference_silences_the_book_until_a_new_snapshot() -> None:
    wire = joined()
    assert wire.difference(25, 30, 20) == []
    assert wire.difference(31, 35, 30) == []
    assert wire.wanted() == []  # it may only be late
    wire.at += SECOND
    assert [(gap.instrument_id, gap.reason) for gap in wire.decoder.tick(wire.at)] == [(PERP, "has a hole")]
    assert wire.wanted(0.5) == [depth_channel("BTCUSDT")]
    (book,) = wire.snapshot(33)
    assert book.venue_at == 35 * MILLISECOND
    assert wire.decoder.tick(wire.at) == []


def test_disorder_heals_without_a_snapshot() -> None:
    chain = [(15, 20, 12), (22, 25, 20), (26, 30, 25), (33, 40, 30)]
    for order in permutations(chain):
        wire = joined()
        told = [event for link in order for event in wire.difference(*link, bids=f'["100.0","{link[1]}"]')]
        assert told[-1].venue_at == 40 * MILLISECOND, order
        assert told[-1].bids[0].size == 40
        assert wire.wanted(5) == []


def test_repeated_differences_change_nothing() -> None:
    wire = joined()
    assert wire.difference(15, 20, 12, bids='["100.0","7"]')
    assert wire.difference(15, 20, 12, bids='["100.0","7"]') == []
    assert wire.difference(8, 12, 5, bids='["100.0","1"]') == []
    assert wire.difference(21, 25, 20)[0].bids[0].size == 7


def test_an_impossible_book_is_never_told() -> None:
    wire = joined()
    (gap,) = wire.difference(15, 20, 12, bids='["101.0","1"]')  # meets the ask
    assert isinstance(gap, Gap)
    assert wire.difference(21, 25, 20) == []
    assert wire.wanted(2)


@pytest.mark.parametrize(
    "row", ['["nan","1"]', '["-1","1"]', '["100","-1"]', '["100","nan"]', '["1.00000000000000001","1"]']
)
def test_a_row_that_is_none_makes_the_book_begin_anew(row: str) -> None:
    wire = joined()
    (gap,) = wire.difference(15, 20, 12, bids=row)
    assert isinstance(gap, Gap)
    wire.difference(21, 25, 20)
    assert wire.wanted(2)
    assert isinstance(wire.snapshot(25)[0], Book)


def test_a_book_that_contradicts_the_touch_of_the_same_update_is_begun_anew() -> None:
    agreeing, early, late = joined(), joined(), joined()
    assert [type(event) for event in agreeing.touch(12)] == [Touch]
    assert [type(event) for event in late.touch(12, size="9")] == [Touch, Gap]
    assert [type(event) for event in early.touch(20, size="9")] == [Touch]
    assert [type(event) for event in early.difference(15, 20, 12, bids='["100.0","8"]')] == [Gap]


def test_beyond_the_snapshots_last_row_nothing_is_told_and_a_new_one_is_asked_for() -> None:
    wire = Wire(depth=("BTCUSDT",))
    wire.difference(1, 5, 0)
    bids = ",".join(f'["{2000 - i}.0","1"]' for i in range(1_000))
    asks = ",".join(f'["{2001 + i}.0","1"]' for i in range(1_000))
    wire.snapshot(5, bids, asks)
    removed = ",".join(f'["{2000 - i}.0","0"]' for i in range(985))
    (book,) = wire.difference(6, 9, 5, bids=removed + ',["900.0","5"]')
    assert len(book.bids) == 15
    assert wire.wanted(2) == [depth_channel("BTCUSDT")]
    (book,) = wire.snapshot(
        7, '["1015.0","1"],["950.0","2"]', '["2001.0","1"]'
    )  # older than the book: brought up to date
    assert book.venue_at == 9 * MILLISECOND
    assert [str(level.price) for level in book.bids] == ["1015.0", "950.0", "900.0"]


# --- one side of it ---------------------------------------------------------------------------------------------------

PRICES = st.integers(1, 40).map(lambda ticks: f"{ticks / 10:.2f}")
CHANGES = st.lists(st.tuples(PRICES, st.sampled_from(["0.000", "1.000", "2.500"])), max_size=80)


@given(st.lists(CHANGES, max_size=6), st.sampled_from([1, -1]))
def test_a_side_is_what_a_plain_dictionary_says(batches: list[list[tuple[str, str]]], sign: int) -> None:
    side, plain = BookSide(sign), dict[Decimal, Decimal]()
    for batch in batches:
        side.change(batch)
        for price, size in batch:
            plain[Decimal(price)] = Decimal(size)
        expected = sorted(((p, s) for p, s in plain.items() if s), key=lambda row: -sign * row[0])[:TOLD_MAX]
        assert [(level.price, level.size) for level in side.best(TOLD_MAX)] == expected


def test_rows_far_away_are_forgotten_before_they_fill_the_memory() -> None:
    side = BookSide(+1)
    for start in range(0, 3 * ROWS_MAX, 1_000):
        side.change([(f"{start + i + 1}.0", "1") for i in range(1_000)])
    assert len(side) <= ROWS_MAX
    assert str(side.best(1)[0].price) == f"{3 * ROWS_MAX}.0"
    assert side.knows(TOLD_MAX)


# --- other streams ----------------------------------------------------------------------------------------------------


def test_partial_depth_is_told_apart_from_differences_by_its_stream() -> None:
    wire = Wire(partial=("BTCUSDT",))
    (book,) = wire.read(
        '{"stream":"btcusdt@depth20@100ms","data":{"e":"depthUpdate","E":6,"T":5,"s":"BTCUSDT","U":3,"u":4,"pu":1,'
        '"b":[["100.0","1"],["99.0","2"]],"a":[["101.0","3"]]}}'
    )
    assert isinstance(book, Book)
    assert (len(book.bids), len(book.asks), book.venue_at) == (2, 1, 5 * MILLISECOND)


def test_an_aggregated_trade_tells_the_takers_side(wire: Wire) -> None:
    text = (
        '{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":7,"a":26129,"s":"BTCUSDT","p":"61800.30","q":"0.006",'
        '"f":100,"l":105,"T":6,"m":true}}'
    )
    told = PublicTrade(PERP, 26_129, Side.SELL, Decimal("61800.30"), Decimal("0.006"), 6 * MILLISECOND, AT)
    assert wire.read(text) == [told]
    assert wire.read(text) == []  # two connections overlap when one takes over


def test_trades_outside_the_book_are_not_told(wire: Wire) -> None:
    text = (
        '{{"stream":"btcusdt@trade","data":{{"e":"trade","E":7,"T":6,"s":"BTCUSDT","t":{},"p":"61800.30","q":"0.006",'
        '"X":"{}","m":false}}}}'
    )
    assert wire.read(text.format(1, "MARKET"))[0].side is Side.BUY
    assert wire.read(text.format(2, "INSURANCE_FUND")) == []


def test_a_mark_price_tells_the_expected_funding(wire: Wire) -> None:
    text = (
        '{{"stream":"btcusdt@markPrice@1s","data":{{"e":"markPriceUpdate","E":5,"s":"BTCUSDT","p":"11794.15",'
        '"i":"11784.62","P":"11784.25","r":"{}","T":1562306400000}}}}'
    )
    (mark,) = wire.read(text.format("0.00038167"), BINANCE_MARKET)
    due = 1_562_306_400 * SECOND
    expected = (Decimal("11794.15"), Decimal("11784.62"), Decimal("0.00038167"), due, 5 * MILLISECOND, AT)
    assert mark == MarkPrice(PERP, *expected)
    (unfunded,) = wire.read(text.format(""), BINANCE_MARKET)
    assert (unfunded.funding_rate, unfunded.settles_at) == (None, None)


@pytest.mark.parametrize(("name", "length"), [("1m", MINUTE), ("4h", 4 * HOUR), ("1d", 24 * HOUR)])
def test_a_candle_says_whether_it_is_final(wire: Wire, name: str, length: int) -> None:
    text = (
        '{{"stream":"btcusdt@kline_{0}","data":{{"e":"kline","E":9,"s":"BTCUSDT","k":{{"t":60000,"T":119999,"s":"BTCUSDT",'
        '"i":"{0}","o":"1.0","c":"2.0","h":"3.0","l":"0.5","v":"10","n":5,"x":{1},"q":"20","V":"4","Q":"8"}}}}}}'
    )
    (open_bar,) = wire.read(text.format(name, "false"))
    (final,) = wire.read(text.format(name, "true"))
    prices = [Decimal(value) for value in ("1.0", "3.0", "0.5", "2.0")]
    assert final == Candle(PERP, length, MINUTE, *prices, Decimal(10), Decimal(20), True, AT)
    assert not open_bar.is_closed


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"code":2,"msg":"Invalid request: unknown variant"}', "2"),
        ('{"error":{"code":-1121,"msg":"Invalid symbol."},"id":1}', "-1121"),
    ],
)
def test_a_refusal_is_told(wire: Wire, text: str, name: str) -> None:
    (refused,) = wire.read(text)
    assert isinstance(refused, Refused)
    assert refused.name == name


@pytest.mark.parametrize("text", ["", "{", '{"stream":"x","data":{"e":"unheardOf"}}', '{"stream":"x"}'])
def test_what_cannot_be_read_is_counted_and_nothing_breaks(wire: Wire, text: str) -> None:
    assert wire.read(text) == []
    assert wire.decoder.counts == {"unreadable": 1}


def test_an_acknowledgement_is_no_news(wire: Wire) -> None:
    assert wire.read('{"result":null,"id":1}') == []
    assert not wire.decoder.counts


def test_each_stream_is_asked_for_on_its_own_route() -> None:
    everything = BinanceSubscription(
        depth=("BTCUSDT",),
        partial=("ETHUSDT",),
        touches=("BTCUSDT",),
        trades=("BTCUSDT",),
        marks=("BTCUSDT",),
        candles=("BTCUSDT",),
    )
    assert everything.urls("wss://venue.example/public", "wss://venue.example/market/") == {
        BINANCE_PUBLIC: "wss://venue.example/public/stream?streams=btcusdt@depth@100ms/ethusdt@depth20@100ms/btcusdt@bookTicker",
        BINANCE_MARKET: "wss://venue.example/market/stream?streams=btcusdt@aggTrade/btcusdt@markPrice@1s/btcusdt@kline_1m",
    }
    assert BinanceSubscription(depth=("BTCUSDT",)).urls("wss://a", "wss://b").keys() == {BINANCE_PUBLIC}
