"""One life of the real trader, in a process forked from a parent that has imported everything already.

Nothing is executed anew and importing is skipped (ccxt alone takes seconds); everything else is what ``kimp trade --mode
live`` does after its consent gate: the same ``trading``, the real adapters over the wire, the journal, the reconciler, the
mirror. Only the strategy is one made for storms.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import signal
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from random import Random

from crash.mutants import MUTANTS
from crash.traps import set_trap

from kimp.order.modes import live
from kimp.order.trading import TradeRequest, trading
from kimp.research.chaos.eager import EagerStrategy
from kimp.shared import logs
from kimp.shared.config import load
from kimp.shared.domain.signals import Direction
from kimp.shared.settings import Settings
from kimp.storage.feeds.clocks import SystemClock

MODE = "live"
SLOW_IMPORTS = ("ccxt", "asyncpg", "kimp.order.exchanges.binance_transport", "kimp.order.exchanges.upbit_client")
"""What a trader imports late; the parent does it once, or every life would begin with seconds of it."""

RESTORED, RECONCILED = b"restored", b"reconciled"


@dataclass(frozen=True, slots=True)
class Life:
    """How one life goes: its dice, where it dies by itself (``aim``), and what is wrong with it (``mutant``)."""

    seed: int
    mirror: bool = False
    aim: str | None = None
    count: int = 1
    mutant: str | None = None


def end_with_parent() -> None:
    """The system kills this process when its parent ends, however that ends (``prctl(2)``, PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def import_everything() -> None:
    """Once, in the parent; what is there then is not looked at by the collector of any life."""
    for name in SLOW_IMPORTS:
        import_module(name)
    gc.freeze()


def settings_of(environment: dict[str, str], directory: Path, *, mirror: bool, database_url: str = "") -> Settings:
    """The configuration of every life: short pauses, little capital at work, the served venues."""
    found = {
        "data.directory": str(directory),
        "capital.fraction": "0.1",
        "guards.quarantine_s": "0",
        "execution.cooldown_s": "0",
        "execution.entries_per_minute_max": "60",
        "trade.reconcile_s": "5",
        "trade.flight_days": "1",
        "trade.mirror": str(mirror).lower(),
        "log.level": "error",
    }
    variables = dict(environment)
    if database_url:
        variables["KIMP__DATABASE__URL"] = database_url
    return load(MODE, environ=variables, overrides=[f"{key}={value}" for key, value in found.items()]).settings


def begin(life: Life, settings: Settings, log: Path) -> tuple[int, int]:
    """Fork a trader; its process id, and the end of a pipe on which it says how far it has come."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    os.close(reading)
    end_with_parent()
    code = 1
    try:
        _divert(log)
        if life.mutant is not None:
            MUTANTS[life.mutant]()
        if life.aim is not None:
            set_trap(life.aim, life.count)
        asyncio.run(_trade(life, settings, writing))
        code = 0
    except BaseException:  # into the log: the stack above belongs to the parent
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _divert(log: Path) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(file, stream)


async def _trade(life: Life, settings: Settings, said: int) -> None:
    logs.configure(settings.log)
    request = TradeRequest(
        MODE,
        settings,
        SystemClock(),
        Random(life.seed),
        warms_up=False,
        wire=live,
        strategy=lambda _: EagerStrategy(Direction.LONG_PREMIUM),
    )
    async with trading(request) as trader, asyncio.TaskGroup() as group:
        group.create_task(_tell(trader.runner.is_restored, said, RESTORED))
        group.create_task(_tell(trader.reconciler.first_done, said, RECONCILED))
        await trader.run()


async def _tell(event: asyncio.Event, said: int, what: bytes) -> None:
    await event.wait()
    os.write(said, what + b" %d\n" % time.monotonic_ns())
