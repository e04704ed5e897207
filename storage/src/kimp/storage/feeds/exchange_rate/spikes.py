"""A median filter: one absurd reading among sane ones is not news."""

from __future__ import annotations

from collections import deque
from decimal import Decimal

from kimp.shared.domain.money import ZERO

WINDOW = 5
STEP_MAX = Decimal("0.01")
"""A hundredth between two readings. On 2024-12-03, the worst night in years, the won lost 3 % in an hour."""


class SpikeFilter:
    """Passes a reading that lies near the median of the last few; a real jump passes once it is the majority.

    Unlike a plain median this adds no delay to ordinary moves.
    """

    def __init__(self, window: int = WINDOW, step_max: Decimal = STEP_MAX) -> None:
        self._recent: deque[Decimal] = deque(maxlen=window)
        self._step_max = step_max

    def passes(self, value: Decimal) -> bool:
        """Whether a reading may be believed; remembers it either way. What is not a positive number never passes."""
        if not value.is_finite() or value <= ZERO:
            return False
        self._recent.append(value)
        ordered = sorted(self._recent)
        median = ordered[len(ordered) // 2]
        return abs(value - median) <= self._step_max * median
