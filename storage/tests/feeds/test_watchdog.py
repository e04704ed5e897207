"""The watchdog, the pacer and the pauses, with time moved by hand."""

import asyncio
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimp.shared.domain.books import Book
from kimp.shared.domain.fx import FxQuote
from kimp.shared.domain.ticks import MarkPrice
from kimp.shared.domain.time import SECOND
from kimp.shared.messages.events import FeedBack, FeedLost, MarketMoved
from kimp.storage.feeds.clocks import SystemClock
from kimp.storage.feeds.events import StreamKind
from kimp.storage.feeds.merge import moves
from kimp.storage.feeds.pace import Backoff, Limit, Pacer
from kimp.storage.feeds.seen import RecentIds
from kimp.storage.feeds.watchdog import Stream, Watchdog

AT = 1_700_000_000 * SECOND
BTC = "upbit:KRW-BTC"
BOOK, MARK = StreamKind.BOOK, StreamKind.MARK


@pytest.fixture
def dog() -> Watchdog:
    streams = [Stream("a", BTC, BOOK), Stream("b", BTC, MARK), Stream("a", "quiet", BOOK, None)]
    return Watchdog(streams)


def test_an_instrument_is_lost_once_and_back_when_all_of_it_is_back(dog: Watchdog) -> None:
    dog.opened("a", AT)
    dog.opened("b", AT)
    assert [loss.instrument_id for loss in dog.check(AT + 5 * SECOND)] == [BTC]
    later = AT + 6 * SECOND
    assert dog.saw(BTC, BOOK, later, later) is None  # its mark price is still missing
    assert dog.saw(BTC, MARK, later, later) == FeedBack(later, BTC)
    assert dog.check(later) == []


def test_nothing_is_lost_before_it_was_asked_for(dog: Watchdog) -> None:
    assert dog.check(AT + 100 * SECOND) == []


def test_a_quiet_market_may_be_silent(dog: Watchdog) -> None:
    dog.opened("a", AT)
    assert dog.saw("quiet", BOOK, AT, AT) is None
    assert [loss.instrument_id for loss in dog.check(AT + 100 * SECOND)] == [BTC]


def test_a_quiet_markets_book_is_lost_with_its_connection_and_back_with_its_next_data(dog: Watchdog) -> None:
    assert {loss.instrument_id for loss in dog.lose("a", AT, "closed 1006")} == {BTC, "quiet"}
    assert dog.saw("quiet", BOOK, AT - 3_600 * SECOND, AT) == FeedBack(AT, "quiet")


def test_old_data_at_full_rate_is_a_loss_and_does_not_bring_anything_back(dog: Watchdog) -> None:
    lost = dog.saw(BTC, BOOK, AT - 7 * SECOND, AT)
    assert isinstance(lost, FeedLost)
    assert lost.reason == "book delayed by 7.0 s"
    assert dog.saw(BTC, BOOK, AT - 7 * SECOND, AT) is None
    assert dog.saw(BTC, BOOK, AT, AT) == FeedBack(AT, BTC)


def test_a_venue_whose_clock_runs_ahead_gains_no_time(dog: Watchdog) -> None:
    dog.saw(BTC, BOOK, AT + 60 * SECOND, AT)
    assert dog.check(AT + 5 * SECOND)


def test_renewals_become_rarer(dog: Watchdog) -> None:
    dog.opened("a", AT)
    times = []
    for tenth in range(6_000):
        now = AT + tenth * SECOND // 10
        dog.check(now)
        if "a" in dog.renewals(now):
            times.append(tenth // 10)
    assert times[0] == 4
    assert 8 <= len(times) <= 15


def test_a_stream_that_ends_with_its_channel_gives_the_reason(dog: Watchdog) -> None:
    lost, _ = dog.lose("a", AT, "closed 1006")
    assert lost == FeedLost(AT, BTC, "book closed 1006")
    assert dog.lose("a", AT, "closed 1006") == []


@given(
    st.lists(st.floats(0, 3), min_size=1, max_size=60),
    st.lists(st.tuples(st.integers(1, 8), st.integers(1, 10)), min_size=1, max_size=2),
)
def test_the_pacer_never_lets_more_through_than_every_limit_allows(
    pauses: list[float], limits: list[tuple[int, int]]
) -> None:
    clock: Any = type("Stepped", (), {"at": AT, "now": lambda self: self.at, "sleep_until": _jump})()
    pacer = Pacer(tuple(Limit(count, window * SECOND) for count, window in limits), clock)

    async def speak() -> list[int]:
        times = []
        for pause in pauses:
            clock.at += round(pause * SECOND)
            await pacer.turn()
            times.append(clock.at)
        return times

    times = asyncio.run(speak())
    for count, window in limits:
        assert all(sum(start <= at <= start + window * SECOND for at in times) <= count for start in times)


async def _jump(clock: Any, at: int) -> None:
    clock.at = at


def test_pauses_grow_to_a_cap_and_differ_from_client_to_client() -> None:
    backoff, other = Backoff(Random(1)), Backoff(Random(2))
    pauses = [backoff.pause() for _ in range(12)]
    assert all(SECOND // 4 <= pause <= 30 * SECOND for pause in pauses)
    assert min(pauses[7:]) >= 15 * SECOND
    assert pauses != [other.pause() for _ in range(12)]
    assert backoff.pause(at_least=90 * SECOND) == 90 * SECOND
    backoff.reset()
    assert backoff.pause() <= SECOND // 2


@given(st.lists(st.integers(0, 30)))
def test_an_id_is_new_unless_it_was_among_the_latest(ids: list[int]) -> None:
    seen, told = RecentIds(remembered=8), list[int]()
    for trade_id in ids:
        assert seen.is_new(trade_id) is (trade_id not in told[-8:])
        if trade_id not in told[-8:]:
            told.append(trade_id)


def test_quotes_that_wait_together_become_one_event_and_losses_keep_their_place() -> None:
    older, newer = Book(BTC, (), (), 1, 1), Book(BTC, (), (), 2, 2)
    rate = FxQuote("USD", Decimal(1400), 3, 9, "bank")
    mark = MarkPrice("perp", Decimal(1), None, Decimal("0.0001"), 8, 4, 4)
    unfunded = MarkPrice("other", Decimal(1), None, None, None, 4, 4)
    lost, back = FeedLost(5, BTC, "silent"), FeedBack(6, BTC)
    first, second, third, fourth = moves([older, newer, rate, mark, unfunded, lost, back, newer])
    assert isinstance(first, MarketMoved)
    assert (first.at, first.books, first.rates, len(first.funding)) == (4, (newer,), (rate,), 1)
    assert (second, third) == (lost, back)
    assert fourth == MarketMoved(2, (newer,))
    assert moves([]) == []


def test_the_real_clock_waits_as_long_as_it_is_told() -> None:
    clock = SystemClock()
    at = clock.now() + SECOND // 100
    asyncio.run(clock.sleep_until(at))
    assert clock.now() >= at
    asyncio.run(clock.sleep_until(0))  # at once
