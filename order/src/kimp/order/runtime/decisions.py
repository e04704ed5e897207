"""Keeps what was considered and why, in the journal's file, so that ``kimp why`` can answer for any minute.

Nothing here is needed to trade: a row that cannot be written waits for the next one, and trouble with the disk is
counted and logged, never raised. The journal's own durability is not touched: this connection commits without waiting
for the disk (``synchronous=NORMAL`` in WAL mode syncs at checkpoints only), and it gives way at once when the journal
is writing.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from kimp.order.engine.desk import PairDesk
from kimp.order.engine.engine import TradingEngine
from kimp.order.reading.decision import Answer, Decision, decision_of
from kimp.shared import logs
from kimp.shared.domain.signals import Enter, Exit, Refusal
from kimp.shared.domain.time import DAY, MINUTE, SECOND, Nanos
from kimp.shared.errors import DataError
from kimp.shared.messages.effects import Effect, PlaceOrders
from kimp.shared.messages.events import Event, FeedLost, MarketMoved
from kimp.shared.messages.records import Phase

WRITTEN_EVERY: Nanos = MINUTE
"""How often an unchanged answer is written again, so that its figures can be looked up to the minute."""

KEPT_DAYS = 30
KEPT_ROWS_MAX = 100_000
"""Under 2 kB a row: 200 MB at the very most. A quiet month of one coin is 43,000 rows."""

CHANGES_PER_MINUTE_MAX = 120
"""A premium that dances on its threshold changes the answer at every quote; two rows a second tell that story."""

WAITING_MAX = 256
"""Rows kept in memory while the file cannot be written; older ones are lost first."""

PRUNED_EVERY = 500
"""Rows between two looks at what is too old; each takes away a bounded part, so that none takes long."""

PRUNED_AT_ONCE = 1_000

RETRY_AFTER: Nanos = 10 * SECOND
"""Pause after trouble with the disk: a full one is not worth a try at every quote."""

_TABLE = """
create table if not exists decisions (
    id integer primary key,
    at integer not null,
    slot text not null,
    body blob not null
);
create index if not exists decisions_by_time on decisions (at);
create index if not exists decisions_by_slot on decisions (slot, at);
"""

_FREE = (Phase.FLAT, Phase.OPEN)
_OWNER = "owner_override"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Decision).decode

log = logs.get(__name__)


@dataclass(slots=True)
class _Watched:
    """One slot as it was last looked at and last written."""

    refusals: int = 0
    phase: Phase = Phase.FLAT
    key: tuple[Phase, Answer, str, tuple[str, ...]] | None = None
    written_at: Nanos = 0
    minute: Nanos = 0
    changes: int = 0
    skipped: int = 0


class DecisionLog:
    """An observer of the engine: hand it every event after its effects were carried out.

    ``lost`` counts rows given up, ``failures`` attempts that the disk refused.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._watched: dict[str, _Watched] = {}
        self._waiting: deque[tuple[Nanos, str, bytes]] = deque(maxlen=WAITING_MAX)
        self._retry_at: Nanos = 0
        self._until_prune = 0
        self.lost = 0
        self.failures = 0

    def after(self, event: Event, effects: Sequence[Effect], engine: TradingEngine) -> None:
        """Write a row for each slot whose answer changed, or was last written a minute ago. Never raises."""
        # What moves money is always written; a Hold that flickers is not.
        has_orders = any(type(effect) is PlaceOrders for effect in effects)
        for desk in engine.desks:
            watched = self._watched.setdefault(desk.slot.key, _Watched())
            said = _said(desk, watched, event)
            watched.phase = desk.slot.phase
            if said is not None and _is_due(watched, (desk.slot.phase, *said), event.at, has_orders=has_orders):
                row = decision_of(desk, engine.state, engine.settings, event.at, said)
                row = msgspec.structs.replace(row, skipped=watched.skipped)
                watched.skipped = 0
                self._keep(event.at, desk.slot.key, _encode(row))

    def flush(self, at: Nanos) -> None:
        """Try again to write what is waiting."""
        if self._waiting:
            self._write(at)

    def close(self) -> None:
        """Write what can still be written and let go of the file."""
        self.flush(self._retry_at)
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _keep(self, at: Nanos, slot: str, body: bytes) -> None:
        if len(self._waiting) == WAITING_MAX:
            self.lost += 1
        self._waiting.append((at, slot, body))
        if at >= self._retry_at:
            self._write(at)

    def _write(self, at: Nanos) -> None:
        try:
            connection = self._connection or self._open()
            connection.execute("begin immediate")
            connection.executemany("insert into decisions (at, slot, body) values (?, ?, ?)", self._waiting)
            self._prune(connection, at)
            connection.execute("commit")
        except (sqlite3.Error, OSError) as error:
            self._give_way(error, at)
        else:
            self._waiting.clear()

    def _open(self) -> sqlite3.Connection:
        # timeout=0: while the journal writes we come back later, instead of holding up whoever called.
        # mode=rw: the file is the journal's to create, and one we made would not be taken for a journal.
        where = f"{self._path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(where, uri=True, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("pragma synchronous=normal")
            connection.executescript(_TABLE)
        except sqlite3.Error:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _prune(self, connection: sqlite3.Connection, at: Nanos) -> None:
        self._until_prune -= len(self._waiting)
        if self._until_prune > 0:
            return
        self._until_prune = PRUNED_EVERY
        connection.execute(
            "delete from decisions where id in (select id from decisions where at < ? or id <= "
            "(select max(id) from decisions) - ? order by id limit ?)",
            (at - KEPT_DAYS * DAY, KEPT_ROWS_MAX, PRUNED_AT_ONCE),
        )

    def _give_way(self, error: Exception, at: Nanos) -> None:
        """Undo the half-done and try again later; the trader does not wait for this file."""
        is_busy = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_BUSY
        if self._connection is not None:
            try:
                if self._connection.in_transaction:
                    self._connection.execute("rollback")
            except sqlite3.Error:
                is_busy = False
            if not is_busy:
                self._connection.close()
                self._connection = None
        if not is_busy:
            self.failures += 1
            self._retry_at = at + RETRY_AFTER
            log.warning("decisions_not_written", error=str(error), waiting=len(self._waiting))


