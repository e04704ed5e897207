"""What a report says beyond the headline: why pairs were closed, and what the reader must be warned of."""

from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from statistics import median

import numpy as np

from kimp.research.attribution import Attribution, attribution_of
from kimp.research.backtest.report import labels
from kimp.research.backtest.report.labels import Label
from kimp.research.backtest.report.numerals import percent, signed_won
from kimp.research.backtest.result import BacktestResult, Trade
from kimp.research.metrics import Metrics, marks_of, metrics_of
from kimp.shared.domain.time import DAY, Nanos

MEDIAN_WINDOW: Nanos = 30 * DAY
"""A month is what "its usual premium" means here: long against a rally, short against a change of regime."""

HISTORY_MIN: Nanos = DAY
"""Entries with less premium history than this before them are not judged."""

UNATTRIBUTED_MAX = 1e-6
"""Share of capital by which the curve's end may miss the attributed net: float64 money over a million bars."""


@dataclass(frozen=True, slots=True)
class ExitReason:
    """All closed pairs that ended for one reason; ``net`` in KRW, ``net_share`` of their summed entry notional."""

    reason: str
    trades: int
    net: Decimal
    net_share: Decimal | None
    held_median: Nanos


@dataclass(frozen=True, slots=True)
class EntriesAboveMedian:
    """How many long entries paid more than the usual premium; ``judged`` are those with history to compare."""

    judged: int
    above: int

    @property
    def share(self) -> float | None:
        """Part of the judged entries that lie above; 0.5 is half of them."""
        return self.above / self.judged if self.judged else None


@dataclass(frozen=True, slots=True)
class Warned:
    """One thing the reader must not overlook, with a stable code for programs."""

    code: str
    text: Label


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that is computed from a result, once, for JSON, page and tables alike."""

    metrics: Metrics
    attribution: Attribution
    exit_reasons: tuple[ExitReason, ...]
    entries: EntriesAboveMedian
    unattributed: float | None
    assumptions: dict[str, str]
    warnings: tuple[Warned, ...]


def findings_of(result: BacktestResult) -> Findings:
    """Measures a run.

    Raises:
        ValueError: the books of a pair do not add up.
    """
    attribution = attribution_of(result)
    entries = entries_above_median(result)
    unattributed = _unattributed(result, attribution)
    return Findings(
        metrics=metrics_of(result),
        attribution=attribution,
        exit_reasons=exit_reasons(result.trades),
        entries=entries,
        unattributed=unattributed,
        assumptions={**result.assumptions, "annualisation": labels.ANNUALISATION, "marking": labels.MARKING},
        warnings=_warnings(result, entries, unattributed),
    )


def pairs_of(result: BacktestResult) -> tuple[Trade, ...]:
    """Closed pairs and, last, the open one."""
    return result.trades if result.open_position is None else (*result.trades, result.open_position)


def exit_reasons(trades: tuple[Trade, ...]) -> tuple[ExitReason, ...]:
    """Closed pairs by reason, the most frequent first."""
    groups: defaultdict[str, list[Trade]] = defaultdict(list)
    for trade in trades:
        groups[trade.exit_reason].append(trade)
    found = []
    for reason, members in groups.items():
        net = sum((trade.net for trade in members), Decimal(0))
        notional = sum((trade.notional for trade in members), Decimal(0))
        held = median(trade.closed_at - trade.opened_at for trade in members if trade.closed_at is not None)
        found.append(ExitReason(reason, len(members), net, net / notional if notional else None, int(held)))
    return tuple(sorted(found, key=lambda group: (-group.trades, group.reason)))


def median_before(result: BacktestResult, at: Nanos) -> float | None:
    """The usual premium at a moment: median of the bars that closed in the 30 days before it; None without a day."""
    curves = result.curves
    first, after = np.searchsorted(curves.at, [at - MEDIAN_WINDOW, at])
    last = after - 1  # the bar that opened last before this moment had not closed yet
    if first >= last or at - int(curves.at[first]) < HISTORY_MIN:
        return None
    window = curves.premium[first:last]
    known = window[np.isfinite(window)]
    return float(np.median(known)) if len(known) else None


def entries_above_median(result: BacktestResult) -> EntriesAboveMedian:
    """Counts LONG_PREMIUM entries above the premium's rolling median: those bet on a further rise."""
    judged = above = 0
    for pair in pairs_of(result):
        usual = median_before(result, pair.opened_at) if pair.direction == "LONG_PREMIUM" else None
        if usual is not None:
            judged += 1
            above += float(pair.entry_premium) > usual
    return EntriesAboveMedian(judged, above)


def _unattributed(result: BacktestResult, attribution: Attribution) -> float | None:
    _, equity = marks_of(result)
    if not len(equity):
        return None
    return (float(equity[-1]) - float(result.capital + attribution.net)) / float(result.capital)


def _warnings(result: BacktestResult, entries: EntriesAboveMedian, unattributed: float | None) -> tuple[Warned, ...]:
    found = []
    if entries.above:
        words = {"judged": entries.judged, "above": entries.above, "share": percent(entries.share)}
        found.append(Warned("long_entries_above_median", _filled(labels.ABOVE_MEDIAN, **words)))
    if unattributed is not None and abs(unattributed) > UNATTRIBUTED_MAX:
        amount = signed_won(unattributed * float(result.capital))
        found.append(Warned("equity_not_attributed", _filled(labels.UNATTRIBUTED, amount=amount)))
    return tuple(found)


def _filled(text: Label, **words: object) -> Label:
    return Label(text.ko.format(**words), text.en.format(**words))
