"""Feeds against a fake venue on loopback that misbehaves in every way venues do; time is virtual, sockets are real."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from kimp.shared.domain.books import Book
from kimp.shared.domain.time import SECOND
from kimp.shared.messages.events import FeedBack, FeedLost, MarketMoved
from kimp.shared.settings import Binance, Fx, Settings, Upbit
from kimp.storage.feeds.binance import BinanceDecoder, BinanceSubscription
from kimp.storage.feeds.frames import BINANCE_PUBLIC, UPBIT, depth_channel
from kimp.storage.feeds.live import Feed, LiveFeed
from kimp.storage.feeds.merge import LiveMarket
from kimp.storage.feeds.pace import BINANCE_LIMITS, UPBIT_LIMITS
from kimp.storage.feeds.reader import FeedReader
from kimp.storage.feeds.socket import FeedSocket, SocketPlan
from kimp.storage.feeds.upbit import UpbitDecoder, UpbitSubscription
from kimp.storage.feeds.wiring import binance_feed, market_feeds, upbit_feed

BTC, USDT = "upbit:KRW-BTC", "upbit:KRW-USDT"
PERP = "binance:BTCUSDT"
STALE_WITHIN_S = 5.0

Virtually = Callable[[Coroutine[Any, Any, None]], None]
Until = Callable[[Callable[[], bool], float], Awaitable[float]]


class Listener:
    """Keeps what a feed tells."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._outbox: asyncio.Queue[Any] = asyncio.Queue()
        self.events: list[Any] = []

    @asynccontextmanager
    async def listening(self) -> Any:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._feed.run(self._outbox)), group.create_task(self._keep())]
            yield self
            for task in tasks:
                task.cancel()

    async def _keep(self) -> None:
        while True:
            self.events.append(await self._outbox.get())

    def of(self, kind: type, instrument_id: str | None = None) -> list[Any]:
        return [
            event for event in self.events if isinstance(event, kind) and instrument_id in (None, event.instrument_id)
        ]


@pytest.fixture
def upbit(venue: Any, clock: Any) -> Callable[..., Listener]:
    def make(*codes: str, **more: Any) -> Listener:
        subscription = UpbitSubscription(books=codes, busy=more.pop("busy", None))
        plan = SocketPlan(
            UPBIT, venue.ws_url + "/websocket/v1", more.pop("limits", ()), (subscription.message(),), **more
        )
        reader = FeedReader(UpbitDecoder(subscription))
        return Listener(LiveFeed(reader, [FeedSocket(plan, clock=clock, dice=Random(1))], clock=clock, dice=Random(2)))

    return make


@pytest.fixture
def binance(venue: Any, clock: Any) -> Callable[..., Listener]:
    def make(**wanted: Any) -> Listener:
        settings = Binance(
            rest_url=venue.rest_url, ws_public_url=venue.ws_url + "/public", ws_market_url=venue.ws_url + "/market"
        )
        subscription = BinanceSubscription(**(wanted or {"depth": ("BTCUSDT",)}))
        return Listener(binance_feed(settings, subscription, clock=clock, dice=Random(3)))

    return make


def test_a_venue_that_acknowledges_and_stays_silent_is_stale_within_five_seconds(
    venue: Any, upbit: Any, virtually: Virtually, until: Until
) -> None:
    async def story() -> None:
        async with venue:
            venue.streams_upbit("KRW-BTC")
            venue.is_silent = True
            async with upbit("KRW-BTC").listening() as heard:
                assert await until(lambda: bool(heard.of(FeedLost, BTC)), 10) <= STALE_WITHIN_S
                assert not heard.of(Book)
                venue.is_silent = False
                await until(lambda: bool(heard.of(FeedBack, BTC)), 1)
                assert len(heard.of(FeedLost)) == len(heard.of(FeedBack)) == 1

    virtually(story())


def test_one_stream_of_many_that_dies_is_noticed_and_the_others_go_on(
    venue: Any, upbit: Any, virtually: Virtually, until: Until
) -> None:
    async def story() -> None:
        async with venue:
            venue.streams_upbit("KRW-BTC", "KRW-USDT")
            async with upbit("KRW-BTC", "KRW-USDT").listening() as heard:
                await until(lambda: bool(heard.of(Book, USDT)), 5)
                venue.stalled = {"KRW-USDT"}
                assert await until(lambda: bool(heard.of(FeedLost, USDT)), 10) <= STALE_WITHIN_S
                connections = len(venue.handshakes)
                await until(lambda: len(venue.handshakes) > connections, 10)  # it is renewed ...
                await asyncio.sleep(2)
                venue.stalled = set()
                await until(lambda: bool(heard.of(FeedBack, USDT)), 1)
                times = [book.received_at for book in heard.of(Book, BTC)]
                gaps = [later - earlier for earlier, later in pairwise(times)]
                assert max(gaps) <= SECOND // 2  # ... and the healthy stream missed nothing meanwhile
                assert not heard.of(FeedLost, BTC)

    virtually(story())


