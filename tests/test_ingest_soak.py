"""The soak counts what it claims to count: nothing lost in a whole stream, and a single missing message noticed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SOAK = Path(__file__).parents[1] / "benchmarks" / "ingest_soak.py"


def soak(*arguments: str) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, str(SOAK), "--json", "--messages", "20000", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)["ours"]


def test_every_message_comes_out_as_an_event_and_every_book_is_right() -> None:
    code, ours = soak()
    assert (code, ours["messages_in"], ours["messages_out"]) == (0, 20_000, 20_000)
    assert (ours["lost"], ours["wrong"], ours["alarms"]) == (0, 0, {})
    assert all(ours["kinds"][kind] for kind in ("Book", "Touch", "PublicTrade", "Ticker", "MarkPrice", "Candle"))


@pytest.mark.parametrize("place", ["5000", "5001", "5002", "5003"])
def test_a_message_that_is_held_back_is_noticed(place: str) -> None:
    code, ours = soak("--drop", place)
    assert code == 1
    assert ours["lost"] >= 1


def test_a_link_that_is_missing_from_the_chain_shows_no_wrong_book() -> None:
    _, ours = soak("--drop", "5001")
    assert ours["lost"] > 1
    assert ours["wrong"] == 0
    assert ours["alarms"]["FeedLost"] == 1
