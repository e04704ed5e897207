import pickle
from decimal import Decimal

import pytest

from kimp.research.strategies.filters import Zone
from kimp.research.strategies.kimp import KimpStrategy, Levels
from kimp.research.strategies.presets import build
from kimp.research.strategies.settings import KimpSettings
from kimp.shared.domain.signals import Direction, Enter, Exit, Hold, Signal
from kimp.shared.domain.time import DAY, HOUR, Nanos
from kimp.shared.ports.strategy import MarketView, PositionView

LONG, SHORT = Direction.LONG_PREMIUM, Direction.SHORT_PREMIUM
START: Nanos = 20_000 * DAY
TICK = Decimal("1e-27")
CAPITAL = Decimal(10_000_000)


def a_view(
    premium: str | Decimal = "0.02",
    leave: str | Decimal | None = None,
    *,
    at: Nanos = START,
    funding: str | Decimal | None = "0.0001",
    usdkrw: str | None = "1400",
) -> MarketView:
    return MarketView(
        at=at,
        premium=Decimal(premium),
        leave_premium=Decimal(premium if leave is None else leave),
        funding_rate=None if funding is None else Decimal(funding),
        usdkrw=None if usdkrw is None else Decimal(usdkrw),
    )


def a_position(
    net: str | Decimal | None = "0", *, direction: Direction = LONG, filled_share: str = "1"
) -> PositionView:
    return PositionView(direction, START, None if net is None else Decimal(net), CAPITAL, Decimal(filled_share))


def warmed(strategy: KimpStrategy, *premiums: str, usdkrw: str | None = "1400") -> KimpStrategy:
    """The strategy after one view an hour, both premiums the same."""
    for hour, premium in enumerate(premiums):
        strategy.observe(a_view(premium, at=START + (hour - len(premiums)) * HOUR, usdkrw=usdkrw))
    return strategy


class TestRoadmap:
    strategy = build("roadmap")

    def test_enters_when_korea_is_dear_and_shorts_are_paid(self) -> None:
        assert self.strategy.decide(a_view("0.0301"), None) == Enter(LONG, "premium_above_threshold")

    def test_premium_of_exactly_three_percent_refuses(self) -> None:
        level = Decimal("0.03")
        assert self.strategy.decide(a_view(level), None) == Hold("premium_not_above_threshold")
        assert self.strategy.decide(a_view(level - TICK), None) == Hold("premium_not_above_threshold")
        assert isinstance(self.strategy.decide(a_view(level + TICK), None), Enter)

    def test_funding_of_exactly_zero_refuses(self) -> None:
        assert self.strategy.decide(a_view("0.04", funding="0"), None) == Hold("funding_not_above_minimum")
        assert self.strategy.decide(a_view("0.04", funding=-TICK), None) == Hold("funding_not_above_minimum")
        assert isinstance(self.strategy.decide(a_view("0.04", funding=TICK), None), Enter)

    def test_net_of_exactly_zero_refuses(self) -> None:
        assert self.strategy.decide(a_view(), a_position("0")) == Hold("net_not_positive")
        assert self.strategy.decide(a_view(), a_position(-TICK)) == Hold("net_not_positive")
        assert self.strategy.decide(a_view(), a_position(TICK)) == Exit("net_positive")

    def test_unknown_funding_blocks_the_entry_and_not_the_exit(self) -> None:
        blind = a_view("0.04", funding=None, usdkrw=None)
        assert self.strategy.decide(blind, None) == Hold("funding_unknown")
        assert self.strategy.decide(blind, a_position("1")) == Exit("net_positive")

    def test_an_unknown_rate_it_does_not_need_blocks_nothing(self) -> None:
        assert isinstance(self.strategy.decide(a_view("0.04", usdkrw=None), None), Enter)

    def test_without_trustworthy_prices_it_holds(self) -> None:
        assert self.strategy.decide(a_view(), a_position(None)) == Hold("net_unknown")

    def test_never_enters_on_top_of_a_position(self) -> None:
        held = self.strategy.decide(a_view("0.04"), a_position("-1", filled_share="0.2"))
        assert held == Hold("net_not_positive")

    def test_short_compares_the_premium_of_selling_and_takes_any_funding(self) -> None:
        short = build("roadmap", direction=SHORT)
        assert short.decide(a_view("0.04", leave="0.03"), None) == Hold("premium_not_above_threshold")
        entered = short.decide(a_view("0.02", leave="0.0301", funding=None), None)
        assert entered == Enter(SHORT, "premium_above_threshold")


