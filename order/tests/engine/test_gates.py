"""No decision on bad data: every gate at its boundary, and that stops never hold an exit back."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from kimp.order.engine.engine import Assignment, TradingEngine
from kimp.order.engine.guards import entry_refusals
from kimp.order.engine.market import MarketState
from kimp.order.engine.settings import EngineSettings, engine_settings
from kimp.order.engine.state import Slot
from kimp.shared.domain.books import BookFault
from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.fx import FxQuote
from kimp.shared.domain.instruments import Venue
from kimp.shared.domain.money import ONE, ZERO
from kimp.shared.domain.positions import Mark
from kimp.shared.domain.premium import Basis
from kimp.shared.domain.signals import Direction, Enter, Exit, Hold, Refusal
from kimp.shared.domain.time import MILLISECOND, MINUTE, SECOND
from kimp.shared.messages.events import (
    ClockMeasured,
    FeedBack,
    FeedLost,
    MarketMoved,
    PositionSeen,
    SwitchState,
    TimerFired,
    VenueChanged,
)
from kimp.shared.messages.notices import PositionMismatch
from kimp.shared.messages.records import Phase

LONG, SHORT = Direction.LONG_PREMIUM, Direction.SHORT_PREMIUM
SETTINGS = EngineSettings()


@pytest.fixture
def quoted(bench: Any) -> Any:
    """A bench with good quotes, whose strategy wants in."""
    bench.quote()
    bench.strategy.says = Enter(LONG, "told to")
    return bench


def tried(bench: Any, event: Any = None) -> tuple[int, dict[str, int]]:
    """How many orders left and what was refused because of one event (or of the bench's own quotes)."""
    orders, before = len(bench.placed), bench.refusals
    bench.feed(event) if event is not None else bench.quote()
    return len(bench.placed) - orders, dict(bench.refusals - before)


def refused(*codes: Refusal) -> tuple[int, dict[str, int]]:
    return 0, {code.value: 1 for code in codes}


ENTERED: tuple[int, dict[str, int]] = (2, {})


# Books


def test_no_book_at_all_is_refused_per_leg(bench: Any) -> None:
    assert tried(bench, MarketMoved(bench.now, (), bench.rates())) == (0, {Refusal.NO_BOOK.value: 2})


def test_one_book_is_not_enough(bench: Any) -> None:
    assert tried(bench, MarketMoved(bench.now, bench.books()[:1], bench.rates())) == refused(Refusal.NO_BOOK)


def test_a_book_as_old_as_its_budget_is_good_and_one_nanosecond_more_is_stale(make_bench: Callable[..., Any]) -> None:
    for extra, expected in ((0, ENTERED), (1, refused(Refusal.BOOK_STALE))):
        bench = make_bench()
        bench.quote()
        bench.strategy.says = Enter(LONG, "told to")
        at = bench.now + SETTINGS.book_age_max + extra
        assert tried(bench, MarketMoved(at)) == expected


def test_legs_one_second_apart_are_good_and_one_nanosecond_more_is_skewed(make_bench: Callable[..., Any]) -> None:
    for extra, expected in ((0, ENTERED), (1, refused(Refusal.LEGS_SKEWED))):
        bench = make_bench()
        bench.quote()
        bench.strategy.says = Enter(LONG, "told to")
        at = bench.now + SETTINGS.leg_skew_max + extra
        bench.now = at
        assert tried(bench, MarketMoved(at, bench.books()[:1])) == expected


@pytest.mark.parametrize(
    ("bid", "ask", "size", "fault"),
    [
        ("145000000", "144900000", "1", BookFault.CROSSED),
        ("144900000", "144900000", "1", BookFault.CROSSED),
        ("0", "144900000", "1", BookFault.NOT_POSITIVE),
        ("144800000", "144900000", "0", BookFault.NOT_POSITIVE),
        ("NaN", "144900000", "1", BookFault.NOT_FINITE),
        ("144800000", "Infinity", "1", BookFault.NOT_FINITE),
    ],
)
def test_a_faulty_book_drops_the_good_one_before_it(
    quoted: Any, bid: str, ask: str, size: str, fault: BookFault
) -> None:
    quoted.now += MILLISECOND
    broken = quoted.book(quoted.pair.korea, bid, ask, size)
    assert tried(quoted, MarketMoved(quoted.now, (broken,))) == refused(Refusal.BOOK_INVALID)
    assert quoted.engine.market.faults == {quoted.pair.korea.id: fault}
    assert quoted.pair.korea.id not in quoted.engine.market.books
    quoted.now += MILLISECOND
    assert tried(quoted) == ENTERED
    assert quoted.engine.market.faults == {}


def test_an_empty_book_is_invalid(quoted: Any) -> None:
    good = quoted.book(quoted.pair.abroad, 1, 2)
    assert tried(quoted, MarketMoved(quoted.now, (msgspec.structs.replace(good, asks=()),))) == refused(
        Refusal.BOOK_INVALID
    )


def test_a_book_older_than_the_known_one_is_ignored_even_when_faulty(quoted: Any) -> None:
    known = dict(quoted.engine.market.books)
    for bid, ask in (("1", "2"), ("2", "1")):
        late = quoted.book(quoted.pair.korea, bid, ask, at=quoted.now - 1)
        quoted.strategy.says = Hold("told to")
        quoted.feed(MarketMoved(quoted.now, (late,)))
    assert quoted.engine.market.books == known
    assert quoted.engine.market.faults == {}


def test_a_rate_older_than_the_known_one_is_ignored(quoted: Any) -> None:
    late = FxQuote("USDT", Decimal(9), quoted.now - 1, quoted.now + SECOND, "late")
    quoted.strategy.says = Hold("told to")
    quoted.feed(MarketMoved(quoted.now, rates=(late,)))
    assert quoted.engine.market.rate(Basis.USDT) == 1400


# Rates


@pytest.mark.parametrize("missing", ["USD", "USDT"])
def test_a_missing_rate_is_refused_and_never_replaced_by_the_other(bench: Any, missing: str) -> None:
    bench.strategy.says = Enter(LONG, "told to")
    rates = tuple(rate for rate in bench.rates() if rate.base != missing)
    assert tried(bench, MarketMoved(bench.now, bench.books(), rates)) == refused(Refusal.FX_MISSING)


def test_two_missing_rates_are_one_reason(bench: Any) -> None:
    assert tried(bench, MarketMoved(bench.now, bench.books())) == refused(Refusal.FX_MISSING)


def test_a_rate_is_good_until_its_last_nanosecond(make_bench: Callable[..., Any]) -> None:
    for extra, expected in ((0, ENTERED), (1, refused(Refusal.FX_EXPIRED))):
        bench = make_bench()
        bench.quote()
        bench.strategy.says = Enter(LONG, "told to")
        bench.now += 120 * SECOND + extra
        assert tried(bench, MarketMoved(bench.now, bench.books())) == expected


@pytest.mark.parametrize("value", ["NaN", "Infinity", "0", "-1400"])
def test_a_rate_that_is_no_rate_drops_the_good_one_before_it(quoted: Any, value: str) -> None:
    assert tried(quoted, MarketMoved(quoted.now, quoted.books(), quoted.rates(value))) == refused(Refusal.FX_MISSING)


def test_without_a_good_rate_nothing_leaves_either(bench: Any) -> None:
    bench.opened().quote(premium="0.06")
    bench.strategy.says = Exit("told to")
    bench.now += 121 * SECOND
    assert tried(bench, MarketMoved(bench.now, bench.books())) == refused(Refusal.FX_EXPIRED)
    assert bench.phase is Phase.OPEN
    assert bench.desk.verdict(bench.now) is None


def test_the_strategy_sees_no_official_rate_that_has_expired(make_bench: Callable[..., Any]) -> None:
    bench = make_bench(settings=EngineSettings(signal_basis=Basis.USDT))
    official = FxQuote("USD", Decimal(1390), bench.now, bench.now, "bank")
    tether = bench.rates()[1]
    bench.feed(MarketMoved(bench.now, bench.books(), (official, tether)))
    bench.feed(MarketMoved(bench.now + 1, bench.books()))
    first, second = (view for view, _ in bench.strategy.asked)
    assert (first.usdkrw, second.usdkrw) == (1390, None)
    assert first.premium == Decimal(144_900_000) / (100_000 * Decimal(1400)) - 1


# Health of the sources


def test_a_lost_feed_drops_its_book_and_says_so(quoted: Any) -> None:
    quoted.feed(FeedLost(quoted.now, quoted.pair.korea.id, "silent"))
    assert tried(quoted, MarketMoved(quoted.now)) == refused(Refusal.FEED_LOST)


def test_a_book_from_a_lost_feed_allows_no_entry_before_the_feed_is_back(quoted: Any) -> None:
    quoted.feed(FeedLost(quoted.now, quoted.pair.korea.id, "silent"))
    assert tried(quoted) == refused(Refusal.FEED_LOST)


def test_quarantine_ends_exactly_after_its_time(make_bench: Callable[..., Any]) -> None:
    for early, expected in ((1, refused(Refusal.FEED_QUARANTINED)), (0, ENTERED)):
        bench = make_bench()
        bench.strategy.says = Enter(LONG, "told to")
        bench.feed(FeedLost(bench.now, bench.pair.abroad.id, "silent"))
        bench.feed(FeedBack(bench.now, bench.pair.abroad.id))
        bench.now += SETTINGS.quarantine - early
        assert tried(bench) == expected


@pytest.mark.parametrize("venue", Venue)
def test_maintenance_of_either_venue_blocks_entries_until_it_is_over(quoted: Any, venue: Venue) -> None:
    quoted.feed(VenueChanged(quoted.now, venue, False, "maintenance"))
    assert tried(quoted) == refused(Refusal.VENUE_UNAVAILABLE)
    quoted.feed(VenueChanged(quoted.now, venue, True, "back"))
    assert tried(quoted) == ENTERED


@pytest.mark.parametrize("sign", [1, -1])
def test_a_clock_at_its_limit_is_good_and_one_nanosecond_more_blocks(quoted: Any, sign: int) -> None:
    quoted.feed(ClockMeasured(quoted.now, Venue.BINANCE, sign * (SETTINGS.clock_skew_max + 1)))
    assert tried(quoted) == refused(Refusal.CLOCK_SKEWED)
    quoted.feed(ClockMeasured(quoted.now, Venue.BINANCE, sign * SETTINGS.clock_skew_max))
    assert tried(quoted) == ENTERED


def test_every_reason_is_named_once(quoted: Any) -> None:
    for venue in Venue:
        quoted.feed(VenueChanged(quoted.now, venue, False, "maintenance"))
    quoted.feed(ClockMeasured(quoted.now, Venue.UPBIT, SECOND))
    quoted.turn(SwitchState.REDUCING)
    assert tried(quoted) == refused(Refusal.STOPPED, Refusal.VENUE_UNAVAILABLE, Refusal.CLOCK_SKEWED)
    assert quoted.desk.last_refusals == (Refusal.STOPPED, Refusal.VENUE_UNAVAILABLE, Refusal.CLOCK_SKEWED)


# The owner's switch and our own pace


@pytest.mark.parametrize("state", [SwitchState.REDUCING, SwitchState.HALTED])
def test_a_stop_blocks_entries_at_once(quoted: Any, state: SwitchState) -> None:
    quoted.turn(state)
    assert tried(quoted) == refused(Refusal.STOPPED)
    quoted.turn(SwitchState.ACTIVE)
    assert tried(quoted) == ENTERED


@pytest.mark.parametrize("state", [SwitchState.REDUCING, SwitchState.HALTED])
def test_a_stop_never_blocks_an_exit(bench: Any, state: SwitchState) -> None:
    bench.opened().quote(premium="0.06")
    bench.turn(state)
    bench.complete_all(bench.leave())
    assert bench.phase is Phase.FLAT


@pytest.mark.parametrize("state", [SwitchState.REDUCING, SwitchState.HALTED])
def test_a_stop_never_blocks_a_repair(bench: Any, state: SwitchState) -> None:
    korea, abroad = bench.enter()
    bench.turn(state)
    bench.complete(korea)
    bench.reject(abroad)
    assert bench.phase is Phase.REPAIRING
    assert len(bench.placed) == 3


def test_cooldown_after_a_failed_entry_ends_exactly_after_its_time(bench: Any) -> None:
    for order in bench.enter():
        bench.reject(order)
    assert bench.phase is Phase.FLAT
    bench.strategy.says = Enter(LONG, "told to")
    bench.now += SETTINGS.cooldown - 1
    assert tried(bench) == refused(Refusal.COOLING_DOWN)
    bench.now += 1
    assert tried(bench) == ENTERED


def test_cooldown_follows_a_closed_pair(bench: Any) -> None:
    bench.opened().quote(premium="0.06")
    bench.complete_all(bench.leave())
    bench.strategy.says = Enter(LONG, "told to")
    assert tried(bench) == refused(Refusal.COOLING_DOWN)


def test_more_entries_a_minute_than_the_cap_are_refused_until_the_first_is_a_minute_old(
    make_bench: Callable[..., Any],
) -> None:
    bench = make_bench(settings=EngineSettings(cooldown=0))
    first = bench.now
    for _ in range(SETTINGS.entries_per_minute_max):
        for order in bench.enter():
            bench.reject(order)
        bench.now += SECOND
    bench.strategy.says = Enter(LONG, "told to")
    bench.now = first + MINUTE - 1
    assert tried(bench) == refused(Refusal.RATE_CAPPED)
    bench.now += 1
    assert tried(bench) == ENTERED


def test_the_highest_cap_that_can_be_configured_still_caps(make_bench: Callable[..., Any]) -> None:
    bench = make_bench(settings=EngineSettings(cooldown=0, entries_per_minute_max=60))
    for _ in range(60):
        for order in bench.enter():
            bench.reject(order)
        bench.now += 1
    bench.strategy.says = Enter(LONG, "told to")
    assert tried(bench) == refused(Refusal.RATE_CAPPED)


def test_an_unknown_order_of_one_coin_blocks_entries_of_every_coin(make_bench: Callable[..., Any]) -> None:
    bench = make_bench()
    order, other = bench.enter()
    bench.unknown(order)
    bench.complete(other)
    bench.strategy.says = Enter(LONG, "told to")
    assert bench.phase is Phase.ENTERING
    elsewhere = Slot("fake:ETH", "fake", "ETH", ())
    assert entry_refusals(bench.state, elsewhere, bench.settings, bench.now) == (Refusal.ORDER_UNKNOWN,)


# What the desk itself refuses


def test_an_entry_is_refused_when_the_strategy_no_longer_wants_it_at_the_real_size(bench: Any) -> None:
    cheap, dear = Enter(LONG, "told to"), Hold("dear")
    bench.desk.strategy.decide = lambda view, _: cheap if view.premium < Decimal("0.036") else dear
    korea = bench.book(bench.pair.korea, "144899000", "144900000", "0.01")
    deep = msgspec.structs.replace(
        korea,
        asks=(korea.asks[0], msgspec.structs.replace(korea.asks[0], price=Decimal(146_000_000), size=Decimal(9))),
        bids=(korea.bids[0], msgspec.structs.replace(korea.bids[0], price=Decimal(144_000_000), size=Decimal(9))),
    )
    assert tried(bench, MarketMoved(bench.now, (deep, bench.books()[1]), bench.rates())) == refused(Refusal.NOT_AT_SIZE)


def test_an_entry_into_a_book_thinner_than_its_size_is_refused(bench: Any) -> None:
    bench.size = Decimal("0.01")
    bench.strategy.says = Enter(LONG, "told to")
    assert tried(bench) == refused(Refusal.BOOK_TOO_THIN)


def test_an_entry_without_money_is_too_small_and_nothing_leaves(make_bench: Callable[..., Any]) -> None:
    bench = make_bench(usdt="100")
    bench.quote()
    bench.strategy.says = Enter(LONG, "told to")
    assert tried(bench) == refused(Refusal.TOO_SMALL)


def test_a_signal_is_consumed_for_ever(bench: Any) -> None:
    for order in bench.enter():
        bench.reject(order)
    bench.slot.cooling_from = None
    bench.strategy.says = Enter(LONG, "told to")
    assert tried(bench) == refused(Refusal.SIGNAL_CONSUMED)


def test_entering_the_other_way_while_a_pair_is_on_is_refused(make_bench: Callable[..., Any]) -> None:
    bench = make_bench(btc="0.1").opened()
    bench.strategy.says = Enter(SHORT, "told to")
    assert tried(bench) == refused(Refusal.HELD_THE_OTHER_WAY)
    assert bench.held() == (Decimal("0.065"), Decimal("-0.065"))


def test_an_exit_without_a_pair_is_not_held(bench: Any) -> None:
    bench.strategy.says = Exit("told to")
    assert tried(bench) == refused(Refusal.NOT_HELD)


def test_an_exit_that_earns_nothing_is_refused_and_counted(bench: Any) -> None:
    bench.opened()
    bench.strategy.says = Exit("told to")
    assert tried(bench) == refused(Refusal.NET_NOT_POSITIVE)


def test_an_exit_into_a_book_thinner_than_the_pair_is_refused(bench: Any) -> None:
    bench.opened().quote(premium="0.06")
    bench.size = Decimal("0.01")
    bench.strategy.says = Exit("told to")
    assert tried(bench) == refused(Refusal.BOOK_TOO_THIN)


def test_nothing_is_asked_of_the_strategy_while_orders_are_under_way(bench: Any) -> None:
    bench.enter()
    asked = len(bench.strategy.asked)
    bench.quote()
    assert len(bench.strategy.asked) == asked


# The venue's word on what we hold


def test_a_position_the_venue_sees_otherwise_blocks_entries_until_it_agrees(quoted: Any) -> None:
    leg = quoted.pair.abroad.id
    for _ in range(2):
        quoted.feed(PositionSeen(quoted.now, leg, Decimal("-0.01")))
    assert quoted.of(PositionMismatch) == [PositionMismatch("fake:BTC", leg, ZERO, Decimal("-0.01"))]
    assert tried(quoted) == refused(Refusal.POSITION_MISMATCH)
    quoted.feed(PositionSeen(quoted.now, leg, ZERO))
    assert tried(quoted) == ENTERED


def test_the_owner_s_own_coins_and_dust_are_no_mismatch(make_bench: Callable[..., Any]) -> None:
    bench = make_bench(btc="0.3").opened()
    bench.feed(PositionSeen(bench.now, bench.pair.korea.id, Decimal("0.365")))
    bench.feed(PositionSeen(bench.now, bench.pair.abroad.id, Decimal("-0.065")))
    assert bench.of(PositionMismatch) == []


def test_a_position_seen_while_orders_are_under_way_says_nothing(bench: Any) -> None:
    bench.enter()
    bench.feed(PositionSeen(bench.now, bench.pair.abroad.id, Decimal("-0.01")))
    assert bench.of(PositionMismatch) == []


def test_a_position_seen_of_a_coin_nobody_trades_says_nothing(bench: Any) -> None:
    bench.feed(PositionSeen(bench.now, "binance:DOGEUSDT", ONE))
    assert bench.effects == []


# What is valued with the market


def test_a_mark_needs_a_book_and_a_rate(pair: Any, bench: Any) -> None:
    market = MarketState(SETTINGS)
    assert market.mark(pair.korea) is None
    market.see(MarketMoved(bench.now, bench.books()))
    assert market.mark(pair.abroad) is None
    assert market.mark(pair.korea) == Mark(Decimal("144899500"), ONE)
    market.see(MarketMoved(bench.now, rates=bench.rates()))
    assert market.mark(pair.abroad) == Mark(Decimal("100000.05"), Decimal(1400))


def test_the_strategy_sees_the_last_funding_rate_and_none_before_there_is_one(bench: Any) -> None:
    bench.quote()
    bench.feed(
        MarketMoved(bench.now, funding=(FundingRate(bench.pair.abroad.id, Decimal("0.0001"), bench.now, bench.now),))
    )
    rates = [view.funding_rate for view, _ in bench.strategy.asked]
    assert rates == [None, Decimal("0.0001")]


def test_the_strategy_sees_what_leaving_would_earn_and_how_full_the_position_is(bench: Any) -> None:
    bench.complete_all(bench.enter(share="0.4"))
    bench.quote()
    _, seen = bench.strategy.asked[-1]
    verdict = bench.desk.verdict(bench.now)
    assert seen.net == verdict.net < 0
    assert seen.direction is LONG
    assert Decimal("0.38") < seen.filled_share < Decimal("0.41")
    fees = bench.position.leg(bench.pair.korea.id).fees_krw
    dollars = Decimal(7000) - bench.position.leg(bench.pair.abroad.id).fees_krw / 1400
    assert seen.capital == 10_000_000 - fees + dollars * 1400


def test_two_strategies_may_not_share_an_instrument(scripted: Any, pair: Any) -> None:
    with pytest.raises(ValueError, match="give each its own coin"):
        TradingEngine((Assignment(scripted("a"), pair), Assignment(scripted("b"), pair)), SETTINGS)


def test_a_timer_nobody_set_is_a_bug(bench: Any) -> None:
    with pytest.raises(AssertionError, match="nobody set"):
        bench.feed(TimerFired(bench.now, "coffee"))


def test_the_owner_s_configuration_reaches_the_engine() -> None:
    fraction = SimpleNamespace(fraction=Decimal("0.9"))
    guards = SimpleNamespace(book_age_max_ms=3_000, leg_skew_max_ms=700, quarantine_s=9, clock_skew_max_ms=250)
    execution = SimpleNamespace(
        leverage=2, slippage_max=Decimal("0.001"), cooldown_s=30, entries_per_minute_max=2, complete_tries_max=1
    )
    made = engine_settings(SimpleNamespace(capital=fraction, guards=guards, execution=execution))
    assert made == EngineSettings(
        capital_share=Decimal("0.9"),
        leverage=Decimal(2),
        slippage_max=Decimal("0.001"),
        book_age_max=3 * SECOND,
        leg_skew_max=700 * MILLISECOND,
        quarantine=9 * SECOND,
        clock_skew_max=250 * MILLISECOND,
        cooldown=30 * SECOND,
        entries_per_minute_max=2,
        complete_tries_max=1,
    )
