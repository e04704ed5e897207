"""Quotes from the future: one source's wrong clock must not silence the true quotes that follow."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kimp.order.engine.market import QUOTE_AHEAD_MAX, MarketState
from kimp.order.engine.settings import EngineSettings
from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.money import ONE
from kimp.shared.domain.signals import Direction, Enter, Refusal
from kimp.shared.domain.time import DAY, MINUTE, SECOND
from kimp.shared.messages.events import MarketMoved

LATEST = QUOTE_AHEAD_MAX


@pytest.fixture
def quoted(bench: Any) -> Any:
    """A bench with good quotes, whose strategy wants in."""
    bench.quote()
    bench.strategy.says = Enter(Direction.LONG_PREMIUM, "told to")
    return bench


def ahead(book: Any, by: int) -> Any:
    return msgspec.structs.replace(book, venue_at=book.venue_at + by)


def test_a_book_at_the_limit_is_taken_and_one_nanosecond_more_is_not(quoted: Any) -> None:
    korea, _ = quoted.books()
    market = quoted.engine.market
    market.see(MarketMoved(quoted.now, (ahead(korea, LATEST + 1),)))
    assert market.books[korea.instrument_id] == korea
    market.see(MarketMoved(quoted.now, (ahead(korea, LATEST),)))
    assert market.books[korea.instrument_id].venue_at == korea.venue_at + LATEST


def test_a_book_from_next_year_does_not_silence_the_true_ones_after_it(quoted: Any) -> None:
    korea, _ = quoted.books()
    quoted.feed(MarketMoved(quoted.now, (ahead(korea, 365 * DAY),)))
    quoted.now += SECOND
    quoted.quote()
    assert len(quoted.placed) == 2
    assert quoted.engine.market.books[korea.instrument_id].venue_at == quoted.now


def test_while_a_source_dates_its_books_ahead_nothing_is_entered_and_the_reason_is_counted(quoted: Any) -> None:
    korea, abroad = quoted.books()
    for _ in range(3):
        before = quoted.refusals
        quoted.feed(MarketMoved(quoted.now, (ahead(korea, DAY), abroad)))
        assert quoted.refusals - before == {Refusal.QUOTE_AHEAD.value: 1}
    assert not quoted.placed


def test_the_first_true_book_ends_it(quoted: Any) -> None:
    korea, _ = quoted.books()
    quoted.feed(MarketMoved(quoted.now, (ahead(korea, DAY),)))
    assert not quoted.placed
    quoted.feed(MarketMoved(quoted.now, (korea,)))
    assert len(quoted.placed) == 2


def test_a_book_dated_ahead_does_not_stop_an_exit(bench: Any) -> None:
    bench.quote()
    for order in bench.enter():
        bench.complete(order)
    bench.now += MINUTE
    bench.quote(premium="0.09")
    korea, _ = bench.books()
    bench.feed(MarketMoved(bench.now, (ahead(korea, DAY),)))
    before = len(bench.placed)
    bench.leave()
    assert len(bench.placed) == before + 2


def test_a_source_that_only_speaks_of_the_future_is_stale_and_says_why(quoted: Any) -> None:
    _, abroad = quoted.books()
    quoted.now += 10 * SECOND
    before = quoted.refusals
    korea, _ = quoted.books()
    quoted.feed(MarketMoved(quoted.now, (korea, ahead(abroad, DAY))))
    assert quoted.refusals - before == {Refusal.BOOK_STALE.value: 1, Refusal.QUOTE_AHEAD.value: 1}


def test_a_first_book_from_the_future_is_no_book(make_bench: Any) -> None:
    bench = make_bench()
    korea, abroad = bench.books()
    bench.feed(MarketMoved(bench.now, (ahead(korea, DAY), abroad), bench.rates()))
    assert bench.refusals == {Refusal.QUOTE_AHEAD.value: 1}


def test_a_rate_from_the_future_is_ignored_and_blocks_entries_while_it_lasts(quoted: Any) -> None:
    wrong = tuple(
        msgspec.structs.replace(rate, at=rate.at + DAY, valid_until=rate.valid_until + DAY) for rate in quoted.rates()
    )
    before = quoted.refusals
    quoted.feed(MarketMoved(quoted.now, quoted.books(), wrong))
    assert quoted.refusals - before == {Refusal.QUOTE_AHEAD.value: 1}
    assert quoted.engine.market.rates["USD"].at == quoted.now
    quoted.feed(MarketMoved(quoted.now, quoted.books(), quoted.rates()))
    assert len(quoted.placed) == 2


def test_a_funding_rate_from_the_future_is_ignored(quoted: Any) -> None:
    perp = quoted.pair.abroad.id
    true = FundingRate(perp, ONE, quoted.now, quoted.now + DAY)
    quoted.engine.market.see(MarketMoved(quoted.now, funding=(true,)))
    quoted.engine.market.see(MarketMoved(quoted.now, funding=(msgspec.structs.replace(true, at=quoted.now + DAY),)))
    assert quoted.engine.market.funding[perp] == true


def test_a_wider_clock_skew_allows_wider_dates() -> None:
    assert MarketState(EngineSettings(clock_skew_max=MINUTE)).ahead_max == MINUTE
    assert MarketState(EngineSettings()).ahead_max == QUOTE_AHEAD_MAX
