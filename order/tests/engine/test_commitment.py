"""Committed money stays within 95 % of the capital, at every instant and whatever the venues do.

What can be promised, and why it is put like this. *Used* (positions at cost, orders at their worst price and fee) grows
only when an order is intended, and then to 95 % of the capital at most:

- a fill turns a lock into a cost that is never higher, because the lock was taken at the worst price the order allows;
- an unwinding or an exit only lowers what is used;
- of fees paid ``f·c`` on a cost ``c`` the capital loses as much, and ``c·(1+f) ≤ 0.95·C`` implies ``c ≤ 0.95·(C − f·c)``.

The *ratio* may still pass 95 % later, because funding, a realised loss or a withdrawal shrink the capital: that is the
market's doing, and then nothing new is intended. Two things can raise what is used without an intent, and both are news
of the past: a fill of an order that was given up or refused, and a trade that we never ordered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kimp.order.engine.allocator import CapitalAllocator, Commitment
from kimp.order.engine.settings import EngineSettings
from kimp.order.engine.state import EngineState, Slot
from kimp.shared.domain.instruments import Pair
from kimp.shared.domain.signals import Direction
from kimp.shared.messages.records import FillBooked, OrderIntended, Record

SHARE = Decimal("0.95")
LONG, SHORT = Direction.LONG_PREMIUM, Direction.SHORT_PREMIUM


def excesses(
    records: Iterable[Record], pair: Pair, given_settings: EngineSettings, *, direction: Direction
) -> list[str]:
    """Where the fold of a journal ever committed more than it may: record by record, both venues."""
    state = EngineState([Slot("fake:BTC", "fake", "BTC", (pair.korea, pair.abroad))])
    allocator = CapitalAllocator(pair, given_settings)

    def commitments() -> tuple[Commitment, Commitment]:
        return allocator.korea(state, direction), allocator.abroad(state)

    found, before = [], commitments()
    for record in records:
        unreserved = is_news_of_the_past(record, state)
        state.apply(record)
        after = commitments()
        for venue, was, now in zip(("upbit", "binance"), before, after, strict=True):
            if now.used > was.used and not unreserved:
                if not isinstance(record, OrderIntended):
                    found.append(f"{type(record).__name__} raised {venue} from {was.used} to {now.used}")
                elif now.share > SHARE:
                    found.append(f"{venue} committed {now.share:.6f} by {record.order}")
        before = after
    return found


def is_news_of_the_past(record: Record, state: EngineState) -> bool:
    """Whether a record tells of an order that was taken as over, or of a trade that was never ours."""
    if isinstance(record, FillBooked):
        tracked = state.orders.get(record.fill.client_id)
        return tracked is None or tracked.is_settled or tracked.is_lost
    client_id = getattr(record, "client_id", None)
    return client_id is not None and state.orders[client_id].is_settled


def run(storm: Any, seed: int, steps: int) -> Any:
    dice = Random(seed)
    storm.quote()
    for _ in range(steps):
        storm.step(dice)
    return storm


@settings(max_examples=250, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_no_order_ever_commits_more_than_95_percent_of_either_venue(seed: int, make_storm: Callable[..., Any]) -> None:
    storm = run(make_storm(settings=EngineSettings(cooldown=0, entries_per_minute_max=10_000)), seed, 120)
    assert excesses(storm.records, storm.pair, storm.settings, direction=LONG) == []


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), leverage=st.sampled_from(("1", "2", "3")))
def test_no_leverage_changes_that(seed: int, leverage: str, make_storm: Callable[..., Any]) -> None:
    given_settings = EngineSettings(cooldown=0, entries_per_minute_max=10_000, leverage=Decimal(leverage))
    storm = run(make_storm(settings=given_settings, krw="90000000"), seed, 120)
    assert excesses(storm.records, storm.pair, storm.settings, direction=LONG) == []


@settings(max_examples=250, deadline=None)
@given(share=st.sampled_from(("0.1", "0.4", "0.6", "1")), seed=st.integers(0, 2**32))
def test_calm_entries_in_tranches_stay_within_the_share_at_every_instant(
    share: str, seed: int, make_bench: Callable[..., Any]
) -> None:
    dice, highest = Random(seed), [Decimal(0)]

    def watch(bench: Any) -> None:
        for commitment in (bench.desk.allocator.korea(bench.state, LONG), bench.desk.allocator.abroad(bench.state)):
            assert commitment.share <= SHARE
            highest.append(commitment.share)

    bench = make_bench(watch=watch)
    for _ in range(4):
        bench.now += 20 * 10**9
        for order in bench.enter(share=share):
            bench.complete(order, order.quantity * dice.choice((0, 1, 1)))
        for _ in range(9):
            for client_id in tuple(bench.slot.unsettled):
                bench.complete(bench.state.orders[client_id].order)
            bench.wait(1)
    assert max(highest) > 0


def test_the_checker_sees_a_full_commitment(make_bench: Callable[..., Any]) -> None:
    bench = make_bench(settings=EngineSettings(capital_share=Decimal(1))).opened()
    found = excesses(bench.records, bench.pair, bench.settings, direction=LONG)
    assert found
    assert all("committed" in line for line in found)


def test_funding_may_move_the_ratio_but_then_nothing_new_is_intended(make_bench: Callable[..., Any]) -> None:
    bench = make_bench(usdt="6860").opened()
    bench.funding("-100")
    assert bench.desk.allocator.abroad(bench.state).share > SHARE
    bench.now += 1
    assert bench.enter(share="0.5") == ()
    assert excesses(bench.records, bench.pair, bench.settings, direction=LONG) == []


def test_selling_coins_short_commits_no_more_than_95_percent_of_them(make_bench: Callable[..., Any]) -> None:
    bench = make_bench(btc="0.05")
    bench.complete_all(bench.enter(SHORT))
    coins = bench.desk.allocator.korea(bench.state, SHORT)
    assert Decimal("0.9") < coins.share <= SHARE
    assert excesses(bench.records, bench.pair, bench.settings, direction=SHORT) == []
