"""Asks venues for their history: paced by what they say is left, silent for as long as they want it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random
from types import TracebackType
from urllib.parse import urlsplit

import aiohttp

from kimp.shared.domain.time import MINUTE, SECOND, Nanos
from kimp.shared.ports.clock import Clock
from kimp.storage.feeds.pace import Backoff, Limit, Pacer
from kimp.storage.feeds.rest import ANSWER_BYTES_MAX, ANSWER_S, BANNED, TOO_MANY, UNASKED_BAN, Answer, Unanswered
from kimp.storage.feeds.socket import seconds_asked

LIMITS = (Limit(8, SECOND),)
"""Upbit allows 10 quotations a second and address, two of which are left to other programs of the same reader."""
WEIGHT_MAX = 1_800
"""Of the 2,400 a minute that Binance allows an address (exchangeInfo, ``REQUEST_WEIGHT``); the rest is the feeds'."""
BLOCK_MAX: Nanos = 60 * MINUTE
TRIES_MAX = 4
"""For one question, pauses growing; a venue that is away longer is asked again by the next repair. One that did not
answer the question before gets a single try, so that a dozen markets do not wait for it a dozen times."""
SILENCE_MAX: Nanos = 2 * MINUTE
"""The longest block that is waited for in place; longer ones end this repair."""

_REMAINING = re.compile(r"\bsec=(\d+)")


class Courier:
    """Gets answers of one or several venues. Use it as an async context.

    Upbit says with each answer how much is left of the present second (``Remaining-Req: group=candles; min=600;
    sec=9``), Binance how much of the minute is used (``X-MBX-USED-WEIGHT-1M: 120``). After 429 comes 418 with a block
    that grows each time, so every refusal doubles our own silence too.
    """

    def __init__(self, *, clock: Clock, dice: Random) -> None:
        self._clock = clock
        self._dice = dice
        self._pacers: dict[str, Pacer] = {}
        self._silent_until: dict[str, Nanos] = {}
        self._blocks: dict[str, Nanos] = {}
        self._away: set[str] = set()
        self._session: aiohttp.ClientSession | None = None
        self.requests = 0
        self.refusals = 0

    async def __aenter__(self) -> Courier:
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        self._session = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, url: str) -> Answer:
        """The answer, after as many attempts as are decent.

        Raises:
            Unanswered: the venue is away, or wants a longer silence than is worth waiting for.
        """
        backoff = Backoff(self._dice, first=SECOND // 4, cap=8 * SECOND)
        host = urlsplit(url).netloc
        tries = 1 if host in self._away else TRIES_MAX
        for attempt in range(1, tries + 1):
            try:
                answer = await self._attempt(url)
            except Unanswered as trouble:
                if attempt == tries or trouble.silence > SILENCE_MAX:
                    self._away.add(host)
                    raise
                await self._clock.sleep_until(self._clock.now() + backoff.pause(trouble.silence))
            else:
                self._away.discard(host)
                return answer
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, url: str) -> Answer:
        assert self._session is not None, "a Courier is an async context: async with Courier(…) as courier"
        host = urlsplit(url).netloc
        while (until := self._silent_until.get(host, 0)) > self._clock.now():
            if until - self._clock.now() > SILENCE_MAX:
                raise Unanswered(f"{host} wants silence", until - self._clock.now())
            await self._clock.sleep_until(until)
        await self._pacers.setdefault(host, Pacer(LIMITS, self._clock)).turn()
        self.requests += 1
        try:
            async with self._session.get(url, allow_redirects=False) as response:
                body = await response.content.read(ANSWER_BYTES_MAX)
                while not response.content.at_eof():
                    body += await response.content.read(ANSWER_BYTES_MAX)
                    if len(body) > ANSWER_BYTES_MAX:
                        raise Unanswered(f"{host} sent more than {ANSWER_BYTES_MAX} bytes")
        except (aiohttp.ClientError, OSError, TimeoutError) as trouble:
            raise Unanswered(f"{host}: {trouble or 'no answer in time'}") from trouble
        self._obey(host, response.headers)
        if response.status != 200:
            raise self._refused(host, response)
        self._blocks.pop(host, None)
        return Answer(body, self._clock.now())

    def _obey(self, host: str, headers: Mapping[str, str]) -> None:
        """What is left may be nothing: then the next question waits for the next second or minute."""
        now = self._clock.now()
        found = _REMAINING.search(headers.get("Remaining-Req", ""))
        if found is not None and int(found[1]) == 0:
            self._hush(host, (now // SECOND + 1) * SECOND)
        used = headers.get("X-MBX-USED-WEIGHT-1M", "")
        if used.isdigit() and int(used) >= WEIGHT_MAX:
            self._hush(host, (now // MINUTE + 1) * MINUTE)

    def _refused(self, host: str, response: aiohttp.ClientResponse) -> Unanswered:
        self.refusals += 1
        silence = seconds_asked(response.headers.get("Retry-After"))
        if response.status in (TOO_MANY, BANNED):
            grown = min(self._blocks.get(host, 0) * 2, BLOCK_MAX)
            silence = max(silence, grown, UNASKED_BAN if response.status == BANNED and not silence else SECOND)
            self._blocks[host] = silence
            self._hush(host, self._clock.now() + silence)
        return Unanswered(f"{host} answered HTTP {response.status}", silence)

    def _hush(self, host: str, until: Nanos) -> None:
        self._silent_until[host] = max(until, self._silent_until.get(host, 0))
