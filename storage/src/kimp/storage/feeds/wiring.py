"""Which feeds make up a market, from the settings."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from kimp.shared.ports.clock import Clock
from kimp.shared.settings import Binance, Settings, Upbit
from kimp.storage.feeds.binance import BinanceDecoder, BinanceSubscription
from kimp.storage.feeds.binance.subscription import snapshot_url
from kimp.storage.feeds.exchange_rate.decoder import RateDecoder
from kimp.storage.feeds.exchange_rate.feed import RateFeed
from kimp.storage.feeds.exchange_rate.hours import MarketHours
from kimp.storage.feeds.exchange_rate.sources import BANK, CHANNEL, MARKET
from kimp.storage.feeds.exchange_rate.tether import TETHER_MARKET, TetherRate
from kimp.storage.feeds.frames import UPBIT, depth_channel
from kimp.storage.feeds.live import Feed, LiveFeed, Tap
from kimp.storage.feeds.pace import BINANCE_LIMITS, UPBIT_LIMITS
from kimp.storage.feeds.reader import FeedReader
from kimp.storage.feeds.socket import FeedSocket, SocketPlan
from kimp.storage.feeds.upbit import UpbitDecoder, UpbitSubscription


def market_feeds(
    settings: Settings,
    coins: Sequence[str],
    *,
    clock: Clock,
    dice: Random,
    hours: MarketHours | None = None,
    tap: Tap | None = None,
    with_details: bool = False,
) -> list[Feed]:
    """Both legs of each coin and the two exchange rates; with details also trades, tickers, touches and candles.

    Args:
        settings: where the venues are.
        coins: ``BTC``, ``ETH``.
        clock, dice: time and chance, shared by all.
        hours: when the won is traded.
        tap: sees everything that arrives.
        with_details: what collectors want and an engine does not.
    """
    korean = tuple(f"KRW-{coin}" for coin in coins)
    details = korean if with_details else ()
    upbit = UpbitSubscription(books=tuple(dict.fromkeys((*korean, TETHER_MARKET))), trades=details, tickers=details)
    contracts = tuple(f"{coin}USDT" for coin in coins)
    details = contracts if with_details else ()
    binance = BinanceSubscription(depth=contracts, touches=details, trades=details, marks=contracts, candles=details)
    urls = {CHANNEL + BANK: settings.fx.bank_url, CHANNEL + MARKET: settings.fx.market_url}
    return [
        upbit_feed(settings.upbit, upbit, clock=clock, dice=_fork(dice), tap=tap),
        binance_feed(settings.binance, binance, clock=clock, dice=_fork(dice), tap=tap),
        RateFeed(RateDecoder(hours), urls, clock=clock, dice=_fork(dice), tap=tap),
    ]


def upbit_feed(
    settings: Upbit, subscription: UpbitSubscription, *, clock: Clock, dice: Random, tap: Tap | None = None
) -> LiveFeed:
    """Upbit over one connection."""
    plan = SocketPlan(UPBIT, settings.ws_url, UPBIT_LIMITS, (subscription.message(),))
    reader = FeedReader(UpbitDecoder(subscription, TetherRate()))
    return LiveFeed(reader, [FeedSocket(plan, clock=clock, dice=dice)], clock=clock, dice=dice, tap=tap)


def binance_feed(
    settings: Binance, subscription: BinanceSubscription, *, clock: Clock, dice: Random, tap: Tap | None = None
) -> LiveFeed:
    """Binance over one connection per route, and snapshots over REST."""
    urls = subscription.urls(settings.ws_public_url, settings.ws_market_url)
    sockets = [
        FeedSocket(SocketPlan(channel, url, BINANCE_LIMITS), clock=clock, dice=_fork(dice))
        for channel, url in urls.items()
    ]
    snapshots = {depth_channel(symbol): snapshot_url(settings.public_rest_url, symbol) for symbol in subscription.depth}
    reader = FeedReader(BinanceDecoder(subscription))
    return LiveFeed(reader, sockets, clock=clock, dice=dice, snapshots=snapshots, tap=tap)


def _fork(dice: Random) -> Random:
    """Dice of their own, so that one feed's throws do not change another's story."""
    return Random(dice.getrandbits(64))
