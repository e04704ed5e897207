"""Why the strategy waits or leaves, as codes: the surfaces turn them into Korean or English."""

from __future__ import annotations

from enum import StrEnum

from kimp.shared.domain.signals import Hold


class Reason(StrEnum):
    """Why nothing is done; each names the one condition that was missing first."""

    PREMIUM_NOT_ABOVE_THRESHOLD = "premium_not_above_threshold"
    PREMIUM_NOT_BELOW_THRESHOLD = "premium_not_below_threshold"
    PREMIUM_NOT_ABOVE_PERCENTILE = "premium_not_above_percentile"
    PREMIUM_NOT_BELOW_PERCENTILE = "premium_not_below_percentile"
    PREMIUM_NOT_ABOVE_Z_SCORE = "premium_not_above_z_score"
    PREMIUM_NOT_BELOW_Z_SCORE = "premium_not_below_z_score"
    PREMIUM_WARMING_UP = "warming_up_premium"
    FX_WARMING_UP = "warming_up_fx"
    FUNDING_UNKNOWN = "funding_unknown"
    FUNDING_NOT_ABOVE_MINIMUM = "funding_not_above_minimum"
    USDKRW_UNKNOWN = "usdkrw_unknown"
    USDKRW_SURGING = "usdkrw_surging"
    NET_UNKNOWN = "net_unknown"
    NET_NOT_POSITIVE = "net_not_positive"
    NET_NOT_ABOVE_TARGET = "net_not_above_target"
    BAND_WARMING_UP = "warming_up_band"
    NO_BREAKOUT = "no_breakout"
    NOT_A_NUMBER = "not_a_number"


class ExitReason(StrEnum):
    """Why the pair is closed."""

    NET_POSITIVE = "net_positive"
    TARGET_REACHED = "target_reached"
    BREAKOUT = "breakout"


HOLDS = {reason: Hold(reason.value) for reason in Reason}
"""One signal per reason, made once: most minutes of a year end in one of these."""
