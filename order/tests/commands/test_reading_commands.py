"""The reading commands as an owner types them: through the command line, on a real journal."""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from kimp.order.commands.export import write_whole
from kimp.order.commands.options import moment
from kimp.order.runtime.decisions import DecisionLog
from kimp.order.runtime.journal import SqliteJournal
from kimp.shared.cli import main
from kimp.shared.domain.signals import Direction, Enter
from kimp.shared.domain.time import KST, MINUTE, SECOND, from_datetime, to_datetime
from kimp.shared.errors import KimpError
from kimp.storage.feeds.clocks import SystemClock


@dataclass
class Owner:
    """Types commands and reads what comes out."""

    directory: Path
    capture: pytest.CaptureFixture[str]

    @property
    def journal(self) -> Path:
        return self.directory / "trade" / "paper" / "journal.sqlite"

    def types(self, *words: str) -> tuple[int, str, str]:
        code = main(words)
        told = self.capture.readouterr()
        return code, told.out, told.err

    def asks(self, *words: str) -> Any:
        code, out, err = self.types(*words, "--json")
        assert code == 0, err
        return json.loads(out)


@pytest.fixture
def owner(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Owner:
    monkeypatch.setenv("KIMP__DATA__DIRECTORY", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(tmp_path)
    owner = Owner(tmp_path, capsys)
    owner.journal.parent.mkdir(parents=True)
    return owner


@pytest.fixture
def kept(owner: Owner, traded: Any) -> Owner:
    """With three pairs in the journal and no decision kept."""
    with SqliteJournal(owner.journal) as journal:
        journal.append(traded.records)
    return owner


@pytest.fixture
def running(owner: Owner, make_story: Callable[..., Any]) -> Iterator[Any]:
    """A story of now, watched as a running trader would be; ``story.save()`` puts its records into the journal."""
    SqliteJournal(owner.journal).close()
    log = DecisionLog(owner.journal)
    story = make_story(observers=(log,), now=SystemClock().now() - 10 * MINUTE)

    def save() -> None:
        with SqliteJournal(owner.journal) as journal:
            journal.append(story.records)

    story.save = save
    yield story
    log.close()


class TestWhy:
    def test_it_says_what_would_have_had_to_differ_in_both_languages(self, owner: Owner, running: Any) -> None:
        running.quote("0.02")
        running.save()
        code, out, _ = owner.types("why")
        assert code == 0
        assert "김프 (premium)" in out
        assert "김프 +2.00 % → +1.00 %보다 내려가야 함: -1.00 %p" in out
        assert "premium +2.00 % → must fall below +1.00 %: -1.00 %p" in out

    def test_it_names_a_cooldown_in_seconds(self, owner: Owner, running: Any) -> None:
        running.quote("0.005")
        running.enter()
        running.quote("0.05")
        running.leave()
        running.wait(29)
        running.quote("0.005")
        running.say(Enter(Direction.LONG_PREMIUM, "premium_below_threshold"))
        running.save()
        _, out, _ = owner.types("why")
        assert "재진입 대기 31초 남음" in out
        assert "cooldown ends in 31 s" in out

    def test_json_has_the_figures_and_the_sentences(self, owner: Owner, running: Any) -> None:
        running.quote("0.02")
        running.save()
        (slot,) = owner.asks("why")["slots"]
        assert slot["decision"]["answer"] == "hold"
        assert slot["decision"]["conditions"][0]["needed"] == 0.01
        (need,) = slot["needs"]
        assert need["missing"] == pytest.approx(-0.01, abs=1e-4)
        assert need["en"].startswith("premium +2.00 %")

    def test_an_unwound_entry_is_told_with_its_cause(self, kept: Owner) -> None:
        code, out, _ = kept.types("why", "2024-10-05 20:00:10")
        assert code == 0
        assert "거부됨 (rejected) insufficient_funds_bid: told to" in out
        assert "손실 원인 (cause of the loss): 한쪽 체결을 되돌림 / entry unwound" in out
        assert "No record of what was considered then" in out

    def test_before_anything_was_decided_it_is_not_running(self, kept: Owner) -> None:
        code, _, err = kept.types("why", "2024-10-01")
        assert code == 3
        assert err.count("\n") == 1

    def test_no_journal_is_one_sentence(self, owner: Owner) -> None:
        code, out, err = owner.types("why")
        assert (code, out) == (3, "")
        assert err.count("\n") == 1


class TestPosition:
    def test_it_shows_what_closing_leaves_and_what_waiting_costs(self, owner: Owner, running: Any) -> None:
        running.quote("0.005")
        running.enter()
        running.wait(9 * 60)
        running.quote("0.002")
        running.save()
        facts = owner.asks("position")["positions"][0]
        market = facts["market"]
        parts = market["parts"]
        assert market["is_live"]
        assert parts["net"] == pytest.approx(
            sum(parts[name] for name in ("premium", "fx", "funding", "fees", "slippage"))
        )
        assert market["break_even_premium"] > market["premium_usdt"]
        assert market["carry_per_day"] > 0
        assert facts["liquidation"]["multiple"] == pytest.approx(1.99, abs=0.005)
        _, out, _ = owner.types("position")
        assert "손익분기 김프" in out
        assert "진입가 (entry) × 1.99" in out

    def test_the_journal_alone_says_so(self, kept: Owner) -> None:
        code, out, _ = kept.types("position")
        assert code == 0
        assert "시세 기록이 없어 원장만 봅니다" in out
        assert kept.asks("position")["positions"][0]["market"] is None

    def test_old_prices_are_called_old(self, owner: Owner, running: Any) -> None:
        running.quote("0.005")
        running.enter()
        running.quote()
        running.save()
        _, out, _ = owner.types("position")
        assert "트레이더가 돌지 않습니다" in out
        assert not owner.asks("position")["positions"][0]["market"]["is_live"]

    def test_nothing_held_is_no_error(self, owner: Owner, running: Any) -> None:
        running.save()
        code, out, _ = owner.types("position")
        assert code == 0
        assert "Nothing is held" in out


class TestPnl:
    def test_parts_add_up_pair_by_pair_day_by_day_and_in_all(self, kept: Owner) -> None:
        facts = kept.asks("pnl")
        names = ("premium", "fx", "funding", "fees", "slippage")
        rows = [pair["parts"] for pair in facts["pairs"]] + [day["parts"] for day in facts["days"]] + [facts["total"]]
        assert len(rows) == 5
        for parts in rows:
            assert sum(parts[name] for name in names) == pytest.approx(parts["net"], abs=1e-6)
        assert facts["total"]["net"] == pytest.approx(sum(pair["parts"]["net"] for pair in facts["pairs"]), abs=1e-6)

    def test_losses_are_labelled_and_balances_stand_beside(self, kept: Owner) -> None:
        code, out, _ = kept.types("pnl")
        assert code == 0
        assert "손실 확정 (loss realised) 2024-10-05 20:00:03 BTC -9,286원: 한쪽 체결을 되돌림 (entry unwound)" in out
        assert "upbit:wallet" in out
        balances = {(row["account"], row["asset"]) for row in kept.asks("pnl")["balances"]}
        assert ("binance:wallet", "USDT") in balances

    def test_days_and_ranges(self, kept: Owner) -> None:
        facts = kept.asks("pnl", "--from", "2024-10-05", "--to", "2024-10-06")
        assert [day["day"] for day in facts["days"]] == ["2024-10-05"]
        _, out, _ = kept.types("pnl", "--by", "day")
        assert "2024-10-04" in out

    def test_a_range_the_wrong_way_round_is_wrong_usage(self, kept: Owner) -> None:
        code, _, err = kept.types("pnl", "--from", "2024-10-06", "--to", "2024-10-05")
        assert code == 2
        assert "--from" in err


class TestExport:
    @pytest.mark.parametrize("what", ["trades", "ledger", "tax"])
    def test_csv_and_json_hold_the_same_rows(self, kept: Owner, what: str) -> None:
        sheet, facts = kept.directory / "out.csv", kept.directory / "out.json"
        assert kept.types("export", what, "--out", str(sheet))[0] == 0
        assert kept.types("export", what, "--out", str(facts), "--format", "json")[0] == 0
        with sheet.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        again = json.loads(facts.read_text())["rows"]
        assert len(rows) == len(again) > 5
        assert list(rows[0]) == list(again[0])
        assert "E-" not in sheet.read_text(encoding="utf-8").replace("USDT", "")

    def test_the_tax_years_are_shown(self, kept: Owner) -> None:
        code, out, _ = kept.types("export", "tax", "--out", str(kept.directory / "tax.csv"))
        assert code == 0
        assert "2024" in out
        assert "실현손익" in out

    def test_what_cannot_be_written_leaves_nothing_behind(self, kept: Owner) -> None:
        code, _, err = kept.types("export", "trades", "--out", str(kept.directory / "no" / "where.csv"))
        assert code == 1
        assert err.count("\n") == 1
        target = kept.directory / "taken"
        target.mkdir()
        with pytest.raises(KimpError, match="cannot be written"):
            write_whole(target, "text")
        assert [path.name for path in kept.directory.iterdir() if "part" in path.name] == []

    def test_a_file_that_is_there_is_replaced_as_a_whole(self, kept: Owner) -> None:
        target = kept.directory / "out.csv"
        target.write_text("something long that was there before " * 1_000)
        kept.types("export", "ledger", "--out", str(target))
        assert "before" not in target.read_text(encoding="utf-8")


class TestMoments:
    now = from_datetime(to_datetime(0).replace(year=2026, month=11, day=20, hour=12).astimezone(KST))  # 21:00 in Korea

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("2026-11-20 20:59", "2026-11-20T20:59:00+09:00"),
            ("2026-11-20", "2026-11-20T00:00:00+09:00"),
            ("2026-11-20T11:59:00Z", "2026-11-20T20:59:00+09:00"),
            ("2026-11-20T11:59:00+00:00", "2026-11-20T20:59:00+09:00"),
            ("20:30", "2026-11-20T20:30:00+09:00"),
            ("21:30", "2026-11-19T21:30:00+09:00"),
            ("10m", "2026-11-20T20:50:00+09:00"),
            ("90s", "2026-11-20T20:58:30+09:00"),
            ("now", "2026-11-20T21:00:00+09:00"),
        ],
    )
    def test_moments_are_korean_unless_they_say_otherwise(self, text: str, expected: str) -> None:
        at = moment(text, "TIME", self.now)
        assert at is not None
        assert to_datetime(at).astimezone(KST).isoformat() == expected

    @pytest.mark.parametrize("text", ["", "25:00", "12:60", "yesterday", "2026-13-01", "0001-01-01", "10 minutes"])
    def test_what_is_no_moment_is_refused(self, text: str) -> None:
        with pytest.raises(typer.BadParameter):
            moment(text, "TIME", self.now)


