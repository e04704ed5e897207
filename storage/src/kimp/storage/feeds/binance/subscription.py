"""What to ask Binance for, and over which route: a stream on the wrong one connects and stays silent."""

from __future__ import annotations

import msgspec

from kimp.shared.domain.instruments import Venue
from kimp.shared.domain.time import SECOND, Nanos
from kimp.storage.feeds.events import StreamKind
from kimp.storage.feeds.frames import BINANCE_MARKET, BINANCE_PUBLIC
from kimp.storage.feeds.watchdog import SILENCE_MAX, Stream

MARK_SILENCE_MAX: Nanos = 10 * SECOND
"""Pushed every second; it moves no money by itself, so ten of them may be missing."""

SNAPSHOT_LIMIT = 1_000
STREAMS_MAX = 200
"""Streams per connection. Binance allows more, but their names stand in the URL, and 8 kB of URL is too much for some."""


class BinanceSubscription(msgspec.Struct, frozen=True):
    """Symbols (``BTCUSDT``) per kind.

    ``depth`` are books kept from differences, ``partial`` books of the best 20 rows pushed whole. ``busy`` are the
    symbols whose books must not fall silent; a quiet one's may.
    """

    depth: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()
    touches: tuple[str, ...] = ()
    trades: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    candles: tuple[str, ...] = ()
    speed: str = "100ms"
    interval: str = "1m"
    busy: frozenset[str] | None = None

    def names(self) -> dict[str, list[str]]:
        """The names of the streams per route ("Important WebSocket Change Notice — Base URL Split & Migration")."""
        public = [f"{symbol.lower()}@depth@{self.speed}" for symbol in self.depth]
        public += [f"{symbol.lower()}@depth20@{self.speed}" for symbol in self.partial]
        public += [f"{symbol.lower()}@bookTicker" for symbol in self.touches]
        market = [f"{symbol.lower()}@aggTrade" for symbol in self.trades]
        market += [f"{symbol.lower()}@markPrice@1s" for symbol in self.marks]
        market += [f"{symbol.lower()}@kline_{self.interval}" for symbol in self.candles]
        routes = {BINANCE_PUBLIC: public, BINANCE_MARKET: market}
        for route, names in routes.items():
            assert len(names) <= STREAMS_MAX, f"{len(names)} streams on {route}; split the symbols over several feeds"
        return routes

    def urls(self, public_url: str, market_url: str) -> dict[str, str]:
        """Where to connect, per route that is needed."""
        bases = {BINANCE_PUBLIC: public_url, BINANCE_MARKET: market_url}
        return {
            route: f"{bases[route].rstrip('/')}/stream?streams={'/'.join(names)}"
            for route, names in self.names().items()
            if names
        }

    def streams(self) -> tuple[Stream, ...]:
        """What has to come, and how long each may be silent."""
        streams = [
            Stream(BINANCE_PUBLIC, instrument(symbol), StreamKind.BOOK, SILENCE_MAX if self._is_busy(symbol) else None)
            for symbol in self.depth + self.partial
        ]
        streams += [Stream(BINANCE_PUBLIC, instrument(symbol), StreamKind.TOUCH, None) for symbol in self.touches]
        streams += [Stream(BINANCE_MARKET, instrument(symbol), StreamKind.TRADES, None) for symbol in self.trades]
        streams += [
            Stream(BINANCE_MARKET, instrument(symbol), StreamKind.MARK, MARK_SILENCE_MAX) for symbol in self.marks
        ]
        streams += [Stream(BINANCE_MARKET, instrument(symbol), StreamKind.CANDLES, None) for symbol in self.candles]
        return tuple(streams)

    def _is_busy(self, symbol: str) -> bool:
        return self.busy is None or symbol in self.busy


def instrument(symbol: str) -> str:
    """Our id of a contract."""
    return f"{Venue.BINANCE.value}:{symbol}"


def snapshot_url(rest_url: str, symbol: str) -> str:
    """Where a book's snapshot is asked for ("Order Book", weight 20 for 1,000 rows)."""
    return f"{rest_url.rstrip('/')}/fapi/v1/depth?symbol={symbol}&limit={SNAPSHOT_LIMIT}"
