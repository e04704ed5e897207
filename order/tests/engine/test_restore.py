"""A restart is a replay: the fold of the journal is the engine's state, at every record, and doubts are asked about."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimp.order.engine.engine import Assignment, TradingEngine
from kimp.order.engine.settings import EngineSettings
from kimp.order.engine.state import EngineState, Slot
from kimp.shared.domain.orders import Rejected
from kimp.shared.messages.effects import PlaceOrders, QueryOrder, SetTimer
from kimp.shared.messages.records import FillBooked, FundingBooked, OrderIntended, OrderOutcome, Phase, PlanMade, Record

BUSY = EngineSettings(cooldown=0, entries_per_minute_max=10_000)


def picture(state: EngineState) -> dict[str, Any]:
    """Everything durable about a state, in a form that can be compared later."""
    return {
        "slots": {
            key: {name: getattr(slot, name) for name in asdict_names(slot) if name != "closed"}
            | {"n": len(slot.closed)}
            for key, slot in state.slots.items()
        },
        "closed": [(pair.position, pair.breakdown) for slot in state.slots.values() for pair in slot.closed],
        "orders": {
            key: asdict(order) | {"misses": 0, "asked": 0, "is_alerted": 0} for key, order in state.orders.items()
        },
        "unsettled": list(state.unsettled),
        "balances": state.ledger.balances(),
        "consumed": set(state.consumed),
        "switch": state.switch,
        "entry_times": list(state.entry_times),
    }


def asdict_names(slot: Slot) -> list[str]:
    return [name for name in slot.__dataclass_fields__ if name != "legs"]


def frozen(state: EngineState) -> Any:
    """A deep copy of a picture: slots keep dictionaries that go on changing."""
    return deepcopy(picture(state))


def restored(bench: Any, records: list[Record]) -> tuple[TradingEngine, list[Any]]:
    engine = TradingEngine((Assignment(type(bench.strategy)(), bench.pair),), bench.settings)
    return engine, engine.restore(records, bench.now)


def recorded(make_storm: Callable[..., Any], seed: int, steps: int) -> tuple[Any, dict[int, Any]]:
    """A stormy session and the running engine's state after so many records."""
    pictures: dict[int, Any] = {}

    def watch(storm: Any) -> None:
        pictures[len(storm.records)] = frozen(storm.state)

    storm, dice = make_storm(settings=BUSY, watch=watch), Random(seed)
    storm.quote()
    for _ in range(steps):
        storm.step(dice)
    return storm, pictures


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_fold_of_every_prefix_is_the_state_the_running_engine_had_then(
    seed: int, make_storm: Callable[..., Any]
) -> None:
    storm, pictures = recorded(make_storm, seed, 80)
    again = EngineState([Slot("fake:BTC", "fake", "BTC", (storm.pair.korea, storm.pair.abroad))])
    for number, record in enumerate(storm.records, 1):
        again.apply(record)
        if number in pictures:
            assert picture(again) == pictures[number]
    assert again.version == storm.state.version


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_restart_after_any_record_asks_about_every_open_order_and_sends_none_again(
    seed: int, make_storm: Callable[..., Any]
) -> None:
    storm, _ = recorded(make_storm, seed, 80)
    for count in range(len(storm.records) + 1):
        journal = storm.records[:count]
        open_then = EngineState([Slot("fake:BTC", "fake", "BTC", (storm.pair.korea, storm.pair.abroad))])
        for record in journal:
            open_then.apply(record)
        engine, effects = restored(storm, journal)
        asked = [effect.client_id for effect in effects if isinstance(effect, QueryOrder)]
        timed = [effect.timer.removeprefix("order:") for effect in effects if isinstance(effect, SetTimer)]
        assert set(open_then.unsettled) <= set(asked)
        assert set(open_then.unsettled) <= set(timed)
        intended = {record.order.client_id for record in journal if isinstance(record, OrderIntended)}
        sent = {order.client_id for effect in effects if isinstance(effect, PlaceOrders) for order in effect.orders}
        assert not sent & intended
        if engine.state.slots["fake:BTC"].phase not in (Phase.FLAT, Phase.OPEN):
            assert effects, "a restart in the middle of something must go on with it"


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32), crash_at=st.integers(0, 80))
def test_a_session_cut_by_a_crash_ends_as_hedged_and_as_true_as_any_other(
    seed: int, crash_at: int, make_storm: Callable[..., Any], troubles_of: Callable[..., list[str]]
) -> None:
    storm, dice = make_storm(settings=BUSY), Random(seed)
    storm.quote()
    for step in range(80):
        if step == crash_at:
            storm.timers.clear()
            storm.asked.clear()
            engine, effects = restored(storm, storm.records)
            engine.desks[0].strategy = storm.strategy
            storm.engine = engine
            storm.keep(effects)
        storm.step(dice)
    storm.heal()
    assert troubles_of(storm) == []


