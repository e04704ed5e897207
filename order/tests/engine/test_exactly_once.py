"""Any order, any delay, any doubling of what the venues say ends in the same books."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kimp.shared.domain.orders import Accepted, OrderReport, OrderStatus
from kimp.shared.messages.events import Event, OrderAnswered, OrderFilled, OrderReported
from kimp.shared.messages.records import FillBooked, Phase


def letters(bench: Any, orders: Any) -> list[Event]:
    """All that two venues would say about two orders that filled whole, in three pieces each."""
    said: list[Event] = []
    for order in orders:
        third = bench.pair.instrument(order.instrument_id).rules.floor(order.quantity / 3)
        pieces = (third, third, order.quantity - 2 * third)
        fills = [bench.fill_of(order, piece, order.limit, f"{order.client_id}/{n}") for n, piece in enumerate(pieces)]
        said.append(OrderAnswered(bench.now, order.client_id, Accepted("v")))
        said += [OrderFilled(bench.now, fill) for fill in fills]
        said.append(OrderReported(bench.now, OrderReport(order.client_id, OrderStatus.DONE, order.quantity)))
        said.append(
            OrderReported(bench.now, OrderReport(order.client_id, OrderStatus.DONE, order.quantity, tuple(fills)))
        )
    return said


def session(bench: Any, arrange: Callable[[list[Event]], list[Event]]) -> Any:
    """Enter, collect funding, leave; what the venues say is arranged before it is delivered."""
    for event in arrange(letters(bench, bench.enter())):
        bench.feed(event)
    assert bench.phase is Phase.OPEN
    for _ in range(2):
        bench.funding("0.5")
    bench.now += 10**9
    bench.quote(premium="0.06")
    for event in arrange(letters(bench, bench.leave())):
        bench.feed(event)
    assert bench.phase is Phase.FLAT
    return bench


def books_of(bench: Any) -> Any:
    (closed,) = bench.slot.closed
    return bench.state.ledger.balances(), closed.position, closed.breakdown, len(bench.of(FillBooked))


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_every_permutation_and_doubling_of_a_session_ends_in_the_same_books(
    data: st.DataObject, make_bench: Callable[..., Any], conservation_faults: Callable[..., Any]
) -> None:
    def arrange(said: list[Event]) -> list[Event]:
        doubled = said + data.draw(st.lists(st.sampled_from(said), max_size=6))
        return data.draw(st.permutations(doubled))

    straight = session(make_bench(), lambda said: said)
    shuffled = session(make_bench(), arrange)
    assert books_of(shuffled) == books_of(straight)
    assert len(shuffled.placed) == 4
    assert conservation_faults(shuffled.state.ledger) == []


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_losing_everything_but_the_answers_to_questions_ends_in_the_same_books(
    data: st.DataObject, make_bench: Callable[..., Any]
) -> None:
    def arrange(said: list[Event]) -> list[Event]:
        full = [event for event in said if isinstance(event, OrderReported) and event.report.fills]
        others = [event for event in said if event not in full]
        return data.draw(st.permutations(full + data.draw(st.lists(st.sampled_from(others), unique_by=id, max_size=5))))

    assert books_of(session(make_bench(), arrange)) == books_of(session(make_bench(), lambda said: said))


def test_letters_of_the_entry_that_come_again_after_the_exit_change_nothing(make_bench: Callable[..., Any]) -> None:
    kept: list[Event] = []

    def keep(said: list[Event]) -> list[Event]:
        kept.extend(said)
        return said

    bench = session(make_bench(), keep)
    before = (books_of(bench), len(bench.records))
    for event in kept:
        bench.feed(event)
    assert (books_of(bench), len(bench.records)) == before
