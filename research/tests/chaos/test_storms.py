"""The real engine through hundreds of storms: each must end known, hedged and booked, and tell the same story again."""

import os
import subprocess
import sys
from collections import Counter

import pytest

from kimp.research.chaos.monkey import Dials
from kimp.research.chaos.scenarios import PRESETS, Incident, weather
from kimp.research.chaos.storm import START, run_storm
from kimp.research.chaos.summary import StormSummary, run_storms, sweep_crashes
from kimp.shared.domain.time import HOUR, MINUTE
from kimp.shared.errors import ConfigurationError

SEEDS = range(300)

REGRESSIONS = (86, 293, 3717)
"""Seeds that once found something: funding still under way at the end, a half-closed position's margin counted from
its cash, and an exit that executed later than anybody may wait for.
"""


@pytest.fixture(scope="module")
def storms() -> StormSummary:
    return run_storms(SEEDS)


def test_every_storm_ends_known_hedged_and_booked(storms: StormSummary) -> None:
    assert storms.violations == []
    assert storms.seeds == len(SEEDS)


def test_every_fault_and_every_incident_really_happened(storms: StormSummary) -> None:
    wanted = {name for name in Dials.__dataclass_fields__ if name != "unknown_max"}
    wanted |= {incident.value for incident in Incident} | {"engine_died"}
    assert wanted <= {name for name, count in storms.faults.items() if count > 0}


@pytest.mark.parametrize(
    "branch",
    [
        "enter",
        "exit",
        "repair",
        "accepted",
        "rejected",
        "unknown",
        "lost",
        "foreign_fill",
        "funding",
        "open:legs_match",
        "repairing:legs_differ",
        "halted:repair_failing",
        "flat:entry_unwound",
        "flat:nothing_filled",
        "flat:eager",
        "flat:foreign_fill",
        "OrderUnresolved",
        "ForcedLoss",
        "refused:net_not_positive",
        "refused:fx_expired",
        "refused:feed_lost",
        "refused:venue_unavailable",
        "refused:cooling_down",
    ],
)
def test_every_way_through_the_engine_was_taken(storms: StormSummary, branch: str) -> None:
    assert storms.branches[branch] > 0


def test_half_of_the_naked_stretches_last_less_than_a_second(storms: StormSummary) -> None:
    naked = storms.as_json()["naked_ms"]
    assert naked["p50"] < 1_000


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_what_once_failed_does_not_fail_again(seed: int) -> None:
    assert run_storm(seed).violations == []


@pytest.mark.parametrize("preset", PRESETS)
def test_every_named_weather_is_survived(preset: str) -> None:
    summary = run_storms(range(1_000, 1_010), preset=preset, lasts=30 * MINUTE)
    assert summary.violations == []
    assert summary.branches["enter"] > 0


def test_naked_stretches_stay_short_while_both_venues_answer() -> None:
    summary = run_storms(range(30), preset="partial_fill", lasts=30 * MINUTE)
    assert summary.repairs > 0
    assert summary.as_json()["naked_ms"]["p99"] <= 3_000


@pytest.mark.parametrize("preset", ["calm", "partial_fill"])
def test_the_engine_may_die_before_any_of_its_steps(preset: str) -> None:
    summary = sweep_crashes(5, preset=preset)
    covered, total = summary.crash_points
    assert summary.violations == []
    assert covered == total > 40


# -- the same story again ----------------------------------------------------------------------------------------------


def test_the_same_seed_tells_the_same_story_and_another_seed_another() -> None:
    assert run_storm(7).trace_hash == run_storm(7).trace_hash
    assert len({run_storm(seed).trace_hash for seed in (7, 8, 9)}) == 3


def test_the_story_does_not_depend_on_the_hash_seed() -> None:
    script = "from kimp.research.chaos.summary import run_storms; print(run_storms([7, 24]).as_json()['trace_hash'])"
    told = Counter(
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "1", "31337")
    )
    assert told == {f"{run_storms([7, 24]).as_json()['trace_hash']}\n": 3}


# -- what is told ------------------------------------------------------------------------------------------------------


def test_a_summary_promises_its_keys() -> None:
    summary = run_storms(range(3), lasts=10 * MINUTE)
    assert set(summary.as_json()) == {
        "seeds",
        "violations",
        "found",
        "virtual_hours",
        "faults",
        "branches",
        "crash_points",
        "naked_ms",
        "repairs",
        "trace_hash",
        "per_core_per_s",
    }
    assert summary.as_json()["virtual_hours"] == pytest.approx(3 * 12 / 60, abs=0.01)


def test_a_swarm_draws_about_half_of_everything() -> None:
    drawn = [weather(seed, START, START + HOUR) for seed in range(200)]
    losing = sum(1 for each in drawn if each.dials.lost > 0)
    crashing = sum(1 for each in drawn if any(episode.incident is Incident.FLASH_CRASH for episode in each.episodes))
    assert 60 < losing < 140
    assert 30 < crashing < 90


def test_an_unknown_weather_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="drizzle"):
        run_storm(1, preset="drizzle")
