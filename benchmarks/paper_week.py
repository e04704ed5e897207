"""A paper trader left alone for a week of virtual time: the whole live shell, its files and its memory, and a backtest.

    uv run python benchmarks/paper_week.py [--json] [--days 7 | --hours N] [--every 15] [--seed 6] [--quiet]

Everything `kimp trade` runs trades a simulated market: runner, reconciler, switch, mailbox, pulse, decisions, flight
recorder, journal and diaries on disk. Binance refuses almost a third of all orders, both venues go into maintenance
every day, and the owner stops and resumes (`--quiet`: none of this, to compare with a backtest). Afterwards, by the
venues' own books: no leg stood alone for too long, everything reconciles to the last digit, memory stays flat, and the
flight recording replays to the same hash. A backtest of the same minutes runs beside it, and the difference is told in
parts. Code 1 when any of the checks fails.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

from structlog.testing import capture_logs

from kimp.order.runtime.flight import read_flight
from kimp.order.runtime.place import trade_place
from kimp.order.runtime.rerun import Rerun, rerun
from kimp.portfolio.alone import EAGER, Aftermath, Stay, blocks_per_hour, naked_too_long, settings_of, stay_alone
from kimp.portfolio.gap import Gap, Side, gap_of
from kimp.shared.domain.time import MILLISECOND, SECOND
from kimp.shared.settings import Strategy

BLOCKS_PER_HOUR_MAX = 200
"""A closed pair with its orders, fills and funding is some thousand blocks, and stays: ten or twenty pairs a week."""

WAL_BYTES_MAX = 8 * 1024 * 1024
"""SQLite copies its log into the journal at four megabytes; more means that somebody keeps it from doing so."""

SMALL_BYTES_MAX = 64 * 1024
"""Switch and pulse are replaced as a whole."""


def replayed(stay: Stay, directory: Path) -> Rerun:
    """The run's flight recording through a fresh engine, held against the journal: what `kimp replay` does."""
    settings = settings_of(stay, directory)
    place = trade_place(settings, "paper")
    (run,) = read_flight(place.flight)
    return rerun(settings, place.journal, run)


def checks(found: Aftermath, again: Rerun, troubles: list[str]) -> dict[str, bool]:
    """Everything that must hold afterwards."""
    disk = found.samples[-1].disk
    growth = blocks_per_hour(found)
    return {
        "no_part_died": not found.restarts and not troubles,
        "hedged": not naked_too_long(found),
        "reconciled": found.is_clean and not found.differences,
        "memory_flat": growth is None or growth <= BLOCKS_PER_HOUR_MAX,
        "files_bounded": disk.get("journal.sqlite-wal", 0) <= WAL_BYTES_MAX
        and max(disk.get("pulse.json", 0), disk.get("switch.json", 0)) <= SMALL_BYTES_MAX,
        "replayed": again.is_equal and again.ours_hash == again.theirs_hash,
    }


def side(one: Side) -> dict[str, Any]:
    """Closed pairs and their parts, KRW."""
    return {
        "pairs": len(one.trades),
        "net": float(one.net),
        "net_per_pair": float(one.mean),
        "parts": {name: float(value) for name, value in one.parts.items()},
    }


def compared(gap: Gap) -> dict[str, Any]:
    """The difference to the backtest: in total, per pair, by cause (KRW), and pair by pair."""
    shares = {"total": gap.total, "per_pair": gap.per_pair, "left_at_equal_spread_and_times": gap.left}
    return {
        "difference": {name: None if share is None else float(share) for name, share in shares.items()},
        "causes": {name: float(value) for name, value in gap.causes.items()},
        "pair_by_pair": [[float(ours.net), float(theirs.net)] for ours, theirs in gap.matched],
    }


def facts_of(stay: Stay, directory: Path) -> dict[str, Any]:
    """The whole benchmark."""
    began, used = perf_counter(), process_time()
    with capture_logs() as logs:
        found = stay_alone(stay, directory)
    wall_s, processor_s = perf_counter() - began, process_time() - used
    troubles = [str(line["event"]) for line in logs if line["log_level"] in ("warning", "error", "critical")]
    again = replayed(stay, directory)
    used = process_time()
    gap = gap_of(stay, found, directory)
    ours = {
        "virtual_hours": stay.hours,
        "wall_s": wall_s,
        "processor_s": processor_s,
        "events": found.events,
        "records": found.records,
        "open": found.is_open,
        "notices": dict(found.notices),
        "refusals": found.refusals,
        "troubles": troubles,
        "restarts": found.restarts,
        "naked": {"spans": len(found.naked.spans), "longest_ms": found.naked.longest / MILLISECOND},
        "differences": {name: str(value) for name, value in found.differences.items()},
        "blocks_per_hour": blocks_per_hour(found),
        "disk_bytes": found.samples[-1].disk,
        "hash": again.ours_hash,
        "checks": checks(found, again, troubles),
        **side(gap.paper),
        **compared(gap),
    }
    peers = {"backtest": side(gap.backtest), "with_our_spread": side(gap.tight), "at_our_quotes": side(gap.quick)}
    return {
        "name": "paper_week",
        "ours": ours,
        "peers": peers,
        "ratios": {"virtual_to_real": stay.hours * 3_600 / wall_s},
        "machine": {"processor": platform.machine(), "python": platform.python_version()},
        "versions": {name: version(f"kimp-{name}") for name in ("shared", "order", "research", "portfolio")},
    }


def show(facts: dict[str, Any]) -> None:
    """The same for people."""
    ours = facts["ours"]
    print(
        f"{ours['virtual_hours']} h in {ours['wall_s']:.0f} s ({ours['processor_s']:.0f} s of processor), "
        f"{ours['events']:,} events, {ours['records']} records, notices {ours['notices']}"
    )
    print(f"naked      {ours['naked']['spans']} times, longest {ours['naked']['longest_ms']:.0f} ms")
    growth = ours["blocks_per_hour"]
    print(f"memory     {'too short to say' if growth is None else f'{growth:+.0f} blocks an hour'}")
    print(f"disk       {ours['disk_bytes']}")
    print(f"checks     {ours['checks']}")
    for name, one in {"paper": ours, **facts["peers"]}.items():
        parts = ", ".join(f"{part} {value:,.0f}" for part, value in one["parts"].items())
        print(
            f"{name:16} {one['pairs']:3} pairs  {one['net']:10,.0f} KRW  {one['net_per_pair']:8,.0f} a pair  ({parts})"
        )
    print(f"difference {ours['difference']}")
    print(f"causes     { ({name: round(value) for name, value in ours['causes'].items()}) }")


def main() -> None:
    """Run, print, and say whether all of it held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print facts as JSON")
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--hours", type=int, help="instead of days")
    parser.add_argument("--every", type=int, default=15, help="seconds between two books; 5, 10, 15")
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--quiet", action="store_true", help="no refusals, no maintenance, no stops")
    parser.add_argument("--parameters", default=EAGER.parameters, help="of the preset low_entry")
    options = parser.parse_args()
    stay = Stay(
        hours=options.hours or options.days * 24,
        seed=options.seed,
        every=options.every * SECOND,
        is_disturbed=not options.quiet,
        strategy=Strategy(preset=EAGER.preset, parameters=options.parameters),
    )
    with TemporaryDirectory() as directory:
        facts = facts_of(stay, Path(directory))
    if options.json:
        print(json.dumps(facts, indent=2))
    else:
        show(facts)
    if not all(facts["ours"]["checks"].values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
