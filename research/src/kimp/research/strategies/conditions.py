"""The conditions of an entry as objects: a limit, the window it is measured against, and the reason to wait.

Each asks one pure function of :mod:`kimp.research.strategies.filters`. Windows are filled by ``observe`` alone, so
asking changes nothing and may be done as often as one likes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from operator import gt, le, lt
from types import MappingProxyType
from typing import ClassVar

from kimp.research.strategies.filters import Zone, distant_level, is_beyond, is_surging, pays_funding
from kimp.research.strategies.reasons import HOLDS, Reason
from kimp.research.strategies.settings import KimpSettings
from kimp.research.strategies.windows import Frame, RollingMoments, RollingQuantile
from kimp.shared.domain.signals import Direction, Hold
from kimp.shared.ports.strategy import Condition as Comparison
from kimp.shared.ports.strategy import MarketView

# Looked up once: an enum key costs more to hash than the comparison it would explain.
_PREMIUM_WARMING_UP = HOLDS[Reason.PREMIUM_WARMING_UP]
_FX_WARMING_UP = HOLDS[Reason.FX_WARMING_UP]
_FUNDING_UNKNOWN = HOLDS[Reason.FUNDING_UNKNOWN]
_FUNDING_MISSED = HOLDS[Reason.FUNDING_NOT_ABOVE_MINIMUM]
_USDKRW_UNKNOWN = HOLDS[Reason.USDKRW_UNKNOWN]
_USDKRW_SURGING = HOLDS[Reason.USDKRW_SURGING]


class Condition:
    """Something that must hold before the pair is entered; ``premium`` is always that of the side traded."""

    has_window: ClassVar[bool] = False

    def observe(self, premium: Decimal, view: MarketView, /) -> None:
        """Take note of what is usual; only conditions with a window have anything to note."""

    def missing(self, premium: Decimal, view: MarketView, /) -> Hold | None:
        """The reason to wait, or ``None`` when the condition holds."""
        raise NotImplementedError

    def explain(self, premium: Decimal, view: MarketView, /) -> Comparison:
        """The comparison that ``missing`` makes, with its figures; it holds exactly when nothing is missing."""
        raise NotImplementedError


class LevelCondition(Condition):
    """The premium is beyond a line in its own chart: ``level`` (fraction), ``None`` while warming up."""

    kind: ClassVar[str]

    def __init__(self, level: Decimal | None, zone: Zone) -> None:
        self.level = level
        self.zone = zone
        self._missed = HOLDS[Reason(f"premium_not_{zone}_{self.kind}")]

    def missing(self, premium: Decimal, _view: MarketView, /) -> Hold | None:
        level = self.level
        if level is None:
            return _PREMIUM_WARMING_UP
        return None if is_beyond(premium, level, self.zone) else self._missed

    def explain(self, premium: Decimal, _view: MarketView, /) -> Comparison:
        # An infinite premium passes any level and still is none to enter at: see ``KimpStrategy``.
        usable = premium if premium.is_finite() else None
        return compared(f"premium_{self.kind}", usable, ">" if self.zone is Zone.ABOVE else "<", self.level)


class BeyondThreshold(LevelCondition):
    """The premium is beyond a fixed level."""

    kind = "threshold"


class BeyondPercentile(LevelCondition):
    """The premium is rarer than a share of its own recent past."""

    kind = "percentile"
    has_window = True

    def __init__(self, frame: Frame, fraction: Decimal, zone: Zone) -> None:
        super().__init__(None, zone)
        self._window = RollingQuantile(frame, fraction, from_top=zone is Zone.ABOVE)

    def observe(self, premium: Decimal, view: MarketView, /) -> None:
        if self._window.observe(view.at, premium):
            self.level = self._window.value


class BeyondZScore(LevelCondition):
    """The premium is unusually far from its own recent mean; a window without spread counts as warming up."""

    kind = "z_score"
    has_window = True

    def __init__(self, frame: Frame, distance: Decimal, zone: Zone) -> None:
        super().__init__(None, zone)
        self._window = RollingMoments(frame)
        self._distance = distance

    def observe(self, premium: Decimal, view: MarketView, /) -> None:
        if not self._window.observe(view.at, premium):
            return
        mean, deviation = self._window.mean, self._window.deviation
        if mean is None or not deviation:
            self.level = None
        else:
            self.level = distant_level(mean, deviation, self._distance, self.zone)


class FundingIncome(Condition):
    """Holding the pair is paid for by the perpetual's funding."""

    def __init__(self, direction: Direction, minimum: Decimal) -> None:
        self._direction = direction
        self._minimum = minimum

    def missing(self, _premium: Decimal, view: MarketView, /) -> Hold | None:
        rate = view.funding_rate
        if rate is None:
            return _FUNDING_UNKNOWN
        return None if pays_funding(rate, self._direction, self._minimum) else _FUNDING_MISSED

    def explain(self, _premium: Decimal, view: MarketView, /) -> Comparison:
        rate = view.funding_rate
        income = rate if rate is None or self._direction is Direction.LONG_PREMIUM else -rate
        return compared("funding_income", income, ">", self._minimum)


