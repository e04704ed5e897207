"""Upbit with real money: orders out, the venue's word back.

Upbit, "주문 생성" (https://docs.upbit.com/kr/reference/new-order): limit orders with an exact volume and price, answered
with 201. There is no market order here: its volume would float and could not be hedged exactly.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AsyncExitStack
from decimal import Decimal
from random import Random
from types import TracebackType
from typing import Self
from uuid import UUID

import msgspec

from kimp.order.exchanges.outcomes import UPBIT, Answer, Trouble, without_answer
from kimp.order.exchanges.upbit_client import Body, Reply, UpbitClient, read
from kimp.order.exchanges.upbit_examination import UpbitExamination
from kimp.order.exchanges.upbit_forms import BalanceRow, Placed, UpbitOrder, market_of
from kimp.order.exchanges.upbit_history import UpbitHistory
from kimp.order.exchanges.upbit_markets import UpbitMarkets
from kimp.order.exchanges.upbit_stream import OUTBOX_MAX, UpbitStream
from kimp.shared.domain.accounts import Account, Balance, Check
from kimp.shared.domain.funding import FundingPayment
from kimp.shared.domain.instruments import Instrument, InstrumentId, Side, Venue
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.orders import (
    Accepted,
    ClientId,
    Fill,
    Order,
    OrderReport,
    OrderStatus,
    Outcome,
    Rejected,
    TimeInForce,
    Unknown,
)
from kimp.shared.domain.time import Nanos
from kimp.shared.messages.events import Event
from kimp.shared.ports.clock import Clock
from kimp.shared.settings import Upbit

ORDER_NOT_FOUND = "order_not_found"
CANCELLED = Unknown("cancelled while the venue was asked")
NO_REDUCE_ONLY = Rejected("reduce_only", "spot knows no reduce-only; nothing was sent")


class UpbitExchange:
    """Implements ``Exchange`` for Upbit's KRW markets.

    ``place`` and ``cancel`` answer ``Unknown`` even when they are cancelled themselves, because what was sent may have
    arrived; everything else ends as cancelled.

    Args:
        settings: URLs and the key.
        instruments: what is traded, for its fee rates.
        clock: the time.
        dice: chance for nonces and pauses.
    """

    def __init__(self, settings: Upbit, instruments: Sequence[Instrument], clock: Clock, dice: Random) -> None:
        self._client = UpbitClient(settings, clock=clock, dice=dice)
        self._fee_rates = {instrument.symbol: instrument.fee_rate for instrument in instruments}
        self._history = UpbitHistory(self._client, self._fee_rates)
        self._markets = UpbitMarkets(self._client)
        self._examination = UpbitExamination(self._client)
        self._clock = clock
        self._dice = dice
        self._stack = AsyncExitStack()
        self._group: asyncio.TaskGroup | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def venue(self) -> Venue:
        """Upbit."""
        return Venue.UPBIT

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            await opening.enter_async_context(self._client)
            await self._client.warm()
            self._group = asyncio.TaskGroup()
            await self._group.__aenter__()
            opening.push_async_callback(self._group.__aexit__, None, None, None)
            opening.callback(self._stop)
            self._tasks.append(self._group.create_task(self._client.keep_warm()))
            self._stack = opening.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._group = None
        await self._stack.aclose()

    def _stop(self) -> None:
        """End what runs beside the caller, also a stream whose reader just went away."""
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()

    # -- orders ----------------------------------------------------------------------------------------------------

    async def place(self, order: Order, *, is_urgent: bool = False) -> Outcome:
        """Send one limit order, once; one that may only reduce is not sent, because Upbit would not know that."""
        if order.reduce_only:
            return NO_REDUCE_ONLY
        try:
            words = order_words(order)
            reply = await self._client.call("private_post_orders", words, group="order", is_urgent=is_urgent)
        except asyncio.CancelledError:
            return CANCELLED
        return outcome_of(reply, order.client_id)

    async def cancel(self, client_id: ClientId, instrument_id: InstrumentId) -> Outcome:  # noqa: ARG002 - the port's
        """Cancel what is left; an order that is over already is as good as cancelled."""
        try:
            reply = await self._client.call("private_delete_order", _named(client_id), is_urgent=True)
            if not isinstance(reply, Answer):
                return _cancelled(reply)
            refusal = UPBIT.judge(reply)
            if isinstance(refusal, Unknown):
                return refusal
            # Refused because it is over, or because it never was: the order itself says which.
            found = await self._find(client_id)
        except asyncio.CancelledError:
            return CANCELLED
        if isinstance(found, UpbitOrder):
            return Accepted(found.uuid) if found.status is OrderStatus.DONE else Unknown(refusal.reason)
        return refusal if _is_absent(found) else Unknown(refusal.reason)

    async def query(self, client_id: ClientId, instrument_id: InstrumentId) -> OrderReport | None:
        """The venue's word on an order, with all its fills."""
        found = await self._find(client_id)
        if not isinstance(found, UpbitOrder):
            return OrderReport(client_id, OrderStatus.ABSENT, ZERO) if _is_absent(found) else None
        if found.market != market_of(instrument_id):
            return None
        try:
            return found.report(self._history.fee_rate(found.market))
        except ValueError:  # a side or a moment that cannot be read: better no answer than half of one
            return None

    async def _find(self, client_id: ClientId) -> UpbitOrder | Reply:
        reply = await self._client.call("private_get_order", _named(client_id), is_urgent=True)
        found = read(reply, UpbitOrder)
        if found is None:
            return reply
        if found.identifier is None and not _is_venues(client_id):  # asked for by it, so it is its name
            found = msgspec.structs.replace(found, identifier=client_id)
        return found if found.client_id == client_id or found.uuid == client_id else Trouble.UNREADABLE

    # -- the truth -------------------------------------------------------------------------------------------------

    async def account(self) -> Account | None:
        """Balances, free and locked."""
        rows = read(await self._client.call("private_get_accounts"), list[BalanceRow])
        if rows is None:
            return None
        held = [Balance(row.currency, row.balance, row.locked) for row in rows]
        return Account(tuple(balance for balance in held if balance.free != ZERO or balance.locked != ZERO))

    async def open_orders(self, instrument_id: InstrumentId) -> tuple[ClientId, ...] | None:
        """Orders that rest, and reserved ones that wait for their price."""
        resting = await self._history.resting(market_of(instrument_id))
        return None if resting is None else tuple(order.client_id for order in resting)

    async def fills_since(self, instrument_id: InstrumentId, since: Nanos) -> tuple[Fill, ...] | None:
        """Every trade from that moment on, oldest first, those of other hands included."""
        return await self._history.fills_since(instrument_id, since)

    async def funding_since(self, since: Nanos) -> tuple[FundingPayment, ...] | None:  # noqa: ARG002 - the port's
        """None: spot pays no funding."""
        return ()

    # -- the venue itself ------------------------------------------------------------------------------------------

    async def instruments(self, symbols: Sequence[str]) -> tuple[Instrument, ...] | None:
        """The KRW markets among those symbols, spelt ``KRW-BTC`` or ``BTC``, with our fees and today's rules."""
        found = await self._markets.instruments(symbols)
        for instrument in found or ():
            self._fee_rates[instrument.symbol] = instrument.fee_rate
        return found

    async def clock_skew(self) -> Nanos | None:
        """The least offset of Upbit's clock that its ``Date`` headers allow.

        They have whole seconds: an offset below a second may show as zero at first and is narrowed down by every answer.
        """
        reply = await self._client.ticks("KRW-BTC")
        return self._client.skew.skew if isinstance(reply, Body) else None

    async def examine(
        self,
        instruments: Sequence[Instrument],
        leverage: Decimal,  # noqa: ARG002 - the port's
    ) -> tuple[Check, ...]:
        """The key, its permissions, its end, the markets and their wallets."""
        return await self._examination.examine(instruments)

    async def keep_alive(self, instruments: Iterable[Instrument], countdown: Nanos) -> None:
        """Nothing: Upbit has no dead man's switch. No order of ours is meant to rest."""

    async def reports(self) -> AsyncGenerator[Event, None]:
        """What the venue pushes, and what it forgot to push."""
        assert self._group is not None, "reports are told inside the exchange's context only"
        stream = UpbitStream(self._client, self._history, clock=self._clock, dice=self._dice)
        outbox: asyncio.Queue[Event] = asyncio.Queue(OUTBOX_MAX)
        running = self._group.create_task(stream.run(outbox))
        self._tasks.append(running)
        try:
            while True:
                yield await outbox.get()
        finally:
            running.cancel()


