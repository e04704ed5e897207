"""Compares what others say of our money and our trades with what our own journal says, to the last digit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import msgspec

from kimp.order.engine.engine import TradingEngine
from kimp.order.engine.state import EngineState
from kimp.order.runtime.journal import SqliteJournal
from kimp.order.runtime.mirrored_rows import TABLES, Fold, MirrorTable, Row
from kimp.portfolio.exchange.virtual import VirtualExchange
from kimp.shared.domain.instruments import Kind, Venue
from kimp.storage.database.pool import Connection, Database

RECORDS_MAX = 100_000
"""A demo's journal has some two hundred."""


@dataclass(frozen=True, slots=True)
class Account:
    """One balance, told by both sides."""

    venue: str
    asset: str
    venue_says: Decimal
    ledger_says: Decimal

    @property
    def agrees(self) -> bool:
        """Whether both say exactly the same."""
        return self.venue_says == self.ledger_says


def accounts_of(engine: TradingEngine, venues: Mapping[Venue, VirtualExchange]) -> tuple[Account, ...]:
    """Every wallet and every contract of the two virtual venues beside the ledger.

    ``<symbol> unsettled`` is a perpetual's cash flow that closing has not yet turned into wallet balance.
    """
    ledger = engine.state.ledger
    accounts = []
    for exchange in venues.values():
        venue = exchange.simulated
        name = venue.venue.value
        for asset, balance in sorted(venue.balances.items()):
            accounts.append(Account(name, asset, balance, ledger.wallet(venue.venue, asset)))
        for leg in venue.instruments.values():
            if leg.kind is not Kind.PERPETUAL:
                continue
            contract = venue.contracts[leg.id]
            held = ledger.balance(f"{name}:contracts", leg.symbol)
            accounts.append(Account(name, leg.symbol, contract.quantity, held))
            owed = ledger.balance(f"{name}:unsettled:{leg.symbol}", leg.quote)
            accounts.append(Account(name, f"{leg.symbol} unsettled", contract.cash, owed))
    return tuple(accounts)


@dataclass(frozen=True, slots=True)
class Copied:
    """The database's copy held against the journal: rows per table, and how many are not as the journal has them."""

    records: int
    copied: int
    rows: Mapping[str, int]
    differing: int

    @property
    def agrees(self) -> bool:
        """Whether every record is in the database, and every row is what the journal makes of it."""
        return self.records == self.copied and self.differing == 0


async def copied_to(database: Database, journal: Path, mode: str, like: EngineState) -> Copied:
    """Read every mirrored row back and compare it with what folding the journal gives.

    Raises:
        KimpError: the journal or the database cannot be read.
    """
    fold = Fold(like.slots.values())
    with SqliteJournal(journal, read_only=True) as kept:
        name = f"{mode}:{kept.id}"
        page = fold.take(list(kept.tail(0))[:RECORDS_MAX])
    rows, differing = {}, 0
    async with database.connection() as connection:
        copied = await connection.fetchval("SELECT sequence FROM mirror_progress WHERE journal = $1", name) or 0
        for table in TABLES:
            wanted, found = page.rows[table.name], await _rows(connection, table, name)
            rows[table.name] = len(found)
            differing += sum(
                1 for key in wanted.keys() | found.keys() if _plain(wanted.get(key)) != _plain(found.get(key))
            )
    return Copied(fold.sequence, copied, rows, differing)


async def _rows(connection: Connection, table: MirrorTable, name: str) -> dict[Row, Row]:
    columns = ", ".join(table.columns)
    # Table and columns are constants of ours; the journal's name is a parameter.
    found = await connection.fetch(f"SELECT {columns} FROM {table.name} WHERE journal = $1", name)
    return {tuple(row)[: table.keys]: tuple(row) for row in found}


def _plain(row: Row | None) -> Row | None:
    """JSON columns by their content: the database writes them with spaces of its own."""
    if row is None:
        return None
    return tuple(_content(value) if isinstance(value, str) and value[:1] in "[{" and value else value for value in row)


def _content(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
