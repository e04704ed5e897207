import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kimp.order.runtime.pulse import Pulse, Witnesses
from kimp.shared.cli import main
from kimp.shared.messages.events import FeedLost, SwitchState
from kimp.storage.feeds.clocks import SystemClock

PROMISED = {"mode", "strategy", "state", "switch", "position", "feeds", "venues", "pnl"}


@pytest.fixture
def beating(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_story: Callable[..., Any]
) -> tuple[Any, Callable[[], None]]:
    """A story of now, and a hand that makes the trader's pulse beat once."""
    monkeypatch.setenv("KIMP__DATA__DIRECTORY", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "trade" / "paper"
    place.mkdir(parents=True)
    story = make_story(now=SystemClock().now())
    pulse = Pulse(story.engine, place / "pulse.json", mode="paper", clock=SystemClock(), witnesses=Witnesses())
    story.observers = (pulse,)
    return story, lambda: pulse.write(SystemClock().now())


def asked(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    code = main(("status", "--json"))
    return code, json.loads(capsys.readouterr().out)


def test_status_keeps_the_promised_keys(beating: Any, capsys: pytest.CaptureFixture[str]) -> None:
    story, beat = beating
    story.quote("0.005")
    beat()
    code, facts = asked(capsys)
    assert code == 0
    assert set(facts) >= PROMISED
    assert (facts["mode"], facts["strategy"], facts["state"], facts["switch"]) == ("paper", "fake", "flat", "active")
    assert facts["feeds"]["upbit:KRW-BTC"]["state"] == "ok"
    assert facts["feeds"]["upbit:KRW-BTC"]["age_ms"] >= 0


def test_an_open_pair_a_stop_and_a_lost_feed_are_seen(beating: Any, capsys: pytest.CaptureFixture[str]) -> None:
    story, beat = beating
    story.quote("0.005")
    story.enter()
    story.turn(SwitchState.REDUCING)
    story.feed(FeedLost(story.now, story.pair.korea.id, "silent"))
    beat()
    assert main(("status",)) == 0
    out = capsys.readouterr().out
    assert "보유 중 (open)" in out
    assert "신규 진입 정지 (no new entries)" in out
    assert "시세 수신 끊김 (a feed is lost)" in out
    assert "0.066" in out


def test_an_old_pulse_is_that_of_nobody(
    beating: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    story, beat = beating
    story.quote("0.005")
    beat()
    now = SystemClock().now()
    monkeypatch.setattr(SystemClock, "now", lambda _self: now + 3_600 * 10**9)
    assert main(("status",)) == 3
    assert capsys.readouterr().out == ""
