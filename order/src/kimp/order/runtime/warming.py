"""Shows a strategy the past before it trades, so that a restart, a backtest and a running trader hold the same windows.

The past is what was recorded: minute bars of both legs and the exchange rate known at each. Where nothing was, the
strategy warms up on live quotes and says so with every decision it cannot make yet.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal

import numpy as np

from kimp.shared.domain.history import MarketData, Observations, Times, Values
from kimp.shared.domain.instruments import Pair
from kimp.shared.domain.money import exact
from kimp.shared.domain.premium import KimpCalculator
from kimp.shared.domain.time import MINUTE, Nanos
from kimp.shared.errors import KimpError
from kimp.shared.logs import get
from kimp.shared.ports.strategy import MarketView, Strategy

Load = Callable[[str, Nanos, Nanos], Awaitable[MarketData]]
"""Everything recorded of a coin in ``[start, end)``; raises a ``KimpError`` where there is nothing."""


Seen = Callable[[str, MarketView], None]
"""Told of every view that a coin's strategy was shown."""


async def warm_up(strategy: Strategy, pair: Pair, load: Load, now: Nanos, seen: Seen | None = None) -> int:
    """Let the strategy observe the recorded minutes its windows need; how many it saw. Never raises for want of data."""
    if strategy.warm_up <= 0:
        return 0
    log = get("kimp.order.warming")
    end = now // MINUTE * MINUTE
    try:
        data = await load(pair.symbol, end - strategy.warm_up, end)
    except KimpError as error:
        log.warning("no recorded past to warm up with, waiting for live quotes", coin=pair.symbol, reason=str(error))
        return 0
    count = 0
    for view in views_of(data, pair):
        strategy.observe(view)
        if seen is not None:
            seen(pair.symbol, view)
        count += 1
    log.info("warmed up", coin=pair.symbol, minutes=count, wanted=strategy.warm_up // MINUTE)
    return count


def views_of(data: MarketData, pair: Pair) -> Iterator[MarketView]:
    """One view per bar both legs have, at its close and with what was known then; bars without a valid rate are left out.

    Premiums are those of the closes: a recorded bar has no touches, which lie some hundredths of a percent apart.
    """
    ratio = KimpCalculator(pair).ratio
    korea_at = {int(at): index for index, at in enumerate(data.korea.opened)}
    for index, opened in enumerate(data.abroad.opened):
        place = korea_at.get(int(opened))
        if place is None:
            continue
        at = int(opened) + data.interval
        usdkrw = _known(data.usdkrw, at, data.usdkrw_valid_for)
        if usdkrw is None:
            continue
        premium = ratio(_price(data.korea.close, place), _price(data.abroad.close, index), usdkrw)
        yield MarketView(at, premium, premium, _known(data.funding, at, None), usdkrw)


def _price(values: Values, index: int) -> Decimal:
    return exact(float(values[index]))


def _known(series: Observations, at: Nanos, valid_for: Nanos | None) -> Decimal | None:
    """The newest value known at a moment, ``None`` before the first or when it is too old."""
    place = _before(series.at, at)
    if place < 0 or (valid_for is not None and at - int(series.at[place]) > valid_for):
        return None
    return exact(float(series.value[place]))


def _before(times: Times, at: Nanos) -> int:
    return int(np.searchsorted(times, at, side="right")) - 1
