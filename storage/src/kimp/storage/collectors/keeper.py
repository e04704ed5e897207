"""Looks after what is already written: missing minutes, settled funding, old partitions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from kimp.shared.domain.candles import Candle
from kimp.shared.domain.instruments import Instrument, InstrumentId
from kimp.shared.domain.premium import PremiumRates
from kimp.shared.domain.time import DAY, HOUR, MINUTE, SECOND, Nanos
from kimp.shared.errors import KimpError, TimedOut
from kimp.shared.logs import get
from kimp.shared.ports.clock import Clock
from kimp.storage.collectors.backfill import BackFill, Filled
from kimp.storage.collectors.board import Pulses
from kimp.storage.collectors.history import BinanceHistory
from kimp.storage.database.pool import Database, DatabaseAway
from kimp.storage.database.reader import Reader
from kimp.storage.database.retention import maintain
from kimp.storage.database.rows import Row
from kimp.storage.feeds.rest import Unanswered
from kimp.storage.gaps import Ledger, premium_series

SETTLED: Nanos = 5 * SECOND
"""How long after its end a minute counts as over: our own bar is told after two, the venue's after one."""
AGAIN: Nanos = 5 * MINUTE
"""How far back venues are asked for what is there already: late trades change bars, and bars come late."""
AWAY_PAUSE: Nanos = 5 * SECOND
FUNDING_EVERY: Nanos = HOUR
MAINTAINED_EVERY: Nanos = DAY


class Backlog(Protocol):
    """What the keeper has to know of the writer."""

    @property
    def spool_bytes(self) -> int:
        """Rows on the disk that are not in the database yet."""
        ...

    async def flush(self, timeout_s: float = ...) -> None:
        """Wait until everything put so far is safe."""
        ...


class Keeper:
    """Every minute: explains and repairs what is missing; every hour: settled funding; every day: rules and retention.

    Args:
        markets: whose bars are looked after.
        rules: reads the venue's own rules of what is traded.
        premiums: coins whose premium rows are; they cannot be repaired, only explained.
    """

    name = "keeper"

    def __init__(
        self,
        backfill: BackFill,
        *,
        database: Database,
        writer: Backlog,
        markets: Sequence[InstrumentId],
        premiums: Mapping[str, Nanos],
        funding: Mapping[InstrumentId, BinanceHistory],
        clock: Clock,
        pulses: Pulses,
        reach: Nanos,
        rules: Callable[[], Awaitable[list[Instrument]]],
        archive: Path,
        ready: asyncio.Event,
    ) -> None:
        self._backfill = backfill
        self._database = database
        self._reader = Reader(database)
        self._writer = writer
        self._markets = markets
        self._premiums = premiums
        self._funding = funding
        self._clock = clock
        self._pulses = pulses
        self._reach = reach
        self._rules = rules
        self._archive = archive
        self._ready = ready
        self._funding_at: Nanos = 0
        self._maintained_at: Nanos = 0
        self._begins: dict[str, Nanos] = {}
        self._explained: set[str] = set()
        self._log = get("kimp.storage.keeper")
        self.missing: dict[str, dict[str, int]] = {}
        for market in markets:
            pulses.expect(f"{market} bars", 4 * MINUTE)

    async def run(self) -> None:
        """Look after everything once a minute, for ever, as soon as there are tables."""
        await self._ready.wait()
        while True:
            try:
                await self.round()
                pause_until = (self._clock.now() // MINUTE + 1) * MINUTE + SETTLED
            except (DatabaseAway, TimedOut) as error:
                self._log.warning("minutes not looked after", reason=str(error))
                pause_until = self._clock.now() + AWAY_PAUSE
            await self._clock.sleep_until(pause_until)

    async def round(self) -> None:
        """One look at everything."""
        await self._writer.flush()
        if self._writer.spool_bytes:  # what is on its way must not be taken for missing
            raise DatabaseAway("rows are still in the spool; see: kimp db status")
        end = (self._clock.now() - SETTLED) // MINUTE * MINUTE
        for market in self._markets:
            self._tell(await self._bars(market, end), market)
        for coin, period in self._premiums.items():
            await self._explain_premiums(coin, period, end)
        await self._fetch_funding()
        await self._maintain()

    async def _bars(self, market: InstrumentId, end: Nanos) -> Filled:
        """The first round of a process explains all of the series, the later ones what can have changed since."""
        reach = end - self._reach
        begins = reach if market in self._explained else await self._begin(Candle, market) or reach
        filled = await self._backfill.candles(
            market, min(begins, reach), end, ask_from=reach, again_from=max(end - AGAIN, reach)
        )
        self._explained.add(market)
        return filled

    async def _begin(self, kind: type[Row], series: str) -> Nanos | None:
        """The minute in which a series begins; ``None`` while there is nothing of it."""
        if series not in self._begins:
            first = (await self._reader.coverage(kind, series)).first
            if first is None:
                return None
            self._begins[series] = first // MINUTE * MINUTE
        return self._begins[series]

    def _tell(self, filled: Filled, market: InstrumentId) -> None:
        self.missing[filled.series] = filled.missing
        if filled.trouble:
            self._log.warning("minutes not repaired", series=filled.series, reason=filled.trouble)
        elif filled.missing["not_collected"] == 0:
            self._pulses.beat(f"{market} bars", filled.end)
        if filled.added:
            self._log.info("minutes repaired", series=filled.series, rows=filled.added)

    async def _explain_premiums(self, coin: str, period: Nanos, end: Nanos) -> None:
        """Premiums exist only while we look; what is missing since the first one was not collected."""
        series = premium_series(coin, period)
        end = end // period * period
        begins = await self._begin(PremiumRates, coin)
        if begins is None or begins >= end:
            return
        begins = -(-begins // period) * period
        start = max(begins, end - self._reach // period * period) if coin in self._explained else begins
        known = await self._reader.gaps(series, start, end, open_only=True)
        ledger = Ledger(series, start, end, known, step=period)
        ledger.found((await self._reader.premiums(coin, ledger.start, ledger.end))["at"])
        self.missing[series] = ledger.counts_within(ledger.start, end)
        if changes := ledger.changes(self._clock.now()):
            await self._backfill.store(changes)
        self._explained.add(coin)

    async def _fetch_funding(self) -> None:
        now = self._clock.now()
        if now < self._funding_at:
            return
        try:
            for contract, history in self._funding.items():
                await self._backfill.store(await history.funding(contract, now - self._reach, now))
        except Unanswered as trouble:
            self._log.warning("settled funding not fetched", reason=trouble.reason)
            return
        self._funding_at = now + FUNDING_EVERY

    async def _maintain(self) -> None:
        now = self._clock.now()
        if now < self._maintained_at:
            return
        try:
            await self._backfill.store(await self._rules())
        except Unanswered as trouble:
            self._log.warning("venue's rules not read, keeping the last ones", reason=trouble.reason)
        try:
            done = await maintain(self._database, self._archive, now)
        except DatabaseAway:
            raise
        except KimpError as error:
            self._log.error("old rows not archived", reason=str(error))
        else:
            self._log.info("database looked after", archived=len(done.archived))
        self._maintained_at = now + MAINTAINED_EVERY
