"""``kimp data``: filled from venues, imported from files, exported to files, archived, and looked at."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from kimp.shared.domain.time import HOUR, MILLISECOND, MINUTE, from_datetime, to_datetime
from kimp.storage.archive import read_candles
from kimp.storage.database.embedded import EmbeddedServer
from kimp.storage.feeds.clocks import SystemClock

BEGIN = from_datetime(datetime(2025, 9, 1, tzinfo=UTC))


def candle_file(path: Path, rows: int, *, step: int = MINUTE, without: tuple[int, ...] = ()) -> Path:
    numbers = [number for number in range(rows) if number not in without]
    columns: dict[str, list[Any]] = {"ts": [(BEGIN + number * step) // MILLISECOND for number in numbers]}
    columns |= {name: [100.0 + number % 50 for number in numbers] for name in ("open", "high", "low", "close")}
    path.parent.mkdir(parents=True, exist_ok=True)
    pa_parquet.write_table(pa.table(columns | {"volume": [0.5] * len(numbers)}), path)
    return path


def test_fetching_twice_adds_nothing_the_second_time(kimp: Any, venues: Any, sql: Any) -> None:
    words = ("data", "fetch", "--from", "6h", "--json")
    first = kimp(*words, **venues.environ)
    assert first.returncode == 0, first.stderr
    assert first.facts["added"] > 900
    assert first.facts["funding"] >= 0
    assert {part["missing"]["not_collected"] for part in first.facts["series"]} == {0}
    second = kimp(*words, **venues.environ)
    assert second.facts["added"] <= 3  # a minute may have ended in between
    assert sql.one("SELECT count(*) FROM candles") == first.facts["added"] + second.facts["added"]

    gaps = kimp("data", "gaps", "--series", "candles:upbit:KRW-BTC:60", "--from", "6h", "--json").facts
    assert gaps["missing"] == sum(gap["minutes"] for gap in gaps["gaps"])
    assert "no_trade" in {gap["reason"] for gap in gaps["gaps"]}


def test_fetching_from_a_venue_that_is_away_says_so_and_writes_it_down(kimp: Any, venues: Any, sql: Any) -> None:
    venues.away = {"upbit"}
    result = kimp("data", "fetch", "--from", "5m", "--json", **venues.environ)
    assert result.returncode == 5
    troubles = {part["series"]: part["trouble"] for part in result.facts["series"]}
    assert "503" in troubles["candles:upbit:KRW-BTC:60"]
    assert troubles["candles:binance:BTCUSDT:60"] is None
    assert sql.one("SELECT count(*) FROM gaps WHERE reason = 'not_collected' AND repaired_at IS NULL") >= 1


def test_files_of_the_layout_go_in_and_come_out_unchanged(kimp: Any, tmp_path: Path, sql: Any) -> None:
    market, out = tmp_path / "market", tmp_path / "out"
    korea = candle_file(market / "upbit_KRW-BTC_1m_2025-09.parquet", 500, without=(7, 8, 300))
    candle_file(market / "binance_um_BTCUSDT_1h.parquet", 24, step=HOUR)
    (market / "binance_um_BTCUSDT_funding_8h.csv").write_text(
        "ts,funding_rate\n2025-09-01T00:00:00Z,0.0001\n2025-09-01T08:00:00Z,-0.00005\n"
    )
    (market / "usdkrw_ecb_1d.csv").write_text("ts,usdkrw\n2025-09-01T00:00:00Z,1390.5\n")
    (market / "notes.txt").write_text("not data\n")
    first = kimp("data", "import", str(market), "--json")
    assert first.returncode == 0, first.stderr
    assert {part["file"]: (part["rows"], part["added"]) for part in first.facts["files"]} == {
        "upbit_KRW-BTC_1m_2025-09.parquet": (497, 497),
        "binance_um_BTCUSDT_1h.parquet": (24, 24),
        "binance_um_BTCUSDT_funding_8h.csv": (2, 2),
        "usdkrw_ecb_1d.csv": (1, 1),
    }
    assert kimp("data", "import", str(market), "--json").facts["added"] == 0
    assert sql.one("SELECT value FROM fx_rates WHERE source = 'ecb'") == 1390.5

    exported = kimp("data", "export", str(out), "--json")
    assert exported.returncode == 0, exported.stderr
    names = {Path(part["path"]).name: part["rows"] for part in exported.facts["files"]}
    assert names == {
        "upbit_KRW-BTC_1m.parquet": 497,
        "binance_um_BTCUSDT_1h.parquet": 24,
        "binance_um_BTCUSDT_funding_8h.parquet": 2,
    }
    before, after = read_candles([korea]), read_candles([out / "upbit_KRW-BTC_1m.parquet"])
    for name in ("opened", "open", "high", "low", "close", "volume"):
        assert (getattr(before, name) == getattr(after, name)).all()
    assert kimp("data", "export", str(out)).returncode == 4  # nothing is overwritten unasked
    assert kimp("data", "export", str(out), "--replace").returncode == 0

    words = ("data", "gaps", "--series", "candles:upbit:KRW-BTC:60", "--to", "2025-09-01T08:20Z", "--json")
    facts = kimp(*words).facts
    assert (facts["expected"], facts["present"], facts["missing"]) == (500, 497, 3)
    assert [(gap["from"], gap["minutes"], gap["reason"]) for gap in facts["gaps"]] == [
        ("2025-09-01T00:07:00Z", 2, "not_collected"),
        ("2025-09-01T05:00:00Z", 1, "not_collected"),
    ]


def test_a_csv_of_ones_own_becomes_a_file_and_rows(kimp: Any, tmp_path: Path, sql: Any) -> None:
    (tmp_path / "mine.csv").write_text(
        "ts,open,high,low,close,volume\n2025-09-01T00:00:00Z,150700000,150803000,150640000,150803000,1.51931528\n"
    )
    name = "upbit_KRW-BTC_1h_mine.parquet"
    result = kimp("data", "import", str(tmp_path / "mine.csv"), "--as", name, "--json")
    assert result.returncode == 0, result.stderr
    assert result.facts["added"] == 1
    assert (tmp_path / "data" / "kimp" / "market" / name).is_file()
    assert sql.one("SELECT close FROM candles") == 150803000
    assert kimp("data", "import", str(tmp_path / "mine.csv")).returncode == 4  # its name says nothing
    (tmp_path / "bad.csv").write_text("ts,open,high,low,close,volume\n2025-09-01T00:00:00Z,1,0.5,2,1,1\n")
    assert kimp("data", "import", str(tmp_path / "bad.csv"), "--as", name, "--replace").returncode == 6


def test_old_trades_move_into_parquet(kimp: Any, sql: Any) -> None:
    assert kimp("data", "status", "--json").facts["series"] == []
    old = to_datetime(SystemClock().now()) - timedelta(days=40)
    sql("SELECT ensure_partitions('trades', $1, $1)", old)
    sql(
        "INSERT INTO trades (instrument_id, trade_id, venue_at, received_at, side, price, quantity) "
        "VALUES ('upbit:KRW-BTC', 1, $1, $1, 'buy', 100, 1)",
        old,
    )
    (done,) = kimp("data", "archive", "--json").facts["archived"]
    assert done["rows"] == 1
    assert Path(done["path"]).is_file()
    assert sql.one("SELECT count(*) FROM trades") == 0
    assert kimp("data", "archive").returncode == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("data", "gaps", "--from", "soon"), 2),
        (("data", "gaps", "--series", "nonsense"), 4),
        (("data", "import", "no-such-file.parquet"), 4),
        (("data", "fetch", "--from", "1m", "--to", "2020-01-01"), 4),
        (("premium", "history", "--from", "1h"), 3),
        (("collect", "--for", "a while"), 2),
    ],
)
def test_what_cannot_be_is_one_sentence_and_a_code(words: tuple[str, ...], code: int, kimp: Any) -> None:
    result = kimp(*words)
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr


def test_coins_that_are_none_are_refused_before_anything_starts(kimp: Any) -> None:
    for coins in ("", "BTC,USDT", "BTC/KRW"):
        result = kimp("collect", "--for", "1s", KIMP__COLLECT__COINS=coins or ",")
        assert result.returncode == 4, result.stderr
        assert "collect.coins" in result.stderr


def test_without_a_database_looking_says_not_running(kimp: Any) -> None:
    nowhere = "postgresql://kimp@127.0.0.1:1/kimp"
    for words in (("data", "status"), ("data", "gaps"), ("premium", "history"), ("data", "export", "out")):
        assert kimp(*words, KIMP__DATABASE__URL=nowhere).returncode == 3
        assert kimp(*words, KIMP__DATABASE__URL="").returncode == 3


def test_without_any_configuration_it_brings_its_own_database(
    kimp: Any, new_directory: Callable[[], Path], venues: Any
) -> None:
    own = {"KIMP__DATABASE__URL": "", "XDG_DATA_HOME": str(new_directory())}
    result = kimp("data", "fetch", "--from", "10m", "--json", **venues.environ, **own)
    assert result.returncode == 0, result.stderr
    status = kimp("data", "status", "--json", **own)
    assert {part["series"] for part in status.facts["series"]} >= {"candles:upbit:KRW-BTC:60"}
    directory = Path(own["XDG_DATA_HOME"]) / "kimp" / "database"
    assert EmbeddedServer(directory).pid is None  # the last one to leave stopped it
