"""How long a decision takes to reach both venues: from the quote in hand to the first byte of each request.

    uv run python benchmarks/order_latency.py [--json] [--shots 150] [--repeat 3]

Both virtual venues are served on loopback by another process. All contenders send a purchase to Upbit and a sale to
Binance there, in turns, so that all meet the same machine; a request is on the wire when the kernel has taken it. The
run whose own p50 is lowest counts, and the load of the machine stands beside it.

*ours* is the whole path of a live trader: the inbox wakes the engine, it decides, the intent is durable on disk, both
adapters sign and send; the decision log and the flight recorder look on. *without fsync* is the same with the disk's
part left out. *undisturbed* are the shots during which the kernel gave our processor to nobody else before both
requests were out: on a machine that others use, those tell the path, and all shots tell the machine. The peers decide
nothing and journal nothing: *aiohttp* sends two requests signed beforehand (the limit), *ccxt* is two ``create_order``
of the unchanged library without its limiter, with its default one, and with ``rollingWindow``.

Targets: p50 1.5 ms, p99 5 ms with the intent on disk, skew between the legs p99 1 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
from latency.ours import LOOSE, OURS, ours
from latency.peers import peers
from latency.shots import Contender, Shot, Wire
from latency.venues import serve, venues_elsewhere

from kimp.shared import logs
from kimp.shared.domain.instruments import Venue
from kimp.shared.settings import Log

TARGET_P50_MS, TARGET_P99_MS, TARGET_SKEW_P99_MS = 1.5, 5.0, 1.0
PAUSE_S = 0.09
"""Between two shots: Upbit takes 12 orders a second from an account, and a real signal meets a trader that was idle."""
PATIENCE_S = 10.0
WARM_UP = 5


def figures(shots: Sequence[Shot]) -> dict[str, float]:
    """Milliseconds: to both on the wire, the skew between them, and the round trip of one order."""
    if not shots:
        return {}
    last = [max(shot.written.values()) - shot.begun for shot in shots]
    skew = [max(shot.written.values()) - min(shot.written.values()) for shot in shots]
    trips = [shot.answered[venue] - shot.written[venue] for shot in shots for venue in Venue]
    return {
        f"{name}_{what}_ms": float(np.percentile(values, q)) / 1e6
        for name, values in (("wire", last), ("skew", skew), ("trip", trips))
        for what, q in (("p50", 50), ("p99", 99))
    }


def told_of(shots: Sequence[Shot]) -> dict[str, Any]:
    """The figures of all shots, and of those during which nobody else got our processor."""
    calm = [shot for shot in shots if not shot.is_disturbed]
    return figures(shots) | {"calm_share": len(calm) / len(shots), "calm": figures(calm)}


STEPS = (
    ("wake_and_decide", "begun", "append_began"),
    ("journal", "append_began", "append_ended"),
    ("start_tasks", "append_ended", "first_asked"),
    ("first_request", "first_asked", "second_asked"),
    ("second_request_and_write", "second_asked", "written"),
)
"""What a decision goes through, in order; together they are the time to the wire."""


def steps(shots: Sequence[Shot]) -> dict[str, float]:
    """Milliseconds that each step of ours takes, p50."""
    moments = []
    for shot in shots:
        asked = sorted(shot.steps[f"{venue.value}_asked"] for venue in Venue)
        marks = {"begun": shot.begun, "first_asked": asked[0], "second_asked": asked[1]}
        moments.append(marks | shot.steps | {"written": max(shot.written.values())})
    return {f"{name}_ms": float(np.median([m[end] - m[begin] for m in moments])) / 1e6 for name, begin, end in STEPS}


async def fire(contender: Contender, wire: Wire) -> Shot:
    """One shot; the pause before it is what the venues' limits ask for."""
    await asyncio.sleep(PAUSE_S)
    wire.shot = shot = Shot()
    async with asyncio.timeout(PATIENCE_S):
        await contender.shoot(shot)
    assert shot.is_whole, shot
    return shot


async def measure(shots: int, repeat: int, folder: Path) -> list[dict[str, Any]]:
    """Each run: all contenders in turns."""
    wire, runs = Wire(), []
    async with venues_elsewhere() as told, ours(told[0], folder, wire) as mine, peers(told[1]) as theirs:
        everybody = mine | theirs
        for contender in everybody.values():
            for _ in range(WARM_UP):
                await fire(contender, wire)
        for _ in range(repeat):
            taken: dict[str, list[Shot]] = {name: [] for name in everybody}
            for _ in range(shots):
                for name, contender in everybody.items():
                    taken[name].append(await fire(contender, wire))
            found = {name: told_of(of_it) for name, of_it in taken.items()}
            for name in mine:
                found[name]["steps"] = steps(taken[name])
            runs.append({"load": os.getloadavg()[0], "found": found, "disk": await asyncio.to_thread(disk, folder)})
    return runs


