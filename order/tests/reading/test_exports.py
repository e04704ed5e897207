from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from kimp.order.reading.exports import ledger_rows, tax_rows, tax_years, trade_rows
from kimp.order.reading.history import History
from kimp.order.reading.profit import closed_profits, total
from kimp.shared.domain.instruments import Side, default_pair


@pytest.fixture(scope="session")
def history(traded: Any) -> History:
    return History(traded.records, default_pair)


def test_every_fill_is_one_row_with_its_cost_in_won(history: History) -> None:
    rows = trade_rows(history)
    assert len(rows) == len(history.fills)
    first = rows[0]
    assert (first.venue, first.symbol, first.side, first.purpose) == ("upbit", "KRW-BTC", "buy", "enter")
    assert first.time_kst == "2024-10-04 12:00:00 +09:00"
    assert first.cost_basis_krw == first.value_krw + first.fee_krw
    sale = next(row for row in rows if row.venue == "upbit" and row.side == "sell")
    assert sale.cost_basis_krw == first.cost_basis_krw


def test_ledger_lines_sum_to_zero_per_entry_and_asset(history: History) -> None:
    sums: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in ledger_rows(history):
        sums[row.entry_id, row.asset] += row.amount
    assert sums
    assert set(sums.values()) == {Decimal(0)}


def test_gains_of_pairs_that_are_over_are_what_they_earned(make_story: Callable[..., Any]) -> None:
    story = make_story()
    for premium in ("0.03", "0.02", "0.04"):
        story.quote("0.005")
        story.enter()
        story.wait(8 * 3600)
        story.pay_funding("0.7", f"f{premium}")
        story.quote(premium)
        story.leave()
        story.wait(61)
    history = History(story.records, default_pair)
    earned = total(pair.parts for pair in closed_profits(history) if pair.parts)
    gained = sum((row.gain_krw for row in tax_rows(history)), Decimal(0))
    assert abs(gained - earned.net) < Decimal("0.001")
    assert all(row.held == 0 for row in tax_rows(history)[-1:])


def test_the_exchange_rate_earns_nothing_on_a_contracts_notional(make_story: Callable[..., Any]) -> None:
    story = make_story()
    story.quote("0.005")
    story.enter()
    story.wait(60)
    story.quote("0.2", usdt="1500")  # the perpetual has not moved, the dollar has
    story.leave()
    contracts = [row for row in tax_rows(History(story.records, default_pair)) if row.venue == "binance"]
    fees = sum((row.fee_krw for row in contracts), Decimal(0))
    assert abs(contracts[-1].gain_krw) < 2 * fees + Decimal(100)


def test_a_sale_in_pieces_costs_its_share_of_the_average(make_story: Callable[..., Any]) -> None:
    story = make_story()
    korea = story.pair.korea
    story.quote("0.005")
    story.enter(share="0.4")
    story.wait(61)
    story.quote("0.001")
    story.enter(share="0.6")
    held = tax_rows(History(story.records, default_pair))
    bought = [row for row in held if row.venue == "upbit"]
    average = sum((row.value_krw + row.fee_krw for row in bought), Decimal(0)) / sum(row.quantity for row in bought)
    assert bought[-1].average_cost == average
    story.foreign(korea, Side.SELL, "0.01", "150000000", "hand")
    sold = [row for row in tax_rows(History(story.records, default_pair)) if row.venue == "upbit"]
    sale = next(row for row in sold if row.side == "sell")
    assert abs(sale.cost_basis_krw - average * Decimal("0.01")) < Decimal("0.000001")
    assert sale.gain_krw == sale.value_krw - sale.cost_basis_krw - sale.fee_krw


def test_years_are_korean_years_and_sum_their_rows(history: History) -> None:
    rows = tax_rows(history)
    years = tax_years(rows)
    assert [(year.year, year.asset) for year in years] == [(2024, "BTCUSDT"), (2024, "BTC")]
    assert sum((year.gain_krw for year in years), Decimal(0)) == sum((row.gain_krw for row in rows), Decimal(0))
