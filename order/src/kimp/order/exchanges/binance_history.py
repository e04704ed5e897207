"""What happened on the Binance account: trades with the client ids of their orders, and funding, page by page."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from kimp.order.exchanges.binance_forms import IncomeForm, OrderForm, TradeForm, symbol_of
from kimp.order.exchanges.binance_line import BinanceLine, read, weight
from kimp.order.exchanges.outcomes import Answer
from kimp.order.exchanges.outcomes_binance import NO_SUCH_ORDER
from kimp.shared.domain.funding import FundingPayment
from kimp.shared.domain.instruments import InstrumentId
from kimp.shared.domain.orders import ClientId, Fill
from kimp.shared.domain.time import DAY, MILLISECOND, Nanos

PAGE = 1_000
"""The most both lists give at once ("Account Trade List", "Get Income History")."""
PAGES_MAX = 200
"""Two hundred thousand records: no reconciliation needs them; a loop that wants more is broken."""
WINDOW_MS = 7 * DAY // MILLISECOND
"""``startTime`` and ``endTime`` of the trade list may lie seven days apart at most."""
TRADES_KEPT: Nanos = 180 * DAY
"""The venue lists six months of trades."""
INCOME_KEPT: Nanos = 90 * DAY
"""The venue lists three months of income."""
IDS_MAX = 10_000
"""Client ids remembered by order id; older ones are asked for again."""
ONE_BY_ONE_MAX = 5
"""Up to here single orders (weight 1) are cheaper to ask for than the list of all (weight 5)."""
SINGLE_ORDERS_MAX = 200
"""Orders looked up one by one in one call: as many weights; more would eat what exits need."""

TRADES = weight(5)
INCOME = weight(30)
ORDER_QUERY = weight(1)
ALL_ORDERS = weight(5)


class BinanceHistory:
    """Reads lists to their end. Half a list is never given out: ``None`` means that it could not be read whole."""

    def __init__(self, line: BinanceLine) -> None:
        self._line = line
        self._client_ids: OrderedDict[int, ClientId] = OrderedDict()

    def remember(self, order_id: int, client_id: ClientId) -> None:
        """Note whose order that is, so that its trades need no further question."""
        self._client_ids[order_id] = client_id
        while len(self._client_ids) > IDS_MAX:
            self._client_ids.popitem(last=False)

    async def fills_of(self, order: OrderForm) -> tuple[Fill, ...] | None:
        """The trades of one order.

        Without a time the list covers the last seven days; trades of an older order are searched from its creation on.
        """
        params: dict[str, str | int] = {"symbol": order.symbol, "orderId": order.order_id, "limit": PAGE}
        if 0 < order.time < self._line.venue_ms() - WINDOW_MS + DAY // MILLISECOND:
            params |= {"startTime": order.time, "endTime": order.time + WINDOW_MS - 1}
        reply = await self._line.call("fapiPrivateGetUserTrades", params, cost=TRADES)
        trades = read(reply, list[TradeForm])
        if trades is None:
            return None
        mine = {trade.id: trade for trade in trades if trade.order_id == order.order_id}
        return tuple(mine[trade_id].fill(order.client_order_id) for trade_id in sorted(mine))

    async def fills_since(self, instrument_id: InstrumentId, since: Nanos) -> tuple[Fill, ...] | None:
        """All trades of an instrument from ``since`` on, oldest first."""
        symbol = symbol_of(instrument_id)
        trades = await self._trades(symbol, since // MILLISECOND)
        if trades is None or not await self._learn_ids(symbol, {trade.order_id for trade in trades.values()}):
            return None
        return tuple(trades[trade_id].fill(self._client_ids[trades[trade_id].order_id]) for trade_id in sorted(trades))

    async def _trades(self, symbol: str, since_ms: int) -> dict[int, TradeForm] | None:
        """Window by window; a full page is followed by id to the present, which ends the search."""
        now_ms = self._line.venue_ms()
        start = max(since_ms, now_ms - TRADES_KEPT // MILLISECOND)
        trades: dict[int, TradeForm] = {}
        span: dict[str, str | int] = {"startTime": start, "endTime": start + WINDOW_MS - 1}
        for _ in range(PAGES_MAX):
            params = {"symbol": symbol, "limit": PAGE, **span}
            page = read(await self._line.call("fapiPrivateGetUserTrades", params, cost=TRADES), list[TradeForm])
            if page is None:
                return None
            trades |= {trade.id: trade for trade in page if trade.time >= since_ms}
            if len(page) >= PAGE:
                # fromId may not stand beside times
                span = {"fromId": max(trade.id for trade in page) + 1}
            elif "fromId" in span:
                return trades
            else:
                start += WINDOW_MS
                if start > now_ms:
                    return trades
                span = {"startTime": start, "endTime": start + WINDOW_MS - 1}
        return None

    async def _learn_ids(self, symbol: str, order_ids: Iterable[int]) -> bool:
        """The trade list names no client ids, and a liquidation shows only there (``autoclose-…``): ask the orders."""
        unknown = sorted(order_id for order_id in order_ids if order_id not in self._client_ids)
        if len(unknown) > ONE_BY_ONE_MAX:
            params: dict[str, str | int] = {"symbol": symbol, "orderId": unknown[0], "limit": PAGE}
            orders = read(await self._line.call("fapiPrivateGetAllOrders", params, cost=ALL_ORDERS), list[OrderForm])
            for order in orders or ():
                self.remember(order.order_id, order.client_order_id)
            unknown = [order_id for order_id in unknown if order_id not in self._client_ids]
        for order_id in unknown[:SINGLE_ORDERS_MAX]:
            if not await self._learn_id(symbol, order_id):
                return False
        return len(unknown) <= SINGLE_ORDERS_MAX  # what was learnt stays learnt, so the next call comes further

    async def _learn_id(self, symbol: str, order_id: int) -> bool:
        params: dict[str, str | int] = {"symbol": symbol, "orderId": order_id}
        reply = await self._line.call("fapiPrivateGetOrder", params, cost=ORDER_QUERY)
        if isinstance(reply, Answer) and reply.code == NO_SUCH_ORDER:
            # forgotten after three months; the venue's own number is all the name it has left
            self.remember(order_id, str(order_id))
            return True
        order = read(reply, OrderForm)
        if order is None:
            return False
        self.remember(order_id, order.client_order_id)
        return True

    async def funding_since(self, since: Nanos) -> tuple[FundingPayment, ...] | None:
        """All funding settlements from ``since`` on, oldest first."""
        now_ms = self._line.venue_ms()
        since_ms = since // MILLISECOND
        start = max(since_ms, now_ms - INCOME_KEPT // MILLISECOND)
        end = start + WINDOW_MS - 1
        records: dict[int, IncomeForm] = {}
        for _ in range(PAGES_MAX):
            params: dict[str, str | int] = {
                "incomeType": "FUNDING_FEE",
                "startTime": start,
                "endTime": end,
                "limit": PAGE,
            }
            page = read(await self._line.call("fapiPrivateGetIncome", params, cost=INCOME), list[IncomeForm])
            if page is None:
                return None
            funding = [record for record in page if record.income_type == "FUNDING_FEE" and record.time >= since_ms]
            records |= {record.tran_id: record for record in funding}
            if len(page) >= PAGE:
                newest = max(record.time for record in page)
                if newest == start:  # a thousand records of one millisecond: the rest cannot be reached
                    return None
                start = newest  # the same millisecond may go on overleaf
                continue
            if end >= now_ms:
                ordered = sorted(records.values(), key=lambda record: (record.time, record.tran_id))
                return tuple(record.payment() for record in ordered)
            start, end = end + 1, end + WINDOW_MS
        return None
