"""A small stormy market from a seed: two books of a few levels, two rates, and whatever the weather does to them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from math import exp, sqrt
from random import Random

from kimp.research.chaos.scenarios import Episode, Incident, Weather
from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.fx import USD, USDT, FxQuote
from kimp.shared.domain.instruments import Instrument, Pair
from kimp.shared.domain.time import MINUTE, SECOND, Nanos

LEVELS = 3
SPACING = 0.0003
"""Between two levels of a book, as a fraction of the price: an entry's 0.2 % reaches past all of them."""

RATE_EVERY: Nanos = 20 * SECOND
RATE_VALID_FOR: Nanos = 2 * MINUTE
FUNDING_EVERY: Nanos = 20 * MINUTE
"""Far more often than in reality, so that two hours hold several settlements."""

PREMIUM_DEVIATION = 0.006
PREMIUM_MEMORY: Nanos = 6 * MINUTE
"""How far the premium wanders and how fast it forgets: several round trips an hour pay for their fees."""

MINUTE_VOLATILITY = 0.0008
RATE_VOLATILITY = 0.0007
DRY = 0.1


@dataclass(slots=True)
class _Prices:
    """Where the market stands: KRW per USDT, KRW per dollar, USDT per coin, premium on the usdt basis."""

    usdtkrw: float = 1_400.0
    usdkrw: float = 1_395.0
    coin: float = 100_000.0
    premium: float = 0.0


class StormMarket:
    """Prices wander between events; ``books`` are made fresh, so that two looks at one moment differ in depth."""

    def __init__(self, seed: int, pair: Pair, weather: Weather, start: Nanos) -> None:
        self._random = Random(f"market {seed}")
        self._pair = pair
        self._weather = weather
        self._at = start
        self._next_rates = start
        self._prices = _Prices(premium=self._random.gauss(0.0, PREMIUM_DEVIATION))
        self._depth = 0.1 * exp(self._random.gauss(0.5, 0.5))
        self.next_funding = start + self._random.randrange(MINUTE, FUNDING_EVERY)
        self.funding_rate = self._funding()

    def advance(self, at: Nanos) -> None:
        """Let the prices wander until ``at``."""
        prices, minutes = self._prices, (at - self._at) / MINUTE
        gauss = self._random.gauss
        prices.coin *= exp(gauss(0.0, MINUTE_VOLATILITY * sqrt(minutes)))
        prices.usdtkrw *= exp(gauss(0.0, RATE_VOLATILITY * sqrt(minutes)))
        prices.usdkrw *= exp(gauss(0.0, RATE_VOLATILITY / 3 * sqrt(minutes)))
        keep = exp(-(at - self._at) / PREMIUM_MEMORY)
        prices.premium = prices.premium * keep + gauss(0.0, PREMIUM_DEVIATION * sqrt(1 - keep * keep))
        self._at = at

    def books(self, *, scale: float = 1.0) -> tuple[Book, Book]:
        """Both books now; ``scale`` thins or thickens them."""
        abroad = self._prices.coin
        korea = abroad * self._prices.usdtkrw * (1 + self._prices.premium)
        spread = depth = 1.0
        for episode in self._weather.episodes:
            progress = episode.progress(self._at)
            if progress is not None:
                abroad_factor, korea_factor = _shock(episode, progress)
                abroad, korea = abroad * abroad_factor, korea * korea_factor
                spread *= 10.0 if episode.incident in (Incident.FLASH_CRASH, Incident.MARTIAL_LAW) else 1.0
                depth *= DRY if episode.incident is Incident.LIQUIDITY_DRY else 1.0
        depth *= self._depth * scale
        return self._book(self._pair.korea, korea, spread, depth), self._book(self._pair.abroad, abroad, spread, depth)

    def rates(self) -> tuple[FxQuote, ...]:
        """New rates when they are due, unless their source is dead."""
        if self._at < self._next_rates or self._weather.on(Incident.FX_EXPIRED, self._at):
            return ()
        self._next_rates = self._at + RATE_EVERY
        return self.rates_again()

    def rates_again(self) -> tuple[FxQuote, ...]:
        """The rates of this moment, for an engine that has just started."""
        until = self._at + RATE_VALID_FOR
        pairs = ((USD, self._prices.usdkrw), (USDT, self._prices.usdtkrw))
        return tuple(FxQuote(asset, _rounded(value, 1), self._at, until, "storm") for asset, value in pairs)

    def funding_now(self) -> FundingRate:
        """The rate of the next settlement."""
        return FundingRate(self._pair.abroad.id, self.funding_rate, self._at, self.next_funding)

    def funding_settled(self) -> None:
        """One settlement is over; the next has its own rate, of either sign."""
        self.next_funding += FUNDING_EVERY
        self.funding_rate = self._funding()

    def _funding(self) -> Decimal:
        return _rounded(self._random.gauss(0.0001, 0.0002), 8)

    def _book(self, leg: Instrument, mid: float, spread: float, depth: float) -> Book:
        tick = float(leg.rules.tick_at(Decimal(int(mid))))
        half = max(tick, mid * SPACING / 2 * spread)
        lots = 8 if leg is self._pair.korea else 3
        bids, asks = [], []
        for level in range(LEVELS):
            away = half + level * mid * SPACING * spread
            bids.append(Level(_on_tick(mid - away, tick, down=True), self._size(depth, lots)))
            asks.append(Level(_on_tick(mid + away, tick, down=False), self._size(depth, lots)))
        return Book(leg.id, tuple(bids), tuple(asks), self._at, self._at)

    def _size(self, depth: float, lots: int) -> Decimal:
        return _rounded(max(10.0**-lots, depth * self._random.random()), lots)


def _shock(episode: Episode, progress: float) -> tuple[float, float]:
    """What an incident does to the price abroad and in Korea: there and back again within its time."""
    swing = min(1.0, 4 * progress, 4 * (1 - progress))
    match episode.incident:
        case Incident.FLASH_CRASH:
            return 1 - 0.10 * swing, 1 - 0.10 * swing
        case Incident.MARTIAL_LAW:
            return 1 - 0.03 * swing, 1 - 0.33 * swing
        case Incident.SHORT_LIQUIDATED:
            return 1 + 1.2 * swing, 1 + 1.2 * swing
        case _:
            return 1.0, 1.0


def _on_tick(price: float, tick: float, *, down: bool) -> Decimal:
    steps = int(price / tick) + (0 if down else 1)
    return _rounded(steps * tick, 1)


def _rounded(value: float, digits: int) -> Decimal:
    return Decimal(f"{value:.{digits}f}")
