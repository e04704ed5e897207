"""The kimchi-premium strategy: enter at a premium worth betting on, leave only when closing earns enough.

While flat, every condition that is switched on must hold; the first of these that does not is the reason to wait:

1. the premium is beyond the fixed threshold;
2. it is beyond its rolling percentile;
3. it is further from its rolling mean than the Z-score asks;
4. holding pays more funding than the minimum;
5. USD/KRW has not just surged.

While in position: leave when closing now would earn more than the target, or, with the breakout exit, already at a
smaller profit while the premium spikes out of its Bollinger band. Otherwise hold, or, when entering in two tranches,
add the second once the Z-score has gone further and conditions 1 to 5 still hold. Leaving is never blocked by a
condition of entering, nor by a missing rate.

``SHORT_PREMIUM`` is the mirror: it compares the premium of *selling* in Korea to enter and of *buying* to leave,
wants negative funding where a minimum is set, and breaks out downwards. ``zone`` says on which side of its levels the
premium has to be for an entry, for either direction. Only the USD/KRW filter is not mirrored: a jump makes any
premium doubtful.

Funding or USD/KRW missing means waiting if, and only if, a condition needs it. All comparisons are strict and in
decimals.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import msgspec

from kimp.research.strategies.conditions import (
    BeyondZScore,
    Condition,
    LevelCondition,
    compared,
    conditions_of,
    strictest_level,
)
from kimp.research.strategies.filters import Zone, is_breakout, is_enough, second_tranche
from kimp.research.strategies.reasons import HOLDS, ExitReason, Reason
from kimp.research.strategies.settings import KimpSettings
from kimp.shared.domain.money import ONE, ZERO
from kimp.shared.domain.signals import Direction, Enter, Exit, Hold, Signal
from kimp.shared.domain.time import HOUR, Nanos
from kimp.shared.ports.strategy import Condition as Comparison
from kimp.shared.ports.strategy import MarketView, PositionView

_NET_UNKNOWN = HOLDS[Reason.NET_UNKNOWN]
_NOT_A_NUMBER = HOLDS[Reason.NOT_A_NUMBER]
_BAND_WARMING_UP = HOLDS[Reason.BAND_WARMING_UP]
_BREAKOUT = Exit(ExitReason.BREAKOUT.value)

SECOND_TRANCHE = "second_tranche"
"""The reason of the second entry; the first names the levels it passed, ``premium_below_threshold_and_z_score``."""


class Levels(msgspec.Struct, frozen=True):
    """The lines of the premium chart now (fractions): enter on the ``zone`` side of ``entry``, add beyond ``add``.

    ``exit_band`` is what a breakout exit waits for. A line that does not exist, or is still warming up, is ``None``.
    """

    direction: Direction
    zone: Zone
    entry: Decimal | None
    add: Decimal | None
    exit_band: Decimal | None


class KimpStrategy:
    """Decides when to open and close the kimchi-premium pair.

    State is the windows, which ``observe`` alone fills. ``decide`` may be asked with another premium than was
    observed, such as the executable one for the real size, and compares it with the same levels.
    """

    def __init__(self, settings: KimpSettings) -> None:
        self.name = settings.name
        self.settings = settings
        self._direction = settings.direction
        self._is_long = settings.direction is Direction.LONG_PREMIUM
        self._conditions = conditions_of(settings)
        self._further = _second_level(settings)
        self._band = _exit_band(settings)
        further = () if self._further is None else (self._further,)
        self._observing = tuple(condition for condition in (*self._conditions, *further) if condition.has_window)
        self._has_windows = bool(self._observing) or self._band is not None
        share = settings.first_share if further else ONE
        self._enter = Enter(settings.direction, _entry_reason(self._conditions, settings.zone), share)
        self._leave, self._stay = _exit_answers(settings)

    def observe(self, view: MarketView) -> None:
        """Take note of a view: the windows take their samples here and nowhere else."""
        if not self._has_windows:
            return
        premium = self._entry_premium(view)
        for condition in self._observing:
            condition.observe(premium, view)
        if self._band is not None:
            self._band.observe(self._exit_premium(view), view)

    def decide(self, view: MarketView, position: PositionView | None) -> Signal:
        """What to do now: enter, leave, or hold with the missing condition as the reason."""
        try:
            if position is None:
                return self._missing(self._entry_premium(view), view) or self._enter
            return self._when_open(view, position)
        except InvalidOperation:  # something compared was NaN; the data gates should let none through
            return _NOT_A_NUMBER

    def explain(self, view: MarketView, position: PositionView | None) -> tuple[Comparison, ...]:
        """Every comparison behind ``decide``, those it would make after the first that fails included.

        Flat: it enters when all hold. In position: it leaves when ``net_target`` holds, or both ``breakout_`` ones; it
        adds when it does not leave, the net is known and all ``add_`` ones hold. Money in KRW, the rest as fractions;
        ``funding_income`` is the rate with the sign of what we receive.
        """
        if position is None:
            return self._explain_entry(view)
        exits = self._explain_exit(view, position)
        if position.direction is not self._direction:
            return exits
        return exits + self._explain_addition(view, position)

    @property
    def warm_up(self) -> Nanos:
        """The longest span of its windows: after so much history a fresh strategy knows what a running one does."""
        settings = self.settings
        spans = (
            settings.window_hours if settings.percentile is not None or settings.z_score is not None else 0,
            settings.fx_window_hours if settings.fx_surge is not None else 0,
            settings.band_hours if settings.breakout_net is not None else 0,
        )
        return max(spans) * HOUR

    def levels(self) -> Levels:
        """The lines to draw into the premium chart, as they stand after the last view observed."""
        direction, zone = self._direction, self.settings.zone
        entry = strictest_level(self._conditions, zone)
        add = strictest_level((*self._conditions, self._further), zone) if self._further else None
        return Levels(direction, zone, entry, add, self._band.level if self._band else None)

    def _entry_premium(self, view: MarketView) -> Decimal:
        return view.premium if self._is_long else view.leave_premium

    def _exit_premium(self, view: MarketView) -> Decimal:
        return view.leave_premium if self._is_long else view.premium

    def _missing(self, premium: Decimal, view: MarketView) -> Hold | None:
        for condition in self._conditions:
            hold = condition.missing(premium, view)
            if hold is not None:
                return hold
        # An infinite premium passes any level; it comes of dividing by a price of nothing.
        return None if premium.is_finite() else _NOT_A_NUMBER

    def _when_open(self, view: MarketView, position: PositionView) -> Signal:
        net, capital, settings = position.net, position.capital, self.settings
        if net is None:
            return _NET_UNKNOWN
        if not net.is_finite():
            return _NOT_A_NUMBER
        if position.direction is not self._direction:
            return self._when_other_way(net, capital)
        if settings.target_net is not None and is_enough(net, capital, settings.target_net):
            return self._leave
        answer = self._stay
        if self._band is not None and settings.breakout_net is not None:
            band = self._band.level
            if band is None:
                answer = _BAND_WARMING_UP
            elif is_breakout(net, capital, settings.breakout_net, self._exit_premium(view), band, self._band.zone):
                return _BREAKOUT
        return self._second_tranche(view, position.filled_share) or answer

    def _when_other_way(self, net: Decimal, capital: Decimal) -> Signal:
        """A position from before the direction was changed: its band was never observed, so only the net can decide."""
        target, breakout = self.settings.target_net, self.settings.breakout_net
        minimum = target if target is not None else breakout
        assert minimum is not None, "settings without any exit are refused when made"
        return self._leave if is_enough(net, capital, minimum) else self._stay

    def _second_tranche(self, view: MarketView, filled_share: Decimal) -> Enter | None:
        if self._further is None:
            return None
        share = second_tranche(filled_share, self.settings.first_share)
        if share is None:
            return None
        premium = self._entry_premium(view)
        if self._further.missing(premium, view) or self._missing(premium, view):
            return None
        return Enter(self._direction, SECOND_TRANCHE, share)

    # -- explaining: never on the way to an order, so clarity goes before speed ---------------------------------------

    def _explain_entry(self, view: MarketView) -> tuple[Comparison, ...]:
        premium = self._entry_premium(view)
        return tuple(condition.explain(premium, view) for condition in self._conditions)

    def _explain_exit(self, view: MarketView, position: PositionView) -> tuple[Comparison, ...]:
        net, capital, settings = position.net, position.capital, self.settings
        is_other_way = position.direction is not self._direction
        target = settings.target_net
        if is_other_way and target is None:
            target = settings.breakout_net
        if net is not None and not net.is_finite():
            net = None
        comparisons = () if target is None else (compared("net_target", net, ">", capital * target),)
        if self._band is None or settings.breakout_net is None or is_other_way:
            return comparisons
        band = self._band.explain(self._exit_premium(view), view)
        return (
            *comparisons,
            compared("breakout_net", net, ">", capital * settings.breakout_net),
            msgspec.structs.replace(band, name="breakout_band"),
        )

    def _explain_addition(self, view: MarketView, position: PositionView) -> tuple[Comparison, ...]:
        if self._further is None:
            return ()
        # second_tranche(): on once more than half of it is, so it is missing while less than this is on.
        half_of_second = (ONE - self.settings.first_share) / 2
        room = compared("add_share", position.filled_share, "<", ONE - half_of_second)
        further = self._further.explain(self._entry_premium(view), view)
        needed = (further, *self._explain_entry(view))
        names = ("add_further", *(f"add_{comparison.name}" for comparison in needed[1:]))
        return (
            room,
            *(msgspec.structs.replace(one, name=name) for one, name in zip(needed, names, strict=True)),
        )


def _second_level(settings: KimpSettings) -> BeyondZScore | None:
    if settings.z_score_add is None:
        return None
    return BeyondZScore(settings.frame(settings.window_hours), settings.z_score_add, settings.zone)


def _exit_band(settings: KimpSettings) -> BeyondZScore | None:
    if settings.breakout_net is None:
        return None
    # A Bollinger band is a Z-score of the premium at which one leaves: up for who is long of it, down for who is short.
    zone = Zone.ABOVE if settings.direction is Direction.LONG_PREMIUM else Zone.BELOW
    return BeyondZScore(settings.frame(settings.band_hours), settings.band_width, zone)


def _entry_reason(conditions: tuple[Condition, ...], zone: Zone) -> str:
    kinds = [condition.kind for condition in conditions if isinstance(condition, LevelCondition)]
    return f"premium_{zone}_" + "_and_".join(kinds)


def _exit_answers(settings: KimpSettings) -> tuple[Exit, Hold]:
    if settings.target_net is None:
        return Exit(ExitReason.TARGET_REACHED.value), HOLDS[Reason.NO_BREAKOUT]
    if settings.target_net == ZERO:
        return Exit(ExitReason.NET_POSITIVE.value), HOLDS[Reason.NET_NOT_POSITIVE]
    return Exit(ExitReason.TARGET_REACHED.value), HOLDS[Reason.NET_NOT_ABOVE_TARGET]
