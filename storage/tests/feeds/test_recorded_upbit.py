"""Real recorded Upbit frames through the real decoder."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from kimp.shared.domain.books import Book
from kimp.shared.domain.ticks import PublicTrade
from kimp.storage.feeds.captures import read_items
from kimp.storage.feeds.frames import UPBIT, Frame
from kimp.storage.feeds.upbit import UpbitDecoder, UpbitSubscription

BOOKS, TRADES, EXPONENTS = 145, 304, 8
LATE = 6  # with a smaller sequential_id than the trade before, in the same market


@pytest.fixture
def frames(recorded_frames: Path) -> list[Frame]:
    items = list(read_items(recorded_frames / "cryptofeed_UPBIT.ws.62.0.txt.gz"))
    return [item for item in items if isinstance(item, Frame)]


@pytest.fixture
def decode() -> Callable[[list[Frame]], list[object]]:
    def run(frames: list[Frame]) -> list[object]:
        decoder = UpbitDecoder(UpbitSubscription())
        told: list[object] = [event for frame in frames for event in decoder.read(frame)]
        assert not decoder.counts
        return told

    return run


def test_every_recorded_message_is_understood(
    frames: list[Frame], decode: Callable[[list[Frame]], list[object]]
) -> None:
    told = decode(frames)
    assert {frame.channel for frame in frames} == {UPBIT}
    assert sum(isinstance(event, Book) for event in told) == BOOKS
    assert sum(isinstance(event, PublicTrade) for event in told) == TRADES


def test_the_late_trades_are_kept(frames: list[Frame], decode: Callable[[list[Frame]], list[object]]) -> None:
    trades = [event for event in decode(frames) if isinstance(event, PublicTrade)]
    before: dict[str, int] = {}
    late = []
    for trade in trades:
        if trade.trade_id < before.get(trade.instrument_id, 0):
            late.append(trade)
        before[trade.instrument_id] = trade.trade_id
    assert len(late) == LATE


def test_every_recorded_book_can_be_traded_on(
    frames: list[Frame], decode: Callable[[list[Frame]], list[object]]
) -> None:
    books = [event for event in decode(frames) if isinstance(event, Book)]
    assert all(book.fault() is None for book in books)


def test_recorded_prices_in_exponent_form_are_read(
    frames: list[Frame], decode: Callable[[list[Frame]], list[object]]
) -> None:
    exponents = [frame for frame in frames if b'"bp":9.9E-7' in frame.payload]
    assert len(exponents) == EXPONENTS
    for event in decode(exponents):
        assert isinstance(event, Book)
        assert Decimal("0.00000099") in [level.price for level in event.bids]


def test_every_digit_on_the_wire_is_a_digit_of_the_book(
    frames: list[Frame], decode: Callable[[list[Frame]], list[object]]
) -> None:
    for frame in frames:
        for event in decode([frame]):
            if isinstance(event, Book):
                written = frame.payload.decode().upper()
                numbers = [str(value) for level in event.bids + event.asks for value in (level.price, level.size)]
                assert all(number in written or f"{number}.0" in written for number in numbers if "E" not in number)
