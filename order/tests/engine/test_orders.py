"""What became of an order: asked until the venue has proven it, never sent again, never taken for granted."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from kimp.order.engine.settings import EngineSettings
from kimp.shared.domain.orders import OrderStatus
from kimp.shared.domain.signals import Direction, Enter
from kimp.shared.domain.time import SECOND
from kimp.shared.messages.notices import OrderUnresolved
from kimp.shared.messages.records import OrderClosed, OrderLost, OrderOutcome, Phase

LONG = Direction.LONG_PREMIUM
SETTINGS = EngineSettings()


@pytest.fixture
def doubted(bench: Any) -> Any:
    """A bench that entered: the Korean order is filled and proven, the perpetual's answer is unknown."""
    korea, abroad = bench.enter()
    bench.complete(korea)
    bench.unknown(abroad)
    bench.order = abroad
    return bench


def deny_for(bench: Any, seconds: int) -> None:
    """Let time pass second by second while the venue denies the order as often as it is asked."""
    for _ in range(seconds):
        asked = len(bench.queries)
        bench.wait(1)
        for _ in range(len(bench.queries) - asked):
            bench.absent(bench.order)


# Asking


def test_an_unknown_outcome_is_asked_about_at_once_and_never_sent_again(doubted: Any) -> None:
    assert doubted.queries == [doubted.order.client_id]
    doubted.wait(600)
    assert len(doubted.placed) == 2
    assert doubted.phase is Phase.ENTERING


def test_no_answer_at_all_is_asked_about_after_the_timeout(bench: Any) -> None:
    korea, abroad = bench.enter()
    bench.wait("1.999")
    assert bench.queries == []
    bench.wait("0.001")
    assert bench.queries == [korea.client_id, abroad.client_id]


