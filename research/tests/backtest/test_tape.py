"""What a decision may know and what its orders may meet: nothing that had not happened yet, nothing that is gone."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from kimp.research.backtest.engine import BacktestEngine, BacktestSettings
from kimp.research.backtest.tape import Tape
from kimp.research.simulation.market import simulate_market
from kimp.research.simulation.slippage import FixedSlippage, SlippageModel, VolumeSlippage
from kimp.research.strategies.presets import build
from kimp.shared.domain.history import Candles, MarketData, Observations
from kimp.shared.domain.instruments import default_pair
from kimp.shared.domain.signals import Direction
from kimp.shared.domain.time import DAY, HOUR, MINUTE, Nanos
from kimp.shared.messages.records import FillBooked, FundingBooked, PlanMade, Record
from kimp.storage.archive import resample

Make = Callable[..., Any]


def fills(engine: BacktestEngine) -> list[FillBooked]:
    return [record for record in engine.world.records if isinstance(record, FillBooked)]


def cut(data: MarketData, end: Nanos) -> MarketData:
    """The same recording as it was when it was shorter."""

    def bars(candles: Candles) -> Candles:
        kept = candles.opened < end
        return Candles(*(getattr(candles, name)[kept] for name in ("opened", "open", "high", "low", "close", "volume")))

    def known(values: Observations | None) -> Observations | None:
        return None if values is None else Observations(values.at[values.at < end], values.value[values.at < end])

    usdkrw, funding = known(data.usdkrw), known(data.funding)
    assert usdkrw is not None
    assert funding is not None
    return replace(
        data,
        end=end,
        korea=bars(data.korea),
        abroad=bars(data.abroad),
        usdkrw=usdkrw,
        usdtkrw=known(data.usdtkrw),
        funding=funding,
    )


def eager(direction: Direction = Direction.LONG_PREMIUM) -> Any:
    """A strategy with windows that trades often."""
    return build(
        "low_entry", direction=direction, threshold=None, percentile="0.4", window_hours=24, target_net="0.0005"
    )


def journal(data: MarketData, until: Nanos, slippage: SlippageModel) -> list[Record]:
    engine = BacktestEngine(data, eager(), Direction.LONG_PREMIUM, BacktestSettings(slippage=slippage))
    engine.run()
    return [record for record in engine.world.records if record.at <= until]


@pytest.fixture(scope="module")
def simulated() -> MarketData:
    return simulate_market(seed=11, start=19_800 * DAY, end=19_840 * DAY, interval=10 * MINUTE)


@pytest.mark.parametrize("bars", [300, 1_001, 2_400, 3_333, 5_000])
def test_what_was_decided_before_a_cut_does_not_change_with_what_comes_after_it(
    simulated: MarketData, bars: int
) -> None:
    end = simulated.start + bars * simulated.interval
    whole, shorter = (journal(data, end, FixedSlippage()) for data in (simulated, cut(simulated, end)))
    decided = [record for record in whole if isinstance(record, PlanMade)]
    assert shorter == whole
    assert bars < 3_000 or len(decided) >= 10


def test_the_depth_of_books_may_follow_volume_without_looking_ahead(simulated: MarketData) -> None:
    end = simulated.start + 2_500 * simulated.interval
    model = VolumeSlippage(share=0.001)
    assert journal(cut(simulated, end), end, model) == journal(simulated, end, model)


def test_a_fixing_is_unknown_until_it_is_published(
    make_market: Make, bars: Make, backtest: Make, scripted: Any
) -> None:
    data = make_market(
        bars(*[144_900_000] * 8), bars(*[100_000] * 8), usdkrw=((-1, 1_400.0), (4, 1_300.0)), interval=HOUR
    )
    strategy = scripted(enter=())
    backtest(data, strategy).run()
    seen = [view.usdkrw for view in strategy.seen]
    # Bar 3 closes at the very moment the fixing of bar 4's open is published.
    assert seen == [Decimal(1_400)] * 3 + [Decimal(1_300)] * 5


def test_a_funding_rate_is_unknown_until_it_settled(
    make_market: Make, bars: Make, backtest: Make, scripted: Any
) -> None:
    data = make_market(bars(*[144_900_000] * 5), bars(*[100_000] * 5), funding=((2, 0.0003),))
    strategy = scripted(enter=())
    backtest(data, strategy).run()
    assert [view.funding_rate for view in strategy.seen] == [None, *[Decimal("0.0003")] * 4]


def test_a_decision_fills_at_the_next_open_and_never_at_the_close_it_was_made_on(
    make_market: Make, backtest: Make, scripted: Any, start: Nanos
) -> None:
    korea = {0: (144_000_000, 144_900_000), 1: (144_950_000, 144_000_000), 2: (144_000_000, 144_000_000)}
    abroad = {0: (99_000, 100_000), 1: (100_050, 99_000), 2: (99_000, 99_000)}
    engine = backtest(make_market(korea, abroad), scripted())
    engine.run()
    ours, theirs = fills(engine)[:2]
    assert (ours.fill.price, theirs.fill.price) == (Decimal(144_951_000), Decimal(100_050))
    assert start + HOUR < ours.fill.at < start + HOUR + MINUTE


def test_a_leg_without_the_next_bar_offers_nothing_and_the_other_is_unwound(
    make_market: Make, bars: Make, backtest: Make, scripted: Any
) -> None:
    korea = bars(*[144_900_000] * 5)
    del korea[1]
    engine = backtest(make_market(korea, bars(*[100_000] * 5)), scripted())
    result = engine.run()
    assert {record.fill.instrument_id for record in fills(engine)} == {"binance:BTCUSDT"}
    assert result.open_position is None
    assert [trade.exit_reason for trade in result.trades] == ["entry_unwound"]
    assert result.refusals["book_stale"] == 1


def test_orders_sent_into_a_pause_find_nobody(make_market: Make, bars: Make, backtest: Make, scripted: Any) -> None:
    korea, abroad = bars(*[144_900_000] * 9), bars(*[100_000] * 9)
    for missing in range(1, 6):
        del korea[missing], abroad[missing]
    engine = backtest(make_market(korea, abroad), scripted())
    result = engine.run()
    assert fills(engine) == []
    assert (result.bars, result.trades, result.open_position) == (4, (), None)


def test_what_the_last_close_decides_does_not_fill_at_that_close(
    make_market: Make, bars: Make, backtest: Make, scripted: Any
) -> None:
    engine = backtest(make_market(bars(*[144_900_000] * 3), bars(*[100_000] * 3)), scripted(enter=(2,)))
    result = engine.run()
    assert any(isinstance(record, PlanMade) for record in engine.world.records)
    assert fills(engine) == []
    assert result.open_position is None


def test_nothing_is_decided_on_a_bar_that_one_leg_misses(
    make_market: Make, bars: Make, backtest: Make, scripted: Any
) -> None:
    korea = bars(*[144_900_000] * 6)
    del korea[2], korea[3]
    strategy = scripted(enter=(2, 3))
    result = backtest(make_market(korea, bars(*[100_000] * 6)), strategy).run()
    assert len(strategy.seen) == 4
    assert result.refusals == {"book_stale": 2}
    assert result.open_position is None
    assert np.isfinite(result.curves.premium).all()


@pytest.mark.parametrize(
    ("entered", "left_from", "paid"),
    [
        pytest.param(5, 99, True, id="open since before the settlement"),
        pytest.param(6, 99, False, id="decided at the settlement, filled after it"),
        pytest.param(0, 6, True, id="leaving is decided at the settlement"),
    ],
)
def test_funding_belongs_to_who_holds_at_the_settlement(
    make_market: Make, backtest: Make, scripted: Any, entered: int, left_from: int, paid: bool
) -> None:
    """Bar 6 ends with the settlement of bar 7's open; its payment is on that moment's price."""
    count = 12
    korea = {n: (144_900_000, 144_900_000 if n < 6 else 149_900_000) for n in range(count)}
    korea |= dict.fromkeys(range(7, count), (149900000, 149900000))
    abroad = {n: (100_000, 100_000 if n < 6 else 101_000) for n in range(count)}
    abroad |= dict.fromkeys(range(7, count), (101000, 101000))
    data = make_market(korea, abroad, funding=((7, 0.001),))
    engine = backtest(data, scripted(enter=(entered,), leave_from=left_from))
    engine.run()
    booked = [record for record in engine.world.records if isinstance(record, FundingBooked)]
    assert len(booked) == paid
    if paid:
        (quantity,) = {record.fill.quantity for record in fills(engine)}
        assert booked[0].payment.amount.value == quantity * Decimal("101000.05") * Decimal("0.001")


def test_a_settlement_at_the_decision_does_not_turn_an_exit_into_a_loss(
    make_market: Make, backtest: Make, scripted: Any
) -> None:
    """Leaving would earn 0.03 % at the very moment at which a settlement takes 0.1 %."""
    count = 10
    korea = dict.fromkeys(range(6), (144_900_000, 144_900_000)) | {6: (144_900_000, 145_240_000)}
    korea |= dict.fromkeys(range(7, count), (145_240_000, 145_240_000))
    data = make_market(korea, dict.fromkeys(range(count), (100_000, 100_000)), funding=((7, -0.001),))
    result = backtest(data, scripted(leave_from=6)).run()
    assert len(result.funding_at) == 1
    assert all(trade.net > 0 for trade in result.trades)


def test_hours_are_the_resampled_minutes(simulated: MarketData) -> None:
    hourly = simulate_market(seed=11, start=simulated.start, end=simulated.end, interval=HOUR)
    made = replace(
        simulated,
        interval=HOUR,
        korea=resample(simulated.korea, HOUR),
        abroad=resample(simulated.abroad, HOUR),
        usdtkrw=hourly.usdtkrw,
    )
    first, second = (BacktestEngine(data, eager(), Direction.LONG_PREMIUM).run() for data in (hourly, made))
    assert first.decision_hash == second.decision_hash
    assert first.trades


def test_books_are_never_locked_even_without_slippage(simulated: MarketData) -> None:
    tape = Tape(simulated, default_pair(), FixedSlippage(0.0))
    for quotes in (tape.korea, tape.abroad):
        has = quotes.has
        assert (quotes.close_ask[has] > quotes.close_bid[has]).all()
        assert (quotes.open_ask[has] > quotes.open_bid[has]).all()
    result = BacktestEngine(
        simulated, eager(), Direction.LONG_PREMIUM, BacktestSettings(slippage=FixedSlippage(0.0))
    ).run()
    assert result.trades
