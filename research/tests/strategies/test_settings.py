from decimal import Decimal
from typing import Any

import msgspec
import pytest

from kimp.research.strategies.filters import Zone
from kimp.research.strategies.settings import SAMPLES_MAX, KimpSettings
from kimp.shared.errors import ConfigurationError

LEVEL = Decimal("0.01")
FULL: dict[str, Any] = {
    "threshold": LEVEL,
    "percentile": Decimal("0.2"),
    "z_score": Decimal(1),
    "z_score_add": Decimal(2),
    "funding_min": Decimal(0),
    "fx_surge": Decimal("1.001"),
    "breakout_net": Decimal("0.005"),
}
"""Every condition switched on, each at a sensible value."""


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", ""),
        ("name", "  "),
        ("name", None),
        ("name", "kimp:BTC"),
        ("name", "k" * 33),
        ("direction", "SHORT_PREMIUM"),
        ("zone", "above"),
        ("threshold", 3),
        ("threshold", Decimal(3)),
        ("threshold", 0.03),
        ("threshold", "0.03"),
        ("threshold", Decimal("NaN")),
        ("threshold", Decimal("Infinity")),
        ("threshold", Decimal("-0.51")),
        ("percentile", Decimal(0)),
        ("percentile", Decimal(1)),
        ("percentile", Decimal(20)),
        ("z_score", Decimal(0)),
        ("z_score", Decimal(-1)),
        ("z_score", Decimal(3)),  # beyond z_score_add
        ("z_score", None),  # nothing to add to
        ("z_score_add", Decimal(1)),
        ("first_share", Decimal(0)),
        ("first_share", Decimal(1)),
        ("first_share", None),
        ("window_hours", 0),
        ("window_hours", True),
        ("window_hours", Decimal(720)),
        ("window_hours", 1),  # a single sample
        ("window_hours", 17_521),
        ("step_minutes", 0),
        ("step_minutes", 1_441),
        ("step_minutes", 7),  # does not divide the windows
        ("coverage_min", Decimal(0)),
        ("coverage_min", Decimal("1.01")),
        ("funding_min", Decimal("0.1")),
        ("fx_surge", Decimal("0.001")),
        ("fx_surge", Decimal("1.2")),
        ("fx_window_hours", -12),
        ("target_net", Decimal("-0.01")),
        ("target_net", Decimal("1.5")),
        ("target_net", Decimal("0.005")),  # not above breakout_net
        ("breakout_net", Decimal("-0.001")),
        ("band_width", Decimal(0)),
        ("band_hours", 0),
    ],
)
def test_nonsense_is_refused_in_one_sentence_that_names_the_setting(key: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=key) as caught:
        KimpSettings(**{**FULL, key: value})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("threshold", Decimal("-0.02")),
        ("threshold", Decimal("0.5")),
        ("percentile", Decimal("0.001")),
        ("z_score", Decimal("1.999")),
        ("coverage_min", Decimal(1)),
        ("funding_min", Decimal("-0.0001")),
        ("fx_surge", Decimal(1)),
        ("target_net", Decimal("0.0051")),
        ("target_net", None),
        ("breakout_net", Decimal(0)),
        ("window_hours", SAMPLES_MAX // 60),
    ],
)
def test_values_within_their_bounds_are_taken_as_they_are(key: str, value: object) -> None:
    step = {"step_minutes": 1} if key == "window_hours" else {}
    assert getattr(KimpSettings(**{**FULL, **step, key: value}), key) == value


def test_a_window_of_too_many_samples_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="50,000"):
        KimpSettings(percentile=Decimal("0.2"), window_hours=SAMPLES_MAX // 60 + 1, step_minutes=1)


def test_windows_that_are_off_are_not_checked() -> None:
    assert KimpSettings(threshold=LEVEL, step_minutes=1_440).step_minutes == 1_440


def test_settings_that_never_enter_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="when to enter"):
        KimpSettings()


def test_settings_that_never_leave_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="when to leave"):
        KimpSettings(threshold=LEVEL, target_net=None)


def test_settings_survive_being_written_down_and_read_back() -> None:
    settings = KimpSettings(**FULL, zone=Zone.ABOVE)
    assert msgspec.json.decode(msgspec.json.encode(settings), type=KimpSettings) == settings


def test_every_setting_is_documented_where_it_is_defined() -> None:
    # Attribute docstrings leave no trace at run time, so the source is asked: a string must follow each field.
    import ast
    import inspect

    tree = ast.parse(inspect.getsource(KimpSettings)).body[0]
    assert isinstance(tree, ast.ClassDef)
    for field, after in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign):
            assert isinstance(after, ast.Expr), ast.unparse(field)
            assert isinstance(after.value, ast.Constant), ast.unparse(field)
