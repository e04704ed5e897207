"""Integer nanoseconds, which know no time zone; people read Korean time."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimp.shared.domain.time import DAY, HOUR, KST, MILLISECOND, MINUTE, SECOND, from_datetime, show, to_datetime


@given(st.datetimes(timezones=st.sampled_from([UTC, KST, timezone(timedelta(hours=-5))])))
def test_a_moment_survives_the_way_there_and_back(moment: datetime) -> None:
    assert to_datetime(from_datetime(moment)) == moment


@given(st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC)))
def test_the_order_of_moments_is_the_order_of_their_integers(a: datetime, b: datetime) -> None:
    assert (a < b) == (from_datetime(a) < from_datetime(b))


def test_a_datetime_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        from_datetime(datetime(2026, 11, 20, 16, 18))  # noqa: DTZ001


def test_durations_are_counted_in_nanoseconds() -> None:
    assert 1_000 * MILLISECOND == SECOND
    assert to_datetime(DAY + HOUR + MINUTE + SECOND) == datetime(1970, 1, 2, 1, 1, 1, tzinfo=UTC)


def test_nanoseconds_are_cut_and_not_rounded() -> None:
    assert to_datetime(1_999) == datetime(1970, 1, 1, microsecond=1, tzinfo=UTC)
    assert to_datetime(-1) == datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


def test_the_operator_reads_korean_time_with_its_offset() -> None:
    assert show(from_datetime(datetime(2026, 11, 20, 7, 18, tzinfo=UTC))) == "2026-11-20 16:18:00 +09:00"
