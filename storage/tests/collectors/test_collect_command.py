"""``kimp collect`` as an operator runs it: against venues on loopback, into a real database, ended by a signal."""

import json
import signal
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

TABLES = ("instruments", "candles", "orderbook_snapshots", "trades", "funding_rates", "fx_rates", "kimp_rates")


def test_a_few_seconds_of_collecting_fill_every_table(venues: Any, kimp: Any, sql: Any, tmp_path: Path) -> None:
    record = tmp_path / "frames"
    result = kimp(
        "collect",
        "--for",
        "3s",
        "--record",
        str(record),
        "--json",
        **venues.environ,
        KIMP__COLLECT__PREMIUM_S="1",
        KIMP__COLLECT__BACKFILL_HOURS="2",
    )
    assert result.returncode == 0, result.stderr
    facts = result.facts
    counts = {table: sql.one(f"SELECT count(*) FROM {table}") for table in TABLES}
    assert all(counts.values()), (counts, result.stderr[-3000:])
    assert sql.one("SELECT lot::text FROM instruments WHERE id = 'binance:BTCUSDT'") == "0.002"  # the venue's own
    assert facts["rows"]["rejected"] == 0
    assert facts["rows"]["received"] == facts["rows"]["acknowledged"]
    assert facts["spool_bytes"] == 0
    assert {unit["restarts"] for unit in facts["collectors"].values()} == {0}
    assert list(record.glob("*.frames.gz"))


@pytest.fixture
def collector(venues: Any, environ: dict[str, str], start: Any, kimp_path: str) -> Any:
    """A collector under way, with a free port for its health."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"KIMP__COLLECT__PREMIUM_S": "1", "KIMP__COLLECT__BACKFILL_HOURS": "1"}
    settings |= {"KIMP__COLLECT__HTTP_PORT": str(port)}
    program = start([kimp_path, "collect"], environ | venues.environ | settings)
    program.health = f"http://127.0.0.1:{port}/health"
    program.metrics = f"http://127.0.0.1:{port}/metrics"
    return program


def ask(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5.0) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_health_tells_feed_ages_and_sigterm_ends_within_ten_seconds(
    collector: Any, venues: Any, eventually: Any, sql: Any, kimp: Any
) -> None:
    def is_healthy() -> bool:
        return ask(collector.health)[0] == 200

    eventually(is_healthy)
    facts = json.loads(ask(collector.health)[1])
    assert facts["status"] == "ok"
    assert facts["feeds"]["upbit:KRW-BTC book"]["age_ms"] < 5_000
    metrics = ask(collector.metrics)[1]
    names = ("kimp_feed_age_seconds", "kimp_feed_messages_total", "kimp_gap_rows", "kimp_writer_queue_rows")
    for name in (*names, "kimp_spool_bytes", "kimp_collector_restarts_total"):
        assert f"\n{name}" in metrics, metrics

    _read_everything(kimp, eventually)
    venues.leave("upbit")  # the process lives, the data do not: that is what health is about
    eventually(lambda: ask(collector.health)[0] == 503)
    sick = json.loads(ask(collector.health)[1])
    assert sick["status"] == "degraded"
    assert sick["feeds"]["binance:BTCUSDT book"]["state"] == "fresh"
    venues.return_("upbit")
    eventually(is_healthy)

    began = time.monotonic()
    assert collector.kill(signal.SIGTERM) == 0
    assert time.monotonic() - began < 10.0
    assert "Traceback" not in collector.errors
    assert sql.one("SELECT count(*) FROM trades") > 0


def _read_everything(kimp: Any, eventually: Any) -> None:
    """What the collector writes, through every command that looks at it."""
    result = kimp("premium", "now", "--json")
    assert result.returncode == 0, result.stdout + result.stderr
    facts = result.facts
    assert facts["source"] == "database"
    assert facts["valid"] is True
    assert facts["reasons"] == []
    assert facts["symbol"] == "BTC"
    assert abs(facts["fx_basis"] - (facts["upbit"] / (facts["binance"] * facts["usdkrw"]) - 1)) < 1e-12
    assert abs(facts["usdt_basis"] - (facts["upbit"] / (facts["binance"] * facts["usdtkrw"]) - 1)) < 1e-12
    assert facts["executable"]["enter"] > facts["executable"]["leave"]
    assert set(facts["ages_ms"]) == {"upbit", "binance", "usdkrw", "usdtkrw"}

    status = kimp("data", "status", "--json").facts
    series = {part["series"]: part for part in status["series"]}
    assert series["orderbook_snapshots:upbit:KRW-BTC"]["age_s"] < 5
    assert {"rows", "first", "last", "age_s"} <= set(series["candles:upbit:KRW-BTC:60"])

    words = ("premium", "history", "--from", "1m", "--every", "1s", "--json")
    (first, *_) = eventually(lambda: kimp(*words).facts["rows"])
    assert set(first) == {"at", "fx_basis", "usdt_basis", "executable"}
    gaps = kimp("data", "gaps", "--json").facts
    assert gaps["expected"] == gaps["present"] + gaps["missing"]
    minutes = [gap["minutes"] for gap in gaps["gaps"] if gap["series"] == "candles:upbit:KRW-BTC:60"]
    assert minutes

    def reasons() -> set[str]:
        found = kimp("data", "gaps", "--json").facts["gaps"]
        return {gap["reason"] for gap in found if gap["series"].startswith("candles:upbit")}

    # a minute that has just ended counts as not collected until the next look back has asked for it
    eventually(lambda: reasons() == {"no_trade"})
    for words in (("data", "status"), ("data", "gaps"), ("premium", "now"), ("premium", "history", "--from", "1m")):
        assert kimp(*words).returncode == 0


def test_premium_now_asks_the_venues_when_nobody_collects(venues: Any, kimp: Any) -> None:
    result = kimp("premium", "now", "--json", **venues.environ)
    assert result.returncode == 0, result.stdout + result.stderr
    facts = result.facts
    assert facts["source"] == "venues"
    venues.leave("binance")
    gone = kimp("premium", "now", "--json", "--wait", "1s", **venues.environ)
    assert gone.returncode == 6
    assert "binance_missing" in gone.facts["reasons"]
    venues.leave("upbit")
    nobody = kimp("premium", "now", "--json", "--wait", "1s", **venues.environ)
    assert nobody.returncode == 5
    assert len(nobody.stderr.strip().splitlines()) == 1


def test_watching_the_premium_prints_a_line_a_second(venues: Any, kimp: Any) -> None:
    result = kimp("premium", "watch", "--for", "3s", "--json", **venues.environ)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert 1 <= len(lines) <= 3
    assert lines[-1]["valid"], lines
