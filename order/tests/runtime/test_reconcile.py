"""Reconciliation: what the venues know and our books do not is told once, and nothing that is unclear is guessed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimp.order.engine.engine import TradingEngine
from kimp.order.engine.foreign import booked
from kimp.order.runtime.comparing import ROUNDING_MAX, TRANSFER_APART
from kimp.order.runtime.inquiry import ASK_AFTER
from kimp.order.runtime.reconcile import WOKEN_AFTER, Reconciler
from kimp.order.runtime.reconciliation import Reconciliation, VenueReconciliation, Verdict
from kimp.order.runtime.watches import DEEP_AGAIN
from kimp.shared.domain.funding import FundingPayment
from kimp.shared.domain.instruments import Side, Venue
from kimp.shared.domain.money import Amount
from kimp.shared.domain.orders import OrderReport, OrderStatus, Unknown
from kimp.shared.domain.signals import Direction, Enter
from kimp.shared.domain.time import HOUR, MINUTE, SECOND
from kimp.shared.messages.events import Event, FeedLost, OrderAnswered, VenueChanged
from kimp.shared.messages.notices import (
    ForeignFill,
    FundsFound,
    PositionMismatch,
    StrayOrder,
    VenueTurned,
)
from kimp.shared.messages.records import FillBooked, FundingBooked, FundsBooked, Phase


@dataclass
class Desk:
    """A story whose venues can be asked, and a reconciler between them; its clock is the story's."""

    story: Any
    upbit: Any
    binance: Any
    notifier: Any
    told: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reconciler = self.fresh(self.story.engine)
        self.story.observers = (self.reconciler,)

    def fresh(self, engine: TradingEngine) -> Reconciler:
        exchanges = {exchange.venue: exchange for exchange in (self.upbit, self.binance)}
        return Reconciler(engine, exchanges, put=self.put, clock=self, notifier=self.notifier, every=30 * SECOND)

    def now(self) -> int:
        return int(self.story.now)

    async def sleep_until(self, at: int) -> None:
        self.story.now = max(self.story.now, at)

    async def put(self, event: Event) -> None:
        self.told.append(event)
        self.story.feed(event)

    def look(self, seconds: int = 0) -> Reconciliation:
        self.story.now += seconds * SECOND
        return asyncio.run(self.reconciler.once())

    def at(self, venue: Venue, seconds: int = 0) -> VenueReconciliation:
        return next(found for found in self.look(seconds).venues if found.venue is venue)

    def started(self) -> Desk:
        asyncio.run(self.reconciler.hold())
        self.look()
        self.story.now += 20 * MINUTE  # past the full hour, when funding might follow
        assert self.look().is_clean
        return self

    def open(self) -> Desk:
        """A pair on, which the venues know of too."""
        self.story.quote("0.005")
        for order in self.story.say(Enter(Direction.LONG_PREMIUM, "told_to")):
            self.fill_there(order)
        self.look(1)
        assert self.story.engine.desks[0].slot.phase is Phase.OPEN, self.story.records[-3:]
        return self

    def fill_there(self, order: Any) -> None:
        """The venue fills an order and tells nobody; asked, it says so."""
        leg = self.story.pair.instrument(order.instrument_id)
        venue = self.upbit if leg.venue is Venue.UPBIT else self.binance
        fill = venue.trade(leg, order.side, str(order.quantity), str(order.limit), self.story.now, order.client_id)
        venue.said[order.client_id] = OrderReport(order.client_id, OrderStatus.DONE, order.quantity, (fill,))
        self.story.now += ASK_AFTER + SECOND

    def of(self, kind: type) -> list[Any]:
        notices = [*self.story.notices, *(notice for _, notice in self.notifier.told)]
        return [kept for kept in (*self.story.records, *notices) if isinstance(kept, kind)]

    def wallet(self, venue: Venue, asset: str) -> Decimal:
        return Decimal(self.story.engine.state.ledger.wallet(venue, asset))


@pytest.fixture
def desk(make_story: Any, upbit: Any, binance: Any, notifier: Any) -> Desk:
    return Desk(make_story(), upbit, binance, notifier)


# -- the first start ---------------------------------------------------------------------------------------------------