def test_a_broken_connection_is_told_at_once_and_made_again(
    venue: Any, upbit: Any, virtually: Virtually, until: Until
) -> None:
    async def story() -> None:
        async with venue:
            venue.streams_upbit("KRW-BTC")
            async with upbit("KRW-BTC").listening() as heard:
                await until(lambda: bool(heard.of(Book)), 5)
                venue.break_all()
                assert await until(lambda: bool(heard.of(FeedLost)), 5) < 0.5
                assert "1006" in heard.of(FeedLost)[0].reason
                await until(lambda: bool(heard.of(FeedBack)), 5)
                assert len(venue.received) == 2  # the subscription was sent again

    virtually(story())


def test_a_connection_that_is_dead_without_a_word_is_found_by_its_missing_pong(
    venue: Any, upbit: Any, virtually: Virtually, until: Until
) -> None:
    async def story() -> None:
        async with venue:
            venue.streams_upbit("KRW-QUIET")
            async with upbit("KRW-QUIET", busy=frozenset()).listening() as heard:
                await until(lambda: bool(heard.of(Book)), 5)
                venue.freeze()
                await until(lambda: bool(heard.of(FeedLost)), 60)
                assert "PONG" in heard.of(FeedLost)[0].reason
                await until(lambda: bool(heard.of(FeedBack)), 10)
                assert len(heard.of(FeedLost)) == 1

    virtually(story())


def test_a_leg_that_comes_late_at_full_rate_is_stale(
    venue: Any, upbit: Any, virtually: Virtually, until: Until
) -> None:
    async def story() -> None:
        async with venue:
            venue.streams_upbit("KRW-BTC")
            async with upbit("KRW-BTC").listening() as heard:
                await until(lambda: bool(heard.of(Book)), 5)
                venue.delayed_ms = 6_000
                assert await until(lambda: bool(heard.of(FeedLost)), 10) <= STALE_WITHIN_S
                assert "delayed" in heard.of(FeedLost)[0].reason
                venue.delayed_ms = 0
                await until(lambda: bool(heard.of(FeedBack)), 10)

    virtually(story())


def test_maintenance_is_waited_out_without_hammering(
    venue: Any, upbit: Any, virtually: Virtually, until: Until
) -> None:
    async def story() -> None:
        async with venue:
            venue.streams_upbit("KRW-BTC")
            async with upbit("KRW-BTC").listening() as heard:
                await until(lambda: bool(heard.of(Book)), 5)
                venue.refuses_with = 503
                venue.break_all()
                await until(lambda: bool(heard.of(FeedLost)), 5)
                attempts = len(venue.handshakes)
                await asyncio.sleep(300)
                assert 5 <= len(venue.handshakes) - attempts <= 30
                venue.refuses_with = None
                assert await until(lambda: bool(heard.of(FeedBack)), 60) <= 35
                assert len(heard.of(FeedLost)) == 1

    virtually(story())


def test_starting_in_the_middle_of_maintenance_is_told_and_survived(
    venue: Any, upbit: Any, virtually: Virtually, until: Until
) -> None:
    async def story() -> None:
        async with venue:
            venue.streams_upbit("KRW-BTC")
            venue.refuses_with = 503
            async with upbit("KRW-BTC").listening() as heard:
                await until(lambda: bool(heard.of(FeedLost)), 5)
                assert "HTTP 503" in heard.of(FeedLost)[0].reason
                venue.refuses_with = None
                await until(lambda: bool(heard.of(FeedBack)), 40)

    virtually(story())


def test_a_lost_difference_is_repaired_and_no_wrong_book_is_told(
    venue: Any, binance: Any, virtually: Virtually, until: Until
) -> None:
    async def story() -> None:
        async with venue:
            venue.streams_binance("BTCUSDT")
            async with binance().listening() as heard:
                await until(lambda: bool(heard.of(Book)), 5)
                venue.drops = 1
                assert await until(lambda: bool(heard.of(FeedLost, PERP)), 5) <= 1
                await until(lambda: bool(heard.of(FeedBack, PERP)), 5)
                await asyncio.sleep(1)
                true_sizes = set(venue.books["BTCUSDT"].truth.values())
                told = [(str(book.bids[0].size), str(book.asks[0].size)) for book in heard.of(Book)]
                assert len(told) > 10
                assert set(told) <= true_sizes
                assert all(bid == ask for bid, ask in told)

    virtually(story())


