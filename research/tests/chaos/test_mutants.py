"""Engines with one planted fault each: the storms must catch every one of them, and never the real engine."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from kimp.order.engine.engine import Assignment, TradingEngine
from kimp.order.engine.executor import OrderExecutor
from kimp.order.engine.exit_validator import ExitValidator, worst_limit
from kimp.order.engine.repair import imbalance
from kimp.order.engine.settings import EngineSettings
from kimp.order.engine.state import Slot
from kimp.research.chaos.storm import EngineFactory, StormReport, run_storm
from kimp.shared.domain.books import Book
from kimp.shared.domain.funding import FundingPayment
from kimp.shared.domain.instruments import Pair, Side
from kimp.shared.domain.ledger import Entry, Ledger
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.orders import OrderReport, OrderStatus, Outcome, Rejected, Unknown
from kimp.shared.domain.positions import ExitVerdict, LegPlan, Position
from kimp.shared.domain.signals import Direction
from kimp.shared.domain.time import MINUTE
from kimp.shared.messages.records import OrderLost
from kimp.shared.ports.strategy import Strategy

SEEDS = range(40)
LASTS = 20 * MINUTE


class TakesUnknownForRejected(OrderExecutor):
    """A timeout is taken for a no."""

    def on_answer(self, client_id: str, outcome: Outcome, at: int) -> None:
        super().on_answer(client_id, Rejected("timeout", "") if isinstance(outcome, Unknown) else outcome, at)


class RepairsNothing(OrderExecutor):
    """A naked leg is left as it is."""

    def repair(self, slot: Slot, at: int) -> None:
        if imbalance(slot) == ZERO:
            super().repair(slot, at)


class RetriesBlindly(OrderExecutor):
    """A timeout is answered with the same order under a new id."""

    def on_answer(self, client_id: str, outcome: Outcome, at: int) -> None:
        tracked = self._state.orders.get(client_id)
        if tracked is None or tracked.is_settled or not isinstance(outcome, Unknown):
            super().on_answer(client_id, outcome, at)
            return
        self._out.record(OrderLost(at, client_id))
        order = tracked.order
        leg = LegPlan(
            order.instrument_id, order.side, order.quantity, order.limit, tracked.reference, order.reduce_only
        )
        self._send(self._state.slots[tracked.slot], (leg,), tracked.purpose, at)


class ResendsTheSame(OrderExecutor):
    """A timeout is answered with the same order under the same id."""

    def on_answer(self, client_id: str, outcome: Outcome, at: int) -> None:
        super().on_answer(client_id, outcome, at)
        if isinstance(outcome, Unknown):
            self._out.place((self._state.orders[client_id].order,), is_urgent=True)


class TrustsDone(OrderExecutor):
    """A final report is believed although its fills have not been seen."""

    def on_report(self, report: OrderReport, at: int) -> None:
        tracked = self._state.orders.get(report.client_id)
        if tracked is not None and report.status is OrderStatus.DONE and not report.fills:
            tracked.filled = max(tracked.filled, report.executed)
        super().on_report(report, at)


class MissesFunding(OrderExecutor):
    """Funding is nobody's business."""

    def on_funding(self, payment: FundingPayment, at: int) -> None:
        """Nothing."""


class AsksNothingAfterARestart(OrderExecutor):
    """A new process takes it that the old one had finished."""

    def resume(self, slot: Slot, at: int) -> None:
        """Nothing."""


class ForgetsOrders(OrderExecutor):
    """One denial is enough to give an order up."""

    def _on_absent(self, tracked: Any, at: int) -> None:
        if not tracked.is_settled:
            self._out.record(OrderLost(at, tracked.order.client_id))


class FloatLedger(Ledger):
    """Money in binary fractions."""

    def post(self, entry: Entry) -> bool:
        sums = {
            (posting.account, posting.amount.asset): float(self._balances[posting.account, posting.amount.asset])
            + float(posting.amount.value)
            for posting in entry.postings
        }
        is_new = super().post(entry)
        if is_new:
            self._balances.update({key: Decimal(str(value)) for key, value in sums.items()})
        return is_new


class ForgetfulLedger(Ledger):
    """Every fill is news."""

    def has(self, entry_id: str) -> bool:  # noqa: ARG002
        return False

    def post(self, entry: Entry) -> bool:
        self._seen.discard(entry.entry_id)
        return super().post(entry)