class TestLowEntry:
    strategy = build("low_entry")

    def test_enters_only_strictly_below_its_threshold(self) -> None:
        level = Decimal("0.01")
        assert self.strategy.decide(a_view(level), None) == Hold("premium_not_below_threshold")
        assert self.strategy.decide(a_view(level - TICK), None) == Enter(LONG, "premium_below_threshold")

    def test_leaves_only_above_its_share_of_all_capital(self) -> None:
        assert self.strategy.decide(a_view(), a_position("150000")) == Hold("net_not_above_target")
        assert self.strategy.decide(a_view(), a_position("150000.01")) == Exit("target_reached")

    def test_a_negative_threshold_waits_for_a_discount(self) -> None:
        strategy = build("low_entry", threshold="-0.01")
        assert strategy.decide(a_view("-0.01"), None) == Hold("premium_not_below_threshold")
        assert isinstance(strategy.decide(a_view("-0.0101"), None), Enter)

    def test_short_sells_strictly_above_its_threshold(self) -> None:
        short = build("low_entry", direction=SHORT)
        assert short.decide(a_view("0.05", leave="0.03"), None) == Hold("premium_not_above_threshold")
        assert short.decide(a_view("0.05", leave="0.0301"), None) == Enter(SHORT, "premium_above_threshold")

    def test_the_funding_filter_follows_the_direction(self) -> None:
        short = build("low_entry", direction=SHORT, funding_min=0)
        assert short.decide(a_view("0.05", funding="0.0001"), None) == Hold("funding_not_above_minimum")
        assert isinstance(short.decide(a_view("0.05", funding="-0.0001"), None), Enter)


class TestPercentile:
    def a_strategy(self, direction: Direction = LONG) -> KimpStrategy:
        return build(
            "low_entry", direction=direction, threshold=None, percentile="0.25", window_hours=4, coverage_min=1
        )

    def test_enters_only_strictly_below_the_rarest_samples(self) -> None:
        strategy = warmed(self.a_strategy(), "0.01", "0.02", "0.03", "0.04")
        assert strategy.decide(a_view("0.01"), None) == Hold("premium_not_below_percentile")
        assert strategy.decide(a_view("0.0099"), None) == Enter(LONG, "premium_below_percentile")

    def test_short_enters_above_the_highest_samples(self) -> None:
        strategy = warmed(self.a_strategy(SHORT), "0.01", "0.02", "0.03", "0.04")
        assert strategy.decide(a_view("0.04"), None) == Hold("premium_not_above_percentile")
        assert strategy.decide(a_view("0.0401"), None) == Enter(SHORT, "premium_above_percentile")

    def test_waits_until_the_window_is_covered(self) -> None:
        strategy = warmed(self.a_strategy(), "0.01", "0.02", "0.03")
        assert strategy.decide(a_view("-0.5"), None) == Hold("warming_up_premium")

    def test_a_fixed_threshold_beside_it_must_agree(self) -> None:
        strategy = build("low_entry", threshold="0.005", percentile="0.25", window_hours=4, coverage_min=1)
        warmed(strategy, "0.01", "0.02", "0.03", "0.04")
        assert strategy.decide(a_view("0.0099"), None) == Hold("premium_not_below_threshold")
        assert strategy.decide(a_view("0.0049"), None) == Enter(LONG, "premium_below_threshold_and_percentile")