def _said(desk: PairDesk, watched: _Watched, event: Event) -> tuple[Answer, str, tuple[str, ...]] | None:
    """What the desk made of this event; ``None`` when it was not asked anything.

    The desk keeps its last word for ever, so a refusal is of this event only if the count of refusals has grown.
    """
    total = desk.refusals.total()
    refused: tuple[Refusal, ...] = desk.last_refusals if total != watched.refusals else ()
    watched.refusals = total
    codes = tuple(refusal.value for refusal in refused)
    if type(event) is FeedLost:
        # The last word before a silence: without it nobody could tell a trader that waits from one that is deaf.
        blocked = tuple(refusal.value for refusal in desk.market.undecidable(desk.pair, event.at))
        return (Answer.UNDECIDED, blocked[0], blocked) if blocked else None
    if type(event) is not MarketMoved:
        return (Answer.EXIT, _OWNER, codes) if refused else None
    if refused and desk.market.undecidable(desk.pair, event.at):
        return Answer.UNDECIDED, codes[0], codes
    if watched.phase not in _FREE:
        plan = desk.slot.plan
        return Answer.BUSY, plan.reason if plan else desk.slot.phase.value, codes
    match desk.last_signal:
        case None:
            return None
        case Enter(reason=reason):
            return Answer.ENTER, reason, codes
        case Exit(reason=reason):
            return Answer.EXIT, reason, codes
        case hold:
            return Answer.HOLD, hold.reason, codes


def _is_due(watched: _Watched, key: tuple[Phase, Answer, str, tuple[str, ...]], at: Nanos, *, has_orders: bool) -> bool:
    """Whether to write a row: for every change of answer within reason, and every minute."""
    if at - watched.minute >= MINUTE:
        watched.minute, watched.changes = at, 0
    has_changed = key != watched.key
    if not has_changed and at - watched.written_at < WRITTEN_EVERY:
        return False
    watched.changes += has_changed
    if has_changed and watched.changes > CHANGES_PER_MINUTE_MAX and not has_orders:
        watched.key = key
        watched.skipped += 1
        return False
    watched.key, watched.written_at = key, at
    return True


def read_decisions(
    path: Path, *, until: Nanos | None = None, since: Nanos | None = None, slot: str | None = None, limit: int = 1_000
) -> tuple[Decision, ...]:
    """The last ``limit`` decisions in ``[since, until]``, oldest first; none where nothing was ever written.

    Raises:
        DataError: the file is there and cannot be read.
    """
    wanted: list[str] = ["1"]
    values: list[Nanos | str] = []
    for clause, value in (("at <= ?", until), ("at >= ?", since), ("slot = ?", slot)):
        if value is not None:
            wanted.append(clause)
            values.append(value)
    tail = f"where {' and '.join(wanted)} order by at desc, id desc limit ?"
    return _selected(path, f"{_BODY} {tail}", (*values, limit))[::-1]


def last_decisions(path: Path) -> dict[str, Decision]:
    """The last decision of every slot; empty where nothing was ever written.

    Raises:
        DataError: the file is there and cannot be read.
    """
    return {
        row.slot: row
        for row in _selected(path, f"{_BODY} where id in (select max(id) from decisions group by slot)", ())
    }


_BODY = "select body from decisions"


def _selected(path: Path, query: str, values: Sequence[Nanos | str]) -> tuple[Decision, ...]:
    if not path.exists():
        return ()
    rows: Iterable[tuple[bytes]] = ()
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            if connection.execute("select 1 from sqlite_master where name = 'decisions'").fetchone():
                rows = connection.execute(query, values).fetchall()
        return tuple(_decode(body) for (body,) in rows)
    except (sqlite3.Error, msgspec.MsgspecError) as error:
        raise DataError(f"{path} cannot be read ({error}); look at its permissions, or restore a backup") from error
