"""Whole seconds tell a clock's offset only roughly, and never a false one."""

from __future__ import annotations

from email.utils import format_datetime

from hypothesis import given
from hypothesis import strategies as st

from kimp.order.exchanges.date_skew import AGE_MAX, DateSkew
from kimp.shared.domain.time import MILLISECOND, SECOND, Nanos, to_datetime

START: Nanos = 1_763_600_000 * SECOND


def date(at: Nanos) -> str:
    return format_datetime(to_datetime(at // SECOND * SECOND), usegmt=True)


def ask(skew: DateSkew, sent_at: Nanos, offset: Nanos, trip: Nanos = 40 * MILLISECOND) -> None:
    skew.note(date(sent_at + trip // 2 + offset), sent_at, sent_at + trip)


@given(
    offset=st.integers(-10 * SECOND, 10 * SECOND), at=st.lists(st.integers(0, 300 * SECOND), min_size=1, max_size=60)
)
def test_the_offset_is_never_overstated(offset: Nanos, at: list[Nanos]) -> None:
    skew = DateSkew()
    for moment in sorted(at):
        ask(skew, START + moment, offset)
    told = skew.skew
    assert told is not None
    assert abs(told) <= abs(offset)
    assert told * offset >= 0


def test_many_answers_narrow_the_offset_down() -> None:
    skew = DateSkew()
    for number in range(60):
        ask(skew, START + number * 3_137 * MILLISECOND, 700 * MILLISECOND)
    assert skew.skew is not None
    assert 600 * MILLISECOND <= skew.skew <= 700 * MILLISECOND


def test_clocks_alike_show_no_offset() -> None:
    skew = DateSkew()
    for number in range(60):
        ask(skew, START + number * 3_137 * MILLISECOND, 0)
    assert skew.skew == 0


def test_a_step_of_the_clock_is_noticed_at_once() -> None:
    skew = DateSkew()
    ask(skew, START, 0)
    ask(skew, START + SECOND, 5 * SECOND)
    assert skew.skew is not None
    assert skew.skew >= 4 * SECOND


def test_old_answers_say_nothing_any_more() -> None:
    skew = DateSkew()
    ask(skew, START, 900 * MILLISECOND)
    ask(skew, START + AGE_MAX + SECOND, 0)
    assert skew.skew == 0


def test_nonsense_tells_no_time() -> None:
    skew = DateSkew()
    for text in ("", "soon", "Fri, 99 Nov 2026 99:99:99 GMT"):
        skew.note(text, START, START)
    assert skew.skew is None
