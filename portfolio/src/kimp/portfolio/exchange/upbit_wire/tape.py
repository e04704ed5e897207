"""What happened in a market, in the units Upbit publishes: bars of any length, and the figures of a day.

Upbit, "분(Minute) 캔들 조회": a bar exists only where something traded; the running one is included and will change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from kimp.portfolio.exchange.upbit_wire.figures import day_start
from kimp.shared.domain.candles import Candle
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.ticks import PublicTrade
from kimp.shared.domain.time import DAY, MINUTE, Nanos

MINUTES = (1, 3, 5, 10, 15, 30, 60, 240)
"""The lengths of minute bars that Upbit offers."""


@dataclass(slots=True)
class Bar:
    """A bar of ``minutes``; ``last_at`` is the end of the newest minute in it, prices in the quote asset."""

    minutes: int
    opened_at: Nanos
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    turnover: Decimal
    last_at: Nanos


def bars(candles: Sequence[Candle], minutes: int, *, before: Nanos, count: int, now: Nanos) -> list[Bar]:
    """Bars made of minute candles, newest first, those opened before ``before`` only.

    Args:
        candles: minutes, oldest first.
        minutes: how long a bar is.
        before: the first moment that is too late for a bar to open.
        count: how many at most.
        now: no bar's end is shown to be later.
    """
    length, made = minutes * MINUTE, list[Bar]()
    for candle in candles:
        opened_at = candle.opened_at // length * length
        if opened_at >= before:
            break
        last_at = min(candle.opened_at + MINUTE - 1, now)
        if made and made[-1].opened_at == opened_at:
            bar = made[-1]
            bar.high, bar.low, bar.close = max(bar.high, candle.high), min(bar.low, candle.low), candle.close
            bar.volume, bar.turnover, bar.last_at = bar.volume + candle.volume, bar.turnover + candle.turnover, last_at
        else:
            made.append(
                Bar(
                    minutes,
                    opened_at,
                    candle.open,
                    candle.high,
                    candle.low,
                    candle.close,
                    candle.volume,
                    candle.turnover,
                    last_at,
                )
            )
    return made[-count:][::-1]


@dataclass(frozen=True, slots=True)
class DayFigures:
    """A market's day so far (since 00:00 UTC) and its last 24 hours, prices and turnovers in the quote asset."""

    previous_close: Decimal
    open: Decimal
    high: Decimal
    low: Decimal
    last: Decimal
    volume: Decimal
    turnover: Decimal
    volume_24h: Decimal
    turnover_24h: Decimal

    @property
    def change(self) -> Decimal:
        """The last price less yesterday's close."""
        return self.last - self.previous_close

    @property
    def change_rate(self) -> Decimal:
        """The same as a fraction of yesterday's close."""
        return (self.change / self.previous_close).quantize(Decimal("1e-10")) if self.previous_close else ZERO


def direction(change: Decimal) -> str:
    """``RISE``, ``EVEN`` or ``FALL``."""
    return "EVEN" if not change else "RISE" if change > ZERO else "FALL"


def day_figures(candles: Sequence[Candle], last: PublicTrade, now: Nanos) -> DayFigures:
    """The day's statistics as far as the candles (oldest first) go back."""
    today = [candle for candle in candles if candle.opened_at >= day_start(now)]
    recent = [candle for candle in candles if candle.opened_at > now - DAY]
    earlier = next((candle for candle in reversed(candles) if candle.opened_at < day_start(now)), None)
    opened = today[0].open if today else last.price
    return DayFigures(
        previous_close=earlier.close if earlier is not None else opened,
        open=opened,
        high=max((candle.high for candle in today), default=last.price),
        low=min((candle.low for candle in today), default=last.price),
        last=last.price,
        volume=sum((candle.volume for candle in today), ZERO),
        turnover=sum((candle.turnover for candle in today), ZERO),
        volume_24h=sum((candle.volume for candle in recent), ZERO),
        turnover_24h=sum((candle.turnover for candle in recent), ZERO),
    )
