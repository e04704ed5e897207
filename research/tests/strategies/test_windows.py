from decimal import Decimal, localcontext
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimp.research.strategies.windows import Frame, RollingMoments, RollingQuantile, Window
from kimp.shared.domain.time import HOUR, MINUTE, Nanos

FRAME = Frame(step=HOUR, size=6, needed=3)
HALF = Decimal("0.5")

values = st.decimals(min_value=-2000, max_value=2000, places=6)
fractions = st.decimals(min_value=Decimal("0.001"), max_value=Decimal("0.999"), places=3)


@st.composite
def tapes(draw: st.DrawFn) -> list[tuple[Nanos, Decimal]]:
    """Moments as they come: mostly minutes apart, sometimes hours, once in a while twice the same or a day later."""
    gaps = st.sampled_from([0, MINUTE, 20 * MINUTE, HOUR, 3 * HOUR, 24 * HOUR])
    at, tape = 1_700_000_000_000_000_000, []
    for gap, value in draw(st.lists(st.tuples(gaps, values), min_size=1, max_size=60)):
        at += gap
        tape.append((at, value))
    return tape


def naive_samples(tape: list[tuple[Nanos, Decimal]], frame: Frame) -> list[Decimal]:
    """The first value of each step, those of the last ``size`` steps counted from the latest."""
    firsts: dict[int, Decimal] = {}
    for at, value in tape:
        firsts.setdefault(at // frame.step, value)
    return [value for step, value in firsts.items() if step > max(firsts) - frame.size]


def root(square: Fraction) -> Decimal:
    with localcontext(prec=60):
        return (Decimal(square.numerator) / square.denominator).sqrt()


@given(tapes())
def test_mean_and_deviation_equal_a_naive_recomputation(tape: list[tuple[Nanos, Decimal]]) -> None:
    window = RollingMoments(FRAME)
    for seen, (at, value) in enumerate(tape, start=1):
        window.observe(at, value)
        samples = [Fraction(sample) for sample in naive_samples(tape[:seen], FRAME)]
        assert window.count == len(samples)
        if len(samples) < FRAME.needed:
            assert window.mean is None
            assert window.deviation is None
            continue
        mean = sum(samples, Fraction(0)) / len(samples)
        variance = sum(((sample - mean) ** 2 for sample in samples), Fraction(0)) / len(samples)
        assert window.mean is not None
        assert window.deviation is not None
        assert window.mean == Decimal(mean.numerator) / mean.denominator
        assert abs(window.deviation - root(variance)) <= Decimal("1e-22")


@given(tapes(), fractions, st.booleans())
def test_a_quantile_equals_a_naive_recomputation(
    tape: list[tuple[Nanos, Decimal]], fraction: Decimal, from_top: bool
) -> None:
    window = RollingQuantile(FRAME, fraction, from_top=from_top)
    for seen, (at, value) in enumerate(tape, start=1):
        window.observe(at, value)
        samples = sorted(naive_samples(tape[:seen], FRAME), reverse=from_top)
        expected = samples[ceil(Fraction(fraction) * len(samples)) - 1] if len(samples) >= FRAME.needed else None
        assert window.value == expected


@given(tapes(), fractions)
def test_the_top_quantile_is_the_mirror_image_of_the_bottom_one(
    tape: list[tuple[Nanos, Decimal]], fraction: Decimal
) -> None:
    bottom, top = RollingQuantile(FRAME, fraction), RollingQuantile(FRAME, fraction, from_top=True)
    for at, value in tape:
        bottom.observe(at, value)
        top.observe(at, -value)
        assert (bottom.value is None) == (top.value is None)
        assert bottom.value is None or top.value == -bottom.value


@given(tapes())
def test_the_state_depends_on_nothing_older_than_the_window(tape: list[tuple[Nanos, Decimal]]) -> None:
    old, old_quantile = RollingMoments(FRAME), RollingQuantile(FRAME, HALF)
    for at, value in tape:
        old.observe(at, value)
        old_quantile.observe(at, value)
    taken = max(at // HOUR for at, _ in tape)
    recent = [(at, value) for at, value in tape if at // HOUR > taken - FRAME.size]
    new, new_quantile = RollingMoments(FRAME), RollingQuantile(FRAME, HALF)
    for at, value in recent:
        new.observe(at, value)
        new_quantile.observe(at, value)
    assert (new.mean, new.deviation) == (old.mean, old.deviation)
    assert new_quantile.value == old_quantile.value


@pytest.fixture(params=["moments", "quantile"])
def window(request: pytest.FixtureRequest) -> Window:
    return RollingMoments(FRAME) if request.param == "moments" else RollingQuantile(FRAME, HALF)


def test_only_the_first_value_of_a_step_is_a_sample(window: Window) -> None:
    assert window.observe(10 * HOUR + MINUTE, Decimal(1))
    assert not window.observe(10 * HOUR + MINUTE, Decimal(2))
    assert not window.observe(11 * HOUR - 1, Decimal(3))
    assert window.observe(11 * HOUR, Decimal(4))
    assert window.count == 2


def test_a_window_never_holds_more_than_its_size(window: Window) -> None:
    for minute in range(24 * 60):
        window.observe(minute * MINUTE, Decimal(minute))
        assert window.count <= FRAME.size
    assert window.count == FRAME.size


def test_a_window_is_warm_with_exactly_the_samples_it_needs(window: Window) -> None:
    for hour in range(FRAME.needed):
        assert not window.is_warm
        window.observe(hour * HOUR, Decimal(1))
    assert window.is_warm


def test_a_gap_longer_than_the_span_makes_a_window_cold_again(window: Window) -> None:
    for hour in range(FRAME.size):
        window.observe(hour * HOUR, Decimal(1))
    window.observe(100 * HOUR, Decimal(1))
    assert window.count == 1
    assert not window.is_warm


def test_time_running_backwards_is_ignored(window: Window) -> None:
    window.observe(10 * HOUR, Decimal(1))
    assert not window.observe(9 * HOUR, Decimal(2))
    assert window.count == 1


@pytest.mark.parametrize("value", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_what_is_no_number_leaves_the_step_open_for_one_that_is(window: Window, value: str) -> None:
    assert not window.observe(10 * HOUR, Decimal(value))
    assert window.observe(10 * HOUR + 1, Decimal(1))


def test_a_frame_rounds_the_samples_it_needs_up() -> None:
    assert Frame.of(12, 60, Decimal("0.8")) == Frame(HOUR, 12, 10)
    assert Frame.of(10, 60, Decimal("0.8")) == Frame(HOUR, 10, 8)
    assert Frame.of(720, 1, Decimal(1)) == Frame(MINUTE, 43_200, 43_200)
