"""What is told of a decision must be the decision: explanations are held against ``decide`` on random tapes."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimp.research.strategies.kimp import KimpStrategy
from kimp.research.strategies.presets import build
from kimp.shared.domain.signals import Direction, Enter, Exit, Hold, Signal
from kimp.shared.domain.time import DAY, HOUR
from kimp.shared.ports.strategy import Condition, MarketView, PositionView

LONG, SHORT = Direction.LONG_PREMIUM, Direction.SHORT_PREMIUM
START = 20_000 * DAY
WINDOWS = {"window_hours": 6, "fx_window_hours": 3, "band_hours": 4, "coverage_min": "0.5", "band_width": "0.5"}
KNOBS = {
    "threshold": st.sampled_from([None, "-0.01", "0.01", "0.02"]),
    "percentile": st.sampled_from([None, "0.6"]),
    "z_score": st.sampled_from([None, "0.1"]),
    "z_score_add": st.sampled_from([None, "0.5"]),
    "funding_min": st.sampled_from([None, "0"]),
    "fx_surge": st.sampled_from([None, "1.0001"]),
    "target_net": st.sampled_from([None, "0", "0.015"]),
    "breakout_net": st.sampled_from([None, "0.005"]),
    "zone": st.sampled_from(["above", "below"]),
    "direction": st.sampled_from([LONG, SHORT]),
}

premiums = st.sampled_from(
    [Decimal(text) for text in ("-0.03", "-0.01", "0", "0.01", "0.015", "0.02", "0.021", "0.05")]
)
views = st.builds(
    lambda premium, leave, funding, usdkrw: (premium, leave, funding, usdkrw),
    premiums,
    premiums,
    st.sampled_from([None, Decimal("0.0001"), Decimal("-0.0001"), Decimal(0)]),
    st.sampled_from([None, Decimal(1399), Decimal(1400), Decimal(1401)]),
)
positions = st.none() | st.builds(
    lambda direction, net, share: PositionView(
        direction, START, None if net is None else Decimal(net), Decimal(1_000_000), Decimal(share)
    ),
    st.sampled_from([LONG, LONG, LONG, SHORT]),
    st.sampled_from([None, "0", "1", "5000", "5001", "15000", "15001", "NaN"]),
    st.sampled_from(["0.3", "0.4", "0.699", "0.7", "1"]),
)


@st.composite
def strategies(draw: st.DrawFn) -> KimpStrategy:
    knobs = {name: draw(values) for name, values in KNOBS.items()}
    if knobs["z_score"] is None:
        knobs["z_score_add"] = None
        knobs["threshold"] = knobs["threshold"] or (None if knobs["percentile"] else "0.01")
    if knobs["target_net"] == "0" and knobs["breakout_net"]:
        knobs["breakout_net"] = None
    if knobs["target_net"] is None and knobs["breakout_net"] is None:
        knobs["target_net"] = "0.015"
    return build("low_entry", **WINDOWS, **{name: "null" if value is None else value for name, value in knobs.items()})


def expected(told: tuple[Condition, ...], position: PositionView | None) -> type[Signal]:
    """The decision a reader of the explanation arrives at."""
    holds = {one.name: one.holds for one in told}
    if position is None:
        return Enter if all(holds.values()) else Hold
    if holds.get("net_target") or (holds.get("breakout_net") and holds.get("breakout_band")):
        return Exit
    additions = [held for name, held in holds.items() if name.startswith("add_")]
    is_known = position.net is not None and position.net.is_finite()
    return Enter if additions and all(additions) and is_known else Hold


@given(strategies(), st.lists(views, min_size=8, max_size=16), positions, views)
def test_a_reader_of_the_explanation_arrives_at_the_decision(
    strategy: KimpStrategy,
    past: list[tuple[Decimal, Decimal, Decimal | None, Decimal | None]],
    position: PositionView | None,
    now: tuple[Decimal, Decimal, Decimal | None, Decimal | None],
) -> None:
    for hour, figures in enumerate(past):
        strategy.observe(MarketView(START + hour * HOUR, *figures))
    view = MarketView(START + len(past) * HOUR, *now)
    signal = strategy.decide(view, position)
    assert type(signal) is expected(strategy.explain(view, position), position)


@given(strategies(), st.lists(views, min_size=8, max_size=16), positions, views)
def test_explaining_changes_nothing(
    strategy: KimpStrategy,
    past: list[tuple[Decimal, Decimal, Decimal | None, Decimal | None]],
    position: PositionView | None,
    now: tuple[Decimal, Decimal, Decimal | None, Decimal | None],
) -> None:
    for hour, figures in enumerate(past):
        strategy.observe(MarketView(START + hour * HOUR, *figures))
    view = MarketView(START + len(past) * HOUR, *now)
    before = strategy.decide(view, position), strategy.levels()
    told = strategy.explain(view, position)
    # Compared as text, because NaN is not equal to itself.
    assert repr(strategy.explain(view, position)) == repr(told)
    assert (strategy.decide(view, position), strategy.levels()) == before


@pytest.mark.parametrize("premium", ["NaN", "Infinity", "-Infinity"])
def test_a_premium_that_is_no_number_never_seems_enough(premium: str) -> None:
    strategy = build("low_entry")
    view = MarketView(START, Decimal(premium), Decimal(premium), Decimal("0.0001"), Decimal(1400))
    assert isinstance(strategy.decide(view, None), Hold)
    assert not any(one.holds for one in strategy.explain(view, None))


def test_the_roadmap_tells_its_two_figures_in_the_order_it_asks() -> None:
    view = MarketView(START, Decimal("0.042"), Decimal("0.04"), Decimal("0.0001"), None)
    assert build("roadmap").explain(view, None) == (
        Condition("premium_threshold", Decimal("0.042"), ">", Decimal("0.03"), True),
        Condition("funding_income", Decimal("0.0001"), ">", Decimal(0), True),
    )


def test_an_open_pair_is_told_the_won_it_lacks() -> None:
    view = MarketView(START, Decimal("0.042"), Decimal("0.04"), Decimal("0.0001"), None)
    position = PositionView(LONG, START, Decimal(-12_345), Decimal(20_000_000), Decimal(1))
    assert build("low_entry").explain(view, position) == (
        Condition("net_target", Decimal(-12_345), ">", Decimal(300_000), False),
    )


def test_funding_is_told_as_the_income_of_the_direction_held() -> None:
    view = MarketView(START, Decimal("0.042"), Decimal("0.042"), Decimal("0.0001"), None)
    told = build("roadmap", direction=SHORT, funding_min="0").explain(view, None)
    assert told[-1] == Condition("funding_income", Decimal("-0.0001"), ">", Decimal(0), False)


def test_warm_up_is_the_longest_window_in_use() -> None:
    assert build("roadmap").warm_up == 0
    assert build("roadmap", fx_surge="1.001").warm_up == 12 * HOUR
    assert build("roadmap", fx_surge="1.001", breakout_net="null", percentile="0.2").warm_up == 720 * HOUR
    assert build("low_entry", breakout_net="0.005").warm_up == 20 * HOUR


def warmed(strategy: KimpStrategy, *premiums: str) -> KimpStrategy:
    for hour, premium in enumerate(premiums):
        strategy.observe(MarketView(START + hour * HOUR, Decimal(premium), Decimal(premium), None, Decimal(1400)))
    return strategy


def held(net: str, share: str = "1") -> PositionView:
    return PositionView(LONG, START, Decimal(net), Decimal(1_000_000), Decimal(share))


def agreed(strategy: KimpStrategy, view: MarketView, position: PositionView | None) -> type[Signal]:
    """The decision, after the explanation was found to say the same."""
    decided = type(strategy.decide(view, position))
    assert decided is expected(strategy.explain(view, position), position)
    return decided


def test_a_dollar_exactly_at_its_limit_is_told_as_calm() -> None:
    strategy = warmed(build("low_entry", fx_surge="1", fx_window_hours=3), "0", "0", "0")
    view = MarketView(START + DAY, Decimal(0), Decimal(0), None, Decimal(1400))
    assert agreed(strategy, view, None) is Enter
    assert strategy.explain(view, None)[-1] == Condition("usdkrw", Decimal(1400), "<=", Decimal(1400), True)


@pytest.mark.parametrize(("share", "decision"), [("0.4", Enter), ("0.69", Enter), ("0.7", Hold), ("1", Hold)])
def test_the_second_tranche_is_told_as_missing_until_half_of_it_is_on(share: str, decision: type[Signal]) -> None:
    strategy = build("low_entry", z_score="0.5", z_score_add="1", window_hours=4, funding_min="null")
    warmed(strategy, "0.001", "0.003", "0.001", "0.003")
    view = MarketView(START + DAY, Decimal("-0.005"), Decimal("-0.005"), None, None)
    assert agreed(strategy, view, held("0", share)) is decision


@pytest.mark.parametrize(("leave", "decision"), [("0.01", Exit), ("0.001", Hold)])
def test_a_breakout_is_told_at_the_premium_one_leaves_at(leave: str, decision: type[Signal]) -> None:
    strategy = build("low_entry", breakout_net="0.005", band_hours=4)
    warmed(strategy, "0.001", "0.003", "0.001", "0.003")
    view = MarketView(START + DAY, Decimal("0.02") if decision is Hold else Decimal(0), Decimal(leave), None, None)
    assert agreed(strategy, view, held("6000")) is decision
