from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kimp.order.reading.history import History
from kimp.order.reading.why import Rule, Why, premium_for, why
from kimp.order.runtime.decisions import DecisionLog, read_decisions
from kimp.order.runtime.journal import SqliteJournal
from kimp.shared.domain.instruments import default_pair
from kimp.shared.domain.positions import Action
from kimp.shared.domain.signals import Direction, Enter, Exit, Hold
from kimp.shared.domain.time import SECOND
from kimp.shared.messages.events import CloseOrdered, SwitchState

ENTER = Enter(Direction.LONG_PREMIUM, "premium_below_threshold")


@pytest.fixture
def story(make_story: Callable[..., Any], tmp_path: Path) -> Iterator[Any]:
    path = tmp_path / "journal.sqlite"
    SqliteJournal(path).close()
    log = DecisionLog(path)
    story = make_story(observers=(log,))
    story.path = path
    yield story
    log.close()


def asked(story: Any, at: int | None = None) -> Why:
    at = story.now if at is None else at
    rows = read_decisions(story.path, until=at, slot="fake:BTC")
    return why(History(story.records, default_pair, at), rows, "fake:BTC", at)


def test_a_premium_too_high_says_how_far_it_would_have_to_fall(story: Any) -> None:
    story.quote("0.02")
    (need,) = asked(story).needs
    assert (need.rule, need.name, need.relation, need.needed) == (
        Rule.STRATEGY,
        "premium_threshold",
        "<",
        Decimal("0.01"),
    )
    assert need.actual is not None
    assert need.missing == Decimal("0.01") - need.actual
    assert need.missing < 0


def test_a_refused_entry_says_which_guard_and_for_how_long(story: Any) -> None:
    story.quote("0.005")
    story.enter()
    story.quote("0.05")
    story.leave()
    story.wait(29)
    story.quote("0.005")
    story.say(ENTER)
    answer = asked(story)
    assert answer.decision is not None
    assert answer.decision.refusals == ("cooling_down",)
    assert [(need.rule, need.name, need.actual) for need in answer.needs] == [(Rule.GUARD, "cooldown", Decimal(31))]


def test_an_exit_at_a_loss_says_at_which_premium_it_would_break_even(story: Any) -> None:
    story.quote("0.005")
    story.enter()
    story.wait(60)
    story.say(Exit("net_positive"))
    need = asked(story).needs[0]
    assert (need.rule, need.name, need.needed) == (Rule.NO_LOSS, "net", Decimal(0))
    verdict = story.engine.desks[0].verdict(story.now)
    assert need.premium == verdict.break_even_premium
    assert need.premium is not None
    assert need.premium_now is not None
    assert need.premium > need.premium_now


def test_the_premium_for_a_net_leaves_that_net(story: Any) -> None:
    story.quote("0.005")
    story.enter()
    verdict = story.engine.desks[0].verdict(story.now)
    wanted = premium_for(verdict, Decimal(100_000))
    assert wanted is not None
    bid = (1 + wanted) * Decimal("100000.1") * 1400
    books = story._books(0)
    korea = type(books[0])(
        books[0].instrument_id,
        (type(books[0].bids[0])(bid, Decimal(5)),),
        books[0].asks,
        books[0].venue_at,
        books[0].received_at,
    )
    net = story.engine.desks[0].validator.net(
        story.engine.state.slots["fake:BTC"].position, korea, books[1], Decimal(1400)
    )
    assert net == pytest.approx(Decimal(100_000), abs=Decimal("0.01"))


def test_an_entry_is_told_with_its_orders_fills_and_end(story: Any) -> None:
    story.quote("0.005")
    story.enter()
    answer = asked(story)
    assert answer.is_about_plan
    assert answer.needs == ()
    assert answer.done is not None
    assert (answer.done.action, answer.done.ending) == (Action.ENTER, "legs_match")
    assert [(order.outcome, order.filled) for order in answer.done.orders] == [("done", Decimal("0.066"))] * 2
    assert answer.done.orders[0].price == Decimal(139_695_000)


