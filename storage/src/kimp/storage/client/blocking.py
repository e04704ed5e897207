"""The client for notebooks and scripts: the same methods, which wait for the answer.

The work is done by :class:`AsyncStorageClient` on an event loop in a thread of its own, because a notebook has a loop
running already and a script has none.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from kimp.shared.domain.history import MarketData
from kimp.shared.domain.instruments import Instrument
from kimp.shared.errors import NotRunning
from kimp.shared.settings import Settings
from kimp.storage.client.asynchronous import DEPTH, AsyncStorageClient, Kind, Streamed
from kimp.storage.client.filling import Fill
from kimp.storage.client.frames import As, Frame
from kimp.storage.client.moments import Interval, Moment
from kimp.storage.database.pool import Database
from kimp.storage.database.rows import Row

Answer = TypeVar("Answer")
CLOSE_S_MAX = 30.0
"""Closing ends connections and, if nobody else uses it, our own server."""


class StorageClient:
    """Reads everything that was collected or recorded; a ``MarketHistory`` too. See :class:`AsyncStorageClient`.

    Use it in a ``with`` block, or call :meth:`open` and :meth:`close`. Any number of threads may use one client.
    """

    def __init__(self, database: Database | None, *, market: Path | None = None, archive: Path | None = None) -> None:
        self._client = AsyncStorageClient(database, market=market, archive=archive)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @classmethod
    def of(cls, settings: Settings, environ: Mapping[str, str] | None = None) -> StorageClient:
        """The client that settings and environment mean: their database, and the folders of ``data.directory``."""
        made = cls(None)
        made._client = AsyncStorageClient.of(settings, environ)
        return made

    def open(self) -> StorageClient:
        """Connect; of our own server: start it if it is not running."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="kimp-storage", daemon=True)
            self._thread.start()
            try:
                self._wait(self._client.__aenter__())
            except BaseException:
                self._end_loop()
                raise
        return self

    def close(self) -> None:
        """Disconnect; may be called twice."""
        if self._loop is not None:
            try:
                self._wait(self._client.__aexit__())
            finally:
                self._end_loop()

    def __enter__(self) -> StorageClient:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    def ohlcv(
        self,
        instrument: str,
        interval: Interval = "1m",
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        fill: Fill | None = None,
        as_: As = "pandas",
    ) -> Frame:
        """Closed bars of an instrument by ``opened_at``; see :meth:`AsyncStorageClient.ohlcv`."""
        return self._wait(self._client.ohlcv(instrument, interval, start, end, fill=fill, as_=as_))

    def orderbooks(
        self,
        instrument: str,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        depth: int = DEPTH,
        as_: As = "pandas",
    ) -> Frame:
        """Books by ``venue_at``, one column a cell; see :meth:`AsyncStorageClient.orderbooks`."""
        return self._wait(self._client.orderbooks(instrument, start, end, depth=depth, as_=as_))

    def trades(
        self, instrument: str, start: Moment | None = None, end: Moment | None = None, *, as_: As = "pandas"
    ) -> Frame:
        """Other people's trades by ``venue_at``; see :meth:`AsyncStorageClient.trades`."""
        return self._wait(self._client.trades(instrument, start, end, as_=as_))

    def funding(
        self, instrument: str, start: Moment | None = None, end: Moment | None = None, *, as_: As = "pandas"
    ) -> Frame:
        """Funding rates by ``settles_at``: fractions, positive when longs pay; see :meth:`AsyncStorageClient.funding`."""
        return self._wait(self._client.funding(instrument, start, end, as_=as_))

    def fx(
        self,
        base: str = "USD",
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        source: str | None = None,
        as_: As = "pandas",
    ) -> Frame:
        """KRW per ``base`` by the moment it was known; see :meth:`AsyncStorageClient.fx`."""
        return self._wait(self._client.fx(base, start, end, source=source, as_=as_))

    def premium(
        self,
        symbol: str = "BTC",
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        fill: Fill | None = None,
        as_: As = "pandas",
    ) -> Frame:
        """The kimchi premium by minute, as fractions on both bases; see :meth:`AsyncStorageClient.premium`."""
        return self._wait(self._client.premium(symbol, start, end, fill=fill, as_=as_))

    def latest(self, kind: Kind, series: str) -> Row | None:
        """The newest collected row of one series, exactly as it was written; see :meth:`AsyncStorageClient.latest`."""
        return self._wait(self._client.latest(kind, series))

    def gaps(
        self,
        series: str,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        open_only: bool = False,
        as_: As = "pandas",
    ) -> Frame:
        """Where a series has no data, and why; see :meth:`AsyncStorageClient.gaps`."""
        return self._wait(self._client.gaps(series, start, end, open_only=open_only, as_=as_))

    def coverage(self, *, as_: As = "pandas") -> Frame:
        """Every series there is, and from when to when; see :meth:`AsyncStorageClient.coverage`."""
        return self._wait(self._client.coverage(as_=as_))

    def instruments(self) -> list[Instrument]:
        """Everything ever collected, with the venue's rules as last seen; exact decimals."""
        return self._wait(self._client.instruments())

    def stream(
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
    ) -> Iterator[Frame]:
        """The same rows in stretches of ``every``; see :meth:`AsyncStorageClient.stream`."""
        frames = self._client.stream(what, name, start, end, every=every, interval=interval, depth=depth, as_=as_)

        async def following() -> Frame:
            return await anext(frames, None)

        while (frame := self._wait(following())) is not None:
            yield frame

    def load(
        self,
        base: str,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        interval: Interval | None = None,
        fx: str | None = None,
    ) -> MarketData:
        """Everything a pair's backtest reads; see :meth:`AsyncStorageClient.load`."""
        return self._wait(self._client.load(base, start, end, interval=interval, fx=fx))

    def _wait(self, question: Coroutine[Any, Any, Answer]) -> Answer:
        if self._loop is None:
            question.close()
            raise NotRunning("the storage client is not open; write: with StorageClient.of(settings) as client")
        future = asyncio.run_coroutine_threadsafe(question, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C in a notebook is to end the query too
            raise

    def _end_loop(self) -> None:
        assert self._loop is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_S_MAX)
        self._loop.close()
        self._loop = self._thread = None
