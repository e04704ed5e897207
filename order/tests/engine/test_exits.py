"""When an exit that would pay still must wait: depth, funding about to be charged, a venue that would refuse."""

from decimal import Decimal
from typing import Any

import pytest

from kimp.order.engine.settings import EngineSettings
from kimp.shared.domain.books import Level
from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.instruments import Side, Venue
from kimp.shared.domain.money import Amount
from kimp.shared.domain.orders import OrderStatus
from kimp.shared.domain.signals import Direction, Exit, Refusal
from kimp.shared.domain.time import HOUR, SECOND
from kimp.shared.messages.events import MarketMoved, VenueChanged
from kimp.shared.messages.records import Phase

SETTINGS = EngineSettings()


@pytest.fixture
def paying(bench: Any) -> Any:
    """An open pair whose exit would earn about 1 % now."""
    bench.opened()
    bench.now += HOUR
    bench.quote(premium="0.05")
    return bench


def leaves(bench: Any) -> int:
    """How many orders leave when the strategy says so now."""
    before = len(bench.placed)
    bench.strategy.says = Exit("told to")
    bench.quote()
    return len(bench.placed) - before


def charge(bench: Any, rate: str, settles_in: int) -> None:
    due = bench.now + settles_in
    quote = FundingRate(bench.pair.abroad.id, Decimal(rate), bench.now, due if settles_in > 0 else due + 8 * HOUR)
    bench.feed(MarketMoved(bench.now, funding=(quote,)))


def test_both_legs_of_a_paying_exit_leave(paying: Any) -> None:
    assert leaves(paying) == 2


@pytest.mark.parametrize("settles_in", [-SECOND, 0, 14 * SECOND])
def test_a_charge_that_eats_the_profit_holds_the_exit_back(paying: Any, settles_in: int) -> None:
    charge(paying, "-0.03", settles_in)
    assert leaves(paying) == 0
    assert paying.desk.last_refusals == (Refusal.NET_NOT_POSITIVE,)


def test_a_charge_further_off_does_not(paying: Any) -> None:
    charge(paying, "-0.03", 16 * SECOND)
    assert leaves(paying) == 2


def test_a_charge_in_the_books_is_not_counted_twice(paying: Any) -> None:
    charge(paying, "-0.03", -SECOND)
    paying.funding("-1", at=paying.now - SECOND)
    assert leaves(paying) == 2


def test_a_payment_to_come_never_makes_an_exit_affordable(bench: Any) -> None:
    bench.opened()
    bench.now += HOUR
    bench.quote(premium="0.03")
    charge(bench, "0.03", SECOND)
    assert leaves(bench) == 0


def test_the_bounds_of_an_exit_reach_every_level_its_size_needs(paying: Any) -> None:
    korea, abroad = paying.books()
    tick = Decimal(1_000)
    bid = korea.bids[0].price
    steps = tuple(Level(bid - tick * step, Decimal("0.02")) for step in range(5))
    deep = type(korea)(korea.instrument_id, steps, korea.asks, paying.now, paying.now)
    position = paying.position
    verdict = paying.desk.validator.verdict(position, deep, abroad, Decimal(1400), paying.now)
    assert verdict.is_allowed
    quantity, bound = position.leg(korea.instrument_id).quantity, dict(verdict.bounds)[korea.instrument_id]
    assert sum(level.size for level in deep.sweep(Side.SELL, quantity, bound)) == quantity


def test_an_exit_waits_for_a_venue_in_maintenance(paying: Any) -> None:
    paying.feed(VenueChanged(paying.now, Venue.UPBIT, is_available=False, reason="maintenance"))
    assert leaves(paying) == 0
    assert paying.desk.last_refusals == (Refusal.VENUE_UNAVAILABLE,)
    paying.feed(VenueChanged(paying.now, Venue.UPBIT, is_available=True, reason="over"))
    assert leaves(paying) == 2


def test_an_exit_that_filled_nothing_is_not_tried_on_every_quote(paying: Any) -> None:
    assert leaves(paying) == 2
    for order in paying.placed[-2:]:
        paying.accept(order)
        paying.done(order, 0)
    assert paying.phase is Phase.OPEN
    paying.now += SETTINGS.exit_pause - 1
    assert leaves(paying) == 0
    assert paying.desk.last_refusals == (Refusal.COOLING_DOWN,)
    paying.now += 1
    assert leaves(paying) == 2


def test_coins_are_not_bought_back_without_the_won_to_pay_them(make_bench: Any) -> None:
    bench = make_bench(btc="0.1", krw="0")
    korea, abroad = bench.enter(Direction.SHORT_PREMIUM)
    bench.complete_all((korea, abroad))
    assert bench.phase is Phase.OPEN
    bench.now += HOUR
    bench.quote(premium="0.01")
    spent = bench.state.ledger.wallet(Venue.UPBIT, "KRW")
    bench.fund(str(-spent), "KRW", Venue.UPBIT)
    assert leaves(bench) == 0
    assert bench.desk.last_refusals == (Refusal.CANNOT_AFFORD,)
    bench.fund(str(spent), "KRW", Venue.UPBIT)
    assert leaves(bench) == 2


def test_a_book_older_than_a_dropped_one_does_not_come_back(bench: Any) -> None:
    korea, abroad = bench.books()
    bench.feed(MarketMoved(bench.now, (korea, abroad), bench.rates()))
    old = bench.book(bench.pair.korea, 144_000_000, 144_001_000, at=bench.now)
    bench.now += SECOND
    crossed = bench.book(bench.pair.korea, 144_001_000, 144_000_000)
    bench.feed(MarketMoved(bench.now, (crossed,)))
    bench.feed(MarketMoved(bench.now, (old,)))
    assert bench.pair.korea.id not in bench.engine.market.books


def test_an_older_funding_rate_does_not_replace_a_newer(bench: Any) -> None:
    newer, older = (
        FundingRate(bench.pair.abroad.id, Decimal(rate), at, at + HOUR) for rate, at in (("0.2", 2), ("0.1", 1))
    )
    bench.feed(MarketMoved(bench.now, funding=(newer, older)))
    assert bench.engine.market.funding[bench.pair.abroad.id] == newer


def test_a_fee_in_another_coin_is_counted_at_our_own_rate(bench: Any) -> None:
    korea, abroad = bench.enter()
    bench.complete(korea)
    bench.accept(abroad)
    fill = bench.fill_of(abroad)
    fill = type(fill)(
        **{**{name: getattr(fill, name) for name in fill.__struct_fields__}, "fee": Amount(Decimal("0.01"), "BNB")}
    )
    bench.report(abroad, OrderStatus.DONE, abroad.quantity, (fill,))
    assert bench.phase is Phase.OPEN
    expected = fill.price * fill.quantity * bench.pair.abroad.fee_rate * 1400
    assert bench.position.leg(bench.pair.abroad.id).fees_krw == expected
    assert bench.state.ledger.wallet(Venue.BINANCE, "BNB") == 0
