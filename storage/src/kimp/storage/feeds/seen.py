"""Which trades have been told already: two overlapping connections deliver the same ones."""

from collections import deque

REMEMBERED = 4_096
"""Trades per market; an overlap lasts seconds, and the busiest markets make some hundred trades a second."""


class RecentIds:
    """The latest ids of one market, whatever their order: a late trade has a small id and is still news."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._order: deque[int] = deque(maxlen=remembered)
        self._known: set[int] = set()

    def is_new(self, trade_id: int) -> bool:
        """Whether this id was not seen lately; remembers it."""
        if trade_id in self._known:
            return False
        if len(self._order) == self._order.maxlen:
            self._known.discard(self._order[0])
        self._order.append(trade_id)
        self._known.add(trade_id)
        return True
