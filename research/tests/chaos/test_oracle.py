"""The oracle asks the venues: whatever they hold that our books do not explain is found, and believing is worth nothing."""

from collections.abc import Callable
from decimal import Decimal

import msgspec
import pytest

from kimp.research.chaos.oracle import believed, violations
from kimp.research.chaos.pairs import naked_times, pairs_of, rate_at
from kimp.research.chaos.storm import Storm
from kimp.shared.domain.instruments import Side, Venue
from kimp.shared.domain.orders import Fill, Order
from kimp.shared.domain.positions import Purpose
from kimp.shared.domain.time import MINUTE
from kimp.shared.messages.events import SwitchState
from kimp.shared.messages.records import OrderIntended, PlanMade, SwitchSet

Tamper = Callable[[Storm], None]


@pytest.fixture
def storm() -> Storm:
    """A calm hour with entries and exits, in which nothing is wrong."""
    played = Storm(2, preset="calm", lasts=40 * MINUTE)
    assert played.run().violations == []
    assert any(isinstance(record, PlanMade) for record in played.world.records)
    return played


def found(storm: Storm) -> set[str]:
    return {violation.invariant for violation in violations(storm.case())}


def take_a_coin(storm: Storm) -> None:
    storm.world.venues[Venue.UPBIT].balances["BTC"] += Decimal("0.00000001")


def take_a_contract(storm: Storm) -> None:
    storm.world.venues[Venue.BINANCE].contracts[storm.pair.abroad.id].quantity += Decimal("0.001")


def lose_a_fee(storm: Storm) -> None:
    storm.world.venues[Venue.BINANCE].balances["USDT"] -= Decimal("0.00000001")


def forget_an_order(storm: Storm) -> None:
    storm.world.engine.state.unsettled["forgotten"] = None


def enter_after_the_stop(storm: Storm) -> None:
    records = storm.world.records
    first = next(index for index, record in enumerate(records) if isinstance(record, PlanMade))
    records.insert(first, SwitchSet(0, SwitchState.HALTED))


def send_without_a_journal(storm: Storm) -> None:
    intent = next(record for record in storm.world.records if isinstance(record, OrderIntended))
    storm.world.records.remove(intent)


def execute_twice(storm: Storm) -> None:
    venue = storm.world.venues[Venue.BINANCE]
    venue.history.append(next(placed for placed in venue.history if placed.fills))


def deposit_less(storm: Storm) -> None:
    for key in storm.deposits:
        storm.deposits[key] /= 4


@pytest.mark.parametrize(
    ("tamper", "invariant"),
    [
        (take_a_coin, "conservation"),
        (take_a_contract, "conservation"),
        (lose_a_fee, "conservation"),
        (forget_an_order, "settled"),
        (enter_after_the_stop, "stop"),
        (send_without_a_journal, "exactly_once"),
        (execute_twice, "exactly_once"),
        (deposit_less, "committed"),
    ],
)
def test_the_least_tampering_is_seen(storm: Storm, tamper: Tamper, invariant: str) -> None:
    tamper(storm)
    assert invariant in found(storm)
    assert invariant == "settled" or believed(2, storm.world.engine) == []


@pytest.fixture
def sold_too_cheaply(storm: Storm) -> Storm:
    """The venue's own records show Korean sales 5 % below what was decided on."""
    trades = storm.world.venues[Venue.UPBIT].trades
    trades[:] = [
        msgspec.structs.replace(fill, price=fill.price * Decimal("0.95")) if fill.side is Side.SELL else fill
        for fill in trades
    ]
    return storm


def test_a_pair_closed_below_zero_is_found_from_the_venues_trades(sold_too_cheaply: Storm) -> None:
    assert "no_loss" in found(sold_too_cheaply)


def test_a_loss_of_a_repair_is_labelled_and_excused(sold_too_cheaply: Storm) -> None:
    records = sold_too_cheaply.world.records
    records[:] = [
        msgspec.structs.replace(record, purpose=Purpose.REPAIR) if isinstance(record, OrderIntended) else record
        for record in records
    ]
    assert "no_loss" not in found(sold_too_cheaply)


def test_pairs_are_summed_from_the_venues_trades_alone(storm: Storm) -> None:
    pairs = pairs_of(storm.case())
    coins = sum((money.coins for money in pairs), Decimal(0))
    contracts = sum((money.contracts for money in pairs), Decimal(0))
    deposited = storm.deposits.get((Venue.UPBIT, "BTC"), Decimal(0))
    assert storm.world.venues[Venue.UPBIT].balances["BTC"] == coins + deposited
    assert storm.world.venues[Venue.BINANCE].contracts[storm.pair.abroad.id].quantity == contracts


def test_naked_time_is_from_the_first_leg_to_the_second(storm: Storm) -> None:
    upbit, binance = (storm.world.venues[venue] for venue in (Venue.UPBIT, Venue.BINANCE))
    for venue in (upbit, binance):
        venue.trades.clear()

    def trade(venue: Venue, side: Side, at: int) -> None:
        leg = storm.pair.korea if venue is Venue.UPBIT else storm.pair.abroad
        sent = Order("x", leg.id, side, Decimal("0.1"), Decimal(100_000))
        template = storm.world.venues[venue]._trade(sent, sent.limit, sent.quantity, at)
        assert isinstance(template, Fill)

    trade(Venue.UPBIT, Side.BUY, 1_000)
    trade(Venue.BINANCE, Side.SELL, 1_700)
    trade(Venue.BINANCE, Side.BUY, 2_000)
    trade(Venue.UPBIT, Side.SELL, 2_050)
    assert naked_times(storm.case()) == [700, 50]


def test_the_rate_of_a_moment_is_the_last_one_quoted_by_then() -> None:
    rates = [(10, Decimal(1)), (20, Decimal(2))]
    assert [rate_at(rates, at) for at in (5, 10, 19, 20, 99)] == [1, 1, 1, 2, 2]
