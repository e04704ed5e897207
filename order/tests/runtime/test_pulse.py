"""The pulse: what the file says is how it stands, and an old file is no trader."""

from __future__ import annotations

import asyncio
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kimp.order.runtime.counters import Counters, OrderSample
from kimp.order.runtime.pulse import AGE_MAX, Pulse, Witnesses, read_pulse
from kimp.order.runtime.pulse_report import MirrorPulse
from kimp.shared.domain.instruments import Venue
from kimp.shared.domain.time import DAY, MILLISECOND, SECOND
from kimp.shared.errors import NotRunning
from kimp.shared.messages.events import FeedBack, FeedLost, SwitchState, VenueChanged

PROMISED = {"mode", "strategy", "state", "switch", "position", "feeds", "venues", "pnl"}


class FakeClock:
    def __init__(self, at: int) -> None:
        self.at, self.sleeps = at, 0

    def now(self) -> int:
        return self.at

    async def sleep_until(self, at: int) -> None:
        self.at, self.sleeps = max(at, self.at), self.sleeps + 1
        await asyncio.sleep(0)


def pulse_of(story: Any, path: Path, **witnesses: Any) -> tuple[Pulse, FakeClock]:
    clock = FakeClock(story.now)
    pulse = Pulse(story.engine, path, mode="paper", clock=clock, witnesses=Witnesses(**witnesses))
    story.observers = (pulse,)
    return pulse, clock


def test_the_file_holds_what_status_promises(make_story: Any, tmp_path: Path) -> None:
    story = make_story()
    pulse, clock = pulse_of(story, tmp_path / "pulse.json")
    story.quote("0.005")
    pulse.write(clock.now())
    said = msgspec.json.decode((tmp_path / "pulse.json").read_bytes())
    assert set(said) >= PROMISED
    assert (said["mode"], said["strategy"], said["state"], said["switch"]) == ("paper", "fake", "flat", "active")
    assert {name: feed["state"] for name, feed in said["feeds"].items()} == dict.fromkeys(
        ("upbit:KRW-BTC", "binance:BTCUSDT", "funding:binance:BTCUSDT", "USD", "USDT"), "ok"
    )
    assert all(set(feed) >= {"age_ms", "state"} for feed in said["feeds"].values())
    assert read_pulse(tmp_path / "pulse.json", clock).pid == os.getpid()
    assert [path.name for path in tmp_path.iterdir()] == ["pulse.json"]


def test_an_open_pair_is_shown_with_what_closing_it_would_earn(make_story: Any, tmp_path: Path) -> None:
    story = make_story()
    pulse, _ = pulse_of(story, tmp_path / "pulse.json")
    story.quote("0.005")
    story.enter()
    story.quote("0.03")
    report = pulse.report(story.now)
    position = report.slots[0].position
    assert position == report.position
    assert position is not None
    assert position.exposure == 0
    assert [leg.quantity for leg in position.legs] == [leg.quantity for leg in story.engine.desks[0].slot.position.legs]
    assert position.net == story.engine.desks[0].verdict(story.now).net == report.pnl.open
    assert report.state == "open"
    story.wait(60)
    assert pulse.report(story.now).pnl.open is None, "without good quotes nobody knows"


def test_closed_pairs_count_today_only_on_their_day(traded: Any, tmp_path: Path) -> None:
    pulse = Pulse(traded.engine, tmp_path / "p", mode="paper", clock=FakeClock(traded.now), witnesses=Witnesses())
    closed = [pair for slot in traded.engine.state.slots.values() for pair in slot.closed]
    whole = sum((pair.breakdown.net for pair in closed), Decimal(0))
    later = pulse.report(max(pair.closed_at for pair in closed) + 2 * DAY).pnl
    assert (later.closed, later.today) == (whole, 0)
    first = min(closed, key=lambda pair: pair.closed_at)
    midnight = (first.closed_at + 9 * 3600 * SECOND) // DAY * DAY - 9 * 3600 * SECOND
    at_night = pulse.report(midnight + DAY - 1).pnl.today
    assert at_night == sum((pair.breakdown.net for pair in closed if pair.closed_at >= midnight), Decimal(0))


