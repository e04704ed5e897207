from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimp.order.reading.history import History, PairStory
from kimp.order.reading.profit import Parts, by_day, closed_profits, profit_of, total
from kimp.shared.domain.instruments import Side, default_pair
from kimp.shared.domain.time import DAY

NAMES = ("premium", "fx", "funding", "fees", "slippage")
amounts = st.decimals(min_value=-(10**9), max_value=10**9, places=18)


@pytest.fixture(scope="session")
def history(traded: Any) -> History:
    return History(traded.records, default_pair)


def of_cash(pair: PairStory, krw_rate: str) -> Decimal:
    """What a pair earned, from nothing but its fills and funding: cash in less cash out."""
    rate, net = Decimal(krw_rate), Decimal(0)
    for record in pair.fills:
        fill = record.fill
        cash = -fill.quantity * fill.price * fill.side.sign
        net += cash * (1 if record.krw_rate == 1 else rate) - fill.fee.value * record.krw_rate
    return net + sum((one.payment.amount.value * one.krw_rate for one in pair.fundings), Decimal(0))


def test_the_parts_of_every_pair_add_up_to_its_net(history: History) -> None:
    for profit in closed_profits(history):
        assert profit.parts is not None
        assert sum(Fraction(getattr(profit.parts, name)) for name in NAMES) == Fraction(profit.parts.net)


def test_the_net_of_a_pair_is_its_cash(history: History) -> None:
    first, second = closed_profits(history)
    assert first.parts is not None
    assert first.parts.net == of_cash(history.pairs[0], "1396")
    assert first.parts.fx != 0
    assert second.parts is not None
    assert second.parts.net == of_cash(history.pairs[1], "1396")


def test_days_add_up_to_the_total_and_the_total_to_the_pairs(history: History) -> None:
    closed = closed_profits(history)
    days = by_day(closed)
    assert [day.day for day in days] == ["2024-10-04", "2024-10-05"]
    assert total(day.parts for day in days) == total(pair.parts for pair in closed if pair.parts)


@given(st.lists(st.tuples(amounts, amounts, amounts, amounts, amounts), max_size=20))
def test_no_sum_loses_a_digit(rows: list[tuple[Decimal, ...]]) -> None:
    parts = [total([Parts(*row)]) for row in rows]
    summed = total(parts)
    for index, name in enumerate(NAMES):
        assert Fraction(getattr(summed, name)) == sum((Fraction(row[index]) for row in rows), Fraction(0))


def test_a_loss_carries_its_cause_and_a_profit_none(history: History) -> None:
    assert [pair.cause for pair in closed_profits(history)] == [None, "entry_unwound"]


def test_pairs_are_of_the_time_they_ended(history: History) -> None:
    first, second = closed_profits(history)
    assert second.closed_at is not None
    assert closed_profits(history, start=second.closed_at) == [second]
    assert closed_profits(history, end=second.closed_at) == [first]


def test_an_open_pair_without_prices_is_not_valued(history: History) -> None:
    profit = profit_of(history.pairs[-1])
    assert profit.parts is None
    assert profit.closed_at is None


def test_a_day_is_a_korean_day(make_story: Callable[..., Any]) -> None:
    story = make_story()
    story.now += 12 * 3600 * 10**9 - 60 * 10**9  # 23:59 in Korea, 14:59 UTC
    story.quote("0.005")
    story.enter()
    story.wait(120)
    story.quote("0.03")
    story.leave()
    history = History(story.records, default_pair)
    assert [day.day for day in by_day(closed_profits(history))] == ["2024-10-05"]


def test_a_liquidation_is_named_as_the_cause(make_story: Callable[..., Any]) -> None:
    story = make_story()
    story.quote("0.005")
    story.enter()
    story.wait(DAY // 10**9)
    story.foreign(story.pair.abroad, Side.BUY, "0.066", "199000")
    story.quote("-0.2")
    for order in [one.order for one in story.engine.state.orders.values() if not one.is_settled]:
        story.fill(order)
    (profit,) = closed_profits(History(story.records, default_pair))
    assert profit.cause is not None
    assert profit.parts is not None
    assert profit.parts.net < 0
