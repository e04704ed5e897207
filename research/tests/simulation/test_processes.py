"""The few random processes do what their names say."""

from itertools import pairwise

import numpy as np
import pytest

from kimp.research.simulation.processes import extremes, jumps, mean_reverting, regimes, stationary


def dice(seed: int = 7) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@pytest.mark.parametrize("steps", [0.5, 3.0, 80.0, 20_000.0])
def test_the_vectorised_walk_is_the_plain_recursion(steps: float) -> None:
    shocks = dice().standard_normal(10_000)
    state, plain = 2.5, []
    for shock in shocks:
        state = np.exp(-1 / steps) * state + shock
        plain.append(state)
    np.testing.assert_allclose(mean_reverting(shocks, steps, 2.5), plain, rtol=1e-8, atol=1e-8)


def test_a_walk_does_not_depend_on_how_far_it_goes_on() -> None:
    shocks = dice().standard_normal(20_000)
    np.testing.assert_array_equal(mean_reverting(shocks, 50.0)[:7_777], mean_reverting(shocks[:7_777], 50.0))


def test_a_settled_walk_has_the_deviation_asked_for_and_half_lives() -> None:
    walk = stationary(dice(), 400_000, 100.0, 0.02)
    assert walk.std() == pytest.approx(0.02, rel=0.03)
    assert np.corrcoef(walk[:-100], walk[100:])[0, 1] == pytest.approx(np.exp(-1), abs=0.03)


def test_extremes_enclose_both_ends_and_widen_with_volatility() -> None:
    first, last = np.full(50_000, 1.0), np.full(50_000, 1.5)
    highest, lowest = extremes(dice(), first, last, np.full(50_000, 1.0))
    assert (highest >= 1.5).all()
    assert (lowest <= 1.0).all()
    # A bridge from 0 to 0 with deviation 1 reaches sqrt(pi/8) on average.
    level = np.zeros(50_000)
    assert extremes(dice(), level, level, level + 1)[0].mean() == pytest.approx(np.sqrt(np.pi / 8), rel=0.02)


def test_jumps_come_as_often_and_as_large_as_asked() -> None:
    jumped = jumps(dice(), 1_000_000, np.full(1_000_000, 0.01), 0.05)
    sizes = jumped[jumped != 0]
    assert len(sizes) == pytest.approx(10_000, rel=0.03)
    assert sizes.std() == pytest.approx(0.05, rel=0.05)
    assert sizes.mean() == pytest.approx(0, abs=0.002)


def test_regimes_last_and_follow_as_weighed() -> None:
    path = regimes(dice(), 300_000, [0.01, 0.05, 0.1], [[0, 1, 1], [1, 0, 0], [0, 1, 0]])
    assert path[0] == 0
    moves = {(int(a), int(b)) for a, b in pairwise(path) if a != b}
    assert moves == {(0, 1), (0, 2), (1, 0), (2, 1)}
    # Each round stays 100 steps in the first, 20 in the second, and every other round 10 in the third.
    np.testing.assert_allclose(np.bincount(path) / len(path), np.array([100, 20, 5]) / 125, rtol=0.06)
