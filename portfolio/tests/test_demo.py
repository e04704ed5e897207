"""The demo as a newcomer runs it: no keys, nothing but loopback, books that agree and a story that adds up."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from rich.cells import cell_len
from rich.console import Console

from kimp.portfolio.demo.books import Copied
from kimp.portfolio.demo.facts import facts_of
from kimp.portfolio.demo.pace import TICK_MAX, PatientClock
from kimp.portfolio.demo.scenario import (
    IMPATIENT,
    IMPATIENT_EVERY,
    IMPATIENT_FROM,
    SPEED_FAST,
    ImpatientHand,
    Scenario,
)
from kimp.portfolio.demo.screen import picture, sparkline
from kimp.portfolio.demo.show import Played, Reader, play
from kimp.portfolio.demo.snapshot import Observer, Snapshot
from kimp.portfolio.demo.stage import MARKER, Stage
from kimp.portfolio.demo.story import Story
from kimp.portfolio.demo.summary import print_summary
from kimp.portfolio.demo.words import PHASES, TAGS, Kind
from kimp.research.strategies.presets import build
from kimp.shared import cli
from kimp.shared.cli import to_json
from kimp.shared.domain.signals import Direction, Exit, Hold
from kimp.shared.domain.time import HOUR, MILLISECOND, MINUTE, SECOND, Nanos
from kimp.shared.errors import DataError
from kimp.shared.messages.records import Phase
from kimp.shared.ports.strategy import MarketView, PositionView
from kimp.storage.database.embedded import EmbeddedServer

Facts = dict[str, Any]

PARTS = ("premium_krw", "fx_krw", "funding_krw", "fees_krw", "slippage_krw")
WAIT_S = 60.0
COMMAND = [sys.executable, "-c", "from kimp.shared.cli import main; raise SystemExit(main())", "demo"]


class Watching:
    """Reads the lines and draws the picture now and then."""

    def __init__(self, stage: Stage, story: Story, observer: Observer, page: StringIO) -> None:
        self._reader = Reader(stage, story, observer, Console(file=page, width=100, color_system=None))
        self._observer = observer
        self._next: Nanos = 0
        self._phase = Phase.FLAT
        self.seen: list[Snapshot] = []

    def step(self) -> None:
        self._reader.step()
        seen = self._observer.look()
        if seen is not None and (seen.at >= self._next or seen.phase is not self._phase):
            self._next, self._phase = seen.at + 2 * MINUTE, seen.phase
            self.seen.append(seen)


class Showing(NamedTuple):
    """One demo, played to its end."""

    played: Played
    facts: Facts
    page: str
    seen: list[Snapshot]
    directory: Path


@pytest.fixture(scope="module")
def showing(tmp_path_factory: pytest.TempPathFactory) -> Showing:
    directory, page = tmp_path_factory.mktemp("demo") / "out", StringIO()
    watching: list[Watching] = []

    def audience(stage: Stage, story: Story, observer: Observer) -> Watching:
        watching.append(Watching(stage, story, observer, page))
        return watching[0]

    played = asyncio.run(play(Scenario(speed=SPEED_FAST), directory, audience))
    return Showing(played, json.loads(to_json(facts_of(played))), page.getvalue(), watching[0].seen, directory)


# -- the facts ---------------------------------------------------------------------------------------------------------


def test_it_says_that_all_this_is_simulated_and_chosen(showing: Showing) -> None:
    assert showing.facts["is_simulation"] is True
    assert showing.facts["is_chosen"] is True


def test_two_pairs_are_closed_and_none_at_a_loss(showing: Showing) -> None:
    assert len(showing.facts["pairs"]) == 2
    assert all(Decimal(pair["net_krw"]) > 0 for pair in showing.facts["pairs"])
    assert showing.facts["is_open"] is False
    assert (showing.facts["closed_at_a_loss"], showing.facts["forced_losses"]) == (0, [])


def test_the_parts_of_every_pair_add_up_exactly(showing: Showing) -> None:
    for pair in showing.facts["pairs"]:
        assert sum(Decimal(pair[part]) for part in PARTS) == Decimal(pair["net_krw"])


def test_the_first_pair_was_paid_funding(showing: Showing) -> None:
    assert Decimal(showing.facts["pairs"][0]["funding_krw"]) > 0


def test_the_lost_answer_was_asked_about_and_never_sent_again(showing: Showing) -> None:
    lost = next(mishap for mishap in showing.facts["injected"] if mishap["kind"] == "unknown_outcome")
    assert (lost["resolved"], lost["resent"]) == (True, False)
    assert lost["questions"] >= 1
    assert Decimal(lost["executed"]) > 0
    for venue in showing.facts["orders"].values():
        assert venue["intended"] == venue["seen_by_the_venue"] > 0


def test_the_refused_leg_was_repaired(showing: Showing) -> None:
    naked = next(mishap for mishap in showing.facts["injected"] if mishap["kind"] == "naked_leg")
    assert naked["resolved"] is True
    assert naked["client_id"] is not None
    assert naked["repairs"] >= 1


def test_the_trader_came_back_from_its_journal_while_holding(showing: Showing) -> None:
    restart = next(mishap for mishap in showing.facts["injected"] if mishap["kind"] == "restart")
    assert restart["records"] > 0
    first = showing.facts["pairs"][0]
    opened_before = next(line.at for line in showing.played.story.lines if line.kind is Kind.ENTERED)
    ended = next(line.at for line in showing.played.story.lines if line.kind is Kind.ENDED)
    closed = next(line.at for line in showing.played.story.lines if line.kind is Kind.EXITED)
    assert opened_before < ended < closed
    assert first["signal_id"].split(":")[2] == "enter"


def test_impatience_at_a_loss_is_refused_with_its_figures(showing: Showing) -> None:
    assert showing.facts["exits_refused"]
    for refused in showing.facts["exits_refused"]:
        assert refused["injected"] is True
        assert Decimal(refused["net_krw"]) < 0
        assert refused["break_even_premium"] > refused["premium_now"]


def test_the_venues_and_the_ledger_agree_to_the_last_digit(showing: Showing) -> None:
    assert showing.facts["books"]["balanced"] is True
    accounts = {(told["venue"], told["asset"]): told for told in showing.facts["books"]["accounts"]}
    assert {("upbit", "KRW"), ("upbit", "BTC"), ("binance", "USDT"), ("binance", "BTCUSDT")} <= set(accounts)
    for told in accounts.values():
        assert Decimal(told["venue_says"]) == Decimal(told["ledger_says"])


def test_the_copy_in_the_database_equals_the_journal(showing: Showing) -> None:
    mirror = showing.facts["mirror"]
    assert (mirror["equal"], mirror["differing"]) == (True, 0)
    assert mirror["records"] == mirror["copied"] > 0
    assert all(mirror["rows"][table] > 0 for table in ("signals", "orders", "fills", "positions", "ledger"))


def test_a_copy_that_lags_or_differs_does_not_agree() -> None:
    assert Copied(3, 3, {}, 0).agrees
    assert not Copied(3, 2, {}, 0).agrees
    assert not Copied(3, 3, {}, 1).agrees


def test_what_it_left_can_be_read_with_the_ordinary_commands(
    showing: Showing, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KIMP__DATA__DIRECTORY", str(showing.directory))
    for command in (["replay", "--run", "1"], ["replay", "--run", "2"], ["pnl"], ["why"]):
        assert cli.main([*command, "--json"]) == 0, command
        assert json.loads(capsys.readouterr().out)


def test_nothing_goes_on_running(showing: Showing) -> None:
    assert EmbeddedServer(showing.directory / "database").pid is None
    assert showing.facts["is_settled"] is True


# -- what is shown -----------------------------------------------------------------------------------------------------


def test_the_lines_tell_the_story_in_both_languages(showing: Showing) -> None:
    assert "\x1b" not in showing.page
    for tag in (
        "데모 demo",
        "신호 signal",
        "결과 불명 unknown*",
        "확인 resolved*",
        "진입 entered",
        "청산 거절 no exit*",
    ):
        assert tag in showing.page
    for tag in ("종료 ended*", "복귀 restored*", "펀딩 funding", "거부 rejected*", "한쪽 체결 naked", "복구 repaired"):
        assert tag in showing.page
    assert "chosen for showing" in showing.page


def test_the_summary_says_what_to_type_next(showing: Showing) -> None:
    page = StringIO()
    print_summary(showing.played, Console(file=page, width=80, color_system=None))
    text = page.getvalue()
    for part in ("손실로 닫은 쌍은 없습니다.", "none of them at a loss", "kimp why", "kimp pnl", "kimp replay"):
        assert part in text
    assert str(showing.directory) in text
    assert "✘" not in text
    assert "…" not in text


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (120, 40)])
def test_the_picture_fits_the_terminal(showing: Showing, width: int, height: int) -> None:
    for text in drawn(showing.seen, width, height):
        lines = text.rstrip("\n").split("\n")
        assert len(lines) <= height
        assert max(cell_len(line.rstrip()) for line in lines) <= width


def drawn(seen: list[Snapshot], width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, force_terminal=False, color_system=None)
    pictures = []
    for one in seen:
        with console.capture() as capture:
            console.print(picture(one, width, height), end="")
        pictures.append(capture.get())
    return pictures


def test_waiting_is_shown_with_its_reason_and_holding_with_what_it_costs(showing: Showing) -> None:
    waiting = [seen for seen in showing.seen if seen.phase is Phase.FLAT and seen.conditions]
    holding = [seen for seen in showing.seen if seen.phase is Phase.OPEN and seen.verdict is not None]
    assert all("김프가 기준보다 낮지 않음" in text for text in drawn(waiting[:1], 80, 24))
    for text in drawn(holding[:1], 80, 24):
        for part in ("김프 premium (fx)", "테더 기준 (usdt)", "지금 닫으면", "손익분기", "펀딩 carry", "장부 upbit"):
            assert part in text
    assert waiting
    assert holding


def test_prices_and_both_premiums_move(showing: Showing) -> None:
    for basis in showing.seen[-1].premiums:
        assert len({seen.premiums[basis] for seen in showing.seen}) > 3


def test_the_books_shown_differ_only_while_something_is_under_way(showing: Showing) -> None:
    final = showing.seen[-1]
    assert final.accounts
    assert all(account.agrees for account in final.accounts)


def test_a_sparkline_spans_its_range_and_survives_little_data() -> None:
    assert sparkline([], 10) == ""
    assert sparkline([5.0], 10) == "▁"
    assert sparkline([0.0, 7.0], 10) == "▁█"
    assert len(sparkline([float(value) for value in range(1_000)], 10)) == 10


def test_everything_the_demo_can_meet_has_words() -> None:
    assert set(TAGS) == set(Kind)
    assert set(PHASES) == set(Phase)


# -- its parts ---------------------------------------------------------------------------------------------------------


class HandClock:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.at: Nanos = 0

    def now(self) -> Nanos:
        return self.at

    async def sleep_until(self, at: Nanos) -> None:
        self.at = max(self.at, at)


def test_a_stall_of_the_machine_is_none_of_the_market() -> None:
    inner = HandClock()
    clock = PatientClock(inner, 60, HOUR)
    inner.at += 2 * MILLISECOND
    assert clock.now() == HOUR + 120 * MILLISECOND
    inner.at += 10 * SECOND
    assert clock.now() == HOUR + 60 * TICK_MAX
    clock.tick()
    assert clock.now() == HOUR + 60 * TICK_MAX
    inner.at -= 5 * SECOND  # the machine's clock is corrected
    clock.tick()
    assert clock.now() == HOUR + 60 * TICK_MAX


def test_sleepers_wake_in_order_and_a_cancelled_one_disturbs_nobody() -> None:
    async def scenario() -> list[str]:
        inner, woken = HandClock(), list[str]()
        clock = PatientClock(inner, 1, 0)

        async def sleeper(name: str, at: Nanos) -> None:
            await clock.sleep_until(at)
            woken.append(name)

        async with asyncio.TaskGroup() as group:
            group.create_task(sleeper("late", 3 * MILLISECOND))
            group.create_task(sleeper("soon", 1 * MILLISECOND))
            given_up = group.create_task(sleeper("never", 2 * MILLISECOND))
            group.create_task(sleeper("at once", 0))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            given_up.cancel()
            await asyncio.sleep(0)
            inner.at = 3 * MILLISECOND
            clock.tick()
        return woken

    assert asyncio.run(scenario()) == ["at once", "soon", "late"]


def test_the_impatient_hand_speaks_only_of_losses_and_only_for_a_while() -> None:
    hand = ImpatientHand(build("low_entry", target_net="0.5"))

    def said(after: Nanos, net: int) -> bool:
        view = MarketView(HOUR + after, Decimal("0.02"), Decimal("0.02"), None, None)
        position = PositionView(Direction.LONG_PREMIUM, HOUR, Decimal(net), Decimal(20_000_000), Decimal(1))
        signal = hand.decide(view, position)
        assert isinstance(signal, Exit | Hold)
        return signal == Exit(IMPATIENT)

    assert not said(IMPATIENT_FROM - 1, -1)
    assert not said(IMPATIENT_FROM, 0)
    assert said(IMPATIENT_FROM, -1)
    assert not said(IMPATIENT_FROM + 1, -1)
    assert said(IMPATIENT_FROM + IMPATIENT_EVERY, -1)
    assert not said(HOUR, -1)


# -- trouble -----------------------------------------------------------------------------------------------------------


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("not a directory")
    assert cli.main(["demo", "--fast", "--out", str(tmp_path / "file" / "out")]) == 4
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert "--out" in told.err


def test_a_directory_of_somebody_else_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "trade").mkdir()
    (tmp_path / "trade" / "journal").write_text("precious")
    assert cli.main(["demo", "--fast", "--out", str(tmp_path)]) == 4
    assert (tmp_path / "trade" / "journal").read_text() == "precious"
    assert not (tmp_path / MARKER).exists()
    assert "no demo's" in capsys.readouterr().err


def test_a_demo_that_is_broken_off_leaves_nothing_running(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KIMP", "COLUMNS"))}
    with subprocess.Popen(
        [*COMMAND, "--out", str(tmp_path / "out")],
        env=kept | {"NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert "데모 demo" in first
        assert EmbeddedServer(tmp_path / "out" / "database").pid is not None
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert EmbeddedServer(tmp_path / "out" / "database").pid is None


def test_a_failure_inside_is_one_sentence_and_stops_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: Reader) -> None:
        raise DataError("the stage collapsed; build it again")

    monkeypatch.setattr(Reader, "step", broken)
    assert cli.main(["demo", "--fast", "--out", str(tmp_path / "out")]) == 6
    told = capsys.readouterr()
    assert told.err == "error: the stage collapsed; build it again\n"
    assert EmbeddedServer(tmp_path / "out" / "database").pid is None
