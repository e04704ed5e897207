"""Paper trading against a backtest of the very same minutes: how far apart they are, and which part of it comes from what.

A backtest decides at a minute's close and fills at the next open, beyond a fixed slippage. Paper decides at every quote,
fills 25 ms later against a book with depth, and pays the spread that book has. Nothing here is tuned until it fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kimp.order.engine.settings import engine_settings
from kimp.order.runtime.flight import FlightRun, read_flight
from kimp.order.runtime.journal import SqliteJournal
from kimp.order.runtime.place import trade_place
from kimp.portfolio.alone import CAPITAL, Aftermath, Stay, settings_of
from kimp.research.backtest.engine import BacktestEngine, BacktestSettings
from kimp.research.backtest.result import Trade
from kimp.research.backtest.trades import trades_of
from kimp.research.backtest.treasury import Rebalance
from kimp.research.simulation.latency import FixedLatency
from kimp.research.simulation.slippage import FixedSlippage
from kimp.shared.domain.fx import KRW
from kimp.shared.domain.history import Candles, MarketData, Observations, Times
from kimp.shared.domain.instruments import InstrumentId, Pair
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.orders import ClientId, Fill
from kimp.shared.domain.signals import Direction
from kimp.shared.domain.time import MILLISECOND, MINUTE, Nanos
from kimp.shared.messages.events import MarketMoved
from kimp.shared.plugins import strategy_of
from kimp.shared.settings import Settings

PARTS = ("premium", "fx", "funding", "fees", "slippage")

SAME_ENTRY: Nanos = 2 * MINUTE
"""Entries this close to each other are of the same pair: a backtest is at most a bar behind."""

SPREAD_SHARE = 0.000026
"""Half of what the touches of paper's books lie apart, the mean of both legs: 0.005 % on Upbit, one tick on Binance."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of those compared: its closed pairs, what they earned (KRW) and the parts that add up to it."""

    trades: tuple[Trade, ...]

    @property
    def net(self) -> Decimal:
        """Of all closed pairs (KRW)."""
        return sum((trade.net for trade in self.trades), ZERO)

    @property
    def mean(self) -> Decimal:
        """Per closed pair (KRW)."""
        return self.net / len(self.trades) if self.trades else ZERO

    @property
    def parts(self) -> dict[str, Decimal]:
        """Of all closed pairs together (KRW); they add up to ``net``."""
        return {part: sum((getattr(trade, part) for trade in self.trades), ZERO) for part in PARTS}


@dataclass(frozen=True, slots=True)
class Gap:
    """From the backtest as published to paper, one difference at a time.

    ``tight`` is a backtest whose slippage is only the spread that paper's books have, ``quick`` one that also decides at
    every quote paper was shown, and fills at it. ``depth`` is what paper paid beyond the first price of each order (KRW,
    a cost is negative).
    """

    paper: Side
    backtest: Side
    tight: Side
    quick: Side
    depth: Decimal

    @property
    def total(self) -> Decimal | None:
        """How far paper's net is from the backtest's, as a fraction of it; ``None`` where there is nothing to compare."""
        return _share(self.paper.net, self.backtest.net)

    @property
    def per_pair(self) -> Decimal | None:
        """The same of what a closed pair earned on average."""
        return _share(self.paper.mean, self.backtest.mean)

    @property
    def left(self) -> Decimal | None:
        """What is left of the difference in total once spread and moments of deciding are alike."""
        return _share(self.paper.net, self.quick.net)

    @property
    def causes(self) -> dict[str, Decimal]:
        """The difference in total (KRW) by cause; they add up to it."""
        return {
            "spread": self.tight.net - self.backtest.net,
            "fill_times": self.quick.net - self.tight.net,
            "depth": self.depth,
            "rest": self.paper.net - self.quick.net - self.depth,
        }

    @property
    def matched(self) -> list[tuple[Trade, Trade]]:
        """Pairs that both closed, paper's first and the quick backtest's second: opened within two minutes."""
        return [
            (ours, theirs)
            for ours in self.paper.trades
            for theirs in self.quick.trades
            if abs(ours.opened_at - theirs.opened_at) <= SAME_ENTRY
        ]


