"""The figures in docs/strategy.md are those the commands beside them give.

``KIMP_GENERATE=1 uv run pytest research/tests/test_strategy_document.py`` writes them anew.
"""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kimp.shared import cli

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "strategy.md"
PERIOD = ("--from", "2021-08-28", "--to", "2025-01-01")
VARIATIONS = (
    (),
    ("--slippage", "0"),
    ("--rebalance", "never"),
    ("--param", "target_net=0.005"),
    ("--param", "target_net=0.01"),
    ("--param", "threshold=0.02"),
    ("--param", "fx_surge=1.001"),
    ("--leverage", "2"),
    ("--leverage", "3"),
    ("--to", "2024-05-30", "--fx", "ecb"),
    ("--to", "2024-05-30", "--fx", "investing"),
)

Facts = dict[str, Any]
Play = Callable[..., Facts]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Play:
    """The facts of one ``kimp backtest`` over the recorded market."""
    folder = os.environ.get("KIMP_TEST_DATA")
    if not folder:
        pytest.skip("needs recorded market data: set KIMP_TEST_DATA to the folder that holds market/ and frames/")
    market = str(Path(folder).resolve() / "market")
    for name in [name for name in os.environ if name.startswith("KIMP__") or name == "KIMP_CONFIG"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Facts:
        words = tuple(word.replace("$KIMP_TEST_DATA/market", market) for word in words)
        code = cli.main(["backtest", *words, "--json", "--no-artefacts"])
        out, err = capsys.readouterr()
        assert code == 0, err
        facts: Facts = json.loads(out)
        return facts

    return run


def section(name: str) -> re.Match[str]:
    found = re.search(rf"(?<=<!-- {name} -->\n)(.*?)(?=<!-- /{name} -->)", DOCUMENT.read_text("utf-8"), re.DOTALL)
    assert found is not None, f"docs/strategy.md has no section {name}"
    return found


def check(name: str, rows: list[list[str]]) -> None:
    """The section's rows are these; or write them, when asked to."""
    head = section(name)[0].splitlines()[:2]
    expected = "\n".join([*head, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"
    if os.environ.get("KIMP_GENERATE") == "1":
        text, span = DOCUMENT.read_text("utf-8"), section(name).span()
        DOCUMENT.write_text(text[: span[0]] + expected + text[span[1] :], "utf-8")
    assert section(name)[0] == expected, "write it anew with KIMP_GENERATE=1, and read what the text says about it"


def percent(fraction: float, digits: int = 1) -> str:
    return f"{fraction * 100:+.{digits}f} %".replace("-", "−")


def ratio(number: float) -> str:
    return f"{number:.2f}".replace("-", "−")


def days(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds / 86_400:.0f} d" if seconds > 86_400 else f"{seconds / 3_600:.0f} h"


def still_open(held: Facts | None) -> str:
    return "–" if held is None else f"{held['opened_at'][:10]}, {percent(held['net'])}"


def commands() -> list[list[str]]:
    """The four commands as the document prints them."""
    lines = [line for line in DOCUMENT.read_text("utf-8").splitlines() if "--market $KIMP_TEST_DATA" in line]
    assert all(line.startswith("uv run kimp backtest ") for line in lines)
    return [line.split()[4:] for line in lines]


def test_the_four_runs_give_the_figures_in_the_document(play: Play) -> None:
    rows = []
    for words in commands():
        facts = play(*words)
        metrics = facts["metrics"]
        rows.append(
            [
                f"`{facts['preset']}`",
                f"`{facts['direction']}`",
                percent(metrics["total_return"]),
                percent(metrics["cagr"]),
                ratio(metrics["sharpe"]),
                percent(-metrics["max_drawdown"]),
                f"{metrics['trades']}",
                days(facts["holding_times"]["max_s"]),
                still_open(facts["open_position"]),
                f"{facts['repairs']}",
                f"{facts['liquidations']}",
            ]
        )
    assert len(rows) == 4
    check("results", rows)


def test_the_variations_give_the_figures_in_the_document(play: Play) -> None:
    rows = []
    for changed in VARIATIONS:
        row = [f"`{' '.join(changed)}`" if changed else "nothing"]
        for preset in ("roadmap", "low_entry"):
            metrics = play("--market", "$KIMP_TEST_DATA/market", "--preset", preset, *PERIOD, *changed)["metrics"]
            row += [percent(metrics["total_return"]), ratio(metrics["sharpe"])]
        rows.append(row)
    check("variations", rows)


def test_the_documents_commands_are_one_for_each_preset_and_direction() -> None:
    pairs = [(words[words.index("--preset") + 1], words[words.index("--direction") + 1]) for words in commands()]
    assert sorted(pairs) == [
        (preset, direction) for preset in ("low_entry", "roadmap") for direction in ("LONG_PREMIUM", "SHORT_PREMIUM")
    ]
