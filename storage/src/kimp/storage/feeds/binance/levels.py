"""One side of a book kept up to date from changes: finding, sorting and counting in floats, money in ``Decimal``.

A price is looked up by its float, which is exact as an *index*: two different prices of up to 15 digits never share
one. What is told outside is made from the venue's own text, once per change and only for the rows that are told; the
others stay text. That makes a change cost about what decoding it costs.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Collection
from decimal import Decimal
from operator import neg, pos

from kimp.shared.domain.books import Level
from kimp.storage.feeds.binance.wire import Row

ENDLESS = float("inf")
DIGITS_MAX = 16  # 15 significant digits, which any float tells apart, and the point
TOLD_MAX = 20
ROWS_MAX = 4_000
"""Rows kept per side. A snapshot brings 1,000; rows far away pile up over a day and are of no use."""


class Side:
    """The bids or the asks. ``sign`` is +1 for bids and −1 for asks, so that the best row has the largest key.

    The best row stands last in the sorted list, because most changes happen near it and a list is cheap at its end.
    """

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self._to_key: Callable[[float], float] = pos if sign > 0 else neg
        self._keys: list[float] = []
        self._rows: dict[float, Row | Level] = {}
        self._horizon = -ENDLESS
        self._told: tuple[Level, ...] = ()
        self._told_down_to = -ENDLESS  # changes below this key leave what was told as it is
        self._is_stale = True

    def __len__(self) -> int:
        return len(self._keys)

    def replace(self, rows: Collection[Row], *, is_whole: bool) -> None:
        """Begin anew from a snapshot, which may be cut off: beyond its last row nothing is known."""
        self._keys.clear()
        self._rows.clear()
        self._horizon = -ENDLESS
        self._is_stale = True
        self.change(rows)
        if not is_whole and self._keys:
            self._horizon = self._keys[0]

    def change(self, rows: Collection[Row]) -> None:
        """Set each row's quantity; zero removes the row, and removing what is not there is normal.

        Raises:
            ValueError: a number that is none, negative, or too long to be told apart from its neighbours.
        """
        if not rows:
            return
        prices, quantities = zip(*rows, strict=True)
        changed = list(map(self._to_key, map(float, prices)))
        # asked this way round, a NaN among them counts as a change
        self._is_stale = self._is_stale or not max(changed) < self._told_down_to
        keys, known = self._keys, self._rows
        count = len(known)
        for key, size, row in zip(changed, map(float, quantities), rows, strict=True):
            if 0.0 < size < ENDLESS:
                known[key] = row
                if len(known) != count:  # it is new
                    if len(row[0]) > DIGITS_MAX or not 0.0 < self._sign * key < ENDLESS:
                        raise ValueError(f"{row} is no row of a book")
                    insort(keys, key)
                    count += 1
            elif size == 0.0:
                if known.pop(key, None) is not None:
                    del keys[bisect_left(keys, key)]
                    count -= 1
            else:
                raise ValueError(f"{row} is no row of a book")
        if count > ROWS_MAX:
            self._forget()

    def _forget(self) -> None:
        """Drop the far rows; beyond the last one kept nothing is known any more."""
        far = len(self._keys) - ROWS_MAX // 2
        for key in self._keys[:far]:
            del self._rows[key]
        del self._keys[:far]
        self._horizon = max(self._horizon, self._keys[0])

    def best(self, count: int) -> tuple[Level, ...]:
        """The best rows (at most 20), best first, exactly as the venue wrote them, and none from beyond what is known."""
        if not self._is_stale:
            return self._told[:count]
        keys, rows, make = self._keys[: -TOLD_MAX - 1 : -1], self._rows, self._make
        self._told_down_to = keys[-1] if len(keys) == TOLD_MAX else -ENDLESS
        if keys and keys[-1] < self._horizon:
            keys = [key for key in keys if key >= self._horizon]
        self._told = tuple([row if type(row := rows[key]) is Level else make(key, row) for key in keys])
        self._is_stale = False
        return self._told[:count]

    def _make(self, key: float, row: Row | Level) -> Level:
        level = self._rows[key] = Level(Decimal(row[0]), Decimal(row[1]))  # type: ignore[index]
        return level

    def knows(self, count: int) -> bool:
        """Whether the best ``count`` rows lie within what is known, or all rows are known."""
        return self._horizon == -ENDLESS or (len(self._keys) >= count and self._keys[-count] >= self._horizon)