def gap_of(stay: Stay, found: Aftermath, directory: Path) -> Gap:
    """Backtest the minutes of a stay, and its own quotes, and hold them against what was found there.

    Raises:
        DataError: the journal or the flight recording cannot be read.
        ValidationFailed: the capital never suffices for one lot.
    """
    settings, pair = settings_of(stay, directory), found.pair
    assert pair is not None
    assert found.slot is not None
    place = trade_place(settings, "paper")
    with SqliteJournal(place.journal, read_only=True) as journal:
        records = list(journal.read())
    (flight,) = read_flight(place.flight)
    runs = [
        _backtest(settings, pair, data, slippage)
        for data, slippage in (
            (stay.data, float(settings.costs.slippage)),
            (stay.data, SPREAD_SHARE),
            (quotes_of(flight, stay, pair), SPREAD_SHARE),
        )
    ]
    limits, tape = engine_settings(settings), runs[0].tape
    trades = trades_of(found.slot, records, pair, lambda at: tape.krw_rate_at(limits.signal_basis.asset, at))
    rate = tape.krw_rate_at(limits.valuation_basis.asset, stay.data.start)
    published, tight, quick = (Side(run.run().trades) for run in runs)
    return Gap(Side(trades), published, tight, quick, -depth_paid(found.fills, rate))


def _backtest(settings: Settings, pair: Pair, data: MarketData, slippage: float) -> BacktestEngine:
    return BacktestEngine(
        data,
        strategy_of(settings),
        Direction(settings.strategy.direction),
        BacktestSettings(
            capital=CAPITAL,
            engine=engine_settings(settings),
            slippage=FixedSlippage(slippage),
            latency=FixedLatency(settings.paper.latency_ms * MILLISECOND),
            rebalance=Rebalance.NEVER,
        ),
        pair,
    )


def quotes_of(flight: FlightRun, stay: Stay, pair: Pair) -> MarketData:
    """The quotes of a recorded run as bars from one to the next: decided on at a quote, filled at it a moment later."""
    times: list[Nanos] = []
    mids: dict[InstrumentId, list[float]] = {pair.korea.id: [], pair.abroad.id: []}
    for event in flight.events():
        if isinstance(event, MarketMoved) and len(event.books) == len(mids):
            times.append(event.at)
            for book in event.books:
                mids[book.instrument_id].append(float(book.mid()))
    at = np.array(times, dtype=np.int64)
    follows = np.flatnonzero(np.diff(at) == stay.every)
    data = stay.data
    assert data.usdtkrw is not None
    return replace(
        data,
        interval=stay.every,
        korea=_bars(at, mids[pair.korea.id], follows),
        abroad=_bars(at, mids[pair.abroad.id], follows),
        usdtkrw=_held(data.usdtkrw, at),
    )


def _bars(at: Times, mids: list[float], follows: NDArray[np.intp]) -> Candles:
    prices = np.array(mids)
    begin, end = prices[follows], prices[follows + 1]
    return Candles(at[follows], begin, np.maximum(begin, end), np.minimum(begin, end), end, np.ones(len(follows)))


def _held(observed: Observations, at: Times) -> Observations:
    """The rate as last heard at every quote: it is told that often, and would count as silent otherwise."""
    known = at[at >= observed.at[0]]
    return Observations(known, observed.value[np.searchsorted(observed.at, known, side="right") - 1])


def depth_paid(fills: Iterable[Fill], krw_rate: Decimal) -> Decimal:
    """What orders paid because their first level did not hold all of them (KRW), at one rate for all of them."""
    orders: dict[ClientId, list[Fill]] = {}
    for fill in fills:
        orders.setdefault(fill.client_id, []).append(fill)
    return sum((_walked(order, krw_rate) for order in orders.values()), ZERO)


def _walked(order: Sequence[Fill], krw_rate: Decimal) -> Decimal:
    first = order[0]
    worse = sum(((fill.price - first.price) * fill.side.sign * fill.quantity for fill in order), ZERO)
    return worse if first.fee.asset == KRW else worse * krw_rate


def _share(ours: Decimal, theirs: Decimal) -> Decimal | None:
    return (ours - theirs) / abs(theirs) if theirs else None
