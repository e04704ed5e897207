"""One warm line to Binance's REST API: paced, timed by the venue's clock, and never raising."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
import msgspec

from kimp.order.exchanges.outcomes import RATE_LIMITED, Answer, Refused, Trouble, trouble_of
from kimp.order.exchanges.outcomes_binance import CLOCK_IS_OFF
from kimp.order.exchanges.ratelimit import BANNED, BINANCE_GROUPS, TOO_MANY, RateLimiter, obey_refusal, read_binance
from kimp.shared import logs
from kimp.shared.domain.orders import Rejected
from kimp.shared.domain.time import MILLISECOND, SECOND, Nanos
from kimp.shared.ports.clock import Clock
from kimp.shared.settings import Binance

if TYPE_CHECKING:
    from kimp.order.exchanges.binance_transport import BinanceTransport

ANSWER_S = 10.0  # the venue gives up on its own backend within ten seconds ("Error Codes", -1007)
ORDER_ANSWER_S = 3.0  # after that, asking for the order tells sooner what became of it
TIME_ANSWER_S = 2.0  # a round trip this long measures no clock
KEPT_S = 90.0  # a connection unused for so long is closed; we ping far more often than that
CONNECTIONS_MAX = 20  # a venue needs few of us; beyond that something runs away
SAMPLES = 3
OFFSET_MAX: Nanos = 3_600 * SECOND  # a venue an hour away has lost its clock, or we have misread it

_log = logs.get(__name__)


class NotSigned(Exception):
    """A request could not be signed, so it was not sent; never leaves the line."""


class Cost(msgspec.Struct, frozen=True):
    """What a request is counted as ("General Info", LIMITS): ``group`` of the limiter and weight."""

    group: str
    weight: int


ORDER = Cost("orders", 1)
"""A new order counts one order and no weight ("New Order")."""


def weight(count: int) -> Cost:
    """An ordinary request of that weight."""
    return Cost("weight", count)


class Told(msgspec.Struct, frozen=True):
    """The venue's data: a JSON object or array, its numbers possibly as text."""

    data: Any


Reply = Told | Answer | Trouble | Rejected
"""Data, an error of the venue's, a request that ended without an answer, or our own refusal to send."""

T = TypeVar("T")


def read(reply: Reply, kind: type[T]) -> T | None:
    """The data as ``kind``; ``None`` when there is none, or it is not what the venue documents."""
    if not isinstance(reply, Told):
        return None
    try:
        return msgspec.convert(reply.data, kind, strict=False)
    except (msgspec.ValidationError, ArithmeticError) as error:
        _log.warning("answer unreadable", venue="binance", wanted=str(kind), error=str(error))
        return None


@dataclass(slots=True)
class _Skew:
    """What is known of the venue's clock."""

    offset: Nanos = 0
    is_doubted: bool = True


class BinanceLine:
    """Sends requests to one venue with one key. An async context: inside it the connection is warm."""

    def __init__(self, settings: Binance, clock: Clock, limiter: RateLimiter | None = None) -> None:
        self._settings = settings
        self._clock = clock
        self._limiter = limiter or RateLimiter(clock, BINANCE_GROUPS)
        self._skew = _Skew()
        self._session: aiohttp.ClientSession | None = None
        self._transport: BinanceTransport | None = None
        self.last_trouble = ""

    async def open(self) -> None:
        """Open the session and measure the venue's clock, which also warms a connection."""
        transport = await asyncio.to_thread(_transport_class)  # seconds of importing, while feeds go on
        # TLS is verified by default; no cookies, no proxy or credentials from the environment.
        connector = aiohttp.TCPConnector(keepalive_timeout=KEPT_S, limit=CONNECTIONS_MAX)
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)
        try:
            self._transport = transport(
                self._settings, self._session, timestamp_ms=self.venue_ms, tap=self._read_headers
            )
            self._transport.open()  # its TLS context costs milliseconds once
            await self.measure()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Let go of the connections."""
        if self._transport is not None:
            self._transport.session = None
            self._transport = None
        if self._session is not None:
            await self._session.close()
            self._session = None

    @property
    def is_clock_doubted(self) -> bool:
        """Whether the venue refused a request for its time since the clock was measured last."""
        return self._skew.is_doubted

    def venue_ms(self) -> int:
        """The venue's time in milliseconds."""
        return (self._clock.now() + self._skew.offset) // MILLISECOND

    async def measure(self) -> Nanos | None:
        """The venue's clock minus ours: the sample with the shortest round trip, taken at its half ("Check Server
        Time"). Later requests are stamped with it.
        """
        best: tuple[Nanos, Nanos] | None = None
        for _ in range(SAMPLES):
            sent_at = self._clock.now()
            told = read(await self.call("fapiPublicGetTime", cost=weight(1), within_s=TIME_ANSWER_S), _Time)
            if told is None:
                break
            took = self._clock.now() - sent_at
            offset = told.server_time * MILLISECOND - (sent_at + took // 2)
            if took >= 0 and abs(offset) <= OFFSET_MAX:
                best = min(best or (took, offset), (took, offset))
        if best is None:
            return None
        self._skew.offset, self._skew.is_doubted = best[1], False
        return best[1]

    async def call(
        self,
        endpoint: str,
        params: Mapping[str, str | int] | None = None,
        *,
        cost: Cost,
        is_urgent: bool = False,
        within_s: float = ANSWER_S,
    ) -> Reply:
        """One request, once, by ccxt's name of the endpoint. Only the cancellation of the caller itself is raised."""
        transport = self._transport
        if transport is None:
            return Trouble.NOT_SENT
        if not await self._limiter.acquire(cost.group, cost.weight, is_urgent=is_urgent):
            self.last_trouble = RATE_LIMITED.code
            return RATE_LIMITED
        try:
            async with asyncio.timeout(within_s):
                data = await getattr(transport, endpoint)(dict(params or {}))
        except Refused as refused:
            self._note(refused.answer)
            return refused.answer
        except NotSigned:
            return self._broken(endpoint, Trouble.NOT_SENT)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return self._broken(endpoint, Trouble.CANCELLED)
        except Exception as error:  # whatever a library raises, a request without an answer is all that is known
            return self._broken(endpoint, trouble_of(error))
        return Told(data) if isinstance(data, dict | list) else self._broken(endpoint, Trouble.UNREADABLE)

    def _broken(self, endpoint: str, trouble: Trouble) -> Trouble:
        self.last_trouble = trouble.value
        _log.warning("request unanswered", venue="binance", endpoint=endpoint, trouble=trouble.value)
        return trouble

    def _note(self, answer: Answer) -> None:
        self.last_trouble = f"HTTP {answer.status} {answer.code} {answer.message}".strip()
        if answer.code in CLOCK_IS_OFF:
            self._skew.is_doubted = True

    def _read_headers(self, status: int, headers: Mapping[str, str], body: str) -> None:
        read_binance(self._limiter, headers)
        if status == TOO_MANY and "-1015" in body:  # too many orders; other requests are welcome
            obey_refusal(self._limiter, "orders", status, headers)
        elif status in (TOO_MANY, BANNED):  # the address as a whole asked too often: whoever goes on is banned
            for group in self._limiter.groups:
                obey_refusal(self._limiter, group, status, headers)


def _transport_class() -> type[BinanceTransport]:
    from kimp.order.exchanges.binance_transport import BinanceTransport

    return BinanceTransport


class _Time(msgspec.Struct, rename="camel"):
    server_time: int
