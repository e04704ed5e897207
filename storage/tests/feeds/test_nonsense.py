"""Whatever a venue sends, no decoder raises: what makes no sense is counted."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimp.shared.domain.books import Book
from kimp.storage.feeds.binance import BinanceDecoder, BinanceSubscription
from kimp.storage.feeds.exchange_rate.decoder import RateDecoder
from kimp.storage.feeds.exchange_rate.tether import TetherRate
from kimp.storage.feeds.frames import Frame
from kimp.storage.feeds.reader import Decoder
from kimp.storage.feeds.upbit import UpbitDecoder, UpbitSubscription

AT = 1_700_000_000_000_000_000

MESSAGES = [
    ("upbit", b'{"ty":"orderbook","cd":"KRW-USDT","tms":1,"obu":[{"ap":2.5,"bp":1.5,"as":1.0,"bs":1.0}]}'),
    ("upbit", b'{"ty":"trade","cd":"KRW-BTC","tms":1,"ttms":1,"tp":127.0,"tv":46.4,"ab":"BID","sid":1}'),
    ("upbit", b'{"error":{"name":"WRONG_FORMAT","message":"x"}}'),
    (
        "binance/public",
        b'{"stream":"a@depth@100ms","data":{"e":"depthUpdate","T":1,"s":"A","U":2,"u":3,"pu":1,'
        b'"b":[["1.5","2"]],"a":[["2.5","2"]]}}',
    ),
    (
        "binance/public",
        b'{"stream":"b@depth20@100ms","data":{"e":"depthUpdate","T":1,"s":"B","U":2,"u":3,"pu":1,'
        b'"b":[["1.5","2"]],"a":[["2.5","2"]]}}',
    ),
    ("binance/depth/A", b'{"lastUpdateId":2,"T":1,"bids":[["1.5","2"]],"asks":[["2.5","2"]]}'),
    (
        "binance/public",
        b'{"stream":"a@bookTicker","data":{"e":"bookTicker","T":1,"s":"A","u":3,"b":"1.5","B":"2","a":"2.5","A":"2"}}',
    ),
    (
        "binance/market",
        b'{"stream":"m","data":{"e":"markPriceUpdate","E":1,"s":"A","p":"1.5","i":"1.5","r":"0.1","T":1}}',
    ),
    (
        "binance/market",
        b'{"stream":"k","data":{"e":"kline","s":"A","k":{"t":1,"i":"1m","o":"1","h":"1","l":"1","c":"1","v":"1",'
        b'"q":"1","x":true}}}',
    ),
    ("fx/bank", b'[{"code":"FRX.KRWUSD","basePrice":1400.5,"timestamp":1700000000000}]'),
    (
        "fx/market",
        b'{"chart":{"result":[{"meta":{"currency":"KRW","symbol":"KRW=X","regularMarketPrice":1,'
        b'"regularMarketTime":1}}]}}',
    ),
]
ABSURD = [
    b"NaN",
    b"-1",
    b"0",
    b"1e999999999",
    b'"Infinity"',
    b'"nan"',
    b"null",
    b"99999999999999999999999",
    b'""',
    b"[]",
    b"\xff",
]


def fresh() -> dict[str, Decoder]:
    return {
        "upbit": UpbitDecoder(UpbitSubscription(books=("KRW-USDT",)), TetherRate()),
        "binance": BinanceDecoder(BinanceSubscription(depth=("A",), partial=("B",))),
        "fx": RateDecoder(),
    }


def check(decoders: dict[str, Decoder], channel: str, payload: bytes) -> None:
    decoder: Any = decoders[channel.partition("/")[0]]
    for event in decoder.read(Frame(channel, AT, payload)):
        assert not isinstance(event, Book) or event.fault() is None
    decoder.tick(AT)
    decoder.wanted(AT)


@given(st.data())
def test_mutilated_messages_break_nothing_and_make_no_bad_book(data: st.DataObject) -> None:
    made = fresh()
    for _ in range(4):
        channel, payload = data.draw(st.sampled_from(MESSAGES))
        start = data.draw(st.integers(0, len(payload)))
        length = data.draw(st.integers(0, 6))
        put = data.draw(st.one_of(st.binary(max_size=4), st.sampled_from(ABSURD)))
        check(made, channel, payload[:start] + put + payload[start + length :])


@pytest.mark.parametrize("absurd", ABSURD, ids=repr)
def test_an_absurd_value_in_any_place_breaks_nothing(absurd: bytes) -> None:
    decoders = fresh()
    for channel, payload in MESSAGES:
        parts = payload.replace(b",", b"\0,").replace(b"}", b"\0}").replace(b"]", b"\0]").split(b"\0")
        for number, part in enumerate(parts):
            name, colon, _ = part.rpartition(b":")
            changed = [*parts[:number], name + colon + absurd, *parts[number + 1 :]]
            check(decoders, channel, b"".join(changed))
