import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kimp.research.backtest.report.decimation import decimated

columns = st.lists(st.one_of(st.floats(-1e9, 1e9), st.just(math.nan)), min_size=1, max_size=400)


@given(columns, st.integers(4, 50))
def test_highest_lowest_first_and_last_survive(column: list[float], points_max: int) -> None:
    values = np.array(column)
    kept = decimated(values, points_max)
    assert len(kept) <= points_max
    assert kept.tolist() == sorted(set(kept.tolist()))
    assert {0, len(values) - 1} <= set(kept.tolist())
    if not np.isnan(values).all():
        assert np.nanmax(values[kept]) == np.nanmax(values)
        assert np.nanmin(values[kept]) == np.nanmin(values)


def test_a_crash_of_one_minute_in_a_year_is_kept() -> None:
    values = np.full(525_600, 1.0)
    values[300_001] = 0.2
    kept = decimated(values)
    assert 300_001 in kept
    assert len(kept) <= 4_000


def test_a_short_curve_is_drawn_whole() -> None:
    assert decimated(np.arange(100.0)).tolist() == list(range(100))


def test_a_long_gap_stays_a_gap() -> None:
    values = np.ones(100_000)
    values[20_000:60_000] = math.nan
    assert np.isnan(values[decimated(values)]).any()
