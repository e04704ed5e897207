"""Fewer points for the eye, with every high and low kept: a one-minute crash must not vanish from a yearly chart."""

import numpy as np
from numpy.typing import NDArray

POINTS_MAX = 4_000
"""Points a chart is drawn from: about twice the pixels of a wide screen, so nothing visible is lost."""


def decimated(values: NDArray[np.float64], points_max: int = POINTS_MAX) -> NDArray[np.int64]:
    """Indices of the points to draw: the lowest and highest of each bucket, and the first and last of all.

    The curve is cut into ``points_max // 2 - 1`` buckets of nearly equal length. NaN never wins against a number; a
    bucket of nothing but NaN keeps its first, so a long gap stays a gap. Sorted, unique, at most ``points_max``.
    """
    count = len(values)
    if count <= points_max:
        return np.arange(count, dtype=np.int64)
    buckets = points_max // 2 - 1
    edges = np.linspace(0, count, buckets + 1).astype(np.int64)
    unknown = np.isnan(values)
    floor, ceiling = np.where(unknown, np.inf, values), np.where(unknown, -np.inf, values)
    kept = {0, count - 1}
    for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        kept.add(first + int(floor[first:last].argmin()))
        kept.add(first + int(ceiling[first:last].argmax()))
    return np.array(sorted(kept), dtype=np.int64)
