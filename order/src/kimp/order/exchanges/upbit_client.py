"""Requests to Upbit: through ccxt's raw endpoints, counted, kept warm, and judged by us.

ccxt names and signs; its rate limiter (126 ms on an idle order), its retries, its float numbers and its classes of
exceptions are left out (:mod:`~kimp.order.exchanges.sending`). Every call ends as one of three things: a body, the
venue's error, or trouble without an answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from hashlib import blake2b
from random import Random
from typing import Any, Self, TypeVar
from uuid import UUID

import aiohttp
import msgspec

from kimp.order.exchanges.date_skew import DateSkew
from kimp.order.exchanges.outcomes import Answer, Refused, Trouble, trouble_of
from kimp.order.exchanges.ratelimit import UPBIT_GROUPS, RateLimiter, header, obey_refusal, read_upbit
from kimp.order.exchanges.sending import PlainSending, Signed, patience, upbit_order
from kimp.order.exchanges.upbit_forms import ErrorBody
from kimp.shared.domain.time import SECOND, Nanos
from kimp.shared.ports.clock import Clock
from kimp.shared.settings import Upbit

ANSWER_S = 5.0
"""How long an answer may take. Upbit answers in tens of milliseconds; in maintenance connections hang for ever."""

KEEPALIVE_S = 75.0
"""How long an idle connection is kept; it is used every :data:`WARM_EVERY`, so only a dead one grows this old."""

WARM_EVERY: Nanos = 10 * SECOND
"""How often each connection carries a cheap request: well below the minute after which servers drop idle ones."""

WARM_CONNECTIONS = 2
"""An order and the question about another may leave at the same moment."""

CONNECTIONS_MAX = 8
"""More would only wait at Upbit's own limit of twelve orders a second."""

_SUCCESS = (200, 201)
_ERROR = msgspec.json.Decoder(ErrorBody)

T = TypeVar("T")


class Body(msgspec.Struct, frozen=True):
    """The text of a successful answer."""

    text: str


Reply = Body | Answer | Trouble
"""A success, an error of the venue's, or no answer at all."""


class UpbitClient:
    """One account's connection to Upbit's REST interface. Use it as an async context."""

    def __init__(self, settings: Upbit, *, clock: Clock, dice: Random) -> None:
        self.settings = settings
        self._clock = clock
        self._dice = dice
        self._count = 0
        self._headers: Mapping[str, str] = {}
        self.limiter = RateLimiter(clock, UPBIT_GROUPS)
        self.skew = DateSkew()
        self._raw: Any = _raw_client(self)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._raw.open()  # only makes the TLS context: the session is ours
        connector = aiohttp.TCPConnector(
            ssl=self._raw.ssl_context, keepalive_timeout=KEEPALIVE_S, limit=CONNECTIONS_MAX, ttl_dns_cache=300
        )
        self._session = aiohttp.ClientSession(connector=connector, trust_env=False)
        self._raw.session = self._session
        return self

    async def __aexit__(self, *_: object) -> None:
        self._raw.session = None
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(
        self,
        endpoint: str,
        parameters: Mapping[str, str] | None = None,
        *,
        group: str = "default",
        is_urgent: bool = False,
    ) -> Reply:
        """One request to one of ccxt's raw endpoints (``private_post_orders``), never repeated by us.

        Raises:
            asyncio.CancelledError: the caller was cancelled; the request may have arrived all the same.
        """
        send = getattr(self._raw, endpoint)
        if endpoint.startswith("private") and not (self.settings.access_key and self.settings.secret_key):
            return Trouble.NOT_SENT  # it cannot be signed
        if not await self.limiter.acquire(group, is_urgent=is_urgent):
            return Trouble.HELD_BACK
        begun = self._clock.now()
        try:
            body = await send(dict(parameters or {}))
        except Refused as refused:
            obey_refusal(self.limiter, group, refused.answer.status, refused.headers, refused.answer.message)
            self._note(refused.headers, begun)
            return refused.answer
        except Exception as error:  # whatever it was, it must not cross the port; what it proves is judged by its cause
            return trouble_of(error)
        self._note(self._headers, begun)
        return Body(body) if isinstance(body, str) else Trouble.UNREADABLE

    def token(self) -> str:
        """A fresh authorisation for the private stream: ``Bearer`` and a JWT without a query."""
        raw = self._raw
        claims = {"access_key": raw.apiKey, "nonce": raw.uuid()}
        return f"Bearer {raw.jwt(claims, raw.encode(raw.secret), 'sha256')}"

    def nonce(self) -> str:
        """A UUID that no request ever had: of the time, a count and chance, so that no two of them have to be good."""
        self._count += 1
        seed = f"{self._clock.now()} {self._count} {self._dice.getrandbits(128)}"
        return str(UUID(bytes=blake2b(seed.encode(), digest_size=16).digest(), version=4))

    async def warm(self) -> None:
        """One cheap request on each connection, so that an order never waits for a handshake."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WARM_CONNECTIONS):
                group.create_task(self.ticks("KRW-BTC"))

    async def keep_warm(self) -> None:
        """Warm the connections now and then, for ever."""
        while True:
            await self.warm()
            await self._clock.sleep_until(self._clock.now() + WARM_EVERY)

    async def ticks(self, markets: str) -> Reply:
        """ "호가 정책 조회": cheap, public, and without a body to speak of."""
        return await self.call("public_get_orderbook_instruments", {"markets": markets}, group="orderbook")

    def take(self, status: int, headers: Mapping[str, str], body: str) -> None:
        """Note an answer's headers; an answer that is no success becomes :class:`Refused`."""
        self._headers = headers
        read_upbit(self.limiter, headers)
        if status not in _SUCCESS:
            raise Refused(_answer(status, body), headers)

    def now(self) -> Nanos:
        """The time."""
        return self._clock.now()

    def milliseconds(self) -> int:
        """The time in ccxt's unit."""
        return self._clock.now() // 1_000_000

    def _note(self, headers: Mapping[str, str], begun: Nanos) -> None:
        self.skew.note(header(headers, "Date"), begun, self._clock.now())


