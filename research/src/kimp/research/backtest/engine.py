"""Runs the engine that trades over recorded or simulated market data, and reports what it did.

Nothing here decides: the tape says what was known when, the simulated venues say what an order got, and the engine is
the one that trades. Its time and the tape's are measured apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import blake2b
from time import perf_counter
from typing import Any

import msgspec

from kimp.order.engine.engine import Assignment, TradingEngine
from kimp.order.engine.settings import EngineSettings
from kimp.research.backtest.curves import curves_of, funding_of
from kimp.research.backtest.result import BacktestResult
from kimp.research.backtest.tape import Settlement, Tape
from kimp.research.backtest.trades import open_trade, trades_of
from kimp.research.backtest.treasury import Rebalance, Treasury
from kimp.research.simulation.faults import Faults, NoFaults
from kimp.research.simulation.latency import FixedLatency, LatencyModel
from kimp.research.simulation.margin import MarginRules
from kimp.research.simulation.slippage import FixedSlippage, SlippageModel
from kimp.research.simulation.venue import SimulatedVenue
from kimp.research.simulation.world import World
from kimp.shared.domain.history import MarketData
from kimp.shared.domain.instruments import Pair, default_pair
from kimp.shared.domain.positions import Purpose
from kimp.shared.domain.signals import Direction
from kimp.shared.domain.time import SECOND, show
from kimp.shared.errors import ValidationFailed
from kimp.shared.messages.records import OrderIntended, Record
from kimp.shared.ports.strategy import Strategy

Progress = Callable[[int, int], None]
"""Called now and then with (bars done, bars in all)."""

PROGRESS_EVERY = 4_096


@dataclass(frozen=True, slots=True)
class BacktestSettings:
    """The assumptions of a run. ``capital`` is KRW in all, split between the venues by leverage at the start."""

    capital: Decimal = Decimal(20_000_000)
    engine: EngineSettings = field(default_factory=EngineSettings)
    slippage: SlippageModel = field(default_factory=FixedSlippage)
    latency: LatencyModel = field(default_factory=FixedLatency)
    rebalance: Rebalance = Rebalance.WHEN_FLAT
    faults: Faults = field(default_factory=NoFaults)


class BacktestEngine:
    """One strategy, one pair, one recording."""

    def __init__(
        self,
        data: MarketData,
        strategy: Strategy,
        direction: Direction,
        settings: BacktestSettings | None = None,
        pair: Pair | None = None,
    ) -> None:
        self.data = data
        self.strategy = strategy
        self.direction = direction
        self.settings = settings or BacktestSettings()
        self.pair = pair or default_pair(data.base)
        self.tape = Tape(data, self.pair, self.settings.slippage)
        self.trading = TradingEngine([Assignment(strategy, self.pair)], self.settings.engine)
        margin = MarginRules(leverage=self.settings.engine.leverage)
        self.world = World(
            self.trading,
            [
                SimulatedVenue(self.pair.korea.venue, [self.pair.korea], {}),
                SimulatedVenue(self.pair.abroad.venue, [self.pair.abroad], {}, margin),
            ],
            latency=self.settings.latency,
            faults=self.settings.faults,
        )
        self.treasury = Treasury(self.world, self.trading, self.pair, direction, self.settings.capital)

    def run(
        self, *, preset: str = "custom", meta: dict[str, Any] | None = None, progress: Progress | None = None
    ) -> BacktestResult:
        """Play the whole tape and gather the result.

        Raises:
            ValidationFailed: the capital never suffices for one lot.
        """
        began = perf_counter()
        self._play(progress)
        elapsed = perf_counter() - began
        self._check_size()
        return self._result(preset, meta or {}, elapsed - self.tape.build_s)

    def _play(self, progress: Progress | None) -> None:
        """The inner loop: before each close, what is under way meets the bar's open."""
        world, tape, treasury = self.world, self.tape, self.treasury
        settlements = iter(tape.settlements())
        due = next(settlements, None)
        total = len(tape)
        for index, event in enumerate(tape):
            if world.is_busy:
                world.show(tape.opened(index), event.at - self.data.interval)
            if due is not None and due.at <= event.at:
                due = self._settle(due, settlements, event.at)
            world.move(event)
            if event.at >= treasury.next_look:
                treasury.look(event.at, self.settings.rebalance)
            if progress is not None and index % PROGRESS_EVERY == 0:
                progress(index, total)
        world.run_until(world.now + 60 * SECOND)
        if progress is not None:
            progress(total, total)

    def _settle(self, due: Settlement | None, later: Any, at: int) -> Settlement | None:
        while due is not None and due.at <= at:
            self.world.run_until(due.at)
            self.world.settle_at(due.instrument_id, due.rate, due.at)
            due = next(later, None)
        return due

    def _check_size(self) -> None:
        traded = any(slot.closed or slot.position for slot in self.trading.state.slots.values())
        too_small = self.trading.refusals.get("too_small", 0)
        if too_small and not traded:
            raise ValidationFailed(
                f"{self.settings.capital:,f} KRW is too little for one lot of {self.pair.symbol} "
                f"({self.pair.lot} {self.pair.symbol} on both legs): {too_small} entries were refused; raise --capital"
            )

    def _result(self, preset: str, meta: dict[str, Any], engine_s: float) -> BacktestResult:
        records = self.world.records
        desk = self.trading.desks[0]
        curves = curves_of(self.tape, records, desk.slot, self.pair, self.settings)
        funding_at, funding_paid = funding_of(records)
        return BacktestResult(
            preset=preset,
            direction=self.direction.value,
            start=self.data.start,
            end=self.data.end,
            bars=len(self.tape),
            capital=self.settings.capital,
            curves=curves,
            trades=trades_of(desk.slot, records, self.pair),
            open_position=open_trade(desk, records, self.tape, self.pair),
            funding_at=funding_at,
            funding_paid=funding_paid,
            refusals=dict(sorted(self.trading.refusals.items())),
            repairs=repairs_in(records),
            assumptions=self._assumptions(),
            decision_hash=decision_hash(records, self.trading.refusals),
            elapsed_tape_s=self.tape.build_s,
            elapsed_engine_s=engine_s,
            meta=meta,
        )

    def _assumptions(self) -> dict[str, str]:
        settings, sources = self.settings, self.data.sources
        fees = f"{self.pair.korea.fee_rate:.4%} Upbit, {self.pair.abroad.fee_rate:.4%} Binance, per fill"
        official = sources.get("usdkrw", "recorded")
        tether = sources.get("usdtkrw", "recorded") if self.data.usdtkrw is not None else None
        return {
            "period": f"{show(self.data.start)} – {show(self.data.end)}",
            "fees": fees,
            "slippage_model": settings.slippage.describe(),
            "fill_rule": "decided at a bar's close, filled at the next bar's open (limit IOC)",
            "fx_source": official,
            "valuation": f"KRW-USDT: {tether}" if tether else "official rate; KRW-USDT was not recorded",
            "funding_source": sources.get("funding", "recorded settlements"),
            "margin": f"{settings.engine.leverage}x, cross, liquidation simulated",
            "rebalancing": settings.rebalance.describe(),
            "idle_usdt": "the exchange-rate gain of idle USDT is the owner's, not the strategy's, and is left out",
            "annualisation": "365 d",
        }


def decision_hash(records: list[Record], refusals: dict[str, int]) -> str:
    """One hash over everything that was decided, sent, filled and refused: equal for equal runs, whatever the hash seed."""
    encoder = msgspec.msgpack.Encoder()
    digest = blake2b(digest_size=16)
    for record in records:
        digest.update(encoder.encode(record))
    digest.update(encoder.encode(sorted(refusals.items())))
    return digest.hexdigest()


def repairs_in(records: list[Record]) -> int:
    """How many repair orders were sent."""
    return sum(1 for record in records if isinstance(record, OrderIntended) and record.purpose is Purpose.REPAIR)
