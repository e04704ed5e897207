"""What the live shell's tests share: venues in memory that answer on the clock, a strategy that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from types import TracebackType
from typing import Any, Self

import pytest

from kimp.order.engine.engine import Assignment, TradingEngine
from kimp.order.engine.settings import EngineSettings
from kimp.order.runtime.journal import MemoryJournal
from kimp.order.runtime.runner import Runner
from kimp.order.runtime.virtual_loop import VirtualClock
from kimp.shared.domain.accounts import Account
from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.fx import FxQuote
from kimp.shared.domain.instruments import Pair, Venue, default_pair
from kimp.shared.domain.money import ZERO, Amount
from kimp.shared.domain.orders import Accepted, Fill, Order, OrderReport, OrderStatus, Outcome
from kimp.shared.domain.signals import Direction, Enter, Exit, Hold, Signal
from kimp.shared.domain.time import DAY, MILLISECOND, SECOND, Nanos
from kimp.shared.messages.events import Event, MarketMoved, OrderFilled, OrderReported
from kimp.shared.messages.notices import Notice
from kimp.shared.messages.records import FundsBooked, Record

START: Nanos = 20_000 * DAY
LATENCY = 40 * MILLISECOND
ENTER = Enter(Direction.LONG_PREMIUM, "told to", Decimal(1))


class Told:
    """A strategy that says what it is told to say; observes every view."""

    def __init__(self, says: Signal | None = None) -> None:
        self.name, self.says = "told", says or Hold("told to")
        self.views: list[Any] = []

    def observe(self, view: Any) -> None:
        self.views.append(view)

    def decide(self, _: Any, position: Any) -> Signal:
        if isinstance(self.says, Enter) and position is not None:
            return Hold("held")
        if isinstance(self.says, Exit) and position is None:
            return Hold("flat")
        return self.says

    def explain(self, *_: Any) -> tuple[Any, ...]:
        return ()

    @property
    def warm_up(self) -> Nanos:
        return 0


@dataclass
class FakeExchange:
    """A venue that fills every order at its limit after the latency; ``on_place`` may do something else instead."""

    venue: Venue
    clock: Any
    fee_asset: str
    latency: Nanos = LATENCY
    on_place: Callable[[Order], Any] | None = None
    placed: list[Order] = field(default_factory=list)
    placed_at: list[Nanos] = field(default_factory=list)
    urgent: list[bool] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    listened: int = 0

    def __post_init__(self) -> None:
        self.news: asyncio.Queue[Event | Exception] = asyncio.Queue()
        self.fills: dict[str, Fill] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def place(self, order: Order, *, is_urgent: bool = False) -> Outcome:
        self.placed.append(order)
        self.placed_at.append(self.clock.now())
        self.urgent.append(is_urgent)
        await self.clock.sleep_until(self.clock.now() + self.latency)
        answer = None
        if self.on_place is not None:
            answer = await self.on_place(order)
        return answer or self.fill(order)

    def fill(self, order: Order) -> Outcome:
        fee = Amount(order.quantity * order.limit * Decimal("0.0005"), self.fee_asset)
        trade_id = f"t-{order.client_id}"
        fill = Fill(
            trade_id, order.client_id, order.instrument_id, order.side, order.quantity, order.limit, fee,
            self.clock.now(),
        )  # fmt: skip
        self.fills[order.client_id] = fill
        self.news.put_nowait(OrderFilled(self.clock.now(), fill))
        self.news.put_nowait(
            OrderReported(self.clock.now(), OrderReport(order.client_id, OrderStatus.DONE, order.quantity))
        )
        return Accepted(f"v-{order.client_id}")

    async def cancel(self, client_id: str, _: str) -> Outcome:
        self.cancelled.append(client_id)
        return Accepted(client_id)

    async def query(self, client_id: str, _: str) -> OrderReport | None:
        self.asked.append(client_id)
        await self.clock.sleep_until(self.clock.now() + self.latency)
        fill = self.fills.get(client_id)
        if fill is None:
            return OrderReport(client_id, OrderStatus.ABSENT, ZERO)
        return OrderReport(client_id, OrderStatus.DONE, fill.quantity, (fill,))

    async def reports(self) -> AsyncIterator[Event]:
        self.listened += 1
        while True:
            news = await self.news.get()
            if isinstance(news, Exception):
                raise news
            yield news

    async def account(self) -> Account | None:
        return None

    async def open_orders(self, _: str) -> None:
        return None

    async def fills_since(self, *_: Any) -> None:
        return None

    async def funding_since(self, _: Nanos) -> None:
        return None

    async def instruments(self, _: Any) -> None:
        return None

    async def clock_skew(self) -> Nanos | None:
        return None

    async def examine(self, *_: Any) -> tuple[Any, ...]:
        return ()

    async def keep_alive(self, *_: Any) -> None: ...


class Notices:
    """A notifier that keeps what it is given."""

    def __init__(self) -> None:
        self.told: list[Notice] = []

    def send(self, notice: Notice, _: Nanos) -> None:
        self.told.append(notice)


class Stage:
    """One engine on two fake venues, to be built inside the loop it is to run on."""

    def __init__(
        self,
        *,
        clock: Any = None,
        journal: Any = None,
        says: Signal | None = None,
        settings: EngineSettings | None = None,
        funded: bool = True,
        **runner: Any,
    ) -> None:
        self.clock = VirtualClock() if clock is None else clock
        self.pair: Pair = default_pair()
        self.strategy = Told(says)
        self.engine = TradingEngine((Assignment(self.strategy, self.pair),), settings or EngineSettings())
        self.korea = FakeExchange(Venue.UPBIT, self.clock, "KRW")
        self.abroad = FakeExchange(Venue.BINANCE, self.clock, "USDT")
        self.notices = Notices()
        self.journal = MemoryJournal() if journal is None else journal
        if funded and self.journal.length == 0:
            self.journal.append(self.funds())
        self.runner = Runner(
            self.engine,
            {Venue.UPBIT: self.korea, Venue.BINANCE: self.abroad},
            journal=self.journal,
            clock=self.clock,
            notifier=self.notices,
            **runner,
        )

    def funds(self) -> list[Record]:
        at = self.clock.now()
        return [
            FundsBooked(at, "first-krw", Venue.UPBIT, Amount(Decimal(10_000_000), "KRW")),
            FundsBooked(at, "first-usdt", Venue.BINANCE, Amount(Decimal(7_000), "USDT")),
        ]

    def quotes(self, at: Nanos | None = None, premium: str = "0.035") -> MarketMoved:
        """Both books and rates: the perpetual at 100,000, FX 1,400."""
        at = self.clock.now() if at is None else at
        ask = (Decimal(140_000_000) * (1 + Decimal(premium))).quantize(Decimal(1000))
        return MarketMoved(
            at,
            (
                self.book(self.pair.korea.id, ask - 1000, ask, at),
                self.book(self.pair.abroad.id, Decimal(100_000), Decimal("100000.1"), at),
            ),
            tuple(FxQuote(name, Decimal(1400), at, at + 120 * SECOND, "test") for name in ("USD", "USDT")),
        )

    @staticmethod
    def book(instrument_id: str, bid: Any, ask: Any, at: Nanos) -> Book:
        return Book(instrument_id, (Level(Decimal(bid), Decimal(5)),), (Level(Decimal(ask), Decimal(5)),), at, at)

    async def until(self, holds: Callable[[], bool], seconds: float = 60.0) -> None:
        """Let the loop run until it holds (seconds of the loop's time)."""
        async with asyncio.timeout(seconds):
            while not holds():
                await asyncio.sleep(0.0005)

    async def end(self, running: asyncio.Task[None]) -> None:
        """Cancel the runner and see it end as it should."""
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    @property
    def slot(self) -> Any:
        return next(iter(self.engine.state.slots.values()))

    def kinds(self, records: Iterable[Record] | None = None) -> list[str]:
        return [type(record).__name__ for record in (self.journal.read() if records is None else records)]


@pytest.fixture
def stage() -> type[Stage]:
    return Stage


@pytest.fixture
def enter() -> Enter:
    return ENTER


@pytest.fixture
def start() -> Nanos:
    return START
