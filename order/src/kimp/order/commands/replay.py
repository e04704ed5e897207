"""``kimp replay``: a recorded run once more through a fresh engine, and whether it journals the same."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kimp.order.commands.options import Desk, Json, Mode
from kimp.shared.cli import console, print_json, warn
from kimp.shared.errors import EXIT_FAILED, NotRunning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kimp.order.runtime.flight import FlightRun
    from kimp.order.runtime.rerun import Rerun
    from kimp.shared.messages.effects import Effect
    from kimp.shared.messages.events import Event


def replay(
    run: Annotated[int | None, typer.Option(help="몇 번째 실행. Which run, from 1; the last one by default.")] = None,
    step: Annotated[bool, typer.Option("--step", help="한 사건씩 봅니다. Show it event by event.")] = False,
    mode: Mode = "paper",
    as_json: Json = False,
) -> None:
    """기록된 실행을 그대로 다시 돌려 원장과 비교합니다. Replay a recorded run; code 6 when it journals anything else."""
    from kimp.order.runtime.flight import read_flight
    from kimp.order.runtime.rerun import rerun

    desk = Desk(mode)
    runs = list(read_flight(desk.place.flight)) if desk.place.flight.is_dir() else []
    if not runs:
        raise NotRunning(f"no run was recorded in mode {mode}; set trade.flight_days above 0 and start the trader")
    number = len(runs) if run is None else run
    if not 1 <= number <= len(runs):
        raise typer.BadParameter(f"there are the runs 1 to {len(runs)}", param_hint="--run")
    chosen, after = runs[number - 1], runs[number] if number < len(runs) else None
    watch = _Steps(as_json).show if step else None
    result = rerun(desk.settings, desk.place.journal, chosen, after.start.length if after else None, watch)
    for warning in (*chosen.warnings, *result.warnings):
        warn(f"warning: {warning}")
    if as_json:
        print_json(_facts(mode, number, len(runs), chosen, result))
    else:
        _show(number, len(runs), chosen, result)
    if not result.is_equal:
        raise typer.Exit(EXIT_FAILED)


def _facts(mode: str, number: int, count: int, run: FlightRun, result: Rerun) -> dict[str, Any]:
    from msgspec import to_builtins

    from kimp.order.commands.figures import iso

    return {
        "mode": mode,
        "run": number,
        "runs": count,
        "started": iso(run.start.at),
        "journal_before": run.start.length,
        "events": result.events,
        "records": result.records,
        "hash": result.ours_hash,
        "journal_hash": result.theirs_hash,
        "equal": result.is_equal,
        "difference": None
        if result.difference is None
        else {
            "at": result.difference,
            "replayed": None if result.ours is None else to_builtins(result.ours, enc_hook=str),
            "journal": None if result.theirs is None else to_builtins(result.theirs, enc_hook=str),
        },
        "warnings": [*run.warnings, *result.warnings],
    }


def _show(number: int, count: int, run: FlightRun, result: Rerun) -> None:
    from kimp.shared.domain.time import show

    out = console()
    out.print(f"실행 (run) {number}/{count}, {show(run.start.at)}, kimp {run.start.version}", soft_wrap=True)
    out.print(f"사건 (events) {result.events:,}, 기록 (records) {result.records:,}", soft_wrap=True)
    out.print(f"해시 (hash) {result.ours_hash[:16]}, 원장 (journal) {result.theirs_hash[:16]}")
    if result.is_equal:
        out.print(
            "같습니다: 같은 사건에서 같은 원장이 나왔습니다. Equal: the same events made the same journal.",
            style="green",
        )
        return
    out.print(f"다릅니다: {result.difference}번째 기록부터. Different from record {result.difference} on.", style="red")
    out.print(f"  재실행 (replayed): {result.ours}", markup=False, soft_wrap=True)
    out.print(f"  원장 (journal):    {result.theirs}", markup=False, soft_wrap=True)


class _Steps:
    """Shows event by event; on a terminal it waits for Enter, and q runs on to the end."""

    def __init__(self, as_json: bool) -> None:
        # With --json the result is alone on stdout, and the steps are for whoever watches.
        self._out = sys.stderr if as_json else sys.stdout
        self._waits = sys.stdin.isatty() and self._out.isatty()

    def show(self, event: Event, effects: Sequence[Effect]) -> None:
        from kimp.order.commands.figures import clock
        from kimp.shared.messages.events import MarketMoved

        if isinstance(event, MarketMoved) and not effects:
            return  # nothing came of it, and there are millions of these
        told = "quotes" if isinstance(event, MarketMoved) else repr(event)
        self._out.write(f"{clock(event.at)} {type(event).__name__} {told}\n")
        for effect in effects:
            self._out.write(f"    {effect!r}\n")
        if self._waits:
            self._waits = input("Enter: 다음 (next), q: 끝까지 (run on) ").strip().lower() != "q"