class TrustsThePremium(ExitValidator):
    """A pair may be closed once the premium has moved the right way, whatever that earns."""

    def verdict(self, position: Position, korea: Book, abroad: Book, krw_rate: Decimal, *rest: Any) -> ExitVerdict:
        honest = super().verdict(position, korea, abroad, krw_rate, *rest)
        ours, theirs = position.legs
        if honest.premium_now is None or ZERO in (ours.quantity, theirs.quantity):
            return honest
        entered_at = (ours.cash / ours.quantity) / (theirs.reference_cash_krw / theirs.quantity) - 1
        is_long = position.direction is Direction.LONG_PREMIUM
        is_allowed = honest.premium_now > entered_at if is_long else honest.premium_now < entered_at
        return msgspec.structs.replace(
            honest,
            is_allowed=is_allowed,
            refusals=() if is_allowed else ("net_not_positive",),
            bounds=(
                self._loose(self._pair.korea, korea, ours.quantity),
                self._loose(self._pair.abroad, abroad, theirs.quantity),
            ),
        )

    def _loose(self, leg: Any, book: Book, held: Decimal) -> tuple[str, Decimal]:
        side = Side.SELL if held > ZERO else Side.BUY
        return leg.id, worst_limit(leg, book.touch(side), side, self._settings.slippage_max)


def engine_with(
    executor: type[OrderExecutor] = OrderExecutor,
    ledger: type[Ledger] = Ledger,
    validator: type[ExitValidator] = ExitValidator,
) -> EngineFactory:
    def build(strategy: Strategy, pair: Pair, settings: EngineSettings) -> TradingEngine:
        engine = TradingEngine([Assignment(strategy, pair)], settings)
        engine.state.ledger = ledger()
        engine.executor = executor(engine.state, engine.market, engine._out, settings)
        for desk in engine.desks:
            desk._executor = engine.executor
            desk.validator = validator(pair, settings)
        return engine

    return build


def storms(factory: EngineFactory, preset: str | None = None) -> list[StormReport]:
    return [run_storm(seed, engine_factory=factory, preset=preset, lasts=LASTS) for seed in SEEDS]


def caught(reports: list[StormReport]) -> int:
    return sum(1 for report in reports if report.violations)


def invariants(reports: list[StormReport]) -> set[str]:
    return {violation.invariant for report in reports for violation in report.violations}


MUTANTS: dict[str, tuple[EngineFactory, str | None, set[str]]] = {
    "unknown is rejected": (engine_with(TakesUnknownForRejected), "unknown_answers", {"conservation", "hedged"}),
    "no repair": (engine_with(RepairsNothing), None, {"settled", "hedged"}),
    "premium-delta exit": (engine_with(validator=TrustsThePremium), None, {"no_loss"}),
    "float money": (engine_with(ledger=FloatLedger), None, {"conservation"}),
    "blind retry": (engine_with(RetriesBlindly), "unknown_answers", {"exactly_once"}),
    "blind resend": (engine_with(ResendsTheSame), "unknown_answers", {"exactly_once"}),
    "trusts done": (engine_with(TrustsDone), "late_reports", {"conservation"}),
    "books fills twice": (engine_with(ledger=ForgetfulLedger), "late_reports", {"conservation"}),
    "misses funding": (engine_with(MissesFunding), None, {"conservation"}),
    "no recovery": (engine_with(AsksNothingAfterARestart), "crash", {"settled"}),
    "forgets orders": (engine_with(ForgetsOrders), "unknown_answers", {"one_attempt"}),
}
"""Each with the weather that tempts it (``None``: a swarm of everything) and what must be found."""


@pytest.mark.parametrize("name", MUTANTS)
def test_every_planted_fault_is_caught(name: str, record_property: Callable[[str, object], None]) -> None:
    factory, preset, expected = MUTANTS[name]
    reports = storms(factory, preset)
    record_property("caught", f"{caught(reports)} of {len(SEEDS)}")
    assert expected <= invariants(reports)


@pytest.mark.parametrize("preset", [None, "unknown_answers", "late_reports", "crash"])
def test_the_same_storms_find_nothing_in_the_real_engine(preset: str | None) -> None:
    assert [violation for report in storms(engine_with(), preset) for violation in report.violations] == []


def test_an_oracle_that_asks_the_engine_sees_nothing_where_every_storm_has_lost_the_hedge() -> None:
    """One answer lost per storm: believing it a rejection, the engine makes its books match and the venues' not."""
    reports = storms(engine_with(TakesUnknownForRejected), "one_unknown_answer")
    struck = sum(1 for report in reports if report.faults["unknown"])
    assert sum(1 for report in reports if report.believed) == 0
    assert caught(reports) == struck >= len(SEEDS) // 2
