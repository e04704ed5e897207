"""Looks without touching: preflight checks and a reconciliation that books nothing, for a trader that runs or rests."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from kimp.order.engine.engine import Assignment, TradingEngine
from kimp.order.engine.settings import engine_settings
from kimp.order.modes import MODES, Surroundings, Wiring
from kimp.order.operators.notifier import LogNotifier
from kimp.order.runtime.journal import SqliteJournal
from kimp.order.runtime.place import TradePlace
from kimp.order.runtime.preflight import Grounds, preflight
from kimp.order.runtime.pulse import read_pulse
from kimp.order.runtime.reconcile import Reconciler
from kimp.order.runtime.reconciliation import Reconciliation
from kimp.order.runtime.switch import FileSwitch
from kimp.order.runtime.trade_lock import holder_of
from kimp.order.trading import ruled
from kimp.shared.domain.accounts import Check
from kimp.shared.domain.instruments import Pair
from kimp.shared.domain.time import SECOND
from kimp.shared.errors import NotRunning
from kimp.shared.messages.events import Event
from kimp.shared.pairs import traded_pairs
from kimp.shared.plugins import strategy_of
from kimp.shared.settings import Settings
from kimp.storage.database.pool import Database
from kimp.storage.feeds.clocks import SystemClock


async def examined(mode: str, settings: Settings, place: TradePlace, *, has_market: bool) -> tuple[Check, ...]:
    """Everything preflight looks at, without a trader; of a paper trader that runs, its venues are left alone."""
    clock = SystemClock()
    async with _wired(mode, settings, place, is_scratch=True) as (wiring, pairs):
        return await preflight(
            Grounds(
                mode=mode,
                settings=settings,
                exchanges=wiring.exchanges,
                pairs=pairs,
                place=place,
                switch=FileSwitch(place.switch, clock),
                clock=clock,
                market=wiring.market if has_market else None,
                database=Database.of(settings) if settings.trade.mirror else None,
            )
        )


async def reconciled(mode: str, settings: Settings, place: TradePlace) -> Reconciliation:
    """What the running trader last found; where none runs, what its journal says beside the venues now.

    Raises:
        NotRunning: no trader has ever run in this mode, or the running one has not reconciled yet.
    """
    if holder_of(place.lock) is not None:
        found = read_pulse(place.pulse, SystemClock()).reconciliation
        if found is None:
            raise NotRunning("the trader has not reconciled yet; ask again in some seconds")
        return found
    async with _wired(mode, settings, place, is_scratch=False) as (wiring, pairs):
        with SqliteJournal(place.journal, read_only=True) as journal:
            engine = TradingEngine(
                [Assignment(strategy_of(settings), pair) for pair in pairs], engine_settings(settings)
            )
            engine.restore(journal.read(), SystemClock().now())
        reconciler = Reconciler(
            engine,
            wiring.exchanges,
            put=_dropped,
            clock=SystemClock(),
            notifier=LogNotifier(mode),
            every=SECOND,
            may_cancel=False,
        )
        return await reconciler.once()


async def _dropped(_event: Event) -> None:
    """What would be booked is only shown: the next start of the trader books it."""


@asynccontextmanager
async def _wired(
    mode: str, settings: Settings, place: TradePlace, *, is_scratch: bool
) -> AsyncIterator[tuple[Wiring, tuple[Pair, ...]]]:
    """The mode's venues and the pairs by their rules; scratch ones keep virtual venues away from the trader's own."""
    clock, dice = SystemClock(), Random(int.from_bytes(os.urandom(16)))
    pairs = traded_pairs(settings)
    with TemporaryDirectory(prefix="kimp-") as scratch:
        where = TradePlace(Path(scratch)) if is_scratch else place
        async with MODES[mode](Surroundings(settings, pairs, where, clock, dice)) as wiring:
            yield wiring, await ruled(pairs, wiring.exchanges)
