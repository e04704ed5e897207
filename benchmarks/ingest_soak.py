"""Days of market data in minutes: is anything lost, and does memory stay flat?

    uv run python benchmarks/ingest_soak.py --messages 10000000 [--json]

Made-up messages in the venues' own spelling go through the readers that run live: Upbit's books, trades and tickers,
Binance's differences with the book kept from them, touches, trades, mark prices and bars, and the watchdog over all of
them. The price walks, rows come and go, and far rows pile up as they do over a day. The walk is a loop, but ids and
times go on, so the chain of differences never repeats.

*lost* is messages in less events out, which has to be 0; *wrong* counts books whose best rows are not those of a second
book kept here in a plain dictionary, and has to be 0 too. Resident memory is read at 50 points; its slope is the
straight line through all but the first fifth of them, in bytes per million messages.

``--drop 5000`` holds the 5,000th message back, to see that losing one does not go unnoticed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from itertools import count as counting
from itertools import islice
from random import Random
from time import perf_counter, process_time
from typing import Any, NamedTuple

import numpy as np
import psutil

from kimp.shared.domain.books import Book
from kimp.shared.domain.time import MILLISECOND, SECOND
from kimp.storage.feeds.binance import BinanceDecoder, BinanceSubscription
from kimp.storage.feeds.frames import BINANCE_MARKET, BINANCE_PUBLIC, UPBIT, ChannelOpened, Frame, Item, depth_channel
from kimp.storage.feeds.reader import FeedReader
from kimp.storage.feeds.replayer import replay
from kimp.storage.feeds.upbit import UpbitDecoder, UpbitSubscription

BEGAN_MS = 1_767_225_600_000
STEP_MS = 100
DELAY_NS = 40 * MILLISECOND
STEPS = 4_000
"""Length of the loop: the walk is back where it began after as many differences."""
IDS_PER_STEP = 37
DEPTH = 400
MIDDLE = 60_000
FAR = 70_000
FAR_ROWS = 20_000
"""Different far rows, several times as many as a side keeps."""
SECOND_STEPS = SECOND // (STEP_MS * MILLISECOND)
SAMPLES = 50
WARM_UP = 0.2
KINDS = ("Book", "Touch", "PublicTrade", "Ticker", "MarkPrice", "Candle")

Touch = tuple[tuple[str, str], tuple[str, str]]


class Step(NamedTuple):
    """One difference, as far as it is the same in every round, and the best rows after it."""

    bids: str
    asks: str
    touch: Touch


class Walk:
    """The book in a plain dictionary, and the differences that move it in a loop."""

    def __init__(self, steps: int = STEPS) -> None:
        dice = Random(1)
        self.bids = {MIDDLE - 1 - i: "1.500" for i in range(DEPTH)}
        self.asks = {MIDDLE + 1 + i: "1.500" for i in range(DEPTH)}
        half = [dice.choice((-1, 0, 1)) for _ in range(steps // 2)]
        moves = half + [-move for move in reversed(half)]
        changes, middle = [], MIDDLE
        for move in moves:
            middle += move
            changes.append(_changes(dice, middle, move))
        for bids, asks in changes:  # once round, so that the loop begins where it ends
            self._apply(bids, asks)
        self.snapshot = [_rows(sorted(side.items())) for side in (self.bids, self.asks)]
        self.steps = [self._step(bids, asks) for bids, asks in changes]

    def _step(self, bids: dict[int, str], asks: dict[int, str]) -> Step:
        self._apply(bids, asks)
        best_bid, best_ask = max(self.bids), min(self.asks)
        touch = (_price(best_bid), self.bids[best_bid]), (_price(best_ask), self.asks[best_ask])
        return Step(_rows(bids.items()), _rows(asks.items()), touch)

    def _apply(self, bids: dict[int, str], asks: dict[int, str]) -> None:
        for side, changed in ((self.bids, bids), (self.asks, asks)):
            for price, size in changed.items():
                if float(size):
                    side[price] = size
                else:
                    side.pop(price, None)


def _changes(dice: Random, middle: int, move: int) -> tuple[dict[int, str], dict[int, str]]:
    """What one difference changes: rows near the touch, and what the move of the price takes away and brings."""
    bids = {middle - 1 - dice.randrange(60): f"{dice.randrange(1, 9)}.500" for _ in range(4)}
    asks = {middle + 1 + dice.randrange(60): f"{dice.randrange(1, 9)}.500" for _ in range(4)}
    if move:
        bids |= {middle: "0.000", middle + 1: "0.000", middle - 1: "2.250"}
        asks |= {middle: "0.000", middle - 1: "0.000", middle + 1: "2.250"}
    return bids, asks


def _price(ticks: int) -> str:
    return f"{ticks}.10"


def _rows(rows: Any) -> str:
    return ",".join(f'["{_price(price)}","{size}"]' for price, size in rows)


class Venues:
    """Both venues' messages, as many as are asked for; remembers what it sent and what the books must look like."""

    def __init__(self, walk: Walk, drop: int = 0) -> None:
        self._walk = walk
        self._drop = drop
        self._upbit = [_upbit_book(Random(seed)) for seed in range(64)]
        self.sent: Counter[str] = Counter()
        self.touch: Touch = walk.steps[-1].touch
        self.virtual_ns = 0

    def items(self, count: int) -> Iterator[Item]:
        """Everything that arrives: the connections, the book's snapshot, and ``count`` messages after it."""
        yield from (ChannelOpened(channel, BEGAN_MS * MILLISECOND) for channel in (UPBIT, BINANCE_PUBLIC))
        for place, (at_ns, kind, channel, payload) in enumerate(islice(self._messages(), count), 1):
            self.sent[kind] += 1
            self.virtual_ns = at_ns
            if place != self._drop:
                yield Frame(channel, BEGAN_MS * MILLISECOND + at_ns + DELAY_NS, payload)

    def _messages(self) -> Iterator[tuple[int, str, str, bytes]]:
        for number in counting():
            for kind, channel, payload in self._step(number):
                yield number * STEP_MS * MILLISECOND, kind, channel, payload

    def _step(self, number: int) -> Iterator[tuple[str, str, bytes]]:
        """A tenth of a second: usually nine messages, every second four more."""
        at = BEGAN_MS + number * STEP_MS
        if not number:
            bids, asks = self._walk.snapshot
            text = f'{{"lastUpdateId":0,"E":{at},"T":{at},"bids":[{bids}],"asks":[{asks}]}}'
            yield "Book", depth_channel("BTCUSDT"), text.encode()
        step = self._walk.steps[number % len(self._walk.steps)]
        self.touch = step.touch
        last = (number + 1) * IDS_PER_STEP
        yield "Book", BINANCE_PUBLIC, _difference(step, at, last, number)
        (bid, bid_size), (ask, ask_size) = step.touch
        yield "Touch", BINANCE_PUBLIC, _TOUCH % (last, at, at, bid, bid_size, ask, ask_size)
        for trade in range(2):
            yield "Book", UPBIT, self._upbit[(2 * number + trade) % len(self._upbit)] % (at + trade)
            yield "PublicTrade", UPBIT, _UPBIT_TRADE % (at, at, at * 10_000 + trade)
            yield "PublicTrade", BINANCE_MARKET, _TRADE % (at, 2 * number + trade, bid, at)
        if number % SECOND_STEPS == 0:
            yield "Ticker", UPBIT, _TICKER % at
            yield "MarkPrice", BINANCE_MARKET, _MARK % (at, bid, bid, at + 3_600_000)
            yield "Candle", BINANCE_MARKET, _BAR % (at, at // 60_000 * 60_000, bid, ask, bid, ask)


class _Template:
    """Text with holes, filled in fast."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __mod__(self, values: Any) -> bytes:
        return (self._text % values).encode()


_TOUCH = _Template(
    '{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":%d,"s":"BTCUSDT","T":%d,"E":%d,'
    '"b":"%s","B":"%s","a":"%s","A":"%s"}}'
)
_TRADE = _Template(
    '{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":%d,"s":"BTCUSDT","a":%d,"p":"%s","q":"0.014","T":%d,"m":true}}'
)
_MARK = _Template(
    '{"stream":"btcusdt@markPrice@1s","data":{"e":"markPriceUpdate","E":%d,"s":"BTCUSDT","p":"%s","i":"%s",'
    '"r":"0.00010000","T":%d}}'
)
_BAR = _Template(
    '{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":%d,"s":"BTCUSDT","k":{"t":%d,"i":"1m","o":"%s","h":"%s",'
    '"l":"%s","c":"%s","v":"12.5","q":"750000","x":false}}}'
)
_TICKER = _Template(
    '{"ty":"ticker","cd":"KRW-BTC","tp":100000000.0,"atv24h":2500.5,"atp24h":2.5E+11,"tms":%d,"ms":"ACTIVE","its":false}'
)
_UPBIT_TRADE = _Template(
    '{"ty":"trade","cd":"KRW-BTC","tp":100000000.0,"tv":0.00125,"ab":"BID","ttms":%d,"tms":%d,"sid":%d}'
)


def _upbit_book(dice: Random) -> _Template:
    units = ",".join(
        f'{{"ap":{100_000_000 + i * 1_000}.0,"bp":{99_999_000 - i * 1_000}.0,'
        f'"as":{dice.randrange(1, 10**9) / 10**8},"bs":{dice.randrange(1, 10**9) / 10**8}}}'
        for i in range(15)
    )
    return _Template(f'{{"ty":"orderbook","cd":"KRW-BTC","tms":%d,"tas":1.5,"tbs":2.5,"obu":[{units}]}}')


def _difference(step: Step, at: int, last: int, number: int) -> bytes:
    """The next link of the chain, with one far row on each side that was not there lately."""
    far = number % FAR_ROWS
    return (
        f'{{"stream":"btcusdt@depth@100ms","data":{{"e":"depthUpdate","E":{at},"T":{at},"s":"BTCUSDT",'
        f'"U":{last - IDS_PER_STEP + 1},"u":{last},"pu":{last - IDS_PER_STEP},'
        f'"b":[{step.bids},["{MIDDLE - 10_000 - far}.10","3.000"]],"a":[{step.asks},["{FAR + far}.10","3.000"]]}}}}'
    ).encode()


class Soak:
    """Feeds the readers, compares what comes out, and weighs the process."""

    def __init__(self, drop: int = 0) -> None:
        self.venues = Venues(Walk(), drop)
        self.told: Counter[str] = Counter()
        self.wrong = 0
        upbit = UpbitSubscription(books=("KRW-BTC",), trades=("KRW-BTC",), tickers=("KRW-BTC",))
        symbols = ("BTCUSDT",)
        binance = BinanceSubscription(depth=symbols, touches=symbols, trades=symbols, marks=symbols, candles=symbols)
        self.decoders = {"upbit": UpbitDecoder(upbit), "binance": BinanceDecoder(binance)}
        self.memory: list[tuple[int, int]] = []

    def run(self, messages: int) -> None:
        """Read as many messages; memory is weighed on the way."""
        process, every = psutil.Process(), max(messages // SAMPLES, 1)
        readers = {name: FeedReader(decoder) for name, decoder in self.decoders.items()}
        for done, event in enumerate(replay(self.venues.items(messages), readers), 1):
            self.told[type(event).__name__] += 1
            if isinstance(event, Book) and event.instrument_id.startswith("binance"):
                self._compare(event)
            if done % every == 0:
                self.memory.append((done, process.memory_info().rss))

    def _compare(self, book: Book) -> None:
        told = tuple((str(level.price), str(level.size)) for level in (book.bids[0], book.asks[0]))
        self.wrong += told != self.venues.touch

    @property
    def lost(self) -> int:
        """Messages that came out as nothing, or as something else."""
        return sum(abs(self.venues.sent[kind] - self.told[kind]) for kind in KINDS)

    @property
    def alarms(self) -> dict[str, int]:
        """Losses told, and whatever the decoders withheld; the one snapshot is none."""
        others = {name: count for name, count in self.told.items() if name not in KINDS}
        withheld = sum((decoder.counts for decoder in self.decoders.values()), Counter[str]())
        return others | {name: count for name, count in withheld.items() if name != "snapshot joined"}

    def slope(self) -> float:
        """Bytes of resident memory per million messages."""
        kept = np.array(self.memory[int(len(self.memory) * WARM_UP) :], dtype=float)
        return float(np.polyfit(kept[:, 0], kept[:, 1], 1)[0] * 1e6)


def facts(messages: int, drop: int = 0) -> dict[str, Any]:
    """Everything measured, in the form that ``--json`` promises."""
    soak = Soak(drop)
    began, worked = perf_counter(), process_time()
    soak.run(messages)
    elapsed, worked = perf_counter() - began, process_time() - worked
    return {
        "name": "ingest_soak",
        "ours": {
            "messages_in": sum(soak.venues.sent.values()),
            "messages_out": sum(soak.told[kind] for kind in KINDS),
            "lost": soak.lost,
            "wrong": soak.wrong,
            "alarms": soak.alarms,
            "virtual_hours": soak.venues.virtual_ns / SECOND / 3_600,
            "elapsed_s": elapsed,
            "per_s": messages / elapsed,
            "per_core_s": messages / worked,
            "memory_bytes_per_million": soak.slope(),
            "memory_bytes": {"first": soak.memory[0][1], "last": soak.memory[-1][1]},
            "kinds": dict(soak.told),
        },
        "peers": {},
        "ratios": {},
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "system": platform.system()},
        "versions": {"python": platform.python_version(), "kimp-storage": version("kimp-storage")},
    }


def main() -> int:
    """Measure and print; code 1 if anything was lost or wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print facts as JSON")
    parser.add_argument("--messages", type=int, default=20_000, help="how many; at least 1,000")
    parser.add_argument("--drop", type=int, default=0, help="hold back this one message")
    options = parser.parse_args()
    if options.messages < 1_000:
        parser.error("--messages must be at least 1000, for a line through the memory to mean anything")
    found = facts(options.messages, options.drop)
    ours = found["ours"]
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print(f"{ours['messages_in']:,} messages in, {ours['messages_out']:,} events out: {ours['lost']} lost")
        print(f"{ours['wrong']} wrong books, alarms: {ours['alarms'] or 'none'}")
        print(f"{ours['virtual_hours']:.1f} h of market in {ours['elapsed_s']:.1f} s: {ours['per_s']:,.0f} messages/s")
        first, last = (ours["memory_bytes"][name] / 2**20 for name in ("first", "last"))
        print(f"memory {first:.1f} → {last:.1f} MiB, slope {ours['memory_bytes_per_million']:+,.0f} bytes per million")
    return 1 if ours["lost"] or ours["wrong"] or ours["alarms"] else 0


if __name__ == "__main__":
    sys.exit(main())
