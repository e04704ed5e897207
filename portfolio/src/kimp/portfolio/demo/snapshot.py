"""One moment of the demo in figures: what the screen shows is made from this and from nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from kimp.portfolio.demo.books import Account, accounts_of
from kimp.portfolio.demo.scenario import Stage
from kimp.portfolio.demo.story import Line, Story
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.positions import ExitVerdict
from kimp.shared.domain.premium import Basis
from kimp.shared.domain.signals import Signal
from kimp.shared.domain.time import DAY, Nanos
from kimp.shared.messages.records import Phase


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Prices in their quote assets, premiums as mid fractions, money in KRW; ``None`` while not known."""

    at: Nanos
    day: int
    days: int
    done: float
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
    closed: int
    earned: Decimal
    equity: tuple[float, ...]
    capital: Decimal
    accounts: tuple[Account, ...]
    is_busy: bool
    lines: tuple[Line, ...]


class Observer:
    """Takes snapshots and remembers the equity of those before."""

    def __init__(self, stage: Stage, story: Story) -> None:
        self._stage = stage
        self._story = story
        self._equity: list[float] = []

    def look(self, at: Nanos) -> Snapshot:
        """The state of everything now."""
        scenario, engine = self._stage.scenario, self._stage.backtest.trading
        desk, market, pair = engine.desks[0], engine.market, self._stage.backtest.pair
        korea, abroad = market.mark(pair.korea), market.mark(pair.abroad)
        rates = {basis: market.rate(basis) for basis in Basis}
        position, funding = desk.slot.position, market.funding.get(pair.abroad.id)
        now = self.equity()
        if now is not None:
            self._equity.append(now)
        return Snapshot(
            at=at,
            day=min(scenario.days, (at - scenario.start) // DAY + 1),
            days=scenario.days,
            done=min(1.0, (at - scenario.start) / (scenario.end - scenario.start)),
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
            closed=len(desk.slot.closed),
            earned=sum((pair.breakdown.net for pair in desk.slot.closed), ZERO),
            equity=tuple(self._equity),
            capital=scenario.capital,
            accounts=accounts_of(self._stage.backtest),
            is_busy=self._stage.backtest.world.is_busy,
            lines=tuple(self._story.lines[-40:]),
        )

    def equity(self) -> float | None:
        """Capital, what closed pairs earned, and the open one at the mids; ``None`` while there is no price."""
        engine, pair = self._stage.backtest.trading, self._stage.backtest.pair
        slot = engine.desks[0].slot
        earned = sum((closed.breakdown.net for closed in slot.closed), self._stage.scenario.capital)
        if slot.position is None:
            return float(earned)
        korea, abroad = engine.market.mark(pair.korea), engine.market.mark(pair.abroad)
        if korea is None or abroad is None:
            return None
        return float(earned + slot.position.breakdown({pair.korea.id: korea, pair.abroad.id: abroad}).net)