def test_repeated_and_swapped_differences_are_borne_without_a_loss(
    venue: Any, binance: Any, virtually: Virtually, until: Until
) -> None:
    async def story() -> None:
        async with venue:
            venue.streams_binance("BTCUSDT")
            async with binance().listening() as heard:
                await until(lambda: bool(heard.of(Book)), 5)
                venue.repeats = True
                await asyncio.sleep(1)
                venue.repeats, venue.swaps = False, True
                await asyncio.sleep(2)
                snapshots = [path for _, path in venue.asked if "depth" in path]
                assert len(snapshots) == 1
                assert not heard.of(FeedLost)
                sizes = [str(book.bids[0].size) for book in heard.of(Book)]
                assert all(size.endswith(".500") for size in sizes[1:])

    virtually(story())


def test_a_ban_on_snapshots_is_obeyed_to_the_second(
    venue: Any, binance: Any, virtually: Virtually, until: Until
) -> None:
    async def story() -> None:
        async with venue:
            venue.streams_binance("BTCUSDT")
            venue.refusals = [(429, {"Retry-After": "7"}), (418, {"Retry-After": "30"}), (418, {})]
            async with binance().listening() as heard:
                await until(lambda: bool(heard.of(Book)), 300)
                times = [at for at, path in venue.asked if "depth" in path]
                assert len(times) == 4
                pauses = [later - earlier for earlier, later in pairwise(times)]
                assert all(round(pause, 3) >= asked for pause, asked in zip(pauses, (7, 30, 120), strict=True)), pauses
                assert heard.of(FeedLost, PERP)  # no book meanwhile, and that was said
                assert heard.of(FeedBack, PERP)

    virtually(story())


def test_the_wrong_route_is_found_by_its_silence(venue: Any, binance: Any, virtually: Virtually, until: Until) -> None:
    async def story() -> None:
        async with venue:
            venue.streams_binance("BTCUSDT")
            del venue.makers["/market"]  # connects, and nothing ever comes
            async with binance(depth=("BTCUSDT",), marks=("BTCUSDT",)).listening() as heard:
                await until(lambda: bool(heard.of(FeedLost, PERP)), 15)
                assert "mark" in heard.of(FeedLost)[0].reason

    virtually(story())


def test_the_end_of_a_connections_life_leaves_no_gap(venue: Any, upbit: Any, virtually: Virtually) -> None:
    async def story() -> None:
        async with venue:
            venue.streams_upbit("KRW-BTC")
            async with upbit("KRW-BTC", life=60 * SECOND).listening() as heard:
                await asyncio.sleep(200)
                assert 4 <= len(venue.handshakes) <= 5
                assert venue.open_most == 2
                assert venue.open_now == 1
                assert set(venue.endings) == {1000}
                times = [book.received_at for book in heard.of(Book)]
                gaps = [later - earlier for earlier, later in pairwise(times)]
                assert max(gaps) <= SECOND // 4
                assert not heard.of(FeedLost)

    virtually(story())


def test_a_book_of_differences_passes_from_one_connection_to_the_next_without_a_hole(
    venue: Any, clock: Any, virtually: Virtually
) -> None:
    async def story() -> None:
        async with venue:
            venue.streams_binance("BTCUSDT")
            subscription = BinanceSubscription(depth=("BTCUSDT",))
            url = venue.ws_url + "/public/stream?streams=btcusdt@depth@100ms"
            plan = SocketPlan(BINANCE_PUBLIC, url, BINANCE_LIMITS, life=20 * SECOND)
            snapshots = {depth_channel("BTCUSDT"): venue.rest_url + "/fapi/v1/depth?symbol=BTCUSDT"}
            feed = LiveFeed(
                FeedReader(BinanceDecoder(subscription)),
                [FeedSocket(plan, clock=clock, dice=Random(1))],
                clock=clock,
                dice=Random(2),
                snapshots=snapshots,
            )
            async with Listener(feed).listening() as heard:
                await asyncio.sleep(100)
                assert len(venue.handshakes) >= 5
                assert len(venue.asked) == 1  # one snapshot for all of them
                assert not heard.of(FeedLost)
                times = [book.received_at for book in heard.of(Book)]
                assert max(later - earlier for earlier, later in pairwise(times)) <= SECOND // 4
                (health,) = feed.health()
                assert not health.is_lost
                assert health.age <= SECOND // 4

    virtually(story())


def test_no_connection_carries_an_origin(
    venue: Any, upbit: Any, binance: Any, virtually: Virtually, until: Until
) -> None:
    async def story() -> None:
        async with venue:
            venue.streams_upbit("KRW-BTC")
            venue.streams_binance("BTCUSDT")
            async with upbit("KRW-BTC").listening() as korea, binance().listening() as abroad:
                await until(lambda: bool(korea.of(Book)) and bool(abroad.of(Book)), 5)
                assert len(venue.handshakes) == 2
                assert not any("Origin" in headers for _, headers in venue.handshakes)

    virtually(story())


