"""The exchange API's endpoints about orders: placing, testing, cancelling, asking."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kimp.portfolio.exchange import codes
from kimp.portfolio.exchange.conversion import convert
from kimp.portfolio.exchange.tickets import Ticket, VirtualOrder
from kimp.portfolio.exchange.upbit_wire.calls import Answer, Call
from kimp.portfolio.exchange.upbit_wire.errors import SIDE_NAMES, UpbitError, invalid, known, refused
from kimp.portfolio.exchange.upbit_wire.figures import moment, order_number, order_uuid
from kimp.portfolio.exchange.upbit_wire.orders import identifier_of, order_json, state_of, ticket_of
from kimp.portfolio.exchange.virtual import VirtualExchange
from kimp.research.simulation.admission import form_refusal
from kimp.shared.domain.instruments import Instrument, Side
from kimp.shared.domain.money import ONE
from kimp.shared.domain.orders import Rejected
from kimp.shared.domain.time import DAY, Nanos

LIST_MAX = 100
CLOSED_MAX = 1_000
CLOSED_SPAN_MAX: Nanos = 7 * DAY
"""Upbit, "종료 주문 목록 조회": at most seven days per question."""

OPEN_STATES = ("wait", "watch")
CLOSED_STATES = ("done", "cancel")


class Trading:
    """Answers from the virtual exchange's own books."""

    def __init__(self, exchange: VirtualExchange, markets: Mapping[str, Instrument]) -> None:
        self._exchange = exchange
        self._markets = markets

    # -- changing --------------------------------------------------------------------------------------------------

    def place(self, call: Call) -> Answer:
        """POST /v1/orders: 201 and the order as it was taken, before anything of it is known to have filled."""
        ticket = self._ticket(call)
        taken = self._exchange.submit(ticket)
        if isinstance(taken, Rejected):
            raise self._refused(taken, ticket)
        return Answer(self._as_taken(taken), 201)

    def rehearse(self, call: Call) -> Answer:
        """POST /v1/orders/test: everything is checked, nothing is placed, and no identifier is used up."""
        ticket = ticket_of(call.fields, self._markets)
        if (rejected := self._would_refuse(ticket)) is not None:
            raise self._refused(rejected, ticket)
        instrument = self._exchange.simulated.instruments[ticket.instrument_id]
        converted = convert(ticket, ticket.client_id or "test", self._exchange.simulated)
        assert not isinstance(converted, Rejected), converted
        order = VirtualOrder(ticket, 0, converted.order.client_id, converted.order, call.now, call.now)
        return Answer(order_json(order, instrument), 201)

    def cancel(self, call: Call) -> Answer:
        """DELETE /v1/order: the order as it stood; that it is over is told by the next question or the stream."""
        order = self._one(call)
        if order.is_done:
            raise known("order_not_found")
        shown = self._shown(order)
        self._withdraw(order)
        return Answer(shown)

    def cancel_some(self, call: Call) -> Answer:
        """DELETE /v1/orders/uuids: up to twenty orders, each answered for."""
        wanted = self._named(call)
        return self._cancelled([order for order in wanted if not order.is_done])

    def cancel_open(self, call: Call) -> Answer:
        """DELETE /v1/orders/open: what rests, of one side or both, in one market or all."""
        side, markets = call.text("cancel_side") or "all", call.texts("pairs")
        if side not in ("all", "ask", "bid"):
            raise invalid("cancel_side does not have a valid value")
        wanted = [
            order
            for order in self._exchange.working()
            if side in ("all", SIDE_NAMES[order.ticket.side])
            and (not markets or self._instrument(order).symbol in markets)
        ]
        return self._cancelled(wanted)

    def _cancelled(self, orders: Sequence[VirtualOrder]) -> Answer:
        gone = [{"uuid": order_uuid(order.number), "market": self._instrument(order).symbol} for order in orders]
        for order in orders:
            self._withdraw(order)
        return Answer({"success": {"count": len(gone), "orders": gone}, "failed": {"count": 0, "orders": []}})

    def _withdraw(self, order: VirtualOrder) -> None:
        cancelled = self._exchange.withdraw(order.number)
        if isinstance(cancelled, Rejected):
            raise self._refused(cancelled, order.ticket)

    # -- asking ----------------------------------------------------------------------------------------------------

    def one(self, call: Call) -> Answer:
        """GET /v1/order, with every trade."""
        order = self._one(call)
        return Answer(order_json(order, self._instrument(order), with_trades=True))

    def named(self, call: Call) -> Answer:
        """GET /v1/orders/uuids: by uuids or identifiers, those that are not known left out."""
        return Answer([self._shown(order, with_funds=True) for order in self._ordered(call, self._named(call))])

    def open(self, call: Call) -> Answer:
        """GET /v1/orders/open: what rests, page by page."""
        states = self._states(call, OPEN_STATES, ("wait",))
        found = [order for order in self._exchange.working() if state_of(order) in states]
        found = self._ordered(call, [order for order in found if self._is_in(call, order)])
        limit, page = call.count("limit", LIST_MAX, LIST_MAX), call.count("page", 1, 10**6)
        return Answer([self._shown(order, with_funds=True) for order in found[(page - 1) * limit : page * limit]])

    def closed(self, call: Call) -> Answer:
        """GET /v1/orders/closed: what was created in at most seven days and is over."""
        states = self._states(call, CLOSED_STATES, CLOSED_STATES)
        start, end = self._span(call)
        found = [
            order
            for order in self._exchange.orders()
            if order.is_done and state_of(order) in states and start <= order.created_at <= end
        ]
        found = self._ordered(call, [order for order in found if self._is_in(call, order)])
        limit = call.count("limit", LIST_MAX, CLOSED_MAX)
        return Answer([self._shown(order, with_funds=True) for order in found[:limit]])

    # -- inside ----------------------------------------------------------------------------------------------------

    def _ticket(self, call: Call) -> Ticket:
        """What is asked for; an identifier is used up even where that is impossible ("주문 생성": identifier)."""
        try:
            return ticket_of(call.fields, self._markets)
        except UpbitError:
            identifier = call.fields.get("identifier")
            if isinstance(identifier, str) and identifier_of(call.fields):
                instrument_id = next(iter(self._exchange.simulated.instruments))
                self._exchange.submit(Ticket(identifier, instrument_id, Side.BUY))  # of nothing: never taken
            raise

    def _would_refuse(self, ticket: Ticket) -> Rejected | None:
        simulated = self._exchange.simulated
        converted = convert(ticket, ticket.client_id or "test", simulated)
        if isinstance(converted, Rejected):
            return converted
        instrument, order = simulated.instruments[ticket.instrument_id], converted.order
        if self._exchange.mark(instrument.id) is None:
            return Rejected(codes.NO_MARKET, f"{instrument.id} has no book")
        if ticket.client_id in simulated.burnt_ids:
            return Rejected(codes.DUPLICATE_CLIENT_ID, f"{ticket.client_id} was used before")
        if (rejected := form_refusal(instrument, order, converted.funds)) is not None:
            return rejected
        if ticket.side is Side.SELL:
            needed, free = order.quantity, simulated.free(instrument.base)
        else:
            cost = order.quantity * order.limit if converted.funds is None else converted.funds
            needed, free = cost * (ONE + instrument.fee_rate), simulated.free(instrument.quote)
        return Rejected(codes.INSUFFICIENT_FUNDS, f"{needed} is needed, {free} is free") if needed > free else None

    def _refused(self, rejected: Rejected, ticket: Ticket) -> UpbitError:
        instrument = self._exchange.simulated.instruments[ticket.instrument_id]
        return refused(rejected, ticket.side, instrument.quote, instrument.base)

    def _one(self, call: Call) -> VirtualOrder:
        """By ``uuid``, or by ``identifier`` if there is none."""
        uuid, identifier = call.text("uuid"), call.text("identifier")
        if uuid is None and identifier is None:
            raise invalid("uuid or identifier is missing")
        order = self._by_uuid(uuid) if uuid is not None else self._by_identifier(identifier or "")
        if order is None:
            raise known("order_not_found")
        return order

    def _named(self, call: Call) -> list[VirtualOrder]:
        uuids, identifiers = call.texts("uuids"), call.texts("identifiers")
        if bool(uuids) == bool(identifiers) or len(uuids) + len(identifiers) > LIST_MAX:
            raise invalid("uuids or identifiers are missing, both given or too many")
        find: Callable[[str], VirtualOrder | None] = self._by_uuid if uuids else self._by_identifier
        found = [order for name in dict.fromkeys(uuids or identifiers) if (order := find(name)) is not None]
        return [order for order in found if self._is_in(call, order)]

    def _by_uuid(self, uuid: str) -> VirtualOrder | None:
        number = order_number(uuid)
        return None if number is None else self._exchange.find(number=number)

    def _by_identifier(self, identifier: str) -> VirtualOrder | None:
        order = self._exchange.find(client_id=identifier)
        # an id the venue made up is not one the client may ask by
        return order if order is not None and order.ticket.client_id is not None else None

    def _is_in(self, call: Call, order: VirtualOrder) -> bool:
        market = call.text("market")
        return market is None or market == self._instrument(order).symbol

    def _ordered(self, call: Call, orders: Sequence[VirtualOrder]) -> list[VirtualOrder]:
        word = call.text("order_by") or "desc"
        if word not in ("asc", "desc"):
            raise invalid("order_by does not have a valid value")
        return sorted(orders, key=lambda order: order.number, reverse=word == "desc")

    def _states(self, call: Call, allowed: tuple[str, ...], default: tuple[str, ...]) -> tuple[str, ...]:
        given = tuple(call.texts("states") or call.texts("state"))
        if any(state not in allowed for state in given):
            raise invalid("state does not have a valid value")
        return given or default

    def _span(self, call: Call) -> tuple[Nanos, Nanos]:
        """From when to when; whichever end is missing lies seven days from the other, the end at most now."""
        written = call.text("start_time"), call.text("end_time")
        start, end = (None if given is None else moment(given) for given in written)
        if (written[0] is not None and start is None) or (written[1] is not None and end is None):
            raise invalid("start_time or end_time does not have a valid value")
        if end is None:
            end = call.now if start is None else min(call.now, start + CLOSED_SPAN_MAX)
        if start is None:
            start = end - CLOSED_SPAN_MAX
        if not 0 <= end - start <= CLOSED_SPAN_MAX:
            raise invalid("start_time and end_time are more than 7 days apart")
        return start, end

    def _instrument(self, order: VirtualOrder) -> Instrument:
        return self._exchange.simulated.instruments[order.order.instrument_id]

    def _shown(self, order: VirtualOrder, *, with_funds: bool = False) -> dict[str, object]:
        return order_json(order, self._instrument(order), with_funds=with_funds)

    def _as_taken(self, order: VirtualOrder) -> dict[str, object]:
        """The answer to a placed order is its acceptance: state ``wait``, nothing executed, whatever happens next."""
        fresh = VirtualOrder(
            order.ticket, order.number, order.client_id, order.order, order.created_at, order.created_at
        )
        return order_json(fresh, self._instrument(order))
