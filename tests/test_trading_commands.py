"""The owner's day with real processes: virtual venues on the wire, a paper trader on their live feeds, and every command.

One story, told in order, because that is how it is lived: start, look, ask why, stop, flatten, reconcile, replay.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kimp.order.runtime.journal import SqliteJournal
from kimp.shared.messages.records import SwitchSet

KIMP = str(Path(sys.executable).parent / "kimp")
EAGER = ["--no-warm-up", "--preset", "low_entry", "--param", "threshold=0.5", "--param", "target_net=0.5"]
"""Enters at any premium there ever was, and never finds the profit worth leaving for."""

WAIT_S_MAX = 60.0


@dataclass
class Owner:
    """A person at a terminal with the environment that leads to the virtual venues."""

    directory: Path
    environment: dict[str, str]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [KIMP, *words],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=WAIT_S_MAX,
            check=False,
        )

    def facts(self, *words: str, code: int = 0) -> Any:
        done = self.run(*words, "--json")
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def start(self, *words: str) -> subprocess.Popen[str]:
        with (self.directory / f"{words[0]}.log").open("w") as log:
            return subprocess.Popen(
                [KIMP, *words],
                cwd=self.directory,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text()


def wait_for(what: str, look: Callable[[], bool], process: subprocess.Popen[str], owner: Owner) -> None:
    until = time.monotonic() + WAIT_S_MAX
    while time.monotonic() < until:
        if look():
            return
        assert process.poll() is None, f"the trader ended before {what}:\n{owner.log('trade')}"
        time.sleep(0.25)
    raise AssertionError(f"{what} did not happen within {WAIT_S_MAX:.0f} s:\n{owner.log('trade')}")


def end(process: subprocess.Popen[str]) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout=30)


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Owner]:
    """With both venues served for as long as the story lasts."""
    directory = tmp_path_factory.mktemp("owner")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KIMP__")}
    own = {
        "KIMP__DATA__DIRECTORY": str(directory / "data"),
        "KIMP__TRADE__MIRROR": "false",
        "NO_COLOR": "1",
        "COLUMNS": "160",
    }
    owner = Owner(directory, kept | own)
    venues = owner.start(
        "venue", "serve", "--port", "0", "--for", "300s", "--environment", str(directory / "venue.env")
    )
    try:
        wait_for("serving", lambda: (directory / "venue.env").exists(), venues, owner)
        lines = (directory / "venue.env").read_text().splitlines()
        owner.environment |= dict(line.split("=", 1) for line in lines)
        yield owner
    finally:
        end(venues)


def test_an_owners_day(owner: Owner) -> None:
    assert owner.run("status").returncode == 3, "nothing runs yet"
    checks = owner.facts("doctor")["checks"]
    assert {"feed upbit:KRW-BTC", "switch", "capital BTC"} <= {check["name"] for check in checks}

    trader = owner.start("trade", *EAGER)
    try:
        _look_on(owner, trader)
        _stop_and_flatten(owner, trader)
    finally:
        code = end(trader)
    assert code == 0, owner.log("trade")
    assert "Traceback" not in owner.log("trade")
    _look_back(owner)


def _look_on(owner: Owner, trader: subprocess.Popen[str]) -> None:
    wait_for("an open pair", lambda: _state(owner) == "open", trader, owner)
    status = owner.facts("status")
    assert status["position"]["exposure"] == 0
    assert all(feed["state"] == "ok" for feed in status["feeds"].values())
    assert owner.run("position").returncode == 0
    why = owner.run("why")
    assert why.returncode == 0
    assert "달라졌어야 할 것" in why.stdout
    again = owner.run("trade", *EAGER, "--for", "5s")
    assert again.returncode == 1
    assert "another trader" in again.stderr


def _stop_and_flatten(owner: Owner, trader: subprocess.Popen[str]) -> None:
    assert owner.facts("stop", "--reason", "test")["state"] == "reducing"
    wait_for("the stop", lambda: owner.facts("status")["switch"] == "reducing", trader, owner)
    assert owner.run("flatten", "--confirm", "WRONG1").returncode == 6
    offered = owner.facts("flatten")
    assert offered["slots"] == ["kimp:BTC"]
    closed = owner.facts("flatten", "--confirm", offered["code"], "--reason", "test")
    assert closed["closed"] == [{"slot": "kimp:BTC", "refusals": []}]
    wait_for("flat", lambda: _state(owner) == "flat", trader, owner)
    assert owner.run("flatten", "--confirm", offered["code"]).returncode == 6, "a code is good once"


def _look_back(owner: Owner) -> None:
    assert owner.run("status").returncode == 3, "nothing runs any more"
    journal = owner.directory / "data" / "trade" / "paper" / "journal.sqlite"
    with SqliteJournal(journal, read_only=True) as written:
        stops = [record for record in written.read() if isinstance(record, SwitchSet)]
    assert [(stop.actor[:4], stop.reason) for stop in stops] == [("cli:", "test")], "who stopped it, and why"
    pnl = owner.facts("pnl")
    assert "owner_override" in json.dumps(pnl), "the loss is labelled with who wanted it"
    found = owner.facts("reconcile")
    assert all(row["verdict"] == "equal" for look in found["venues"] for row in (*look["wallets"], *look["positions"]))
    trades = owner.directory / "trades.csv"
    assert owner.run("export", "trades", "--out", str(trades)).returncode == 0
    assert len(trades.read_text().splitlines()) >= 5, "a heading, two entries and two exits"
    assert owner.run("resume").returncode == 6, "not without being asked"
    assert owner.facts("resume", "--yes")["state"] == "active"


def _state(owner: Owner) -> str | None:
    done = owner.run("status", "--json")
    return json.loads(done.stdout)["state"] if done.returncode == 0 else None


def test_live_stays_shut_without_all_three_keys(owner: Owner) -> None:
    refused = owner.run("trade", "--mode", "live", "--real-money", "--for", "1s")
    assert (refused.returncode, "config init" in refused.stderr) == (4, True)
    assert owner.run("config", "init").returncode == 0
    refused = owner.run("trade", "--mode", "live", "--real-money", "--for", "1s")
    assert (refused.returncode, "live_enabled" in refused.stderr) == (4, True)
    permitted = Owner(owner.directory, owner.environment | {"KIMP__TRADE__LIVE_ENABLED": "true"})
    for words, missing in (((), "--real-money"), (("--real-money",), "on a terminal")):
        refused = permitted.run("trade", "--mode", "live", *words, "--for", "1s")
        assert (refused.returncode, missing in refused.stderr) == (6, True)
    assert not (owner.directory / "data" / "trade" / "live" / "journal.sqlite").exists()


def test_venues_that_cannot_be_served_are_one_sentence(owner: Owner) -> None:
    done = owner.run("venue", "serve", "--market", "no-such-place", "--for", "1s")
    assert done.returncode == 4
    assert "no-such-place" in done.stderr
    assert "Traceback" not in done.stderr


def test_served_venues_pass_every_check_that_live_insists_on(owner: Owner) -> None:
    owner.run("config", "init")  # live has to have its file; it may be there
    checks = owner.facts("doctor", "--mode", "live")["checks"]
    assert {"binance key permissions", "upbit may not withdraw", "feed KRW-USD"} <= {check["name"] for check in checks}
