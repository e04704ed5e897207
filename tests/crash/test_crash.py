"""Kill −9 of the real trader over the wire, some lives of it; ``benchmarks/crash_storm.py`` does hundreds.

The storms run in a process of their own, because they fork and may have a single thread only.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

STORM = Path(__file__).parents[2] / "benchmarks" / "crash_storm.py"
TRIAL_S_MAX = 240.0
CAUGHT_AS = {
    "late-intent": {"intent"},
    "resend": {"exactly_once", "no_guess"},
    "no-questions": {"unresolved"},
    "give-up": {"no_guess"},
    "no-stop": {"stop"},
}
"""A planted fault, and what the judge may call it."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the judge found of each fault, and of none."""
    command = [sys.executable, str(STORM), "--trial", "--seed", "1", "--keep", str(tmp_path_factory.mktemp("crash"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TRIAL_S_MAX, check=False)
    assert done.returncode == 0, done.stderr
    facts: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return facts


def test_a_trader_killed_at_any_moment_neither_doubles_nor_loses_anything(found: dict[str, dict[str, Any]]) -> None:
    sound = found["sound"]
    assert sound["kinds"] == {}, sound["first"]
    assert sound["kills"] > 1
    assert sound["fills"] > 0


@pytest.mark.parametrize("mutant", sorted(CAUGHT_AS))
def test_a_trader_with_a_planted_fault_is_found_out(mutant: str, found: dict[str, dict[str, Any]]) -> None:
    assert CAUGHT_AS[mutant] & found[mutant]["kinds"].keys(), found[mutant]


def test_the_judge_notices_every_change_to_the_venues_books(found: dict[str, dict[str, Any]]) -> None:
    assert found["sound"]["overlooked"] == []


def test_every_planted_fault_is_tried(found: dict[str, dict[str, Any]]) -> None:
    assert found.keys() == {"sound", *CAUGHT_AS}
