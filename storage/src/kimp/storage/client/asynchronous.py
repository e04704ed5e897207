"""The client for code that awaits; :class:`kimp.storage.client.StorageClient` is the same for everybody else.

Ranges are ``[start, end)``; ``None`` is as far as the record goes. What is not there is not invented: a minute without a
trade has no row, unless ``fill="previous"`` asks for one, which is then marked.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Literal

import numpy as np

from kimp.shared.domain.history import Candles, MarketData
from kimp.shared.domain.instruments import Instrument
from kimp.shared.domain.time import MINUTE, Nanos
from kimp.shared.errors import ConfigurationError, NotRunning
from kimp.shared.settings import Settings
from kimp.storage.archive.bars import cut, resample
from kimp.storage.client.files import Files
from kimp.storage.client.filling import Fill, filled_bars, filled_rows
from kimp.storage.client.frames import Arrays, As, Columns, Frame, shaped
from kimp.storage.client.moments import Interval, Moment, length, nanos, span
from kimp.storage.client.sources import Sources, bars
from kimp.storage.database.pool import Database
from kimp.storage.database.rows import Row
from kimp.storage.database.tables import BY_NAME
from kimp.storage.history import load_market

MARKET_FOLDER = "market"
ARCHIVE_FOLDER = "archive"
DEPTH = 15
"""What Upbit sends, and what is stored."""
DEPTH_MAX = 100

Kind = Literal["candles", "orderbook_snapshots", "trades", "funding_rates", "fx_rates", "kimp_rates"]
Streamed = Literal["ohlcv", "orderbooks", "trades", "premium"]


class AsyncStorageClient:
    """Reads everything that was collected or recorded; use it as an async context manager.

    Args:
        database: opened and closed with the client; ``None`` reads files only.
        market: a directory laid out as docs/DATA_LAYOUT.md says.
        archive: where retention puts what it moves out of the database.

    Every method raises ``DatabaseAway`` when the database does not answer, ``ConfigurationError`` for a question that
    makes no sense, and ``DataError`` for a record that is broken or does not cover what was asked.
    """

    def __init__(self, database: Database | None, *, market: Path | None = None, archive: Path | None = None) -> None:
        self._database = database
        self._places = market, archive
        self._opened: AsyncExitStack | None = None
        self._found: Sources | None = None

    @classmethod
    def of(cls, settings: Settings, environ: Mapping[str, str] | None = None) -> AsyncStorageClient:
        """The client that settings and environment mean: their database, and the folders of ``data.directory``."""
        directory = settings.data.directory.expanduser()
        market = directory / MARKET_FOLDER
        return cls(
            Database.of(settings, os.environ if environ is None else environ),
            market=market if market.is_dir() else None,
            archive=directory / ARCHIVE_FOLDER,
        )

    async def __aenter__(self) -> AsyncStorageClient:
        async with AsyncExitStack() as stack:
            files = Files(*self._places)
            stack.callback(files.close)
            if self._database is not None:
                await stack.enter_async_context(self._database)
            self._opened = stack.pop_all()
        self._found = Sources(self._database, files)
        return self

    async def __aexit__(self, *_: object) -> None:
        opened, self._opened, self._found = self._opened, None, None
        if opened is not None:
            await opened.aclose()

    async def ohlcv(
        self,
        instrument: str,
        interval: Interval = "1m",
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        fill: Fill | None = None,
        as_: As = "pandas",
    ) -> Frame:
        """Closed bars of an instrument (``upbit:KRW-BTC``) by ``opened_at``: open, high, low, close, volume.

        Prices are in the quote asset, volume in base coins. An interval that nobody recorded is made from minutes.
        ``fill`` gives every bar between the first and the last, and a column ``is_filled``.
        """
        bar = length(interval)
        found = bars(await self._candles(instrument, bar, *span(start, end)))
        if _is_asked(fill):
            found = filled_bars(found, bar)
        return shaped(Columns(found, "opened_at", ("opened_at",)), as_)

    async def _candles(self, instrument: str, interval: Nanos, start: Nanos, end: Nanos) -> Candles:
        found = await self._sources.candles(instrument, interval, start, end)
        if len(found) or interval <= MINUTE or interval % MINUTE:
            return found
        # A bar belongs to the range by its open; the minutes of the last one may lie behind the range's end.
        since, until = (-(-at // interval) * interval for at in (start, end))
        minutes = await self._sources.candles(instrument, MINUTE, since, until)
        return resample(cut(minutes, since, until, MINUTE), interval)

    async def orderbooks(
        self,
        instrument: str,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        depth: int = DEPTH,
        as_: As = "pandas",
    ) -> Frame:
        """Books by ``venue_at``, one column a cell: ``bid_price_1`` and ``bid_size_1`` are the best bid, and so on.

        NaN where a book had fewer than ``depth`` levels (1 to 100); ``received_at`` is when it reached us.
        """
        if not 1 <= depth <= DEPTH_MAX:
            raise ConfigurationError(f"a depth of {depth} is not between 1 and {DEPTH_MAX}")
        found = await self._sources.books(instrument, *span(start, end), depth)
        return shaped(Columns(found, "venue_at", ("venue_at", "received_at")), as_)

    async def trades(
        self, instrument: str, start: Moment | None = None, end: Moment | None = None, *, as_: As = "pandas"
    ) -> Frame:
        """Other people's trades by ``venue_at``: trade_id, price, quantity, sign (+1: the taker bought)."""
        found = await self._sources.trades(instrument, *span(start, end))
        return shaped(Columns(found, "venue_at", ("venue_at",)), as_)

    async def funding(
        self, instrument: str, start: Moment | None = None, end: Moment | None = None, *, as_: As = "pandas"
    ) -> Frame:
        """Funding rates of a perpetual (``binance:BTCUSDT``) by ``settles_at``: fractions, positive when longs pay."""
        found = await self._sources.funding(instrument, *span(start, end))
        return shaped(Columns(found, "settles_at", ("settles_at",)), as_)

    async def fx(
        self,
        base: str = "USD",
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        source: str | None = None,
        as_: As = "pandas",
    ) -> Frame:
        """KRW per ``base`` (USD, USDT) by the moment ``at`` it was known: value, valid_until, source."""
        found = await self._sources.fx(base, *span(start, end), source)
        return shaped(Columns(found, "at", ("at", "valid_until")), as_)

    async def premium(
        self,
        symbol: str = "BTC",
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        fill: Fill | None = None,
        as_: As = "pandas",
    ) -> Frame:
        """The kimchi premium by minute ``at``, as fractions on both bases: ``fx_mid``, ``usdt_touch_buy_korea``, …

        NaN while a rate was missing or a book too thin; ``fill`` gives every minute, and a column ``is_filled``.
        """
        found = await self._sources.premiums(symbol, *span(start, end))
        if _is_asked(fill):
            found = filled_rows(found, "at", MINUTE)
        return shaped(Columns(found, "at", ("at",)), as_)

    async def latest(self, kind: Kind, series: str) -> Row | None:
        """The newest collected row of one series, exactly as it was written; ``None`` before the first.

        ``series`` is an instrument, for ``fx_rates`` a currency, for ``kimp_rates`` a coin.
        """
        return await self._sources.reader.latest(BY_NAME[kind].kind, series)

    async def gaps(
        self,
        series: str,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        open_only: bool = False,
        as_: As = "pandas",
    ) -> Frame:
        """Where a series (``candles:upbit:KRW-BTC:60``) has no data, and why: from_at, to_at, minutes, reason, …

        ``open_only`` leaves out what was repaired since.
        """
        found = await self._sources.reader.gaps(series, *span(start, end), open_only=open_only)
        times = {
            "from_at": [gap.start for gap in found],
            "to_at": [gap.end for gap in found],
            "noticed_at": [gap.noticed_at for gap in found],
            "repaired_at": [_NEVER if gap.repaired_at is None else gap.repaired_at for gap in found],
        }
        arrays = {name: np.array(values, dtype=np.int64) for name, values in times.items()}
        facts = {
            "minutes": (arrays["to_at"] - arrays["from_at"]) / MINUTE,
            "reason": np.array([gap.reason.value for gap in found], dtype=np.str_),
        }
        return shaped(Columns(arrays | facts, None, tuple(times)), as_)

    async def coverage(self, *, as_: As = "pandas") -> Frame:
        """Every series there is: place (database, files), kind, series, interval_s, rows, first, last.

        Rows are counted, which takes its time over months of books.
        """
        found = await self._sources.coverage()
        names = ("place", "kind", "series", "interval_s", "rows", "first", "last")
        types = (np.str_, np.str_, np.str_, np.int64, np.int64, np.int64, np.int64)
        columns = zip(*found, strict=True) if found else ((),) * len(names)
        arrays: Arrays = {
            name: np.array(values, dtype=kind) for name, kind, values in zip(names, types, columns, strict=True)
        }
        return shaped(Columns(arrays, None, ("first", "last")), as_)

    async def instruments(self) -> list[Instrument]:
        """Everything ever collected, with the venue's rules as last seen; exact decimals."""
        return await self._sources.reader.instruments()

    async def stream(
        self,
        what: Streamed,
        name: str,
        start: Moment,
        end: Moment,
        *,
        every: Interval = "1h",
        interval: Interval = "1m",
        depth: int = DEPTH,
        as_: As = "pandas",
    ) -> AsyncIterator[Frame]:
        """The same rows in stretches of ``every``, so that a range too long for the memory can be read.

        Stretches without a row are left out. ``interval`` counts for ``ohlcv``, ``depth`` for ``orderbooks``.
        """
        since, until = span(start, end)
        step = length(every)
        if what == "ohlcv" and step % length(interval):
            raise ConfigurationError(f"stretches of {every!r} are not whole bars of {interval!r}")
        for at in range(since, until, step):
            edges = at, min(at + step, until)
            match what:
                case "ohlcv":
                    frame = await self.ohlcv(name, interval, *edges, as_=as_)
                case "orderbooks":
                    frame = await self.orderbooks(name, *edges, depth=depth, as_=as_)
                case "trades":
                    frame = await self.trades(name, *edges, as_=as_)
                case "premium":
                    frame = await self.premium(name, *edges, as_=as_)
            if len(next(iter(frame.values())) if isinstance(frame, dict) else frame):
                yield frame

    async def load(
        self,
        base: str,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        interval: Interval | None = None,
        fx: str | None = None,
    ) -> MarketData:
        """Everything a pair's backtest reads; the rules are those of docs/DATA_LAYOUT.md.

        Args:
            base: the coin.
            start, end: ``None`` is where the recording of both legs begins or ends.
            interval: bar length; ``None`` takes the finest that covers the range.
            fx: the source of USD/KRW; ``None`` takes ``ecb`` if there is one, else the one with the most quotes.
        """
        bar = None if interval is None else length(interval)
        edges = (None if at is None else nanos(at) for at in (start, end))
        return await load_market(self._sources, base, *edges, interval=bar, fx=fx)

    @property
    def _sources(self) -> Sources:
        if self._found is None:
            raise NotRunning("the storage client is not open; write: with StorageClient.of(settings) as client")
        return self._found


_NEVER = int(np.iinfo(np.int64).min)


def _is_asked(fill: str | None) -> bool:
    if fill not in (None, "previous"):
        raise ConfigurationError(f"fill={fill!r} is not known; write fill='previous', or leave it out")
    return fill is not None
