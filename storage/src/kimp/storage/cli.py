"""``kimp collect``: light, everything heavy is imported when it runs."""

import os
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from kimp.shared.cli import console, print_json

if TYPE_CHECKING:
    from kimp.shared.settings import Settings
    from kimp.storage.collectors.program import Collecting

Result = TypeVar("Result")
Json = Annotated[bool, typer.Option("--json", help="Print facts as JSON. 결과를 JSON으로 출력합니다.")]


def collect(
    duration: Annotated[
        str | None, typer.Option("--for", help="이 시간만 수집합니다. How long to collect: 30s, 10m, 1h, 2d.")
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(help="받은 메시지를 그대로 저장할 폴더. Directory to keep every message as it arrived."),
    ] = None,
    as_json: Json = False,
) -> None:
    """시세를 수집해 데이터베이스에 기록합니다. Collect market data into the database until Ctrl-C."""
    from kimp.storage.options import seconds_of

    seconds = None if duration is None else seconds_of(duration, "--for")
    facts = run(_collect(load_settings(), seconds, record, as_json))
    if as_json:
        print_json(facts)
    else:
        _show(facts)


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Do the work; of several errors that ended it together, the first one is the command's."""
    import asyncio  # late: help must not wait for it

    try:
        return asyncio.run(work)
    except BaseExceptionGroup as group:
        from kimp.storage.collectors.supervisor import first_of

        raise first_of(group) from group


def load_settings() -> "Settings":
    """The settings of this process, with its log set up."""
    from kimp.shared import logs
    from kimp.shared.config import load

    found = load(environ=os.environ)
    logs.configure(found.settings.log, found.secrets)
    return found.settings


async def _collect(settings: "Settings", seconds: float | None, record: Path | None, as_json: bool) -> dict[str, Any]:
    import asyncio
    import signal
    from contextlib import suppress
    from random import Random

    from kimp.storage.collectors.program import collecting
    from kimp.storage.database.pool import Database
    from kimp.storage.feeds.clocks import SystemClock
    from kimp.storage.health import serving

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, ended.set)
    clock = SystemClock()
    began = loop.time()
    dice = Random(clock.now() ^ os.getpid())  # spreads pauses of several machines; decides nothing
    async with Database.of(settings) as database:
        async with (
            collecting(settings, database, clock=clock, dice=dice, record=record) as running,
            serving(running, settings.collect.http_port) as port,
        ):
            if not as_json:
                _greet(settings, database.where, port)
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await ended.wait()
        return _facts(running, loop.time() - began, database.where)


def _greet(settings: "Settings", where: str, port: int | None) -> None:
    import sys

    out = console()
    out.print(f"수집을 시작합니다 (collecting): {settings.collect.coins} → {where}", soft_wrap=True)
    if port is not None:
        out.print(f"상태 (health): http://127.0.0.1:{port}/health, 지표 (metrics): /metrics", soft_wrap=True)
    sys.stdout.flush()  # whoever started us in a pipe waits for these lines


def _facts(running: "Collecting", elapsed: float, where: str) -> dict[str, Any]:
    from dataclasses import asdict

    now = running.clock.now()
    return {
        "elapsed_s": round(elapsed, 3),
        "where": where,
        "rows": asdict(running.writer.counters),
        "spool_bytes": running.writer.spool_bytes,
        "feeds": running.pulses.facts(now),
        "collectors": running.supervisor.states,
        "missing": running.keeper.missing,
        "premium_faults": dict(running.premium.refused),
    }


def _show(facts: dict[str, Any]) -> None:
    from rich.table import Table

    out = console()
    rows = facts["rows"]
    kept = f"{facts['spool_bytes']:,} bytes" if facts["spool_bytes"] else "없음 (none)"
    out.print(
        f"{facts['elapsed_s']:.0f}초 수집 (collected): 받음 (received) {rows['received']:,}행, 새로 기록 (written) "
        f"{rows['written']:,}, 거부 (rejected) {rows['rejected']:,}, 스풀 (spool) {kept}",
        soft_wrap=True,
    )
    table = Table("피드 (feed)", "상태 (state)", "나이 ms (age)", "메시지 (messages)")
    for name, feed in facts["feeds"].items():
        age = "-" if feed.age_ms is None else f"{feed.age_ms:,}"
        table.add_row(name, feed.state, age, f"{feed.messages:,}")
    out.print(table)
