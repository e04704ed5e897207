"""``kimp backtest`` as a shell sees it: what it prints, what it leaves behind, and how it refuses."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest

from kimp.research.simulation.market import simulate_market
from kimp.shared import cli
from kimp.shared.domain.history import Candles, MarketData
from kimp.shared.domain.time import DAY, HOUR
from kimp.storage.archive import import_csv

BRIEF = ("--from", "2024-03-01", "--to", "2024-03-15", "--interval", "10m")
METRICS = [
    "total_return",
    "cagr",
    "sharpe",
    "sortino",
    "calmar",
    "max_drawdown",
    "profit_factor",
    "trades",
    "win_rate",
    "exposure",
]
ATTRIBUTION = ["premium", "fx", "funding", "fees", "slippage", "net"]
PROMISED = [
    "preset",
    "direction",
    "from",
    "to",
    "bars",
    "metrics",
    "attribution",
    "open_position",
    "decision_hash",
    "elapsed_s",
]
FILES = {"result.json", "equity.parquet", "trades.parquet", "report.html", "meta.json"}


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(self.out)
        return facts


Run = Callable[..., Ran]


@pytest.fixture
def kimp(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run ``kimp backtest`` in this process, in an empty directory, with a data directory of its own."""
    for name in [name for name in os.environ if name.startswith("KIMP")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run(*words: str) -> Ran:
        code = cli.main(["backtest", *words])
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return run


def everything_in(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


# -- a market on disk --------------------------------------------------------------------------------------------------


def written(data: MarketData, directory: Path) -> Path:
    """A simulated market as a person's own CSV files."""
    directory.mkdir()

    def candles(values: Candles, name: str) -> None:
        rows = zip(
            (values.opened // 1_000_000).tolist(),
            *(getattr(values, column).tolist() for column in ("open", "high", "low", "close", "volume")),
            strict=True,
        )
        lines = [",".join(map(str, row)) for row in rows]
        (directory / name).write_text("\n".join(["ts,open,high,low,close,volume", *lines]) + "\n")

    def known(at: Any, values: Any, header: str, name: str) -> None:
        lines = [f"{ts // 1_000_000},{value}" for ts, value in zip(at.tolist(), values.tolist(), strict=True)]
        (directory / name).write_text("\n".join([header, *lines]) + "\n")

    candles(data.korea, "upbit_KRW-BTC_1h.csv")
    candles(data.abroad, "binance_um_BTCUSDT_1h.csv")
    is_midnight = data.usdkrw.at % DAY == 0
    known(data.usdkrw.at[is_midnight], data.usdkrw.value[is_midnight], "ts,usdkrw", "usdkrw_ecb_1d.csv")
    known(data.funding.at, data.funding.value, "ts,funding_rate", "binance_um_BTCUSDT_funding_8h.csv")
    return directory


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = simulate_market(seed=2, start=19_797 * DAY, end=19_837 * DAY, interval=HOUR)
    return written(data, tmp_path_factory.mktemp("recording") / "market")


RECORDED = ("--from", "2024-03-20", "--to", "2024-04-20", "--param", "threshold=0.03")


# -- what is promised --------------------------------------------------------------------------------------------------


def test_json_has_the_promised_keys_and_nothing_else_is_printed(kimp: Run) -> None:
    ran = kimp(*BRIEF, "--json")
    assert (ran.code, ran.err) == (0, "")
    facts = ran.facts
    assert set(PROMISED) <= set(facts)
    assert set(METRICS) <= set(facts["metrics"])
    assert set(ATTRIBUTION) <= set(facts["attribution"])
    assert set(facts["elapsed_s"]) == {"tape", "engine"}
    assert facts["from"] == "2024-03-01T00:00:00Z"
    assert facts["to"] == "2024-03-15T00:00:00Z"
    assert facts["bars"] == 14 * 144
    assert sum(facts["attribution"][part] for part in ATTRIBUTION[:-1]) == pytest.approx(facts["attribution"]["net"])


def test_the_run_lies_where_it_says_and_can_be_repeated_from_its_meta(kimp: Run, tmp_path: Path) -> None:
    facts = kimp(*BRIEF, "--json").facts
    place = Path(facts["artefacts"]["directory"])
    assert place.parent == tmp_path / "data" / "kimp" / "runs"
    assert everything_in(place) == FILES
    meta = json.loads((place / "meta.json").read_text())
    assert {"config_hash", "data_hash", "seed", "version", "command", "entry_threshold"} <= set(meta)
    assert pq.read_table(place / "equity.parquet").num_rows == facts["bars"]
    assert "<html" in (place / "report.html").read_text()
    program, command, *words = meta["command"].split()
    assert (program, command) == ("kimp", "backtest")
    again = kimp(*words, "--json").facts
    assert again["decision_hash"] == facts["decision_hash"]
    assert again["artefacts"] == facts["artefacts"]
    assert again["meta"]["config_hash"] == meta["config_hash"]


def test_people_read_tables_korean_first_and_where_the_results_lie(kimp: Run) -> None:
    ran = kimp(*BRIEF, "--out", "mine")
    assert (ran.code, ran.err) == (0, "")
    for words in ("백테스트 보고서 · Backtest report", "요약 · Headline", "가정 · Assumptions", "mine/report.html"):
        assert words in ran.out
    assert everything_in(Path("mine")) == FILES
    assert max(len(line) for line in ran.out.splitlines()) <= 100


def test_a_recorded_market_is_played_from_its_directory(kimp: Run, recording: Path) -> None:
    ran = kimp("--market", str(recording), "--preset", "roadmap", *RECORDED, "--json", "--no-artefacts")
    assert ran.code == 0, ran.err
    assert ran.facts["bars"] == 31 * 24
    assert ran.facts["meta"]["seed"] is None
    assert "usdkrw_ecb_1d.csv" in ran.facts["assumptions"]["fx_source"]


def test_no_artefacts_means_no_files(kimp: Run, tmp_path: Path) -> None:
    assert kimp(*BRIEF, "--no-artefacts", "--json").facts["artefacts"] is None
    assert everything_in(tmp_path) == set()


def test_a_date_is_midnight_utc_and_a_time_keeps_its_zone(kimp: Run) -> None:
    in_utc, in_kst = (
        kimp("--from", since, "--to", "2024-03-03", "--interval", "1h", "--json", "--no-artefacts").facts
        for since in ("2024-03-01", "2024-03-01T09:00+09:00")
    )
    assert in_utc["from"] == in_kst["from"]
    assert in_utc["decision_hash"] == in_kst["decision_hash"]


@pytest.mark.parametrize(
    "words",
    [
        ("--seed", "8"),
        ("--preset", "low_entry"),
        ("--direction", "SHORT_PREMIUM"),
        ("--capital", "30,000,000"),
        ("--slippage", "0.001"),
        ("--leverage", "3"),
        ("--param", "threshold=0.01"),
        ("--set", "costs.upbit_fee=0.001"),
        ("--set", "execution.cooldown_s=86400"),
    ],
    ids=" ".join,
)
def test_every_option_changes_what_happens(kimp: Run, words: tuple[str, ...]) -> None:
    plain = ("--param", "threshold=0.02", *BRIEF, "--json", "--no-artefacts")
    usual, changed = kimp(*plain).facts, kimp(*plain, *words).facts
    assert usual["metrics"]["trades"] > 0
    assert changed["decision_hash"] != usual["decision_hash"]
    assert (changed["meta"]["config_hash"], changed["meta"]["data_hash"]) != (
        usual["meta"]["config_hash"],
        usual["meta"]["data_hash"],
    )


def test_rebalancing_and_fees_stand_in_the_assumptions(kimp: Run) -> None:
    facts = kimp(*BRIEF, "--rebalance", "never", "--set", "costs.binance_fee=0.0002", "--json", "--no-artefacts").facts
    assert "never" in facts["assumptions"]["rebalancing"]
    assert "0.0200% Binance" in facts["assumptions"]["fees"]


def test_the_environment_configures_a_run_and_an_option_wins(kimp: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIMP__STRATEGY__PRESET", "low_entry")
    assert kimp(*BRIEF, "--json", "--no-artefacts").facts["preset"] == "low_entry"
    assert kimp(*BRIEF, "--preset", "roadmap", "--json", "--no-artefacts").facts["preset"] == "roadmap"


# -- how it refuses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "words", "named"),
    [
        (2, ("--capital", "lots"), "--capital"),
        (2, ("--capital", "-1"), "--capital"),
        (2, ("--capital", "NaN"), "--capital"),
        (2, ("--capital", "1e400"), "--capital"),
        (2, ("--from", "yesterday"), "--from"),
        (2, ("--from", "2024-01-01T00:00"), "time zone"),
        (2, ("--to", "9999-01-01"), "--to"),
        (2, ("--interval", "7m"), "--interval"),
        (2, ("--interval", "0m"), "--interval"),
        (2, ("--interval", "hourly"), "--interval"),
        (2, ("--seed", "-1"), "--seed"),
        (2, ("--fx", "bank"), "--fx"),
        (2, ("--rebalance", "often"), "--rebalance"),
        (2, ("--param", "threshold"), "key=value"),
        (2, ("--param", "direction=SHORT_PREMIUM"), "--direction"),
        (4, ("--market", "nowhere"), "nowhere"),
        (4, ("--preset", "roadmep"), 'did you mean "roadmap"'),
        (4, ("--direction", "UP"), "LONG_PREMIUM, SHORT_PREMIUM"),
        (4, ("--set", "strategy.name=kimpp"), 'did you mean "kimp"'),
        (4, ("--param", "thresold=0.03"), 'did you mean "threshold"'),
        (4, ("--param", "threshold=much"), "threshold"),
        (4, ("--slippage", "2"), "costs.slippage"),
        (4, ("--leverage", "9"), "execution.leverage"),
        (4, ("--set", "costs.upbit_fe=0"), "did you mean costs.upbit_fee"),
        (4, ("--from", "2024-01-01T00:00:30Z"), "where a bar begins"),
        (6, ("--from", "2024-02-01", "--to", "2024-01-01"), "--from"),
        (6, ("--from", "1980-01-01", "--to", "2024-01-01"), "10 years"),
        (6, ("--from", "2024-03-01", "--to", "2024-03-15", "--capital", "100000"), "--capital of about"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_bad_input_gets_a_sentence_and_a_code(
    kimp: Run, tmp_path: Path, code: int, words: tuple[str, ...], named: str
) -> None:
    ran = kimp(*words)
    assert (ran.code, ran.out) == (code, "")
    assert named in " ".join(ran.err.replace("│", " ").split())
    assert "Traceback" not in ran.err
    assert code == 2 or ran.err.count("\n") == 1
    assert everything_in(tmp_path) == set()


def test_an_empty_directory_is_no_market(kimp: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ran = kimp("--market", str(tmp_path / "empty"))
    assert ran.code == 4
    assert "upbit_KRW-BTC" in ran.err


@pytest.mark.parametrize("name", ["upbit_KRW-BTC_1h.csv", "binance_um_BTCUSDT_1h.csv", "usdkrw_ecb_1d.csv"])
def test_a_missing_series_is_named(kimp: Run, recording: Path, tmp_path: Path, name: str) -> None:
    market = tmp_path / "market"
    market.mkdir()
    for path in recording.iterdir():
        if path.name != name:
            (market / path.name).write_bytes(path.read_bytes())
    ran = kimp("--market", str(market), *RECORDED)
    assert ran.code == 4
    assert name.rpartition("_")[0] in ran.err


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        pytest.param("ts,open,high,low,close,volume", "ts,open,high,low,last,volume", "close", id="wrong column"),
        pytest.param(",", ",nan,", "", id="NaN"),
        pytest.param(",", ",-5,", "", id="negative price"),
        pytest.param(",", ",abc,", "", id="text"),
    ],
)
def test_broken_data_is_refused_with_the_file_named(
    kimp: Run, recording: Path, tmp_path: Path, old: str, new: str, named: str
) -> None:
    market = tmp_path / "market"
    market.mkdir()
    for path in recording.iterdir():
        (market / path.name).write_bytes(path.read_bytes())
    broken = market / "upbit_KRW-BTC_1h.csv"
    lines = broken.read_text().splitlines()
    if old == ",":
        ts, _, rest = lines[200].split(",", 2)
        lines[200] = f"{ts}{new}{rest}"
    else:
        lines[0] = lines[0].replace(old, new)
    broken.write_text("\n".join(lines) + "\n")
    ran = kimp("--market", str(market), *RECORDED, "--out", "out")
    assert (ran.code, ran.out) == (6, "")
    assert broken.name in ran.err
    assert named in ran.err
    assert ran.err.count("\n") == 1
    assert not Path("out").exists()


def test_a_hole_of_more_than_a_day_is_never_played_over(kimp: Run, recording: Path, tmp_path: Path) -> None:
    market = tmp_path / "market"
    market.mkdir()
    for path in recording.iterdir():
        lines = path.read_text().splitlines(keepends=True)
        kept = lines[:400] + lines[430:] if path.name == "upbit_KRW-BTC_1h.csv" else lines
        (market / path.name).write_text("".join(kept))
    ran = kimp("--market", str(market), *RECORDED)
    assert (ran.code, ran.out) == (6, "")
    assert "does not cover" in ran.err


def test_dates_the_recording_does_not_cover_are_refused(kimp: Run, recording: Path) -> None:
    ran = kimp("--market", str(recording), "--from", "2020-01-01", "--to", "2020-02-01")
    assert ran.code == 6
    assert "2024-03" in ran.err


def test_results_do_not_go_where_a_file_is(kimp: Run, tmp_path: Path) -> None:
    Path("taken").write_text("mine")
    for place in ("taken", "taken/inside"):
        ran = kimp(*BRIEF, "--out", place)
        assert ran.code == 4, ran.err
        assert "taken" in ran.err
        assert "--out" in ran.err
    assert everything_in(tmp_path) == {"here/taken"}
    assert Path("taken").read_text() == "mine"


# -- as a process ------------------------------------------------------------------------------------------------------


def shell(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KIMP")}
    return subprocess.run(
        [Path(sys.executable).parent / "kimp", "backtest", *words],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_run_in_a_pipe_prints_json_alone(tmp_path: Path) -> None:
    ran = shell(*BRIEF, "--json", XDG_DATA_HOME=str(tmp_path))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert Path(json.loads(ran.stdout)["artefacts"]["report"]).is_file()


def test_a_refusal_is_one_line_on_stderr(tmp_path: Path) -> None:
    ran = shell("--market", str(tmp_path / "nowhere"))
    assert (ran.returncode, ran.stdout) == (4, "")
    assert ran.stderr.startswith("error: ")
    assert ran.stderr.count("\n") == 1


def test_the_help_needs_nothing_heavy() -> None:
    program = (
        "import sys\nfrom kimp.shared.cli import main\nmain(['backtest', '--help'])\n"
        "heavy = {'numpy', 'pyarrow', 'plotly', 'jinja2', 'pandas'} & set(sys.modules)\nsys.exit(len(heavy))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "과거 또는 시뮬레이션" in ran.stdout


def test_imported_files_are_a_market_too(kimp: Run, recording: Path, tmp_path: Path) -> None:
    """What ``import_csv`` writes is read like what was recorded, and is the same data by its hash."""
    market = tmp_path / "parquet"
    market.mkdir()
    for path in recording.iterdir():
        import_csv(path, market / f"{path.stem}.parquet")
    hashes = {
        kimp("--market", str(place), *RECORDED, "--json", "--no-artefacts").facts["meta"]["data_hash"]
        for place in (recording, market)
    }
    assert len(hashes) == 1
