"""A clock for tests of the adapters."""

from __future__ import annotations

import pytest

from kimp.shared.domain.time import Nanos


class FakeClock:
    """Waiting is free: the time asked for comes at once. ``waits`` says how long everybody waited."""

    def __init__(self, now: Nanos = 1_763_600_000_000_000_000) -> None:
        self.at = now
        self.waits: list[Nanos] = []

    def now(self) -> Nanos:
        return self.at

    async def sleep_until(self, at: Nanos) -> None:
        self.waits.append(max(0, at - self.at))
        self.at = max(self.at, at)


@pytest.fixture
def fake_clock() -> FakeClock:
    return FakeClock()
