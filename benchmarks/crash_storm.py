"""Kill −9 of the real trader, hundreds of times: is an order ever doubled, a fill ever lost, a leg left naked?

    uv run python benchmarks/crash_storm.py --kills 500 --seed 7 [--json]

One process serves both virtual venues on the wire, with faults on it (answers dropped after execution, requests lost,
cut bodies, 5xx, delays). Another is the trader as ``kimp trade --mode live`` runs it: the real adapters, the journal on
disk, the reconciler, the mirror into a real PostgreSQL (``--mirror``, which is killed −9 as well). Half of the kills come
at random moments, half are aimed at single lines: just after an intent was journaled, between the two legs, while
restoring, before a fill is written down. ``--venues`` kills the venues' process too; their diaries have to hold.

What is not the whole truth: a life is forked from a parent that has imported everything, because importing ccxt takes
seconds; nothing else is skipped. Aimed kills are sent by the process to itself, which is the same signal. A kill of the
process is not a power cut: what was written and not yet synced survives it. There is no Redis in this project yet, so
the stop switch is the file. The seed draws kills, faults and the market, but two runs of it never interleave alike.

The judge reads the venues' books and the journal's rows with arithmetic of its own. ``--mutant late-intent`` plants a
fault in the trader, which the judge has to find: then the exit code is 1. ``--trial`` does so with every fault there is,
side by side, and with none. Ratios compare what healing took with what is allowed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a pool of threads would not survive the fork
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from crash.mutants import MUTANTS
from crash.storm import HEALED_S_MAX, Killer, Storm
from crash.traps import AIMS
from crash.trial import trial


def main() -> None:
    """Run the storm and print what was counted; exit 1 when anything was found."""
    asked = _arguments()
    with tempfile.TemporaryDirectory(prefix="kimp-crash-", ignore_cleanup_errors=True) as scratch:
        directory = Path(asked.keep or scratch)
        directory.mkdir(parents=True, exist_ok=True)
        if asked.trial:
            print(json.dumps(trial(directory, asked.seed)))
            return
        storm = Storm(
            kills=asked.kills,
            seed=asked.seed,
            directory=directory,
            mutant=asked.mutant,
            aims=tuple(asked.aim) if asked.aim else AIMS,
            aimed_share=asked.aimed_share,
            stop_share=asked.stop_share,
            mirror_share=0.7 if asked.mirror else 0.0,
            database_share=0.15 if asked.mirror else 0.0,
            venue_share=0.25 if asked.venues else 0.0,
            seconds_max=asked.seconds,
            healed_s_max=asked.healed,
        )
        killer = Killer(storm, tell=lambda words: print(words, file=sys.stderr, flush=True))
        began = time.monotonic()
        killer.run()
        facts = _facts(killer, time.monotonic() - began)
    if asked.json:
        print(json.dumps(facts))
    else:
        _show(facts["ours"])
    sys.exit(1 if facts["ours"]["violations"] else 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3_600.0, help="no new life is begun after so long")
    parser.add_argument("--healed", type=float, default=HEALED_S_MAX, help="how long a calm may take to heal")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="plant a fault that has to be found")
    parser.add_argument("--trial", action="store_true", help="every fault side by side; prints what was found of each")
    parser.add_argument("--aim", action="append", choices=AIMS, help="only these aimed kills; may be repeated")
    parser.add_argument("--aimed-share", type=float, default=0.5, help="share of kills that are aimed")
    parser.add_argument("--stop-share", type=float, default=0.08, help="share of lives with entries stopped")
    parser.add_argument("--mirror", action="store_true", help="with a PostgreSQL that is killed as well")
    parser.add_argument("--venues", action="store_true", help="kill the venues' process as well")
    parser.add_argument("--keep", help="directory for journals, diaries and logs, which then stay")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _facts(killer: Killer, elapsed_s: float) -> dict[str, Any]:
    figures, journal, books = killer.figures, killer.judge.journal, killer.books
    open_now = set(journal.unsettled())
    kinds = Counter(kind for kind, _ in figures.complaints)
    naked = [stretch / 1e6 for stretch in killer.judge.naked_ns(books)] if books else []
    venues = books.get("venues", {}).values()
    ours = {
        "kills": figures.kills,
        "lives": figures.lives,
        "venue_kills": figures.venue_kills,
        "database_kills": figures.database_kills,
        "kills_by_phase": dict(sorted(figures.phases.items())),
        "kills_by_aim": dict(sorted(figures.aims.items())),
        "records": journal.sequence,
        "orders": len(journal.intents),
        "fills": len(journal.fills),
        "venue_fills": sum(len(order["fills"]) for venue in venues for order in venue["orders"]),
        "pairs": len(killer.judge.pairs(books)) if books else 0,
        "fundings": len(journal.funding),
        "faults": dict(sorted((figures.faults + Counter(books.get("fired", {}))).items())),
        "unknown_orders": len(figures.unknown),
        "unsettled_at_a_kill": len(figures.left_open),
        "resolved": len(figures.left_open - open_now),
        "unresolved": len(open_now),
        "doubled_orders": kinds["exactly_once"],
        "lost_fills": kinds["lost_fill"],
        "foreign_fills": sum(booked["purpose"] == "foreign" for booked in journal.fills.values()),
        "ended_by_itself": figures.ended_by_itself,
        "calm_phases": figures.calms,
        "healed_ms": _spread(figures.healed_ms),
        "reconciled_ms": _spread(figures.reconciled_ms) | {"count": len(figures.reconciled_ms)},
        "naked_ms": _spread(naked) | {"count": len(naked)},
        "violations": len(figures.complaints),
        "violations_by_kind": dict(kinds),
        "first_violations": [f"{kind}: {what}" for kind, what in figures.complaints[:10]],
        "elapsed_s": round(elapsed_s, 1),
    }
    slowest = max(figures.healed_ms, default=0.0) / 1e3
    return {
        "name": "crash_storm",
        "ours": ours,
        "peers": {},
        "ratios": {"allowed_to_healed": HEALED_S_MAX / slowest} if slowest else {},
        "machine": {"cores": os.cpu_count(), "platform": platform.platform()},
        "versions": {"python": platform.python_version(), "ccxt": version("ccxt"), "aiohttp": version("aiohttp")},
    }


def _spread(values: list[float]) -> dict[str, float | None]:
    found = sorted(values)
    if not found:
        return {"p50": None, "p99": None, "max": None}
    at = {name: found[min(int(len(found) * share), len(found) - 1)] for name, share in (("p50", 0.5), ("p99", 0.99))}
    return {name: round(value, 1) for name, value in (at | {"max": found[-1]}).items()}


def _show(ours: dict[str, Any]) -> None:
    for name, value in ours.items():
        print(f"{name:<22} {value}")


if __name__ == "__main__":
    main()
