"""Orders and trades over REST: https://developers.binance.com/docs/derivatives/usds-margined-futures/trade/rest-api"""

from __future__ import annotations

from typing import Any

from kimp.portfolio.exchange.binance_wire import errors
from kimp.portfolio.exchange.binance_wire.endpoints import Asked, Endpoint, Security
from kimp.portfolio.exchange.binance_wire.errors import Refusal, refusal
from kimp.portfolio.exchange.binance_wire.filters import OPEN_ORDERS_MAX, Filters
from kimp.portfolio.exchange.binance_wire.forms import Form
from kimp.portfolio.exchange.binance_wire.order_forms import NewOrder, ResponseKind, read_order
from kimp.portfolio.exchange.binance_wire.order_shapes import answered_json, order_json, trade_json
from kimp.portfolio.exchange.binance_wire.records import Records, is_unrecorded
from kimp.portfolio.exchange.tickets import VirtualOrder
from kimp.portfolio.exchange.virtual import VirtualExchange
from kimp.shared.domain.instruments import Instrument
from kimp.shared.domain.orders import Rejected
from kimp.shared.domain.time import DAY, MILLISECOND, Nanos
from kimp.shared.ports.clock import Clock

PERIOD_MAX: Nanos = 7 * DAY
"""The longest ``startTime``…``endTime`` of trades and orders, and what is shown when neither is sent."""

RECORDS_MAX = 1_000


