"""What is under way to the venues: every order sent once, every answer brought back, the lack of one included."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from kimp.order.runtime.counters import Counters, Sending
from kimp.shared import logs
from kimp.shared.domain.instruments import InstrumentId
from kimp.shared.domain.orders import ClientId, Order, OrderReport, Outcome, Unknown
from kimp.shared.domain.time import SECOND, Nanos
from kimp.shared.messages.events import Event, OrderAnswered, OrderReported
from kimp.shared.ports.clock import Clock
from kimp.shared.ports.exchange import Exchange

ORDER_TIMEOUT: Nanos = 10 * SECOND
"""An order request under way for longer counts as unknown: twice Binance's recvWindow, after which it cannot execute."""

REQUEST_S_MAX = 60.0
"""A request nobody answers is given up after this; its order has long been asked about by then."""

QUESTION_S_MAX = 5.0
"""A question or a cancellation is given up after this: the engine asks again at most eight seconds later anyway."""

DRAIN_S_MAX = 5.0
"""What requests under way get to be answered when trading is ended: a venue that needs longer is asked after restart."""

log = logs.get(__name__)


class Requests:
    """Each request is a task of the group it is given; nothing an adapter does ends that group."""

    def __init__(
        self,
        exchange_of: Mapping[InstrumentId, Exchange],
        clock: Clock,
        put: Callable[[Event], Awaitable[None]],
        counters: Counters,
        order_timeout: Nanos,
    ) -> None:
        self._exchange_of = exchange_of
        self._clock = clock
        self._put = put
        self._counters = counters
        self._order_timeout = order_timeout
        self._orders: dict[ClientId, asyncio.Task[None]] = {}
        self._questions = 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._orders and not self._questions

    async def answered(self) -> None:
        """Return when every order under way is answered, or after the few seconds there are for it."""
        if self._orders:
            log.info("waiting for requests under way", requests=len(self._orders))
            await asyncio.wait(self._orders.values(), timeout=DRAIN_S_MAX)

    # -- orders ----------------------------------------------------------------------------------------------------

    def place(self, group: asyncio.TaskGroup, orders: Sequence[Order], signal_at: Nanos, *, is_urgent: bool) -> None:
        """Let all of them leave at the next turn of the loop, one right after the other."""
        sending = Sending(signal_at, len(orders))
        for order in orders:
            self._orders[order.client_id] = group.create_task(self._place(group, order, sending, is_urgent=is_urgent))

    async def _place(self, group: asyncio.TaskGroup, order: Order, sending: Sending, *, is_urgent: bool) -> None:
        sent_at = self._clock.now()
        sending.start(sent_at, self._counters)
        overdue = group.create_task(self._give_up(order.client_id, sent_at + self._order_timeout))
        try:
            outcome = await self._outcome(order, is_urgent=is_urgent)
        finally:
            overdue.cancel()
        answered_at = self._clock.now()
        self._counters.answer_latencies.append(answered_at - sent_at)
        await self._put(OrderAnswered(answered_at, order.client_id, outcome))
        del self._orders[order.client_id]

    async def _outcome(self, order: Order, *, is_urgent: bool) -> Outcome:
        """The venue's answer; whatever goes wrong in an adapter is ``Unknown``, because the order may have left."""
        try:
            async with asyncio.timeout(REQUEST_S_MAX):
                return await self._exchange_of[order.instrument_id].place(order, is_urgent=is_urgent)
        except TimeoutError:
            return Unknown("timeout")
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            log.error("placing an order was cancelled by its adapter", client_id=order.client_id)
            return Unknown("adapter: cancelled")
        except Exception as error:
            log.exception("placing an order failed in its adapter", client_id=order.client_id)
            return Unknown(f"adapter: {type(error).__name__}")

    async def _give_up(self, client_id: ClientId, at: Nanos) -> None:
        """The answer is overdue: tell the engine that nobody knows. The answer itself may still come."""
        await self._clock.sleep_until(at)
        await self._put(OrderAnswered(self._clock.now(), client_id, Unknown("timeout")))

    # -- questions -------------------------------------------------------------------------------------------------

    def query(self, group: asyncio.TaskGroup, client_id: ClientId, instrument_id: InstrumentId) -> None:
        """Ask what became of an order; without an answer nothing is told, and the engine asks again."""
        self._questions += 1
        group.create_task(self._query(client_id, instrument_id))

    async def _query(self, client_id: ClientId, instrument_id: InstrumentId) -> None:
        try:
            report: OrderReport | None = None
            async with asyncio.timeout(QUESTION_S_MAX):
                report = await self._exchange_of[instrument_id].query(client_id, instrument_id)
            if report is not None:
                await self._put(OrderReported(self._clock.now(), report))
        except TimeoutError:
            log.warning("question not answered", client_id=client_id)
        except Exception:
            log.exception("asking about an order failed in its adapter", client_id=client_id)
        finally:
            self._questions -= 1

    def cancel(self, group: asyncio.TaskGroup, client_id: ClientId, instrument_id: InstrumentId) -> None:
        """Ask for what is left of an order to be cancelled; what became of it is asked about, not believed."""
        self._questions += 1
        group.create_task(self._cancel(client_id, instrument_id))

    async def _cancel(self, client_id: ClientId, instrument_id: InstrumentId) -> None:
        try:
            async with asyncio.timeout(QUESTION_S_MAX):
                outcome = await self._exchange_of[instrument_id].cancel(client_id, instrument_id)
            log.info("cancellation asked for", client_id=client_id, outcome=type(outcome).__name__)
        except TimeoutError:
            log.warning("cancellation not answered", client_id=client_id)
        except Exception:
            log.exception("cancelling an order failed in its adapter", client_id=client_id)
        finally:
            self._questions -= 1


def _is_cancelled() -> bool:
    """Whether somebody wants this task to end, as opposed to an adapter that let a cancellation of its own escape."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
