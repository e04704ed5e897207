"""Random walks that come home: the few stochastic processes a simulated market is made of.

Every function works on whole columns, and what it returns for the first n steps does not depend on how many steps
follow: the first month of a simulated year is the simulated month.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kimp.shared.domain.history import Values

# exp(30) times a float's precision still leaves nine good digits when a block's weights are undone.
_BLOCK_EXPONENT_MAX = 30.0
_BLOCK_LENGTH_MAX = 4096


def mean_reverting(shocks: Values, steps: float, initial: float = 0.0) -> Values:
    """What remains of all shocks so far when each fades by ``1/e`` in ``steps`` steps.

    ``x[t] = exp(-1/steps) * x[t-1] + shocks[t]``, shape (n,), starting from ``x[-1] = initial``.
    Within a block the recursion is a weighted cumulative sum; only the blocks are walked one by one.
    """
    if len(shocks) == 0:
        return shocks
    length = max(1, min(int(_BLOCK_EXPONENT_MAX * steps), _BLOCK_LENGTH_MAX))
    blocks = np.zeros(-(-len(shocks) // length) * length)
    blocks[: len(shocks)] = shocks
    faded = np.exp(-np.arange(length) / steps)
    local = np.cumsum(blocks.reshape(-1, length) / faded, axis=1) * faded
    carried, kept = np.empty(len(local)), float(np.exp(-length / steps))
    state = initial
    for index, last in enumerate(local[:, -1].tolist()):
        carried[index] = state
        state = last + kept * state
    walk: Values = (local + carried[:, None] * (faded * np.exp(-1 / steps))).reshape(-1)[: len(shocks)]
    return walk


def stationary(dice: np.random.Generator, count: int, steps: float, std: float) -> Values:
    """A mean-reverting walk around zero with deviation ``std``, already settled at its first step; shape (count,)."""
    initial = std * float(dice.standard_normal())
    scale = std * np.sqrt(-np.expm1(-2 / steps))
    return mean_reverting(scale * dice.standard_normal(count), steps, initial)


def jumps(dice: np.random.Generator, count: int, rate: Values, std: float) -> Values:
    """Rare shocks: at each step one of deviation ``std`` with probability ``rate`` (shape (count,)), else zero."""
    happens, size = dice.random((count, 2)).T
    heavy = np.where(size < 0.5, np.log(2 * np.maximum(size, 1e-12)), -np.log(2 * np.maximum(1 - size, 1e-12)))
    jumped: Values = np.where(happens < rate, heavy * (std / np.sqrt(2)), 0.0)  # a Laplace's deviation is sqrt(2)
    return jumped


def extremes(dice: np.random.Generator, first: Values, last: Values, std: Values) -> tuple[Values, Values]:
    """Highest and lowest point of a Brownian path from ``first`` to ``last`` with deviation ``std``; each shape (n,).

    Each is drawn from its exact distribution; that the two are drawn apart from each other does not show in a candle.
    """
    spread = -2 * std**2 * np.log1p(-dice.random((len(first), 2)).T)
    reach = np.sqrt((last - first) ** 2 + spread)
    return (first + last + reach[0]) / 2, (first + last - reach[1]) / 2


def regimes(
    dice: np.random.Generator, count: int, leaves: Sequence[float], moves: Sequence[Sequence[float]]
) -> NDArray[np.int64]:
    """Which regime each step is in, starting in the first: ``i`` is left with probability ``leaves[i]``.

    ``moves[i][j]`` weighs which regime follows. Shape (count,).
    """
    ladders = [np.cumsum(row) / sum(row) for row in moves]
    state, path = 0, np.empty(count, dtype=np.int64)
    for step, chance in enumerate(dice.random(count).tolist()):
        path[step] = state
        if chance < leaves[state]:
            state = min(int(np.searchsorted(ladders[state], chance / leaves[state], side="right")), len(leaves) - 1)
    return path
