"""Funding as it is expected, minute by minute; the settled rates come from the venue's own record with each repair."""

from __future__ import annotations

from collections.abc import Sequence

from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.instruments import InstrumentId
from kimp.shared.domain.ticks import MarkPrice
from kimp.shared.domain.time import MINUTE, SECOND, Nanos
from kimp.storage.collectors.markets import Collector, Desk, MakeFeed
from kimp.storage.database.rows import Row
from kimp.storage.feeds.events import FeedEvent

MARK_LIMIT: Nanos = 15 * SECOND
SAMPLED_EVERY: Nanos = MINUTE
"""The venue pushes its expectation every second; a minute is finer than anything that is decided on it."""


class FundingCollector(Collector):
    """The rate expected at the next settlement, once a minute, and at once when the settlement changes."""

    name = "funding"

    def __init__(self, make_feed: MakeFeed, desk: Desk, contracts: Sequence[InstrumentId]) -> None:
        super().__init__(make_feed, desk)
        self._told: dict[InstrumentId, FundingRate] = {}
        for contract in contracts:
            desk.pulses.expect(f"{contract} mark", MARK_LIMIT)

    def _rows(self, event: FeedEvent) -> Sequence[Row]:
        if not isinstance(event, MarkPrice):
            return super()._rows(event)
        self._desk.pulses.beat(f"{event.instrument_id} mark", event.venue_at)
        if event.funding_rate is None or event.settles_at is None:
            return ()
        last = self._told.get(event.instrument_id)
        is_due = last is None or event.received_at - last.at >= SAMPLED_EVERY or event.settles_at != last.settles_at
        if not is_due:
            return ()
        told = FundingRate(event.instrument_id, event.funding_rate, event.received_at, event.settles_at)
        self._told[event.instrument_id] = told
        return (told,)
