"""The account's own lists of trades and funding, read again and again: what the stream missed is told from them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable

from kimp.order.exchanges.binance_history import BinanceHistory
from kimp.shared.domain.instruments import InstrumentId
from kimp.shared.domain.orders import Fill
from kimp.shared.domain.time import HOUR, MINUTE, SECOND, Nanos
from kimp.shared.messages.events import Event, FundingPaid, OrderFilled
from kimp.shared.ports.clock import Clock

TRADES_EVERY: Nanos = MINUTE
"""How often the trade list is compared with what was told: five weights a minute per instrument, of 2,400."""
TRADES_OVERLAP: Nanos = MINUTE
"""The list is read from a little before the last time: it lags, and clocks differ."""
FUNDING_EVERY: Nanos = 10 * MINUTE
FUNDING_PHASE: Nanos = MINUTE
"""Settlements are on the hour, every 8, 4 or 1 hours, and booked within a minute: look at :01, :11, :21 …"""
FUNDING_OVERLAP: Nanos = 2 * HOUR
"""A record may appear late, and one settlement seen again costs nothing."""
RETRY_AFTER: Nanos = 5 * SECOND
TICK: Nanos = SECOND // 2
TOLD_MAX = 10_000
"""Trades and payments remembered as told; an older one told again does no harm."""

Suspicion = Callable[[Fill], Awaitable[None]]
"""Is told of each trade that stands in the list and was not told by the stream."""


class AccountLists:
    """Reads both lists when due and tells what was not told yet. Every reading begins where the last good one did."""

    def __init__(self, history: BinanceHistory, instrument_ids: Iterable[InstrumentId], clock: Clock) -> None:
        now = clock.now()
        self._history = history
        self._clock = clock
        self._told: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._trades_from: dict[InstrumentId, Nanos] = dict.fromkeys(instrument_ids, now)
        self._funding_from: Nanos = now
        self._trades_due = self._funding_due = now

    def read_at(self, at: Nanos) -> None:
        """Read both lists at that time at the latest."""
        self.trades_at(at)
        self.funding_at(at)

    def trades_at(self, at: Nanos) -> None:
        """Read the trades at that time at the latest."""
        self._trades_due = min(self._trades_due, at)

    def funding_at(self, at: Nanos) -> None:
        """Read the funding at that time at the latest."""
        self._funding_due = min(self._funding_due, at)

    def note(self, fill: Fill) -> bool:
        """The stream tells this trade; its instrument is watched from now on. False when it was told before."""
        self._trades_from.setdefault(fill.instrument_id, fill.at)
        return self._is_new(fill.instrument_id, fill.trade_id)

    async def run(self, outbox: asyncio.Queue[Event], suspect: Suspicion) -> None:
        """Read what is due, for ever."""
        while True:
            now = self._clock.now()
            if now >= self._trades_due:
                self._trades_due = now + TRADES_EVERY
                if not await self._read_trades(outbox, suspect):
                    self.trades_at(self._clock.now() + RETRY_AFTER)
            if now >= self._funding_due:
                self._funding_due = next_funding(now)
                if not await self._read_funding(outbox):
                    self.funding_at(self._clock.now() + RETRY_AFTER)
            await self._clock.sleep_until(now + TICK)

    async def _read_trades(self, outbox: asyncio.Queue[Event], suspect: Suspicion) -> bool:
        is_whole = True
        for instrument_id, since in list(self._trades_from.items()):
            asked_at = self._clock.now()
            fills = await self._history.fills_since(instrument_id, since - TRADES_OVERLAP)
            if fills is None:
                is_whole = False
                continue
            self._trades_from[instrument_id] = asked_at
            for fill in fills:
                if self._is_new(instrument_id, fill.trade_id):
                    await outbox.put(OrderFilled(self._clock.now(), fill))
                    await suspect(fill)
        return is_whole

    async def _read_funding(self, outbox: asyncio.Queue[Event]) -> bool:
        asked_at = self._clock.now()
        payments = await self._history.funding_since(self._funding_from - FUNDING_OVERLAP)
        if payments is None:
            return False
        self._funding_from = asked_at
        for payment in payments:
            if self._is_new("funding", payment.payment_id):
                await outbox.put(FundingPaid(self._clock.now(), payment))
        return True

    def _is_new(self, kind: str, name: str) -> bool:
        if (kind, name) in self._told:
            return False
        self._told[kind, name] = None
        while len(self._told) > TOLD_MAX:
            self._told.popitem(last=False)
        return True


def next_funding(now: Nanos) -> Nanos:
    """The next time to look for settlements: one minute after every ten minutes of the hour."""
    return (now - FUNDING_PHASE) // FUNDING_EVERY * FUNDING_EVERY + FUNDING_EVERY + FUNDING_PHASE
