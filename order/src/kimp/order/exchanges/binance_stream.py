"""Binance's user data stream, kept alive for ever, and everything that makes up for what it does not say.

A stream of one's own account is quiet for hours, so silence proves nothing. Three things prove it deaf: no PONG, an
order of ours of which it says nothing, and a trade in the list that it did not tell.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from random import Random
from urllib.parse import quote

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from kimp.order.exchanges.binance_line import BinanceLine, Told, read, weight
from kimp.order.exchanges.binance_lists import AccountLists
from kimp.order.exchanges.binance_pushes import EVENTS, decode
from kimp.order.exchanges.outcomes import Answer
from kimp.order.exchanges.outcomes_binance import NO_SUCH_KEY
from kimp.shared import logs
from kimp.shared.domain.instruments import Venue
from kimp.shared.domain.orders import ClientId, Fill
from kimp.shared.domain.time import HOUR, MINUTE, SECOND, Nanos
from kimp.shared.messages.events import ClockMeasured, Event, OrderFilled, VenueChanged
from kimp.shared.ports.clock import Clock
from kimp.storage.feeds.pace import Backoff
from kimp.storage.feeds.socket import seconds_asked

OPEN_S = 10.0  # a handshake over the Pacific takes half a second; ten is lost
CLOSE_S = 2.0  # a polite farewell is not worth a slow shutdown
BEAT_S = 20.0  # the venue itself pings every three minutes; a dead line must be known sooner
PONG_S = 10.0
FRAME_BYTES_MAX = 1024 * 1024

LIFE: Nanos = 23 * HOUR + 30 * MINUTE
"""Binance, "User Data Streams", "Connect": a connection is valid for 24 hours only."""
KEY_EVERY: Nanos = 30 * MINUTE
"""A listenKey lives 60 minutes unless renewed; half of that leaves a second try."""
TICK: Nanos = SECOND
FUNDING_LAG: Nanos = 5 * SECOND
"""From the push of a settlement to its record in the list."""
PROBE_EVERY: Nanos = MINUTE
PROBE_AGAIN: Nanos = 5 * SECOND
"""While the venue does not answer; also how soon its return is noticed."""
MISSES_MAX = 2
"""Unanswered probes that make an outage: one may be a lost packet."""
WARM_EVERY: Nanos = 15 * SECOND
"""Idle connections are dropped on either side; a cold one costs an order two or three round trips."""
EXPECTED_WITHIN: Nanos = 10 * SECOND
"""An order the venue has accepted is told on the stream within a fraction of a second."""
EXPECTED_MAX = 100
FRESH: Nanos = 5 * SECOND
"""A trade in the list younger than this may still be on its way in the stream."""

PING = weight(1)
KEY = weight(1)

_log = logs.get(__name__)
_MUTE = logging.Logger("websockets", logging.CRITICAL + 1)  # its debug lines carry the key


class _Key(msgspec.Struct, rename="camel"):
    listen_key: str


def stream_url(base_url: str, key: str) -> str:
    """Where our own events are told: ``…/private/ws?listenKey=…&events=ORDER_TRADE_UPDATE/…``.

    Binance, "Important WebSocket Change Notice — Base URL Split & Migration": the key in the path, or no ``events``,
    connects on the real venue and delivers nothing; demo trading takes either form.
    """
    return f"{base_url.rstrip('/')}/ws?listenKey={quote(key, safe='')}&events={'/'.join(EVENTS)}"


class UserStream:
    """Puts events into an outbox until cancelled; trouble with the venue is told or mended and never raised."""

    def __init__(
        self,
        base_url: str,
        line: BinanceLine,
        lists: AccountLists,
        *,
        clock: Clock,
        dice: Random,
    ) -> None:
        now = clock.now()
        self._base_url = base_url
        self._line = line
        self._lists = lists
        self._clock = clock
        self._dice = dice
        self._connection: ClientConnection | None = None
        self._opened_at: Nanos = now
        self._expected: OrderedDict[ClientId, Nanos] = OrderedDict()
        self._heard: OrderedDict[ClientId, None] = OrderedDict()
        self._is_available = True
        self._misses = 0
        self._key_at = self._probe_at = self._warm_at = now

    async def run(self, outbox: asyncio.Queue[Event]) -> None:
        """Listen, compare and probe, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(outbox))
            group.create_task(self._watch(outbox))
            group.create_task(self._lists.run(outbox, self._suspect))

    def expect(self, client_id: ClientId) -> None:
        """The venue has this order: if the stream says nothing of it soon, it is deaf. It may have spoken already, for
        a push can overtake the answer to the request.
        """
        if client_id in self._heard:
            return
        self._expected[client_id] = self._clock.now() + EXPECTED_WITHIN
        while len(self._expected) > EXPECTED_MAX:
            self._expected.popitem(last=False)

    # -- the connection --------------------------------------------------------------------------------------------

    async def _listen(self, outbox: asyncio.Queue[Event]) -> None:
        backoff = Backoff(self._dice)
        while True:
            asked: Nanos = 0
            try:
                key = await self._new_key()
                if key is not None:
                    await self._hear(key, outbox, backoff)
            except (OSError, WebSocketException, TimeoutError) as trouble:
                _log.warning("stream broken", venue="binance", trouble=type(trouble).__name__)
                if isinstance(trouble, InvalidStatus):
                    asked = seconds_asked(trouble.response.headers.get("Retry-After"))
            await self._clock.sleep_until(self._clock.now() + backoff.pause(asked))

    async def _new_key(self) -> str | None:
        """The account's key, with its life prolonged: asked for before every connection, an old one may be dead."""
        told = read(await self._line.call("fapiPrivatePostListenKey", cost=KEY), _Key)
        self._key_at = self._clock.now() + KEY_EVERY
        return None if told is None or not told.listen_key else told.listen_key

    async def _hear(self, key: str, outbox: asyncio.Queue[Event], backoff: Backoff) -> None:
        connecting = connect(
            stream_url(self._base_url, key),
            origin=None,
            open_timeout=OPEN_S,
            close_timeout=CLOSE_S,
            ping_interval=BEAT_S,
            ping_timeout=PONG_S,
            compression=None,
            max_size=FRAME_BYTES_MAX,
            proxy=None,  # nothing is taken from the environment
            logger=_MUTE,
        )
        async with connecting as connection:
            self._connection, self._opened_at = connection, self._clock.now()
            self._expected.clear()
            # what happened while nobody listened; the connection already keeps what happens from now on
            self._lists.read_at(self._opened_at)
            try:
                while True:
                    if await self._take(await connection.recv(decode=False), outbox):
                        return
            except ConnectionClosed as closed:
                _log.info("stream closed", venue="binance", reason=str(closed.rcvd or "without a word"))
            finally:
                self._connection = None
                if self._clock.now() - self._opened_at > MINUTE:  # one that ends at once is no reason to hurry
                    backoff.reset()

    async def _take(self, payload: bytes, outbox: asyncio.Queue[Event]) -> bool:
        """One message; true when the stream is over."""
        now = self._clock.now()
        push = decode(payload, now)
        if not push.is_readable:
            _log.error("push unreadable", venue="binance", length=len(payload))
            self._lists.read_at(now)
        if push.order is not None:
            self._hear_of(push.order)
        for event in push.events:
            if isinstance(event, OrderFilled):
                self._lists.note(event.fill)
            await outbox.put(event)
        if push.has_nameless_trade:
            self._lists.trades_at(now)
        if push.has_funding:
            self._lists.funding_at(now + FUNDING_LAG)
        return push.has_key_expired

    def _hear_of(self, client_id: ClientId) -> None:
        self._expected.pop(client_id, None)
        self._heard[client_id] = None
        while len(self._heard) > EXPECTED_MAX:
            self._heard.popitem(last=False)

    async def _drop(self, reason: str) -> None:
        """End the connection; the listener opens the next one and what was missed is fetched."""
        _log.warning("stream dropped", venue="binance", reason=reason)
        self._expected.clear()
        if self._connection is not None:
            await self._connection.close()

    async def _suspect(self, fill: Fill) -> None:
        """The list has a trade that the stream, open at that time, did not tell."""
        is_late = self._clock.now() - fill.at > FRESH
        if self._connection is not None and is_late and fill.at > self._opened_at + FRESH:
            await self._drop("it did not tell a trade that the list has")

    # -- every second ----------------------------------------------------------------------------------------------

    async def _watch(self, outbox: asyncio.Queue[Event]) -> None:
        while True:
            now = self._clock.now()
            if now >= self._probe_at or (self._line.is_clock_doubted and not self._misses):
                await self._probe(outbox)
            elif now >= self._warm_at:
                self._warm_at = now + WARM_EVERY
                if not isinstance(await self._line.call("fapiPublicGetPing", cost=PING), Told):
                    self._probe_at = now
            if now >= self._key_at and self._connection is not None:
                await self._renew()
            if self._connection is not None and now - self._opened_at >= LIFE:
                await self._drop("its day is over")
            elif any(until <= now for until in self._expected.values()):
                await self._drop("it says nothing of an order that the venue has")
            await self._clock.sleep_until(now + TICK)

    async def _probe(self, outbox: asyncio.Queue[Event]) -> None:
        """The venue's time: proves that it answers, and that our clocks agree."""
        skew = await self._line.measure()
        now = self._clock.now()
        if skew is not None:
            self._misses, self._probe_at = 0, now + PROBE_EVERY
            await outbox.put(ClockMeasured(now, Venue.BINANCE, skew))
            if not self._is_available:
                self._is_available = True
                self._lists.read_at(now)
                await outbox.put(VenueChanged(now, Venue.BINANCE, True, "answers again"))
            return
        self._misses, self._probe_at = self._misses + 1, now + PROBE_AGAIN
        if self._is_available and self._misses >= MISSES_MAX:
            self._is_available = False
            await outbox.put(VenueChanged(now, Venue.BINANCE, False, self._line.last_trouble or "no answer"))

    async def _renew(self) -> None:
        self._key_at = self._clock.now() + KEY_EVERY
        reply = await self._line.call("fapiPrivatePutListenKey", cost=KEY)
        if isinstance(reply, Answer) and reply.code == NO_SUCH_KEY:
            await self._drop("its key has expired")
        elif not isinstance(reply, Told):
            self._key_at = self._clock.now() + MINUTE
