"""A whole run: its money adds up to the last won, it can be repeated, and it says when it cannot begin."""

import os
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from kimp.research.attribution import attribution_of
from kimp.research.backtest.engine import BacktestEngine, BacktestSettings
from kimp.research.backtest.result import BacktestResult, Trade
from kimp.research.backtest.treasury import Rebalance
from kimp.research.simulation.market import simulate_market
from kimp.research.strategies.presets import build
from kimp.shared.domain.history import MarketData
from kimp.shared.domain.ledger import EntryKind
from kimp.shared.domain.positions import Purpose
from kimp.shared.domain.signals import Direction
from kimp.shared.domain.time import DAY, HOUR, MINUTE
from kimp.shared.errors import ValidationFailed
from kimp.shared.messages.records import FillBooked, OrderIntended

Make = Callable[..., Any]

WON_MAX = Decimal("0.000001")


@pytest.fixture(scope="module")
def simulated() -> MarketData:
    return simulate_market(seed=5, start=19_800 * DAY, end=19_860 * DAY, interval=10 * MINUTE)


def strategy(direction: Direction) -> Any:
    return build(
        "low_entry", direction=direction, threshold=None, percentile="0.5", window_hours=24, target_net="0.001"
    )


def pairs(result: BacktestResult) -> tuple[Trade, ...]:
    return result.trades if result.open_position is None else (*result.trades, result.open_position)


@pytest.fixture(scope="module", params=list(Direction))
def played(request: pytest.FixtureRequest, simulated: MarketData) -> BacktestEngine:
    return BacktestEngine(simulated, strategy(request.param), request.param)


@pytest.fixture(scope="module")
def result(played: BacktestEngine) -> BacktestResult:
    return played.run(preset="low_entry")


def test_the_curve_ends_where_capital_and_all_pairs_end(result: BacktestResult) -> None:
    total = result.capital + sum(pair.net for pair in pairs(result))
    assert abs(Decimal(float(result.curves.equity[-1])) - total) < WON_MAX
    assert len(result.trades) >= 3


def test_the_curve_is_flat_between_pairs_and_begins_at_the_capital(result: BacktestResult) -> None:
    equity, is_open = result.curves.equity, result.curves.is_open
    assert equity[0] == float(result.capital)
    both_flat = ~is_open[1:] & ~is_open[:-1]
    assert (equity[1:][both_flat] == equity[:-1][both_flat]).all()


def test_each_pairs_parts_add_up_exactly(result: BacktestResult) -> None:
    for pair in pairs(result):
        assert pair.premium + pair.fx + pair.funding + pair.fees + pair.slippage == pair.net
    attribution = attribution_of(result)
    assert attribution.net == sum(pair.net for pair in pairs(result))


def test_funding_in_the_report_is_funding_in_the_ledger(played: BacktestEngine, result: BacktestResult) -> None:
    held = sum(float(pair.funding) for pair in pairs(result))
    assert result.funding_received.sum() == pytest.approx(held, abs=1e-6)
    ledger = played.trading.state.ledger.entries
    assert len(result.funding_at) == sum(1 for entry in ledger if entry.kind is EntryKind.FUNDING)


def test_every_closed_pair_earned_and_says_so(result: BacktestResult) -> None:
    for trade in result.trades:
        assert trade.net > 0
        assert trade.closed_at is not None
        assert trade.closed_at > trade.opened_at


def test_the_venues_own_books_agree_with_the_ledger(played: BacktestEngine, result: BacktestResult) -> None:
    assert result.bars
    for venue in played.world.venues.values():
        for asset, amount in venue.balances.items():
            booked = played.trading.state.ledger.wallet(venue.venue, asset)
            assert amount == booked, (venue.venue, asset)


def test_a_second_run_tells_the_same_story(simulated: MarketData, result: BacktestResult) -> None:
    direction = Direction(result.direction)
    again = BacktestEngine(simulated, strategy(direction), direction).run()
    assert again.decision_hash == result.decision_hash
    assert (again.curves.equity == result.curves.equity).all()