def test_asking_backs_off_along_the_ladder_and_never_ends(bench: Any) -> None:
    korea, abroad = bench.enter()
    bench.complete(abroad)
    start, asked_at = bench.now, []
    for _ in range(60):
        before = len(bench.queries)
        bench.wait(1)
        asked_at += [(bench.now - start) // SECOND] * (len(bench.queries) - before)
    assert asked_at == [2, 3, 5, 9, 17, 25, 33, 41, 49, 57]
    assert set(bench.queries) == {korea.client_id}


def test_an_unknown_order_blocks_entries_until_it_is_proven(doubted: Any) -> None:
    doubted.strategy.says = Enter(LONG, "told to")
    doubted.wait(300)
    doubted.quote()
    assert len(doubted.placed) == 2
    doubted.done(doubted.order, fills=[doubted.fill_of(doubted.order)])
    assert doubted.phase is Phase.OPEN


def test_the_owner_is_told_once_when_a_venue_says_nothing_for_too_long(doubted: Any) -> None:
    doubted.wait(30)
    assert doubted.of(OrderUnresolved) == []
    doubted.wait(600)
    assert doubted.of(OrderUnresolved) == [OrderUnresolved("fake:BTC", doubted.order.client_id)]


def test_a_settled_order_is_not_asked_about_any_more(doubted: Any) -> None:
    doubted.done(doubted.order, fills=[doubted.fill_of(doubted.order)])
    asked = len(doubted.queries)
    doubted.wait(600)
    assert len(doubted.queries) == asked


def test_a_resting_order_that_should_not_rest_is_cancelled(bench: Any) -> None:
    korea, abroad = bench.enter()
    bench.complete(abroad)
    bench.accept(korea)
    bench.wait(2)
    assert bench.cancels == []
    bench.wait(1)
    assert bench.cancels == [korea.client_id]


def test_an_order_said_to_be_working_exists_and_is_cancelled_though_its_answer_never_came(doubted: Any) -> None:
    doubted.report(doubted.order, OrderStatus.WORKING)
    doubted.wait(3)
    assert set(doubted.cancels) == {doubted.order.client_id}
    deny_for(doubted, 60)
    assert doubted.of(OrderLost) == []


def test_an_order_that_is_over_is_not_cancelled_while_its_fills_are_awaited(doubted: Any) -> None:
    doubted.done(doubted.order)
    doubted.wait(60)
    assert doubted.cancels == []
    assert len(doubted.queries) > 5


# Lost


def test_an_order_denied_often_enough_and_long_enough_is_lost(doubted: Any) -> None:
    deny_for(doubted, 9)
    assert doubted.of(OrderLost) == []
    deny_for(doubted, 10)
    assert [record.client_id for record in doubted.of(OrderLost)] == [doubted.order.client_id]
    assert doubted.of(OrderLost)[0].at >= doubted.of(OrderOutcome)[0].at + SETTINGS.lost_after
    assert doubted.phase is Phase.REPAIRING


def test_denials_in_one_breath_are_not_long_enough(doubted: Any) -> None:
    for _ in range(10):
        doubted.absent(doubted.order)
    assert doubted.of(OrderLost) == []


def test_time_alone_is_not_enough_either(doubted: Any) -> None:
    doubted.wait(600)
    for _ in range(SETTINGS.lost_misses_min - 1):
        doubted.absent(doubted.order)
    assert doubted.of(OrderLost) == []
    doubted.absent(doubted.order)
    assert len(doubted.of(OrderLost)) == 1


@pytest.mark.parametrize("proof", ["accept", "fill", "done", "working"])
def test_an_order_the_venue_ever_spoke_for_is_never_lost(doubted: Any, proof: str) -> None:
    match proof:
        case "accept":
            doubted.accept(doubted.order)
        case "fill":
            doubted.fill(doubted.order, "0.01")
        case "done":
            doubted.done(doubted.order)
        case _:
            doubted.report(doubted.order, OrderStatus.WORKING)
    deny_for(doubted, 120)
    assert doubted.of(OrderLost) == []
    assert doubted.phase is Phase.ENTERING
    assert len(doubted.placed) == 2


# Proof


def test_done_before_its_fills_waits_for_them_and_asks_once(doubted: Any) -> None:
    asked = len(doubted.queries)
    doubted.done(doubted.order)
    doubted.done(doubted.order)
    assert len(doubted.queries) == asked + 1
    assert doubted.phase is Phase.ENTERING
    doubted.fill(doubted.order, "0.035")
    assert doubted.phase is Phase.ENTERING
    doubted.fill(doubted.order, "0.030")
    assert doubted.phase is Phase.OPEN


def test_a_venue_that_repeats_itself_cannot_make_the_engine_ask_in_a_circle(doubted: Any) -> None:
    for _ in range(100):
        doubted.done(doubted.order)
    assert len(doubted.queries) == 2


def test_fills_in_the_wrong_order_add_up_the_same(bench: Any) -> None:
    korea, abroad = bench.enter()
    first, second = bench.fill_of(abroad, "0.030", "100000"), bench.fill_of(abroad, "0.035", "99900")
    bench.done(abroad, fills=[second])
    bench.done(abroad, fills=[second, first])
    bench.complete(korea)
    assert bench.phase is Phase.OPEN
    assert bench.position.leg(abroad.instrument_id).cash == Decimal("0.030") * 100000 + Decimal("0.035") * 99900


def test_done_with_less_than_was_filled_is_over(doubted: Any) -> None:
    doubted.fill(doubted.order)
    doubted.done(doubted.order, "0.01")
    assert doubted.phase is Phase.OPEN


def test_a_later_word_that_more_was_executed_opens_the_order_again(doubted: Any) -> None:
    doubted.complete(doubted.order, "0.060")
    asked = len(doubted.queries)
    repairs = doubted.placed[2:]
    doubted.done(doubted.order, "0.065")
    assert doubted.order.client_id in doubted.state.unsettled
    assert doubted.queries[asked:] == [doubted.order.client_id]
    doubted.wait(2)
    assert doubted.queries.count(doubted.order.client_id) > 2
    doubted.done(doubted.order, "0.065", [doubted.fill_of(doubted.order, "0.005")])
    for order in repairs:
        doubted.complete(order, 0)
    assert doubted.phase is Phase.OPEN


def test_a_later_word_that_less_was_executed_was_read_too_early(doubted: Any) -> None:
    doubted.done(doubted.order, "0.065")
    doubted.done(doubted.order, "0.030", [doubted.fill_of(doubted.order, "0.030")])
    assert doubted.phase is Phase.ENTERING
    assert [record.executed for record in doubted.of(OrderClosed)][-1] == Decimal("0.065")


def test_a_rejection_of_an_order_that_filled_is_doubted_and_asked_about(bench: Any) -> None:
    korea, abroad = bench.enter()
    bench.complete(korea)
    bench.fill(abroad, "0.030")
    bench.reject(abroad)
    assert bench.queries == [abroad.client_id]
    assert bench.phase is Phase.ENTERING
    bench.fill(abroad, "0.035")
    bench.done(abroad)
    assert bench.phase is Phase.OPEN


def test_a_rejection_after_an_acceptance_is_doubted(bench: Any) -> None:
    korea, abroad = bench.enter()
    bench.complete(korea)
    bench.accept(abroad)
    bench.reject(abroad)
    assert bench.phase is Phase.ENTERING
    assert bench.queries == [abroad.client_id]


def test_an_answer_after_the_order_is_settled_changes_nothing(bench: Any) -> None:
    bench.opened()
    for order in bench.placed:
        assert bench.accept(order) == []
        assert bench.reject(order) == []
        assert bench.unknown(order) == []


# Late


@pytest.fixture
def lost(doubted: Any) -> Any:
    """A bench whose perpetual order was declared lost and whose first repair is under way."""
    deny_for(doubted, 20)
    doubted.quote()
    doubted.wait(1)
    assert doubted.of(OrderLost)
    doubted.repair = doubted.placed[-1]
    assert doubted.repair is not doubted.order
    return doubted


def balanced(bench: Any) -> bool:
    return abs(sum(bench.held())) < bench.pair.lot and not bench.state.unsettled


def finish(bench: Any) -> None:
    """Let every order that leaves from here on fill whole, and time pass."""
    for _ in range(20):
        bench.quote()
        for client_id in tuple(bench.slot.unsettled):
            tracked = bench.state.orders[client_id]
            bench.complete(tracked.order, tracked.order.quantity - tracked.filled)
        bench.wait(1)


def test_a_late_fill_of_a_lost_order_is_booked_and_evened_out(lost: Any) -> None:
    lost.fill(lost.order)
    assert lost.held() == (Decimal("0.065"), Decimal("-0.065"))
    finish(lost)
    assert balanced(lost)


def test_a_late_acceptance_of_a_lost_order_opens_it_again(lost: Any) -> None:
    lost.accept(lost.order)
    assert lost.order.client_id in lost.state.unsettled
    assert lost.queries[-1] == lost.order.client_id
    lost.done(lost.order, fills=[lost.fill_of(lost.order)])
    assert lost.order.client_id not in lost.state.unsettled
    finish(lost)
    assert balanced(lost)


def test_a_lost_order_found_working_is_awaited_again(lost: Any) -> None:
    lost.report(lost.order, OrderStatus.WORKING)
    assert lost.order.client_id in lost.state.unsettled
    lost.done(lost.order, 0)
    assert lost.order.client_id not in lost.state.unsettled


def test_a_lost_order_that_is_reported_done_with_fills_is_evened_out(lost: Any) -> None:
    lost.done(lost.order, fills=[lost.fill_of(lost.order)])
    finish(lost)
    assert balanced(lost)


def test_a_lost_order_is_still_asked_about_for_a_while_without_alarm(lost: Any) -> None:
    lost.complete(lost.repair)
    before = len(lost.queries)
    lost.wait(60)
    assert set(lost.queries[before:]) == {lost.order.client_id}
    lost.wait(60)
    before = len(lost.queries)
    lost.wait(600)
    assert lost.queries[before:] == []
    assert lost.of(OrderUnresolved) == []


def test_a_lost_order_that_did_fill_unheard_is_found_by_asking_on(lost: Any) -> None:
    lost.complete(lost.repair)
    lost.wait(20)
    assert lost.queries[-1] == lost.order.client_id
    lost.done(lost.order, "0.065")
    assert lost.order.client_id in lost.state.unsettled
    lost.done(lost.order, "0.065", [lost.fill_of(lost.order)])
    finish(lost)
    assert balanced(lost)


def test_a_refused_reduction_makes_lost_orders_of_that_contract_asked_about_again(lost: Any) -> None:
    lost.complete(lost.repair)
    lost.wait(300)
    assert lost.phase is Phase.OPEN
    lost.quote(premium="0.06")
    korea, abroad = lost.leave()
    before = len(lost.queries)
    lost.reject(korea)
    assert lost.queries[before:] == []
    lost.reject(abroad)
    assert lost.queries[before:] == [lost.order.client_id]


def test_a_lost_order_denied_once_more_stays_lost(lost: Any) -> None:
    records = len(lost.records)
    lost.absent(lost.order)
    assert len(lost.of(OrderLost)) == 1
    assert len(lost.records) == records


def test_a_late_fill_of_a_rejected_order_is_evened_out_even_from_flat(bench: Any) -> None:
    korea, abroad = bench.enter()
    bench.reject(korea)
    bench.reject(abroad)
    assert bench.phase is Phase.FLAT
    bench.now += SECOND
    bench.quote()
    bench.fill(abroad)
    assert bench.phase is Phase.REPAIRING
    assert bench.position.direction is LONG
    finish(bench)
    assert balanced(bench)


def test_a_late_purchase_of_dust_leaves_a_flat_slot_flat(bench: Any) -> None:
    korea, abroad = bench.enter()
    bench.reject(korea)
    bench.reject(abroad)
    bench.quote()
    bench.fill(korea, "0.00002")
    assert bench.phase is Phase.FLAT
    assert bench.position is None
    assert bench.slot.closed[-1].reason == "closed_by_others"


def test_a_late_sale_alone_opens_the_direction_it_belongs_to(make_bench: Callable[..., Any]) -> None:
    bench = make_bench(btc="0.1")
    korea, abroad = bench.enter(Direction.SHORT_PREMIUM)
    bench.reject(korea)
    bench.reject(abroad)
    bench.quote()
    bench.fill(korea)
    assert bench.position.direction is Direction.SHORT_PREMIUM


def test_legs_given_up_and_found_again_one_by_one_end_as_the_hedged_pair_they_are(bench: Any) -> None:
    korea, abroad = bench.enter()
    bench.wait(12)
    for order in (korea, abroad):
        for _ in range(bench.settings.lost_misses_min):
            bench.absent(order)
    assert bench.phase is Phase.FLAT, "denied often and long enough"
    bench.done(abroad)  # it executed after all, but its fills are not named
    bench.fill(korea)
    bench.done(korea)
    assert bench.enter() == (), "an order is in doubt again: nothing is begun on top of it"
    assert bench.held() == (korea.quantity, 0)
    bench.fill(abroad)
    assert bench.phase is Phase.OPEN
    assert bench.held() == (korea.quantity, -abroad.quantity)
    assert len(bench.placed) == 2, "nothing was sent to repair what was never broken"
