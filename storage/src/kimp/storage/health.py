"""``/health`` and ``/metrics``: whether data arrive, not whether a process exists. On this machine only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from kimp.shared.cli import to_json
from kimp.shared.logs import get
from kimp.storage.collectors.program import Collecting
from kimp.storage.metrics import CONTENT_TYPE, exposition

LOOPBACK = "127.0.0.1"
UNHEALTHY = 503
CLOSE_S = 1.0


def health(collecting: Collecting) -> dict[str, Any]:
    """The facts behind ``/health``.

    ``ok``: every stream that must deliver is fresh and rows reach the database. ``degraded``: something is stale or
    rows wait in the spool; nothing is lost. ``down``: no stream delivers.
    """
    now = collecting.clock.now()
    feeds = collecting.pulses.facts(now)
    judged = [feed.state for feed in feeds.values() if feed.limit_ms is not None]
    units = collecting.supervisor.states
    spool = collecting.writer.spool_bytes
    is_whole = "stale" not in judged and "waiting" not in judged and not spool
    is_whole = is_whole and all(unit.state == "running" for unit in units.values())
    status = "ok" if is_whole else "degraded" if "fresh" in judged else "down"
    return {
        "status": status,
        "feeds": feeds,
        "collectors": units,
        "database": {"spool_bytes": spool, "queue_rows": collecting.writer.backlog},
        "missing": collecting.keeper.missing,
    }


@asynccontextmanager
async def serving(collecting: Collecting, port: int) -> AsyncIterator[int | None]:
    """Answers for the length of the block; gives the port, ``None`` if it could not be had.

    A port that somebody else has is no reason not to collect.
    """
    app = web.Application()
    answers = _Answers(collecting)
    app.router.add_get("/health", answers.health)
    app.router.add_get("/metrics", answers.metrics)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_S)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, LOOPBACK, port).start()
        except OSError as error:
            get("kimp.storage.health").warning("health is not served", port=port, reason=error.strerror)
            yield None
        else:
            yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


class _Answers:
    """What is answered about one collector."""

    def __init__(self, collecting: Collecting) -> None:
        self._collecting = collecting

    async def health(self, _: web.Request) -> web.Response:
        facts = health(self._collecting)
        status = 200 if facts["status"] == "ok" else UNHEALTHY
        return web.Response(text=to_json(facts) + "\n", status=status, content_type="application/json")

    async def metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=exposition(self._collecting), headers={"Content-Type": CONTENT_TYPE})
