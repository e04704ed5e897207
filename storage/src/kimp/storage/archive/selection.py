"""Which files, and which bar length, answer a request for a stretch of time.

The rule, in order:

1. A *leg* is one series (``1m``, ``5m`` or ``1h``) of a venue, all its files joined. It can serve every bar length
   that is a multiple of its own. A hole of more than a day breaks a leg into stretches; shorter holes are ordinary
   gaps.
2. A pair of legs covers what both cover without such a hole, cut to whole bars.
3. Only pairs that cover all of the asked range remain. An end that was not asked for is where the pair's own cover
   ends.
4. The longest cover wins, a day more or less being a draw; a draw goes to the finest bar length, then to the legs
   that need the least resampling, then to the longer cover after all.
"""

from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path

import numpy as np

from kimp.shared.domain.history import Candles
from kimp.shared.domain.time import DAY, Nanos
from kimp.shared.errors import ConfigurationError, DataError
from kimp.storage.archive.bars import cut, read_candles, resample
from kimp.storage.archive.layout import INTERVALS, named_series
from kimp.storage.archive.tables import moment, read_times

HOLE_MAX: Nanos = DAY
"""The longest hole that still counts as a gap; the longest real one, a halt of Upbit, is 8 hours."""

Span = tuple[Nanos, Nanos]


@dataclass(frozen=True, slots=True)
class Leg:
    """One recorded series: its files, its bar length in nanoseconds, and the stretches ``[from, to)`` it covers."""

    paths: tuple[Path, ...]
    step: Nanos
    stretches: tuple[Span, ...]

    def read(self, span: Span, interval: Nanos) -> Candles:
        """The bars of ``interval`` nanoseconds that lie wholly in ``span`` and in what was recorded."""
        start, end = -(-span[0] // interval) * interval, span[1] // interval * interval
        bars = cut(read_candles(self.paths), start, end, self.step)
        return bars if interval == self.step else resample(bars, interval)

    def described(self, interval: Nanos) -> str:
        """Where the bars came from, for the assumptions box."""
        names = ", ".join(path.name for path in self.paths)
        return names if interval == self.step else f"{names} (resampled to {_length(interval)})"


@dataclass(frozen=True, slots=True)
class Choice:
    """A pair of legs, the bar length in nanoseconds and the ``[start, end)`` they cover together."""

    korea: Leg
    abroad: Leg
    interval: Nanos
    span: Span

    @property
    def length(self) -> Nanos:
        return self.span[1] - self.span[0]


def choose(
    files: dict[str, list[Path]], base: str, interval: Nanos | None, start: Nanos | None, end: Nanos | None
) -> Choice:
    """The legs and the bar length that answer a request; the rule is in the module's description.

    Raises:
        ConfigurationError: a leg has no file, or none can be resampled to ``interval``.
        DataError: no pair of legs covers the range; says what is covered.
    """
    korea, abroad = _legs(files, f"upbit_KRW-{base}"), _legs(files, f"binance_um_{base}USDT")
    intervals = tuple(INTERVALS.values()) if interval is None else (interval,)
    pairs = [
        Choice(left, right, step, span)
        for step, left, right in product(intervals, korea, abroad)
        if step % left.step == 0 and step % right.step == 0
        for span in _both(_whole_bars(left, step), _whole_bars(right, step))
    ]
    covering = [
        pair
        for pair in pairs
        if (start is None or pair.span[0] <= start < pair.span[1])
        and (end is None or pair.span[0] < end <= pair.span[1])
    ]
    if not covering:
        raise _uncovered(pairs, base, interval, start, end)
    spans = [(pair.span[0] if start is None else start, pair.span[1] if end is None else end) for pair in covering]
    asked = [Choice(pair.korea, pair.abroad, pair.interval, span) for pair, span in zip(covering, spans, strict=True)]
    longest = max(pair.length for pair in asked)
    return min(
        (pair for pair in asked if pair.length >= longest - DAY),
        key=lambda pair: (pair.interval, -pair.korea.step - pair.abroad.step, -pair.length),
    )


def _legs(files: dict[str, list[Path]], instrument: str) -> list[Leg]:
    legs = [
        Leg(tuple(files[stem]), step, _stretches(files[stem], step))
        for name, step in INTERVALS.items()
        if (stem := f"{instrument}_{name}") in files
    ]
    if not legs:
        raise ConfigurationError(
            f"The data directory holds no {instrument}_1m, _5m or _1h file; download it, or bring your own "
            "with `import_csv` (docs/DATA_LAYOUT.md)."
        )
    return legs


def _stretches(paths: list[Path], step: Nanos) -> tuple[Span, ...]:
    times = np.unique(np.concatenate([read_times(path, named_series(path)) for path in paths]))
    breaks = np.flatnonzero(np.diff(times) - step > HOLE_MAX) + 1
    edges = [0, *(int(i) for i in breaks), len(times)]
    return tuple((int(times[first]), int(times[after - 1]) + step) for first, after in pairwise(edges))


def _whole_bars(leg: Leg, interval: Nanos) -> list[Span]:
    return [(-(-since // interval) * interval, until // interval * interval) for since, until in leg.stretches]


def _both(left: list[Span], right: list[Span]) -> list[Span]:
    spans = [(max(a[0], b[0]), min(a[1], b[1])) for a, b in product(left, right)]
    return [span for span in spans if span[0] < span[1]]


def _uncovered(
    pairs: list[Choice], base: str, interval: Nanos | None, start: Nanos | None, end: Nanos | None
) -> DataError:
    if not pairs:
        bars = "" if interval is None else f" in bars of {_length(interval)}"
        return DataError(
            f"The two legs of {base} have no time in common{bars}; add files that overlap or ask for longer bars."
        )
    longest = {pair.interval: max(p.length for p in pairs if p.interval == pair.interval) for pair in pairs}
    shown = {
        f"{moment(p.span[0])} to {moment(p.span[1])} in bars of {_length(p.interval)}": None
        for p in pairs
        if p.length == longest[p.interval]
    }
    asked = f"from {'the beginning' if start is None else moment(start)} to {'the end' if end is None else moment(end)}"
    return DataError(
        f"The recorded data of {base} does not cover the range {asked}; both legs together cover "
        f"{', and '.join(shown)}: choose a range within, or add files."
    )


def _length(interval: Nanos) -> str:
    minutes = interval // (60 * 10**9)
    return f"{minutes // 60}h" if minutes % 60 == 0 else f"{minutes}m"
