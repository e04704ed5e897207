"""The executor against a venue that may do anything, one rule at a time: safety after every step, then liveness."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from kimp.order.engine.settings import EngineSettings
from kimp.shared.domain.signals import Direction, Enter, Exit, Hold
from kimp.shared.messages.effects import PlaceOrders
from kimp.shared.messages.events import SwitchState
from kimp.shared.messages.records import Phase

INDEX = st.integers(0, 1_000)
SHARES = st.sampled_from((Decimal(0), Decimal("0.4"), Decimal("0.6"), Decimal(1)))
TENTHS = st.integers(0, 10).map(lambda tenths: Decimal(tenths) / 10)


class OrdersInAnyWeather(RuleBasedStateMachine):
    """Each rule is one thing a venue, the post, the clock, the market or the owner may do."""

    def __init__(self, make_storm: Callable[..., Any], faults_of: Any, troubles_of: Any) -> None:
        super().__init__()
        self.storm = make_storm(settings=EngineSettings(cooldown=0, entries_per_minute_max=10_000))
        self.faults_of, self.troubles_of = faults_of, troubles_of
        self.storm.quote()

    # -- the market and the owner

    @rule(share=SHARES, premium=st.integers(-20, 80), leaves=st.booleans())
    def signal(self, share: Decimal, premium: int, leaves: bool) -> None:
        self.storm.now += 1
        enters = Enter(Direction.LONG_PREMIUM, "drawn", share)
        self.storm.strategy.says = Exit("drawn") if leaves else enters
        self.storm.quote(premium=str(Decimal(premium) / 1000))
        self.storm.strategy.says = Hold("told to")

    @rule(percent=st.integers(-5, 5))
    def move(self, percent: int) -> None:
        price = (self.storm.prices[2] * (100 + percent) / 100).quantize(Decimal("0.1"))
        self.storm.quote(abroad=str(price))

    @rule(state=st.sampled_from(SwitchState))
    def turn(self, state: SwitchState) -> None:
        self.storm.turn(state)

    @rule(share=st.sampled_from((Decimal("0.5"), Decimal(1))))
    def liquidate(self, share: Decimal) -> None:
        self.storm.strike(share)

    @rule(cents=st.integers(-200, 200))
    def fund(self, cents: int) -> None:
        self.storm.funding(str(Decimal(cents) / 100), f"f{len(self.storm.records)}")

    @rule(seconds=st.sampled_from(("0.1", "0.3", "1", "4", "15")))
    def wait(self, seconds: str) -> None:
        self.storm.pass_time(seconds)

    # -- the venues

    @precondition(lambda self: self.storm.under_way())
    @rule(
        index=INDEX, share=SHARES, better=TENTHS, pieces=st.integers(1, 3), answers=st.booleans(), tells=st.booleans()
    )
    def arrive(self, index: int, share: Decimal, better: Decimal, pieces: int, answers: bool, tells: bool) -> None:
        truth = self.drawn(self.storm.under_way(), index)
        self.storm.execute(truth, share, better, pieces)
        self.storm.say(truth, answers=answers, tells=tells)

    @precondition(lambda self: self.storm.under_way())
    @rule(index=INDEX)
    def refuse(self, index: int) -> None:
        truth = self.drawn(self.storm.under_way(), index)
        truth.fate = "refused"
        self.storm.say(truth)

    @precondition(lambda self: self.storm.under_way())
    @rule(index=INDEX)
    def hide(self, index: int) -> None:
        self.storm.hide(self.drawn(self.storm.under_way(), index))

    @precondition(lambda self: self.storm.under_way())
    @rule(index=INDEX, arrives_later=st.booleans())
    def doubt(self, index: int, arrives_later: bool) -> None:
        truth = self.drawn(self.storm.under_way(), index)
        truth.fate = "under way" if arrives_later else "vanished"
        self.storm.doubt(truth)

    @precondition(lambda self: self.storm.asked)
    @rule(index=INDEX, lags=st.booleans(), bare=st.booleans())
    def reply(self, index: int, lags: bool, bare: bool) -> None:
        self.storm.reply(self.drawn(self.storm.asked, index), lags=lags, bare=bare)

    # -- the post

    @precondition(lambda self: self.storm.post)
    @rule(index=INDEX, again=st.booleans())
    def deliver(self, index: int, again: bool) -> None:
        self.storm.deliver(index % len(self.storm.post), again=again)

    @staticmethod
    def drawn(among: list[Any], index: int) -> Any:
        return among[index % len(among)]

    # -- safety; that no client id is ever placed twice, and none before its intent, the bench itself asserts

    @invariant()
    def settled_means_matched_or_under_repair(self) -> None:
        slot = self.storm.slot
        if slot.phase is Phase.FLAT and not slot.unsettled:
            assert slot.position is None
        if slot.phase is Phase.OPEN and not slot.unsettled:
            assert abs(sum(self.storm.held())) < self.storm.pair.lot

    @invariant()
    def something_is_always_going_to_happen(self) -> None:
        if self.storm.phase not in (Phase.FLAT, Phase.OPEN):
            assert self.storm.timers, f"{self.storm.phase} without a timer would last for ever"

    @invariant()
    def money_is_conserved(self) -> None:
        assert self.faults_of(self.storm.state.ledger) == []

    @invariant()
    def a_stop_lets_no_entry_out(self) -> None:
        if self.storm.state.switch is not SwitchState.ACTIVE:
            for effect in self.storm.effects:
                if isinstance(effect, PlaceOrders):
                    purposes = {self.storm.state.orders[order.client_id].purpose.value for order in effect.orders}
                    assert "enter" not in purposes

    # -- liveness

    def teardown(self) -> None:
        self.storm.heal(120)
        assert self.troubles_of(self.storm) == []


def test_orders_in_any_weather_end_settled_and_hedged(
    make_storm: Callable[..., Any], conservation_faults: Any, troubles_of: Any
) -> None:
    run_state_machine_as_test(
        lambda: OrdersInAnyWeather(make_storm, conservation_faults, troubles_of),
        settings=settings(max_examples=120, stateful_step_count=50, deadline=None),
    )
