"""The official won rate of the dollar out of two sources that must not contradict each other.

There is no fallback. A public predecessor fell back to 1,200 and showed fifteen percent premium all summer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

import msgspec

from kimp.shared.domain.fx import USD, FxQuote
from kimp.shared.domain.time import HOUR, MINUTE, Nanos
from kimp.storage.feeds.events import FeedEvent
from kimp.storage.feeds.exchange_rate.hours import MarketHours
from kimp.storage.feeds.exchange_rate.sources import READERS, Reading
from kimp.storage.feeds.exchange_rate.spikes import SpikeFilter
from kimp.storage.feeds.frames import Frame
from kimp.storage.feeds.reader import Gap
from kimp.storage.feeds.watchdog import Stream

VALID_FOR: Nanos = 2 * MINUTE
"""How long a rate may be used after we heard it, in market hours."""

PUBLISHED_WITHIN: Nanos = 10 * MINUTE
"""How old a source's own time may be in market hours. Boards come every minute or two; ten silent minutes are a fault."""

AGREED_WITHIN: Nanos = HOUR
"""How long one source may stand alone, measured from the last time both agreed."""

BAND = Decimal("0.01")
"""How far two sources, or one source and the last agreed rate, may lie apart. Bank and market differ by 0.1–0.3 %."""

NOTHING = Decimal("NaN")
"""The value that takes back a rate: no engine uses it, and whoever keeps the last rate drops it."""


class RateDecoder:
    """Rates go out while both sources agree, or while one stays near what both agreed on within the last hour.

    Outside of market hours the last rate is known to stand still and is valid until the next opening. When the sources
    contradict each other nobody knows which is right, and the rate is taken back at once.
    """

    def __init__(self, hours: MarketHours | None = None) -> None:
        self._hours = hours or MarketHours()
        self._spikes: dict[str, SpikeFilter] = {}
        self._last: dict[str, Reading] = {}
        self._agreed: tuple[Decimal, Nanos] | None = None
        self._is_out = False
        self.counts: Counter[str] = Counter()

    @property
    def streams(self) -> Sequence[Stream]:
        """None: a rate says itself until when it may be used."""
        return ()

    def tick(self, now: Nanos) -> list[FeedEvent | Gap]:  # noqa: ARG002 - a rate expires by itself
        """Nothing."""
        return []

    def wanted(self, now: Nanos) -> list[str]:  # noqa: ARG002 - the feed asks at its own pace
        """Nothing."""
        return []

    def read(self, frame: Frame) -> list[FeedEvent | Gap]:
        """The rate after one more answer of one source, if there is a trustworthy one."""
        try:
            reading = READERS[frame.channel](frame.payload, frame.received_at)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError):
            reading = None
        if reading is None:
            self.counts["unreadable"] += 1
            return []
        if not self._spikes.setdefault(reading.source, SpikeFilter()).passes(reading.value):
            self.counts[f"spike {reading.source}"] += 1
            return []
        if self._is_dead(reading):
            self.counts[f"dead {reading.source}"] += 1
            return []
        self._last[reading.source] = reading
        return self._judge(reading)

    def _is_dead(self, reading: Reading) -> bool:
        """A source that goes on telling an old rate while the market is open."""
        at = reading.received_at
        opened_lately = not self._hours.is_open(at - PUBLISHED_WITHIN)
        return self._hours.is_open(at) and not opened_lately and at - reading.published_at > PUBLISHED_WITHIN

    def _judge(self, reading: Reading) -> list[FeedEvent | Gap]:
        at = reading.received_at
        is_open = self._hours.is_open(at)
        others = [
            other
            for source, other in self._last.items()
            if source != reading.source and (not is_open or at - other.received_at <= VALID_FOR)
        ]
        if others:
            if not all(_near(reading.value, other.value) for other in others):
                return self._take_back(reading)
            self._agreed = (reading.value, at)
        elif self._agreed is None or at - self._agreed[1] > AGREED_WITHIN or not _near(reading.value, self._agreed[0]):
            self.counts["unconfirmed"] += 1
            return []
        self._is_out = True
        until = at + VALID_FOR if is_open else self._hours.next_opening(at) + VALID_FOR
        return [FxQuote(USD, reading.value, at, until, reading.source)]

    def _take_back(self, reading: Reading) -> list[FeedEvent | Gap]:
        self.counts["sources disagree"] += 1
        if not self._is_out:
            return []
        self._is_out = False
        return [FxQuote(USD, NOTHING, reading.received_at, reading.received_at, "sources disagree")]


def _near(value: Decimal, other: Decimal) -> bool:
    return abs(value - other) <= BAND * other
