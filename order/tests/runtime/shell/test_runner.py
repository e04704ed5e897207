"""The live shell on virtual time: order of effects, lanes, timeouts, adapters that break, an end that loses nothing."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

from kimp.order.runtime.virtual_loop import run_virtual


def test_both_legs_are_placed_filled_and_journaled(stage: Any, enter: Any, start: int) -> None:
    async def play() -> list[str]:
        shown = stage(says=enter)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(shown.runner.run())
            await shown.runner.is_restored.wait()
            shown.runner.move(shown.quotes())
            await shown.until(lambda: bool(shown.notices.told))
            assert shown.slot.phase.value == "open"
            assert [order.quantity for order in shown.korea.placed] == [order.quantity for order in shown.abroad.placed]
            assert shown.runner.counters.sendings[0].skew == 0
            running.cancel()
        return list(shown.kinds())

    kinds = run_virtual(play(), start)
    assert kinds[2:5] == ["PlanMade", "OrderIntended", "OrderIntended"]
    assert kinds.count("FillBooked") == 2
    assert kinds[-1] == "PhaseEntered"
    assert Decimal(1)
