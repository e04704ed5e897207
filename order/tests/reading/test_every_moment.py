"""Whoever asks in the middle of an entry, a repair or an exit gets an answer too."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

from kimp.order.reading.exports import ledger_rows, tax_rows, trade_rows
from kimp.order.reading.history import History
from kimp.order.reading.holding import holdings
from kimp.order.reading.profit import closed_profits, profit_of, total
from kimp.order.reading.why import why
from kimp.shared.domain.instruments import default_pair


def test_every_moment_of_a_story_can_be_read(traded: Any) -> None:
    for length in range(len(traded.records) + 1):
        history = History(traded.records[:length], default_pair)
        now = history.last_at or traded.now
        held = holdings(history, {}, now, Decimal(1))
        assert len(held) == sum(slot.position is not None for slot in history.state.slots.values())
        for slot in history.state.slots:
            answer = why(history, (), slot, now)
            assert answer.done is not None
            assert answer.phase is history.state.slots[slot].phase
        assert len(trade_rows(history)) == len(history.fills)
        assert len(tax_rows(history)) == len(history.fills) + len(history.fundings)
        assert len(ledger_rows(history)) >= len(history.state.ledger.entries) * 2
        assert [profit_of(pair).closed_at is None for pair in history.pairs].count(True) == len(held)


def test_all_that_was_earned_and_is_held_is_what_the_wallets_gained(traded: Any) -> None:
    """The parts, summed over pairs, against the ledger: two ways to the same won."""
    flat = next(
        number
        for number in range(len(traded.records), 0, -1)
        if not holdings(History(traded.records[:number], default_pair), {}, traded.now, Decimal(1))
    )
    history = History(traded.records[:flat], default_pair)
    earned = total(pair.parts for pair in closed_profits(history) if pair.parts)
    ledger = history.state.ledger.balances()
    won = Fraction(ledger["upbit:wallet", "KRW"]) - 10_000_000
    dollars = Fraction(ledger["binance:wallet", "USDT"]) - 7_000
    # Fees and funding were booked at the rate of their day, which was never further than this from the last one.
    assert abs(won + dollars * 1396 - Fraction(earned.net)) < 100
