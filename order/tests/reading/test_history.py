from collections.abc import Callable
from decimal import Decimal
from typing import Any

from kimp.order.reading.history import History
from kimp.shared.domain.instruments import Pair, default_pair
from kimp.shared.domain.time import SECOND
from kimp.shared.messages.records import Phase


def pair_of(coin: str) -> Pair:
    return default_pair(coin)


def test_the_history_holds_what_the_engine_held(traded: Any) -> None:
    history, state = History(traded.records, pair_of), traded.engine.state
    assert history.state.ledger.balances() == state.ledger.balances()
    assert history.state.slots["fake:BTC"].position == state.slots["fake:BTC"].position
    assert history.state.slots["fake:BTC"].closed == state.slots["fake:BTC"].closed


def test_every_pair_is_told_once_with_its_end(traded: Any) -> None:
    pairs = History(traded.records, pair_of).pairs
    assert [pair.end and pair.end.reason for pair in pairs] == ["target_reached", "entry_unwound", None]
    assert [len(pair.fundings) for pair in pairs] == [1, 0, 1]


def test_premiums_are_those_of_the_fills_on_both_bases(traded: Any) -> None:
    first = History(traded.records, pair_of).pairs[0]
    fx, usdt = first.premiums(entry=True)
    assert fx == Decimal(139_695_000) / (Decimal(100_000) * 1390) - 1
    assert usdt == Decimal(139_695_000) / (Decimal(100_000) * 1400) - 1
    leaving = first.premiums(entry=False)
    assert leaving[1] == Decimal(143_169_000) / (Decimal("100000.1") * 1396) - 1


def test_a_pair_of_one_leg_has_no_premium(traded: Any) -> None:
    assert History(traded.records, pair_of).pairs[1].premiums(entry=True) == (None, None)


def test_a_moment_of_the_past_knows_nothing_later(traded: Any) -> None:
    first = History(traded.records, pair_of).acts[0].plan.decided_at
    history = History(traded.records, pair_of, until=first)
    assert len(history.acts) == 1
    assert history.state.slots["fake:BTC"].phase is Phase.OPEN
    before = History(traded.records, pair_of, until=first - SECOND)
    assert not before.state.slots
    assert before.pairs == []


def test_tranches_are_one_pair_of_two_acts(make_story: Callable[..., Any]) -> None:
    story = make_story()
    story.quote("0.005")
    story.enter(share="0.4")
    story.wait(61)
    story.quote("-0.005")
    story.enter("second_tranche", share="0.6")
    history = History(story.records, pair_of)
    assert len(history.pairs) == 1
    assert [act.plan.reason for act in history.acts] == ["premium_below_threshold", "second_tranche"]
    assert history.pairs[0].reason == "premium_below_threshold"
    entry, _ = history.pairs[0].premiums(entry=True)
    assert entry is not None
    assert Decimal("-0.005") < entry < Decimal("0.005")
