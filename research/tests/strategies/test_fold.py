"""The state is a fold over the views: replaying, restarting and cutting the tape must not change any decision."""

import pickle
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from kimp.research.strategies.kimp import KimpStrategy
from kimp.research.strategies.presets import build
from kimp.shared.domain.signals import Direction, Enter, Exit, Hold, Signal
from kimp.shared.domain.time import DAY, HOUR, MINUTE
from kimp.shared.ports.strategy import MarketView, PositionView

Step = tuple[MarketView, PositionView | None]

LONG, SHORT = Direction.LONG_PREMIUM, Direction.SHORT_PREMIUM
KNOBS = {
    "percentile": "0.6",
    "z_score": "0.1",
    "z_score_add": "0.5",
    "funding_min": "0",
    "fx_surge": "1.0001",
    "breakout_net": "0.005",
    "band_width": "0.5",
    "window_hours": 6,
    "fx_window_hours": 3,
    "band_hours": 4,
    "coverage_min": "0.5",
}
"""Every condition on, with windows short and levels near enough for a few dozen views to reach every answer."""

gaps = st.sampled_from([MINUTE, 30 * MINUTE, HOUR, HOUR, 2 * HOUR, 9 * HOUR])
premiums = st.integers(-50, 50).map(lambda tenths: Decimal(tenths) / 1000)
fundings = st.sampled_from([None, Decimal("0.0001"), Decimal("0.0001"), Decimal("-0.0001"), Decimal(0)])
rates = st.sampled_from([None, Decimal(1399), Decimal(1400), Decimal(1400), Decimal(1401)])
positions = st.sampled_from(
    [None] * 8
    + [
        PositionView(LONG, 0, None if net is None else Decimal(net), Decimal(1_000_000), Decimal(share))
        for net in (None, 0, 5_000, 5_001, 15_000, 15_001)
        for share in ("0.4", "1")
    ]
)


def a_strategy(direction: Direction = LONG) -> KimpStrategy:
    threshold = "0.02" if direction is LONG else "-0.02"
    return build("low_entry", direction=direction, threshold=threshold, **KNOBS)


def a_tape(
    steps: list[tuple[int, Decimal, Decimal, Decimal | None, Decimal | None, PositionView | None]],
) -> list[Step]:
    """Views minutes to hours apart with rates missing in between, each asked flat or with some position."""
    at, tape = 20_000 * DAY, []
    for gap, premium, leave, funding, usdkrw, position in steps:
        at += gap
        tape.append((MarketView(at, premium, leave, funding, usdkrw), position))
    return tape


tapes = st.lists(st.tuples(gaps, premiums, premiums, fundings, rates, positions), min_size=20, max_size=60).map(a_tape)


def decisions(strategy: KimpStrategy, tape: list[Step]) -> list[Signal]:
    signals = []
    for view, position in tape:
        strategy.observe(view)
        signals.append(strategy.decide(view, position))
    return signals


def mirrored(tape: list[Step]) -> list[Step]:
    """The same market for the other direction: premiums negated and swapped, funding negated."""
    turned: list[Step] = []
    for view, held in tape:
        funding = None if view.funding_rate is None else -view.funding_rate
        position = held and PositionView(SHORT, held.opened_at, held.net, held.capital, held.filled_share)
        turned.append((MarketView(view.at, -view.leave_premium, -view.premium, funding, view.usdkrw), position))
    return turned


@given(tapes)
def test_replaying_the_views_into_a_fresh_strategy_gives_the_same_decisions(tape: list[Step]) -> None:
    assert decisions(a_strategy(), tape) == decisions(a_strategy(), tape)


@given(tapes, st.data())
def test_a_restart_between_any_two_views_changes_nothing(tape: list[Step], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(tape)))
    whole = decisions(a_strategy(), tape)
    restarted = a_strategy()
    for view, _ in tape[:cut]:
        restarted.observe(view)  # warm-up observes the past without asking anything of it
    assert decisions(restarted, tape[cut:]) == whole[cut:]
    first = a_strategy()
    signals = decisions(first, tape[:cut])
    revived: KimpStrategy = pickle.loads(pickle.dumps(first))
    assert signals + decisions(revived, tape[cut:]) == whole


@given(tapes, tapes, st.data())
def test_no_decision_knows_what_comes_after_it(tape: list[Step], other: list[Step], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(tape)))
    whole = decisions(a_strategy(), tape)
    assert decisions(a_strategy(), tape[:cut]) == whole[:cut]
    assert decisions(a_strategy(), tape[:cut] + other)[:cut] == whole[:cut]


@given(tapes)
def test_deciding_twice_says_the_same_and_leaves_no_trace(tape: list[Step]) -> None:
    strategy = a_strategy()
    for view, position in tape:
        strategy.observe(view)
        before = pickle.dumps(strategy)
        assert strategy.decide(view, position) == strategy.decide(view, position)
        assert strategy.decide(view, None) == strategy.decide(view, None)
        assert pickle.dumps(strategy) == before


@given(tapes)
def test_observing_a_view_twice_is_observing_it_once(tape: list[Step]) -> None:
    once, twice = a_strategy(), a_strategy()
    for view, position in tape:
        once.observe(view)
        twice.observe(view)
        twice.observe(view)
        assert twice.decide(view, position) == once.decide(view, position)


@given(tapes)
def test_short_premium_is_long_premium_in_the_mirror(tape: list[Step]) -> None:
    longs, shorts = decisions(a_strategy(), tape), decisions(a_strategy(SHORT), mirrored(tape))
    for long, short in zip(longs, shorts, strict=True):
        match long, short:
            case Enter(), Enter():
                assert long.share == short.share
            case Exit(), Exit():
                assert long.reason == short.reason
            case Hold(), Hold():
                assert long.reason.replace("below", "above") == short.reason.replace("below", "above")
            case _:
                raise AssertionError(f"{long} is no mirror image of {short}")


@given(tapes)
def test_it_never_leaves_without_a_profit_and_never_exceeds_a_full_position(tape: list[Step]) -> None:
    for (_, position), signal in zip(tape, decisions(a_strategy(), tape), strict=True):
        match signal:
            case Exit():
                assert position is not None
                assert position.net is not None
                assert position.net > 0
            case Enter(share=share):
                assert share + (position.filled_share if position else 0) <= 1
            case Hold():
                pass
