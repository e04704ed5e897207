"""One WebSocket connection: what its client asked for, and what it is therefore told.

Upbit, "WebSocket 사용 안내": data comes in binary frames that hold JSON. There is no acknowledgement and no sequence
number; a new request replaces the old one; who says nothing for 120 seconds is disconnected. The text ``PING`` (or a ping
frame) keeps the connection and is answered ``{"status":"UP"}`` (or a pong frame).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, assert_never

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from kimp.portfolio.exchange.happenings import (
    AvailabilityMoved,
    BalancesMoved,
    BooksShown,
    Dropped,
    FundingSettled,
    Happening,
    OrderMoved,
)
from kimp.portfolio.exchange.upbit_wire import personal, public
from kimp.portfolio.exchange.upbit_wire.accounts import Accounts
from kimp.portfolio.exchange.upbit_wire.figures import encode
from kimp.portfolio.exchange.upbit_wire.quotation import TICKS_MAX, Quotes
from kimp.portfolio.exchange.upbit_wire.ratelimits import Limits, MessageLimits
from kimp.portfolio.exchange.upbit_wire.spelling import abbreviate
from kimp.portfolio.exchange.upbit_wire.subscriptions import (
    Subscription,
    SubscriptionError,
    Wanted,
    error_body,
    parse,
)
from kimp.portfolio.exchange.virtual import VirtualExchange
from kimp.shared.domain.instruments import Instrument
from kimp.shared.domain.time import Nanos
from kimp.shared.ports.clock import Clock

UP = encode({"status": "UP"})
SEND_S_MAX = 10.0
"""How long a message may wait for a client that does not read; the real venue does not wait for anybody either."""

CLOSE_S_MAX = 1.0
"""How long a closing handshake may take."""

SNAPSHOT, REALTIME = "SNAPSHOT", "REALTIME"


class Left(Exception):
    """The connection is over; its tasks end with this."""


class Venue:
    """What all sessions share."""

    def __init__(
        self,
        exchange: VirtualExchange,
        quotes: Quotes,
        accounts: Accounts,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self.exchange = exchange
        self.quotes = quotes
        self.accounts = accounts
        self.clock = clock
        self.limits = limits
        self.sessions: set[Session] = set()


class Session:
    """Serves one connection until either side ends it."""

    def __init__(self, venue: Venue, socket: web.WebSocketResponse, *, is_private: bool, is_browser: bool) -> None:
        self._venue = venue
        self._socket = socket
        self._is_private = is_private
        limits = (venue.limits.origin,) if is_browser else venue.limits.messages
        self._counter = MessageLimits(limits)
        self.subscription = Subscription(())
        self._told: dict[str, int] = {}
        self._heard_at: Nanos = venue.clock.now()

    async def run(self) -> None:
        """Read, tell, and watch the silence; returns when the connection is over."""
        self._venue.sessions.add(self)
        try:
            async with self._venue.exchange.listen() as happenings, asyncio.TaskGroup() as group:
                group.create_task(self._read())
                group.create_task(self._tell(happenings))
                group.create_task(self._watch())
        except* (Left, ConnectionError, TimeoutError):
            pass
        finally:
            self._venue.sessions.discard(self)

    async def hang_up(self, code: WSCloseCode = WSCloseCode.GOING_AWAY) -> None:
        """End the connection; a client that does not say goodbye in time is left without one."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S_MAX):
                await self._socket.close(code=code)

    # -- from the client -------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        async for message in self._socket:
            self._heard_at = self._venue.clock.now()
            await self._hear(message)
        raise Left

    async def _hear(self, message: WSMessage) -> None:
        if message.type is WSMsgType.PING:
            await self._socket.pong(message.data)
            return
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            return
        if message.data in ("PING", b"PING"):
            await self._socket.send_str(UP.decode())
            return
        if not self._counter.permits(self._heard_at):
            await self._socket.send_bytes(error_body("TOO_MANY_REQUESTS"))
            await self._leave(WSCloseCode.POLICY_VIOLATION)
        try:
            self.subscription = parse(message.data, is_private=self._is_private)
        except SubscriptionError as error:
            await self._socket.send_bytes(error.body())
            return
        await self._begin()

    async def _begin(self) -> None:
        """Send the snapshots that were asked for, and remember what trades are old."""
        for wanted in self.subscription.wanted:
            for code, rows in wanted.markets.items():
                instrument = self._venue.quotes.markets.get(code)
                if instrument is None:
                    continue
                if (newest := self._venue.quotes.trades(instrument, 1)) and code not in self._told:
                    self._told[code] = newest[0].trade_id
                if wanted.has_snapshot:
                    await self._send(self._current(wanted.kind, instrument, rows), SNAPSHOT)

    # -- to the client ---------------------------------------------------------------------------------------------

    async def _tell(self, happenings: asyncio.Queue[Happening]) -> None:
        while True:
            match await happenings.get():
                case BooksShown() as shown:
                    await self._books(shown)
                case OrderMoved() as moved:
                    await self._order(moved)
                case BalancesMoved() as moved:
                    await self._assets(moved)
                case AvailabilityMoved(is_available=False):
                    await self._leave(WSCloseCode.GOING_AWAY)
                case Dropped():  # too slow to be served
                    await self._leave(WSCloseCode.POLICY_VIOLATION)
                case AvailabilityMoved() | FundingSettled():
                    pass
                case other:
                    assert_never(other)

    async def _books(self, shown: BooksShown) -> None:
        streams = [wanted for wanted in self.subscription.wanted if wanted.has_stream]
        for book in shown.books:
            instrument = self._venue.exchange.simulated.instruments[book.instrument_id]
            code = instrument.symbol
            is_traded = any(code in wanted.markets and wanted.kind != "orderbook" for wanted in streams)
            news = self._news(instrument) if is_traded else []
            for wanted in streams:
                rows = wanted.markets.get(code)
                if rows is None:
                    continue
                if wanted.kind == "orderbook":
                    message = {"type": "orderbook", "code": code} | public.orderbook(book, rows)
                    await self._send([message], REALTIME)
                elif wanted.kind == "trade":
                    await self._send(self._trades(instrument, news), REALTIME)
                elif news:
                    await self._send(self._current(wanted.kind, instrument, rows), REALTIME)

    def _news(self, instrument: Instrument) -> list[Any]:
        """Trades nobody here was told of, oldest first."""
        known = self._told.get(instrument.symbol)
        recent = self._venue.quotes.trades(instrument, TICKS_MAX)
        news = [trade for trade in reversed(recent) if known is None or trade.trade_id > known]
        if recent:
            self._told[instrument.symbol] = max(recent[0].trade_id, known or 0)
        return news

    def _trades(self, instrument: Instrument, trades: Iterable[Any]) -> list[dict[str, Any]]:
        now, book = self._venue.clock.now(), self._venue.quotes.book(instrument)
        return [
            public.trade_message(trade, instrument, self._venue.quotes.previous_close(instrument, trade, now), book)
            for trade in trades
        ]

    def _current(self, kind: str, instrument: Instrument, rows: int) -> list[dict[str, Any]]:
        """One message with what a market is now, or none if there is nothing yet."""
        quotes, now = self._venue.quotes, self._venue.clock.now()
        if kind == "orderbook":
            book = quotes.book(instrument)
            if book is None:
                return []
            return [{"type": kind, "code": instrument.symbol} | public.orderbook(book, rows)]
        latest = quotes.latest(instrument, now)
        if latest is None:
            return []
        trade, day = latest
        if kind == "ticker":
            return [public.ticker_message(day, trade, instrument)]
        if kind == "trade":
            return self._trades(instrument, [trade])
        if kind == "candle.1m":
            found = quotes.bars(instrument, 1, before=now + 1, count=1, now=now)
            return [{"type": kind, "code": instrument.symbol} | public.candle(bar) for bar in found]
        return []

    async def _order(self, moved: OrderMoved) -> None:
        wanted = self._personal("myOrder")
        instrument = self._venue.exchange.simulated.instruments[moved.order.order.instrument_id]
        if wanted is not None and (not wanted.markets or instrument.symbol in wanted.markets):
            for message in personal.order_messages(moved, instrument):
                await self._send([message], REALTIME)

    async def _assets(self, moved: BalancesMoved) -> None:
        if self._personal("myAsset") is not None:
            standing = [(asset, *self._venue.accounts.standing(asset)) for asset in moved.assets]
            await self._send([personal.asset_message(standing, moved.at)], REALTIME)

    def _personal(self, kind: str) -> Wanted | None:
        return next((wanted for wanted in self.subscription.wanted if wanted.kind == kind), None)

    async def _send(self, messages: list[dict[str, Any]], stream: str) -> None:
        form = self.subscription.form
        for message in messages:
            whole = message | {"stream_type": stream}
            spelt = abbreviate(whole) if form.is_simple else whole
            async with asyncio.timeout(SEND_S_MAX):
                await self._socket.send_bytes(encode([spelt] if form.is_list else spelt))

    # -- the end ---------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Close the connection once its client has been silent for too long."""
        while (due := self._heard_at + self._venue.limits.idle) > self._venue.clock.now():
            await self._venue.clock.sleep_until(due)
        await self._leave(WSCloseCode.OK)

    async def _leave(self, code: WSCloseCode) -> None:
        await self.hang_up(code)
        raise Left