def test_an_exit_is_told_with_what_it_earned(story: Any) -> None:
    story.quote("0.005")
    story.enter()
    story.wait(60)
    story.quote("0.05")
    story.leave()
    done = asked(story).done
    assert done is not None
    assert done.earned is not None
    assert done.earned.net == story.engine.state.slots["fake:BTC"].closed[0].breakdown.net
    assert done.ending == "target_reached"


def test_a_rejected_leg_and_its_repair_are_told(traded: Any) -> None:
    act = History(traded.records, default_pair).acts[2]
    moment = act.phases[-1].at
    done = why(History(traded.records, default_pair, moment), (), "fake:BTC", moment).done
    assert done is not None
    assert [order.outcome for order in done.orders] == ["done", "rejected", "rejected", "rejected", "done"]
    assert done.orders[1].detail == "insufficient_funds_bid: told to"
    assert done.ending == "entry_unwound"
    assert done.earned is not None
    assert done.earned.net < 0


def test_an_old_plan_is_not_the_answer_any_more(story: Any) -> None:
    story.quote("0.005")
    story.enter()
    story.wait(3600)
    story.quote()
    answer = asked(story)
    assert not answer.is_about_plan
    assert answer.done is not None


def test_a_moment_before_the_entry_knows_nothing_of_it(story: Any) -> None:
    story.quote("0.02")
    before = story.now
    story.wait(60)
    story.quote("0.005")
    story.enter()
    answer = asked(story, before + SECOND)
    assert answer.done is None
    assert answer.decision is not None
    assert answer.decision.reason == "told_to"


def test_since_is_when_the_same_answer_began(story: Any) -> None:
    story.strategy.says = Hold("before")
    story.quote("0.02")
    story.wait(30)
    story.strategy.says = Hold("told_to")
    began = story.now
    for _ in range(200):
        story.quote()
        story.wait(1)
    assert asked(story).since == began


def test_a_stop_is_told_though_no_figure_stands_behind_it(story: Any) -> None:
    story.turn(SwitchState.REDUCING)
    story.quote("0.005")
    story.say(ENTER)
    answer = asked(story)
    assert answer.switch is SwitchState.REDUCING
    assert answer.decision is not None
    assert answer.decision.refusals == ("stopped",)
    assert answer.needs == ()


def test_a_close_the_owner_ordered_is_told_with_who_and_why(story: Any) -> None:
    story.quote("0.005")
    story.enter()
    story.wait(120)
    story.quote()
    story.feed(CloseOrdered(story.now, "c1", "fake:BTC", "owner@telegram", "holiday"))
    story.settle()
    answer = asked(story)
    assert answer.ordered is not None
    assert (answer.ordered.actor, answer.ordered.reason) == ("owner@telegram", "holiday")
    assert answer.done is not None
    assert answer.done.reason == "owner_override"
    assert answer.done.earned is not None
    assert answer.done.earned.net < 0
    story.wait(3600)
    story.quote()
    assert asked(story).ordered is not None
    story.enter()
    assert asked(story).ordered is None


def test_a_close_that_was_refused_is_told_too(story: Any) -> None:
    story.quote("0.005")
    story.feed(CloseOrdered(story.now, "c1", "fake:BTC", "owner", "by mistake"))
    answer = asked(story)
    assert answer.ordered is not None
    assert answer.ordered.refusals == ("not_held",)
    assert answer.decision is not None
    assert answer.decision.reason == "owner_override"


def test_stale_quotes_are_the_answer_and_not_the_strategy(story: Any) -> None:
    story.quote("0.02", age=6 * SECOND)
    assert [(need.rule, need.name) for need in asked(story).needs] == [
        (Rule.GUARD, "book_age_upbit"),
        (Rule.GUARD, "book_age_binance"),
    ]
