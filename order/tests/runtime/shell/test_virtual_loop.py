"""Virtual time: exact to the nanosecond, first set first fired, and no waiting for what will never come."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimp.order.runtime.clocks import ScaledClock
from kimp.order.runtime.virtual_loop import NothingToWaitFor, VirtualClock, run_virtual
from kimp.shared.domain.time import DAY, HOUR, SECOND


def test_sleeping_is_exact_to_the_nanosecond_a_year_on(start: int) -> None:
    async def sleep() -> int:
        clock = VirtualClock()
        await clock.sleep_until(start + 365 * DAY)
        await clock.sleep_until(start + 365 * DAY + 1)
        return clock.now()

    assert run_virtual(sleep(), start) == start + 365 * DAY + 1


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_timers_of_one_instant_fire_in_the_order_they_were_set(delays: list[int]) -> None:
    async def play() -> list[tuple[int, int]]:
        clock, woken = VirtualClock(), []

        async def wait(number: int, delay: int) -> None:
            await clock.sleep_until(7 + delay)
            woken.append((delay, number))

        async with asyncio.TaskGroup() as group:
            for number, delay in enumerate(delays):
                group.create_task(wait(number, delay))
        return woken

    assert run_virtual(play(), 7) == sorted((delay, number) for number, delay in enumerate(delays))


def test_what_follows_from_a_timer_comes_before_the_next_timer_of_that_instant(start: int) -> None:
    async def play() -> list[str]:
        clock, told = VirtualClock(), []

        async def deep(name: str) -> None:
            await clock.sleep_until(start + SECOND)
            for step in range(3):
                told.append(f"{name}{step}")
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            group.create_task(deep("a"))
            group.create_task(deep("b"))
        return told

    assert run_virtual(play(), start) == ["a0", "a1", "a2", "b0", "b1", "b2"]


def test_ordinary_asyncio_waits_take_no_time(start: int) -> None:
    async def play() -> int:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await asyncio.Event().wait()
        await asyncio.sleep(3600)
        return VirtualClock().now()

    assert run_virtual(play(), start) == start + 2 * HOUR


def test_a_cancelled_timer_does_not_move_time(start: int) -> None:
    async def play() -> int:
        clock = VirtualClock()
        async with asyncio.TaskGroup() as group:
            sleeper = group.create_task(clock.sleep_until(start + DAY))
            await clock.sleep_until(start + SECOND)
            sleeper.cancel()
        return clock.now()

    assert run_virtual(play(), start) == start + SECOND


def test_waiting_for_nothing_is_an_error_and_no_hang(start: int) -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    with pytest.raises(NothingToWaitFor, match="no timer is set"):
        run_virtual(hang(), start)


def test_waiting_for_a_socket_is_an_error_and_no_hang(start: int) -> None:
    async def serve() -> None:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        async with server:
            await server.serve_forever()

    with pytest.raises(NothingToWaitFor):
        run_virtual(serve(), start)


def test_a_clock_sixty_times_as_fast_shows_an_hour_in_a_minute(start: int) -> None:
    async def play() -> tuple[int, int]:
        inner = VirtualClock()
        clock: Any = ScaledClock(inner, 60, 0)
        await clock.sleep_until(HOUR)
        return inner.now() - start, clock.now()

    assert run_virtual(play(), start) == (60 * SECOND, HOUR)


@given(speed=st.integers(1, 1000), at=st.integers(-10, 10**9))
def test_a_scaled_clock_never_wakes_early(speed: int, at: int) -> None:
    async def play() -> int:
        clock = ScaledClock(VirtualClock(), speed, 0)
        await clock.sleep_until(at)
        return clock.now()

    woken = run_virtual(play(), 5)
    assert at <= woken
    assert woken < max(at, 0) + speed


def test_a_clock_that_stands_is_refused(start: int) -> None:
    async def play() -> None:
        with pytest.raises(ValueError, match="would not get anywhere"):
            ScaledClock(VirtualClock(), 0, start)

    run_virtual(play(), start)
