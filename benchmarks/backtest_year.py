"""A year of simulated minutes through the full engine: the code that trades, with its ledger, guards and executor.

    uv run python benchmarks/backtest_year.py [--json] [--days 366] [--repeat 3]

Times move with the machine, so the same rule as a bare loop over Python floats runs beside it in the same process: no
ledger, no guards, no orders, no venues, nothing durable. The ratio to it is what to compare between machines. Target:
the engine's own time (without turning columns into events) is at most 3 s per year.
"""

from __future__ import annotations

import argparse
import json
import platform
from importlib.metadata import version
from time import perf_counter, process_time

from kimp.research.backtest.engine import BacktestEngine
from kimp.research.simulation.market import simulate_market
from kimp.research.strategies.presets import build
from kimp.shared.domain.history import MarketData
from kimp.shared.domain.signals import Direction
from kimp.shared.domain.time import DAY, MINUTE

START = 1_704_067_200 * 1_000_000_000
TARGET_S = 3.0


def full_engine(data: MarketData, preset: str) -> dict[str, float | int | str]:
    """One backtest: seconds of wall and processor time for tape and engine, and what it decided."""
    engine = BacktestEngine(data, build(preset, direction=Direction.LONG_PREMIUM), Direction.LONG_PREMIUM)
    began = process_time()
    result = engine.run(preset=preset)
    return {
        "engine_s": result.elapsed_engine_s,
        "tape_s": result.elapsed_tape_s,
        "processor_s": process_time() - began,
        "us_per_bar": result.elapsed_engine_s / result.bars * 1e6,
        "bars": result.bars,
        "trades": len(result.trades),
        "decision_hash": result.decision_hash,
    }


def bare_loop(data: MarketData) -> float:
    """Seconds for the roadmap rule over float lists: the least Python can do per bar."""
    korea = dict(zip(data.korea.opened.tolist(), data.korea.close.tolist(), strict=True))
    rows = [
        (korea[at], abroad)
        for at, abroad in zip(data.abroad.opened.tolist(), data.abroad.close.tolist(), strict=True)
        if at in korea
    ]
    rate, fee, equity, held, entry = float(data.usdkrw.value[0]), 0.0005, 0.0, False, (0.0, 0.0)
    curve = []
    began = perf_counter()
    for ours, theirs in rows:
        premium = ours / (theirs * rate) - 1
        if held:
            net = ours - entry[0] + (entry[1] - theirs) * rate - fee * (ours + entry[0] + (theirs + entry[1]) * rate)
            curve.append(equity + net)
            if net > 0:
                equity, held = equity + net, False
        else:
            curve.append(equity)
            if premium > 0.03:
                held, entry = True, (ours, theirs)
    return perf_counter() - began


def main() -> None:
    """Run, print, and say whether the target was met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print facts as JSON")
    parser.add_argument("--days", type=int, default=366)
    parser.add_argument("--repeat", type=int, default=3, help="the fastest of so many runs counts")
    options = parser.parse_args()
    data = simulate_market(seed=7, start=START, end=START + options.days * DAY, interval=MINUTE)
    ours = {
        preset: min((full_engine(data, preset) for _ in range(options.repeat)), key=lambda run: run["engine_s"])
        for preset in ("roadmap", "low_entry")
    }
    loop = min(bare_loop(data) for _ in range(options.repeat))
    slowest = max(float(run["engine_s"]) for run in ours.values())
    facts = {
        "name": "backtest_year",
        "ours": ours,
        "peers": {"bare_python_loop_s": loop},
        "ratios": {"engine_to_bare_loop": slowest / loop, "engine_to_target": slowest / TARGET_S * 366 / options.days},
        "machine": {"processor": platform.machine(), "python": platform.python_version()},
        "versions": {name: version(f"kimp-{name}") for name in ("shared", "order", "research")},
    }
    if options.json:
        print(json.dumps(facts, indent=2))
        return
    for preset, run in ours.items():
        print(
            f"{preset:10} {run['bars']:,} bars  engine {run['engine_s']:.2f} s ({run['us_per_bar']:.2f} µs/bar)  "
            f"tape {run['tape_s']:.2f} s  {run['trades']} pairs  {run['decision_hash']}"
        )
    print(f"bare loop  {loop:.3f} s; the engine takes {slowest / loop:.0f} times as long")
    print(f"target     {TARGET_S} s for a year: {'met' if facts['ratios']['engine_to_target'] <= 1 else 'missed'}")


if __name__ == "__main__":
    main()
