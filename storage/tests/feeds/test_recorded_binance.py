"""Real recorded frames through the real decoder; the captures carry their own oracle, ``bookTicker``.

A book rebuilt from differences has to have the touch that the venue named at the same update. Where a snapshot is
needed beyond those in the captures, it comes from a second, plain rebuilding of the book that shares no code with ours.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kimp.shared.domain.books import Book
from kimp.storage.feeds.binance import BinanceDecoder, BinanceSubscription
from kimp.storage.feeds.captures import merge_items
from kimp.storage.feeds.events import Touch
from kimp.storage.feeds.frames import Frame, depth_channel, depth_symbol

CAPTURES = {
    "2021": ("cryptofeed_BINANCE_FUTURES.ws.1.0.txt.gz", "cryptofeed_BINANCE_FUTURES.http.0.0.txt.gz"),
    "2024": ("hftbacktest_um_btcusdt_20240808.txt.gz",),
}
SHARED = {"2021": 50, "2024": 629}  # updates that both a difference and a bookTicker end at
WINDOW = 20
SNAPSHOT_ROWS = 1_000

Top = tuple[tuple[Decimal, Decimal], ...]


class PlainBook:
    """The same book kept in the plainest way there is."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        self.last = snapshot["lastUpdateId"]
        self.bids = {Decimal(price): Decimal(size) for price, size in snapshot["bids"]}
        self.asks = {Decimal(price): Decimal(size) for price, size in snapshot["asks"]}

    def apply(self, update: dict[str, Any]) -> None:
        for rows, side in ((update["b"], self.bids), (update["a"], self.asks)):
            for price, size in rows:
                side[Decimal(price)] = Decimal(size)
                if not Decimal(size):
                    del side[Decimal(price)]
        self.last = update["u"]

    def top(self, count: int) -> tuple[Top, Top]:
        bids = sorted(self.bids.items(), reverse=True)[:count]
        return tuple(bids), tuple(sorted(self.asks.items())[:count])

    def snapshot(self, at: int) -> Frame:
        bids, asks = ([[str(p), str(s)] for p, s in rows] for rows in self.top(SNAPSHOT_ROWS))
        return Frame("", at, msgspec.json.encode({"lastUpdateId": self.last, "T": 1, "bids": bids, "asks": asks}))


def update_of(frame: Frame) -> dict[str, Any]:
    data: dict[str, Any] = msgspec.json.decode(frame.payload)["data"]
    return data


@pytest.fixture(params=CAPTURES)
def capture(request: pytest.FixtureRequest, recorded_frames: Path) -> tuple[str, list[Frame]]:
    paths = [recorded_frames / name for name in CAPTURES[request.param]]
    return request.param, [item for item in merge_items(paths) if isinstance(item, Frame)]


@pytest.fixture
def decoder() -> BinanceDecoder:
    return BinanceDecoder(BinanceSubscription())


def plainly(frames: list[Frame]) -> Iterator[tuple[Frame, dict[str, PlainBook]]]:
    """Every frame, with the plain books as they are after it."""
    books: dict[str, PlainBook] = {}
    waiting: dict[str, list[dict[str, Any]]] = {}
    for frame in frames:
        if symbol := depth_symbol(frame.channel):
            book = books[symbol] = PlainBook(msgspec.json.decode(frame.payload))
            for update in waiting.get(symbol, []):
                if update["u"] > book.last:
                    book.apply(update)
        elif b"depthUpdate" in frame.payload:
            update = update_of(frame)
            if update["s"] in books:
                books[update["s"]].apply(update)
            else:
                waiting.setdefault(update["s"], []).append(update)
        yield frame, books


def levels(book: Book, count: int) -> tuple[Top, Top]:
    bids, asks = ([(level.price, level.size) for level in side[:count]] for side in (book.bids, book.asks))
    return tuple(bids), tuple(asks)


