"""Aimed kills: the trader's own process sends itself SIGKILL at one exact line, which no killer outside could hit.

To the operating system it is the same kill −9: no handler runs, nothing is flushed, every socket just ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kimp.order.runtime.journal import SqliteJournal
from kimp.shared.messages.records import Record

AIMS = (
    "intent journaled",
    "intent not journaled",
    "between the legs",
    "one leg answered",
    "answer not journaled",
    "fill not journaled",
    "fill journaled",
    "end not journaled",
    "phase not journaled",
    "repair journaled",
    "repair sent",
    "exit journaled",
    "exit sent",
    "restoring",
    "reconciling",
)
"""Where a life may be told to end; each is a point between two things that belong together."""


HELD_BACK_S = 0.05
"""For how long the second leg is held back before the end: the first one needs some milliseconds to its venue."""


def die() -> None:
    """Kill −9 of this very process."""
    os.kill(os.getpid(), signal.SIGKILL)


def set_trap(aim: str, count: int) -> None:
    """Arm this process: it dies at the ``count``-th time it comes by there."""
    if aim == "restoring":
        _while_reading(count)
    elif aim in ("between the legs", "one leg answered", "repair sent", "exit sent", "reconciling"):
        _at_the_venues(aim, count)
    else:
        _at_the_journal(aim, count)


def _at_the_journal(aim: str, count: int) -> None:
    where, what = {
        "intent journaled": ("after", _intends("enter")),
        "intent not journaled": ("before", _intends("enter")),
        "exit journaled": ("after", _intends("exit")),
        "repair journaled": ("after", _intends("repair")),
        "answer not journaled": ("before", _is("OrderOutcome")),
        "fill not journaled": ("before", _is("FillBooked")),
        "fill journaled": ("after", _is("FillBooked")),
        "end not journaled": ("before", _is("OrderClosed")),
        "phase not journaled": ("before", _is("PhaseEntered")),
    }[aim]
    append, seen = SqliteJournal.append, [0]

    def trapped(self: SqliteJournal, records: Sequence[Record]) -> None:
        seen[0] += any(what(record) for record in records)
        if seen[0] >= count and where == "before":
            die()
        append(self, records)
        if seen[0] >= count:
            die()

    SqliteJournal.append = trapped  # type: ignore[method-assign]


def _is(name: str) -> Callable[[Any], bool]:
    return lambda record: type(record).__name__ == name


def _intends(purpose: str) -> Callable[[Any], bool]:
    return lambda record: type(record).__name__ == "OrderIntended" and record.purpose == purpose


def _while_reading(count: int) -> None:
    read = SqliteJournal.read

    def trapped(self: SqliteJournal) -> Iterator[Record]:
        for number, record in enumerate(read(self), 1):
            yield record
            if number >= count:
                die()
        die()

    SqliteJournal.read = trapped  # type: ignore[method-assign]


def _at_the_venues(aim: str, count: int) -> None:
    from kimp.order.exchanges.binance import BinanceExchange
    from kimp.order.exchanges.upbit import UpbitExchange

    if aim == "reconciling":
        seen = [0]
        for kind in (BinanceExchange, UpbitExchange):
            for name in ("account", "fills_since", "funding_since", "open_orders", "query", "clock_skew"):
                _count_calls(kind, name, seen, count)
        return
    is_urgent = aim in ("repair sent", "exit sent")
    # The first leg of a pair is Korea's: it is on its way while the other one is held back, which never leaves. Whoever
    # waits for an answer dies when the first has come.
    waits = aim != "between the legs"
    for kind in (UpbitExchange, BinanceExchange):
        if waits or kind is BinanceExchange:
            _trap_place(kind, [0], count, is_urgent=is_urgent, after=waits)


def _trap_place(kind: type, seen: list[int], count: int, *, is_urgent: bool, after: bool) -> None:
    place = kind.place  # type: ignore[attr-defined]

    async def trapped(self: Any, order: Any, *, is_urgent: bool = False) -> Any:
        hit = is_urgent is wanted
        seen[0] += hit
        if hit and seen[0] >= count and not after:
            await asyncio.sleep(HELD_BACK_S)
            die()
        outcome = await place(self, order, is_urgent=is_urgent)
        if hit and seen[0] >= count and after:
            die()
        return outcome

    wanted = is_urgent
    kind.place = trapped  # type: ignore[attr-defined]


def _count_calls(kind: type, name: str, seen: list[int], count: int) -> None:
    asked = getattr(kind, name)

    async def trapped(self: Any, *arguments: Any, **named: Any) -> Any:
        seen[0] += 1
        if seen[0] >= count:
            die()
        return await asked(self, *arguments, **named)

    setattr(kind, name, trapped)
