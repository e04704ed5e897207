from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kimp.order.reading.decision import Decision
from kimp.order.reading.history import History
from kimp.order.reading.holding import Holding, holdings
from kimp.order.runtime.decisions import DecisionLog, last_decisions
from kimp.order.runtime.journal import SqliteJournal
from kimp.shared.domain.instruments import default_pair
from kimp.shared.domain.time import DAY, SECOND


@pytest.fixture
def story(make_story: Callable[..., Any], tmp_path: Path) -> Iterator[Any]:
    """An open pair that a running trader watches."""
    path = tmp_path / "journal.sqlite"
    SqliteJournal(path).close()
    log = DecisionLog(path)
    story = make_story(observers=(log,))
    story.quote("0.005")
    story.enter()
    story.wait(8 * 3600)
    story.pay_funding("0.7", "f1")
    story.quote("0.02")
    story.seen = lambda: last_decisions(path)
    yield story
    log.close()


def held(story: Any, decisions: dict[str, Decision] | None = None, leverage: str = "1") -> Holding:
    decisions = story.seen() if decisions is None else decisions
    (found,) = holdings(History(story.records, default_pair), decisions, story.now + SECOND, Decimal(leverage))
    return found


def test_what_closing_would_leave_is_the_engines_own_verdict(story: Any) -> None:
    market, verdict = held(story).market, story.engine.desks[0].verdict(story.now)
    assert market is not None
    assert market.parts is not None
    assert market.parts.net == verdict.net
    assert market.break_even_premium == verdict.break_even_premium
    assert market.carry_per_day == verdict.carry_per_day
    assert market.age == SECOND
    bid, ask = story.prices[0], story.prices[3]
    assert market.premium_fx == bid / (ask * 1390) - 1
    assert market.premium_usdt == bid / (ask * 1400) - 1


def test_the_journal_alone_tells_no_prices(story: Any) -> None:
    found = held(story, {})
    assert found.market is None
    assert [leg.price_now for leg in found.legs] == [None, None]
    assert found.funding_received == Decimal("0.7") * 1400
    assert found.entry_fx is not None
    assert found.liquidation is not None


def test_prices_of_an_earlier_pair_are_not_this_ones(story: Any) -> None:
    before = story.seen()
    story.quote("0.05")
    story.leave()
    story.wait(120)
    story.quote("0.004")
    story.enter()
    assert held(story, before).market is None


@pytest.mark.parametrize(
    ("leverage", "multiple"), [("1", Decimal("1.99")), ("2", Decimal("1.49")), ("3", Decimal("1.33"))]
)
def test_a_short_dies_where_the_leverage_puts_it(story: Any, leverage: str, multiple: Decimal) -> None:
    away = held(story, leverage=leverage).liquidation
    assert away is not None
    assert round(away.multiple, 2) == multiple
    assert away.distance > 0
    assert away.margin_runway == away.distance * Decimal("100000.1") * Decimal("0.066")


def test_a_wallet_that_lost_money_brings_liquidation_nearer(story: Any) -> None:
    before = held(story).liquidation
    story.pay_funding("-2000", "f2")
    after = held(story).liquidation
    assert before is not None
    assert after is not None
    assert after.price < before.price


def test_both_legs_are_told_with_sign_price_and_fee(story: Any) -> None:
    korea, abroad = held(story).legs
    assert (korea.quantity, abroad.quantity) == (Decimal("0.066"), Decimal("-0.066"))
    assert (korea.entry_price, korea.price_now) == (Decimal(139_695_000), story.prices[0])
    assert (abroad.entry_price, abroad.price_now) == (Decimal(100_000), story.prices[3])
    assert korea.fees_krw == Decimal(139_695_000) * Decimal("0.066") * Decimal("0.0005")


def test_funding_a_day_is_told_only_after_a_day(story: Any) -> None:
    assert held(story).funding_per_day is None
    story.wait(2 * DAY // SECOND)
    found = held(story)
    assert found.funding_per_day is not None
    assert found.funding_per_day * found.days_held == pytest.approx(found.funding_received)


def test_nothing_held_is_nothing_told(make_story: Callable[..., Any]) -> None:
    story = make_story()
    story.quote("0.02")
    assert holdings(History(story.records, default_pair), {}, story.now, Decimal(1)) == []
