"""Every limit of the engine with its unit and its reason."""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol

import msgspec

from kimp.shared.domain.money import ONE
from kimp.shared.domain.premium import Basis
from kimp.shared.domain.time import MILLISECOND, MINUTE, SECOND, Nanos


class EngineSettings(msgspec.Struct, frozen=True):
    """Limits, all configurable; durations in nanoseconds, shares and slippages as fractions.

    Basis
        ``signal_basis`` is what the strategy compares, ``valuation_basis`` what money is valued at (never the other as
        a fallback: without its rate nothing is entered and nothing leaves).
    Sizing
        ``capital_share`` of each venue's money may be committed; ``leverage`` divides the margin a contract needs.
    Prices
        ``slippage_max`` is how far beyond the touch an entry may fill, and the most an exit gives away beyond its VWAP.
        ``override_slippage`` is how far beyond the touch a pair is closed that its owner orders to be closed.
    Data gates
        A book older than ``book_age_max`` or legs more than ``leg_skew_max`` apart are not decided on; ``quarantine``
        is the distrust after a reconnect; a venue clock further off than ``clock_skew_max`` risks −1021 and wrong ages.
    Pace
        ``cooldown`` after a failed or closed pair; ``entries_per_minute_max`` stops a loop from spending. After an exit
        that did not close the pair, the next waits ``exit_pause``: a venue that refuses, or a limit that is not met,
        would otherwise be asked on every quote until it bans us. Five seconds is twelve orders a minute.
    Unknown orders
        No answer for ``answer_timeout`` means ask; asking backs off along ``query_backoff`` and never ends. An order is
        lost only when denied ``lost_misses_min`` times and ``lost_after`` has passed: longer than Binance's recvWindow
        (5 s) plus its read lag. After ``unresolved_after`` the owner is told.
    Repair
        ``complete_tries_max`` attempts to finish the missing leg within the plan's own bound, then unwinding at growing
        ``repair_slippages``, each attempt ``repair_pause`` later than the one before, so that a venue that refuses
        everything for a second does not use them all up; after those, entries halt and a slow repair goes on every
        ``halted_retry``.
    """

    signal_basis: Basis = Basis.FX
    valuation_basis: Basis = Basis.USDT
    capital_share: Decimal = Decimal("0.95")
    leverage: Decimal = ONE
    slippage_max: Decimal = Decimal("0.002")
    override_slippage: Decimal = Decimal("0.01")
    book_age_max: Nanos = 5 * SECOND
    leg_skew_max: Nanos = SECOND
    quarantine: Nanos = 5 * SECOND
    clock_skew_max: Nanos = 500 * MILLISECOND
    cooldown: Nanos = MINUTE
    exit_pause: Nanos = 5 * SECOND
    entries_per_minute_max: int = 4
    answer_timeout: Nanos = 2 * SECOND
    query_backoff: tuple[Nanos, ...] = (SECOND, 2 * SECOND, 4 * SECOND, 8 * SECOND)
    lost_misses_min: int = 3
    lost_after: Nanos = 10 * SECOND
    unresolved_after: Nanos = 30 * SECOND
    complete_tries_max: int = 2
    repair_slippages: tuple[Decimal, ...] = tuple(
        Decimal(text) for text in ("0.002", "0.005", "0.01", "0.02", "0.03", "0.05")
    )
    repair_pause: Nanos = 250 * MILLISECOND
    halted_retry: Nanos = 10 * SECOND

    @property
    def quick_repairs_max(self) -> int:
        """Attempts before entries are halted and the owner is called."""
        return self.complete_tries_max + len(self.repair_slippages)


class _Capital(Protocol):
    """What the engine reads of ``[capital]``."""

    @property
    def fraction(self) -> Decimal: ...


class _Guards(Protocol):
    """What the engine reads of ``[guards]``."""

    @property
    def book_age_max_ms(self) -> int: ...

    @property
    def leg_skew_max_ms(self) -> int: ...

    @property
    def quarantine_s(self) -> int: ...

    @property
    def clock_skew_max_ms(self) -> int: ...


class _Execution(Protocol):
    """What the engine reads of ``[execution]``."""

    @property
    def leverage(self) -> int: ...

    @property
    def slippage_max(self) -> Decimal: ...

    @property
    def complete_tries_max(self) -> int: ...

    @property
    def entries_per_minute_max(self) -> int: ...

    @property
    def cooldown_s(self) -> int: ...


class Configured(Protocol):
    """The part of ``kimp.shared.settings.Settings`` the engine reads, named here because that module knows of files."""

    @property
    def capital(self) -> _Capital: ...

    @property
    def guards(self) -> _Guards: ...

    @property
    def execution(self) -> _Execution: ...


def engine_settings(settings: Configured) -> EngineSettings:
    """The engine's limits as the owner configured them; what the configuration does not name keeps its default.

    Fees are not here: they belong to the instruments (``costs.*``, or what the venue says at start).
    """
    guards, execution = settings.guards, settings.execution
    return EngineSettings(
        capital_share=settings.capital.fraction,
        leverage=Decimal(execution.leverage),
        slippage_max=execution.slippage_max,
        book_age_max=guards.book_age_max_ms * MILLISECOND,
        leg_skew_max=guards.leg_skew_max_ms * MILLISECOND,
        quarantine=guards.quarantine_s * SECOND,
        clock_skew_max=guards.clock_skew_max_ms * MILLISECOND,
        cooldown=execution.cooldown_s * SECOND,
        entries_per_minute_max=execution.entries_per_minute_max,
        complete_tries_max=execution.complete_tries_max,
    )
