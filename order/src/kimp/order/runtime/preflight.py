"""Everything that has to be right before trading, looked at once: ``kimp doctor`` prints it, live trading insists on it.

No check raises, and one that hangs fails. Each says what to do: Korean first, English second.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from kimp.order.runtime.journal import SqliteJournal
from kimp.order.runtime.place import TradePlace
from kimp.order.runtime.preflight_market import MarketSeen, capital_check, watch_market
from kimp.order.runtime.preflight_venues import VenueSeen, venue_checks
from kimp.order.runtime.trade_lock import holder_of
from kimp.shared.domain.accounts import Check
from kimp.shared.domain.instruments import Pair, Venue
from kimp.shared.errors import KimpError
from kimp.shared.logs import get
from kimp.shared.messages.events import SwitchState
from kimp.shared.ports.clock import Clock
from kimp.shared.ports.exchange import Exchange
from kimp.shared.ports.market import MarketDataSource
from kimp.shared.ports.switch import EntrySwitch
from kimp.shared.settings import Settings
from kimp.storage.database.pool import Database

CHECK_S_MAX = 45.0
"""What one group of checks may take: a first start makes a database, a venue answers some dozen questions."""

DISK_FREE_MIN = 1024**3
"""A gigabyte: journals grow by some megabytes a day, the flight recorder and the database by hundreds."""

_GIGABYTE = 1024**3


@dataclass(frozen=True, slots=True)
class Grounds:
    """What is looked at. Exchanges are open; ``market`` and ``database`` are left out where there is none to ask.

    ``holds_lock`` says that the caller is the trader of this place, so that the lock is his own.
    """

    mode: str
    settings: Settings
    exchanges: Mapping[Venue, Exchange]
    pairs: Sequence[Pair]
    place: TradePlace
    switch: EntrySwitch
    clock: Clock
    market: MarketDataSource | None = None
    database: AbstractAsyncContextManager[Database] | None = None
    holds_lock: bool = False


async def preflight(grounds: Grounds) -> tuple[Check, ...]:
    """Look at everything, side by side; the checks come in a fixed order. ``ok`` of all of them permits live trading."""
    seen: dict[Venue, VenueSeen] = {}
    quotes = MarketSeen()

    def venue(name: Venue, exchange: Exchange) -> Callable[[], Awaitable[Sequence[Check]]]:
        async def look() -> Sequence[Check]:
            found = seen[name] = VenueSeen()
            return await venue_checks(exchange, grounds.pairs, grounds.settings, found)

        return look

    async def market() -> Sequence[Check]:
        if grounds.market is None:
            return ()
        return await watch_market(grounds.market, grounds.pairs, grounds.settings, grounds.clock, quotes)

    groups: list[tuple[str, Callable[[], Awaitable[Sequence[Check]]]]] = [
        ("journal", lambda: _place(grounds)),
        ("switch", lambda: _switch(grounds)),
        ("database", lambda: _database(grounds)),
        *((name.value, venue(name, exchange)) for name, exchange in grounds.exchanges.items()),
        ("market", market),
    ]
    async with asyncio.TaskGroup() as tasks:
        looks = [tasks.create_task(_guarded(name, look)) for name, look in groups]
    checks = [check for look in looks for check in look.result()]
    checks += [capital_check(pair, grounds.settings, seen, quotes) for pair in grounds.pairs]
    return tuple(checks)


async def _guarded(name: str, look: Callable[[], Awaitable[Sequence[Check]]]) -> Sequence[Check]:
    try:
        async with asyncio.timeout(CHECK_S_MAX):
            return await look()
    except TimeoutError:
        return (Check(name, False, f"{CHECK_S_MAX:.0f}초 안에 답이 없습니다 / no answer within that time: try again"),)
    except Exception as error:  # a check that breaks is a check that failed
        get("kimp.order.preflight").exception("check broke", check=name)
        return (Check(name, False, f"점검 실패 / the check broke: {type(error).__name__}: {error}"),)


# -- this machine ------------------------------------------------------------------------------------------------------


async def _place(grounds: Grounds) -> Sequence[Check]:
    place = grounds.place
    return (_directory(place.directory), _journal(place), _lock(grounds), _disk(place.directory))


def _existing(path: Path) -> Path:
    """The path itself or the nearest directory above it that is there: nothing is made by looking."""
    return next(parent for parent in (path, *path.parents) if parent.exists())


def _directory(directory: Path) -> Check:
    there = _existing(directory)
    ok = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    advice = "쓸 수 없습니다, data.directory를 바꾸세요 / not writable: choose another data.directory"
    return Check("data directory", ok, f"{directory}" if ok else f"{there}: {advice}")


def _journal(place: TradePlace) -> Check:
    name = "journal"
    if not place.journal.exists():
        return Check(name, True, "첫 시작, 새로 만듭니다 / first start: a new one will be made")
    if not os.access(place.journal, os.R_OK | os.W_OK):
        return Check(name, False, f"{place.journal}: 읽고 쓸 권한이 없습니다 / not readable and writable for this user")
    try:
        with SqliteJournal(place.journal, read_only=True) as journal:
            records = sum(1 for _ in journal.read())
    except KimpError as error:
        return Check(name, False, f"읽을 수 없습니다 / {error}")
    return Check(name, True, f"기록 {records}건 / {records} records")


def _lock(grounds: Grounds) -> Check:
    holder = holder_of(grounds.place.lock)
    if holder is None or grounds.holds_lock:
        return Check("trade lock", True, "비어 있음 / free" if holder is None else "보유 중 / held by this trader")
    # Not a fault: a trader that runs is what its owner wants; a second one is refused by the lock itself.
    return Check("trade lock", True, f"거래 중, 프로세스 {holder} / a trader is running, process {holder}")


def _disk(directory: Path) -> Check:
    free = shutil.disk_usage(_existing(directory)).free
    detail = f"{free / _GIGABYTE:.1f} GB 남음 / free"
    if free >= DISK_FREE_MIN:
        return Check("disk space", True, detail)
    return Check("disk space", False, f"{detail}: 1 GB 이상 비우세요 / make room, a full disk ends trading")


async def _switch(grounds: Grounds) -> Sequence[Check]:
    state = await grounds.switch.read()
    if state is SwitchState.ACTIVE:
        return (Check("switch", True, "진입 허용 / entries allowed"),)
    if not grounds.place.journal.exists() and not grounds.place.switch.exists():
        return (Check("switch", True, "첫 시작에 진입 허용 / entries are allowed by the first start"),)
    # Starting while stopped is fine: exits and repairs go on, entries wait for the owner.
    return (Check("switch", True, f"진입 정지 {state.value} / entries stopped; allow them with: kimp resume"),)


async def _database(grounds: Grounds) -> Sequence[Check]:
    """A warning at most: trading needs no database, and the mirror catches up."""
    if grounds.database is None:
        return (Check("database", True, "쓰지 않음 / not used"),)
    try:
        async with grounds.database as database, database.connection() as connection:
            await connection.fetchval("SELECT 1")
    except (KimpError, OSError) as error:
        return (Check("database", True, f"경고: 연결 안 됨, 거래는 됩니다 / warning, trading works without: {error}"),)
    return (Check("database", True, f"연결됨 / reachable: {database.where}"),)
