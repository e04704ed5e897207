"""The containers' health check: a program of its own that asks the collector and says what is wrong in one line."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from kimp.shared.cli import to_json
from kimp.shared.settings import Settings
from kimp.storage.collectors.board import Pulses
from kimp.storage.collectors.program import Collecting
from kimp.storage.collectors.supervisor import UnitState
from kimp.storage.feeds.clocks import SystemClock
from kimp.storage.health import health

ROOT = Path(__file__).resolve().parent.parent
HEALTHCHECK = ROOT / "docker" / "healthcheck.py"


@contextmanager
def answering(status: int, body: str) -> Iterator[int]:
    """A collector's ``/health``; gives its port."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def healthcheck(port: int) -> tuple[int, str]:
    command = [sys.executable, "-W", "error", str(HEALTHCHECK)]
    done = subprocess.run(
        command, env={"KIMP__COLLECT__HTTP_PORT": str(port)}, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.strip()


def answer_of(*, age_s: int, unit: str = "running", spool: int = 0) -> str:
    """What the collector really answers when its only stream's newest data are this old."""
    clock, pulses = SystemClock(), Pulses()
    pulses.expect("upbit:KRW-BTC book", 5 * 10**9)
    pulses.beat("upbit:KRW-BTC book", clock.now() - age_s * 10**9)
    parts = dict.fromkeys(field.name for field in fields(Collecting)) | {
        "clock": clock,
        "pulses": pulses,
        "supervisor": SimpleNamespace(states={"upbit": UnitState(unit)}),
        "writer": SimpleNamespace(spool_bytes=spool, backlog=0),
        "keeper": SimpleNamespace(missing={}),
    }
    return to_json(health(Collecting(**parts)))  # type: ignore[arg-type]


def test_fresh_data_are_healthy() -> None:
    with answering(200, answer_of(age_s=0)) as port:
        assert healthcheck(port) == (0, "ok")


def test_old_data_are_not_and_the_stream_is_named() -> None:
    with answering(503, answer_of(age_s=60, spool=1_024)) as port:
        code, line = healthcheck(port)
    assert code == 1
    assert re.search(r"^down; upbit:KRW-BTC book: stale \(\d+ ms\)", line)
    assert "1,024 bytes wait for the database" in line


def test_a_stream_that_has_not_begun_has_no_age() -> None:
    feeds = {"binance:BTCUSDT book": {"state": "waiting", "age_ms": None}}
    with answering(503, to_json({"status": "down", "feeds": feeds})) as port:
        assert healthcheck(port) == (1, "down; binance:BTCUSDT book: waiting")


def test_a_collector_that_is_down_is_named() -> None:
    with answering(503, answer_of(age_s=0, unit="waiting")) as port:
        assert healthcheck(port) == (1, "degraded; upbit: waiting")


@pytest.mark.parametrize("body", ["", "not json", "[]"])
def test_an_answer_that_is_none_is_not_healthy(body: str) -> None:
    with answering(200, body) as port:
        assert healthcheck(port)[0] == 1


def test_a_process_that_does_not_answer_is_not_healthy() -> None:
    with answering(200, "{}") as port:
        pass  # gone again, and nobody else has its port so soon
    code, line = healthcheck(port)
    assert code == 1
    assert str(port) in line


def test_the_health_check_asks_where_the_collector_answers() -> None:
    assert re.search(
        rf"^PORT = {Settings().collect.http_port}\b", HEALTHCHECK.read_text(encoding="utf-8"), re.MULTILINE
    )
