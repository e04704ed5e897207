"""Every knob of the kimchi-premium strategy, with its unit, its meaning and what counts as nonsense.

Three ways to say when to enter (``threshold``, ``percentile``, ``z_score``) may be combined: all that are set must
agree. Two ways to say when to leave (``target_net``, ``breakout_net``): either suffices. ``None`` switches a
condition off.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

import msgspec

from kimp.research.strategies.filters import Zone
from kimp.research.strategies.windows import Frame
from kimp.shared.domain.signals import Direction
from kimp.shared.errors import ConfigurationError

SAMPLES_MAX = 50_000
"""Per window: a month of minutes fits, and the memory of a forgotten setting stays at a few megabytes."""

SAMPLES_MIN = 2
"""One sample has no spread and is its own percentile."""


class KimpSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When the pair is entered and left; fractions unless said otherwise (0.03 is three percent).

    The premium compared for entry is that of the side traded: buying in Korea for ``LONG_PREMIUM``, selling there for
    ``SHORT_PREMIUM``. Windows hold that same series; the Bollinger band of the exit holds the other, at which one
    leaves.

    Raises:
        ConfigurationError: a value is no number, out of its bounds, or contradicts another.
    """

    name: str = "kimp"
    """What the strategy is journaled under. Keep it while a position is open: the position is found again by it."""

    direction: Direction = Direction.LONG_PREMIUM
    """Which way the pair is held."""

    zone: Zone = Zone.BELOW
    """On which side of its levels the premium has to be for an entry."""

    threshold: Decimal | None = None
    """Fixed entry level of the premium (fraction, −0.5 to 0.5; may be negative)."""

    percentile: Decimal | None = None
    """Enter among this share of the window's extremes (0.001 to 0.999): 0.2 is its lowest fifth in the zone ``BELOW``,
    its highest fifth in ``ABOVE``."""

    z_score: Decimal | None = None
    """Enter further than this many standard deviations from the window's mean, on the side of ``zone`` (0.1 to 10)."""

    z_score_add: Decimal | None = None
    """Enter in two tranches: the first at ``z_score``, the rest beyond this one (standard deviations, up to 10)."""

    first_share: Decimal = Decimal("0.4")
    """The first tranche's part of a full position when ``z_score_add`` is set (0.05 to 0.95)."""

    window_hours: int = 720
    """Span of the window behind ``percentile`` and ``z_score`` (hours)."""

    step_minutes: int = 60
    """One sample of every window per so many minutes (1 to 1,440). Finer than the data, a window never becomes warm."""

    coverage_min: Decimal = Decimal("0.8")
    """Share of a window's samples that must be there before it is believed (0.1 to 1)."""

    funding_min: Decimal | None = None
    """Holding must pay more funding than this per settlement (fraction of notional, −0.05 to 0.05). 0 asks for income:
    a positive rate for ``LONG_PREMIUM``, a negative one for ``SHORT_PREMIUM``."""

    fx_surge: Decimal | None = None
    """No entry, in either direction, while USD/KRW is above its window's mean times this (factor, 1 to 1.1)."""

    fx_window_hours: int = 12
    """Span of the USD/KRW mean (hours)."""

    target_net: Decimal | None = Decimal("0.015")
    """Leave when closing would earn more than this share of the whole capital (0 to 0.5; 0: any profit)."""

    breakout_net: Decimal | None = None
    """Leave already with this much (share of the whole capital, 0 to 0.5, less than ``target_net``) when the premium at
    which one leaves is outside its Bollinger band, on the side where we earn."""

    band_width: Decimal = Decimal(2)
    """Half-width of the Bollinger band (standard deviations, 0.1 to 10)."""

    band_hours: int = 20
    """Span of the Bollinger band (hours)."""

    def __post_init__(self) -> None:
        # A colon would be taken for the one between strategy and coin in the journal's slots.
        if not isinstance(self.name, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", self.name):
            raise ConfigurationError(f"name is {self.name!r}, but must be 1 to 32 letters, digits, '-' or '_'")
        _check_choices(self)
        _check_numbers(self)
        _check_windows(self)
        _check_sense(self)

    def frame(self, hours: int) -> Frame:
        """How a window of so many hours samples under these settings."""
        return Frame.of(hours, self.step_minutes, self.coverage_min)


_FRACTION = "a fraction: 0.03 is three percent"
_BOUNDS: Mapping[str, tuple[str, str, str]] = {
    "threshold": ("-0.5", "0.5", _FRACTION),
    "percentile": ("0.001", "0.999", "a share of the samples: 0.2 is a fifth"),
    "z_score": ("0.1", "10", "standard deviations, the side comes from zone"),
    "z_score_add": ("0.1", "10", "standard deviations, the side comes from zone"),
    "first_share": ("0.05", "0.95", "a share of the full position"),
    "coverage_min": ("0.1", "1", "a share of the samples"),
    "funding_min": ("-0.05", "0.05", "a fraction per settlement: 0.0001 is one basis point"),
    "fx_surge": ("1", "1.1", "a factor: 1.001 is a tenth of a percent above the mean"),
    "target_net": ("0", "0.5", "a share of the capital: 0.015 is one and a half percent"),
    "breakout_net": ("0", "0.5", "a share of the capital: 0.005 is half a percent"),
    "band_width": ("0.1", "10", "standard deviations"),
    "window_hours": ("1", "17520", "hours, at most two years"),
    "fx_window_hours": ("1", "17520", "hours, at most two years"),
    "band_hours": ("1", "17520", "hours, at most two years"),
    "step_minutes": ("1", "1440", "minutes"),
}
_OPTIONAL = frozenset(
    {"threshold", "percentile", "z_score", "z_score_add", "funding_min", "fx_surge", "target_net", "breakout_net"}
)
_WHOLE = frozenset({"window_hours", "fx_window_hours", "band_hours", "step_minutes"})


def _check_choices(settings: KimpSettings) -> None:
    # Structs built by hand do not check types, and the strategy compares enum members by identity.
    for key, kind in (("direction", Direction), ("zone", Zone)):
        value = getattr(settings, key)
        if not isinstance(value, kind):
            choices = ", ".join(f"{kind.__name__}.{member.name}" for member in kind)
            raise ConfigurationError(f"{key} is {value!r}, but must be one of {choices}")


def _check_numbers(settings: KimpSettings) -> None:
    for key, (low, high, meaning) in _BOUNDS.items():
        value = getattr(settings, key)
        if value is None and key in _OPTIONAL:
            continue
        kind = int if key in _WHOLE else Decimal
        acceptable = type(value) is kind and Decimal(value).is_finite() and Decimal(low) <= value <= Decimal(high)
        if not acceptable:
            noun = "a whole number" if kind is int else "a Decimal"
            raise ConfigurationError(f"{key} is {value!r}, but must be {noun} from {low} to {high} ({meaning})")


def _check_windows(settings: KimpSettings) -> None:
    for key, is_used in (
        ("window_hours", settings.percentile is not None or settings.z_score is not None),
        ("fx_window_hours", settings.fx_surge is not None),
        ("band_hours", settings.breakout_net is not None),
    ):
        if not is_used:
            continue
        minutes = getattr(settings, key) * 60
        if minutes % settings.step_minutes:
            raise ConfigurationError(
                f"{key} of {minutes} minutes is not a whole number of steps of step_minutes = {settings.step_minutes}"
            )
        size = minutes // settings.step_minutes
        if not SAMPLES_MIN <= size <= SAMPLES_MAX:
            raise ConfigurationError(
                f"{key} holds {size} samples of step_minutes = {settings.step_minutes}, "
                f"but must hold {SAMPLES_MIN} to {SAMPLES_MAX:,}"
            )


def _check_sense(settings: KimpSettings) -> None:
    if settings.threshold is None and settings.percentile is None and settings.z_score is None:
        raise ConfigurationError("nothing says when to enter; set threshold, percentile or z_score")
    if settings.target_net is None and settings.breakout_net is None:
        raise ConfigurationError("nothing says when to leave; set target_net or breakout_net")
    if settings.z_score_add is not None and (settings.z_score is None or settings.z_score_add <= settings.z_score):
        raise ConfigurationError(
            f"z_score_add is {settings.z_score_add}, but must be greater than z_score, which is {settings.z_score}"
        )
    if (
        settings.breakout_net is not None
        and settings.target_net is not None
        and settings.breakout_net >= settings.target_net
    ):
        raise ConfigurationError(
            f"breakout_net is {settings.breakout_net}, but must be less than target_net, which is "
            f"{settings.target_net}, or it decides nothing; set target_net to null to leave on breakouts only"
        )
