"""What the Exchange port promises, demanded of everything that stands behind it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

import pytest

from kimp.portfolio.exchange.tickets import Ticket
from kimp.portfolio.exchange.wire_faults import (
    EXECUTED_AND_DROPPED,
    LOST_ON_THE_WAY,
    TRUNCATED,
    WireFault,
    answered_instead,
)
from kimp.shared.domain.instruments import Side, Venue
from kimp.shared.domain.ledger import settlement
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.orders import Accepted, OrderStatus, Rejected, Unknown
from kimp.shared.domain.time import HOUR, MILLISECOND, MINUTE, SECOND

BUY, SELL = Side.BUY, Side.SELL
Desk = Any  # of conftest.py, which tests cannot import
Tell = Callable[..., None]


def facts(fills: Any) -> list[tuple[Any, ...]]:
    """All of a fill but the venue's name for it and its time, which each protocol writes in its own way."""
    return [(fill.client_id, fill.side, fill.quantity, fill.price, fill.fee) for fill in fills]


def test_an_ioc_fills_what_the_book_offers_within_its_limit_and_the_rest_ends(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        assert isinstance(await desk.place("a", BUY, "0.05", desk.ask(1)), Accepted)
        report = await desk.query("a")
        assert (report.status, report.executed) == (OrderStatus.DONE, Decimal("0.04"))
        assert [(fill.price, fill.quantity) for fill in report.fills] == [
            (desk.ask(0), Decimal("0.02")),
            (desk.ask(1), Decimal("0.02")),
        ]
        assert await desk.exchange.open_orders(desk.leg.id) == ()

    tell(story)


def test_executed_is_the_sum_of_the_fills_and_every_fee_is_exact(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        await desk.place("a", SELL, "0.033", desk.bid(2))
        report = await desk.query("a")
        assert report.executed == sum(fill.quantity for fill in report.fills) == Decimal("0.033")
        for fill in report.fills:
            assert fill.fee.asset == desk.leg.quote
            assert fill.fee.value == settlement(fill.price * fill.quantity * desk.leg.fee_rate)
        assert facts(report.fills) == facts(desk.simulated.trades)

    tell(story)


def test_a_resting_order_locks_funds_until_it_is_cancelled(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        assert isinstance(await desk.place("low", BUY, "0.01", desk.bid(1), "gtc"), Accepted)
        assert (await desk.query("low")).status is OrderStatus.WORKING
        assert await desk.exchange.open_orders(desk.leg.id) == ("low",)
        locked = await desk.locked()
        assert locked == desk.simulated.locked(desk.leg.quote)
        assert locked >= Decimal("0.01") * desk.bid(1)
        assert isinstance(await desk.exchange.cancel("low", desk.leg.id), Accepted)
        assert await desk.exchange.open_orders(desk.leg.id) == ()
        assert await desk.locked() == ZERO
        assert (await desk.query("low")).status is OrderStatus.DONE
        assert (await desk.query("low")).executed == ZERO

    tell(story)


def test_a_resting_order_fills_at_its_own_limit_when_the_market_comes(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        await desk.place("low", BUY, "0.01", desk.bid(1), "gtc")
        desk.show(-3)
        report = await desk.query("low")
        assert (report.status, report.executed) == (OrderStatus.DONE, Decimal("0.01"))
        assert [fill.price for fill in report.fills] == [desk.bid(1)]

    tell(story)


def test_cancelling_twice_and_cancelling_what_is_over_is_harmless(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        await desk.place("low", BUY, "0.01", desk.bid(1), "gtc")
        await desk.place("done", BUY, "0.01", desk.ask())
        for client_id in ("low", "low", "done"):
            assert isinstance(await desk.exchange.cancel(client_id, desk.leg.id), Accepted)
        assert (await desk.query("done")).executed == Decimal("0.01")

    tell(story)


def test_an_unknown_id_is_absent_and_cannot_be_cancelled(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        report = await desk.query("never")
        assert (report.status, report.executed, report.fills) == (OrderStatus.ABSENT, ZERO, ())
        assert isinstance(await desk.exchange.cancel("never", desk.leg.id), Rejected)

    tell(story)


def test_an_id_whose_order_rests_never_makes_a_second_order(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        await desk.place("a", BUY, "0.01", desk.bid(1), "gtc")
        again = await desk.place("a", BUY, "0.01", desk.bid(1), "gtc")
        assert isinstance(again, desk.traits.resting_id_again), again
        assert len(desk.orders_of("a")) == 1
        assert await desk.exchange.open_orders(desk.leg.id) == ("a",)

    tell(story)


def test_an_id_used_again_executes_as_often_as_the_venue_is_known_to_permit(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        for _ in range(3):
            again = await desk.place("a", BUY, "0.01", desk.ask())
        assert isinstance(again, Accepted) is (desk.traits.uses_of_an_id > 1)
        assert (len(desk.orders_of("a")) == 1) is (desk.traits.uses_of_an_id == 1)

    tell(story)


def test_an_id_that_was_refused_is_used_up_where_the_venue_says_so(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        assert isinstance(await desk.place("a", BUY, "0.00000001", desk.ask()), Rejected)
        again = await desk.place("a", BUY, "0.01", desk.ask())
        assert isinstance(again, Accepted) is not desk.traits.burns_refused_ids
        assert len(desk.orders_of("a")) == (0 if desk.traits.burns_refused_ids else 1)

    tell(story)


def test_fill_or_kill_is_all_or_nothing(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        before = await desk.account()
        assert isinstance(await desk.place("much", BUY, "0.061", desk.ask(2), "fok"), desk.traits.fok_in_vain)
        assert (await desk.query("much")).executed == ZERO
        assert await desk.account() == before
        assert isinstance(await desk.place("all", BUY, "0.06", desk.ask(2), "fok"), Accepted)
        assert (await desk.query("all")).executed == Decimal("0.06")
        assert await desk.exchange.open_orders(desk.leg.id) == ()

    tell(story)


def test_post_only_rests_or_does_nothing(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        taking = await desk.place("taking", BUY, "0.01", desk.ask(), "post_only")
        assert isinstance(taking, desk.traits.taking_post_only), taking
        assert (await desk.query("taking")).executed == ZERO
        assert desk.simulated.trades == []
        assert isinstance(await desk.place("waiting", BUY, "0.01", desk.bid(), "post_only"), Accepted)
        assert await desk.exchange.open_orders(desk.leg.id) == ("waiting",)

    tell(story)


REFUSED: dict[str, Callable[[Desk], Any]] = {
    "below the minimum": lambda desk: desk.order("a", BUY, str(desk.leg.rules.lot / 10), desk.ask()),
    "value below the minimum": lambda desk: desk.order("a", BUY, _too_little(desk), _low(desk)),
    "off the price grid": lambda desk: desk.order(
        "a", BUY, "0.01", desk.ask() + desk.leg.rules.tick_at(desk.ask()) / 2
    ),
    "off the lot grid": lambda desk: desk.order("a", BUY, str(Decimal("0.01") + desk.leg.rules.lot / 2), desk.ask()),
    "more than the money": lambda desk: desk.order("a", BUY, "0.5", desk.ask()),
    "reduce-only without a position": lambda desk: desk.order("a", SELL, "0.01", desk.bid(), reduce_only=True),
    "nothing": lambda desk: desk.order("a", BUY, "0", desk.ask()),
}


def _too_little(desk: Desk) -> str:
    return {Venue.UPBIT: "0.00004", Venue.BINANCE: "0.001"}[desk.traits.venue]


def _low(desk: Desk) -> Decimal:
    """On the grid, inside the band of permitted prices, and worth less than the least notional for a smallest lot."""
    return desk.ask() - 10_000 * desk.leg.rules.tick_at(desk.ask())


@pytest.mark.parametrize("why", REFUSED)
def test_what_the_rules_forbid_is_rejected_and_nothing_of_it_executes(tell: Tell, why: str) -> None:
    async def story(desk: Desk) -> None:
        before, wrong = await desk.account(), REFUSED[why](desk)
        assert isinstance(await desk.exchange.place(wrong), Rejected)
        assert (await desk.query("a")).status is OrderStatus.ABSENT
        assert await desk.account() == before
        assert (desk.simulated.history, desk.simulated.trades) == ([], [])

    tell(story)


def test_reduce_only_closes_and_never_turns_a_position(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        if desk.traits.venue is Venue.UPBIT:
            return  # spot has no positions; see the refusals above
        await desk.place("short", SELL, "0.02", desk.bid())
        larger = await desk.exchange.place(desk.order("larger", BUY, "0.03", desk.ask(), reduce_only=True))
        assert isinstance(larger, Rejected)
        assert larger.code == "-2022"
        assert isinstance(
            await desk.exchange.place(desk.order("whole", BUY, "0.02", desk.ask(), reduce_only=True)), Accepted
        )
        assert (await desk.account()).contract(desk.leg.id) == ZERO

    tell(story)


def test_the_account_moves_by_exactly_the_fills_and_their_fees(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        before, leg = await desk.account(), desk.leg
        steps = [("a", BUY, "0.03", desk.ask(2)), ("b", SELL, "0.05", desk.bid(2)), ("c", BUY, "0.02", desk.ask(2))]
        coins = cash = ZERO
        for client_id, side, quantity, limit in steps:
            await desk.place(client_id, side, quantity, limit)
            for fill in (await desk.query(client_id)).fills:
                coins += fill.quantity * side.sign
                cash -= fill.quantity * fill.price * side.sign + fill.fee.value
            account = await desk.account()
            held = (
                account.contract(leg.id) if leg.venue is Venue.BINANCE else account.total("BTC") - before.total("BTC")
            )
            assert held == coins
            desk.show()
        # flat again, so whatever the contract earned has been settled into the wallet
        assert coins == ZERO
        assert (await desk.account()).total(leg.quote) - before.total(leg.quote) == cash
        assert {b.asset: b.total for b in (await desk.account()).balances} == {
            asset: total for asset, total in desk.simulated.balances.items() if total
        }

    tell(story)


def test_the_list_of_fills_is_complete_in_order_and_without_doubles(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        started = desk.venue_clock.now()
        for client_id in ("a", "b", "c"):
            desk.clock.push(50 * MILLISECOND)
            desk.show()
            await desk.place(client_id, BUY, "0.03", desk.ask(2))
        fills = await desk.exchange.fills_since(desk.leg.id, started)
        assert facts(fills) == facts(desk.simulated.trades)
        assert [fill.at for fill in fills] == sorted(fill.at for fill in fills)
        assert len({fill.trade_id for fill in fills}) == len(fills) == 6
        # a moment between two orders: Binance's list has milliseconds, so not the very moment of a fill
        later = await desk.exchange.fills_since(desk.leg.id, desk.simulated.trades[2].at - 10 * MILLISECOND)
        assert facts(later) == facts(desk.simulated.trades[2:])
        assert await desk.exchange.fills_since(desk.leg.id, desk.venue_clock.now() + SECOND) == ()

    tell(story)


def test_trades_of_another_hand_are_in_the_list_too(tell_on_the_wire: Tell) -> None:
    async def story(desk: Desk) -> None:
        started = desk.venue_clock.now()
        ticket = Ticket(None, desk.leg.id, BUY, quantity=Decimal("0.01"), price=desk.ask())
        order = desk.venue.submit(ticket)
        (fill,) = await desk.exchange.fills_since(desk.leg.id, started)
        assert (fill.quantity, fill.price) == (Decimal("0.01"), desk.ask())
        # Upbit has no client id for it, so there its own name stands in
        assert fill.client_id
        assert (fill.client_id == order.client_id) is (desk.traits.venue is Venue.BINANCE)

    tell_on_the_wire(story)


def test_every_funding_settlement_is_listed_once_oldest_first(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        started = desk.venue_clock.now()
        if desk.traits.venue is Venue.UPBIT:
            assert await desk.exchange.funding_since(started) == ()
            return
        await desk.place("short", SELL, "0.02", desk.bid())
        wallet = (await desk.account()).total("USDT")
        for rate in ("0.0001", "-0.0002"):
            if hasattr(desk.venue, "fundings"):
                desk.fund(rate, settles_at=desk.venue_clock.now() + SECOND)
                desk.clock.push(2 * SECOND)
                desk.show()
            else:
                desk.simulated.settle_funding(desk.leg.id, Decimal(rate), desk.venue_clock.now())
        payments = await desk.exchange.funding_since(started)
        truth = desk.simulated.income
        assert [(p.instrument_id, p.amount) for p in payments] == [(p.instrument_id, p.amount) for p in truth]
        assert len({payment.payment_id for payment in payments}) == len(payments) == 2
        assert payments[0].amount.value > ZERO > payments[1].amount.value  # a short is paid a positive rate
        assert [payment.at for payment in payments] == sorted(payment.at for payment in payments)
        assert (await desk.account()).total("USDT") == wallet + sum(payment.amount.value for payment in payments)
        assert await desk.exchange.funding_since(desk.venue_clock.now() + HOUR) == ()

    tell(story)


def test_the_stream_tells_every_fill_and_every_end(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        async with desk.listening() as told:
            await desk.place("taken", BUY, "0.03", desk.ask(2))
            await desk.place("met", BUY, "0.01", desk.bid(1), "gtc")
            await desk.place("gone", BUY, "0.01", desk.bid(2), "gtc")
            await desk.exchange.cancel("gone", desk.leg.id)
            desk.show(-3)
            ends = {"taken": Decimal("0.03"), "met": Decimal("0.01"), "gone": ZERO}
            await desk.until(
                lambda: all(told.is_over(*end) for end in ends.items()) and len(told.fills) == 3, 10 * MILLISECOND
            )
        # in whatever order: a list that is read meanwhile may be faster than the stream
        assert sorted(facts(told.fills.values()), key=str) == sorted(facts(desk.simulated.trades), key=str)

    tell(story)


def test_the_stream_tells_what_was_missed_while_it_was_broken(tell_on_the_wire: Tell) -> None:
    async def story(desk: Desk) -> None:
        async with desk.listening() as told:
            await desk.place("before", BUY, "0.01", desk.ask())
            await desk.place("met", BUY, "0.01", desk.bid(1), "gtc")
            await desk.until(lambda: len(told.fills) == 1, 10 * MILLISECOND)
            await desk.server.stop()
            desk.show(-3)
            desk.clock.push(SECOND)
            await desk.server.start()
            await desk.until(lambda: len(told.fills) == 2, 50 * MILLISECOND)
            await desk.place("after", BUY, "0.01", desk.ask(-3))
            await desk.until(lambda: len(told.fills) == 3, 50 * MILLISECOND)
        assert sorted(facts(told.fills.values()), key=str) == sorted(facts(desk.simulated.trades), key=str)

    tell_on_the_wire(story)


def test_in_maintenance_nothing_executes_and_nothing_is_made_up(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        exchange, leg, now = desk.exchange, desk.leg, desk.venue_clock.now()
        await desk.place("rests", BUY, "0.01", desk.bid(1), "gtc")
        desk.venue.maintain(is_available=False, reason="server work")
        outcome = await desk.place("a", BUY, "0.01", desk.ask())
        assert isinstance(outcome, desk.traits.order_in_maintenance), outcome
        assert isinstance(await exchange.cancel("rests", leg.id), desk.traits.cancel_in_maintenance)
        assert await exchange.query("rests", leg.id) is None
        assert await exchange.account() is None
        assert await exchange.open_orders(leg.id) is None
        assert await exchange.fills_since(leg.id, now) is None
        assert await exchange.instruments([leg.symbol]) is None
        assert await exchange.clock_skew() is None
        assert not all(check.ok for check in await exchange.examine([leg], Decimal(1)))
        if leg.venue is Venue.BINANCE:
            assert await exchange.funding_since(now) is None
        desk.venue.maintain(is_available=True, reason="done")
        assert desk.simulated.trades == []
        assert (await desk.query("a")).status is OrderStatus.ABSENT
        assert (await desk.query("rests")).status is OrderStatus.WORKING

    tell(story)


def test_the_stream_tells_that_the_venue_went_and_came_back(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        async with desk.listening() as told:
            await desk.place("a", BUY, "0.01", desk.ask())
            await desk.until(lambda: told.is_over("a", Decimal("0.01")), 10 * MILLISECOND)
            desk.venue.maintain(is_available=False, reason="server work")
            desk.clock.push(MINUTE + SECOND)  # a quiet stream is asked about once a minute
            await desk.until(lambda: told.availability() == [False], 100 * MILLISECOND)
            desk.venue.maintain(is_available=True, reason="done")
            await desk.until(lambda: told.availability() == [False, True], 100 * MILLISECOND)

    tell(story)


def test_the_instruments_have_the_venues_rules(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        for spelling in (desk.leg.symbol, desk.leg.base):
            (told,) = await desk.exchange.instruments([spelling])
            assert (told.id, told.base, told.quote, told.kind, told.fee_rate) == (
                desk.leg.id, desk.leg.base, desk.leg.quote, desk.leg.kind, desk.leg.fee_rate,
            )  # fmt: skip
            mine, theirs = desk.leg.rules, told.rules
            for price in (desk.bid(), desk.ask()):
                assert theirs.tick_at(price) == mine.tick_at(price)
            assert (theirs.lot, theirs.minimum_quantity, theirs.minimum_notional) == (
                mine.lot, mine.minimum_quantity, mine.minimum_notional,
            )  # fmt: skip
        assert await desk.exchange.instruments(["NONE"]) == ()

    tell(story)


@pytest.mark.parametrize("skew", [-3 * SECOND, 0, 3 * SECOND])
def test_the_skew_is_the_venues_clock_minus_ours(tell_on_the_wire: Tell, skew: int) -> None:
    async def story(desk: Desk) -> None:
        measured = await desk.exchange.clock_skew()
        assert measured is not None
        # Upbit shows whole seconds: the least offset that they allow is told, so up to a second nearer to zero
        grain = SECOND if desk.traits.venue is Venue.UPBIT else 0
        assert abs(measured) <= abs(skew) + 100 * MILLISECOND
        assert abs(measured - skew) <= grain + 100 * MILLISECOND

    tell_on_the_wire(story, skew=skew)


@pytest.mark.parametrize("skew", [-8 * SECOND, 8 * SECOND])
def test_a_venue_whose_clock_is_off_takes_orders_and_tells_all_of_them(tell_on_the_wire: Tell, skew: int) -> None:
    async def story(desk: Desk) -> None:
        started = desk.venue_clock.now()
        assert isinstance(await desk.place("a", BUY, "0.01", desk.ask()), Accepted)
        assert facts((await desk.query("a")).fills) == facts(desk.simulated.trades)
        assert facts(await desk.exchange.fills_since(desk.leg.id, started - SECOND)) == facts(desk.simulated.trades)

    tell_on_the_wire(story, skew=skew)


def test_what_rests_is_cancelled_where_we_fall_silent_and_the_venue_can(tell: Tell) -> None:
    async def story(desk: Desk) -> None:
        await desk.place("low", BUY, "0.01", desk.bid(1), "gtc")
        await desk.exchange.keep_alive([desk.leg], 30 * SECOND)
        desk.clock.push(20 * SECOND)
        await desk.exchange.keep_alive([desk.leg], 30 * SECOND)
        desk.clock.push(20 * SECOND)
        assert await desk.exchange.open_orders(desk.leg.id) == ("low",)
        desk.clock.push(20 * SECOND)
        left = () if desk.traits.has_countdown else ("low",)
        assert await desk.exchange.open_orders(desk.leg.id) == left

    tell(story)


WRONG: dict[str, WireFault] = {
    "lost on the way": LOST_ON_THE_WAY,
    "executed and dropped": EXECUTED_AND_DROPPED,
    "cut short": TRUNCATED,
    "a proxy's page": answered_instead(502, b"<html>Bad Gateway</html>"),
    "a page under 200": answered_instead(200, b"<html>welcome</html>"),
    "nothing under 200": answered_instead(200, b""),
    "null": answered_instead(200, b"null"),
    "an empty list": answered_instead(200, b"[]"),
    "a list of lists": answered_instead(200, b"[[],[]]"),
    "a number": answered_instead(200, b"1e400"),
    "not text": answered_instead(200, b"\xff\xfe\x00"),
    "another object": answered_instead(200, b'{"code":0,"uuid":7,"orderId":"x","executedQty":"NaN"}'),
    "an error of another form": answered_instead(400, b'{"error":"no"}'),
    "banned": answered_instead(418, b"{}"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_nothing_ever_raises_whatever_comes_over_the_wire(tell_on_the_wire: Tell, fault: str) -> None:
    async def story(desk: Desk) -> None:
        exchange, leg, now = desk.exchange, desk.leg, desk.venue_clock.now()
        async with desk.listening():
            desk.wires.append(WRONG[fault])
            outcome = await desk.place("a", BUY, "0.01", desk.ask())
            if desk.orders_of("a"):
                assert isinstance(outcome, Unknown), outcome
            questions: list[Coroutine[Any, Any, Any]] = [
                exchange.cancel("a", leg.id),
                exchange.query("a", leg.id),
                exchange.account(),
                exchange.open_orders(leg.id),
                exchange.fills_since(leg.id, now),
                exchange.funding_since(now),
                exchange.instruments([leg.symbol]),
                exchange.clock_skew(),
                exchange.examine([leg], Decimal(1)),
                exchange.keep_alive([leg], MINUTE),
            ]
            for question in questions:
                await question
            desk.wires.clear()

    tell_on_the_wire(story)


def test_a_venue_that_is_not_there_has_proven_that_nothing_was_sent(tell_on_the_wire: Tell) -> None:
    async def story(desk: Desk) -> None:
        await desk.server.stop()
        assert isinstance(await desk.place("a", BUY, "0.01", desk.ask()), Rejected | Unknown)
        assert isinstance(await desk.place("b", BUY, "0.01", desk.ask()), Rejected)
        assert await desk.exchange.query("a", desk.leg.id) is None
        await desk.server.start()
        assert (await desk.query("b")).status is OrderStatus.ABSENT
        assert desk.simulated.history == []

    tell_on_the_wire(story)