def test_a_journal_survives_its_encoding(make_storm: Callable[..., Any]) -> None:
    storm, _ = recorded(make_storm, 7, 150)
    kinds = {type(record).__name__ for record in storm.records}
    assert len(kinds) > 6
    text = msgspec.json.encode(storm.records)
    assert msgspec.json.decode(text, type=list[Record]) == storm.records


def test_a_crash_between_plan_and_orders_leaves_the_slot_flat(bench: Any) -> None:
    bench.enter()
    plan_only = [record for record in bench.records if not isinstance(record, OrderIntended)]
    assert isinstance(plan_only[-1], PlanMade)
    engine, _ = restored(bench, plan_only)
    assert engine.state.slots["fake:BTC"].phase is Phase.FLAT
    assert engine.state.consumed == bench.state.consumed


def test_a_crash_with_a_naked_leg_goes_on_repairing_once_there_are_quotes(bench: Any) -> None:
    korea, abroad = bench.enter()
    bench.complete(korea)
    bench.engine.market.books.clear()
    bench.reject(abroad)
    engine, effects = restored(bench, bench.records)
    assert [type(effect) for effect in effects] == [SetTimer]
    bench.engine, bench.timers = engine, []
    bench.keep(effects)
    bench.quote()
    bench.wait(1)
    assert len(bench.placed) == 3


def test_an_open_pair_comes_back_open_and_silent(bench: Any) -> None:
    bench.opened()
    engine, effects = restored(bench, bench.records)
    assert effects == []
    assert picture(engine.state) == picture(bench.state)


def test_a_lost_order_is_still_watched_after_a_restart_and_an_old_one_is_not(bench: Any) -> None:
    korea, abroad = bench.enter()
    bench.complete(korea, 0)
    bench.unknown(abroad)
    bench.wait(20)
    for _ in range(3):
        bench.absent(abroad)
    assert bench.phase is Phase.FLAT
    _, effects = restored(bench, bench.records)
    assert [effect.client_id for effect in effects if isinstance(effect, QueryOrder)] == [abroad.client_id]
    bench.wait(200)
    _, effects = restored(bench, bench.records)
    assert effects == []


def test_records_that_come_twice_count_once(bench: Any) -> None:
    bench.opened()
    bench.funding("1")
    before = picture(bench.state)
    for record in bench.of(FillBooked) + bench.of(FundingBooked):
        bench.state.apply(record)
    assert picture(bench.state) == before


def test_a_rejection_never_undoes_what_was_proven(bench: Any) -> None:
    korea, _ = bench.enter()
    bench.accept(korea)
    bench.state.apply(OrderOutcome(bench.now, korea.client_id, Rejected("no", "told to")))
    assert korea.client_id in bench.state.unsettled


def test_something_that_is_no_record_is_a_bug(bench: Any) -> None:
    with pytest.raises(AssertionError):
        bench.state.apply("not a record")
