"""Upbit in rehearsal: every order is signed, sent and checked by the real venue, and filled by a virtual one.

Upbit has no testnet. "주문 생성 테스트" (https://docs.upbit.com/kr/reference/order-test) takes the same request as a real
order, checks it in the same way and makes no order of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack
from decimal import Decimal
from random import Random
from types import TracebackType
from typing import Self

from kimp.order.exchanges.upbit import CANCELLED, order_words, outcome_of
from kimp.order.exchanges.upbit_client import UpbitClient
from kimp.shared.domain.accounts import Account, Check
from kimp.shared.domain.funding import FundingPayment
from kimp.shared.domain.instruments import Instrument, InstrumentId, Venue
from kimp.shared.domain.orders import Accepted, ClientId, Fill, Order, OrderReport, Outcome
from kimp.shared.domain.time import Nanos
from kimp.shared.messages.events import Event
from kimp.shared.ports.clock import Clock
from kimp.shared.ports.exchange import Exchange
from kimp.shared.settings import Upbit


class UpbitRehearsal:
    """Implements ``Exchange``: orders are tested at the venue and filled by ``virtual``; all else is ``virtual``.

    An order the venue refuses, or does not answer, never reaches the virtual one, and its outcome is the same as a real
    order's would be.

    Args:
        settings: URLs and the key.
        virtual: fills what Upbit would have taken, and holds the money.
        clock: the time.
        dice: chance for nonces.
    """

    def __init__(self, settings: Upbit, virtual: Exchange, clock: Clock, dice: Random) -> None:
        self._client = UpbitClient(settings, clock=clock, dice=dice)
        self._virtual = virtual
        self._stack = AsyncExitStack()

    @property
    def venue(self) -> Venue:
        """Upbit."""
        return Venue.UPBIT

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            await opening.enter_async_context(self._client)
            await opening.enter_async_context(self._virtual)
            await self._client.warm()
            self._stack = opening.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def place(self, order: Order, *, is_urgent: bool = False) -> Outcome:
        """Have the venue test the order; what it would have taken is placed at the virtual one."""
        try:
            words = order_words(order)
            reply = await self._client.call("private_post_orders_test", words, group="order-test", is_urgent=is_urgent)
        except asyncio.CancelledError:
            return CANCELLED
        tested = outcome_of(reply, order.client_id)
        if not isinstance(tested, Accepted):
            return tested
        return await self._virtual.place(order, is_urgent=is_urgent)

    async def cancel(self, client_id: ClientId, instrument_id: InstrumentId) -> Outcome:
        """At the virtual venue, the only one where the order is."""
        return await self._virtual.cancel(client_id, instrument_id)

    async def query(self, client_id: ClientId, instrument_id: InstrumentId) -> OrderReport | None:
        """The virtual venue's word."""
        return await self._virtual.query(client_id, instrument_id)

    async def account(self) -> Account | None:
        """The virtual balances."""
        return await self._virtual.account()

    async def open_orders(self, instrument_id: InstrumentId) -> tuple[ClientId, ...] | None:
        """What rests at the virtual venue."""
        return await self._virtual.open_orders(instrument_id)

    async def fills_since(self, instrument_id: InstrumentId, since: Nanos) -> tuple[Fill, ...] | None:
        """The virtual trades."""
        return await self._virtual.fills_since(instrument_id, since)

    async def funding_since(self, since: Nanos) -> tuple[FundingPayment, ...] | None:
        """The virtual venue's funding: none on spot."""
        return await self._virtual.funding_since(since)

    async def instruments(self, symbols: Sequence[str]) -> tuple[Instrument, ...] | None:
        """The virtual venue's rules."""
        return await self._virtual.instruments(symbols)

    async def clock_skew(self) -> Nanos | None:
        """The virtual venue's clock."""
        return await self._virtual.clock_skew()

    async def examine(self, instruments: Sequence[Instrument], leverage: Decimal) -> tuple[Check, ...]:
        """The virtual account."""
        return await self._virtual.examine(instruments, leverage)

    async def keep_alive(self, instruments: Iterable[Instrument], countdown: Nanos) -> None:
        """At the virtual venue."""
        await self._virtual.keep_alive(instruments, countdown)

    def reports(self) -> AsyncIterator[Event]:
        """What the virtual venue pushes."""
        return self._virtual.reports()
