"""What is recorded runs again as it ran, also after a crash in the middle of writing."""

import gzip
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimp.shared.domain.books import Book
from kimp.shared.domain.time import HOUR, MILLISECOND, SECOND
from kimp.shared.messages.events import FeedBack, FeedLost, MarketMoved
from kimp.storage.feeds.captures import merge_items, read_items
from kimp.storage.feeds.frames import UPBIT, ChannelLost, ChannelOpened, Frame, Item, depth_channel
from kimp.storage.feeds.reader import FeedReader
from kimp.storage.feeds.recorder import FrameRecorder, from_line, to_line
from kimp.storage.feeds.replayer import ReplayedMarket, replay
from kimp.storage.feeds.upbit import UpbitDecoder, UpbitSubscription

AT = 1_700_000_000 * SECOND
BTC = "upbit:KRW-BTC"


def book(at: int, price: int = 100) -> Frame:
    row = f'{{"ap":{price + 1},"bp":{price},"as":1,"bs":1}}'
    text = f'{{"ty":"orderbook","cd":"KRW-BTC","tms":{at // MILLISECOND},"obu":[{row}]}}'
    return Frame(UPBIT, at, text.encode())


def story() -> list[Item]:
    """Ten seconds of data, six of silence, a break, and data again."""
    items: list[Item] = [ChannelOpened(UPBIT, AT)]
    items += [book(AT + i * SECOND // 10) for i in range(100)]
    items += [ChannelLost(UPBIT, AT + 16 * SECOND, "closed 1006"), ChannelOpened(UPBIT, AT + 17 * SECOND)]
    return items + [book(AT + 18 * SECOND + i * SECOND // 10) for i in range(10)]


def upbit() -> dict[str, FeedReader]:
    return {"upbit": FeedReader(UpbitDecoder(UpbitSubscription(books=("KRW-BTC",))))}


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[[list[Item]], list[Path]]:
    def record(items: list[Item], **manner: Any) -> list[Path]:
        recorder = FrameRecorder(tmp_path / "frames", **manner)
        for item in items:
            recorder(item)
        recorder.close()
        return sorted((tmp_path / "frames").iterdir())

    return record


def test_a_replay_tells_the_same_events(recorded: Callable[..., list[Path]]) -> None:
    (path,) = recorded(story())
    assert list(read_items(path)) == story()
    told = list(replay(read_items(path), upbit()))
    assert told == list(replay(story(), upbit()))
    assert [type(event) for event in told if not isinstance(event, Book)] == [FeedLost, FeedBack]
    (lost,) = (event for event in told if isinstance(event, FeedLost))
    assert AT + 13 * SECOND < lost.at <= AT + 15 * SECOND  # silence, noticed before the connection broke


def test_files_are_of_an_hour_each_and_make_one_story(recorded: Callable[..., list[Path]]) -> None:
    items: list[Item] = [book(AT + i * HOUR // 4) for i in range(12)]
    paths = recorded(items)
    assert len(paths) == 3
    assert list(merge_items(paths)) == items


def test_a_file_that_is_full_is_followed_by_another_of_the_same_second(recorded: Callable[..., list[Path]]) -> None:
    items: list[Item] = [book(AT + i) for i in range(10)]
    paths = recorded(items, bytes_max=300)
    assert len(paths) > 1
    assert [item for path in paths for item in read_items(path)] == items


def test_a_crash_loses_nothing_that_was_flushed(tmp_path: Path) -> None:
    recorder = FrameRecorder(tmp_path)
    items: list[Item] = [book(AT + i * SECOND // 4) for i in range(40)]
    for item in items:
        recorder(item)
    (path,) = tmp_path.iterdir()
    torn = tmp_path / "torn.frames.gz"
    content = path.read_bytes()
    torn.write_bytes(content)  # the file as a kill -9 leaves it: no end, no checksum
    kept = list(read_items(torn))
    assert kept == items[: len(kept)]
    assert len(kept) >= len(items) - 4  # a second's worth at most
    torn.write_bytes(content[:-7])
    kept = list(read_items(torn))
    assert kept == items[: len(kept)]
    recorder.close()


def test_after_a_crash_the_next_run_begins_another_file(tmp_path: Path) -> None:
    for _ in range(2):
        recorder = FrameRecorder(tmp_path)
        recorder(book(AT))
        recorder.close()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_disk_that_refuses_costs_the_recording_and_not_the_feed(tmp_path: Path) -> None:
    blocked = tmp_path / "frames"
    blocked.write_text("a file where a directory should be")
    recorder = FrameRecorder(blocked)
    for second in range(30):
        recorder(book(AT + second * SECOND))
    assert recorder.lost == 30
    blocked.unlink()
    recorder(book(AT + 61 * SECOND))
    recorder.close()
    (path,) = blocked.iterdir()
    assert list(read_items(path)) == [book(AT + 61 * SECOND)]


@given(st.binary(), st.sampled_from([UPBIT, "binance/depth/BTCUSDT", "fx/bank"]))
def test_any_payload_survives_a_line(payload: bytes, channel: str) -> None:
    frame = Frame(channel, AT, payload)
    line = to_line(frame)
    assert line.count(b"\n") == 1
    assert from_line(line) == frame


def test_foreign_layouts_are_read(tmp_path: Path) -> None:
    cryptofeed, answers, hftbacktest = (tmp_path / f"{name}.gz" for name in ("ws", "http", "hft"))
    with gzip.open(cryptofeed, "wt") as file:
        file.write("wss://api.upbit.com/websocket/v1 <-> 1618678261.681707\n")
        file.write('wss://api.upbit.com/websocket/v1 <- 1618678262.670261: [{"ticket":"x"}]\n')
        file.write('1618678263.010785: b\'{"ty":"trade"}\'\n\n')
    with gzip.open(answers, "wt") as file:
        file.write(
            'https://venue.example/fapi/v1/depth?symbol=AUSDT&limit=1000 -> 1626992741.301402: {"lastUpdateId":1}\n'
        )
        file.write('configuration: {"trades":[]}\n')
    with gzip.open(hftbacktest, "wt") as file:
        file.write('1723161255030314667 {"stream":"b@trade","data":{"s":"BUSDT"}}\n')
        file.write('1723161255030314668 {"lastUpdateId":1}\n')
    assert list(read_items(cryptofeed)) == [Frame(UPBIT, 1618678263010785000, b'{"ty":"trade"}')]
    assert list(read_items(answers)) == [Frame(depth_channel("AUSDT"), 1626992741301402000, b'{"lastUpdateId":1}')]
    assert [item.channel for item in read_items(hftbacktest)] == ["binance/public", depth_channel("BUSDT")]


def test_a_replay_keeps_the_rhythm_at_any_speed(
    clock: Any, virtually: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    async def run() -> None:
        began = clock.now()
        market = ReplayedMarket(story(), upbit(), clock=clock, speed=10.0)
        events = [event async for event in market.stream()]
        assert sum(isinstance(event, MarketMoved) for event in events) == 110
        assert round((clock.now() - began) / SECOND, 2) == 1.89

    virtually(run())
