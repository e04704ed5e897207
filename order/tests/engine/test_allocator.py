"""How much to trade: the formula, both minimums, tranches, and the other direction's coins."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimp.order.engine.allocator import CapitalAllocator, Sizing, affordable, margin_per_coin
from kimp.order.engine.settings import EngineSettings
from kimp.order.engine.state import EngineState, Slot
from kimp.shared.domain.instruments import Pair, Side, Venue, binance_perpetual, default_pair, upbit_spot
from kimp.shared.domain.ledger import transfer_entry
from kimp.shared.domain.money import ONE, ZERO, Amount
from kimp.shared.domain.signals import Direction, Refusal

LONG, SHORT = Direction.LONG_PREMIUM, Direction.SHORT_PREMIUM
NO_SLIPPAGE = EngineSettings(slippage_max=ZERO)


@pytest.fixture
def funded(pair: Pair) -> Callable[..., EngineState]:
    """Makes a state with money on both venues and nothing on."""

    def make(krw: Any = 0, usdt: Any = 0, btc: Any = 0) -> EngineState:
        state = EngineState([Slot("fake:BTC", "fake", "BTC", (pair.korea, pair.abroad))])
        for venue, value, asset in (
            (Venue.UPBIT, krw, "KRW"),
            (Venue.UPBIT, btc, "BTC"),
            (Venue.BINANCE, usdt, "USDT"),
        ):
            state.ledger.post(transfer_entry(asset, venue, Amount(Decimal(value), asset), 0))
        return state

    return make


@pytest.fixture
def size(pair: Pair, funded: Callable[..., EngineState]) -> Callable[..., Sizing]:
    """Sizes a long entry (unless said otherwise) at 144,900,000 won against 100,000 dollars."""

    def make(direction: Direction = LONG, part: str = "1", given: EngineSettings = NO_SLIPPAGE, **money: Any) -> Sizing:
        korea, abroad = Decimal(144_900_000), Decimal(100_000)
        return CapitalAllocator(pair, given).size(funded(**money), direction, korea, abroad, Decimal(part))

    return make


# The formula


@settings(max_examples=200, deadline=None)
@given(
    krw=st.integers(200_000, 10**9),
    usdt=st.integers(200, 10**6),
    korea=st.integers(20_000, 300_000).map(lambda thousands: Decimal(thousands * 1_000)),
    abroad=st.integers(100_000, 2_500_000).map(lambda tenths: Decimal(tenths) / 10),
    leverage=st.integers(1, 3).map(Decimal),
)
def test_the_size_is_the_smaller_leg_at_95_percent_with_fees_floored_to_the_coarser_lot(
    krw: int, usdt: int, korea: Decimal, abroad: Decimal, leverage: Decimal
) -> None:
    pair = default_pair()
    state = EngineState([])
    state.ledger.post(transfer_entry("k", Venue.UPBIT, Amount(Decimal(krw), "KRW"), 0))
    state.ledger.post(transfer_entry("u", Venue.BINANCE, Amount(Decimal(usdt), "USDT"), 0))
    given_settings = EngineSettings(slippage_max=ZERO, leverage=leverage)
    sizing = CapitalAllocator(pair, given_settings).size(state, LONG, korea, abroad)
    fee, share = Decimal("0.0005"), Decimal("0.95")
    by_formula = min(share * krw / (korea * (1 + fee)), share * usdt / (abroad * (ONE / leverage + fee)))
    lots = by_formula // Decimal("0.001") * Decimal("0.001")
    fits = lots * abroad >= 100 and lots * korea >= 5_000
    assert sizing.quantity == (lots if fits else 0)
    assert sizing.refusal is (None if fits else Refusal.TOO_SMALL)


def test_korea_decides_the_size_when_it_is_the_poorer(size: Callable[..., Sizing]) -> None:
    # 0.95 × 10,000,000 / (144,900,000 × 1.0005) = 0.06553
    assert size(krw=10_000_000, usdt=1_000_000).quantity == Decimal("0.065")


def test_the_perpetual_decides_the_size_when_it_is_the_poorer(size: Callable[..., Sizing]) -> None:
    # 0.95 × 7,000 / (100,000 × 1.0005) = 0.06647
    assert size(krw=100_000_000, usdt=7_000).quantity == Decimal("0.066")


def test_the_budget_a_lot_leaves_idle_is_reported_per_asset(size: Callable[..., Sizing]) -> None:
    sizing = size(krw=10_000_000, usdt=7_000)
    assert dict(sizing.unused) == {
        "KRW": Decimal(9_500_000) - Decimal("0.065") * 144_900_000 * Decimal("1.0005"),
        "USDT": Decimal(6_650) - Decimal("0.065") * 100_000 * Decimal("1.0005"),
    }


def test_leverage_divides_the_margin_but_not_the_fee(size: Callable[..., Sizing]) -> None:
    doubled = EngineSettings(slippage_max=ZERO, leverage=Decimal(2))
    # 0.95 × 7,000 / (100,000 × (1/2 + 0.0005)) = 0.13286
    assert size(given=doubled, krw=100_000_000, usdt=7_000).quantity == Decimal("0.132")


def test_a_sale_of_contracts_is_sized_for_the_highest_price_it_may_meet(size: Callable[..., Sizing]) -> None:
    assert size(given=EngineSettings(), krw=100_000_000, usdt=7_000).quantity == Decimal("0.066")
    assert size(given=EngineSettings(slippage_max=Decimal("0.01")), krw=10**8, usdt=7_000).quantity == Decimal("0.065")


# Both minimums


def test_below_the_contract_lot_nothing_is_sized(size: Callable[..., Sizing]) -> None:
    assert size(krw=152_000, usdt=7_000).refusal is Refusal.TOO_SMALL


def test_the_contract_minimum_notional_refuses_although_korea_would_take_it(
    pair: Pair, funded: Callable[..., EngineState]
) -> None:
    allocator = CapitalAllocator(pair, NO_SLIPPAGE)
    state = funded(krw=10**9, usdt=105)
    assert allocator.size(state, LONG, Decimal(140_000_000), Decimal("99_000")).refusal is Refusal.TOO_SMALL
    assert allocator.size(funded(krw=10**9, usdt=106), LONG, Decimal(10**8), Decimal(100_000)).quantity == Decimal(
        "0.001"
    )


def test_the_korean_minimum_refuses_although_the_perpetual_would_take_it(funded: Callable[..., EngineState]) -> None:
    small = Pair("XRP", upbit_spot("XRP"), binance_perpetual("XRP", lot=ONE, minimum_notional=ONE))
    state = funded(krw=5_000, usdt=1_000)
    sizing = CapitalAllocator(small, NO_SLIPPAGE).size(state, LONG, Decimal(1_000), Decimal("1"))
    assert sizing.quantity == 0
    assert sizing.refusal is Refusal.TOO_SMALL


def test_no_money_is_no_size_and_no_share(
    pair: Pair, size: Callable[..., Sizing], funded: Callable[..., EngineState]
) -> None:
    assert size().refusal is Refusal.TOO_SMALL
    assert CapitalAllocator(pair, NO_SLIPPAGE).abroad(funded()).share == 0


# Tranches and the other direction


def test_tranches_of_40_and_60_percent_make_a_whole_and_never_more(make_bench: Callable[..., Any]) -> None:
    bench = make_bench()
    first = bench.enter(share="0.4")
    bench.complete_all(first)
    bench.now += 1
    second = bench.enter(share="0.6")
    bench.complete_all(second)
    bench.now += 1
    whole = make_bench().enter()
    assert first[0].quantity == Decimal("0.026")
    assert second[0].quantity == Decimal("0.039")
    assert first[0].quantity + second[0].quantity <= whole[0].quantity
    assert bench.enter(share="0.6") == ()
    assert bench.refusals[Refusal.TOO_SMALL.value] == 1


def test_short_premium_is_sized_by_the_coins_held(size: Callable[..., Sizing]) -> None:
    sizing = size(SHORT, btc="0.0205", usdt=7_000)
    assert sizing.quantity == Decimal("0.019")
    assert dict(sizing.unused)["BTC"] == Decimal("0.95") * Decimal("0.0205") - Decimal("0.019")


def test_short_premium_without_coins_is_too_small(size: Callable[..., Sizing]) -> None:
    assert size(SHORT, krw=10**9, usdt=7_000).refusal is Refusal.TOO_SMALL


def test_coins_bought_for_a_long_pair_are_not_inventory(make_bench: Callable[..., Any]) -> None:
    bench = make_bench(btc="0.5").opened()
    commitment = bench.desk.allocator.korea(bench.state, SHORT)
    assert (commitment.used, commitment.capital) == (0, Decimal("0.5"))


def test_coins_sold_short_stay_committed_and_their_proceeds_are_not_capital(make_bench: Callable[..., Any]) -> None:
    bench = make_bench(btc="0.1")
    before = bench.desk.allocator.korea(bench.state, LONG)
    bench.complete_all(bench.enter(SHORT))
    sold = -bench.held()[0]
    coins = bench.desk.allocator.korea(bench.state, SHORT)
    won = bench.desk.allocator.korea(bench.state, LONG)
    assert sold == Decimal("0.066")
    assert (coins.used, coins.capital) == (sold, Decimal("0.1"))
    assert won.used == 0
    fee = bench.position.leg(bench.pair.korea.id).fees_krw
    assert won.capital == before.capital - fee


def test_orders_under_way_lock_what_they_may_cost_at_worst(make_bench: Callable[..., Any]) -> None:
    bench = make_bench()
    korea_order, abroad_order = bench.enter()
    korea, abroad = bench.desk.allocator.korea(bench.state, LONG), bench.desk.allocator.abroad(bench.state)
    assert korea.used == korea_order.quantity * korea_order.limit * Decimal("1.0005")
    assert abroad.used == abroad_order.quantity * abroad_order.limit * Decimal("1.004") * Decimal("1.0005")
    bench.reject(korea_order)
    assert bench.desk.allocator.korea(bench.state, LONG).used == 0


def test_coins_being_sold_short_are_locked_while_the_order_is_under_way(make_bench: Callable[..., Any]) -> None:
    bench = make_bench(btc="0.1")
    korea_order, _ = bench.enter(SHORT)
    assert bench.desk.allocator.korea(bench.state, SHORT).used == korea_order.quantity


def test_contracts_closed_at_a_loss_leave_the_margin_of_the_rest_at_its_entry_price(
    make_bench: Callable[..., Any],
) -> None:
    bench = make_bench().opened()
    bench.foreign(bench.pair.abroad, Side.BUY, "0.025", "200000")
    # 0.04 contracts sold at 99,800 are left: their margin is what they were sold for, not what the cash flow nets to.
    assert bench.desk.allocator.abroad(bench.state).used == Decimal("0.040") * Decimal("99800")


def test_free_budget_is_never_negative_when_more_is_used_than_the_share(make_bench: Callable[..., Any]) -> None:
    bench = make_bench().opened()
    bench.fund("-600000", "KRW", Venue.UPBIT)
    commitment = bench.desk.allocator.korea(bench.state, LONG)
    assert commitment.share > Decimal("0.95")
    assert commitment.free(Decimal("0.95")) == 0


@pytest.mark.parametrize(("side", "asset"), [(Side.BUY, "KRW"), (Side.SELL, "BTC")])
def test_an_affordable_korean_order_just_fits_the_share(
    pair: Pair, funded: Callable[..., EngineState], side: Side, asset: str
) -> None:
    state, price = funded(krw=1_000_000, btc=2), Decimal(100_000_000)
    coins = affordable(state, pair.korea, side, price, price, EngineSettings())
    unit = price * Decimal("1.0005") if asset == "KRW" else ONE
    assert abs(coins * unit - Decimal("0.95") * (1_000_000 if asset == "KRW" else 2)) < Decimal("1e-9")


def test_an_affordable_contract_order_just_fits_the_margin(pair: Pair, funded: Callable[..., EngineState]) -> None:
    coins = affordable(funded(usdt=1_000), pair.abroad, Side.BUY, Decimal(100_000), Decimal(100_000), EngineSettings())
    assert abs(coins * margin_per_coin(pair.abroad, Side.BUY, Decimal(100_000), EngineSettings()) - 950) < Decimal(
        "1e-9"
    )
