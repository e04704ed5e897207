"""Kill −9 of the real trader over the wire, some lives of it; ``benchmarks/crash_storm.py`` does hundreds.

Every storm is a process of its own, because it forks and must have a single thread; they run side by side.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

STORM = Path(__file__).parents[2] / "benchmarks" / "crash_storm.py"
STORM_S_MAX = 240.0

STORMS = {
    "sound": ["--kills", "5", "--seed", "11", "--seconds", "20", "--venues"],
    "late-intent": ["--mutant", "late-intent", "--aim", "one leg answered"],
    "resend": ["--mutant", "resend", "--aim", "one leg answered"],
    "no-questions": ["--mutant", "no-questions", "--aim", "intent journaled", "--healed", "12"],
    "lost-fill": ["--mutant", "lost-fill", "--aim", "exit sent", "--healed", "8"],
    "no-stop": ["--mutant", "no-stop", "--stop-share", "0.6", "--aim", "phase not journaled"],
}
MUTANT = ["--seed", "1", "--kills", "6", "--seconds", "30", "--aimed-share", "1"]
CAUGHT_AS = {
    "late-intent": {"intent"},
    "resend": {"exactly_once", "no_guess", "one_attempt"},
    "no-questions": {"unresolved"},
    "lost-fill": {"lost_fill", "no_guess"},
    "no-stop": {"stop"},
}


@pytest.fixture(scope="module")
def found() -> Iterator[dict[str, dict[str, Any]]]:
    """What each storm printed, and its exit code."""
    running = {
        name: subprocess.Popen(
            [sys.executable, str(STORM), "--json", *(MUTANT if name in CAUGHT_AS else []), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, arguments in STORMS.items()
    }
    try:
        facts = {}
        for name, storm in running.items():
            out, err = storm.communicate(timeout=STORM_S_MAX)
            assert out, err
            facts[name] = json.loads(out)["ours"] | {"code": storm.returncode}
        yield facts
    finally:
        for storm in running.values():
            if storm.poll() is None:
                storm.kill()
                storm.communicate()


def test_a_trader_killed_at_any_moment_neither_doubles_nor_loses_anything(found: dict[str, dict[str, Any]]) -> None:
    sound = found["sound"]
    assert (sound["code"], sound["violations"]) == (0, 0), sound["first_violations"]
    assert sound["kills"] >= 3
    assert sound["fills"] == sound["venue_fills"] > 0
    assert (sound["unresolved"], sound["foreign_fills"], sound["ended_by_itself"]) == (0, 0, 0)


@pytest.mark.parametrize("mutant", sorted(CAUGHT_AS))
def test_a_trader_with_a_planted_fault_is_found_out(mutant: str, found: dict[str, dict[str, Any]]) -> None:
    assert found[mutant]["code"] == 1
    assert CAUGHT_AS[mutant] & found[mutant]["violations_by_kind"].keys(), found[mutant]["first_violations"]
