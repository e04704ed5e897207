"""The limiter adds nothing while there is budget, keeps a reserve for exits, and believes the venue."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimp.order.exchanges.ratelimit import (
    BINANCE_GROUPS,
    UNASKED_BAN,
    UPBIT_GROUPS,
    URGENT_WAIT_MAX,
    WAIT_MAX,
    Budget,
    RateLimiter,
    obey_refusal,
    read_binance,
    read_upbit,
)
from kimp.shared.domain.time import MINUTE, SECOND, Nanos


class Clock(Protocol):
    at: Nanos
    waits: list[Nanos]

    def now(self) -> Nanos: ...

    async def sleep_until(self, at: Nanos) -> None: ...


class SteppedClock:
    def __init__(self) -> None:
        self.at: Nanos = 10**18
        self.waits: list[Nanos] = []

    def now(self) -> Nanos:
        return self.at

    async def sleep_until(self, at: Nanos) -> None:
        self.waits.append(at - self.at)
        self.at = max(self.at, at)


def grants(limiter: RateLimiter, group: str, count: int, *, is_urgent: bool = False) -> list[bool]:
    async def ask() -> list[bool]:
        return [await limiter.acquire(group, is_urgent=is_urgent) for _ in range(count)]

    return asyncio.run(ask())


def test_an_order_waits_for_nothing_while_there_is_budget(fake_clock: Clock) -> None:
    limiter = RateLimiter(fake_clock, UPBIT_GROUPS)
    assert grants(limiter, "order", 8) == [True] * 8
    assert fake_clock.waits == []


def test_an_idle_limiter_costs_an_order_microseconds(fake_clock: Clock) -> None:
    limiter = RateLimiter(fake_clock, UPBIT_GROUPS)

    async def ask() -> float:
        best = 1.0
        for _ in range(50):
            fake_clock.at += 2 * SECOND
            begun = time.perf_counter()
            await limiter.acquire("order")
            best = min(best, time.perf_counter() - begun)
        return best

    assert asyncio.run(ask()) < 0.001  # ccxt's own makes an order wait 126 ms after every pause


def test_ordinary_requests_leave_the_reserve_to_urgent_ones(fake_clock: Clock) -> None:
    limiter = RateLimiter(fake_clock, UPBIT_GROUPS)
    grants(limiter, "order", 8)
    assert limiter.room("order") == 0
    assert limiter.room("order", is_urgent=True) == 4
    assert grants(limiter, "order", 4, is_urgent=True) == [True] * 4
    assert fake_clock.waits == []


def test_a_spent_budget_makes_wait_until_it_refills(fake_clock: Clock) -> None:
    limiter = RateLimiter(fake_clock, UPBIT_GROUPS)
    assert grants(limiter, "order", 9) == [True] * 9
    assert SECOND <= sum(fake_clock.waits) <= WAIT_MAX


def test_a_budget_that_refills_too_late_is_refused_honestly(fake_clock: Clock) -> None:
    limiter = RateLimiter(fake_clock, {"orders": (Budget(1, MINUTE),)})
    assert grants(limiter, "orders", 2) == [True, False]
    assert fake_clock.waits == []


def test_groups_do_not_share_a_budget(fake_clock: Clock) -> None:
    limiter = RateLimiter(fake_clock, UPBIT_GROUPS)
    grants(limiter, "default", 20)
    assert limiter.room("order") == 8


def test_the_venues_count_overrides_ours_when_it_knows_of_more(fake_clock: Clock) -> None:
    limiter = RateLimiter(fake_clock, UPBIT_GROUPS)
    grants(limiter, "order", 1)
    read_upbit(limiter, {"remaining-req": "group=order; min=1800; sec=5"})
    assert limiter.room("order", is_urgent=True) == 5
    assert limiter.room("order") == 1


def test_the_venues_count_never_forgets_requests_still_on_their_way(fake_clock: Clock) -> None:
    limiter = RateLimiter(fake_clock, UPBIT_GROUPS)
    grants(limiter, "order", 6)
    read_upbit(limiter, {"Remaining-Req": "group=order; min=1800; sec=11"})
    assert limiter.room("order", is_urgent=True) == 6


def test_what_the_venue_counted_is_forgotten_after_its_window(fake_clock: Clock) -> None:
    limiter = RateLimiter(fake_clock, UPBIT_GROUPS)
    read_upbit(limiter, {"Remaining-Req": "group=order; min=1800; sec=0"})
    assert limiter.room("order", is_urgent=True) == 0
    fake_clock.at += 2 * SECOND
    assert limiter.room("order", is_urgent=True) == 12


@pytest.mark.parametrize("header", ["", "nonsense", "group=order", "group=unheard; sec=0", "group=order; sec=-1"])
def test_a_header_that_says_nothing_changes_nothing(fake_clock: Clock, header: str) -> None:
    limiter = RateLimiter(fake_clock, UPBIT_GROUPS)
    read_upbit(limiter, {"Remaining-Req": header})
    assert limiter.room("order", is_urgent=True) == 12


def test_binances_headers_fill_each_window_by_itself(fake_clock: Clock) -> None:
    limiter = RateLimiter(fake_clock, BINANCE_GROUPS)
    read_binance(
        limiter, {"X-MBX-USED-WEIGHT-1M": "1790", "x-mbx-order-count-10s": "150", "x-mbx-order-count-1m": "799"}
    )
    assert limiter.room("weight") == 10
    assert limiter.room("orders") == 1
    fake_clock.at += 11 * SECOND
    assert limiter.room("orders") == 1


def test_a_429_silences_its_group_for_as_long_as_asked(fake_clock: Clock) -> None:
    limiter = RateLimiter(fake_clock, UPBIT_GROUPS)
    obey_refusal(limiter, "order", 429, {"Retry-After": "30"})
    assert grants(limiter, "order", 1, is_urgent=True) == [False]
    assert grants(limiter, "default", 1) == [True]
    fake_clock.at += 30 * SECOND
    assert grants(limiter, "order", 1) == [True]


def test_a_429_without_a_time_lets_the_next_order_wait_one_window(fake_clock: Clock) -> None:
    limiter = RateLimiter(fake_clock, UPBIT_GROUPS)
    obey_refusal(limiter, "order", 429, {})
    assert grants(limiter, "order", 1) == [True]
    assert fake_clock.waits == [SECOND]


@pytest.mark.parametrize(
    ("headers", "message", "pause"),
    [
        ({"retry-after": "90"}, "", 90 * SECOND),
        ({}, "blocked for 45 seconds", 45 * SECOND),
        ({}, "3분 후 다시 시도해주세요", 3 * MINUTE),
        ({}, "blocked", UNASKED_BAN),
    ],
)
def test_a_418_silences_everything(fake_clock: Clock, headers: dict[str, str], message: str, pause: Nanos) -> None:
    limiter = RateLimiter(fake_clock, UPBIT_GROUPS)
    obey_refusal(limiter, "order", 418, headers, message)
    fake_clock.at += pause - 1
    assert all(limiter.room(group, is_urgent=True) == 0 for group in UPBIT_GROUPS)
    fake_clock.at += 1
    assert all(limiter.room(group) > 0 for group in UPBIT_GROUPS)


def test_a_shorter_silence_does_not_end_a_longer_one(fake_clock: Clock) -> None:
    limiter = RateLimiter(fake_clock, UPBIT_GROUPS)
    limiter.silence(MINUTE)
    limiter.silence(SECOND, "order")
    fake_clock.at += 2 * SECOND
    assert limiter.room("order") == 0


def test_other_statuses_silence_nothing(fake_clock: Clock) -> None:
    limiter = RateLimiter(fake_clock, UPBIT_GROUPS)
    obey_refusal(limiter, "order", 500, {"Retry-After": "30"})
    assert limiter.room("order") == 8


@given(
    pauses=st.lists(st.integers(0, 2 * SECOND), max_size=60),
    urgency=st.lists(st.booleans(), min_size=60, max_size=60),
)
def test_no_window_ever_holds_more_than_its_limit(pauses: list[Nanos], urgency: list[bool]) -> None:
    clock = SteppedClock()
    limiter = RateLimiter(clock, {"order": (Budget(5, SECOND, reserve=2),)})
    sent: list[Nanos] = []

    async def run() -> None:
        for pause, is_urgent in zip(pauses, urgency, strict=False):
            clock.at += pause // 10
            before = clock.at
            if await limiter.acquire("order", is_urgent=is_urgent):
                sent.append(clock.at)
            assert clock.at - before <= (URGENT_WAIT_MAX if is_urgent else WAIT_MAX)

    asyncio.run(run())
    for start in sent:
        assert sum(start <= at < start + SECOND for at in sent) <= 5
