"""Upbit's messages, made by hand in the shapes its pages and recordings show."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.instruments import Side
from kimp.shared.domain.ticks import PublicTrade
from kimp.shared.domain.time import MILLISECOND, SECOND
from kimp.storage.feeds.events import Refused, StreamKind, Ticker
from kimp.storage.feeds.exchange_rate.tether import TetherRate
from kimp.storage.feeds.frames import UPBIT, Frame
from kimp.storage.feeds.upbit import Form, UpbitDecoder, UpbitSubscription

AT = 1_700_000_000 * SECOND

SIMPLE_BOOK = (
    b'{"ty":"orderbook","cd":"KRW-BTC","tms":1699999999900,"tas":1.5,"tbs":0.5,"obu":['
    b'{"ap":150000000.0,"bp":149999000.0,"as":0.00012345,"bs":1.0E-8},'
    b'{"ap":150001000.0,"bp":149998000.0,"as":2.5,"bs":3.25}],"st":"REALTIME"}'
)
DEFAULT_BOOK = (
    b'{"type":"orderbook","code":"KRW-BTC","timestamp":1699999999900,"total_ask_size":1.5,"total_bid_size":0.5,'
    b'"orderbook_units":[{"ask_price":150000000.0,"bid_price":149999000.0,"ask_size":0.00012345,"bid_size":1.0E-8},'
    b'{"ask_price":150001000.0,"bid_price":149998000.0,"ask_size":2.5,"bid_size":3.25}],"level":0,"stream_type":"SNAPSHOT"}'
)

Read = Callable[..., list[Any]]


@pytest.fixture
def decoder() -> UpbitDecoder:
    return UpbitDecoder(UpbitSubscription(books=("KRW-BTC",)))


@pytest.fixture
def read(decoder: UpbitDecoder) -> Read:
    def one(*payloads: bytes) -> list[Any]:
        return [event for payload in payloads for event in decoder.read(Frame(UPBIT, AT, payload))]

    return one


def trade(sequential_id: int, *, side: str = "BID", price: str = "127.0", volume: str = "46.48838371") -> bytes:
    return (
        '{"ty":"trade","cd":"KRW-LAMB","tms":1618678262712,"td":"2021-04-17","ttm":"16:51:02","ttms":1618678262000,'
        f'"tp":{price},"tv":{volume},"ab":"{side}","pcp":123.0,"c":"RISE","cp":4.0,"sid":{sequential_id},"st":"REALTIME"}}'
    ).encode()


@pytest.mark.parametrize("payload", [SIMPLE_BOOK, DEFAULT_BOOK], ids=["simple", "default"])
def test_a_book_is_read_in_both_spellings_with_every_digit(read: Read, payload: bytes) -> None:
    assert read(payload) == [
        Book(
            "upbit:KRW-BTC",
            (Level(Decimal("149999000"), Decimal("0.00000001")), Level(Decimal("149998000"), Decimal("3.25"))),
            (Level(Decimal("150000000"), Decimal("0.00012345")), Level(Decimal("150001000"), Decimal("2.5"))),
            1_699_999_999_900 * MILLISECOND,
            AT,
        )
    ]


def test_spellings_may_change_from_message_to_message(read: Read) -> None:
    assert len(read(SIMPLE_BOOK, DEFAULT_BOOK, DEFAULT_BOOK, SIMPLE_BOOK)) == 4


def test_digits_beyond_a_floats_reach_are_kept(read: Read) -> None:
    (told,) = read(trade(1, price="0.12345678901234567890", volume="2575227555420627.123456789"))
    assert str(told.price) == "0.12345678901234567890"
    assert str(told.quantity) == "2575227555420627.123456789"


def test_padding_never_becomes_a_best_ask_of_zero(read: Read) -> None:
    (book,) = read(
        b'{"ty":"orderbook","cd":"BTC-MARO","tms":1,"obu":[{"ap":0.00000036,"bp":3.5E-7,"as":10.5,"bs":9124.5},'
        b'{"ap":0.0,"bp":3.4E-7,"as":0.0,"bs":7.0},{"ap":0,"bp":0,"as":0,"bs":0}]}'
    )
    assert [level.price for level in book.asks] == [Decimal("3.6E-7")]
    assert [level.price for level in book.bids] == [Decimal("3.5E-7"), Decimal("3.4E-7")]
    assert book.fault() is None


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ('{"ap":0,"bp":100,"as":0,"bs":1}', "book_empty"),
        ('{"ap":100,"bp":100,"as":1,"bs":1}', "book_crossed"),
        ('{"ap":101,"bp":100,"as":1,"bs":-1}', "book_not_positive"),
        ('{"ap":"NaN","bp":100,"as":1,"bs":1}', "book_not_finite"),
        ('{"ap":101,"bp":100,"as":"Infinity","bs":1}', "book_not_finite"),
        ('{"ap":102,"bp":100,"as":1,"bs":1},{"ap":101,"bp":99,"as":1,"bs":1}', "book_unsorted"),
        ('{"ap":101,"bp":100,"as":1,"bs":1},{"ap":102,"bp":100,"as":1,"bs":1}', "book_unsorted"),
    ],
)
def test_a_book_that_cannot_be_traded_on_is_withheld_and_counted(
    read: Read, decoder: UpbitDecoder, rows: str, fault: str
) -> None:
    assert read(f'{{"ty":"orderbook","cd":"KRW-BTC","tms":1,"obu":[{rows}]}}'.encode()) == []
    assert decoder.counts == {fault: 1}


def test_a_trade_tells_the_takers_side(read: Read) -> None:
    bought, sold = read(trade(1), trade(2, side="ASK"))
    assert bought == PublicTrade(
        "upbit:KRW-LAMB",
        1,
        Side.BUY,
        Decimal("127.0"),
        Decimal("46.48838371"),
        1_618_678_262_000 * MILLISECOND,
        AT,
    )
    assert sold.side is Side.SELL


def test_a_late_trade_is_kept_and_a_repeated_one_is_not(read: Read, decoder: UpbitDecoder) -> None:
    told = read(trade(1005), trade(1003), trade(1005), trade(1004), trade(1003))
    assert [one.trade_id for one in told] == [1005, 1003, 1004]
    assert decoder.counts == {"trade told twice": 2}


@pytest.mark.parametrize(
    "payload",
    [
        b'{"ty":"ticker","cd":"KRW-BTC","tp":150000000.0,"atv24h":1234.5,"atp24h":1.8517500E+11,"tms":1,"ms":"%s"}',
        b'{"type":"ticker","code":"KRW-BTC","trade_price":150000000.0,"acc_trade_volume_24h":1234.5,'
        b'"acc_trade_price_24h":1.8517500E+11,"timestamp":1,"market_state":"%s"}',
    ],
    ids=["simple", "default"],
)
def test_a_ticker_tells_the_last_price_and_whether_the_market_trades(read: Read, payload: bytes) -> None:
    active, closed = read(payload % b"ACTIVE", payload % b"PREVIEW")
    number = Decimal(150_000_000)
    assert active == Ticker(
        "upbit:KRW-BTC", number, Decimal("1234.5"), Decimal(185_175_000_000), False, MILLISECOND, AT
    )
    assert closed.is_halted


@pytest.mark.parametrize(("name", "told"), [('"WRONG_FORMAT"', "WRONG_FORMAT"), ("400", "400")])
def test_an_error_is_told_whether_its_name_is_a_word_or_a_number(read: Read, name: str, told: str) -> None:
    (refused,) = read(f'{{"error":{{"name":{name},"message":"Format이 맞지 않습니다."}}}}'.encode())
    assert refused == Refused(UPBIT, AT, told, "Format이 맞지 않습니다.")


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"\xff\xfe", b'{"ty":"candle.1m"}', b'{"ty":"orderbook"}'])
def test_what_cannot_be_read_is_counted_and_nothing_breaks(read: Read, decoder: UpbitDecoder, payload: bytes) -> None:
    assert read(payload, SIMPLE_BOOK)[0].instrument_id == "upbit:KRW-BTC"
    assert decoder.counts == {"unreadable": 1}


def test_a_sign_of_life_is_no_news(read: Read, decoder: UpbitDecoder) -> None:
    assert read(b'{"status":"UP"}') == []
    assert not decoder.counts


def test_everything_wanted_stands_in_one_message_because_a_second_replaces_the_first() -> None:
    subscription = UpbitSubscription(
        books=("KRW-BTC", "KRW-USDT"), trades=("KRW-BTC",), tickers=("KRW-BTC",), form=Form.DEFAULT
    )
    assert msgspec.json.decode(subscription.message()) == [
        {"ticket": "kimp"},
        {"type": "trade", "codes": ["KRW-BTC"]},
        {"type": "orderbook", "codes": ["KRW-BTC.15", "KRW-USDT.15"]},
        {"type": "ticker", "codes": ["KRW-BTC"]},
        {"format": "DEFAULT"},
    ]


def test_only_books_of_busy_markets_must_not_fall_silent() -> None:
    subscription = UpbitSubscription(books=("KRW-BTC", "KRW-QUIET"), trades=("KRW-BTC",), busy=frozenset({"KRW-BTC"}))
    watched = [(stream.instrument_id, stream.kind) for stream in subscription.streams() if stream.silence_max]
    assert watched == [("upbit:KRW-BTC", StreamKind.BOOK)]


def test_the_tether_book_makes_the_usdt_rate() -> None:
    decoder = UpbitDecoder(UpbitSubscription(books=("KRW-USDT",)), TetherRate())
    row = '{"ty":"orderbook","cd":"KRW-USDT","tms":%d,"obu":[{"ap":%d,"bp":%d,"as":5,"bs":7}]}'

    def at(seconds: float, price: int) -> list[Any]:
        now = AT + round(seconds * SECOND)
        return decoder.read(Frame(UPBIT, now, (row % (now // MILLISECOND, price + 1, price)).encode()))

    book, rate = at(0, 1_400)
    assert (rate.base, rate.value, rate.at) == ("USDT", Decimal("1400.5"), book.received_at)
    assert rate.is_valid(AT + 120 * SECOND)
    assert not rate.is_valid(AT + 121 * SECOND)
    assert len(at(0.1, 1_400)) == 1  # unchanged, told a moment ago
    assert at(0.2, 1_401)[1].value == Decimal("1401.5")
    assert len(at(0.3, 140_000)) == 1  # a spike is no rate
    assert len(at(1.5, 1_401)) == 2