def order_words(order: Order) -> dict[str, str]:
    """An order in Upbit's words; numbers are written out, since an exponent would not be understood."""
    words = {
        "market": market_of(order.instrument_id),
        "side": "bid" if order.side is Side.BUY else "ask",
        "ord_type": "limit",
        "volume": format(order.quantity, "f"),
        "price": format(order.limit, "f"),
        "identifier": order.client_id,
    }
    if order.time_in_force is not TimeInForce.GTC:
        words["time_in_force"] = order.time_in_force.value
    return words


def outcome_of(reply: Reply, client_id: ClientId) -> Outcome:
    """What the answer to a new order proves."""
    match reply:
        case Answer():
            return UPBIT.judge(reply)
        case Trouble():
            return without_answer(reply)
    placed = read(reply, Placed)
    if placed is None or placed.identifier not in (None, client_id):
        return Unknown("the answer cannot be read")
    return Accepted(placed.uuid)


def _cancelled(reply: Body | Trouble) -> Outcome:
    """A cancellation without an error: one that cannot be read, or may have been sent twice, is asked about."""
    placed = read(reply, Placed)
    if placed is not None:
        return Accepted(placed.uuid)
    if reply is Trouble.HELD_BACK:
        return without_answer(reply)
    return Unknown(reply.value if isinstance(reply, Trouble) else "the answer cannot be read")


def _is_absent(found: UpbitOrder | Reply) -> bool:
    return isinstance(found, Answer) and found.status == 404 and found.code == ORDER_NOT_FOUND


def _named(client_id: ClientId) -> dict[str, str]:
    """How Upbit is told which order: by our id, or by its own where it has no other."""
    return {"uuid" if _is_venues(client_id) else "identifier": client_id}


def _is_venues(client_id: ClientId) -> bool:
    try:
        return str(UUID(client_id)) == client_id.lower()
    except ValueError:
        return False
