"""The ledger of missing minutes: every one explained once, whatever is found in whatever order."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimp.shared.domain.time import MINUTE
from kimp.storage.database.rows import Gap, GapReason
from kimp.storage.gaps import Ledger, candle_series, premium_series

SERIES = candle_series("upbit:KRW-BTC")
BEGIN = 29_000_000 * MINUTE
NOTICED = BEGIN + 10**6 * MINUTE
Table = dict[int, Gap]


def minute(number: int) -> int:
    return BEGIN + number * MINUTE


def write(table: Table, changes: list[Gap]) -> None:
    """What the database does with entries of the ledger: the newer end and reason count, a repair is for ever."""
    for gap in changes:
        before = table.get(gap.start)
        repaired = gap.repaired_at or (before.repaired_at if before else None)
        table[gap.start] = Gap(gap.series, gap.start, gap.end, gap.reason, gap.noticed_at, repaired)


def explained(table: Table) -> dict[int, GapReason]:
    """The reason of every minute of the open gaps; none may be explained twice."""
    reasons: dict[int, GapReason] = {}
    for gap in table.values():
        for at in range(gap.start, gap.end, MINUTE) if gap.repaired_at is None else ():
            assert at not in reasons
            reasons[at] = gap.reason
    return reasons


@pytest.fixture
def table() -> Table:
    return {}


@pytest.fixture
def round_of(table: Table) -> Callable[..., Ledger]:
    """One look at ``[0, end)``: what is there, what the venue explained, written down."""

    def look(end: int, present: list[int], *, no_trade: tuple[int, int] = (0, 0), start: int = 0) -> Ledger:
        ledger = Ledger(SERIES, minute(start), minute(end), table.values())
        ledger.found([minute(i) for i in present])
        ledger.explain(minute(no_trade[0]), minute(no_trade[1]), GapReason.NO_TRADE)
        write(table, ledger.changes(NOTICED))
        return ledger

    return look


def test_names_of_series_say_what_and_how_often() -> None:
    assert SERIES == "candles:upbit:KRW-BTC:60"
    assert premium_series("BTC", 10 * MINUTE // 60) == "kimp_rates:BTC:10"


def test_a_hole_is_one_gap_that_was_not_collected(table: Table, round_of: Callable[..., Ledger]) -> None:
    round_of(10, [0, 1, 2, 6, 7, 8, 9])
    assert [(gap.start, gap.end, gap.reason) for gap in table.values()] == [
        (minute(3), minute(6), GapReason.NOT_COLLECTED)
    ]


def test_a_gap_that_is_filled_is_repaired_and_looking_again_changes_nothing(
    table: Table, round_of: Callable[..., Ledger]
) -> None:
    round_of(5, [0, 4])
    ledger = round_of(5, [0, 1, 2, 3, 4])
    assert table[minute(1)].repaired_at == NOTICED
    assert ledger.changes(NOTICED) == []
    assert Ledger(SERIES, minute(0), minute(5), table.values()).expected == 5


def test_what_the_venue_does_not_have_is_no_trade_and_not_asked_for_again(
    table: Table, round_of: Callable[..., Ledger]
) -> None:
    round_of(6, [0, 5])
    round_of(6, [0, 3, 5], no_trade=(0, 6))
    assert explained(table) == {minute(i): GapReason.NO_TRADE for i in (1, 2, 4)}
    assert list(Ledger(SERIES, minute(0), minute(6), table.values()).unknown()) == [
        minute(i) for i in (0, 3, 5)
    ]  # nobody has said yet that these are there


def test_a_gap_that_reaches_beyond_the_range_is_judged_whole(table: Table, round_of: Callable[..., Ledger]) -> None:
    round_of(20, [0])
    ledger = round_of(10, [0, *range(5, 20)], start=8)
    assert ledger.start == minute(1)
    assert explained(table) == {minute(i): GapReason.NOT_COLLECTED for i in range(1, 5)}


def test_a_halt_is_not_taken_for_a_quiet_market() -> None:
    halt = Gap(SERIES, minute(2), minute(5), GapReason.HALTED, NOTICED)
    ledger = Ledger(SERIES, minute(0), minute(8), [halt])
    ledger.found([minute(0)])
    ledger.explain(minute(0), minute(8), GapReason.NO_TRADE)
    assert ledger.counts_within(minute(0), minute(8)) == {"no_trade": 4, "halted": 3, "not_collected": 0}


@given(st.data())
def test_after_any_history_each_missing_minute_is_explained_exactly_once(data: st.DataObject) -> None:
    table: Table = {}
    present: set[int] = set()
    size = data.draw(st.integers(1, 40))
    for _ in range(data.draw(st.integers(1, 8))):
        size += data.draw(st.integers(0, 15))
        first, last = sorted(data.draw(st.tuples(st.integers(0, size - 1), st.integers(1, size))))
        present |= data.draw(st.sets(st.integers(0, size - 1)))
        ledger = Ledger(SERIES, minute(min(first, last - 1)), minute(last), table.values())
        ledger.found([minute(i) for i in present])
        begin, end = sorted(data.draw(st.tuples(st.integers(0, size), st.integers(0, size))))
        ledger.explain(minute(begin), minute(end), data.draw(st.sampled_from([GapReason.NO_TRADE, GapReason.HALTED])))
        write(table, ledger.changes(NOTICED))
        reasons = explained(table)
        for at in range(ledger.start, ledger.end, MINUTE):
            assert ((at - BEGIN) // MINUTE in present) != (at in reasons)
        assert ledger.changes(NOTICED) == []
        again = Ledger(SERIES, ledger.start, ledger.end, table.values())
        again.found([minute(i) for i in present])
        assert again.changes(NOTICED) == []
