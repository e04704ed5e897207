"""The demo as a newcomer runs it: offline, in one go, with books that balance and a story that adds up."""

import json
import os
import socket
import subprocess
import sys
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from kimp.portfolio import cli as commands
from kimp.portfolio.demo.scenario import CHOSEN_SEED, Scenario, staged
from kimp.portfolio.demo.screen import picture, sparkline
from kimp.portfolio.demo.show import Nobody, Reader, Spectator, play
from kimp.portfolio.demo.snapshot import Observer, Snapshot
from kimp.portfolio.demo.story import Line
from kimp.portfolio.demo.words import HOLDS, PHASES, TAGS, Kind
from kimp.research.simulation.world import World
from kimp.research.strategies.reasons import Reason
from kimp.shared import cli
from kimp.shared.domain.time import DAY, to_datetime
from kimp.shared.messages.records import Phase

Facts = dict[str, Any]

PARTS = ("premium_krw", "fx_krw", "funding_krw", "fees_krw", "slippage_krw")


def refuse_to_connect(*_: object) -> None:
    raise AssertionError("the demo opened a network connection")


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse_to_connect)


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    return in_process(tmp_path_factory.mktemp("demo") / "report")


def in_process(out: Path, *more: str) -> Facts:
    with pytest.MonkeyPatch.context() as patch:
        written: list[str] = []
        patch.setattr(cli.sys.stdout, "write", written.append)
        assert cli.main(["demo", "--json", "--out", str(out), *more]) == 0
    found: Facts = json.loads("".join(written))
    return found


