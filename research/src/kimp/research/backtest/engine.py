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
from kimp.shared.domain.instruments import Pair, Side, default_pair
from kimp.shared.domain.money import ONE, exact
from kimp.shared.domain.positions import Purpose
from kimp.shared.domain.signals import Direction
from kimp.shared.domain.time import MINUTE, Nanos, show
from kimp.shared.errors import ValidationFailed
from kimp.shared.messages.events import MarketMoved
from kimp.shared.messages.records import FillBooked, OrderIntended, Record
from kimp.shared.ports.strategy import Strategy

Progress = Callable[[int, int], None]
"""Called now and then with (bars done, bars in all)."""

PROGRESS_EVERY = 1_024

MARGIN_FOR_PRICE_MOVES = Decimal("1.02")
"""Fees and the limits' slippage, on top of the dearest lot, when a sufficient capital is suggested."""

BUYING_BACK = {
    "buying_back": "코인과 되살 원화를 업비트에 둠 · the owner keeps coins, and the KRW to buy them back, on Upbit"
}


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
        """The inner loop: what is under way meets the bar's open, then funding settles, then the close is decided on."""
        world, tape, treasury = self.world, self.tape, self.treasury
        self._fund()
        settlements = iter(tape.settlements())
        due = next(settlements, None)
        total = len(tape)
        for index, event in enumerate(tape):
            if world.is_busy:
                self._open(index, event.at - self.data.interval)
            while due is not None and due.at <= event.at:
                self._settle(due, event)
                due = next(settlements, None)
            world.move(event)
            if event.at >= treasury.next_look:
                treasury.look(event.at, self.settings.rebalance)
            if progress is not None and index % PROGRESS_EVERY == 0:
                progress(index, total)
        # What the last close decided would fill at an open nobody recorded: it finds nothing and ends.
        world.show(tape.empty(total - 1), world.now)
        world.run_until(world.now + MINUTE)
        if progress is not None:
            progress(total, total)

    def _fund(self) -> None:
        asset = self.settings.engine.valuation_basis.asset
        coin, usdt = exact(float(self.data.korea.open[0])), self.tape.krw_rate_at(asset, self.data.start)
        self.treasury.fund(self.data.start, coin, usdt)

    def _open(self, index: int, at: Nanos) -> None:
        """Show the venues the bar's open; orders sent into a pause before it find nobody to trade with."""
        if self.world.now < at:
            self.world.show(self.tape.empty(index - 1), self.world.now)
            self.world.run_until(at)
        self.world.show(self.tape.opened(index), at)

    def _settle(self, due: Settlement, event: MarketMoved) -> None:
        """Settle funding at the price of that moment, which is the close of the bar that ends there."""
        self.world.run_until(due.at)
        if due.at == event.at:
            self.world.show(event.books, event.at)
        self.world.settle_at(due.instrument_id, due.rate, due.at)

    def _check_size(self) -> None:
        traded = any(slot.closed or slot.position for slot in self.trading.state.slots.values())
        if not self.trading.refusals.get("too_small", 0) or traded:
            return
        smallest, enough = self._smallest()
        raise ValidationFailed(
            f"{self.settings.capital:,f} KRW is too little: the smallest pair is {smallest} {self.pair.symbol} on both "
            f"venues; choose a --capital of about {enough:,.0f} or more"
        )

    def _smallest(self) -> tuple[Decimal, Decimal]:
        """The smallest pair both venues accept at any price of the tape (coins), and a capital (KRW) that suffices."""
        settings, lot = self.settings.engine, self.pair.lot
        cheapest = exact(float(self.data.abroad.close.min())) * (ONE - settings.slippage_max)
        lots = max(ONE, self.pair.abroad.rules.minimum_notional / cheapest // lot + 1)
        worth = lots * lot * exact(float(self.data.korea.close.max())) / settings.capital_share
        enough = worth * (ONE + ONE / settings.leverage) * MARGIN_FOR_PRICE_MOVES
        return lots * lot, (enough // 1_000 + 1) * 1_000

    def _result(self, preset: str, meta: dict[str, Any], engine_s: float) -> BacktestResult:
        records = self.world.records
        desk = self.trading.desks[0]
        curves = curves_of(self.tape, records, desk.slot, self.pair, self.settings)
        signal_asset = self.settings.engine.signal_basis.asset

        def rate_at(at: Nanos) -> Decimal:
            return self.tape.krw_rate_at(signal_asset, at)

        funding_at, funding_received = funding_of(records)
        return BacktestResult(
            preset=preset,
            direction=self.direction.value,
            start=self.data.start,
            end=self.data.end,
            bars=len(self.tape),
            capital=self.settings.capital,
            curves=curves,
            trades=trades_of(desk.slot, records, self.pair, rate_at),
            open_position=open_trade(desk, records, self.pair, rate_at, int(self.tape.closed_at[-1])),
            funding_at=funding_at,
            funding_received=funding_received,
            refusals=dict(sorted(self.trading.refusals.items())),
            repairs=repairs_in(records),
            assumptions=self._assumptions(),
            decision_hash=decision_hash(records, self.trading.refusals),
            elapsed_tape_s=self.tape.build_s,
            elapsed_engine_s=engine_s,
            meta=meta,
            liquidations=liquidations_in(records),
        )

    def _assumptions(self) -> dict[str, str]:
        settings, sources = self.settings, self.data.sources
        tether = sources.get("usdtkrw", "recorded") if self.data.usdtkrw is not None else None
        return {
            "period": f"{show(self.data.start)[:16]} – {show(self.data.end)[:16]} KST",
            "fees": f"{self.pair.korea.fee_rate:.4%} Upbit, {self.pair.abroad.fee_rate:.4%} Binance, 체결당 · per fill",
            "slippage_model": settings.slippage.describe(),
            "fill_rule": "종가에 판단해 다음 봉 시가에 체결 · decided at a close, filled at the next open (limit IOC)",
            "fx_source": sources.get("usdkrw", "recorded"),
            "valuation": f"KRW-USDT: {tether}"
            if tether
            else "KRW-USDT 기록 없음, 공식 환율로 평가 · KRW-USDT was not recorded, the official rate stands in",
            "funding_source": sources.get("funding", "recorded settlements"),
            "margin": f"{settings.engine.leverage}x, 교차 증거금, 종가마다 청산 검사 · cross, liquidation checked at every "
            "close",
            "rebalancing": settings.rebalance.describe(),
            "idle_usdt": "놀고 있는 USDT의 환차손익은 제외 · the exchange-rate gain of idle USDT is left out",
            **(BUYING_BACK if self.direction.korea_side is Side.SELL else {}),
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


def liquidations_in(records: list[Record]) -> int:
    """How often a venue closed a contract by itself: orders that nobody here sent."""
    foreign = (r for r in records if isinstance(r, FillBooked) and r.purpose is Purpose.FOREIGN)
    return len({record.fill.client_id for record in foreign})
