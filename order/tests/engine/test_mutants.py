"""The net must catch what it is made for: planted bugs, each found by the checker that passes on the real engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from kimp.order.engine.allocator import CapitalAllocator
from kimp.order.engine.executor import OrderExecutor
from kimp.order.engine.exit_validator import ExitValidator
from kimp.order.engine.settings import EngineSettings
from kimp.order.engine.state import EngineState
from kimp.order.engine.tracker import TrackedOrder
from kimp.shared.domain.ledger import Ledger
from kimp.shared.domain.money import Amount
from kimp.shared.domain.orders import Unknown
from kimp.shared.domain.positions import LegPosition
from kimp.shared.domain.signals import Direction
from kimp.shared.messages.notices import ForcedLoss, PairClosed
from kimp.shared.messages.records import OrderOutcome, Phase

BUSY = EngineSettings(cooldown=0, entries_per_minute_max=10_000)
SEEDS = range(200)
BUGS = (AssertionError, ValueError, ArithmeticError, TypeError, KeyError)
"""What a planted bug may trip over: the engine's and the ledger's own assertions are part of the net."""


# The checker: storms, then what the venues' own fills say, and what an undisturbed exit may never do


@pytest.fixture(scope="session")
def findings(
    make_storm: Callable[..., Any], make_bench: Callable[..., Any], troubles_of: Any, conservation_faults: Any
) -> Callable[[], Iterator[str]]:
    """Everything wrong with the engine as it is now, as far as storms and one calm round trip can tell."""

    def storms() -> Iterator[str]:
        for seed in SEEDS:
            storm, dice = make_storm(settings=BUSY), Random(seed)
            try:
                storm.quote()
                for _ in range(120):
                    storm.step(dice)
                storm.heal()
                yield from (f"seed {seed}: {trouble}" for trouble in troubles_of(storm))
                yield from (f"seed {seed}: {fault}" for fault in conservation_faults(storm.state.ledger))
                yield from (f"seed {seed}: {spent}" for spent in overspent(storm))
            except BUGS as error:
                yield f"seed {seed}: {type(error).__name__}: {error}"

    def calm_exit() -> Iterator[str]:
        # The exchange rate eats the risen premium: the row of the worked table in which a premium's delta lies.
        bench = make_bench()
        bench.quote(premium="0.005")
        bench.complete_all(bench.enter())
        bench.now += 10**9
        bench.quote(premium="0.012", rate="1380")
        bench.complete_all(bench.leave())
        if bench.of(PairClosed) and bench.of(ForcedLoss):
            yield f"an exit realised {bench.of(ForcedLoss)[0].net:.0f} KRW"

    def found() -> Iterator[str]:
        try:
            yield from calm_exit()
        except BUGS as error:
            yield f"calm: {type(error).__name__}: {error}"
        yield from storms()

    return found


def overspent(storm: Any) -> Iterator[str]:
    """Batches that were intended beyond 95 % of a wallet nothing else was drawn on."""
    first = storm.batches[0] if storm.batches else ()
    for order in first:
        leg = storm.pair.instrument(order.instrument_id)
        money = Decimal(storm.krw if leg is storm.pair.korea else storm.usdt)
        if order.quantity * order.limit * (1 + leg.fee_rate) > Decimal("0.97") * money:
            yield f"{order.quantity} at {order.limit} is more than the share of {money}"


def test_the_real_engine_passes_the_checker(findings: Callable[[], Iterator[str]]) -> None:
    assert list(findings()) == []


# The mutants


def exits_by_premium_alone(patch: pytest.MonkeyPatch) -> None:
    real = ExitValidator.verdict

    def verdict(self: ExitValidator, position: Any, korea: Any, abroad: Any, krw_rate: Decimal, *rest: Any) -> Any:
        judged = real(self, position, korea, abroad, krw_rate, *rest)
        spot, perpetual = position.legs
        entered = -spot.reference_cash_krw / perpetual.reference_cash_krw - 1
        rose = judged.premium_now is not None and judged.premium_now > entered
        return replace(judged, is_allowed=rose, refusals=() if rose else ("net_not_positive",))

    patch.setattr(ExitValidator, "verdict", verdict)


def never_repairs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(OrderExecutor, "repair", OrderExecutor._finish)


def resends_what_is_unknown(patch: pytest.MonkeyPatch) -> None:
    def on_answer(self: OrderExecutor, client_id: str, outcome: Any, at: int) -> None:
        real(self, client_id, outcome, at)
        if isinstance(outcome, Unknown) and client_id in self._state.unsettled:
            self._out.place((self._state.orders[client_id].order,))

    real = OrderExecutor.on_answer
    patch.setattr(OrderExecutor, "on_answer", on_answer)


def retries_what_is_unknown_under_a_new_id(patch: pytest.MonkeyPatch) -> None:
    def on_answer(self: OrderExecutor, client_id: str, outcome: Any, at: int) -> None:
        tracked = self._state.orders.get(client_id)
        if isinstance(outcome, Unknown) and tracked is not None and not tracked.is_settled:
            self._out.record(OrderOutcome(at, client_id, outcome))
            tracked.lose()
            self._state._release(client_id)
            self._settle(self._state.slots[tracked.slot], at)
        else:
            real(self, client_id, outcome, at)

    real = OrderExecutor.on_answer
    patch.setattr(OrderExecutor, "on_answer", on_answer)
    patch.setattr(TrackedOrder, "is_watched", lambda *_: False)


def trusts_done_without_fills(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TrackedOrder, "is_settled", property(lambda self: self.executed is not None))


def counts_money_in_floats(patch: pytest.MonkeyPatch) -> None:
    def with_fill(self: LegPosition, fill: Any, reference: Decimal, krw_rate: Decimal) -> LegPosition:
        rounded = Decimal(float(self.quantity) + float(fill.quantity) * fill.side.sign)
        return real(self, fill, reference, krw_rate).__class__(
            self.instrument_id, rounded, *(getattr(real(self, fill, reference, krw_rate), name) for name in REST)
        )

    real = LegPosition.with_fill
    patch.setattr(LegPosition, "with_fill", with_fill)


REST = ("cash", "reference_cash", "reference_cash_krw", "fees_krw")


def counts_ledger_money_in_floats(patch: pytest.MonkeyPatch) -> None:
    real = Amount.__neg__
    patch.setattr(Amount, "__neg__", lambda self: Amount(Decimal(float(real(self).value)), self.asset))


def commits_everything(patch: pytest.MonkeyPatch) -> None:
    real = CapitalAllocator.size

    def size(self: CapitalAllocator, *given: Any) -> Any:
        self._settings = replace(self._settings, capital_share=Decimal(1))
        return real(self, *given)

    patch.setattr(CapitalAllocator, "size", size)


def books_a_fill_as_often_as_it_comes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(EngineState, "has_fill", lambda *_: False)
    patch.setattr(Ledger, "has", lambda *_: False)

    def post(self: Ledger, entry: Any) -> bool:
        self._seen.discard(entry.entry_id)
        return real(self, entry)

    real = Ledger.post
    patch.setattr(Ledger, "post", post)


def stops_listening_once_an_order_is_settled(patch: pytest.MonkeyPatch) -> None:
    def is_over(self: OrderExecutor, client_id: str) -> bool:
        tracked = self._state.orders.get(client_id)
        return tracked is not None and tracked.is_settled

    def on_fill(self: OrderExecutor, fill: Any, at: int) -> None:
        if not is_over(self, fill.client_id):
            real_fill(self, fill, at)

    def on_report(self: OrderExecutor, report: Any, at: int) -> None:
        if not is_over(self, report.client_id):
            real_report(self, report, at)

    real_fill, real_report = OrderExecutor.on_fill, OrderExecutor.on_report
    patch.setattr(OrderExecutor, "on_fill", on_fill)
    patch.setattr(OrderExecutor, "on_report", on_report)


def takes_silence_for_loss_at_once(patch: pytest.MonkeyPatch) -> None:
    real = OrderExecutor.__init__

    def init(self: OrderExecutor, state: Any, market: Any, out: Any, given: EngineSettings) -> None:
        real(self, state, market, out, replace(given, lost_misses_min=1, lost_after=0))

    patch.setattr(OrderExecutor, "__init__", init)
    patch.setattr(TrackedOrder, "is_watched", lambda *_: False)


def ignores_foreign_fills(patch: pytest.MonkeyPatch) -> None:
    real = OrderExecutor.on_fill

    def on_fill(self: OrderExecutor, fill: Any, at: int) -> None:
        if fill.client_id in self._state.orders:
            real(self, fill, at)

    patch.setattr(OrderExecutor, "on_fill", on_fill)


MUTANTS = (
    exits_by_premium_alone,
    never_repairs,
    resends_what_is_unknown,
    retries_what_is_unknown_under_a_new_id,
    trusts_done_without_fills,
    counts_money_in_floats,
    counts_ledger_money_in_floats,
    commits_everything,
    books_a_fill_as_often_as_it_comes,
    stops_listening_once_an_order_is_settled,
    takes_silence_for_loss_at_once,
    ignores_foreign_fills,
)


@pytest.mark.parametrize("plant", MUTANTS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_caught(
    plant: Callable[[pytest.MonkeyPatch], None],
    findings: Callable[[], Iterator[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant(monkeypatch)
    assert next(findings(), None) is not None, "the net let this bug through"


def test_the_calm_round_trip_of_the_checker_does_enter(make_bench: Callable[..., Any]) -> None:
    bench = make_bench()
    bench.quote(premium="0.005")
    bench.complete_all(bench.enter(Direction.LONG_PREMIUM))
    assert bench.phase is Phase.OPEN