def told(reply: Reply) -> str:
    """What an answer says, in a few words for people."""
    match reply:
        case Body():
            return "answered"
        case Answer():
            return f"HTTP {reply.status} {reply.code}".rstrip()
    return reply.value


def read(reply: Reply, form: type[T]) -> T | None:
    """The body in its form; ``None`` for everything that is not a well-formed body of that form."""
    if not isinstance(reply, Body):
        return None
    try:
        return msgspec.json.decode(reply.text, type=form)
    except (msgspec.MsgspecError, ValueError, ArithmeticError):
        return None


def _answer(status: int, body: str) -> Answer:
    try:
        words = _ERROR.decode(body).error
    except (msgspec.MsgspecError, ValueError):
        return Answer(status)
    return Answer(status, str(words.name), words.message)


def _raw_client(owner: UpbitClient) -> Any:
    """ccxt's Upbit with everything but signing and transport taken out."""
    # Four seconds to import, so only where orders are sent.
    from ccxt.async_support.upbit import upbit  # type: ignore[import-untyped]

    class RawUpbit(PlainSending, upbit):  # type: ignore[misc]  # ccxt's class is untyped here
        """Signs and sends; bodies stay text, errors become :class:`Refused`."""

        logger = _silent()
        answer_timeout = patience(ANSWER_S)

        def sign(self, path: str, *details: Any) -> Signed:
            """New orders by ourselves, everything else as ccxt does."""
            if path != "orders" or details[1] != "POST":
                return super().sign(path, *details)
            return upbit_order(orders_url, self.apiKey, self.secret, owner.nonce(), details[2])

        def answered(self, status: int, headers: Mapping[str, str], text: str) -> str:
            owner.take(status, headers, text)
            return text

        def uuid(self) -> str:
            return owner.nonce()

        def milliseconds(self) -> int:
            return owner.milliseconds()

    settings = owner.settings
    base = settings.rest_url.rstrip("/")
    orders_url = f"{base}/v1/orders"
    raw = RawUpbit(
        {
            "apiKey": settings.access_key.get_secret_value(),
            "secret": settings.secret_key.get_secret_value(),
            "enableRateLimit": False,
            "urls": {"api": {"public": base, "private": base}},
            "session": None,  # ours, given when the loop runs
        }
    )
    raw.own_session = False
    return raw


def _silent() -> logging.Logger:
    """ccxt logs headers at debug level, and Upbit's carry the access key."""
    logger = logging.Logger("ccxt", level=logging.CRITICAL + 1)
    logger.disabled = True
    return logger