def test_a_cancelled_feed_says_goodbye_quickly(venue: Any, upbit: Any, virtually: Virtually, until: Until) -> None:
    async def story() -> None:
        async with venue:
            venue.streams_upbit("KRW-BTC")
            async with upbit("KRW-BTC").listening() as heard:
                await until(lambda: bool(heard.of(Book)), 5)
                leaving_at = asyncio.get_running_loop().time()
            assert asyncio.get_running_loop().time() - leaving_at <= 2
            await until(lambda: venue.endings == [1000], 2)

    virtually(story())


@pytest.mark.parametrize(
    ("limits", "count", "windows"),
    [(UPBIT_LIMITS, 130, ((1, 5), (60, 100))), (BINANCE_LIMITS, 50, ((1, 10),))],
    ids=["upbit", "binance"],
)
def test_no_more_messages_are_sent_than_a_venue_allows(
    venue: Any, clock: Any, virtually: Virtually, until: Until, limits: Any, count: int, windows: Any
) -> None:
    async def story() -> None:
        async with venue:
            socket = FeedSocket(SocketPlan(UPBIT, venue.ws_url + "/x", limits, ("hello",)), clock=clock, dice=Random(1))
            inbox: asyncio.Queue[Any] = asyncio.Queue()
            async with asyncio.TaskGroup() as group:
                task = group.create_task(socket.run(inbox))
                await until(lambda: bool(venue.received), 5)
                for number in range(count):
                    await socket.send(str(number))
                await until(lambda: len(venue.received) == count + 1, 5)
                task.cancel()
            times = [at for at, _ in venue.received]
            for seconds, most in windows:
                assert max(sum(start <= at < start + seconds for at in times) for start in times) <= most

    virtually(story())


def test_a_refused_subscription_is_told_with_the_venues_words(
    venue: Any, upbit: Any, virtually: Virtually, until: Until
) -> None:
    async def story() -> None:
        async with venue:
            error = '{"error":{"name":"WRONG_FORMAT","message":"Format이 맞지 않습니다."}}'
            venue.makers["/websocket"] = lambda _: [("error", error)]
            async with upbit("KRW-BTC").listening() as heard:
                await until(lambda: bool(heard.of(FeedLost)), 5)
                assert "WRONG_FORMAT" in heard.of(FeedLost)[0].reason

    virtually(story())


def test_both_legs_and_both_rates_come_as_one_market(venue: Any, clock: Any, virtually: Virtually) -> None:
    async def story() -> None:
        async with venue:
            venue.streams_upbit("KRW-BTC", "KRW-USDT")
            venue.streams_binance("BTCUSDT")
            settings = Settings(
                upbit=Upbit(ws_url=venue.ws_url + "/websocket/v1"),
                binance=Binance(
                    rest_url=venue.rest_url,
                    ws_public_url=venue.ws_url + "/public",
                    ws_market_url=venue.ws_url + "/market",
                ),
                fx=Fx(bank_url=venue.rest_url + "/v1/forex/recent", market_url=venue.rest_url + "/v8/chart"),
            )
            feeds = market_feeds(settings, ["BTC"], clock=clock, dice=Random(7))
            books, rates, funding = set(), {}, {}
            async with asyncio.timeout(60), LiveMarket(feeds) as market:
                async for event in market.stream():
                    assert isinstance(event, MarketMoved), event
                    books |= {book.instrument_id for book in event.books}
                    rates |= {rate.base: rate for rate in event.rates}
                    funding |= {rate.instrument_id: rate.rate for rate in event.funding}
                    if len(books) == 3 and len(rates) == 2 and funding:
                        break
            assert books == {BTC, USDT, PERP}
            assert rates["USDT"].value == Decimal("1400.5")
            assert rates["USD"].is_valid(clock.now())
            assert funding == {PERP: Decimal("0.0001")}

    virtually(story())


def test_the_settings_say_where_to_connect(venue: Any, clock: Any, virtually: Virtually, until: Until) -> None:
    async def story() -> None:
        async with venue:
            venue.streams_upbit("KRW-BTC")
            feed = upbit_feed(
                Upbit(ws_url=venue.ws_url + "/websocket/v1"),
                UpbitSubscription(books=("KRW-BTC",)),
                clock=clock,
                dice=Random(5),
            )
            async with Listener(feed).listening() as heard:
                await until(lambda: bool(heard.of(Book)), 5)

    virtually(story())
