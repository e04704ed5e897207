import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kimp.order.reading.decision import Answer, Decision
from kimp.order.runtime import decisions
from kimp.order.runtime.decisions import DecisionLog, read_decisions
from kimp.order.runtime.journal import SqliteJournal
from kimp.shared.domain.signals import Direction, Enter, Exit, Hold
from kimp.shared.domain.time import MINUTE, SECOND
from kimp.shared.errors import DataError
from kimp.shared.messages.events import FeedLost, SwitchState
from kimp.shared.messages.records import Phase
from kimp.shared.ports.strategy import Condition

ENTER = Enter(Direction.LONG_PREMIUM, "premium_below_threshold")


def a_journal(directory: Path) -> Path:
    path = directory / "journal.sqlite"
    SqliteJournal(path).close()
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return a_journal(tmp_path)


@pytest.fixture
def kept(path: Path) -> Iterator[DecisionLog]:
    log = DecisionLog(path)
    yield log
    log.close()


@pytest.fixture
def story(make_story: Callable[..., Any], kept: DecisionLog) -> Any:
    return make_story(observers=(kept,))


def rows(path: Path) -> list[tuple[Answer, str, tuple[str, ...]]]:
    return [(row.answer, row.reason, row.refusals) for row in read_decisions(path)]


def guard(row: Decision, name: str) -> Condition:
    return next(one for one in row.guards if one.name == name)


def test_an_unchanged_answer_is_written_once_a_minute(story: Any, path: Path) -> None:
    for _ in range(130):
        story.quote("0.02")
        story.wait(1)
    assert [row.at - row.at % SECOND for row in read_decisions(path)] == [
        story.now - 130 * SECOND + minute * MINUTE for minute in range(3)
    ]
    assert set(rows(path)) == {(Answer.HOLD, "told_to", ())}


def test_every_change_of_the_answer_is_written(story: Any, path: Path) -> None:
    story.quote("0.02")
    story.strategy.says = Hold("something_else")
    story.quote()
    story.wait(10)
    story.quote(age=6 * SECOND)  # newer than what is known, but too old to decide on
    story.wait(10)
    story.quote()
    assert rows(path) == [
        (Answer.HOLD, "told_to", ()),
        (Answer.HOLD, "something_else", ()),
        (Answer.UNDECIDED, "book_stale", ("book_stale",)),
        (Answer.HOLD, "something_else", ()),
    ]


def test_a_refused_entry_names_its_guard_with_figure_and_limit(story: Any, path: Path) -> None:
    story.quote("0.005")
    story.enter()
    story.quote("0.05")
    story.leave()
    story.wait(29)
    story.say(ENTER)
    row = read_decisions(path)[-1]
    assert (row.answer, row.refusals, row.phase) == (Answer.ENTER, ("cooling_down",), Phase.FLAT)
    assert guard(row, "cooldown") == Condition("cooldown", Decimal(31), "<=", Decimal(0), False)
    assert all(one.holds for one in row.guards if one.name != "cooldown")


def test_a_refusal_does_not_stick_to_the_hold_after_it(story: Any, path: Path) -> None:
    story.turn(SwitchState.REDUCING)
    story.quote("0.005")
    story.say(ENTER)
    story.quote()
    assert rows(path)[-2:] == [(Answer.ENTER, "premium_below_threshold", ("stopped",)), (Answer.HOLD, "told_to", ())]
    assert read_decisions(path)[-1].switch is SwitchState.REDUCING


def test_an_open_pair_is_written_with_its_verdict(story: Any, path: Path) -> None:
    story.quote("0.005")
    story.enter()
    story.say(Exit("told_to_leave"))
    row = read_decisions(path)[-1]
    assert (row.answer, row.refusals) == (Answer.EXIT, ("net_not_positive",))
    assert row.verdict is not None
    assert row.verdict.net is not None
    assert row.verdict.net < 0
    assert row.verdict.breakdown is not None
    assert row.verdict.breakdown.net == row.verdict.net
    assert row.conditions == (Condition("net_target", row.verdict.net, ">", Decimal(0), False),)


def test_legs_too_far_apart_are_told_with_their_distance(story: Any, path: Path) -> None:
    story.quote("0.02", skew=2 * SECOND)
    row = read_decisions(path)[-1]
    assert row.refusals == ("legs_skewed",)
    assert guard(row, "leg_skew") == Condition("leg_skew", Decimal(2), "<=", Decimal(1), False)
    assert guard(row, "book_age_upbit").actual == 2
    assert row.conditions == ()


