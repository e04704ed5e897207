"""The rehearsal asks the real venue and fills at the virtual one."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from random import Random
from typing import Any, Self

import pytest

from kimp.order.exchanges.rehearsal import UpbitRehearsal
from kimp.shared.domain.instruments import Side, Venue
from kimp.shared.domain.orders import Accepted, Order, Outcome, Rejected, Unknown
from kimp.storage.feeds.clocks import SystemClock

ORDER = Order("kimp-1", "upbit:KRW-BTC", Side.BUY, Decimal("0.07"), Decimal(150_000_000))


class FakeVirtual:
    """A virtual venue that takes everything, and says what it was asked."""

    venue = Venue.UPBIT

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.is_open = False

    async def __aenter__(self) -> Self:
        self.is_open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_open = False

    async def place(self, order: Order, *, is_urgent: bool = False) -> Outcome:
        self.asked.append(("place", (order, is_urgent)))
        return Accepted("virtual")

    def __getattr__(self, name: str) -> Any:
        async def answer(*arguments: Any) -> str:
            self.asked.append((name, arguments))
            return name

        return answer


def rehearsed(stage: Any, *answers: Any) -> tuple[Outcome, FakeVirtual, Any]:
    serving, settings_for = stage
    virtual = FakeVirtual()

    async def scene() -> tuple[Outcome, Any]:
        async with serving() as fake:
            fake.on("POST /v1/orders/test", *answers)
            rehearsal = UpbitRehearsal(settings_for(fake), virtual, SystemClock(), Random(1))
            async with rehearsal:
                assert virtual.is_open
                outcome = await rehearsal.place(ORDER, is_urgent=True)
            return outcome, fake

    outcome, fake = asyncio.run(scene())
    assert not virtual.is_open
    assert fake.requests("POST /v1/orders") == []  # never a real order
    return outcome, virtual, fake


def test_an_order_the_venue_would_take_is_filled_by_the_virtual_one(stage: Any) -> None:
    outcome, virtual, fake = rehearsed(stage, (201, {"uuid": "u", "identifier": "kimp-1"}))
    assert outcome == Accepted("virtual")
    assert virtual.asked == [("place", (ORDER, True))]
    assert fake.requests("POST /v1/orders/test")[0].body["identifier"] == "kimp-1"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((400, {"error": {"name": "invalid_price_bid", "message": "주문가격 단위"}}), Rejected),
        ((500, {"error": {"name": "server_error", "message": ""}}), Unknown),
        ((201, {"no": "uuid"}), Unknown),
    ],
)
def test_an_order_the_venue_would_not_take_never_reaches_the_virtual_one(
    stage: Any, answer: Any, kind: type[Outcome]
) -> None:
    outcome, virtual, _ = rehearsed(stage, answer)
    assert isinstance(outcome, kind)
    assert virtual.asked == []


def test_everything_else_is_the_virtual_venues(stage: Any) -> None:
    serving, settings_for = stage
    virtual = FakeVirtual()

    async def scene() -> list[Any]:
        async with serving() as fake:
            rehearsal: Any = UpbitRehearsal(settings_for(fake), virtual, SystemClock(), Random(1))
            return [
                await rehearsal.cancel("kimp-1", "upbit:KRW-BTC"),
                await rehearsal.query("kimp-1", "upbit:KRW-BTC"),
                await rehearsal.account(),
                await rehearsal.open_orders("upbit:KRW-BTC"),
                await rehearsal.fills_since("upbit:KRW-BTC", 0),
                await rehearsal.funding_since(0),
                await rehearsal.instruments(["BTC"]),
                await rehearsal.clock_skew(),
                await rehearsal.examine([], Decimal(1)),
                await rehearsal.reports(),
                await rehearsal.keep_alive([], 1),
            ]

    names = ["cancel", "query", "account", "open_orders", "fills_since", "funding_since", "instruments", "clock_skew"]
    names += ["examine", "reports"]
    assert asyncio.run(scene()) == [*names, None]
    assert [name for name, _ in virtual.asked] == [*names, "keep_alive"]
