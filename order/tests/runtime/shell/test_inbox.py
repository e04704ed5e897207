"""Two lanes: orders wait and are never lost, quotes overtake each other and losses keep their place."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimp.order.engine.market import MarketState
from kimp.order.engine.settings import EngineSettings
from kimp.order.runtime.inbox import PIECES_MAX, Inbox
from kimp.order.runtime.virtual_loop import run_virtual
from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.fx import FxQuote
from kimp.shared.domain.time import SECOND
from kimp.shared.messages.events import FeedBack, FeedLost, MarketMoved, TimerFired

A, B = "upbit:KRW-BTC", "binance:BTCUSDT"


def book(instrument_id: str, at: int, price: int = 100) -> Book:
    return Book(instrument_id, (Level(Decimal(price), Decimal(1)),), (Level(Decimal(price + 1), Decimal(1)),), at, at)


def inbox(**limits: Any) -> Inbox:
    return Inbox(ahead_max=5 * SECOND, **limits)


async def all_of(box: Inbox) -> list[Any]:
    events = []
    while not box.is_empty:
        events.append(await box.next())
    return events


def test_orders_come_before_quotes_that_came_earlier() -> None:
    async def play() -> list[Any]:
        box = inbox()
        box.move(MarketMoved(1, (book(A, 1),)))
        await box.put(TimerFired(2, "one"))
        await box.put(TimerFired(3, "two"))
        return await all_of(box)

    assert [getattr(event, "timer", "quotes") for event in run_virtual(play(), 0)] == ["one", "two", "quotes"]


def test_of_quotes_that_pile_up_the_newest_of_each_instrument_is_told_once() -> None:
    async def play() -> tuple[list[Any], int]:
        box = inbox()
        rate = FxQuote("USD", Decimal(1400), 3, 9, "test")
        for event in (
            MarketMoved(1, (book(A, 1), book(B, 1))),
            MarketMoved(3, (book(A, 3),), (rate,)),
            MarketMoved(2, (book(A, 2),)),  # late: the venue's time decides
        ):
            box.move(event)
        return await all_of(box), box.coalesced

    events, coalesced = run_virtual(play(), 0)
    assert coalesced == 2
    assert len(events) == 1
    assert events[0].at == 3
    assert {quote.instrument_id: quote.venue_at for quote in events[0].books} == {A: 3, B: 1}
    assert [rate.base for rate in events[0].rates] == ["USD"]


def test_a_loss_keeps_its_place_among_the_quotes() -> None:
    async def play() -> list[Any]:
        box = inbox()
        box.move(MarketMoved(1, (book(A, 1),)))
        box.move(FeedLost(2, A, "silent"))
        box.move(MarketMoved(3, (book(B, 3),)))
        box.move(FeedBack(4, A))
        box.move(MarketMoved(5, (book(A, 5),)))
        return await all_of(box)

    assert [event.at for event in run_virtual(play(), 0)] == [1, 2, 3, 4, 5]


def test_a_book_from_the_future_does_not_push_a_true_one_out_of_the_lane() -> None:
    async def play() -> list[Any]:
        box = inbox()
        box.move(MarketMoved(1, (book(A, 60 * SECOND),)))
        box.move(MarketMoved(2, (book(A, 2),)))
        return await all_of(box)

    (event,) = run_virtual(play(), 0)
    assert [quote.venue_at for quote in event.books] == [60 * SECOND, 2]


@given(
    st.lists(
        st.tuples(st.sampled_from([A, B]), st.integers(0, 20), st.sampled_from(["book", "lost", "back", "ahead"])),
        max_size=30,
    )
)
def test_the_engine_knows_the_same_after_overtaking_as_after_every_single_quote(steps: list[Any]) -> None:
    """Coalescing must never show: books, losses and what is dated ahead end up as if nothing had waited."""
    events: list[Any] = []
    for at, (instrument_id, venue_at, kind) in enumerate(steps):
        match kind:
            case "book":
                events.append(MarketMoved(at, (book(instrument_id, venue_at),)))
            case "ahead":
                events.append(MarketMoved(at, (book(instrument_id, venue_at + 60 * SECOND),)))
            case "lost":
                events.append(FeedLost(at, instrument_id, "silent"))
            case _:
                events.append(FeedBack(at, instrument_id))

    async def play() -> list[Any]:
        box = inbox()
        for event in events:
            box.move(event)
        return await all_of(box)

    assert known(events) == known(run_virtual(play(), 0))


def known(events: list[Any]) -> tuple[Any, ...]:
    market = MarketState(EngineSettings())
    for event in events:
        if isinstance(event, MarketMoved):
            market.see(event)
        else:
            market.note(event)
    return market.books, market._lost, market._trusted_from


def test_feeds_that_flap_while_the_engine_stands_still_do_not_fill_memory() -> None:
    async def play() -> tuple[list[Any], int]:
        box, longest = inbox(), 0
        for n in range(5 * PIECES_MAX):
            box.move(MarketMoved(4 * n, (book(A, 4 * n), book(B, 4 * n))))
            box.move(FeedLost(4 * n + 1, A, "flaps"))
            box.move(FeedBack(4 * n + 2, A))
            box.move(MarketMoved(4 * n + 3, (book(A, 4 * n + 3),)))
            longest = max(longest, len(box._pieces))
        return await all_of(box), longest

    events, longest = run_virtual(play(), 0)
    last = 20 * PIECES_MAX - 1
    assert longest <= PIECES_MAX
    market = MarketState(EngineSettings())
    for event in events:
        market.see(event) if isinstance(event, MarketMoved) else market.note(event)
    assert (market.books[A].venue_at, market.books[B].venue_at) == (last, last - 3)
    assert not market._lost


def test_a_feed_lost_while_the_engine_stands_still_stays_lost(start: int) -> None:
    """Whatever is thinned out, no book from before a loss may turn up after it."""

    async def play() -> list[Any]:
        box = inbox()
        for n in range(PIECES_MAX):
            box.move(FeedBack(start + n, A))
            box.move(MarketMoved(start + n, (book(A, start + n), book(B, start + n))))
        box.move(FeedLost(start + PIECES_MAX, A, "silent"))
        for n in range(PIECES_MAX):
            box.move(FeedBack(start + PIECES_MAX + n, B))
        return await all_of(box)

    books, lost, _ = known(run_virtual(play(), 0))
    assert list(books) == [B]
    assert lost == {A}


def test_a_full_order_lane_makes_its_senders_wait_and_loses_nothing() -> None:
    async def play() -> tuple[list[str], int]:
        box, done = inbox(order_lane_max=3), []

        async def send(name: str) -> None:
            for n in range(10):
                await box.put(TimerFired(n, f"{name}{n}"))
            done.append(name)

        async with asyncio.TaskGroup() as group:
            group.create_task(send("a"))
            group.create_task(send("b"))
            await asyncio.sleep(1)
            assert not done
            told = []
            while len(told) < 20:
                event = await box.next()
                assert isinstance(event, TimerFired)
                told.append(event.timer)
        return told, box.high_water

    told, high_water = run_virtual(play(), 0)
    assert high_water == 3
    for name in "ab":
        assert [timer for timer in told if timer[0] == name] == [f"{name}{n}" for n in range(10)]


def test_waiting_for_an_event_ends_when_one_comes() -> None:
    async def play() -> Any:
        box = inbox()
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(box.next())
            await asyncio.sleep(1)
            assert not waiting.done()
            box.move(FeedLost(1, A, "silent"))
        return waiting.result()

    assert run_virtual(play(), 0) == FeedLost(1, A, "silent")


def test_an_empty_inbox_says_so() -> None:
    async def play() -> None:
        box = inbox()
        assert box.is_empty
        assert box.next_order() is None
        await box.put(TimerFired(1, "one"))
        assert not box.is_empty
        assert box.next_order() == TimerFired(1, "one")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(box.next(), 1)

    run_virtual(play(), 0)
