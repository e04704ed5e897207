"""Every benchmark runs from its command line and keeps the keys that comparisons rely on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
QUICK = {
    "backtest_year": ["--days", "2", "--repeat", "1"],
    "crash_storm": ["--kills", "2", "--seed", "1", "--seconds", "8"],
    "feeds_decode": ["--here", "--repeat", "1"],
    "ingest_soak": ["--messages", "5000"],
    "order_latency": ["--shots", "2", "--repeat", "1"],
    "paper_week": ["--hours", "3"],
    "storage_client": ["--minutes", "3000", "--repeat", "1"],
    "storage_read_write": ["--minutes", "2000"],
}
"""Arguments that make a benchmark small; one that is missing here is not run."""


@pytest.mark.parametrize("name", sorted(QUICK))
def test_a_benchmark_prints_the_promised_keys(name: str) -> None:
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--json", *QUICK[name]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["name"] == name
    assert {"ours", "peers", "ratios", "machine", "versions"} <= facts.keys()
    assert all(ratio > 0 for ratio in facts["ratios"].values())


def test_every_benchmark_is_run_by_a_test() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == set(QUICK)
