"""A market made of bars is those bars: same prices, same minutes, same rates, sound books, one story per seed."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimp.portfolio.exchange.tickets import OrderKind, OrderState, Ticket, VirtualOrder
from kimp.portfolio.exchange.virtual import VirtualExchange
from kimp.portfolio.markets.bar_market import BarMarket
from kimp.portfolio.markets.paths import Bar, path_of
from kimp.portfolio.markets.simulated import SimulatedMarket
from kimp.research.simulation.market import simulate_market
from kimp.research.simulation.venue import SimulatedVenue
from kimp.shared.domain.fx import USD, USDT
from kimp.shared.domain.history import MarketData
from kimp.shared.domain.instruments import Side, Venue, binance_perpetual, default_pair, upbit_spot
from kimp.shared.domain.money import exact
from kimp.shared.domain.time import DAY, HOUR, MINUTE, SECOND, Nanos
from kimp.shared.errors import ConfigurationError
from kimp.shared.messages.events import MarketMoved

PAIR = default_pair("BTC")
BEGINS = 20_500 * DAY


class JumpingClock:
    """Time that is where the last sleeper wanted it."""

    def __init__(self, at: Nanos) -> None:
        self.at = at

    def now(self) -> Nanos:
        return self.at

    async def sleep_until(self, at: Nanos) -> None:
        self.at = max(self.at, at)


def data(days: int = 1) -> MarketData:
    return simulate_market(seed=3, start=BEGINS, end=BEGINS + days * DAY)


def told(stream: AsyncIterator[MarketMoved], until: Nanos) -> list[MarketMoved]:
    async def listen() -> list[MarketMoved]:
        events = []
        async for moved in stream:
            if moved.at >= until:
                break
            events.append(moved)
        return events

    return asyncio.run(listen())


prices = st.integers(1_000, 200_000)


@settings(max_examples=200, deadline=None)
@given(st.lists(prices, min_size=4, max_size=4), st.integers(4, 240), st.integers(0, 99))
def test_a_path_touches_open_high_low_and_close_and_stays_within(four: list[int], ticks: int, seed: int) -> None:
    rules = binance_perpetual("BTC").rules
    bar = Bar(Decimal(four[0]), Decimal(max(four)), Decimal(min(four)), Decimal(four[1]), Decimal(1))
    path = path_of(bar, ticks, rules, Random(seed))
    assert len(path) == ticks
    assert (path[0], max(path), min(path), path[-1]) == bar[:4]
    assert all(price % rules.tick_at(price) == 0 for price in path)


def test_the_candles_on_the_boards_are_the_bars_of_the_data() -> None:
    bars = data()
    market = BarMarket(bars, PAIR, JumpingClock(BEGINS), every=5 * SECOND)
    told(market.stream(), BEGINS + HOUR)
    for candles, leg in ((bars.korea, PAIR.korea), (bars.abroad, PAIR.abroad)):
        shown = market.boards.candles(leg.id, 60, BEGINS + HOUR)
        rows = [row for row, opened in enumerate(candles.opened.tolist()) if opened < BEGINS + HOUR]
        assert [candle.opened_at for candle in shown] == [int(candles.opened[row]) for row in rows]
        for candle, row in zip(shown, rows, strict=True):
            bar = (candles.open[row], candles.high[row], candles.low[row], candles.close[row])
            assert (candle.open, candle.high, candle.low, candle.close) == tuple(exact(float(price)) for price in bar)
            assert candle.is_closed


def test_every_book_is_sound_on_the_grid_and_around_the_last_trade() -> None:
    market = SimulatedMarket(PAIR, JumpingClock(BEGINS), seed=5)
    for moved in told(market.stream(), BEGINS + 5 * MINUTE):
        for book in moved.books:
            assert book.fault() is None
            rules = (PAIR.korea if book.instrument_id == PAIR.korea.id else PAIR.abroad).rules
            assert all(level.price % rules.tick_at(level.price) == 0 for level in book.bids + book.asks)
            assert all(level.size % rules.lot == 0 for level in book.bids + book.asks)
            assert (len(book.bids), len(book.asks)) == (15, 15)
            assert book.venue_at == book.received_at == moved.at
    for leg in (PAIR.korea, PAIR.abroad):
        book, trades = market.boards.book(leg.id), market.boards.trades(leg.id, 100)
        assert book is not None
        assert trades[-1].price == (book.asks if trades[-1].side is Side.BUY else book.bids)[0].price
        assert [trade.trade_id for trade in trades] == sorted({trade.trade_id for trade in trades})


def test_one_seed_tells_one_story_from_wherever_it_is_entered() -> None:
    whole = told(SimulatedMarket(PAIR, JumpingClock(BEGINS), seed=5).stream(), BEGINS + 3 * MINUTE)
    again = told(SimulatedMarket(PAIR, JumpingClock(BEGINS), seed=5).stream(), BEGINS + 3 * MINUTE)
    late = JumpingClock(BEGINS + MINUTE + 30 * SECOND)
    entered = told(SimulatedMarket(PAIR, late, seed=5, begins=BEGINS).stream(), BEGINS + 3 * MINUTE)
    assert whole == again
    assert [moved.books for moved in whole[-len(entered) :]] == [moved.books for moved in entered]
    assert len(entered) == 90 * 4
    other = told(SimulatedMarket(PAIR, JumpingClock(BEGINS), seed=6).stream(), BEGINS + SECOND)
    assert other[0].books != whole[0].books


def test_old_data_is_told_at_the_clock_s_time_with_minutes_and_settlements_in_place() -> None:
    now = BEGINS + 400 * DAY + 7 * HOUR + 59 * MINUTE
    events = told(BarMarket(data(), PAIR, JumpingClock(now)).stream(), now + 2 * MINUTE)
    assert events[0].at == now
    (rate,) = events[0].funding
    assert (rate.settles_at, rate.interval) == (now + MINUTE, 8 * HOUR)
    quotes = {quote.base: quote for quote in events[0].rates}
    assert set(quotes) == {USD, USDT}
    assert all(quote.is_valid(now) for quote in quotes.values())
    due = [event.funding[0].settles_at for event in events if event.funding]
    assert due == [now + MINUTE] * 6 + [now + MINUTE + 8 * HOUR] * 6
    assert all(later.at > earlier.at for earlier, later in pairwise(events))


def test_a_chosen_start_is_where_it_begins() -> None:
    clock = JumpingClock(7)
    events = told(BarMarket(data(), PAIR, clock, start=BEGINS + 5 * HOUR).stream(), 7 + SECOND)
    direct = told(BarMarket(data(), PAIR, JumpingClock(BEGINS + 5 * HOUR)).stream(), BEGINS + 5 * HOUR + SECOND)
    assert [moved.at for moved in events] == [7 + step * SECOND // 4 for step in range(4)]
    assert events[0].books[0].bids == direct[0].books[0].bids


def test_the_market_ends_with_its_data_and_leaves_ticks_out_rather_than_lag() -> None:
    bars = simulate_market(seed=3, start=BEGINS, end=BEGINS + HOUR)
    clock = JumpingClock(BEGINS + 59 * MINUTE)
    market = BarMarket(bars, PAIR, clock)

    async def stumble() -> list[Nanos]:
        times = []
        async for moved in market.stream():
            times.append(moved.at)
            if len(times) == 2:
                clock.at += 30 * SECOND
        return times

    times = asyncio.run(stumble())
    assert times[2] - times[1] == 30 * SECOND
    assert times[-1] == BEGINS + HOUR - SECOND // 4


@pytest.mark.parametrize(("start", "every"), [(BEGINS - 1, SECOND), (BEGINS + DAY, SECOND), (None, 7), (None, MINUTE)])
def test_a_start_or_pace_that_cannot_be_is_refused(start: Nanos | None, every: Nanos) -> None:
    with pytest.raises(ConfigurationError):
        BarMarket(data(), PAIR, JumpingClock(BEGINS), start=start, every=every)


def test_a_short_is_paid_its_funding_by_a_simulated_market() -> None:
    clock = JumpingClock(BEGINS + 8 * HOUR - 5 * SECOND)
    market = SimulatedMarket(PAIR, clock, seed=5, begins=BEGINS)
    venues = [
        VirtualExchange(SimulatedVenue(Venue.UPBIT, [upbit_spot("BTC")], {"KRW": Decimal(10**9)}), clock),
        VirtualExchange(SimulatedVenue(Venue.BINANCE, [PAIR.abroad], {"USDT": Decimal(10**6)}), clock),
    ]

    async def play() -> Decimal:
        rate = None
        async for moved in market.stream():
            rate = rate or moved.funding[0]
            for venue in venues:
                venue.see(moved)
            if len(venues[1].orders()) == 0:
                short = Ticket("s", PAIR.abroad.id, Side.SELL, OrderKind.MARKET, Decimal("0.1"))
                taken = venues[1].submit(short)
                assert isinstance(taken, VirtualOrder)
                assert taken.state is OrderState.FILLED
            if moved.at >= BEGINS + 8 * HOUR + SECOND:
                break
        assert rate is not None
        return rate.rate

    rate = asyncio.run(play())
    (payment,) = venues[1].simulated.income
    assert payment.at == BEGINS + 8 * HOUR
    assert payment.amount.value * rate > 0
    assert venues[0].simulated.income == []