def test_both_bases_are_written_whatever_the_strategy_compares(story: Any, path: Path) -> None:
    story.quote("0.005", usdt="1400")
    figures = read_decisions(path)[-1].figures
    assert figures.fx_enter == Decimal(139_695_000) / (Decimal(100_000) * 1390) - 1
    assert figures.usdt_enter == Decimal(139_695_000) / (Decimal(100_000) * 1400) - 1
    assert figures.fx_leave is not None
    assert figures.fx_leave < figures.fx_enter


def test_a_dancing_answer_is_cut_short_and_says_so(story: Any, path: Path) -> None:
    for step in range(200):
        story.strategy.says = Hold(f"reason_{step % 2}")
        story.quote("0.02")
    assert len(rows(path)) == decisions.CHANGES_PER_MINUTE_MAX
    story.wait(60)
    story.quote()
    assert read_decisions(path)[-1].skipped == 80


def test_an_entry_is_written_however_much_was_cut_short(story: Any, path: Path) -> None:
    for step in range(200):
        story.strategy.says = Hold(f"reason_{step % 2}")
        story.quote("0.005")
    story.say(ENTER)
    assert read_decisions(path)[-1].answer is Answer.ENTER
    assert read_decisions(path)[-1].phase is Phase.ENTERING


def test_the_journal_itself_is_left_to_be_created_by_the_journal(
    make_story: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "journal.sqlite"
    log = DecisionLog(path)
    make_story(observers=(log,)).quote("0.02")
    log.close()
    assert not path.exists()


def test_trouble_with_the_disk_stops_nothing_and_loses_nothing_that_fits(
    make_story: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "away" / "journal.sqlite"  # a directory that is not there
    log = DecisionLog(path)
    story = make_story(observers=(log,))
    story.quote("0.02")
    assert (log.failures, log.lost) == (1, 0)
    path.parent.mkdir()
    a_journal(path.parent)
    story.wait(60)
    story.quote()
    log.close()
    assert len(read_decisions(path)) == 2


def test_a_journal_that_is_writing_is_not_waited_for(story: Any, kept: DecisionLog, path: Path) -> None:
    story.quote("0.02")
    with closing(sqlite3.connect(path, isolation_level=None)) as journal:
        journal.execute("begin immediate")
        story.strategy.says = Hold("meanwhile")
        story.quote()
        assert [reason for _, reason, _ in rows(path)] == ["told_to"]
        journal.execute("commit")
    story.strategy.says = Hold("afterwards")
    story.quote()
    assert [reason for _, reason, _ in rows(path)] == ["told_to", "meanwhile", "afterwards"]
    assert kept.failures == 0


def test_what_waits_too_long_for_the_disk_is_counted_as_lost(make_story: Callable[..., Any], tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "away" / "journal.sqlite")
    story = make_story(observers=(log,))
    for _ in range(decisions.WAITING_MAX + 3):
        story.quote("0.02")
        story.wait(60)
    assert log.lost == 3
    log.close()


def test_old_rows_go(make_story: Callable[..., Any], path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "KEPT_ROWS_MAX", 50)
    monkeypatch.setattr(decisions, "PRUNED_EVERY", 10)
    log = DecisionLog(path)
    story = make_story(observers=(log,))
    for _ in range(200):
        story.quote("0.02")
        story.wait(60)
    log.close()
    assert 50 <= len(rows(path)) <= 60


def test_rows_are_found_by_time_and_slot(story: Any, path: Path) -> None:
    for _ in range(5):
        story.quote("0.02")
        story.wait(60)
    third = read_decisions(path)[2].at
    assert [row.at for row in read_decisions(path, until=third, limit=1)] == [third]
    assert read_decisions(path, since=third)[0].at == third
    assert read_decisions(path, slot="another:ETH") == ()


def test_no_file_is_no_decision_and_a_broken_one_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    assert read_decisions(path) == ()
    path.write_bytes(b"no database at all, but long enough to be looked at" * 100)
    with pytest.raises(DataError, match="cannot be read"):
        read_decisions(path)


def test_an_unchanged_answer_costs_no_explanation(story: Any) -> None:
    for _ in range(100):
        story.quote("0.02")
    assert story.strategy.asked == 1


def test_a_trader_that_never_heard_anything_says_so(story: Any, path: Path) -> None:
    story.feed(FeedLost(story.now, story.pair.korea.id, "silent"))
    assert rows(path) == [(Answer.UNDECIDED, "feed_lost", ("feed_lost", "no_book"))]


def test_the_last_word_before_a_silence_is_that_a_feed_was_lost(story: Any, path: Path) -> None:
    story.quote("0.02")
    story.wait(1)
    story.feed(FeedLost(story.now, story.pair.abroad.id, "silent"))
    assert rows(path)[-1] == (Answer.UNDECIDED, "feed_lost", ("feed_lost",))