def disk(folder: Path) -> dict[str, float]:
    """The limit: two blocks written and synced, which is what a commit comes down to."""
    took = []
    with (folder / "block").open("wb", buffering=0) as file:
        for _ in range(200):
            begun = perf_counter_ns()
            file.write(bytes(8_192))
            os.fdatasync(file.fileno())
            took.append(perf_counter_ns() - begun)
    return {f"p{q}_ms": float(np.percentile(took, q)) / 1e6 for q in (50, 99)}


def collection() -> dict[str, float]:
    """Milliseconds of one full garbage collection, with everything in its sight and as a trader runs."""
    gc.unfreeze()
    begun = perf_counter_ns()
    gc.collect()
    seen = perf_counter_ns() - begun
    gc.freeze()
    begun = perf_counter_ns()
    gc.collect()
    return {"full_collection_ms": seen / 1e6, "frozen_collection_ms": (perf_counter_ns() - begun) / 1e6}


def facts_of(runs: Sequence[dict[str, Any]], shots: int) -> dict[str, Any]:
    """What is printed: the quietest run, judged by its own p50, and how the others were."""
    best = min(runs, key=lambda run: run["found"][OURS]["wire_p50_ms"])
    found = best["found"]
    mine, limit = found[OURS], found["aiohttp"]["wire_p50_ms"]
    targets = {"wire_p50_ms": TARGET_P50_MS, "wire_p99_ms": TARGET_P99_MS, "skew_p99_ms": TARGET_SKEW_P99_MS}
    calm = mine["calm"] or mine
    return {
        "name": "order_latency",
        "ours": {OURS: mine, LOOSE: found[LOOSE]} | collection(),
        "peers": {name: told for name, told in found.items() if name not in (OURS, LOOSE)} | {"disk": best["disk"]},
        "ratios": {
            **{f"{name}_to_target": mine[name] / target for name, target in targets.items()},
            "undisturbed_p50_to_target": calm["wire_p50_ms"] / TARGET_P50_MS,
            "wire_to_bare_aiohttp": mine["wire_p50_ms"] / limit,
            "without_fsync_to_bare_aiohttp": found[LOOSE]["wire_p50_ms"] / limit,
            "ccxt_to_without_fsync": found["ccxt"]["wire_p50_ms"] / found[LOOSE]["wire_p50_ms"],
            "ccxt_default_to_ours": found["ccxt default"]["wire_p50_ms"] / mine["wire_p50_ms"],
        },
        "runs": [
            {"load": run["load"], **{name: run["found"][OURS][name] for name in ("wire_p50_ms", "wire_p99_ms")}}
            for run in runs
        ],
        "shots": shots,
        "machine": {
            "processor": platform.machine(),
            "processors": os.cpu_count(),
            "python": platform.python_version(),
            "load": best["load"],
        },
        "versions": {name: version(name) for name in ("kimp-order", "kimp-portfolio", "ccxt", "aiohttp")},
    }


def show(facts: Mapping[str, Any]) -> None:
    """For people."""
    rows = {
        name: told
        for name, told in (facts["ours"] | facts["peers"]).items()
        if isinstance(told, dict) and "calm" in told
    }
    print(f"{'ms':22}{'wire p50':>10}{'p99':>9}{'skew p50':>10}{'p99':>9}{'trip p50':>10}{'p99':>9}{'calm':>7}")
    for name, told in rows.items():
        for label, row in ((name, told), ("  undisturbed", told["calm"])):
            if row:
                cells = "".join(f"{row[key]:>{9 + key.endswith('50_ms')}.3f}" for key in KEYS)
                print(f"{label:22}{cells}" + (f"{told['calm_share']:>7.0%}" if row is told else ""))
    for name in (OURS, LOOSE):
        print(f"{name}: " + ", ".join(f"{step} {took:.3f}" for step, took in facts["ours"][name]["steps"].items()))
    print(f"disk  {facts['peers']['disk']}; {facts['ours']['full_collection_ms']:.0f} ms a full garbage collection")
    print(f"load  {facts['machine']['load']:.1f} on {facts['machine']['processors']} processors; runs {facts['runs']}")
    for name, ratio in facts["ratios"].items():
        print(f"{name:32}{ratio:8.2f}" + ("  " + ("met" if ratio <= 1 else "missed") if "target" in name else ""))


KEYS = tuple(f"{name}_{q}_ms" for name in ("wire", "skew", "trip") for q in ("p50", "p99"))


def main() -> None:
    """Serve, or measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print facts as JSON")
    parser.add_argument("--shots", type=int, default=150, help="pairs of orders per contender and run")
    parser.add_argument("--repeat", type=int, default=3, help="runs; the quietest counts")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(__file__).parent,
        help="where the journal lies: a directory of the disk to be measured",
    )
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
        return
    logs.configure(Log(level="error"))
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="kimp-latency-") as folder:
        facts = facts_of(asyncio.run(measure(options.shots, options.repeat, Path(folder))), options.shots)
    if options.json:
        print(json.dumps(facts, indent=2))
    else:
        show(facts)


if __name__ == "__main__":
    main()