def in_a_shell(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What a person gets who types it: a process of its own whose home is not there."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KIMP", "XDG_", "COLUMNS"))}
    return subprocess.run(
        [sys.executable, "-c", "from kimp.shared.cli import main; raise SystemExit(main())", "demo", *arguments],
        env=kept | {"HOME": os.devnull, "NO_COLOR": "1"} | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# -- the facts ---------------------------------------------------------------------------------------------------------


def test_it_says_that_all_this_is_a_simulation_with_a_chosen_seed(facts: Facts) -> None:
    assert facts["is_simulation"] is True
    assert (facts["seed"], facts["is_chosen_seed"]) == (CHOSEN_SEED, True)
    assert facts["bars"] > 20_000


def test_the_default_seed_of_the_command_is_the_chosen_one() -> None:
    assert commands.demo.__defaults__ is not None
    assert commands.demo.__defaults__[0] == CHOSEN_SEED


def test_several_pairs_are_entered_and_left(facts: Facts) -> None:
    assert len(facts["pairs"]) >= 3
    assert facts["open_position"] is not None


def test_no_pair_is_closed_at_a_loss(facts: Facts) -> None:
    assert all(Decimal(pair["net_krw"]) > 0 for pair in facts["pairs"])
    assert facts["closed_at_a_loss"] == 0
    assert facts["forced_losses"] == []


def test_the_parts_of_every_pair_add_up_exactly(facts: Facts) -> None:
    for pair in [*facts["pairs"], facts["open_position"]]:
        assert sum(Decimal(pair[part]) for part in PARTS) == Decimal(pair["net_krw"])


def test_all_pairs_add_up_to_the_attribution_and_to_the_equity(facts: Facts) -> None:
    net = sum(Decimal(pair["net_krw"]) for pair in [*facts["pairs"], facts["open_position"]])
    assert net == Decimal(facts["attribution_krw"]["net"])
    assert float(Decimal(facts["capital_krw"]) + net) == pytest.approx(facts["equity_krw"], abs=0.01)


def test_the_venues_and_the_ledger_agree_to_the_last_digit(facts: Facts) -> None:
    assert facts["books"]["balanced"] is True
    accounts = {(told["venue"], told["asset"]): told for told in facts["books"]["accounts"]}
    assert {("upbit", "KRW"), ("upbit", "BTC"), ("binance", "USDT"), ("binance", "BTCUSDT")} <= set(accounts)
    for told in accounts.values():
        assert Decimal(told["venue_says"]) == Decimal(told["ledger_says"])


def test_both_legs_of_the_open_pair_are_the_same_size(facts: Facts) -> None:
    held = {told["asset"]: Decimal(told["venue_says"]) for told in facts["books"]["accounts"]}
    assert held["BTC"] == -held["BTCUSDT"] == Decimal(facts["open_position"]["quantity"])


def test_a_wish_to_close_at_a_loss_is_refused_and_labelled_as_injected(facts: Facts) -> None:
    assert facts["exits_refused"]
    for refused in facts["exits_refused"]:
        assert refused["injected"] is True
        assert Decimal(refused["net_krw"]) < 0
        assert refused["break_even_premium"] > refused["premium_now"]
    assert facts["refusals"]["net_not_positive"] == len(facts["exits_refused"])


def test_the_lost_answer_is_settled_by_asking_and_the_naked_leg_by_filling(facts: Facts) -> None:
    lost, naked = facts["injected"]
    assert (lost["kind"], lost["resolved"]) == ("unknown_outcome", True)
    assert Decimal(lost["executed"]) == Decimal(facts["pairs"][0]["quantity"])
    assert lost["after_s"] > 1  # the first question was lost too, so it had to be asked twice
    assert (naked["kind"], naked["resolved"], naked["repairs"]) == ("naked_leg", True, 1)
    assert Decimal(naked["quantity"]) == Decimal(facts["pairs"][1]["quantity"])


def test_the_report_is_there_and_complete(facts: Facts) -> None:
    page = Path(facts["report"]).read_text(encoding="utf-8")
    assert "<html" in page
    for name, path in facts["artefacts"].items():
        assert Path(path).exists(), name


def test_the_same_seed_tells_the_same_story_and_another_seed_another(facts: Facts, tmp_path: Path) -> None:
    again, other = in_process(tmp_path / "again"), in_process(tmp_path / "other", "--seed", "6")
    assert again["decision_hash"] == facts["decision_hash"]
    assert again["pairs"] == facts["pairs"]
    assert other["decision_hash"] != facts["decision_hash"]
    assert other["is_chosen_seed"] is False


def test_the_order_of_hashes_changes_nothing(facts: Facts, tmp_path: Path) -> None:
    for hash_seed in ("1", "2"):
        ran = in_a_shell("--json", "--out", str(tmp_path / hash_seed), PYTHONHASHSEED=hash_seed)
        assert json.loads(ran.stdout)["decision_hash"] == facts["decision_hash"]


@pytest.mark.parametrize("seed", ["0", "5", "48"])
def test_other_seeds_balance_too_and_lose_nothing_by_closing(seed: str, tmp_path: Path) -> None:
    found = in_process(tmp_path / "report", "--seed", seed)
    assert found["books"]["balanced"] is True
    assert found["closed_at_a_loss"] == len(found["forced_losses"]) == 0
    assert all(mishap["resolved"] for mishap in found["injected"])


# -- what is shown -----------------------------------------------------------------------------------------------------


def test_in_a_pipe_it_prints_lines_and_a_summary_in_both_languages(tmp_path: Path) -> None:
    ran = in_a_shell("--out", str(tmp_path / "report"))
    assert (ran.returncode, "Traceback" in ran.stderr) == (0, False)
    assert "\x1b" not in ran.stdout
    for tag in ("신호 signal", "결과 불명 unknown*", "확인 resolved*", "한쪽 체결 naked", "복구 repaired"):
        assert tag in ran.stdout
    for tag in ("진입 entered", "청산 거절 no exit*", "청산 exited", "요약 What happened"):
        assert tag in ran.stdout
    assert "손실로 닫은 쌍은 없습니다." in ran.stdout
    assert "No pair was closed at a loss." in ran.stdout
    assert "This market is simulated. seed 7" in ran.stdout
    assert str(tmp_path / "report" / "report.html") in ran.stdout
    assert ran.stdout.count("일 day:") == 14


def test_a_narrow_terminal_sees_whole_figures_in_the_summary(tmp_path: Path) -> None:
    ran = in_a_shell("--out", str(tmp_path / "report"), "--seed", "48", COLUMNS="80")
    summary = ran.stdout.partition("요약 What happened")[2]
    assert "슬리피지" in summary
    assert "…" not in summary


class Painter:
    """Draws every twelfth hour as the live picture does."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.seen: list[Snapshot] = []
        self._next = 0

    def step(self, world: World, added: list[Line]) -> None:
        if added or world.now >= self._next:
            self.seen.append(self.observer.look(world.now))
            self._next = world.now + DAY // 2


@pytest.fixture(scope="module")
def painted() -> list[Snapshot]:
    painters: list[Painter] = []

    def audience(observer: Observer) -> Painter:
        painters.append(Painter(observer))
        return painters[0]

    play(staged(Scenario(end=Scenario().start + 6 * DAY)), audience)
    return painters[0].seen


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (120, 40)])
def test_the_picture_fits_the_terminal(painted: list[Snapshot], width: int, height: int) -> None:
    from rich.cells import cell_len
    from rich.console import Console

    console = Console(width=width, height=height, force_terminal=False, color_system=None)
    for seen in painted:
        with console.capture() as capture:
            console.print(picture(seen, width, height), end="")
        lines = capture.get().rstrip("\n").split("\n")
        assert len(lines) <= height
        assert max(cell_len(line.rstrip()) for line in lines) <= width


def test_the_picture_shows_both_premiums_the_phase_and_the_books(painted: list[Snapshot]) -> None:
    from rich.console import Console

    console = Console(width=80, height=24, force_terminal=False, color_system=None)
    held = next(seen for seen in painted if seen.verdict is not None and seen.phase.value == "open")
    with console.capture() as capture:
        console.print(picture(held, 80, 24))
    text = capture.get()
    for part in ("김프 premium (fx)", "테더 기준 (usdt)", "보유 중 open", "손익분기", "펀딩/일", "장부 upbit"):
        assert part in text


def test_the_books_shown_differ_only_while_an_answer_is_under_way(painted: list[Snapshot]) -> None:
    quiet = [seen for seen in painted if not seen.is_busy]
    assert quiet
    assert all(account.agrees for seen in quiet for account in seen.accounts)


def test_watching_does_not_change_what_happens() -> None:
    from rich.console import Console

    short = Scenario(end=Scenario().start + 3 * DAY)
    unseen = play(staged(short), lambda _: Nobody())
    stage = staged(short)
    page = Console(file=StringIO())
    read = play(stage, lambda observer: Reader(stage, observer, page))
    assert read.result.decision_hash == unseen.result.decision_hash


def test_the_impatient_hand_comes_at_nine_in_the_evening_only(facts: Facts) -> None:
    assert {refused["at"][11:16] for refused in facts["exits_refused"]} == {"12:00"}
    assert to_datetime(Scenario().start).hour == 0


def test_a_sparkline_spans_its_range_and_survives_little_data() -> None:
    assert sparkline([], 10) == ""
    assert sparkline([5.0], 10) == "▁"
    assert sparkline([1.0, 1.0, 1.0], 10) == "▁▁▁"
    assert sparkline([0.0, 7.0], 10) == "▁█"
    assert len(sparkline([float(value) for value in range(1_000)], 10)) == 10


def test_everything_the_demo_can_meet_has_words() -> None:
    met = {Reason.PREMIUM_WARMING_UP, Reason.PREMIUM_NOT_BELOW_PERCENTILE, Reason.NET_NOT_ABOVE_TARGET}
    assert {reason.value for reason in met} <= set(HOLDS)
    assert set(TAGS) == set(Kind)
    assert set(PHASES) == set(Phase)


def test_the_live_picture_goes_on_to_the_end() -> None:
    from rich.console import Console
    from rich.live import Live

    stage, screen = staged(Scenario(end=Scenario().start + 3 * DAY)), StringIO()
    console = Console(file=screen, width=80, height=24, force_terminal=True)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        played = play(stage, lambda observer: Spectator(stage, observer, live, speed=1e9))
    assert " 3/3일 day" in screen.getvalue()
    assert played.result.open_position is not None


# -- trouble -----------------------------------------------------------------------------------------------------------


def test_a_place_that_cannot_be_written_is_one_sentence_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a directory")
    assert cli.main(["demo", "--out", str(tmp_path / "file" / "report")]) == 4
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert "--out" in told.err


def test_a_home_that_is_not_there_is_one_sentence_too() -> None:
    ran = in_a_shell("--fast")
    assert (ran.returncode, ran.stdout) == (4, "")
    assert ran.stderr.startswith("error: the report cannot be written to ")
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize("seed", ["-1", "seven"])
def test_a_seed_that_is_none_is_a_usage_error(seed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--seed", seed]) == 2
    assert "--seed" in capsys.readouterr().err


def test_an_interrupted_showing_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Reader, "step", interrupted)
    assert cli.main(["demo", "--fast", "--out", str(tmp_path / "report")]) == 130
    assert list(tmp_path.iterdir()) == []
