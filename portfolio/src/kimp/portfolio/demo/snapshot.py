"""One moment of the demo in figures: what the screen shows is made from this and from nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from kimp.order.engine.engine import TradingEngine
from kimp.portfolio.demo.books import Account, accounts_of
from kimp.portfolio.demo.stage import Stage
from kimp.portfolio.demo.story import Line, Story
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.positions import ExitVerdict
from kimp.shared.domain.premium import Basis
from kimp.shared.domain.signals import Refusal, Signal
from kimp.shared.domain.time import Nanos
from kimp.shared.messages.records import Phase
from kimp.shared.ports.strategy import Condition

LINES_MAX = 40
"""More than the tallest terminal shows."""

EQUITY_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Prices in their quote assets, premiums as mid fractions, money in KRW; ``None`` while not known.

    ``doubts`` are why the market is not decided on now; ``conditions`` what the strategy compares.
    """

    at: Nanos
    done: float
    speed: int
    seed: int
    korea: Decimal | None
    abroad: Decimal | None
    rates: dict[Basis, Decimal | None]
    premiums: dict[Basis, Decimal | None]
    funding: Decimal | None
    phase: Phase
    quantity: Decimal
    verdict: ExitVerdict | None
    received: Decimal
    signal: Signal | None
    doubts: tuple[Refusal, ...]
    conditions: tuple[Condition, ...]
    closed: int
    earned: Decimal
    equity: tuple[float, ...]
    accounts: tuple[Account, ...]
    is_busy: bool
    records: int
    lines: tuple[Line, ...]


class Observer:
    """Takes snapshots and remembers the equity of those before."""

    def __init__(self, stage: Stage, story: Story) -> None:
        self._stage = stage
        self._story = story
        self._equity: list[float] = []

    def look(self) -> Snapshot | None:
        """The state of everything now; ``None`` before the first trader is there."""
        engine = self._stage.engine
        if engine is None:
            return None
        at, scenario = self._stage.clock.now(), self._stage.scenario
        desk, market = engine.desks[0], engine.market
        korea, abroad = market.mark(desk.pair.korea), market.mark(desk.pair.abroad)
        rates = {basis: market.rate(basis) for basis in Basis}
        position, funding = desk.slot.position, market.funding.get(desk.pair.abroad.id)
        equity = self.equity(engine)
        if equity is not None:
            self._equity = [*self._equity, equity][-EQUITY_MAX:]
        seen = desk.sight(at)
        return Snapshot(
            at=at,
            done=min(1.0, (at - scenario.start) / scenario.length),
            speed=scenario.speed,
            seed=scenario.seed,
            korea=korea.price if korea else None,
            abroad=abroad.price if abroad else None,
            rates=rates,
            premiums={
                basis: korea.price / (abroad.price * rate) - 1 if korea and abroad and rate else None
                for basis, rate in rates.items()
            },
            funding=None if funding is None else funding.rate,
            phase=desk.slot.phase,
            quantity=max((abs(leg.quantity) for leg in position.legs), default=ZERO) if position else ZERO,
            verdict=desk.verdict(at),
            received=position.funding_krw if position else ZERO,
            signal=desk.last_signal,
            doubts=tuple(market.undecidable(desk.pair, at)),
            conditions=() if seen is None else desk.strategy.explain(*seen),
            closed=len(desk.slot.closed),
            earned=sum((pair.breakdown.net for pair in desk.slot.closed), ZERO),
            equity=tuple(self._equity),
            accounts=accounts_of(engine, self._stage.venues.exchanges),
            is_busy=bool(engine.state.unsettled) or desk.slot.phase not in (Phase.FLAT, Phase.OPEN),
            records=engine.state.version,
            lines=tuple(self._story.lines[-LINES_MAX:]),
        )

    def equity(self, engine: TradingEngine) -> float | None:
        """What was brought in at today's rate, what closed pairs earned, and the open one at the mids (KRW).

        ``None`` while there is no price.
        """
        desk, rate = engine.desks[0], engine.market.rate(Basis.USDT)
        if rate is None:
            return None
        capital = self._stage.capital
        earned = sum((closed.breakdown.net for closed in desk.slot.closed), ZERO)
        total = capital.get("KRW", ZERO) + capital.get("USDT", ZERO) * rate + earned
        if desk.slot.position is None:
            return float(total)
        korea, abroad = engine.market.mark(desk.pair.korea), engine.market.mark(desk.pair.abroad)
        if korea is None or abroad is None:
            return None
        marks = {desk.pair.korea.id: korea, desk.pair.abroad.id: abroad}
        return float(total + desk.slot.position.breakdown(marks).net)
