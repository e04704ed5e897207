"""Filling in from the venues: paced, resumable, and the second time there is nothing left to do."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from kimp.shared.config import load
from kimp.shared.domain.candles import Candle
from kimp.shared.domain.time import HOUR, MINUTE, SECOND, Nanos
from kimp.storage.collectors.backfill import BackFill
from kimp.storage.collectors.courier import Courier
from kimp.storage.collectors.history import BinanceHistory, UpbitHistory, histories
from kimp.storage.database import Database, Reader, migrate
from kimp.storage.database.upsert import Upserter
from kimp.storage.feeds.rest import Unanswered

UPBIT, BINANCE = "upbit:KRW-BTC", "binance:BTCUSDT"


@pytest.fixture
def with_backfill(still_venues: Any, still_clock: Any, environ: dict[str, str], run: Any) -> Callable[..., Any]:
    """Runs a story with a back-fill over a fresh database."""

    def tell(story: Callable[..., Any]) -> Any:
        variables = environ | still_venues.environ
        settings = load(environ={name: text for name, text in variables.items() if name.startswith("KIMP__")}).settings

        async def begin() -> Any:
            async with (
                Database.of(settings, environ) as database,
                Courier(clock=still_clock, dice=Random(3)) as courier,
            ):
                await migrate(database)
                store = Upserter(database).store
                return await story(
                    BackFill(Reader(database), store, histories(settings, courier), still_clock), courier
                )

        return run(begin())

    return tell


@pytest.fixture
def end(still_clock: Any) -> Nanos:
    at: Nanos = still_clock.now() // MINUTE * MINUTE
    return at


@pytest.mark.parametrize(("market", "absence"), [(UPBIT, "no_trade"), (BINANCE, "halted")])
def test_a_day_is_filled_once_and_the_second_time_adds_nothing(
    market: str, absence: str, with_backfill: Any, still_venues: Any, end: Nanos
) -> None:
    async def story(backfill: BackFill, courier: Courier) -> None:
        steps: list[tuple[int, int]] = []
        first = await backfill.candles(market, end - 24 * HOUR, end, progress=lambda *step: steps.append(step))
        asked = courier.requests
        quiet = sum(still_venues.market.is_quiet(market.partition(":")[2], end // MINUTE - i) for i in range(1, 1441))
        assert first.trouble is None
        assert (first.expected, first.present, first.added) == (1440, 1440 - quiet, 1440 - quiet)
        assert first.missing == {"no_trade": 0, "halted": 0, "not_collected": 0} | {absence: quiet}
        assert steps[-1] == (1440, 1440)
        second = await backfill.candles(market, end - 24 * HOUR, end)
        assert second.added == 0
        assert second.present == first.present
        assert courier.requests == asked  # everything is known: nobody is asked

    with_backfill(story)


def test_a_back_fill_that_is_cut_off_goes_on_where_it_ended(with_backfill: Any, still_venues: Any, end: Nanos) -> None:
    async def story(backfill: BackFill, courier: Courier) -> None:
        def cut_off(done: int, _: int) -> None:
            still_venues.refuses_history = done >= 600

        first = await backfill.candles(UPBIT, end - 24 * HOUR, end, progress=cut_off)
        assert first.trouble is not None
        assert first.missing["not_collected"] == 840
        still_venues.refuses_history, before = False, len(still_venues.asked)
        second = await backfill.candles(UPBIT, end - 24 * HOUR, end)
        assert second.trouble is None
        assert second.missing["not_collected"] == 0
        assert len(still_venues.asked) - before == -(-840 // 200)
        assert courier.refusals > 0

    with_backfill(story)


def test_late_trades_change_bars_that_are_asked_for_again(with_backfill: Any, still_venues: Any, end: Nanos) -> None:
    async def story(backfill: BackFill, _: Courier) -> None:
        await backfill.candles(UPBIT, end - HOUR, end)
        still_venues.market.prices["KRW-BTC"] += 1_000
        before = len(still_venues.asked)
        again = await backfill.candles(UPBIT, end - HOUR, end, again_from=end - 5 * MINUTE)
        assert again.added == 0
        assert len(still_venues.asked) == before + 1

    with_backfill(story)


def test_a_refusal_is_obeyed_and_the_block_grows(with_backfill: Any, still_venues: Any, still_clock: Any) -> None:
    async def story(_: BackFill, courier: Courier) -> None:
        url = still_venues.environ["KIMP__UPBIT__REST_URL"] + "/v1/candles/minutes/1?market=KRW-BTC&count=1"
        url += "&to=2026-09-21T00:00:00Z"
        still_venues.refusals = [(429, {"Retry-After": "7"})]
        began = still_clock.now()
        await courier.get(url)
        assert still_clock.now() - began >= 7 * SECOND
        still_venues.refusals = [(429, {}), (429, {}), (429, {})]
        began = still_clock.now()
        await courier.get(url)
        assert still_clock.now() - began >= (1 + 2 + 4) * SECOND
        still_venues.refusals = [(418, {"Retry-After": "1200"})]
        with pytest.raises(Unanswered):
            await courier.get(url)
        asked = len(still_venues.asked)
        with pytest.raises(Unanswered):  # as long as the block lasts, nobody is even asked
            await courier.get(url)
        assert len(still_venues.asked) == asked
        still_clock.at += 1201 * SECOND
        await courier.get(url)

    with_backfill(story)


def test_a_used_up_allowance_waits_for_the_next_second_or_minute(
    with_backfill: Any, still_venues: Any, still_clock: Any, end: Nanos
) -> None:
    async def story(backfill: BackFill, _: Courier) -> None:
        still_venues.headers = {"Remaining-Req": "group=candles; min=540; sec=0"}
        began = still_clock.now()
        await backfill.candles(UPBIT, end - 10 * HOUR, end)
        assert still_clock.now() - began >= 2 * SECOND
        still_venues.headers = {"X-MBX-USED-WEIGHT-1M": "2300"}
        began = still_clock.now()
        await backfill.candles(BINANCE, end - 24 * HOUR, end)
        assert still_clock.now() - began >= MINUTE

    with_backfill(story)


def test_settled_funding_is_stamped_with_its_settlement(with_backfill: Any, still_venues: Any, end: Nanos) -> None:
    async def story(_: BackFill, courier: Courier) -> None:
        history = BinanceHistory(still_venues.environ["KIMP__BINANCE__REST_URL"], courier)
        rates = await history.funding(BINANCE, end - 48 * HOUR, end)
        assert len(rates) == 6
        assert all(rate.settles_at % (8 * HOUR) == 0 and rate.at == rate.settles_at for rate in rates)

    with_backfill(story)


def test_bars_outside_of_the_question_are_left_out(with_backfill: Any, still_venues: Any, end: Nanos) -> None:
    async def story(_: BackFill, courier: Courier) -> None:
        still_venues.market.is_quiet = lambda _symbol, minute: minute % 10 != 0  # a thin market reaches far back
        bars = await UpbitHistory(still_venues.environ["KIMP__UPBIT__REST_URL"], courier).candles(
            UPBIT, end - 20 * MINUTE, end
        )
        assert len(bars) == 2
        assert all(isinstance(bar, Candle) and end - 20 * MINUTE <= bar.opened_at < end for bar in bars)

    with_backfill(story)