class TestTranches:
    # Mean 0.02 and deviation 0.01: the first tranche below 0.01, the second below 0.
    def a_strategy(self, **overrides: object) -> KimpStrategy:
        knobs: dict[str, object] = {
            "threshold": None,
            "z_score": 1,
            "z_score_add": 2,
            "window_hours": 4,
            "coverage_min": 1,
        }
        strategy = build("low_entry", **{**knobs, **overrides})  # type: ignore[arg-type]  # all are settings
        return warmed(strategy, "0.01", "0.03", "0.01", "0.03")

    def test_the_first_forty_percent_go_in_beyond_the_first_level(self) -> None:
        assert self.a_strategy().decide(a_view("0.01"), None) == Hold("premium_not_below_z_score")
        first = self.a_strategy().decide(a_view(Decimal("0.01") - TICK), None)
        assert first == Enter(LONG, "premium_below_z_score", Decimal("0.4"))

    def test_the_other_sixty_follow_beyond_the_second_level(self) -> None:
        begun = a_position("-1", filled_share="0.4")
        assert self.a_strategy().decide(a_view("0"), begun) == Hold("net_not_above_target")
        second = self.a_strategy().decide(a_view(-TICK), begun)
        assert second == Enter(LONG, "second_tranche", Decimal("0.6"))

    def test_nothing_is_added_to_a_full_position(self) -> None:
        assert self.a_strategy().decide(a_view("-0.05"), a_position("-1")) == Hold("net_not_above_target")

    def test_nothing_is_added_to_a_position_of_the_other_direction(self) -> None:
        other = a_position("-1", direction=SHORT, filled_share="0.4")
        assert self.a_strategy().decide(a_view("-0.05"), other) == Hold("net_not_above_target")

    def test_leaving_comes_before_adding(self) -> None:
        rich = a_position("150001", filled_share="0.4")
        assert self.a_strategy().decide(a_view("-0.05"), rich) == Exit("target_reached")

    def test_the_other_conditions_must_still_hold_for_the_second(self) -> None:
        paid = self.a_strategy(funding_min=0)
        begun = a_position("-1", filled_share="0.4")
        assert paid.decide(a_view("-0.05", funding="0"), begun) == Hold("net_not_above_target")
        assert isinstance(paid.decide(a_view("-0.05"), begun), Enter)

    def test_a_window_without_spread_has_no_z_score(self) -> None:
        flat = warmed(self.a_strategy(), "0.02", "0.02", "0.02", "0.02", "0.02", "0.02", "0.02", "0.02")
        flat.observe(a_view("0.02", at=START + HOUR))
        for hour in range(2, 6):
            flat.observe(a_view("0.02", at=START + hour * HOUR))
        assert flat.decide(a_view("-0.05"), None) == Hold("warming_up_premium")


class TestExchangeRateSurge:
    def a_strategy(self) -> KimpStrategy:
        return build("low_entry", fx_surge="1.001", fx_window_hours=2, coverage_min=1)

    def test_blocks_only_strictly_above_the_mean_times_the_factor(self) -> None:
        strategy = warmed(self.a_strategy(), "0.02", "0.02", usdkrw="1400")
        assert isinstance(strategy.decide(a_view("0", usdkrw="1401.4"), None), Enter)
        assert strategy.decide(a_view("0", usdkrw="1401.41"), None) == Hold("usdkrw_surging")

    def test_waits_for_the_mean_and_for_the_rate(self) -> None:
        strategy = warmed(self.a_strategy(), "0.02", "0.02", usdkrw=None)
        assert strategy.decide(a_view("0", usdkrw=None), None) == Hold("usdkrw_unknown")
        assert strategy.decide(a_view("0"), None) == Hold("warming_up_fx")

    def test_never_blocks_an_exit(self) -> None:
        assert self.a_strategy().decide(a_view(usdkrw=None), a_position("150001")) == Exit("target_reached")