def test_the_story_does_not_depend_on_how_python_hashes() -> None:
    program = (
        "from kimp.research.backtest.engine import BacktestEngine\n"
        "from kimp.research.simulation.market import simulate_market\n"
        "from kimp.research.strategies.presets import build\n"
        "from kimp.shared.domain.signals import Direction\n"
        "from kimp.shared.domain.time import DAY, HOUR\n"
        "data = simulate_market(seed=5, start=19_800 * DAY, end=19_860 * DAY, interval=HOUR)\n"
        "run = BacktestEngine(data, build('low_entry', target_net='0.001', threshold='0.03'), Direction.LONG_PREMIUM)\n"
        "result = run.run()\n"
        "print(result.decision_hash, len(result.trades))\n"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(told) == 1
    assert int(told.pop().split()[1]) > 0


def test_progress_is_told_up_to_the_last_bar(simulated: MarketData) -> None:
    told: list[tuple[int, int]] = []
    BacktestEngine(simulated, strategy(Direction.LONG_PREMIUM), Direction.LONG_PREMIUM).run(
        progress=lambda done, total: told.append((done, total))
    )
    assert told[0][0] == 0
    assert told[-1] == (told[0][1], told[0][1])
    assert told == sorted(told)


def test_too_little_capital_for_one_lot_says_how_much_is_needed(
    make_market: Make, bars: Make, backtest: Make, scripted: Any
) -> None:
    data = make_market(bars(*[144_900_000] * 4), bars(*[100_000] * 4))
    with pytest.raises(ValidationFailed, match=r"200,000 KRW is too little: .* about 623,000 or more"):
        backtest(data, scripted(), capital="200000").run()
    assert backtest(data, scripted(), capital="623000").run().open_position is not None


def test_a_strategy_that_never_enters_is_no_error(make_market: Make, bars: Make, backtest: Make, scripted: Any) -> None:
    data = make_market(bars(*[144_900_000] * 4), bars(*[100_000] * 4))
    result = backtest(data, scripted(enter=()), capital="1").run()
    assert (result.trades, result.refusals) == ((), {})


# -- one pair by hand ------------------------------------------------------------------------------------------------


def test_short_premium_by_hand(make_market: Make, backtest: Make, scripted: Any) -> None:
    """Sold 0.07 coins at 3.5 %, bought back at 1 %, with the coin 20 % higher and one settlement of 0.01 % paid."""
    bars = 12
    korea = dict.fromkeys(range(9), (144900000, 144900000)) | {9: (144_900_000, 169_680_000)}
    korea |= dict.fromkeys(range(10, bars), (169_680_000, 169_680_000))
    abroad = dict.fromkeys(range(9), (100000, 100000)) | {9: (100_000, 120_000)}
    abroad |= dict.fromkeys(range(10, bars), (120_000, 120_000))
    data = make_market(korea, abroad, funding=((7, 0.0001),))
    engine = backtest(data, scripted(Direction.SHORT_PREMIUM))
    (trade,) = engine.run().trades
    q, rate, fee = Decimal("0.07"), 1_400, Decimal("0.0005")
    sold, bought = Decimal(144_900_000), Decimal(169_681_000)  # the bid is the price itself, the ask a tick above
    long_in, long_out = Decimal("100000.1"), Decimal(120_000)
    spot, perp = q * (sold - bought), q * (long_out - long_in) * rate
    fees = -fee * q * (sold + bought + (long_in + long_out) * rate)
    funding = -q * Decimal("100000.05") * Decimal("0.0001") * rate
    assert trade.quantity == q
    assert trade.funding == funding
    assert trade.fees == fees
    assert trade.net == spot + perp + fees + funding
    assert trade.entry_premium == sold / (long_in * rate) - 1
    assert trade.exit_premium == bought / (long_out * rate) - 1


def test_the_owner_of_short_premium_gets_back_the_coins_that_were_sold(
    make_market: Make, bars: Make, backtest: Make, scripted: Any
) -> None:
    data = make_market(bars(*[144_900_000] * 3, *[141_400_000] * 5), bars(*[100_000] * 8))
    engine = backtest(data, scripted(Direction.SHORT_PREMIUM))
    coins: list[Decimal] = []
    upbit = next(venue for venue in engine.world.venues.values() if venue.venue.value == "upbit")
    engine.world.on_step = lambda _: coins.append(upbit.balances.get("BTC", Decimal(0)))
    result = engine.run()
    assert len(result.trades) == 1
    assert coins[-1] == max(coins)
    assert min(coins[coins.index(max(coins)) :]) == max(coins) - result.trades[0].quantity


@pytest.mark.parametrize("direction", list(Direction))
def test_half_of_the_capital_is_put_on_each_venue_at_the_first_open(
    make_market: Make, bars: Make, backtest: Make, scripted: Any, direction: Direction
) -> None:
    data = make_market(bars(*[144_900_000] * 3), bars(*[100_000] * 3))
    engine = backtest(data, scripted(direction, enter=()), capital="20000000")
    engine.run()
    wallets = {
        (v.venue.value, asset): amount for v in engine.world.venues.values() for asset, amount in v.balances.items()
    }
    assert wallets["binance", "USDT"] * 1_400 == pytest.approx(Decimal(10_000_000))
    if direction is Direction.LONG_PREMIUM:
        assert wallets["upbit", "KRW"] == 10_000_000
    else:
        assert wallets["upbit", "BTC"] * 144_900_000 == pytest.approx(Decimal(10_000_000))
        assert wallets["upbit", "KRW"] == 2_500_000


@pytest.mark.parametrize("rule", list(Rebalance))
def test_money_is_evened_out_between_pairs_if_the_owner_does_so(
    make_market: Make, bars: Make, scripted: Any, rule: Rebalance
) -> None:
    """A pair that earned on the coin's rise leaves its gain in Korea and its loss abroad."""
    prices = [144_900_000] * 3 + [180_000_000] * 40
    perps = [100_000.0] * 3 + [121_000.0] * 40
    data = make_market(bars(*prices), bars(*perps))
    engine = BacktestEngine(data, scripted(), Direction.LONG_PREMIUM, BacktestSettings(rebalance=rule))
    result = engine.run()
    assert len(result.trades) == 1
    binance = next(venue for venue in engine.world.venues.values() if venue.venue.value == "binance")
    half = (result.capital + result.trades[0].net) / 2
    evened = abs(binance.balances["USDT"] * 1_400 - half) < 1
    assert evened == (rule is Rebalance.WHEN_FLAT)


def test_a_liquidated_short_is_counted_and_the_coins_are_sold(
    make_market: Make, backtest: Make, bars: Make, scripted: Any
) -> None:
    """At twice its entry a short without leverage is gone; what the coins earned is all that is left of it."""
    data = make_market(bars(144_900_000, 144_900_000, *[320_000_000] * 4), bars(100_000, 100_000, *[220_000] * 4))
    result = backtest(data, scripted(leave_from=99)).run()
    assert result.liquidations == 1
    assert result.open_position is None
    (trade,) = result.trades
    total = result.capital + trade.net
    assert abs(Decimal(float(result.curves.equity[-1])) - total) < WON_MAX


# -- exits that miss -------------------------------------------------------------------------------------------------


def test_an_exit_that_missed_one_leg_is_taken_back_and_does_not_distort_the_entry(
    make_market: Make, backtest: Make, scripted: Any
) -> None:
    """The Korean price falls between decision and open: the perpetual is bought back, then sold again."""
    korea = {
        0: (144_900_000, 144_900_000),
        1: (144_900_000, 144_900_000),
        2: (144_900_000, 149_000_000),
        3: (145_000_000, 145_000_000),
        4: (145_000_000, 165_000_000),
        5: (165_000_000, 165_000_000),
    }
    abroad = dict.fromkeys(range(6), (100_000, 100_000)) | {4: (100_000, 110_000), 5: (110_000, 110_000)}
    engine = backtest(make_market(korea, abroad), scripted())
    result = engine.run()
    (trade,) = result.trades
    repairs = [r for r in engine.world.records if isinstance(r, OrderIntended) and r.purpose is Purpose.REPAIR]
    bought = [
        r for r in engine.world.records if isinstance(r, FillBooked) and r.fill.instrument_id == "binance:BTCUSDT"
    ]
    assert result.repairs == len(repairs) > 0
    assert len(bought) == 4  # in, out, in again, out at last
    assert float(trade.entry_premium) == pytest.approx(0.035, abs=3e-5)
    assert float(trade.exit_premium) == pytest.approx(165 / 154 - 1, abs=3e-5)
    assert trade.quantity == Decimal("0.07")
    assert trade.exit_reason == "scripted"


def test_premiums_of_a_report_are_quoted_on_the_basis_the_strategy_compares(
    make_market: Make, bars: Make, backtest: Make, scripted: Any
) -> None:
    """With KRW-USDT 3 % above the dollar the money is valued at KRW-USDT, but 3.5 % stays 3.5 %."""
    data = make_market(
        bars(*[144_900_000] * 5),
        bars(*[100_000] * 5),
        usdtkrw=[(n, 1_442.0) for n in range(6)],
        interval=HOUR,
    )
    held = backtest(data, scripted()).run().open_position
    assert held is not None
    assert float(held.entry_premium) == pytest.approx(0.035, abs=3e-5)
    assert float(held.exit_premium) == pytest.approx(0.035, abs=3e-5)