class TradeDesk:
    """Takes, shows and cancels orders."""

    def __init__(self, exchange: VirtualExchange, records: Records, clock: Clock, filters: dict[str, Filters]) -> None:
        self._exchange = exchange
        self._records = records
        self._clock = clock
        self._filters = filters

    def endpoints(self) -> list[Endpoint]:
        """All of it."""
        v1, data, trade = "/fapi/v1", Security.USER_DATA, Security.TRADE
        return [
            Endpoint("POST", f"{v1}/order", 0, trade, self.new_order, is_order=True),
            Endpoint("POST", f"{v1}/order/test", 0, trade, self.test_order),
            Endpoint("GET", f"{v1}/order", 1, data, self.order),
            Endpoint("DELETE", f"{v1}/order", 1, trade, self.cancel),
            Endpoint("DELETE", f"{v1}/allOpenOrders", 1, trade, self.cancel_all),
            Endpoint("POST", f"{v1}/countdownCancelAll", 10, trade, self.count_down),
            Endpoint("GET", f"{v1}/openOrder", 1, data, self.open_order),
            Endpoint("GET", f"{v1}/openOrders", _open_orders_weight, data, self.open_orders),
            Endpoint("GET", f"{v1}/allOrders", 5, data, self.all_orders),
            Endpoint("GET", f"{v1}/userTrades", 5, data, self.user_trades),
        ]

    def new_order(self, asked: Asked) -> dict[str, Any]:
        """Take an order.

        Raises:
            Refusal: whatever is wrong with it; −5021 for a fill-or-kill that could not fill.
        """
        wanted = self._read(asked.form)
        taken = self._exchange.submit(wanted.ticket)
        if isinstance(taken, Rejected):
            raise Refusal(refusal(taken))
        if is_unrecorded(taken):
            raise Refusal(errors.NOT_FILLED_AT_ONCE)
        return answered_json(taken, self._of(taken), is_result=wanted.response is ResponseKind.RESULT)

    def test_order(self, asked: Asked) -> dict[str, Any]:
        """Check an order without sending it to the matching engine."""
        self._read(asked.form)
        return {}

    def order(self, asked: Asked) -> dict[str, Any]:
        """One order, open or over.

        Raises:
            Refusal: −2013 there is none.
        """
        order = self._find(asked.form)
        if order is None:
            raise Refusal(errors.NO_SUCH_ORDER)
        return order_json(order, self._of(order))

    def open_order(self, asked: Asked) -> dict[str, Any]:
        """One order that is still open.

        Raises:
            Refusal: −2013 there is none.
        """
        order = self._find(asked.form)
        if order is None or order.is_done:
            raise Refusal(errors.NO_SUCH_ORDER)
        return order_json(order, self._of(order))

    def cancel(self, asked: Asked) -> dict[str, Any]:
        """Cancel an open order.

        Raises:
            Refusal: −2011 there is none, or it is over.
        """
        order = self._find(asked.form)
        if order is None or order.is_done:
            raise Refusal(errors.UNKNOWN_ORDER)
        ended = self._exchange.withdraw(order.number)
        if isinstance(ended, Rejected):
            raise Refusal(refusal(ended))
        return answered_json(ended, self._of(ended), is_result=True)

    def cancel_all(self, asked: Asked) -> dict[str, Any]:
        """Cancel all open orders of a symbol."""
        instrument = self._instrument(asked.form)
        for order in self._exchange.working():
            if order.order.instrument_id == instrument.id:
                self._exchange.withdraw(order.number)
        return {"code": 200, "msg": "The operation of cancel all open order is done."}

    def count_down(self, asked: Asked) -> dict[str, Any]:
        """Cancel all open orders of a symbol unless told again in time; zero stops the clock.

        Raises:
            Refusal: −1130 a negative time.
        """
        instrument = self._instrument(asked.form)
        countdown = asked.form.integer("countdownTime")
        if countdown < 0:
            raise Refusal(errors.NOT_VALID.about("countdownTime"))
        self._exchange.count_down(instrument.id, countdown * MILLISECOND)
        return {"symbol": instrument.symbol, "countdownTime": str(countdown)}

    def open_orders(self, asked: Asked) -> list[dict[str, Any]]:
        """Open orders of a symbol, or of all."""
        chosen = self._instrument(asked.form).id if asked.form.maybe("symbol") is not None else None
        found = [order for order in self._exchange.working() if chosen in (None, order.order.instrument_id)]
        return [order_json(order, self._of(order)) for order in found]

    def all_orders(self, asked: Asked) -> list[dict[str, Any]]:
        """Orders of a symbol, oldest first: from an id on, or of a period of at most seven days."""
        instrument, limit = self._instrument(asked.form), asked.form.limit(500, RECORDS_MAX)
        first = asked.form.maybe_integer("orderId")
        start, end = self._period(asked.form)
        found = [
            order
            for order in self._records.orders()
            if order.order.instrument_id == instrument.id
            and (order.number >= first if first is not None else start <= order.created_at <= end)
        ]
        has_beginning = first is not None or asked.form.maybe("startTime") is not None
        return [order_json(order, instrument) for order in (found[:limit] if has_beginning else found[-limit:])]

    def user_trades(self, asked: Asked) -> list[dict[str, Any]]:
        """Trades of a symbol, oldest first: of an order, from an id on, or of a period of at most seven days.

        Raises:
            Refusal: −4165 a longer period, −1102 an id together with a period.
        """
        form = asked.form
        instrument, limit = self._instrument(form), form.limit(500, RECORDS_MAX)
        first, number = form.maybe_integer("fromId"), form.maybe_integer("orderId")
        has_start = form.maybe_integer("startTime") is not None
        if first is not None and (has_start or form.maybe("endTime") is not None):
            raise Refusal(errors.NOT_VALID.about("fromId"))
        start, end = self._period(form)
        found = [
            trade
            for trade in self._records.trades()
            if trade.fill.instrument_id == instrument.id
            and (number is None or trade.order.number == number)
            and (trade.number >= first if first is not None else start <= trade.fill.at <= end)
        ]
        chosen = found[:limit] if first is not None or has_start else found[-limit:]
        return [trade_json(trade, instrument) for trade in chosen]

    # -- inside ----------------------------------------------------------------------------------------------------

    def _read(self, form: Form) -> NewOrder:
        wanted = read_order(form, self._filters.get, self._exchange.mark, is_hedged=self._exchange.is_hedge_mode)
        mine = [order for order in self._exchange.working() if order.order.instrument_id == wanted.ticket.instrument_id]
        if len(mine) >= OPEN_ORDERS_MAX:
            raise Refusal(errors.REJECTED.about("Reach max open order limit."))
        return wanted

    def _period(self, form: Form) -> tuple[Nanos, Nanos]:
        start, end = form.period()
        if start is not None and end is not None and end - start > PERIOD_MAX:
            raise Refusal(errors.INTERVAL_TOO_LONG.about(PERIOD_MAX // DAY))
        if start is not None:
            return start, start + PERIOD_MAX if end is None else end
        end = self._clock.now() if end is None else end
        return end - PERIOD_MAX, end

    def _find(self, form: Form) -> VirtualOrder | None:
        instrument = self._instrument(form)
        number, client_id = form.maybe_integer("orderId"), form.maybe("origClientOrderId")
        if number is None and client_id is None:
            raise Refusal(errors.EITHER_MANDATORY.about("origClientOrderId", "orderid"))
        order = self._exchange.find(number=number) if number is not None else self._exchange.find(client_id=client_id)
        if order is None or order.order.instrument_id != instrument.id or is_unrecorded(order):
            return None
        return order

    def _instrument(self, form: Form) -> Instrument:
        filters = self._filters.get(form.text("symbol"))
        if filters is None:
            raise Refusal(errors.BAD_SYMBOL)
        return filters.instrument

    def _of(self, order: VirtualOrder) -> Instrument:
        return self._exchange.simulated.instruments[order.order.instrument_id]


def _open_orders_weight(form: Form) -> int:
    return 1 if form.maybe("symbol") is not None else 40