class TestBreakout:
    # Mean 0.02 and deviation 0.01: the bands are at 0.03 and 0.01, the smaller profit at 50,000 won.
    def a_strategy(self, direction: Direction = LONG, target: str | None = "0.015") -> KimpStrategy:
        knobs = {"breakout_net": "0.005", "band_width": 1, "band_hours": 4, "coverage_min": 1}
        strategy = build("low_entry", direction=direction, target_net=target, **knobs)
        return warmed(strategy, "0.01", "0.03", "0.01", "0.03")

    def test_needs_strictly_more_than_the_smaller_profit_and_the_band(self) -> None:
        spike, won = a_view("0", leave=Decimal("0.03") + TICK), Decimal("0.01")
        assert self.a_strategy().decide(spike, a_position(50_000 + won)) == Exit("breakout")
        assert self.a_strategy().decide(spike, a_position("50000")) == Hold("net_not_above_target")
        assert self.a_strategy().decide(a_view("0.05", leave="0.03"), a_position("60000")) == Hold(
            "net_not_above_target"
        )

    def test_short_breaks_out_downwards_at_the_premium_of_buying_back(self) -> None:
        strategy, position = self.a_strategy(SHORT), a_position("50001", direction=SHORT)
        assert strategy.decide(a_view("0.0099", leave="0.02"), position) == Exit("breakout")
        assert strategy.decide(a_view("0.01", leave="0"), position) == Hold("net_not_above_target")

    def test_the_band_is_that_of_the_premium_at_which_one_leaves(self) -> None:
        strategy = build("low_entry", breakout_net="0.005", band_width=1, band_hours=2, coverage_min=1)
        for hour, leave in enumerate(["0.01", "0.03"]):
            strategy.observe(a_view("0.5", leave=leave, at=START + hour * HOUR))
        assert strategy.levels().exit_band == Decimal("0.03")

    def test_the_full_target_needs_no_spike(self) -> None:
        assert self.a_strategy().decide(a_view("0.02"), a_position("150001")) == Exit("target_reached")

    def test_breakouts_alone_never_leave_without_a_spike(self) -> None:
        assert self.a_strategy(target=None).decide(a_view("0.02"), a_position("900000")) == Hold("no_breakout")

    def test_a_band_that_is_warming_up_leaves_the_full_target_to_decide(self) -> None:
        cold = build("low_entry", breakout_net="0.005")
        assert cold.decide(a_view("0.5"), a_position("60000")) == Hold("warming_up_band")
        assert cold.decide(a_view("0.5"), a_position("150001")) == Exit("target_reached")

    def test_a_position_from_before_a_change_of_direction_leaves_on_its_net(self) -> None:
        old = a_position("50001", direction=SHORT)
        assert self.a_strategy(target=None).decide(a_view("0.02"), old) == Exit("target_reached")
        assert self.a_strategy().decide(a_view("0.5"), old) == Hold("net_not_above_target")


@pytest.mark.parametrize("bad", ["NaN", "sNaN", "Infinity", "-Infinity"])
class TestWhatIsNoNumber:
    @pytest.mark.parametrize("zone", [Zone.ABOVE, Zone.BELOW])
    def test_a_premium_that_is_none_enters_nothing(self, bad: str, zone: Zone) -> None:
        strategy = KimpStrategy(KimpSettings(zone=zone, threshold=Decimal("0.01")))
        assert isinstance(strategy.decide(a_view(bad), None), Hold)

    def test_a_net_that_is_none_leaves_nothing(self, bad: str) -> None:
        assert build("roadmap").decide(a_view(), a_position(bad)) == Hold("not_a_number")

    def test_observing_one_changes_nothing(self, bad: str) -> None:
        strategy = build("low_entry", percentile="0.2", z_score=1, fx_surge="1.001", breakout_net="0.005")
        before = pickle.dumps(strategy)
        strategy.observe(a_view(bad, usdkrw=bad))
        assert pickle.dumps(strategy) == before


def test_the_same_reason_is_the_same_object() -> None:
    strategy = build("roadmap")
    first: Signal = strategy.decide(a_view("0.01"), None)
    assert strategy.decide(a_view("0.02"), None) is first


def test_levels_are_the_strictest_line_of_all_conditions() -> None:
    knobs = {"window_hours": 4, "coverage_min": 1, "breakout_net": "0", "band_hours": 4, "band_width": 1}
    strategy = build("low_entry", threshold="0.015", z_score=1, z_score_add=2, **knobs)  # type: ignore[arg-type]
    assert strategy.levels() == Levels(LONG, Zone.BELOW, None, None, None)
    warmed(strategy, "0.01", "0.03", "0.01", "0.03")
    assert strategy.levels() == Levels(LONG, Zone.BELOW, Decimal("0.01"), Decimal(0), Decimal("0.03"))


def test_the_levels_of_a_fixed_threshold_are_known_at_once() -> None:
    assert build("roadmap").levels() == Levels(LONG, Zone.ABOVE, Decimal("0.03"), None, None)