def test_the_rebuilt_book_has_the_touch_of_book_ticker_at_every_shared_update(
    capture: tuple[str, list[Frame]], decoder: BinanceDecoder
) -> None:
    name, frames = capture
    books: dict[tuple[str, int], tuple[Top, Top]] = {}
    touches: dict[tuple[str, int], tuple[Top, Top]] = {}
    for frame, plain in plainly(frames):
        found = decoder.read(frame)
        for channel in decoder.wanted(frame.received_at):
            symbol = depth_symbol(channel) or ""
            if symbol in plain:  # the price has left the snapshot behind
                answer = plain[symbol].snapshot(frame.received_at)
                found += decoder.read(Frame(channel, answer.received_at, answer.payload))
        for event in found:
            match event:
                case Book(instrument_id=instrument_id):
                    symbol = instrument_id.partition(":")[2]
                    books[symbol, plain[symbol].last] = levels(event, 1)
                    assert event.fault() is None
                case Touch(instrument_id=instrument_id, bid=bid, ask=ask, update_id=update_id):
                    symbol = instrument_id.partition(":")[2]
                    touches[symbol, update_id] = ((bid.price, bid.size),), ((ask.price, ask.size),)
    shared = books.keys() & touches.keys()
    assert len(shared) == SHARED[name]
    assert [key for key in shared if books[key] != touches[key]] == []
    assert not any("distrusted" in reason for reason in decoder.counts)


Story = tuple[str, list[Frame], PlainBook]


@pytest.fixture
def stories(capture: tuple[str, list[Frame]]) -> Callable[[], Iterator[Story]]:
    """Every stretch of some differences of one symbol, with the plain book just before it; spread over the capture."""

    def tell() -> Iterator[Story]:
        name, frames = capture
        step = {"2021": 1, "2024": 41}[name]  # each one of 2021; in 2024 there is ten times as much in each
        chains: dict[str, list[tuple[Frame, bytes]]] = {}
        for frame, plain in plainly(frames):
            if b"depthUpdate" not in frame.payload or not plain:
                continue
            symbol = update_of(frame)["s"]
            if symbol in plain:
                chain = chains.setdefault(symbol, [])
                needs_book = len(chain) % step == 0
                chain.append((frame, plain[symbol].snapshot(frame.received_at).payload if needs_book else b""))
        for symbol, chain in chains.items():
            for start, (_, snapshot) in enumerate(chain[:-3]):
                if snapshot:
                    following = [frame for frame, _ in chain[start + 1 : start + WINDOW]]
                    yield symbol, following, PlainBook(msgspec.json.decode(snapshot))

    return tell


def test_deleting_any_difference_is_noticed_and_no_wrong_book_is_told(
    stories: Callable[[], Iterator[Story]],
) -> None:
    tried = 0
    for symbol, frames, plain in stories():
        decoder = BinanceDecoder(BinanceSubscription())
        first, deleted, *rest = frames
        begin = plain.snapshot(first.received_at)
        decoder.read(first)  # waits for the snapshot
        decoder.read(Frame(depth_channel(symbol), first.received_at, begin.payload))
        plain.apply(update_of(first))
        plain.apply(update_of(deleted))
        back_at = None
        for number, frame in enumerate(rest):
            plain.apply(update_of(frame))
            told = [event for event in decoder.read(frame) if isinstance(event, Book)]
            for channel in decoder.wanted(frame.received_at):
                answer = Frame(channel, frame.received_at, plain.snapshot(frame.received_at).payload)
                told += [event for event in decoder.read(answer) if isinstance(event, Book)]
                back_at = number if back_at is None else back_at
            assert back_at is not None or not told, f"{symbol}: a book with a hole was told"
            for book in told:
                assert levels(book, 5) == plain.top(5)
        tried += 1
        if len(rest) == WINDOW - 3 and frames[-1].received_at - deleted.received_at > 10**9:
            assert back_at is not None, f"{symbol}: never asked for a snapshot"
    assert tried > 150


def test_repeating_and_swapping_differences_changes_no_book(stories: Callable[[], Iterator[Story]]) -> None:
    for number, (symbol, frames, plain) in enumerate(stories()):
        if number % 10:
            continue
        decoder = BinanceDecoder(BinanceSubscription())
        begin = plain.snapshot(frames[0].received_at)
        disordered = [frames[0]]
        for earlier, later in zip(frames[1::2], frames[2::2], strict=False):
            disordered += [later, later, earlier, later]
        for frame in frames[: len(frames) - (len(frames) % 2 == 0)]:
            plain.apply(update_of(frame))
        decoder.read(disordered[0])
        decoder.read(Frame(depth_channel(symbol), begin.received_at, begin.payload))
        told = [event for frame in disordered[1:] for event in decoder.read(frame) if isinstance(event, Book)]
        assert levels(told[-1], 5) == plain.top(5)
