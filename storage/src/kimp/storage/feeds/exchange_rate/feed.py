"""Asking the two sources over and over."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from random import Random

from kimp.shared.domain.time import SECOND, Nanos
from kimp.shared.ports.clock import Clock
from kimp.storage.feeds.events import FeedEvent
from kimp.storage.feeds.exchange_rate.decoder import RateDecoder
from kimp.storage.feeds.frames import Frame
from kimp.storage.feeds.live import Tap
from kimp.storage.feeds.pace import Backoff
from kimp.storage.feeds.reader import FeedReader
from kimp.storage.feeds.rest import Fetcher, Unanswered

ASKED_EVERY: Nanos = 15 * SECOND
"""Eight readings within a rate's two minutes; public sources are not to be asked more often than they change."""

HEADERS = {"Accept": "application/json", "User-Agent": "Mozilla/5.0 (compatible; kimp)"}
"""Both sources refuse clients without a browser-like name."""


class RateFeed:
    """Polls each source in its own rhythm; one that fails is asked less and less often, up to a limit.

    Args:
        decoder: what makes a rate of the answers.
        urls: channel (``fx/bank``, ``fx/market``) → where to ask.
        clock, dice: time and chance.
        tap: sees every answer first.
    """

    def __init__(
        self, decoder: RateDecoder, urls: Mapping[str, str], *, clock: Clock, dice: Random, tap: Tap | None = None
    ) -> None:
        self._reader = FeedReader(decoder)
        self._urls = dict(urls)
        self._clock = clock
        self._dice = dice
        self._tap = tap

    async def run(self, outbox: asyncio.Queue[FeedEvent]) -> None:
        """Ask for ever."""
        async with Fetcher(clock=self._clock, dice=self._dice) as fetcher, asyncio.TaskGroup() as group:
            for channel, url in self._urls.items():
                group.create_task(self._ask(channel, url, fetcher, outbox))

    async def _ask(self, channel: str, url: str, fetcher: Fetcher, outbox: asyncio.Queue[FeedEvent]) -> None:
        backoff = Backoff(self._dice, first=ASKED_EVERY // 4, cap=4 * ASKED_EVERY)
        while True:
            try:
                answer = await fetcher.get(url, HEADERS)
            except Unanswered as trouble:
                pause = backoff.pause(trouble.silence)
            else:
                backoff.reset()
                pause = ASKED_EVERY
                frame = Frame(channel, answer.received_at, answer.body)
                if self._tap is not None:
                    self._tap(frame)
                for event in self._reader.read(frame):
                    await outbox.put(event)
            await self._clock.sleep_until(self._clock.now() + pause)
