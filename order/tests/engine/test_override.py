"""The owner's order to close a pair whatever it costs: followed once, labelled, and journaled either way."""

from typing import Any

import pytest

from kimp.order.engine.engine import Assignment, TradingEngine
from kimp.shared.domain.instruments import Venue
from kimp.shared.domain.positions import Purpose
from kimp.shared.domain.signals import Refusal
from kimp.shared.domain.time import HOUR, SECOND
from kimp.shared.messages.effects import PlaceOrders
from kimp.shared.messages.events import CloseOrdered, SwitchState, VenueChanged
from kimp.shared.messages.notices import CloseRefused, ForcedLoss, PairClosed
from kimp.shared.messages.records import CloseTaken, FillBooked, OrderIntended, Phase


@pytest.fixture
def losing(bench: Any) -> Any:
    """An open pair that is deep under water."""
    bench.opened()
    bench.now += HOUR
    bench.quote(premium="-0.05")
    return bench


def order_close(bench: Any, command_id: str = "c1") -> Any:
    before = len(bench.placed)
    bench.feed(CloseOrdered(bench.now, command_id, bench.slot.key, "owner", "need the money"))
    return tuple(bench.placed[before:])


def test_a_losing_pair_is_closed_when_its_owner_orders_it(losing: Any) -> None:
    assert losing.leave() == (), "the strategy alone may not"
    orders = order_close(losing)
    assert [order.reduce_only for order in orders] == [False, True]
    losing.complete_all(orders)
    assert losing.phase is Phase.FLAT
    closed = next(notice for notice in losing.notices if isinstance(notice, PairClosed))
    assert closed.is_loss


def test_the_loss_carries_the_owners_label_everywhere(losing: Any) -> None:
    losing.complete_all(order_close(losing))
    assert {record.purpose for record in losing.of(OrderIntended)[-2:]} == {Purpose.OVERRIDE}
    assert {record.purpose for record in losing.of(FillBooked)[-2:]} == {Purpose.OVERRIDE}
    loss = next(notice for notice in losing.notices if isinstance(notice, ForcedLoss))
    assert loss.cause == "owner_override"
    taken = losing.of(CloseTaken)[-1]
    assert (taken.actor, taken.reason, taken.refusals) == ("owner", "need the money", ())


def test_the_orders_may_use_the_reserved_budget_and_are_bounded(losing: Any) -> None:
    orders = order_close(losing)
    assert next(effect for effect in losing.effects if isinstance(effect, PlaceOrders)).is_urgent
    bid, _, _, ask, _ = losing.prices
    assert bid * (1 - losing.settings.override_slippage) <= orders[0].limit < bid
    assert ask < orders[1].limit <= ask * (1 + losing.settings.override_slippage)


def test_the_same_order_twice_counts_once(losing: Any) -> None:
    losing.complete_all(order_close(losing))
    assert order_close(losing) == ()
    assert len(losing.of(CloseTaken)) == 1


def test_a_restarted_engine_remembers_that_it_was_followed(losing: Any) -> None:
    losing.complete_all(order_close(losing))
    again = TradingEngine((Assignment(losing.strategy, losing.pair),), losing.settings)
    again.restore(losing.records, losing.now)
    assert again.handle(CloseOrdered(losing.now, "c1", losing.slot.key, "owner", "")) == []


def test_it_is_followed_while_entries_are_stopped(losing: Any) -> None:
    losing.turn(SwitchState.HALTED)
    assert len(order_close(losing)) == 2


def test_what_makes_it_impossible_is_said(bench: Any) -> None:
    bench.quote()
    assert order_close(bench, "flat") == ()
    bench.opened()
    bench.now += 60 * SECOND
    assert order_close(bench, "stale") == ()
    bench.quote()
    bench.feed(VenueChanged(bench.now, Venue.UPBIT, False, "maintenance"))
    assert order_close(bench, "down") == ()
    refused = [notice.refusals for notice in bench.notices if isinstance(notice, CloseRefused)]
    assert refused == [
        (Refusal.NOT_HELD.value,),
        (Refusal.BOOK_STALE.value,),
        (Refusal.VENUE_UNAVAILABLE.value,),
    ]


def test_an_order_in_flight_is_waited_for(losing: Any) -> None:
    order_close(losing, "first")
    assert order_close(losing, "second") == ()
    assert losing.of(CloseTaken)[-1].refusals == (Refusal.ORDER_UNKNOWN.value,)


def test_an_order_for_another_slot_does_nothing(losing: Any) -> None:
    before = len(losing.records)
    losing.feed(CloseOrdered(losing.now, "c9", "other:ETH", "owner", ""))
    assert len(losing.records) == before
