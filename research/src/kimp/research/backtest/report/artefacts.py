"""The files of one run, written all together or not at all."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq  # type: ignore[import-untyped]  # pyarrow ships neither types nor stubs

from kimp.research.backtest.report.findings import findings_of
from kimp.research.backtest.report.frames import equity_table, trades_table
from kimp.research.backtest.report.page import page_of
from kimp.research.backtest.report.summary import as_json, jsonable
from kimp.research.backtest.result import BacktestResult

RESULT, EQUITY, TRADES, REPORT, META = "result.json", "equity.parquet", "trades.parquet", "report.html", "meta.json"

PROVENANCE = ("config_hash", "data_hash", "seed", "version", "command")
"""What it takes to run the same again; null when the run did not say."""


@dataclass(frozen=True, slots=True)
class Artefacts:
    """Where the files of a run lie."""

    directory: Path
    result: Path
    equity: Path
    trades: Path
    report: Path
    meta: Path

    def as_dict(self) -> dict[str, str]:
        """Names and paths, for ``--json``."""
        return {
            name: str(getattr(self, name)) for name in ("directory", "result", "equity", "trades", "report", "meta")
        }


def write_artefacts(result: BacktestResult, directory: Path) -> Artefacts:
    """Writes ``result.json equity.parquet trades.parquet report.html meta.json`` into ``directory``.

    Everything is first written beside it and then renamed into place, so an interrupted run leaves either all of its
    files or none. A run that is already there is replaced file by file, ``meta.json`` last: it holds the hashes of
    the others. Files that are not ours are left alone.

    Raises:
        ValueError: the books of a pair do not add up.
        OSError: the directory cannot be written.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    partial = directory.with_name(f".{directory.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        _write_all(result, partial)
        _settle(partial, directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    files = {"result": RESULT, "equity": EQUITY, "trades": TRADES, "report": REPORT, "meta": META}
    return Artefacts(directory=directory, **{field: directory / name for field, name in files.items()})


def provenance_of(result: BacktestResult) -> dict[str, Any]:
    """Config hash, data hash, seed, version and command of a run, then whatever else it noted."""
    known = {name: result.meta.get(name) for name in PROVENANCE}
    if known["version"] is None:
        known["version"] = _own_version()
    facts: dict[str, Any] = jsonable({**known, "decision_hash": result.decision_hash, **_rest(result)})
    return facts


def _write_all(result: BacktestResult, into: Path) -> None:
    findings = findings_of(result)
    provenance = provenance_of(result)
    summary = {**as_json(result, findings), "artefacts": [RESULT, EQUITY, TRADES, REPORT, META]}
    writers: dict[str, Callable[[Path], object]] = {
        RESULT: lambda path: path.write_text(_encoded(summary), encoding="utf-8"),
        EQUITY: lambda path: _written(equity_table(result), path),
        TRADES: lambda path: _written(trades_table(result), path),
        REPORT: lambda path: path.write_text(page_of(result, findings, provenance), encoding="utf-8"),
    }
    hashes = {}
    for name, write in writers.items():
        write(into / name)
        hashes[name] = hashlib.sha256((into / name).read_bytes()).hexdigest()
    (into / META).write_text(_encoded({**provenance, "sha256": hashes}), encoding="utf-8")


def _written(table: Any, path: Path) -> None:
    floats = [field.name for field in table.schema if str(field.type) == "double"]
    # Neighbouring marks share their leading bytes, which a dictionary of all-different floats cannot use.
    pq.write_table(table, path, compression="zstd", use_dictionary=["direction"], use_byte_stream_split=floats)


def _settle(partial: Path, directory: Path) -> None:
    if not directory.exists():
        partial.rename(directory)
        return
    for name in (RESULT, EQUITY, TRADES, REPORT, META):
        (partial / name).replace(directory / name)


def _encoded(facts: dict[str, Any]) -> str:
    return json.dumps(facts, ensure_ascii=False, allow_nan=False, indent=2) + "\n"


def _rest(result: BacktestResult) -> dict[str, Any]:
    return {name: value for name, value in result.meta.items() if name not in PROVENANCE}


def _own_version() -> str | None:
    try:
        return version("kimp-research")
    except PackageNotFoundError:
        return None
