"""A median filter: one absurd reading among sane ones is not news."""

from __future__ import annotations

from collections import deque
from decimal import Decimal

from kimp.shared.domain.money import ZERO

WINDOW = 5
STEP_MAX = Decimal("0.01")
"""A hundredth between two readings. On 2024-12-03, the worst night in years, the won lost 3 % in an hour."""

ABSURD = Decimal(10**9)
"""No rate comes near; what is beyond could not even be calculated with."""


class SpikeFilter:
    """Passes a reading that lies near the median of those before it; a real jump passes once it is the majority.

    Unlike a plain median this adds no delay to ordinary moves. Of an even number, either middle one will do.
    """

    def __init__(self, window: int = WINDOW, step_max: Decimal = STEP_MAX) -> None:
        self._recent: deque[Decimal] = deque(maxlen=window)
        self._step_max = step_max

    def passes(self, value: Decimal) -> bool:
        """Whether a reading may be believed; remembers it either way. What is not a positive number never passes."""
        if not value.is_finite() or not ZERO < value < ABSURD:
            return False
        ordered = sorted(self._recent)
        self._recent.append(value)
        middles = ordered[(len(ordered) - 1) // 2 : len(ordered) // 2 + 1]
        return not middles or any(abs(value - middle) <= self._step_max * middle for middle in middles)
