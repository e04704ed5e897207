from decimal import Decimal
from importlib.metadata import entry_points

import numpy as np
import pytest

from kimp.research.strategies.filters import Zone
from kimp.research.strategies.kimp import KimpStrategy
from kimp.research.strategies.presets import PRESETS, build, preset
from kimp.research.strategies.settings import KimpSettings
from kimp.shared.domain.signals import Direction
from kimp.shared.errors import ConfigurationError
from kimp.shared.ports.strategy import Strategy

LONG, SHORT = Direction.LONG_PREMIUM, Direction.SHORT_PREMIUM


def test_roadmap_is_the_confirmed_rule() -> None:
    assert preset("roadmap") == KimpSettings(
        zone=Zone.ABOVE, threshold=Decimal("0.03"), funding_min=Decimal(0), target_net=Decimal(0)
    )


def test_roadmap_short_keeps_the_threshold_and_asks_nothing_of_funding() -> None:
    short = preset("roadmap", direction=SHORT)
    assert (short.direction, short.zone, short.threshold, short.funding_min) == (
        SHORT,
        Zone.ABOVE,
        Decimal("0.03"),
        None,
    )


def test_low_entry_buys_low_and_short_sells_high() -> None:
    long, short = preset("low_entry"), preset("low_entry", direction=SHORT)
    assert (long.zone, long.threshold, long.target_net) == (Zone.BELOW, Decimal("0.01"), Decimal("0.015"))
    assert (short.zone, short.direction) == (Zone.ABOVE, SHORT)


def test_every_preset_is_described_in_one_sentence_and_holds_its_direction() -> None:
    for entry in PRESETS.values():
        assert entry.description.endswith(".")
        assert (entry.long.direction, entry.short.direction) == (LONG, SHORT)


@pytest.mark.parametrize("value", ["0.025", 0.025, Decimal("0.025"), np.float64(0.025)])
def test_overrides_come_as_text_float_or_decimal_and_mean_the_same(value: object) -> None:
    assert preset("low_entry", threshold=value).threshold == Decimal("0.025")


def test_null_switches_a_condition_off() -> None:
    assert preset("low_entry", threshold="null", percentile="0.2").threshold is None


def test_a_direction_may_be_text_as_in_the_settings_file() -> None:
    assert build("low_entry", direction="SHORT_PREMIUM").settings.direction is SHORT


def test_an_unknown_preset_names_the_nearest_and_all() -> None:
    with pytest.raises(ConfigurationError, match=r'"raodmap"; did you mean "roadmap"\? .*: roadmap, low_entry'):
        build("raodmap")


def test_an_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match='"treshold"; did you mean "threshold"'):
        preset("roadmap", treshold="0.02")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("threshold", "three", "a number or null"),
        ("threshold", float("nan"), "a number or null"),
        ("threshold", object(), "a number or null"),
        ("threshold", "3", "0.03 is three percent"),
        ("first_share", "null", "a number"),
        ("window_hours", "1.5", "a whole number"),
        ("zone", "abve", "above, below"),
        ("direction", "LONG", "LONG_PREMIUM, SHORT_PREMIUM"),
        ("name", 3, "text"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_with_what_would_be_right(key: str, value: object, expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected) as caught:
        preset("low_entry", **{key: value})  # type: ignore[arg-type]  # wrong kinds are the point
    assert key in str(caught.value)


def test_the_trader_finds_the_strategy_by_name() -> None:
    [found] = entry_points(group="kimp.strategies", name="kimp")
    strategy: Strategy = found.load()("low_entry", direction="LONG_PREMIUM")
    assert isinstance(strategy, KimpStrategy)
    assert strategy.name == "kimp"
