"""Two legs on and off: what leaves, in which order it is journaled, and what makes a pair open or flat."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from kimp.order.engine.executor import OrderExecutor
from kimp.order.engine.market import MarketState
from kimp.order.engine.outbox import Outbox
from kimp.order.engine.settings import EngineSettings
from kimp.order.engine.state import FOREIGN_SIGNAL, EngineState, Slot
from kimp.shared.domain.funding import FundingPayment
from kimp.shared.domain.instruments import Side, Venue, binance_perpetual
from kimp.shared.domain.money import Amount
from kimp.shared.domain.orders import Accepted, Fill, OrderReport, OrderStatus, TimeInForce, client_order_id
from kimp.shared.domain.positions import Action, LegPlan, Plan, Purpose
from kimp.shared.domain.signals import Direction
from kimp.shared.domain.time import SECOND
from kimp.shared.messages.effects import Append, PlaceOrders, QueryOrder, SetTimer
from kimp.shared.messages.events import FundingPaid, FundsMoved, OrderFilled, SwitchState
from kimp.shared.messages.notices import ForcedLoss, ForeignFill, PairClosed, PairOpened
from kimp.shared.messages.records import (
    FillBooked,
    FundingBooked,
    FundsBooked,
    OrderIntended,
    Phase,
    PhaseEntered,
    PlanMade,
)

LONG, SHORT = Direction.LONG_PREMIUM, Direction.SHORT_PREMIUM


# Entering


def test_an_entry_is_journaled_in_full_before_both_orders_leave_in_one_effect(bench: Any) -> None:
    korea, abroad = bench.enter()
    kinds = [type(effect.record) if isinstance(effect, Append) else type(effect) for effect in bench.effects]
    assert kinds == [PlanMade, OrderIntended, OrderIntended, PlaceOrders, SetTimer, SetTimer]
    assert bench.batches == [(korea, abroad)]
    assert bench.phase is Phase.ENTERING


def test_an_entry_buys_korea_and_sells_the_perpetual_at_once_or_not_at_all(bench: Any) -> None:
    korea, abroad = bench.enter()
    assert (korea.instrument_id, korea.side, korea.limit) == ("upbit:KRW-BTC", Side.BUY, Decimal(145_189_000))
    assert (abroad.instrument_id, abroad.side, abroad.limit) == ("binance:BTCUSDT", Side.SELL, Decimal(99_800))
    assert korea.quantity == abroad.quantity == Decimal("0.065")
    assert {order.time_in_force for order in (korea, abroad)} == {TimeInForce.IOC}
    assert not korea.reduce_only
    assert not abroad.reduce_only


def test_client_ids_are_functions_of_signal_leg_and_attempt(bench: Any) -> None:
    orders = bench.enter()
    signal_id = bench.of(PlanMade)[0].plan.signal_id
    assert signal_id == f"fake:BTC:enter:{bench.now}"
    assert [order.client_id for order in orders] == [client_order_id(signal_id, leg, 0) for leg in (0, 1)]


def test_a_pair_is_open_once_both_orders_are_proven(bench: Any) -> None:
    korea, abroad = bench.enter()
    bench.complete(korea, price=144_900_000)
    assert bench.phase is Phase.ENTERING
    bench.complete(abroad, price=100_000)
    assert bench.phase is Phase.OPEN
    (notice,) = bench.of(PairOpened)
    assert (notice.slot, notice.quantity, notice.direction) == ("fake:BTC", Decimal("0.065"), LONG)
    assert notice.premium == Decimal("0.035")
    assert bench.held() == (Decimal("0.065"), Decimal("-0.065"))


def test_an_order_is_not_over_when_it_is_filled_but_when_the_venue_says_so(bench: Any) -> None:
    korea, abroad = bench.enter()
    for order in (korea, abroad):
        bench.accept(order)
        bench.fill(order)
    assert bench.phase is Phase.ENTERING
    bench.done(korea)
    bench.done(abroad)
    assert bench.phase is Phase.OPEN


def test_fills_before_the_answer_count_as_well(bench: Any) -> None:
    for order in bench.enter():
        bench.fill(order)
        bench.done(order)
        bench.accept(order)
    assert bench.phase is Phase.OPEN


def test_a_report_that_names_its_fills_is_enough(bench: Any) -> None:
    for order in bench.enter():
        bench.done(order, fills=[bench.fill_of(order, "0.05"), bench.fill_of(order, "0.015")])
    assert bench.phase is Phase.OPEN
    assert bench.held() == (Decimal("0.065"), Decimal("-0.065"))


def test_both_rejected_is_flat_and_nothing_is_told(bench: Any) -> None:
    for order in bench.enter():
        bench.reject(order)
    assert bench.phase is Phase.FLAT
    assert bench.of(PhaseEntered)[-1].reason == "nothing_filled"
    assert bench.notices == []
    assert bench.position is None


def test_both_unfilled_is_flat(bench: Any) -> None:
    for order in bench.enter():
        bench.complete(order, 0)
    assert bench.phase is Phase.FLAT


def test_equal_partial_fills_are_an_open_pair(bench: Any) -> None:
    for order in bench.enter():
        bench.complete(order, "0.03")
    assert bench.phase is Phase.OPEN
    assert bench.held() == (Decimal("0.030"), Decimal("-0.030"))
    assert len(bench.placed) == 2


def test_legs_less_than_a_lot_apart_match(bench: Any) -> None:
    korea, abroad = bench.enter()
    bench.complete(korea, "0.06400001")
    bench.complete(abroad)
    assert bench.phase is Phase.OPEN
    assert len(bench.placed) == 2


def test_legs_a_lot_apart_do_not_match(bench: Any) -> None:
    korea, abroad = bench.enter()
    bench.complete(korea, "0.064")
    bench.complete(abroad)
    assert bench.phase is Phase.REPAIRING


def test_a_failed_second_tranche_leaves_the_first_open_and_untold(bench: Any) -> None:
    bench.complete_all(bench.enter(share="0.4"))
    bench.now += 1
    for order in bench.enter(share="0.6"):
        bench.reject(order)
    assert bench.phase is Phase.OPEN
    assert len(bench.of(PairOpened)) == 1


def test_a_second_tranche_joins_the_same_position(bench: Any) -> None:
    bench.complete_all(bench.enter(share="0.4"))
    first = bench.position.signal_id
    bench.now += 1
    bench.complete_all(bench.enter(share="0.6"))
    assert bench.position.signal_id == first
    assert bench.held() == (Decimal("0.065"), Decimal("-0.065"))
    assert {record.signal_id for record in bench.of(FillBooked)} == {first}


# Leaving


@pytest.fixture
def leaving(bench: Any) -> Any:
    """A bench whose open pair has begun to leave at a profit; the two orders are the last placed."""
    bench.opened().quote(premium="0.06")
    bench.leave()
    return bench


def test_an_exit_sells_korea_and_buys_back_the_perpetual_reduce_only(leaving: Any) -> None:
    korea, abroad = leaving.batches[-1]
    assert (korea.side, korea.quantity, korea.reduce_only) == (Side.SELL, Decimal("0.065"), False)
    assert (abroad.side, abroad.quantity, abroad.reduce_only) == (Side.BUY, Decimal("0.065"), True)
    assert leaving.phase is Phase.EXITING


def test_a_filled_exit_is_flat_and_tells_what_it_earned(leaving: Any, conservation_faults: Callable[..., Any]) -> None:
    leaving.complete_all(leaving.batches[-1])
    assert leaving.phase is Phase.FLAT
    (closed,) = leaving.of(PairClosed)
    assert closed.breakdown.net > 0
    assert not closed.is_loss
    assert leaving.of(ForcedLoss) == []
    ledger = leaving.state.ledger
    won = ledger.wallet(Venue.UPBIT, "KRW") - 10_000_000
    dollars = ledger.wallet(Venue.BINANCE, "USDT") - 7_000
    assert abs(won + dollars * 1400 - closed.breakdown.net) < Decimal("1e-6")
    assert conservation_faults(ledger) == []
    assert leaving.slot.closed[-1].reason == "told to"


def test_an_exit_that_fills_in_part_stays_open_with_the_rest(leaving: Any) -> None:
    for order in leaving.batches[-1]:
        leaving.complete(order, "0.025")
    assert leaving.phase is Phase.OPEN
    assert leaving.held() == (Decimal("0.040"), Decimal("-0.040"))
    assert leaving.of(PairClosed) == []
    assert len(leaving.of(PairOpened)) == 1


def test_an_exit_that_fills_nothing_stays_open(leaving: Any) -> None:
    for order in leaving.batches[-1]:
        leaving.reject(order)
    assert leaving.phase is Phase.OPEN


def test_an_exit_never_leaves_with_limits_that_could_realise_a_loss(leaving: Any) -> None:
    for order in leaving.batches[-1]:
        leaving.complete(order)  # the whole size at its own limit
    assert leaving.of(PairClosed)[0].breakdown.net > 0


def test_a_short_premium_pair_comes_and_goes_the_other_way_round(make_bench: Callable[..., Any]) -> None:
    bench = make_bench(btc="0.1")
    korea, abroad = bench.enter(SHORT)
    assert (korea.side, abroad.side) == (Side.SELL, Side.BUY)
    bench.complete_all((korea, abroad))
    assert bench.held() == (Decimal("-0.066"), Decimal("0.066"))
    bench.quote(premium="0.01")
    korea, abroad = bench.leave()
    assert (korea.side, abroad.side, abroad.reduce_only) == (Side.BUY, Side.SELL, True)
    bench.complete_all((korea, abroad))
    assert bench.of(PairClosed)[0].breakdown.net > 0


def test_contracts_below_the_minimum_notional_still_leave_reduce_only(bench: Any) -> None:
    korea, abroad = bench.enter()
    bench.complete(korea, "0.001")
    bench.complete(abroad, "0.001")
    assert bench.phase is Phase.OPEN
    bench.quote(abroad="90000", premium="0.08")
    orders = bench.leave()
    assert [order.quantity for order in orders] == [Decimal("0.001")] * 2
    bench.complete_all(orders)
    assert bench.phase is Phase.FLAT


def test_dust_that_no_venue_takes_leaves_the_pair_for_the_ledger(bench: Any) -> None:
    bench.opened().quote(premium="0.06")
    korea, abroad = bench.leave()
    bench.complete(korea, "0.06498")
    bench.complete(abroad)
    assert bench.phase is Phase.FLAT
    assert bench.position is None
    assert bench.state.ledger.wallet(Venue.UPBIT, "BTC") == Decimal("0.00002")
    assert bench.of(PairClosed)[0].breakdown.net > 0


def test_dust_without_a_book_waits_for_one_and_then_leaves_the_pair(bench: Any) -> None:
    bench.opened().quote(premium="0.06")
    korea, abroad = bench.leave()
    bench.engine.market.books.clear()
    bench.complete(abroad)
    bench.complete(korea, "0.06498")
    bench.wait(1)
    assert bench.phase is Phase.REPAIRING
    bench.quote()
    bench.wait(1)
    assert bench.phase is Phase.FLAT
    assert len(bench.placed) == 4


def test_a_plan_that_no_venue_would_take_anything_of_sends_nothing_and_ends_at_once(bench: Any) -> None:
    bench.opened()
    entered = bench.of(PlanMade)[0].plan
    plan = replace(entered, signal_id="by hand", action=Action.EXIT, legs=())
    bench.engine.executor.begin(bench.slot, plan, Purpose.ENTER)
    bench.quote()
    assert bench.phase is Phase.OPEN
    assert len(bench.placed) == 2


def test_an_exit_waits_while_an_order_taken_as_over_is_asked_about_again(bench: Any) -> None:
    korea, abroad = bench.enter()
    bench.complete(abroad, "0.03")
    bench.complete(korea, "0.03")
    assert bench.phase is Phase.OPEN
    bench.done(korea, "0.04")
    bench.quote(premium="0.06")
    assert bench.leave() == ()
    assert bench.refusals["order_unknown"] == 1
    bench.done(korea, "0.04", [bench.fill_of(korea, "0.01")])
    assert bench.phase is Phase.REPAIRING


# What counts once


def test_the_same_fill_twice_is_booked_once(bench: Any) -> None:
    korea, _ = bench.enter()
    fill = bench.fill(korea)
    for _ in range(3):
        assert bench.feed(OrderFilled(bench.now, fill)) == []
    bench.done(korea, fills=[fill])
    assert bench.held()[0] == Decimal("0.065")
    assert len(bench.of(FillBooked)) == 1


def test_the_same_report_twice_is_recorded_once(bench: Any) -> None:
    korea, _ = bench.enter()
    bench.done(korea, 0)
    assert bench.done(korea, 0) == []


def test_a_word_on_an_order_nobody_knows_is_ignored(bench: Any) -> None:
    korea, _ = bench.enter()
    bench.state.orders.pop(korea.client_id)
    assert bench.accept(korea) == []
    assert bench.done(korea) == []


def test_a_fill_of_an_instrument_nobody_trades_is_ignored(bench: Any) -> None:
    fill = bench.fill_of(bench.enter()[0])
    stray = msgspec.structs.replace(fill, client_id="hand", instrument_id="upbit:KRW-DOGE")
    assert bench.feed(OrderFilled(bench.now, stray)) == []


# Foreign fills


def test_a_liquidated_short_has_its_spot_sold_labelled_and_alerted(bench: Any) -> None:
    bench.opened()
    bench.now += SECOND
    bench.quote(abroad="198000")
    bench.foreign(bench.pair.abroad, Side.BUY, "0.065", "199000")
    assert bench.of(ForeignFill)[0].client_id == "autoclose-1"
    assert bench.phase is Phase.REPAIRING
    (sale,) = bench.batches[-1]
    assert (sale.instrument_id, sale.side, sale.quantity) == (bench.pair.korea.id, Side.SELL, Decimal("0.065"))
    bench.complete(sale, price=bench.prices[0])
    assert bench.phase is Phase.FLAT
    assert [record.purpose for record in bench.of(FillBooked)[-2:]] == [Purpose.FOREIGN, Purpose.REPAIR]
    (closed,) = bench.of(PairClosed)
    if closed.is_loss:
        assert bench.of(ForcedLoss)[0].cause == "foreign_fill"


def test_a_loss_by_liquidation_is_alerted_with_its_cause(bench: Any) -> None:
    bench.opened()
    bench.now += SECOND
    bench.quote(abroad="198000", premium="-0.05")
    bench.foreign(bench.pair.abroad, Side.BUY, "0.065", "199000")
    bench.complete(bench.batches[-1][0], price=bench.prices[0])
    (loss,) = bench.of(ForcedLoss)
    assert (loss.cause, loss.net) == ("foreign_fill", bench.of(PairClosed)[0].breakdown.net)
    assert loss.net < 0


def test_a_partial_deleveraging_sells_as_much_spot_and_keeps_the_rest(bench: Any) -> None:
    bench.opened()
    bench.now += SECOND
    bench.quote()
    bench.foreign(bench.pair.abroad, Side.BUY, "0.020", "100000", "adl_autoclose-9")
    bench.complete(bench.batches[-1][0])
    assert bench.phase is Phase.OPEN
    assert bench.held() == (Decimal("0.045"), Decimal("-0.045"))


def test_two_foreign_fills_at_one_moment_are_two_repairs_with_their_own_ids(bench: Any) -> None:
    bench.opened()
    bench.quote()
    for _ in range(2):
        bench.foreign(bench.pair.abroad, Side.BUY, "0.020", "100000")
        bench.complete(bench.batches[-1][0])
    assert bench.held() == (Decimal("0.025"), Decimal("-0.025"))
    assert bench.phase is Phase.OPEN


def test_a_foreign_fill_that_reduces_nothing_of_ours_is_booked_apart(bench: Any) -> None:
    bench.opened()
    bench.foreign(bench.pair.abroad, Side.SELL, "0.010", "100000", "web_1")
    assert bench.phase is Phase.OPEN
    assert bench.held() == (Decimal("0.065"), Decimal("-0.065"))
    assert bench.of(FillBooked)[-1].signal_id == FOREIGN_SIGNAL


def test_coins_of_the_owner_s_own_may_be_sold_without_touching_the_pair(make_bench: Callable[..., Any]) -> None:
    bench = make_bench(btc="0.3").opened()
    bench.foreign(bench.pair.korea, Side.SELL, "0.1", "144900000", "web_1")
    assert bench.phase is Phase.OPEN
    assert bench.of(FillBooked)[-1].signal_id == FOREIGN_SIGNAL
    assert bench.held() == (Decimal("0.065"), Decimal("-0.065"))


def test_more_coins_sold_by_hand_than_are_the_owner_s_own_were_taken_from_the_pair(
    make_bench: Callable[..., Any],
) -> None:
    bench = make_bench(btc="0.01").opened()
    bench.quote()
    bench.foreign(bench.pair.korea, Side.SELL, "0.05", "144900000", "web_1")
    assert bench.phase is Phase.REPAIRING
    assert bench.held() == (Decimal("0.015"), Decimal("-0.065"))


def test_contracts_opened_by_hand_may_be_closed_by_hand(bench: Any) -> None:
    bench.opened()
    bench.foreign(bench.pair.abroad, Side.SELL, "0.010", "100000", "web_1")
    bench.foreign(bench.pair.abroad, Side.BUY, "0.010", "100000", "web_2")
    assert bench.phase is Phase.OPEN
    assert bench.held() == (Decimal("0.065"), Decimal("-0.065"))


def test_a_liquidation_heard_of_before_the_sale_it_closes_belongs_to_the_pair(bench: Any) -> None:
    korea, abroad = bench.enter()
    bench.foreign(bench.pair.abroad, Side.BUY, "0.065", "100000")
    bench.complete(korea)
    bench.complete(abroad)
    assert bench.held() == (Decimal("0.065"), 0)
    assert bench.phase is Phase.REPAIRING


def test_a_foreign_fill_while_flat_is_booked_and_told_and_left_alone(bench: Any) -> None:
    bench.quote()
    bench.foreign(bench.pair.korea, Side.BUY, "0.01", "144900000", "web_1")
    assert bench.phase is Phase.FLAT
    assert bench.position is None
    assert bench.state.ledger.wallet(Venue.UPBIT, "BTC") == Decimal("0.01")
    assert len(bench.of(ForeignFill)) == 1


def test_a_foreign_fill_larger_than_the_short_never_sells_coins_that_are_not_held(bench: Any) -> None:
    bench.opened()
    bench.now += SECOND
    bench.quote()
    bench.foreign(bench.pair.abroad, Side.BUY, "0.100", "100000", "web_1")
    for _ in range(3):
        if bench.slot.unsettled:
            bench.complete(bench.batches[-1][0])
        bench.wait(1)
    assert bench.phase is Phase.FLAT
    assert bench.state.ledger.wallet(Venue.UPBIT, "BTC") == 0
    assert bench.state.ledger.balance("binance:contracts", "BTCUSDT") == 0


def test_both_legs_closed_by_hand_leave_the_slot_flat(bench: Any) -> None:
    bench.opened()
    bench.engine.market.books.clear()
    bench.foreign(bench.pair.abroad, Side.BUY, "0.065", "100000", "web_1")
    bench.foreign(bench.pair.korea, Side.SELL, "0.065", "144900000", "web_2")
    assert bench.phase is Phase.FLAT
    assert bench.position is None


# Funding and funds


def test_funding_is_booked_once_at_the_rate_of_its_moment(bench: Any) -> None:
    bench.opened()
    bench.now += SECOND
    bench.quote(rate="1410")
    bench.funding("0.65")
    bench.funding("0.65")
    assert bench.position.funding_krw == Decimal("0.65") * 1410
    assert bench.state.ledger.balance(f"funding:{bench.position.signal_id}", "USDT") == Decimal("-0.65")
    assert len(bench.of(FundingBooked)) == 1


def test_funding_paid_is_a_cost(bench: Any) -> None:
    bench.opened()
    bench.funding("-0.65")
    assert bench.position.funding_krw == Decimal("-0.65") * 1400


def test_funding_from_before_the_position_is_not_its_own(bench: Any) -> None:
    bench.opened()
    bench.funding("5", at=bench.position.opened_at - 1)
    assert bench.position.funding_krw == 0
    assert bench.of(FundingBooked)[0].signal_id == FOREIGN_SIGNAL
    assert bench.state.ledger.wallet(Venue.BINANCE, "USDT") > 7_000


def test_funding_while_flat_or_of_an_unknown_contract_is_never_lost_or_guessed(bench: Any) -> None:
    bench.funding("5")
    assert bench.state.ledger.wallet(Venue.BINANCE, "USDT") == 7_005
    stray = FundingPayment("x", "binance:DOGEUSDT", Amount(Decimal(1), "USDT"), bench.now)
    assert bench.feed(FundingPaid(bench.now, stray)) == []


def test_the_same_transfer_twice_counts_once(bench: Any) -> None:
    event = FundsMoved(bench.now, "deposit", Venue.UPBIT, Amount(Decimal(1_000), "KRW"))
    bench.feed(event)
    bench.feed(event)
    assert bench.state.ledger.wallet(Venue.UPBIT, "KRW") == 10_001_000
    assert len([record for record in bench.of(FundsBooked) if record.transfer_id == "deposit"]) == 1


def test_a_fill_before_the_first_rate_is_booked_at_the_rate_decided_on(bench: Any) -> None:
    _, abroad = bench.enter()
    bench.engine.market.rates.clear()
    bench.fill(abroad)
    assert bench.of(FillBooked)[0].krw_rate == 1400


def test_funding_without_any_rate_is_booked_at_the_last_one_decided_on(bench: Any) -> None:
    bench.opened()
    bench.engine.market.rates.clear()
    bench.funding("1")
    assert bench.position.funding_krw == 1400


# One leg


def test_a_plan_of_one_leg_runs_through_the_same_executor() -> None:
    leg = binance_perpetual("ETH")
    slot = Slot("solo:ETH", "solo", "ETH", (leg,))
    state, market = EngineState([slot]), MarketState(EngineSettings())
    out = Outbox(state)
    executor = OrderExecutor(state, market, out, EngineSettings())

    def run(action: Action, side: Side, at: int) -> None:
        legs = (LegPlan(leg.id, side, Decimal("0.5"), Decimal(3_000), Decimal(3_000), action is Action.EXIT),)
        executor.begin(
            slot,
            Plan(f"{action}", "solo", "ETH", action, LONG, legs, at, Decimal(1400), Decimal(1400), "told to"),
            Purpose.ENTER if action is Action.ENTER else Purpose.EXIT,
        )
        (order,) = next(effect.orders for effect in out.drain() if isinstance(effect, PlaceOrders))
        executor.on_answer(order.client_id, Accepted("v"), at)
        fee = Amount(Decimal("0.75"), "USDT")
        executor.on_fill(Fill(action, order.client_id, leg.id, side, Decimal("0.5"), order.limit, fee, at), at)
        executor.on_report(OrderReport(order.client_id, OrderStatus.DONE, Decimal("0.5")), at)

    run(Action.ENTER, Side.SELL, 1)
    assert slot.phase is Phase.OPEN
    assert slot.position.leg(leg.id).quantity == Decimal("-0.5")
    opened = [effect.notice for effect in out.drain() if hasattr(effect, "notice")]
    assert [(notice.premium, notice.usdt_premium) for notice in opened] == [(None, None)]
    run(Action.EXIT, Side.BUY, 2)
    assert slot.phase is Phase.FLAT
    assert slot.closed[0].breakdown.net == -2 * Decimal("0.75") * 1400


def test_a_slot_knows_only_its_own_legs(bench: Any) -> None:
    with pytest.raises(KeyError, match="does not trade"):
        bench.slot.leg("upbit:KRW-DOGE")


# The two bugs an assertion must stop


def test_beginning_with_orders_in_flight_is_a_bug(bench: Any) -> None:
    bench.enter()
    plan = bench.of(PlanMade)[0].plan
    with pytest.raises(AssertionError, match="in flight"):
        bench.engine.executor.begin(bench.slot, plan, Purpose.ENTER)


def test_using_a_signal_twice_is_a_bug(bench: Any) -> None:
    for order in bench.enter():
        bench.reject(order)
    with pytest.raises(AssertionError, match="consumed"):
        bench.engine.executor.begin(bench.slot, bench.of(PlanMade)[0].plan, Purpose.ENTER)


def test_the_switch_is_journaled(bench: Any) -> None:
    bench.turn(SwitchState.HALTED)
    assert bench.state.switch is SwitchState.HALTED
    assert isinstance(bench.effects[0], Append)
    assert not any(isinstance(effect, QueryOrder) for effect in bench.effects)
