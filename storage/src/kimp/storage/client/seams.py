"""Where two sources meet: one set of rows in order of their key, none of them twice.

Retention moves rows from the database into files while others read. Whoever reads the database first and the files
after it sees every row at least once; this makes it exactly once.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kimp.storage.client.frames import Arrays


def joined(first: Arrays, second: Arrays, key: Sequence[str]) -> Arrays:
    """The rows of both in order of ``key``; where both have one, that of ``first`` stands."""
    if not len(first[key[0]]):
        return in_order(second, key)
    if not len(second[key[0]]):
        return in_order(first, key)
    both = {name: np.concatenate((first[name], second[name])) for name in first}
    return in_order(both, key)


def in_order(rows: Arrays, key: Sequence[str]) -> Arrays:
    """The rows in order of ``key``, each once; of equal ones the first stands."""
    columns = [rows[name] for name in key]
    if _is_strictly_increasing(columns):
        return rows
    order = np.lexsort(columns[::-1])  # stable, so that the earlier of two equal rows stays the first
    is_new = np.zeros(len(order), dtype=np.bool_)
    is_new[:1] = True
    for column in columns:
        ordered = column[order]
        is_new[1:] |= ordered[1:] != ordered[:-1]
    kept = order[is_new]
    return {name: values[kept] for name, values in rows.items()}


def _is_strictly_increasing(columns: Sequence[NDArray[Any]]) -> bool:
    """Of several key columns the first one decides, if it does; that is the ordinary case and costs one pass."""
    return bool((columns[0][1:] > columns[0][:-1]).all())
