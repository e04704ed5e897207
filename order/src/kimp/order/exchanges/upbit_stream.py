"""Upbit's private stream: our fills and orders as they happen, and a watch over the stream itself.

The stream says nothing while nothing happens, has no sequence numbers and no acknowledgement, so its silence proves
nothing. Three things do: PONGs, questions over REST now and then, and a question after every connection for what was
missed.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import suppress
from random import Random

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from kimp.order.exchanges.upbit_client import UpbitClient
from kimp.order.exchanges.upbit_forms import UpbitOrder
from kimp.order.exchanges.upbit_history import UpbitHistory
from kimp.order.exchanges.upbit_pushes import Unreadable, events_of
from kimp.shared import logs
from kimp.shared.domain.instruments import Venue
from kimp.shared.domain.orders import OrderStatus
from kimp.shared.domain.time import MINUTE, SECOND, Nanos
from kimp.shared.messages.events import ClockMeasured, Event, OrderFilled, OrderReported, VenueChanged
from kimp.shared.ports.clock import Clock
from kimp.storage.feeds.pace import UPBIT_LIMITS, Backoff, Pacer

SUBSCRIPTION = '[{"ticket":"kimp"},{"type":"myOrder"},{"type":"myAsset"}]'
"""All markets. ``myAsset`` must not name codes ("내 자산 (MyAsset)": WRONG_FORMAT)."""

OPEN_S = 10.0  # a handshake within Asia takes tens of milliseconds; ten seconds is lost
CLOSE_S = 2.0  # a polite farewell is not worth a slow shutdown
BEAT: Nanos = 20 * SECOND
"""Upbit, "WebSocket 사용 및 에러 안내": idle connections are closed after about 120 s; a dead one is noticed sooner."""
PONG_S = 10.0
MESSAGE_BYTES_MAX = 1024 * 1024

OUTBOX_MAX = 10_000
"""Events not yet taken; an account of this program makes a few a minute."""

CHECK_EVERY: Nanos = MINUTE
"""How often REST is asked for what the stream did not say: four requests a minute."""

RETRY_AFTER: Nanos = 5 * SECOND
"""How soon an unanswered check is repeated."""

OVERLAP: Nanos = MINUTE
"""How much before the last certain moment is asked for again; clocks and read lag differ by less."""

GRACE: Nanos = 5 * SECOND
"""A fill this old that the stream has not told proves the stream silent."""

FAILURES_MAX = 2
"""Unanswered checks in a row until the venue counts as away."""

REMEMBERED_MAX = 10_000
"""Fills and ended orders told lately; a check looks back over minutes."""

_log = logs.get(__name__)


class UpbitStream:
    """Tells events into an outbox until it is cancelled; trouble with the network ends in reconnecting, never in raising.

    Args:
        client: signs the connection and measures the clock.
        history: knows what happened when nobody listened.
        clock, dice: time and chance.
    """

    def __init__(self, client: UpbitClient, history: UpbitHistory, *, clock: Clock, dice: Random) -> None:
        self._client = client
        self._history = history
        self._clock = clock
        self._backoff = Backoff(dice)
        self._certain_until: Nanos = clock.now()
        self._fills_told = _Lately()
        self._ends_told = _Lately()
        self._failures = 0
        self._is_available = True

    async def run(self, outbox: asyncio.Queue[Event]) -> None:
        """Connect, listen, check, reconnect: for ever."""
        while True:
            try:
                connection = await self._open()
            except (OSError, WebSocketException, TimeoutError) as trouble:
                reason = _describe(trouble)
            else:
                reason = await self._listen(connection, outbox)
            _log.warning("private stream lost", venue="upbit", reason=reason)
            # Nothing is pushed now, so what happens is asked for; this also tells whether the venue is away altogether.
            await self._check(outbox)
            await self._clock.sleep_until(self._clock.now() + self._backoff.pause())

    async def _open(self) -> ClientConnection:
        return await connect(
            self._client.settings.ws_private_url,
            additional_headers={"Authorization": self._client.token()},
            origin=None,  # Upbit, "요청 수 제한": with an Origin header only one request per 10 s is allowed
            ping_interval=None,  # our own beat counts towards the limits
            open_timeout=OPEN_S,
            close_timeout=CLOSE_S,
            compression=None,  # a few messages a minute
            max_size=MESSAGE_BYTES_MAX,
            proxy=None,  # nothing is taken from the environment
        )

    async def _listen(self, connection: ClientConnection, outbox: asyncio.Queue[Event]) -> str:
        """Serve one connection to its end; says why it ended."""
        pacer = Pacer(UPBIT_LIMITS, self._clock)
        async with asyncio.TaskGroup() as group:
            helpers = [
                group.create_task(self._beat(connection, pacer)),
                group.create_task(self._watch(connection, outbox)),
            ]
            try:
                await pacer.turn()
                await connection.send(SUBSCRIPTION)
                return await self._pump(connection, outbox)
            except ConnectionClosed as closed:
                return _describe(closed)
            finally:
                for helper in helpers:
                    helper.cancel()
                await _end(connection)

    async def _pump(self, connection: ClientConnection, outbox: asyncio.Queue[Event]) -> str:
        """Tell what is pushed; a message about our money that cannot be read ends the connection, and REST tells it."""
        while True:
            payload = await connection.recv(decode=False)
            try:
                events = events_of(payload, self._clock.now())
            except Unreadable as trouble:
                return f"unreadable message: {trouble}"
            self._backoff.reset()
            for event in events:
                self._remember(event)
                await outbox.put(event)

    async def _beat(self, connection: ClientConnection, pacer: Pacer) -> None:
        """Prove the connection with a PING now and then; without a PONG it is dead, whatever the system says."""
        with suppress(ConnectionClosed):
            while True:
                await self._clock.sleep_until(self._clock.now() + BEAT)
                await pacer.turn()
                try:
                    async with asyncio.timeout(PONG_S):
                        await (await connection.ping())
                except TimeoutError:
                    _log.warning("no PONG", venue="upbit", within_s=PONG_S)
                    connection.transport.abort()  # a dead peer answers no farewell either
                    return
                self._backoff.reset()

    async def _watch(self, connection: ClientConnection, outbox: asyncio.Queue[Event]) -> None:
        """Ask for what was missed, then check now and then that the stream tells all there is to tell."""
        is_caught_up = False
        while True:
            untold = await self._check(outbox)
            if untold is None:
                await self._clock.sleep_until(self._clock.now() + RETRY_AFTER)
                continue
            if untold and is_caught_up:
                _log.warning("private stream silent", venue="upbit", untold=untold)
                await _end(connection)
                return
            is_caught_up = True
            await self._clock.sleep_until(self._clock.now() + CHECK_EVERY)

    async def _check(self, outbox: asyncio.Queue[Event]) -> int | None:
        """Tell over REST what was not told; how many fills the stream should have told by now, ``None`` if unanswered."""
        begun = self._clock.now()
        since = self._certain_until - OVERLAP
        orders = await self._history.orders_since(None, since)
        if orders is None:
            await self._answered(outbox, is_answered=False)
            return None
        untold, are_readable = 0, True
        for order in orders:
            try:
                untold += await self._tell(order, since, outbox)
            except ValueError as error:  # one order nobody can read must not hide the others
                _log.error("order not readable", venue="upbit", order=order.uuid, reason=str(error))
                are_readable = False
        if not are_readable:
            return None
        self._certain_until = begun
        await self._answered(outbox, is_answered=True)
        if (skew := self._client.skew.skew) is not None:
            await outbox.put(ClockMeasured(self._clock.now(), Venue.UPBIT, skew))
        return untold

    async def _tell(self, order: UpbitOrder, since: Nanos, outbox: asyncio.Queue[Event]) -> int:
        """Tell an order's fills and end, unless told already; how many of its fills are overdue."""
        overdue = 0
        rate = self._history.fee_rate(order.market)
        news = [fill for fill in order.fills(rate) if fill.at >= since and fill.trade_id not in self._fills_told]
        for fill in news:
            now = self._clock.now()
            overdue += fill.at < now - GRACE
            await outbox.put(OrderFilled(now, fill))
            self._fills_told.add(fill.trade_id)  # only then: a cancelled check must tell it again
        is_news = bool(news) or order.made_at >= since
        if is_news and order.status is OrderStatus.DONE and order.client_id not in self._ends_told:
            report = order.report(rate)
            if report is not None:
                await outbox.put(OrderReported(self._clock.now(), report))
                self._ends_told.add(order.client_id)
        return overdue

    def _remember(self, event: Event) -> None:
        match event:
            case OrderFilled(fill=fill):
                self._fills_told.add(fill.trade_id)
            case OrderReported(report=report) if report.status is OrderStatus.DONE:
                self._ends_told.add(report.client_id)

    async def _answered(self, outbox: asyncio.Queue[Event], *, is_answered: bool) -> None:
        """Tell when the venue goes away and when it is back; one unanswered question is not an absence."""
        self._failures = 0 if is_answered else self._failures + 1
        if self._is_available and self._failures >= FAILURES_MAX:
            self._is_available = False
            reason = self._history.trouble or "no answer"
            await outbox.put(VenueChanged(self._clock.now(), Venue.UPBIT, is_available=False, reason=reason))
        elif not self._is_available and is_answered:
            self._is_available = True
            await outbox.put(VenueChanged(self._clock.now(), Venue.UPBIT, is_available=True, reason="answers again"))


class _Lately:
    """Ids seen lately, the oldest forgotten."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, name: str) -> bool:
        return name in self._ids

    def add(self, name: str) -> None:
        self._ids[name] = None
        if len(self._ids) > REMEMBERED_MAX:
            self._ids.popitem(last=False)


async def _end(connection: ClientConnection) -> None:
    with suppress(WebSocketException, OSError):
        await connection.close()


def _describe(trouble: Exception) -> str:
    match trouble:
        case ConnectionClosed(rcvd=received):
            return "closed 1006" if received is None else f"closed {received.code} {received.reason}".rstrip()
        case InvalidStatus():
            return f"connection refused with HTTP {trouble.response.status_code}"
        case TimeoutError():
            return "no answer to the connection request"
    return f"no connection: {type(trouble).__name__}"
