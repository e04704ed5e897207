"""One leg filled and the other did not: finish within the bound, else unwind, at a pace, and call for help."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from kimp.order.engine.repair import choose_repair, imbalance
from kimp.order.engine.settings import EngineSettings
from kimp.shared.domain.instruments import Side, Venue
from kimp.shared.domain.positions import Purpose
from kimp.shared.domain.signals import Direction, Enter, Refusal
from kimp.shared.domain.time import MILLISECOND, SECOND
from kimp.shared.messages.events import MarketMoved, SwitchState
from kimp.shared.messages.notices import ForcedLoss, LegNaked, LegRepaired, PairClosed, PairOpened, RepairFailing
from kimp.shared.messages.records import OrderIntended, Phase, PhaseEntered

LONG, SHORT = Direction.LONG_PREMIUM, Direction.SHORT_PREMIUM
SETTINGS = EngineSettings()


def repairs_of(bench: Any) -> list[Any]:
    return [record.order for record in bench.of(OrderIntended) if record.purpose is Purpose.REPAIR]


@pytest.fixture
def naked(bench: Any) -> Any:
    """A bench whose Korean leg is on and whose perpetual was rejected: the first repair is under way."""
    korea, abroad = bench.enter()
    bench.complete(korea, price=144_900_000)
    bench.reject(abroad)
    return bench


def reject_for(bench: Any, seconds: int) -> list[tuple[int, Any]]:
    """Reject whatever leaves for a while; when each order left, and the order."""
    known = {record.order.client_id for record in bench.of(OrderIntended)}
    until = bench.now + seconds * SECOND
    while bench.now < until:
        for client_id in tuple(bench.slot.unsettled):
            bench.reject(bench.state.orders[client_id].order)
        bench.wait("0.05")
        if bench.now % SECOND == 0:
            bench.quote()
    sent = bench.of(OrderIntended)
    return [(record.at, record.order) for record in sent if record.order.client_id not in known]


# Finishing


def test_the_missing_leg_is_finished_at_once_within_the_plan_s_own_bound(naked: Any) -> None:
    (repair,) = repairs_of(naked)
    planned = naked.batches[0][1]
    assert (repair.instrument_id, repair.side, repair.limit) == (planned.instrument_id, Side.SELL, planned.limit)
    assert repair.quantity == Decimal("0.065")
    assert naked.phase is Phase.REPAIRING
    assert naked.of(LegNaked)[0].exposure == Decimal("0.065")


def test_a_finished_leg_opens_the_pair_and_tells_so(naked: Any) -> None:
    naked.complete(repairs_of(naked)[0])
    assert naked.phase is Phase.OPEN
    assert len(naked.of(LegRepaired)) == 1
    assert len(naked.of(PairOpened)) == 1


def test_a_60_to_40_fill_is_finished_by_the_difference(bench: Any) -> None:
    korea, abroad = bench.enter()
    bench.complete(korea)
    bench.complete(abroad, "0.026")
    (repair,) = repairs_of(bench)
    assert repair.quantity == Decimal("0.039")
    bench.complete(repair)
    assert bench.held() == (Decimal("0.065"), Decimal("-0.065"))


def test_a_missing_korean_leg_is_bought_within_its_bound(bench: Any) -> None:
    korea, abroad = bench.enter()
    bench.reject(korea)
    bench.complete(abroad)
    (repair,) = repairs_of(bench)
    assert (repair.instrument_id, repair.side, repair.limit) == (korea.instrument_id, Side.BUY, korea.limit)


# Unwinding


def test_a_market_beyond_the_bound_means_the_filled_excess_is_unwound(bench: Any) -> None:
    korea, abroad = bench.enter()
    bench.complete(korea)
    bench.quote(abroad="99000", premium="0.035")
    bench.reject(abroad)
    (repair,) = repairs_of(bench)
    assert (repair.instrument_id, repair.side, repair.quantity) == (korea.instrument_id, Side.SELL, Decimal("0.065"))


def test_an_unwound_entry_is_flat_with_a_labelled_loss(bench: Any) -> None:
    korea, abroad = bench.enter()
    bench.complete(korea)
    bench.quote(abroad="99000", premium="0.035")
    bench.reject(abroad)
    bench.complete(repairs_of(bench)[0])
    assert bench.phase is Phase.FLAT
    assert bench.of(PairClosed)[0].is_loss
    assert bench.of(ForcedLoss)[0].cause == "entry_unwound"


def test_an_excess_perpetual_is_bought_back_reduce_only(bench: Any) -> None:
    korea, abroad = bench.enter()
    bench.complete(abroad)
    bench.quote(premium="0.05")
    bench.reject(korea)
    (repair,) = repairs_of(bench)
    assert (repair.instrument_id, repair.side, repair.reduce_only) == (abroad.instrument_id, Side.BUY, True)


def test_an_exit_with_one_leg_missing_is_finished_too(bench: Any) -> None:
    bench.opened().quote(premium="0.06")
    korea, abroad = bench.leave()
    bench.complete(korea)
    bench.reject(abroad)
    (repair,) = repairs_of(bench)
    assert (repair.instrument_id, repair.side, repair.reduce_only) == (abroad.instrument_id, Side.BUY, True)
    assert repair.limit == abroad.limit
    bench.complete(repair)
    assert bench.phase is Phase.FLAT
    assert bench.slot.closed[-1].reason == "exit_repaired"


def test_repairs_unwind_at_growing_slippage_then_take_turns(naked: Any) -> None:
    left = reject_for(naked, 30)
    sides = [(order.instrument_id.split(":")[0], order.side.value) for _, order in left[1:9]]
    assert sides == [
        ("upbit", "sell"),
        ("upbit", "sell"),
        ("upbit", "sell"),
        ("binance", "sell"),
        ("upbit", "sell"),
        ("binance", "sell"),
        ("upbit", "sell"),
        ("binance", "sell"),
    ]
    touch = naked.prices[0]
    gave = [(1 - order.limit / touch).quantize(Decimal("0.001")) for _, order in left if order.side is Side.SELL][1:4]
    assert gave == [Decimal("0.002"), Decimal("0.005"), Decimal("0.010")]


# Pace, halt and resumption


def test_two_repairs_leave_at_once_and_the_others_ever_later(naked: Any) -> None:
    start = naked.of(OrderIntended)[-1].at
    left = reject_for(naked, 20)
    gaps = [(later - earlier) / MILLISECOND for (earlier, _), (later, _) in pairwise(left)]
    assert left[0][0] == start
    assert gaps[:6] == [pytest.approx(250 * step, abs=50) for step in range(1, 7)]


def test_eight_failing_repairs_halt_entries_and_call_the_owner_once(naked: Any) -> None:
    reject_for(naked, 60)
    (alert,) = naked.of(RepairFailing)
    assert alert.attempts == SETTINGS.quick_repairs_max
    assert naked.phase is Phase.HALTED
    assert naked.slot.is_halted
    assert [record.phase for record in naked.of(PhaseEntered)].count(Phase.HALTED) == 1


def test_a_halted_repair_goes_on_slowly_for_ever(naked: Any) -> None:
    reject_for(naked, 60)
    before = len(naked.placed)
    left = reject_for(naked, 100)
    assert 8 <= len(naked.placed) - before <= 11
    gaps = {(later - earlier) // SECOND for (earlier, _), (later, _) in pairwise(left)}
    assert gaps == {10}


def test_a_halted_repair_that_succeeds_still_blocks_entries_until_a_newer_switch(naked: Any) -> None:
    reject_for(naked, 60)
    naked.wait(10)
    naked.quote()
    naked.complete(naked.placed[-1])
    assert naked.phase in (Phase.FLAT, Phase.OPEN)
    naked.now += 10 * SETTINGS.cooldown
    naked.strategy.says = Enter(LONG, "told to")
    naked.quote()
    assert naked.desk.last_refusals == (Refusal.HALTED,)
    naked.turn(SwitchState.REDUCING)
    naked.quote()
    assert Refusal.HALTED in naked.desk.last_refusals
    naked.turn(SwitchState.ACTIVE)
    naked.quote()
    assert naked.desk.last_refusals == (Refusal.HALTED,), "a switch that is merely read again is no act of the owner"
    naked.turn(SwitchState.ACTIVE, is_resume=True)
    naked.quote()
    assert Refusal.HALTED not in naked.desk.last_refusals


def test_resuming_while_still_naked_goes_on_repairing(naked: Any) -> None:
    reject_for(naked, 60)
    naked.turn(SwitchState.ACTIVE, is_resume=True)
    assert naked.phase is Phase.HALTED
    naked.wait(10)
    naked.quote()
    naked.complete(naked.placed[-1])
    assert naked.phase in (Phase.FLAT, Phase.OPEN)


def test_without_a_book_a_repair_waits_and_looks_again(bench: Any) -> None:
    korea, abroad = bench.enter()
    bench.complete(korea)
    bench.engine.market.books.clear()
    bench.reject(abroad)
    assert bench.phase is Phase.REPAIRING
    assert repairs_of(bench) == []
    bench.wait(5)
    assert repairs_of(bench) == []
    bench.quote()
    bench.wait(1)
    assert len(repairs_of(bench)) == 1


def test_a_repair_uses_the_one_book_it_has(bench: Any) -> None:
    korea, abroad = bench.enter()
    bench.complete(korea)
    del bench.engine.market.books[abroad.instrument_id]
    bench.reject(abroad)
    (repair,) = repairs_of(bench)
    assert (repair.instrument_id, repair.side) == (korea.instrument_id, Side.SELL)


def test_waiting_repairs_do_not_multiply_their_timers(bench: Any) -> None:
    korea, abroad = bench.enter()
    bench.complete(korea)
    bench.engine.market.books.clear()
    bench.reject(abroad)
    for _ in range(20):
        bench.done(korea)
    bench.wait(10)
    assert len([timer for _, timer in bench.timers if timer.startswith("repair:")]) == 1


def test_a_timer_of_a_finished_repair_does_nothing(naked: Any) -> None:
    naked.complete(repairs_of(naked)[0])
    naked.timers.append((naked.now, "repair:fake:BTC"))
    naked.wait(0)
    assert naked.effects == []


# Dust, budget and the other direction


def test_an_excess_below_every_minimum_is_carried_not_looped_on(bench: Any) -> None:
    korea, abroad = bench.enter()
    bench.complete(korea, "0.00003")
    bench.complete(abroad, 0)
    assert bench.phase is Phase.FLAT
    assert repairs_of(bench) == []
    assert bench.state.ledger.wallet(Venue.UPBIT, "BTC") == Decimal("0.00003")


def test_a_lone_part_of_a_lot_is_sold_when_the_venue_takes_it(bench: Any) -> None:
    korea, abroad = bench.enter()
    bench.complete(korea, "0.0005")
    bench.complete(abroad, 0)
    (repair,) = repairs_of(bench)
    assert (repair.side, repair.quantity) == (Side.SELL, Decimal("0.0005"))
    bench.complete(repair)
    assert bench.phase is Phase.FLAT


def test_a_contract_below_the_minimum_notional_is_bought_back_reduce_only(bench: Any) -> None:
    bench.quote(abroad="90000", premium="0.035")
    korea, abroad = bench.enter()
    bench.complete(abroad, "0.001")
    bench.quote(premium="0.05")
    bench.complete(korea, 0)
    (repair,) = repairs_of(bench)
    assert (repair.instrument_id, repair.quantity, repair.reduce_only) == (abroad.instrument_id, Decimal("0.001"), True)


def test_a_repair_that_opens_more_is_cut_to_the_budget(bench: Any) -> None:
    korea, abroad = bench.enter()
    bench.complete(abroad)
    bench.fund("-1000000", "KRW", Venue.UPBIT)
    bench.reject(korea)
    (repair,) = repairs_of(bench)
    assert repair.side is Side.BUY
    assert repair.quantity * repair.limit * Decimal("1.0005") <= Decimal("0.95") * 9_000_000
    assert repair.quantity < Decimal("0.065")
    bench.complete(repair)
    assert repairs_of(bench)[-1].reduce_only


def test_a_repair_without_any_budget_unwinds(bench: Any) -> None:
    korea, abroad = bench.enter()
    bench.complete(abroad)
    bench.fund("-9999000", "KRW", Venue.UPBIT)
    bench.reject(korea)
    (repair,) = repairs_of(bench)
    assert (repair.instrument_id, repair.side, repair.reduce_only) == (abroad.instrument_id, Side.BUY, True)


def test_a_short_pair_is_repaired_the_other_way_round(make_bench: Callable[..., Any]) -> None:
    bench = make_bench(btc="0.1")
    korea, abroad = bench.enter(SHORT)
    bench.complete(korea)
    bench.reject(abroad)
    (repair,) = repairs_of(bench)
    assert (repair.instrument_id, repair.side, repair.limit) == (abroad.instrument_id, Side.BUY, abroad.limit)
    bench.complete(repair)
    assert bench.phase is Phase.OPEN


def test_coins_missing_from_a_short_pair_are_sold_from_inventory_only(make_bench: Callable[..., Any]) -> None:
    bench = make_bench(btc="0.1")
    korea, abroad = bench.enter(SHORT)
    bench.reject(korea)
    bench.complete(abroad)
    (repair,) = repairs_of(bench)
    assert (repair.instrument_id, repair.side, repair.quantity) == (korea.instrument_id, Side.SELL, korea.quantity)


def test_nothing_held_is_no_imbalance_and_a_pair_within_a_lot_none_either(bench: Any) -> None:
    assert imbalance(bench.slot) == 0
    bench.opened()
    assert imbalance(bench.slot) == 0


def test_a_leg_filled_by_hand_is_no_plan_s_to_finish(bench: Any) -> None:
    bench.opened()
    bench.quote()
    bench.slot.position = bench.position.with_fill(bench.fill_of(bench.placed[0], "0.010"), Decimal(1), Decimal(1))
    choice = choose_repair(bench.state, bench.slot, Decimal("0.010"), bench.engine.market, SETTINGS)
    assert (choice.leg.side, choice.leg.quantity) == (Side.SELL, Decimal("0.010"))
    assert choice.leg.instrument_id == bench.pair.korea.id


def test_quotes_alone_never_send_a_repair_twice(naked: Any) -> None:
    for _ in range(20):
        naked.now += MILLISECOND
        naked.feed(MarketMoved(naked.now, naked.books(), naked.rates()))
    assert len(repairs_of(naked)) == 1
