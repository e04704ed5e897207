"""Exchange rates and funding rates of recorded or simulated data, told again and again as live sources do."""

from __future__ import annotations

from bisect import bisect_right
from decimal import Decimal

from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.fx import USD, USDT, FxQuote
from kimp.shared.domain.history import MarketData, Observations
from kimp.shared.domain.instruments import Pair
from kimp.shared.domain.money import exact
from kimp.shared.domain.time import HOUR, MINUTE, SECOND, Nanos

PULSE: Nanos = 10 * SECOND
"""How often rates are told: well within their two minutes, far less often than books."""

LIVE_FOR: Nanos = 2 * MINUTE
"""How long a live quote of KRW-USDT may be used."""

TETHER_AGE_MAX_BARS = 10
"""A KRW-USDT older than this many bars has stopped being recorded: it is not told any more."""

FUNDING_INTERVAL: Nanos = 8 * HOUR
"""Where only one settlement is recorded."""


class Pulses:
    """What is known of rates at a moment of the data; told every ``PULSE``, shifted to the clock's time."""

    def __init__(self, data: MarketData, pair: Pair) -> None:
        self._data = data
        self._contract = pair.abroad.id
        self._told_at: Nanos | None = None

    def at(self, now: Nanos, shift: Nanos) -> tuple[tuple[FxQuote, ...], tuple[FundingRate, ...]]:
        """The rates of that moment of the data, or nothing between two pulses."""
        if self._told_at is not None and 0 <= now - self._told_at < PULSE:
            return (), ()
        self._told_at = now
        return tuple(self._rates(now, shift)), tuple(self._funding(now, shift))

    def _rates(self, now: Nanos, shift: Nanos) -> list[FxQuote]:
        data, quotes = self._data, []
        bank = _known(data.usdkrw, now)
        if bank is not None:
            at, value = bank
            until = at + data.usdkrw_valid_for + shift
            quotes.append(FxQuote(USD, value, at + shift, until, data.sources.get("usdkrw", "recorded")))
            if data.usdtkrw is None:
                # No KRW-USDT was recorded: the official rate stands in for it, and its source says so.
                quotes.append(FxQuote(USDT, value, at + shift, until, data.sources.get("usdkrw", "recorded")))
        tether = None if data.usdtkrw is None else _known(data.usdtkrw, now)
        if tether is not None and now - tether[0] <= TETHER_AGE_MAX_BARS * data.interval:
            source = data.sources.get("usdtkrw", "recorded")
            quotes.append(FxQuote(USDT, tether[1], now + shift, now + shift + LIVE_FOR, source))
        return quotes

    def _funding(self, now: Nanos, shift: Nanos) -> list[FundingRate]:
        """The next settlement's rate: what a venue expects shortly before is what it then settles."""
        funding = self._data.funding
        row = bisect_right(funding.at, now)
        if row >= len(funding):
            return []
        due = int(funding.at[row])
        interval = due - int(funding.at[row - 1]) if row else FUNDING_INTERVAL
        rate = exact(float(funding.value[row]))
        return [FundingRate(self._contract, rate, now + shift, due + shift, interval)]


def _known(observed: Observations, now: Nanos) -> tuple[Nanos, Decimal] | None:
    row = bisect_right(observed.at, now) - 1
    return None if row < 0 else (int(observed.at[row]), exact(float(observed.value[row])))
