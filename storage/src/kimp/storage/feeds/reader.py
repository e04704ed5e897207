"""Frames in, events out: a venue's decoder and the watchdog over it, without any input or output of its own.

Live feeds and replays both run this, so a recording shows what really happened, losses included.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import msgspec

from kimp.shared.domain.candles import Candle
from kimp.shared.domain.fx import FxQuote
from kimp.shared.domain.instruments import InstrumentId
from kimp.shared.domain.time import MILLISECOND, Nanos
from kimp.shared.messages.events import FeedBack, FeedLost
from kimp.storage.feeds.events import KINDS, FeedEvent, Refused, StreamKind
from kimp.storage.feeds.frames import ChannelLost, ChannelOpened, Frame, Item
from kimp.storage.feeds.watchdog import Stream, StreamHealth, Watchdog

CHECK_EVERY: Nanos = 250 * MILLISECOND
"""How often silence is looked for: four times a second adds at most a quarter of a second to the limit."""


NO_PROOF = (FxQuote, FeedLost, FeedBack, Refused)
"""Events that are no data of a watched stream; a rate carries its own validity."""


class Gap(msgspec.Struct, frozen=True, gc=False):
    """A stream delivers but cannot be used until it is repaired; the watchdog reports it as lost."""

    instrument_id: InstrumentId
    kind: StreamKind
    at: Nanos
    reason: str


class Decoder(Protocol):
    """A venue's messages as a state machine: it is handed every frame and told the time."""

    counts: Counter[str]
    """What was withheld or could not be read, by reason."""

    @property
    def streams(self) -> Sequence[Stream]:
        """What was subscribed to and has to deliver."""
        ...

    def read(self, frame: Frame) -> list[FeedEvent | Gap]:
        """What one message means; a message that means nothing gives nothing, one that is broken is counted."""
        ...

    def tick(self, now: Nanos) -> list[FeedEvent | Gap]:
        """What the mere passing of time means."""
        ...

    def wanted(self, now: Nanos) -> list[str]:
        """Channels of REST answers that are needed now; each is named once per need."""
        ...


class FeedReader:
    """Turns what arrives into events, and what does not arrive into losses."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self._watchdog = Watchdog(decoder.streams)

    def read(self, item: Item) -> list[FeedEvent]:
        """The events of one arrival, in order."""
        match item:
            case Frame():
                return self._judge(self.decoder.read(item), item.received_at)
            case ChannelOpened(channel=channel, at=at):
                self._watchdog.opened(channel, at)
                return []
            case ChannelLost(channel=channel, at=at, reason=reason):
                return list(self._watchdog.lose(channel, at, reason))

    def check(self, now: Nanos) -> list[FeedEvent]:
        """The events of time passing; call it every :data:`CHECK_EVERY`."""
        return [*self._judge(self.decoder.tick(now), now), *self._watchdog.check(now)]

    def renewals(self, now: Nanos) -> list[str]:
        """Channels whose connection should be replaced."""
        return self._watchdog.renewals(now)

    def health(self, now: Nanos) -> list[StreamHealth]:
        """How old each stream's newest data is, and whether it is lost."""
        return self._watchdog.health(now)

    def _judge(self, found: list[FeedEvent | Gap], at: Nanos) -> list[FeedEvent]:
        events: list[FeedEvent] = []
        for event in found:
            match event:
                case Gap(instrument_id=instrument_id, kind=kind, reason=reason):
                    if lost := self._watchdog.lose_one(instrument_id, kind, event.at, reason):
                        events.append(lost)
                    continue
                case Refused(channel=channel, name=name, message=message):
                    events += self._watchdog.lose(channel, event.at, f"refused: {name} {message}")
            events.append(event)
            if verdict := self._proof(event, at):
                events.append(verdict)
        return events

    def _proof(self, event: FeedEvent, at: Nanos) -> FeedLost | FeedBack | None:
        """What the arrival of this event says about its stream."""
        if isinstance(event, NO_PROOF):
            return None
        venue_at = event.received_at if isinstance(event, Candle) else event.venue_at
        return self._watchdog.saw(event.instrument_id, KINDS[type(event)], venue_at, at)