class CalmExchangeRate(Condition):
    """USD/KRW has not just jumped."""

    has_window = True

    def __init__(self, frame: Frame, factor: Decimal) -> None:
        self._window = RollingMoments(frame)
        self._factor = factor

    def observe(self, _premium: Decimal, view: MarketView, /) -> None:
        if view.usdkrw is not None:
            self._window.observe(view.at, view.usdkrw)

    def missing(self, _premium: Decimal, view: MarketView, /) -> Hold | None:
        rate, mean = view.usdkrw, self._window.mean
        if rate is None:
            return _USDKRW_UNKNOWN
        if mean is None:
            return _FX_WARMING_UP
        return _USDKRW_SURGING if is_surging(rate, mean, self._factor) else None

    def explain(self, _premium: Decimal, view: MarketView, /) -> Comparison:
        mean = self._window.mean
        return compared("usdkrw", view.usdkrw, "<=", None if mean is None else mean * self._factor)


def compared(name: str, actual: Decimal | None, relation: str, needed: Decimal | None) -> Comparison:
    """One comparison with its answer; what is not known, or no number, does not hold."""
    try:
        holds = actual is not None and needed is not None and _HOLDS[relation](actual, needed)
    except InvalidOperation:  # NaN, which compares with nothing
        holds = False
    return Comparison(name, actual, relation, needed, holds)


_HOLDS: Mapping[str, Callable[[Decimal, Decimal], bool]] = MappingProxyType({">": gt, "<": lt, "<=": le})


def conditions_of(settings: KimpSettings) -> tuple[Condition, ...]:
    """Every condition that is switched on, in the order in which they are asked."""
    frame, zone = settings.frame(settings.window_hours), settings.zone
    conditions: list[Condition] = []
    if settings.threshold is not None:
        conditions.append(BeyondThreshold(settings.threshold, zone))
    if settings.percentile is not None:
        conditions.append(BeyondPercentile(frame, settings.percentile, zone))
    if settings.z_score is not None:
        conditions.append(BeyondZScore(frame, settings.z_score, zone))
    if settings.funding_min is not None:
        conditions.append(FundingIncome(settings.direction, settings.funding_min))
    if settings.fx_surge is not None:
        conditions.append(CalmExchangeRate(settings.frame(settings.fx_window_hours), settings.fx_surge))
    return tuple(conditions)


def strictest_level(conditions: Iterable[Condition], zone: Zone) -> Decimal | None:
    """The one line that all level conditions together amount to, ``None`` while any of them is warming up."""
    levels = [condition.level for condition in conditions if isinstance(condition, LevelCondition)]
    known = [level for level in levels if level is not None]
    if not known or len(known) < len(levels):
        return None
    return max(known) if zone is Zone.ABOVE else min(known)