def test_what_lies_there_at_the_first_start_is_the_owners(desk: Desk) -> None:
    desk.upbit.move("BTC", "0.5")
    desk.upbit.move("KRW", 250_000)
    first = desk.look()
    assert desk.wallet(Venue.UPBIT, "BTC") == Decimal("0.5")
    assert desk.wallet(Venue.UPBIT, "KRW") == Decimal(10_250_000)
    assert {found.verdict for venue in first.venues for found in venue.wallets} == {Verdict.FIRST_START}
    booked_once = len(desk.of(FundsBooked))
    assert desk.look(60).is_clean
    assert len(desk.of(FundsBooked)) == booked_once
    assert not desk.of(FundsFound)


def test_trades_of_before_the_first_start_are_not_booked_again(desk: Desk) -> None:
    desk.upbit.trade(desk.story.pair.korea, Side.BUY, "0.01", "140000000", desk.story.now - MINUTE)
    desk.look()
    assert desk.look(60).is_clean
    assert not desk.of(FillBooked)


def test_a_crash_in_the_first_start_books_nothing_twice(desk: Desk) -> None:
    desk.upbit.move("BTC", "0.5")
    desk.look()
    everything = list(desk.story.records)
    for length in range(2, len(everything) + 1):  # the story's own two transfers were there before
        again = Desk(type(desk.story)(), desk.upbit, desk.binance, desk.notifier)
        again.story.engine.restore(everything[2:length], again.story.now)
        again.look(1)
        assert again.look(60).is_clean
        assert again.wallet(Venue.UPBIT, "BTC") == Decimal("0.5")


def test_nothing_is_entered_before_both_venues_have_been_reconciled(desk: Desk) -> None:
    asyncio.run(desk.reconciler.hold())
    desk.binance.is_away = True
    desk.story.quote("0.005")
    desk.look()
    assert not desk.reconciler.first_done.is_set()
    assert desk.story.say(Enter(Direction.LONG_PREMIUM, "told_to")) == []
    desk.binance.is_away = False
    desk.look(2)
    assert desk.reconciler.first_done.is_set()
    assert len(desk.story.say(Enter(Direction.LONG_PREMIUM, "told_to"))) == 2


def test_an_adapter_that_calls_its_venue_fine_does_not_lift_the_hold(desk: Desk) -> None:
    async def scenario() -> None:
        await desk.reconciler.hold()
        desk.binance.is_away = True
        async with asyncio.TaskGroup() as group:
            running = group.create_task(desk.reconciler.run())
            await asyncio.sleep(0)
            desk.story.feed(VenueChanged(desk.story.now, Venue.BINANCE, is_available=True, reason="stream is up"))
            await asyncio.sleep(0)
            running.cancel()

    asyncio.run(scenario())
    desk.story.quote("0.005")
    assert desk.story.say(Enter(Direction.LONG_PREMIUM, "told_to")) == []


@pytest.mark.parametrize("is_early", [True, False])
def test_a_venue_in_maintenance_is_not_called_fine_because_it_answers(desk: Desk, is_early: bool) -> None:
    told = VenueChanged(desk.story.now, Venue.UPBIT, is_available=False, reason="maintenance")
    if is_early:
        desk.story.feed(told)
    asyncio.run(desk.reconciler.hold())
    if not is_early:
        desk.story.feed(told)
    desk.look()
    assert desk.reconciler.first_done.is_set()
    desk.story.quote("0.005")
    assert desk.story.say(Enter(Direction.LONG_PREMIUM, "told_to")) == []
    desk.story.feed(VenueChanged(desk.story.now, Venue.UPBIT, is_available=True, reason="maintenance over"))
    assert len(desk.story.say(Enter(Direction.LONG_PREMIUM, "told_to"))) == 2


# -- what was missed ---------------------------------------------------------------------------------------------------


def test_fills_that_no_stream_told_are_booked_once(desk: Desk) -> None:
    desk.started().open()
    assert len(desk.of(FillBooked)) == 2
    assert desk.look(30).is_clean
    assert desk.look(30).is_clean
    assert len(desk.of(FillBooked)) == 2


