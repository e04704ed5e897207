"""When the won is traded: outside of these hours an unmoved rate is right, inside it is dead."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime, time, timedelta

import msgspec

from kimp.shared.domain.time import KST, Nanos, from_datetime, to_datetime

DAYS_AHEAD_MAX = 14
"""No break is longer: the longest runs of holidays around Seollal and Chuseok have about ten days."""


class MarketHours(msgspec.Struct, frozen=True):
    """Seoul's interbank hours: weekdays 09:00 to 02:00 of the next day, Korean time, since 2024-07-01 (Bank of Korea and
    Seoul Foreign Exchange Market Committee; the last night of a week ends on Saturday at 02:00).

    ``holidays`` are Korean dates without trading. A holiday that is not listed counts as a dead source: the rate
    expires and nothing is entered, which errs on the safe side.
    """

    opens: time = time(9)
    closes: time = time(2)
    holidays: frozenset[date] = frozenset()

    def is_open(self, at: Nanos) -> bool:
        """Whether the rate has to move now."""
        moment = to_datetime(at).astimezone(KST)
        return any(
            opened <= moment < closed
            for opened, closed in (self._session(moment.date() - timedelta(d)) for d in (0, 1))
        )

    def next_opening(self, at: Nanos) -> Nanos:
        """The next time trading begins; ``at`` itself while it is open."""
        if self.is_open(at):
            return at
        moment = to_datetime(at).astimezone(KST)
        for ahead in range(DAYS_AHEAD_MAX):
            opened, closed = self._session(moment.date() + timedelta(ahead))
            if opened > moment and closed > opened:
                return from_datetime(opened)
        return at

    def _session(self, day: date) -> tuple[datetime, datetime]:
        """A day's opening and closing; both the same on a day without trading."""
        opened = datetime.combine(day, self.opens, KST)
        if day.weekday() >= 5 or day in self.holidays:
            return opened, opened
        closed = datetime.combine(day, self.closes, KST)
        return opened, closed if closed > opened else closed + timedelta(days=1)


def with_holidays(days: Collection[date]) -> MarketHours:
    """Seoul's hours with these holidays."""
    return MarketHours(holidays=frozenset(days))
