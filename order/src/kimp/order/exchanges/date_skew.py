"""How far a venue's clock is from ours, told from the ``Date`` header when the venue tells no finer time.

The header has whole seconds. One answer therefore only says that the venue's clock minus ours lies within about a second;
many answers narrow it down, because each falls elsewhere within its second.
"""

from __future__ import annotations

from collections import deque
from datetime import UTC
from email.utils import parsedate_to_datetime

from kimp.shared.domain.time import MINUTE, SECOND, Nanos, from_datetime

SAMPLES_MAX = 64
"""Enough to narrow a second down to some hundredths."""

AGE_MAX: Nanos = 10 * MINUTE
"""Clocks drift apart by milliseconds in this time, and a step of either is forgotten after it."""


class DateSkew:
    """Collects the bounds that answers set; ``skew`` is the smallest offset none of them contradicts.

    A proxy between us and the venue may set the header; then it is the proxy's clock.
    """

    def __init__(self) -> None:
        self._bounds: deque[tuple[Nanos, Nanos, Nanos]] = deque(maxlen=SAMPLES_MAX)

    def note(self, date: str, sent_at: Nanos, received_at: Nanos) -> None:
        """Take an answer's ``Date`` and when its request left and the answer came; nonsense is ignored."""
        try:
            moment = parsedate_to_datetime(date)
        except (TypeError, ValueError):
            return
        told = from_datetime(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))
        # The venue's time when it wrote the header was in [told, told + 1 s), and ours in [sent_at, received_at].
        low, high = told - received_at, told + SECOND - sent_at
        while self._bounds and self._bounds[0][2] < received_at - AGE_MAX:
            self._bounds.popleft()
        self._bounds.append((low, high, received_at))
        if self._narrowed() is None:  # a clock stepped: only the newest answer still speaks of it
            self._bounds.clear()
            self._bounds.append((low, high, received_at))

    @property
    def skew(self) -> Nanos | None:
        """The venue's clock minus ours, as near to zero as all answers allow; ``None`` before the first."""
        bounds = self._narrowed()
        if bounds is None:
            return None
        low, high = bounds
        return low if low > 0 else min(high, 0)

    def _narrowed(self) -> tuple[Nanos, Nanos] | None:
        if not self._bounds:
            return None
        low, high = max(bound[0] for bound in self._bounds), min(bound[1] for bound in self._bounds)
        return (low, high) if low <= high else None
