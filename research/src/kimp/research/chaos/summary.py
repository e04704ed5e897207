"""Many storms as one answer: what was found, what really went wrong, how long a leg stood naked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from time import perf_counter
from typing import Any

from kimp.research.chaos.oracle import Violation
from kimp.research.chaos.storm import EngineFactory, Storm, StormReport, real_engine, run_storm
from kimp.shared.domain.time import HOUR, MILLISECOND, MINUTE, Nanos

SWEEP_LASTS: Nanos = 12 * MINUTE
"""Long enough for an entry and an exit of most seeds, short enough to crash at every single step of them."""


@dataclass(slots=True)
class StormSummary:
    """What a range of seeds did together. ``violating`` seeds reproduce with ``run_storm(seed)`` alone."""

    seeds: int = 0
    violations: list[Violation] = field(default_factory=list)
    virtual: Nanos = 0
    faults: Counter[str] = field(default_factory=Counter)
    branches: Counter[str] = field(default_factory=Counter)
    naked: list[Nanos] = field(default_factory=list)
    repairs: int = 0
    crash_points: tuple[int, int] = (0, 0)
    elapsed_s: float = 0.0
    trace: Any = field(default_factory=lambda: blake2b(digest_size=16))

    def add(self, report: StormReport) -> None:
        """Count one more storm in."""
        self.seeds += 1
        self.violations += report.violations
        self.virtual += report.virtual
        self.faults += report.faults
        self.branches += report.branches
        self.naked += report.naked
        self.repairs += report.repairs
        self.trace.update(report.trace_hash.encode())

    @property
    def violating(self) -> list[int]:
        """The seeds that found something."""
        return sorted({violation.seed for violation in self.violations})

    def as_json(self) -> dict[str, Any]:
        """The keys that ``kimp storm --json`` promises, and under ``found`` every violation in full."""
        covered, total = self.crash_points
        return {
            "seeds": self.seeds,
            "violations": len(self.violations),
            "found": [
                {"seed": found.seed, "invariant": found.invariant, "what": found.what} for found in self.violations
            ],
            "virtual_hours": round(self.virtual / HOUR, 3),
            "faults": dict(sorted(self.faults.items())),
            "branches": dict(sorted(self.branches.items())),
            "crash_points": {"covered": covered, "total": total},
            "naked_ms": percentiles(self.naked),
            "repairs": self.repairs,
            "trace_hash": self.trace.hexdigest(),
            "per_core_per_s": round(self.seeds / self.elapsed_s, 2) if self.elapsed_s else None,
        }


def percentiles(spans: list[Nanos]) -> dict[str, float | None]:
    """Median, 99th percentile and longest, in milliseconds; ``None`` when there was none."""
    ordered = sorted(spans)
    if not ordered:
        return {"p50": None, "p99": None, "max": None}
    at = {"p50": len(ordered) // 2, "p99": len(ordered) * 99 // 100, "max": len(ordered) - 1}
    return {name: round(ordered[index] / MILLISECOND, 3) for name, index in at.items()}


def run_storms(
    seeds: Iterable[int],
    *,
    engine_factory: EngineFactory = real_engine,
    preset: str | None = None,
    lasts: Nanos = HOUR,
    progress: Callable[[StormReport], None] | None = None,
) -> StormSummary:
    """Play these seeds one after the other on this core."""
    summary, began = StormSummary(), perf_counter()
    for seed in seeds:
        report = run_storm(seed, engine_factory=engine_factory, preset=preset, lasts=lasts)
        summary.add(report)
        if progress is not None:
            progress(report)
    summary.elapsed_s = perf_counter() - began
    return summary


def sweep_crashes(
    seed: int, *, engine_factory: EngineFactory = real_engine, preset: str = "calm", lasts: Nanos = SWEEP_LASTS
) -> StormSummary:
    """Count a storm's steps once, then let the engine die before each of them in turn."""
    summary, began = StormSummary(), perf_counter()
    total = run_storm(seed, engine_factory=engine_factory, preset=preset, lasts=lasts).steps
    covered = 0
    for step in range(total):
        report = Storm(seed, engine_factory=engine_factory, preset=preset, lasts=lasts, dies_at=step).run()
        covered += report.faults["engine_died"]
        summary.add(report)
    summary.crash_points = (covered, total)
    summary.elapsed_s = perf_counter() - began
    return summary
