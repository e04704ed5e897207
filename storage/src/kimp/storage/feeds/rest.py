"""Asking a venue over HTTP without ever annoying it: paced, patient, and silent for as long as it says."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from types import TracebackType
from urllib.parse import urlsplit

import aiohttp
import msgspec

from kimp.shared.domain.time import MINUTE, SECOND, Nanos
from kimp.shared.ports.clock import Clock
from kimp.storage.feeds.pace import Backoff, Limit, Pacer
from kimp.storage.feeds.socket import seconds_asked

ANSWER_S = 10.0
ANSWER_BYTES_MAX = 4 * 1024 * 1024
LIMITS = (Limit(5, SECOND), Limit(60, MINUTE))
"""Binance allows 2,400 weights a minute and a snapshot weighs 20: sixty take half. Upbit allows 10 quotations a second."""

TOO_MANY, BANNED = 429, 418
UNASKED_BAN: Nanos = 2 * MINUTE
"""How long to be silent after a ban that names no time; Binance's shortest ban is two minutes ("LIMITS", IP limits)."""


class Unanswered(Exception):
    """An attempt that brought no data: why, and how long the venue asked us to be silent."""

    def __init__(self, reason: str, silence: Nanos = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.silence = silence


class Answer(msgspec.Struct, frozen=True):
    """What came back and when."""

    body: bytes
    received_at: Nanos


class Fetcher:
    """Gets texts from public addresses, of one host or several. Use it as an async context."""

    def __init__(self, *, clock: Clock, dice: Random, limits: tuple[Limit, ...] = LIMITS) -> None:
        self._clock = clock
        self._dice = dice
        self._limits = limits
        self._pacers: dict[str, Pacer] = {}
        self._silent_until: dict[str, Nanos] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Fetcher:
        # TLS is verified by default; no cookies, and no proxy or credentials from the environment
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=ANSWER_S), cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> Answer:
        """One attempt, in its turn.

        Raises:
            Unanswered: no connection, no answer in time, or an answer that is not 200.
        """
        assert self._session is not None, "a Fetcher is an async context: async with Fetcher(…) as fetcher"
        host = urlsplit(url).netloc
        await self._silence(host)
        await self._pacer(host).turn()
        try:
            async with self._session.get(url, headers=headers, allow_redirects=False) as response:
                body = await response.content.read(ANSWER_BYTES_MAX)
                while not response.content.at_eof():
                    body += await response.content.read(ANSWER_BYTES_MAX)
                    if len(body) > ANSWER_BYTES_MAX:
                        raise Unanswered(f"{host} sent more than {ANSWER_BYTES_MAX} bytes")
        except (aiohttp.ClientError, OSError, TimeoutError) as trouble:
            raise Unanswered(f"{host}: {trouble or 'no answer in time'}") from trouble
        if response.status != 200:
            raise self._refused(host, response)
        return Answer(body, self._clock.now())

    async def get_patiently(self, url: str) -> Answer:
        """Attempts with growing pauses until there is an answer."""
        backoff = Backoff(self._dice)
        while True:
            try:
                return await self.get(url)
            except Unanswered as trouble:
                await self._clock.sleep_until(self._clock.now() + backoff.pause(trouble.silence))

    def _refused(self, host: str, response: aiohttp.ClientResponse) -> Unanswered:
        """After 429 a venue wants a pause, and bans with 418 those who do not make one; the whole host is left alone."""
        silence = seconds_asked(response.headers.get("Retry-After"))
        if response.status == BANNED:
            silence = silence or UNASKED_BAN
        if silence or response.status == TOO_MANY:
            self._silent_until[host] = self._clock.now() + max(silence, SECOND)
        return Unanswered(f"{host} answered HTTP {response.status}", silence)

    async def _silence(self, host: str) -> None:
        while (until := self._silent_until.get(host, 0)) > self._clock.now():
            await self._clock.sleep_until(until)

    def _pacer(self, host: str) -> Pacer:
        pacer = self._pacers.get(host)
        if pacer is None:
            pacer = self._pacers[host] = Pacer(self._limits, self._clock)
        return pacer