def test_an_unknown_mode_is_a_matter_of_configuration(owner: Owner) -> None:
    for command in ("why", "position", "pnl", "status"):
        code, _, err = owner.types(command, "--mode", "papre")
        assert (code, err.count("\n")) == (4, 1)


def test_no_trader_is_not_running(owner: Owner) -> None:
    code, out, err = owner.types("status")
    assert (code, out, err.count("\n")) == (3, "", 1)


def test_no_flight_is_not_running(owner: Owner) -> None:
    assert owner.types("replay")[0] == 3


def test_results_are_on_stdout_without_colours(kept: Owner) -> None:
    for command in ("position", "pnl"):
        _, out, err = kept.types(command)
        assert "\x1b[" not in out
        assert err == ""


def test_reading_while_the_trader_writes(kept: Owner, traded: Any) -> None:
    with SqliteJournal(kept.journal) as journal:
        later = traded.records[0]
        journal.append([type(later)(traded.now + SECOND, "later", later.venue, later.amount)])
        assert kept.asks("pnl")["pairs"]


@pytest.mark.parametrize("columns", ["80", "160"])
def test_no_figure_of_the_profit_is_cut_however_narrow_the_terminal(
    columns: str, kept: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    code, out, _ = kept.types("pnl")
    assert code == 0
    assert "순손익" in out
    assert "…" not in out
