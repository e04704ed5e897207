"""A venue that is scripted at the exchange port, and what runs against it on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Self

import pytest

from kimp.shared.domain.accounts import Account, Balance, Check, ContractPosition
from kimp.shared.domain.funding import FundingPayment
from kimp.shared.domain.instruments import Instrument, InstrumentId, Side, Venue, default_pair
from kimp.shared.domain.money import Amount
from kimp.shared.domain.orders import Accepted, Fill, Order, OrderReport, OrderStatus, Outcome
from kimp.shared.domain.time import Nanos
from kimp.shared.messages.events import Event
from kimp.shared.messages.notices import Notice


@dataclass
class FakeExchange:
    """A venue that says what it was told to say; every list may be changed while it runs. ``is_away`` answers nothing."""

    venue: Venue
    balances: dict[str, Decimal] = field(default_factory=dict)
    contracts: dict[InstrumentId, Decimal] = field(default_factory=dict)
    fills: list[Fill] = field(default_factory=list)
    funding: list[FundingPayment] = field(default_factory=list)
    resting: list[tuple[InstrumentId, str]] = field(default_factory=list)
    said: dict[str, OrderReport] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    listed: tuple[Instrument, ...] | None = None
    skew: Nanos | None = 0
    is_away: bool = False
    bug: Exception | None = None
    asked_since: list[Nanos] = field(default_factory=list)
    placed: list[Order] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    countdowns: list[Nanos] = field(default_factory=list)
    pushes: list[Event] = field(default_factory=list)
    looks: int = 0
    meanwhile: Callable[[], None] | None = None
    clock: Any = None
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def place(self, order: Order, *, is_urgent: bool = False) -> Outcome:
        self.asked.append(("place", order, is_urgent))
        self.placed.append(order)
        if self.clock is not None:
            self._fill(order)
        return Accepted(f"v-{len(self.placed)}")

    async def cancel(self, client_id: str, instrument_id: InstrumentId) -> Outcome:
        self.asked.append(("cancel", client_id, instrument_id))
        self.cancelled.append(client_id)
        return Accepted("")

    async def query(self, client_id: str, instrument_id: InstrumentId) -> OrderReport | None:
        self.asked.append(("query", client_id, instrument_id))
        absent = OrderReport(client_id, OrderStatus.ABSENT, Decimal(0))
        return None if self.is_away else self.said.get(client_id, absent)

    async def account(self) -> Account | None:
        self.looks += 1
        if self.bug is not None:
            raise self.bug
        held = tuple(Balance(asset, value) for asset, value in self.balances.items() if value)
        contracts = tuple(ContractPosition(key, value, Decimal(1)) for key, value in self.contracts.items() if value)
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        return None if self.is_away else Account(held, contracts)

    async def open_orders(self, instrument_id: InstrumentId) -> tuple[str, ...] | None:
        return None if self.is_away else tuple(name for leg, name in self.resting if leg == instrument_id)

    async def fills_since(self, instrument_id: InstrumentId, since: Nanos) -> tuple[Fill, ...] | None:
        self.asked_since.append(since)
        found = tuple(fill for fill in self.fills if fill.instrument_id == instrument_id and fill.at >= since)
        return None if self.is_away else found

    async def funding_since(self, since: Nanos) -> tuple[FundingPayment, ...] | None:
        return None if self.is_away else tuple(payment for payment in self.funding if payment.at >= since)

    async def instruments(self, symbols: Sequence[str]) -> tuple[Instrument, ...] | None:
        self.asked.append(("instruments", symbols))
        return None if self.is_away else self.listed

    async def clock_skew(self) -> Nanos | None:
        return None if self.is_away else self.skew

    async def examine(self, instruments: Sequence[Instrument], leverage: Decimal) -> tuple[Check, ...]:
        self.asked.append(("examine", instruments, leverage))
        return self.checks

    async def keep_alive(self, instruments: Iterable[Instrument], countdown: Nanos) -> None:
        self.asked.append(("keep_alive", instruments))
        self.countdowns.append(countdown)

    async def reports(self) -> AsyncIterator[Event]:
        while self.pushes:
            yield self.pushes.pop(0)
        await asyncio.Event().wait()

    def _fill(self, order: Order) -> None:
        """With a clock it fills whole orders at their limit, and says so when asked."""
        leg = next(leg for leg in self.listed or () if leg.id == order.instrument_id)
        at, size = self.clock.now(), str(order.quantity)
        fill = self.trade(leg, order.side, size, str(order.limit), at, order.client_id)
        self.said[order.client_id] = OrderReport(order.client_id, OrderStatus.DONE, order.quantity, (fill,))

    def trade(self, leg: Instrument, side: Side, quantity: str, price: str, at: Nanos, client_id: str = "hand") -> Fill:
        """A trade on our account as the venue books it: in its list, its balances and its contracts."""
        size, worth = Decimal(quantity), Decimal(quantity) * Decimal(price)
        fee = Amount(worth * leg.fee_rate, leg.quote)
        fill = Fill(f"t{len(self.fills)}", client_id, leg.id, side, size, Decimal(price), fee, at)
        self.fills.append(fill)
        self.move(leg.quote, -fee.value)
        if leg.venue is Venue.UPBIT:
            self.move(leg.base, size * side.sign)
            self.move(leg.quote, -worth * side.sign)
        else:
            self.contracts[leg.id] = self.contracts.get(leg.id, Decimal(0)) + size * side.sign
        return fill

    def move(self, asset: str, amount: Any) -> None:
        """Money comes or goes."""
        self.balances[asset] = self.balances.get(asset, Decimal(0)) + Decimal(amount)


@dataclass
class FakeNotifier:
    """Keeps what it was told."""

    told: list[tuple[Nanos, Notice]] = field(default_factory=list)

    def send(self, notice: Notice, at: Nanos) -> None:
        self.told.append((at, notice))

    def of(self, kind: type) -> list[Any]:
        return [notice for _, notice in self.told if isinstance(notice, kind)]


def fakes() -> tuple[FakeExchange, FakeExchange, FakeNotifier]:
    """Both venues with money on them, and a notifier."""
    pair = default_pair()
    return (
        FakeExchange(Venue.UPBIT, {"KRW": Decimal(10_000_000)}, listed=(pair.korea,)),
        FakeExchange(Venue.BINANCE, {"USDT": Decimal(7_000)}, listed=(pair.abroad,)),
        FakeNotifier(),
    )


@pytest.fixture(scope="session")
def make_fakes() -> Callable[[], tuple[FakeExchange, FakeExchange, FakeNotifier]]:
    return fakes


@pytest.fixture
def upbit() -> FakeExchange:
    return fakes()[0]


@pytest.fixture
def binance() -> FakeExchange:
    return fakes()[1]


@pytest.fixture
def notifier() -> FakeNotifier:
    return FakeNotifier()