def test_what_is_lost_or_just_back_or_old_is_said(make_story: Any, tmp_path: Path) -> None:
    story = make_story()
    pulse, _ = pulse_of(story, tmp_path / "pulse.json")
    korea, abroad = story.pair.korea.id, story.pair.abroad.id
    assert pulse.report(story.now).feeds[korea].state == "missing"
    story.quote("0.005")
    story.feed(FeedLost(story.now, korea, "told to"))
    assert pulse.report(story.now).feeds[korea].state == "lost"
    story.feed(FeedBack(story.now, korea))
    story.quote("0.005")
    assert pulse.report(story.now).feeds[korea].state == "quarantined"
    story.wait(30)
    assert {name: pulse.report(story.now).feeds[name].state for name in (korea, abroad)} == {
        korea: "stale",
        abroad: "stale",
    }
    assert pulse.report(story.now + 200 * SECOND).feeds["USDT"].state == "expired"


def test_a_venue_says_why_it_is_not_traded_on(make_story: Any, tmp_path: Path) -> None:
    story = make_story()
    pulse, _ = pulse_of(story, tmp_path / "pulse.json")
    story.feed(VenueChanged(story.now, Venue.UPBIT, is_available=False, reason="maintenance"))
    upbit = pulse.report(story.now).venues["upbit"]
    assert (upbit.available, upbit.reason, upbit.reconciled_at) == (False, "maintenance", None)
    story.feed(VenueChanged(story.now, Venue.UPBIT, is_available=True, reason=""))
    assert pulse.report(story.now).venues["upbit"].available


def test_the_switch_and_the_last_refusals_are_shown(make_story: Any, tmp_path: Path) -> None:
    story = make_story()
    pulse, _ = pulse_of(story, tmp_path / "pulse.json")
    story.turn(SwitchState.HALTED)
    story.quote("0.005")
    story.enter()
    report = pulse.report(story.now)
    assert report.switch == "halted"
    assert report.slots[0].signal == "enter"
    assert report.slots[0].refusals == ("stopped",)
    assert report.slots[0].refusal_counts["stopped"] == 1


def test_latencies_are_percentiles_in_milliseconds(make_story: Any, tmp_path: Path) -> None:
    counters = Counters(events=7, coalesced=3, queue_high_water=2)
    for number in range(1, 101):
        counters.sendings.append(OrderSample(0, 2, number * MILLISECOND, number * MILLISECOND // 10))
    pulse, clock = pulse_of(
        make_story(),
        tmp_path / "p",
        counters=counters,
        mirror=lambda: MirrorPulse("running", 4),
        parts=lambda: {"a": "b"},
    )
    report = pulse.report(clock.now())
    assert (report.orders.start_ms_p50, report.orders.start_ms_p99, report.orders.skew_ms_p99) == (50, 99, 9.9)
    assert report.orders.answer_ms_p99 is None
    assert (report.queues.events, report.queues.order_lane_max) == (7, 2)
    assert report.mirror == MirrorPulse("running", 4)
    assert report.parts == {"a": "b"}


def test_it_beats_every_second(make_story: Any, tmp_path: Path) -> None:
    pulse, clock = pulse_of(make_story(), tmp_path / "below" / "pulse.json")
    began = clock.now()

    async def scenario() -> None:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(pulse.run())
            while clock.sleeps < 10:
                await asyncio.sleep(0)
            running.cancel()

    asyncio.run(scenario())
    assert read_pulse(tmp_path / "below" / "pulse.json", clock).at in (began + 9 * SECOND, began + 10 * SECOND)


def test_an_old_beat_is_no_trader(make_story: Any, tmp_path: Path) -> None:
    pulse, clock = pulse_of(make_story(), tmp_path / "pulse.json")
    with pytest.raises(NotRunning, match="is not there"):
        read_pulse(tmp_path / "pulse.json", clock)
    pulse.write(clock.now())
    clock.at += AGE_MAX
    assert read_pulse(tmp_path / "pulse.json", clock).age_ms == AGE_MAX // MILLISECOND
    clock.at += 1
    with pytest.raises(NotRunning, match="5 s old") as told:
        read_pulse(tmp_path / "pulse.json", clock)
    assert told.value.exit_code == 3
    pulse.clear()
    with pytest.raises(NotRunning):
        read_pulse(tmp_path / "pulse.json", clock)


@pytest.mark.parametrize("content", [b"", b"{", b'{"at": 1}', b"\xff\xfe"])
def test_a_broken_file_is_no_trader(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pulse.json").write_bytes(content)
    with pytest.raises(NotRunning):
        read_pulse(tmp_path / "pulse.json", FakeClock(0))
