import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # ships no types
import pytest

from kimp.research.backtest.report import write_artefacts
from kimp.research.backtest.result import BacktestResult
from kimp.shared.domain.time import HOUR

Make = Callable[..., BacktestResult]
NAMES = ["equity.parquet", "meta.json", "report.html", "result.json", "trades.parquet"]


@pytest.fixture
def run(make_result: Make) -> BacktestResult:
    return make_result(bars=8_760, step=HOUR)


def test_a_run_leaves_five_files_and_nothing_else(run: BacktestResult, tmp_path: Path) -> None:
    artefacts = write_artefacts(run, tmp_path / "results" / "first")
    assert sorted(path.name for path in artefacts.directory.iterdir()) == NAMES
    assert [path.name for path in artefacts.directory.parent.iterdir()] == ["first"]
    assert json.loads(artefacts.result.read_text(encoding="utf-8"))["metrics"]["trades"] == 12


def test_meta_says_how_to_run_it_again_and_what_was_written(run: BacktestResult, tmp_path: Path) -> None:
    artefacts = write_artefacts(
        replace(run, meta={"seed": 7, "data_hash": "dada", "rate": float("nan")}), tmp_path / "r"
    )
    meta = json.loads(artefacts.meta.read_text(encoding="utf-8"))
    assert (meta["seed"], meta["data_hash"], meta["config_hash"], meta["rate"]) == (7, "dada", None, None)
    assert meta["version"]
    for name, digest in meta["sha256"].items():
        assert hashlib.sha256((artefacts.directory / name).read_bytes()).hexdigest() == digest


def test_columns_come_back_as_they_went_in(run: BacktestResult, tmp_path: Path) -> None:
    artefacts = write_artefacts(run, tmp_path / "r")
    curves = pq.read_table(artefacts.equity)
    assert curves.column_names == ["at", "equity", "premium", "is_open"]
    assert np.array_equal(curves["at"].cast("int64").to_numpy(), run.curves.at)
    assert np.array_equal(curves["equity"].to_numpy(), run.curves.equity)
    assert curves["premium"].null_count == np.isnan(run.curves.premium).sum() > 0
    trades = pq.read_table(artefacts.trades).to_pydict()
    assert trades["net"][:-1] == [trade.net for trade in run.trades]
    assert trades["closed_at"][-1] is None
    assert trades["exit_premium"][0] == run.trades[0].exit_premium


def test_amounts_with_more_digits_than_a_column_are_rounded_not_refused(run: BacktestResult, tmp_path: Path) -> None:
    long = replace(run.trades[0], quantity=Decimal(10) / 3)
    artefacts = write_artefacts(replace(run, trades=(long,)), tmp_path / "r")
    assert pq.read_table(artefacts.trades)["quantity"][0].as_py() == Decimal("3." + "3" * 18)


def test_a_failed_run_leaves_nothing_behind(run: BacktestResult, tmp_path: Path) -> None:
    wrong = replace(run, trades=(replace(run.trades[0], net=Decimal(1)),))
    with pytest.raises(ValueError, match="its parts sum to"):
        write_artefacts(wrong, tmp_path / "r")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_run_leaves_the_earlier_one_whole(run: BacktestResult, tmp_path: Path) -> None:
    artefacts = write_artefacts(run, tmp_path / "r")
    before = {path.name: path.read_bytes() for path in artefacts.directory.iterdir()}
    with pytest.raises(KeyError):
        write_artefacts(replace(run, meta={"parameter_heatmap": {}}), tmp_path / "r")
    assert {path.name: path.read_bytes() for path in artefacts.directory.iterdir()} == before


def test_a_second_run_replaces_the_first_but_not_the_users_own_files(run: BacktestResult, tmp_path: Path) -> None:
    directory = tmp_path / "r"
    write_artefacts(run, directory)
    (directory / "notes.txt").write_text("mine", encoding="utf-8")
    artefacts = write_artefacts(replace(run, preset="roadmap"), directory)
    assert json.loads(artefacts.result.read_text(encoding="utf-8"))["preset"] == "roadmap"
    assert (directory / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert sorted(path.name for path in directory.iterdir()) == sorted([*NAMES, "notes.txt"])
    assert list(tmp_path.iterdir()) == [directory]