def test_a_liquidation_is_booked_and_told(desk: Desk) -> None:
    desk.started().open()
    held = desk.binance.contracts["binance:BTCUSDT"]
    desk.binance.trade(desk.story.pair.abroad, Side.BUY, str(-held), "100000", desk.story.now, "autoclose-1")
    desk.binance.balances["USDT"] += held * (Decimal(100_000) - desk.binance.fills[0].price)
    found = desk.at(Venue.BINANCE, 30)
    assert [fill.client_id for fill in found.missed_fills] == ["autoclose-1"]
    assert desk.of(ForeignFill)[0].client_id == "autoclose-1"
    assert booked(desk.story.engine.state, desk.story.pair.abroad) == 0


def test_funding_that_was_missed_is_booked_once(desk: Desk) -> None:
    desk.started().open()
    payment = FundingPayment("f1", "binance:BTCUSDT", Amount(Decimal("0.7"), "USDT"), desk.story.now)
    desk.binance.funding.append(payment)
    desk.binance.move("USDT", "0.7")
    for _ in range(3):
        desk.look(30)
    assert len(desk.of(FundingBooked)) == 1
    assert desk.look(30).is_clean
    assert not desk.of(FundsFound)


def test_funding_that_is_not_in_the_income_yet_is_no_deposit(desk: Desk) -> None:
    desk.started().open()
    desk.story.now = (desk.story.now // HOUR + 1) * HOUR
    desk.binance.move("USDT", "0.7")
    for _ in range(5):
        assert desk.at(Venue.BINANCE, 30).wallets[0].verdict is Verdict.WAITING
    payment = FundingPayment("f1", "binance:BTCUSDT", Amount(Decimal("0.7"), "USDT"), desk.story.now - 150 * SECOND)
    desk.binance.funding.append(payment)
    desk.look(30)
    assert desk.look(30).is_clean
    assert not desk.of(FundsFound)


def test_a_run_asks_from_before_its_last_fill(desk: Desk) -> None:
    desk.started().open()
    last = max(fill.at for fill in desk.upbit.fills)
    again = desk.fresh(desk.story.engine)
    desk.upbit.asked_since.clear()
    asyncio.run(again.once())
    assert desk.upbit.asked_since[0] <= last - HOUR


# -- orders ------------------------------------------------------------------------------------------------------------


def test_an_order_of_unknown_outcome_is_asked_about(desk: Desk) -> None:
    desk.started().story.quote("0.005")
    korea, abroad = desk.story.say(Enter(Direction.LONG_PREMIUM, "told_to"))
    for order in (korea, abroad):
        desk.story.feed(OrderAnswered(desk.story.now, order.client_id, Unknown("timeout")))
    found = desk.look(1)
    assert not any(venue.orders for venue in found.venues), "an order that young is the engine's to ask about"
    desk.story.now += ASK_AFTER
    for order in (korea, abroad):
        desk.fill_there(order)
    desk.look()
    assert desk.story.engine.desks[0].slot.phase is Phase.OPEN


def test_an_order_of_ours_that_still_rests_is_cancelled_and_told_once(desk: Desk) -> None:
    desk.started()
    leg = desk.story.pair.abroad.id
    desk.binance.resting.append((leg, "kimp-left-behind"))
    desk.binance.said["kimp-left-behind"] = OrderReport("kimp-left-behind", OrderStatus.WORKING, Decimal(0))
    for _ in range(3):
        assert desk.at(Venue.BINANCE, 30).strays[0].is_cancelled
    assert desk.of(StrayOrder) == [StrayOrder(leg, "kimp-left-behind", is_ours=True)]
    assert desk.binance.cancelled == ["kimp-left-behind"] * 3


def test_somebody_elses_order_is_told_and_left_alone(desk: Desk) -> None:
    desk.started()
    desk.upbit.resting.append((desk.story.pair.korea.id, "uuid-of-a-hand"))
    desk.look(30)
    assert desk.of(StrayOrder) == [StrayOrder(desk.story.pair.korea.id, "uuid-of-a-hand", is_ours=False)]
    assert desk.upbit.cancelled == []


def test_an_order_that_ended_while_it_was_listed_is_no_stray(desk: Desk) -> None:
    desk.started()
    desk.binance.resting.append((desk.story.pair.abroad.id, "kimp-just-over"))
    desk.binance.said["kimp-just-over"] = OrderReport("kimp-just-over", OrderStatus.DONE, Decimal(0))
    desk.look(30)
    assert not desk.of(StrayOrder)
    assert desk.binance.cancelled == []


def test_a_command_that_only_looks_cancels_nothing(desk: Desk) -> None:
    desk.started()
    desk.binance.resting.append((desk.story.pair.abroad.id, "kimp-left-behind"))
    desk.binance.said["kimp-left-behind"] = OrderReport("kimp-left-behind", OrderStatus.WORKING, Decimal(0))
    exchanges = {exchange.venue: exchange for exchange in (desk.upbit, desk.binance)}
    looking = Reconciler(
        desk.story.engine,
        exchanges,
        put=desk.put,
        clock=desk,
        notifier=desk.notifier,
        every=30 * SECOND,
        may_cancel=False,
    )
    found = asyncio.run(looking.once())
    assert [len(venue.strays) for venue in found.venues] == [0, 1]
    assert desk.binance.cancelled == []


# -- positions ---------------------------------------------------------------------------------------------------------


def test_a_position_is_compared_twice_before_it_is_an_alarm(desk: Desk) -> None:
    desk.started()
    desk.binance.contracts["binance:BTCUSDT"] = Decimal("-0.01")
    assert desk.at(Venue.BINANCE, 30).positions[0].verdict is Verdict.SEEN_ONCE
    assert not desk.of(PositionMismatch)
    assert desk.at(Venue.BINANCE, 2).positions[0].verdict is Verdict.MISMATCH
    assert desk.of(PositionMismatch)[0].theirs == Decimal("-0.01")
    desk.story.quote("0.005")
    assert desk.story.say(Enter(Direction.LONG_PREMIUM, "told_to")) == []
    del desk.binance.contracts["binance:BTCUSDT"]
    desk.look(30)
    assert len(desk.story.say(Enter(Direction.LONG_PREMIUM, "told_to"))) == 2


def test_a_difference_that_nothing_explains_is_searched_for_far_back(desk: Desk) -> None:
    desk.started()
    leg = desk.story.pair.abroad
    old = desk.binance.trade(leg, Side.SELL, "0.01", "100000", desk.story.now)
    desk.binance.fills.clear()
    desk.look(30)
    desk.look(2 * 3600)
    desk.look(2 * 3600)  # from here on the usual overlap does not reach back to it
    desk.binance.fills.append(old)
    desk.look(DEEP_AGAIN // SECOND)
    assert booked(desk.story.engine.state, leg) == Decimal("-0.01")


def test_while_an_order_is_in_flight_a_difference_says_nothing(desk: Desk) -> None:
    desk.started().story.quote("0.005")
    korea, _ = desk.story.say(Enter(Direction.LONG_PREMIUM, "told_to"))
    desk.upbit.move("BTC", korea.quantity)
    desk.upbit.move("KRW", -korea.quantity * korea.limit)
    found = desk.at(Venue.UPBIT, 1)
    assert not found.is_quiet
    assert {compared.verdict for compared in (*found.wallets, *found.positions)} == {Verdict.WAITING}


def test_what_was_traded_while_the_venue_was_asked_is_no_difference(desk: Desk) -> None:
    desk.started().story.quote("0.005")
    desk.upbit.meanwhile = desk.story.enter
    found = desk.at(Venue.UPBIT, 30)
    assert not found.is_quiet
    assert found.positions[0].verdict is Verdict.WAITING


def test_a_venue_is_let_go_only_when_what_was_missed_has_been_booked(desk: Desk) -> None:
    desk.started().open()
    again = Desk(type(desk.story)(), desk.upbit, desk.binance, desk.notifier)
    again.story.now = desk.story.now
    first_fill = next(i for i, record in enumerate(desk.story.records) if isinstance(record, FillBooked))
    again.story.engine.restore(desk.story.records[2:first_fill], again.story.now)
    asyncio.run(again.reconciler.hold())
    again.look(1)
    assert not again.reconciler.first_done.is_set()
    again.look(2)
    assert again.reconciler.first_done.is_set()
    assert again.story.engine.desks[0].slot.phase is Phase.OPEN


# -- money -------------------------------------------------------------------------------------------------------------


def test_a_deposit_counts_when_two_looks_apart_agree(desk: Desk) -> None:
    desk.started().upbit.move("KRW", 500_000)
    assert desk.at(Venue.UPBIT, 30).wallets[0].verdict is Verdict.SEEN_ONCE
    assert desk.at(Venue.UPBIT, 2).wallets[0].verdict is Verdict.SEEN_ONCE
    assert not desk.of(FundsFound)
    assert desk.at(Venue.UPBIT, TRANSFER_APART // SECOND).wallets[0].verdict is Verdict.TRANSFER
    assert desk.of(FundsFound) == [FundsFound(Venue.UPBIT, Amount(Decimal(500_000), "KRW"))]
    assert desk.look(30).is_clean
    assert desk.wallet(Venue.UPBIT, "KRW") == Decimal(10_500_000)


def test_a_deposit_is_booked_once_whenever_the_trader_dies(desk: Desk) -> None:
    desk.started().upbit.move("KRW", 500_000)
    for _ in range(3):
        desk.look(30)
    for length in (len(desk.story.records) - 1, len(desk.story.records)):
        again = Desk(type(desk.story)(), desk.upbit, desk.binance, desk.notifier)
        again.story.now = desk.story.now
        again.story.engine.restore(desk.story.records[2:length], again.story.now)
        for _ in range(4):
            again.look(30)
        assert again.wallet(Venue.UPBIT, "KRW") == Decimal(10_500_000)
        assert again.look(30).is_clean


def test_the_same_transfer_has_the_same_id_before_and_after_a_crash(desk: Desk) -> None:
    desk.started().upbit.move("KRW", 500_000)
    for _ in range(3):
        desk.look(30)
    first = desk.of(FundsBooked)[-1].transfer_id
    again = Desk(type(desk.story)(), desk.upbit, desk.binance, desk.notifier)
    again.story.now = desk.story.now
    again.story.engine.restore(desk.story.records[2:-1], again.story.now)
    for _ in range(3):
        again.look(30)
    assert again.of(FundsBooked)[-1].transfer_id == first


def test_what_looks_like_a_trade_is_never_booked_as_a_transfer(desk: Desk) -> None:
    desk.started().upbit.move("KRW", -1_400_000)
    desk.upbit.move("BTC", "0.01")
    for _ in range(4):
        desk.look(30)
    assert not desk.of(FundsFound)
    assert desk.of(PositionMismatch)[0].theirs == Decimal("0.01")


def test_rounding_is_shown_and_not_booked(desk: Desk) -> None:
    desk.started().upbit.move("KRW", ROUNDING_MAX["KRW"])
    for _ in range(3):
        found = desk.at(Venue.UPBIT, 30).wallets[0]
    assert (found.verdict, found.difference) == (Verdict.ROUNDING, ROUNDING_MAX["KRW"])
    assert not desk.of(FundsFound)
    desk.upbit.move("KRW", "0.01")
    for _ in range(3):
        desk.look(30)
    assert desk.of(FundsFound)[0].amount.value == ROUNDING_MAX["KRW"] + Decimal("0.01")


def test_coins_of_an_open_pair_are_never_written_off(desk: Desk) -> None:
    desk.started().open()
    desk.upbit.move("BTC", "-0.01")
    for _ in range(4):
        desk.look(30)
    assert not desk.of(FundsFound)
    assert desk.of(PositionMismatch)


def test_spare_coins_may_come_and_go(desk: Desk) -> None:
    desk.started().open()
    for amount in ("0.02", "-0.015"):
        desk.upbit.move("BTC", amount)
        for _ in range(3):
            desk.look(30)
    assert [found.amount.value for found in desk.of(FundsFound)] == [Decimal("0.02"), Decimal("-0.015")]
    assert not desk.of(PositionMismatch)
    assert desk.look(30).is_clean


# -- venues that cannot be asked ---------------------------------------------------------------------------------------


def test_a_venue_counts_as_away_after_two_looks_and_the_other_goes_on(desk: Desk) -> None:
    desk.started().upbit.is_away = True
    desk.binance.trade(desk.story.pair.abroad, Side.SELL, "0.01", "100000", desk.story.now)
    desk.look(30)
    assert not desk.of(VenueTurned)
    assert len(desk.of(FillBooked)) == 1
    desk.look(2)
    assert [notice.is_available for notice in desk.of(VenueTurned)] == [False]
    desk.upbit.is_away = False
    desk.look(2)
    assert [notice.is_available for notice in desk.of(VenueTurned)] == [False, True]


def test_an_adapter_that_raises_is_a_venue_that_is_away(desk: Desk) -> None:
    desk.started().upbit.bug = RuntimeError("a bug")
    found = desk.at(Venue.UPBIT, 30)
    assert (found.is_reachable, found.reason) == (False, "RuntimeError: a bug")
    assert desk.at(Venue.BINANCE).is_reachable


def test_a_venue_that_stays_away_is_asked_ever_more_slowly(desk: Desk) -> None:
    desk.started().upbit.is_away = True
    began, looks = desk.story.now, desk.upbit.looks

    async def scenario() -> None:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(desk.reconciler.run())
            while desk.story.now < began + 10 * MINUTE:
                await asyncio.sleep(0)
            running.cancel()

    asyncio.run(scenario())
    assert 20 <= desk.upbit.looks - looks <= 26


def test_a_doubt_is_looked_into_sooner_but_not_all_the_time(desk: Desk) -> None:
    desk.started()
    began, looks = desk.story.now, desk.upbit.looks

    async def scenario() -> None:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(desk.reconciler.run())
            while desk.story.now < began + MINUTE:
                await asyncio.sleep(0)
                desk.story.feed(FeedLost(desk.story.now, "upbit:KRW-BTC", "flaps"))
            running.cancel()

    asyncio.run(scenario())
    assert MINUTE // WOKEN_AFTER <= desk.upbit.looks - looks <= MINUTE // WOKEN_AFTER + 2


# -- all of it ---------------------------------------------------------------------------------------------------------


def happen(desk: Desk, dice: Random) -> None:
    """Something at a venue that nobody tells us of."""
    pair = desk.story.pair
    match dice.randrange(6):
        case 0:
            desk.upbit.move("KRW", dice.randrange(-500_000, 500_000))
        case 1:
            desk.binance.move("USDT", dice.randrange(-300, 300))
        case 2:
            desk.upbit.trade(pair.korea, Side.BUY, "0.001", "140000000", desk.story.now)
        case 3 if desk.upbit.balances.get("BTC", 0) >= Decimal("0.001"):
            desk.upbit.trade(pair.korea, Side.SELL, "0.001", "141000000", desk.story.now)
        case 4:
            desk.binance.trade(pair.abroad, Side.SELL, "0.002", "100000", desk.story.now)
        case _:
            payment = FundingPayment(
                f"f{desk.story.now}", pair.abroad.id, Amount(Decimal("0.1"), "USDT"), desk.story.now
            )
            desk.binance.funding.append(payment)
            desk.binance.move("USDT", "0.1")


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32))
def test_whatever_happens_the_books_end_up_as_the_venues_say(make_story: Any, make_fakes: Any, seed: int) -> None:
    dice = Random(seed)
    desk = Desk(make_story(), *make_fakes()).started()
    for _ in range(12):
        happen(desk, dice)
        if dice.random() < 0.5:
            desk.look(dice.choice((1, 2, 30, 700)))
    desk.story.now = (desk.story.now // HOUR + 1) * HOUR + 20 * MINUTE  # no funding can still follow
    for _ in range(5):
        desk.look(30)
    ledger = desk.story.engine.state.ledger
    assert ledger.wallet(Venue.UPBIT, "BTC") == desk.upbit.balances.get("BTC", 0)
    assert booked(desk.story.engine.state, desk.story.pair.abroad) == desk.binance.contracts.get("binance:BTCUSDT", 0)
    for venue, asset in ((desk.upbit, "KRW"), (desk.binance, "USDT")):
        assert abs(ledger.wallet(venue.venue, asset) - venue.balances[asset]) <= ROUNDING_MAX[asset]
    fills = [record.fill.trade_id for record in desk.of(FillBooked)]
    assert sorted(fills) == sorted(fill.trade_id for venue in (desk.upbit, desk.binance) for fill in venue.fills)
