"""What happened on our Upbit account while nobody listened: orders and trades, asked for over REST.

Upbit has no list of trades. Its lists of orders tell how much of each was executed, and each order's trades are asked for
by themselves; those of an ended order never change, so they are asked for once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from decimal import Decimal

from kimp.order.exchanges.upbit_client import Reply, UpbitClient, read, told
from kimp.order.exchanges.upbit_forms import KRW_FEE_RATE, UpbitOrder, market_of
from kimp.shared.domain.instruments import InstrumentId
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.orders import Fill, OrderStatus
from kimp.shared.domain.time import DAY, MILLISECOND, MINUTE, Nanos

WINDOW: Nanos = 7 * DAY
"""Longest stretch one question covers ("종료 주문 목록 조회"); orders are found by when they were *made*."""

LOOKBACK: Nanos = 7 * DAY
"""How long before the moment asked for an order may have been made that filled after it. One that rested longer is still
found while it rests.
"""

BRIEF_LOOKBACK: Nanos = MINUTE
"""The same for orders that end as they arrive; clocks differ by less than this."""

CLOSED_PAGE, OPEN_PAGE = 1_000, 100
"""Most rows a page may have ("종료 주문 목록 조회", "체결 대기 주문 목록 조회")."""

PAGES_MAX = 110
"""Two years of weeks; our limiter lets twenty questions through a second, so this takes six of them at most."""

REMEMBERED_MAX = 5_000
"""Ended orders kept with their trades: a few megabytes at most."""

RESTING = ("wait", "watch")


class UpbitHistory:
    """Asks for orders and their trades, and remembers those that cannot change any more."""

    def __init__(self, client: UpbitClient, fee_rates: Mapping[str, Decimal]) -> None:
        self._client = client
        self._fee_rates = fee_rates
        self._ended: OrderedDict[str, UpbitOrder] = OrderedDict()
        self.trouble = ""
        """Why the last question was not answered."""

    async def fills_since(self, instrument_id: InstrumentId, since: Nanos) -> tuple[Fill, ...] | None:
        """Every trade of one market from that moment on, oldest first."""
        orders = await self.orders_since(market_of(instrument_id), since)
        if orders is None:
            return None
        try:
            fills = [fill for order in orders for fill in order.fills(self.fee_rate(order.market)) if fill.at >= since]
        except ValueError as error:
            self.trouble = str(error)
            return None
        # Trades of one match bear one time, and ids are random: those stay in the order in which the venue has them.
        return tuple(sorted(fills, key=lambda fill: fill.at))

    async def orders_since(self, market: str | None, since: Nanos) -> list[UpbitOrder] | None:
        """Orders (of all markets, if none is named) that may have traded or ended since then, with their trades."""
        resting = await self.resting(market)
        closed = await self._closed(market, since) if resting is not None else None
        if resting is None or closed is None:
            return None
        whole = []
        for order in closed + resting:
            found = order if order.executed_volume == ZERO else await self._whole(order)
            if found is None:
                return None
            whole.append(found)
        return whole

    async def resting(self, market: str | None) -> list[UpbitOrder] | None:
        """Orders that wait in the book, and reserved ones that wait for their price."""
        found: list[UpbitOrder] = []
        for state in RESTING:
            for page in range(1, PAGES_MAX + 1):
                asked = {"state": state, "page": str(page), "limit": str(OPEN_PAGE), "order_by": "asc"}
                rows = self._read(await self._client.call("private_get_orders_open", _of(market, asked)))
                if rows is None:
                    return None
                found += rows
                if len(rows) < OPEN_PAGE:
                    break
            else:
                self.trouble = "more resting orders than can be told"
                return None
        return found

    def fee_rate(self, market: str) -> Decimal:
        """Our fee in a market, where the venue does not say that of a trade."""
        return self._fee_rates.get(market, KRW_FEE_RATE)

    async def _closed(self, market: str | None, since: Nanos) -> list[UpbitOrder] | None:
        """Ended orders made late enough to matter, each once."""
        found: dict[str, UpbitOrder] = {}
        now = self._client.now()
        # The last window must begin in the venue's past, whichever way our clocks differ: one that began in ours only
        # would not be asked for at all.
        start = min(since, now - BRIEF_LOOKBACK) - LOOKBACK
        for _ in range(PAGES_MAX):
            asked = {"start_time": str(start // MILLISECOND), "limit": str(CLOSED_PAGE), "order_by": "asc"}
            rows = self._read(await self._client.call("private_get_orders_closed", _of(market, asked)))
            if rows is None:
                return None
            found.update((row.uuid, row) for row in rows if not _is_past(row, since))
            if len(rows) < CLOSED_PAGE:
                start += WINDOW
            else:
                start = rows[-1].made_at  # the last second is asked for twice; nothing counts twice
            if start > now:
                return list(found.values())
        self.trouble = "more ended orders than can be told"
        return None

    async def _whole(self, order: UpbitOrder) -> UpbitOrder | None:
        """The order with its trades."""
        if (known := self._ended.get(order.uuid)) is not None:
            return known
        reply = await self._client.call("private_get_order", {"uuid": order.uuid})
        whole = read(reply, UpbitOrder)
        if whole is None or whole.uuid != order.uuid:
            self.trouble = told(reply)
            return None
        if whole.status is OrderStatus.DONE and whole.is_told_whole:
            self._ended[order.uuid] = whole
            if len(self._ended) > REMEMBERED_MAX:
                self._ended.popitem(last=False)
        return whole

    def _read(self, reply: Reply) -> list[UpbitOrder] | None:
        rows = read(reply, list[UpbitOrder])
        if rows is None:
            self.trouble = told(reply)
            return None
        try:
            for row in rows:
                _ = row.made_at
        except ValueError as error:
            self.trouble = str(error)
            return None
        return rows


def _of(market: str | None, asked: dict[str, str]) -> dict[str, str]:
    return asked if market is None else {"market": market, **asked}


def _is_past(order: UpbitOrder, since: Nanos) -> bool:
    """Whether everything about it happened before: it ended as it arrived, and that was earlier."""
    return order.is_brief and order.made_at < since - BRIEF_LOOKBACK
