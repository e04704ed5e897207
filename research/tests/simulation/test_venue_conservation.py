"""A venue's balances move by fills, fees, funding and transfers, and by nothing else."""

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from kimp.research.simulation.margin import Contract, MarginRules
from kimp.research.simulation.venue import SimulatedVenue
from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.instruments import Side, Venue, binance_perpetual, upbit_spot
from kimp.shared.domain.money import ZERO, Amount
from kimp.shared.domain.orders import Order, OrderStatus, TimeInForce

COIN, PERP = upbit_spot("BTC"), binance_perpetual("BTC")

sides = st.sampled_from(Side)
prices = st.integers(600, 1_900)
sizes = st.integers(1, 400)
orders = st.tuples(st.just("order"), sides, sizes, prices, st.sampled_from(TimeInForce), st.booleans())
moves = st.tuples(st.just("move"), prices, sizes)
fundings = st.tuples(st.just("fund"), st.integers(-300, 300))
transfers = st.tuples(st.just("transfer"), st.integers(-50, 50))
cancels = st.tuples(st.just("cancel"), st.integers(0, 30))
stories = st.lists(st.one_of(orders, orders, moves, fundings, transfers, cancels), max_size=40)


def play(venue: SimulatedVenue, unit: Decimal, story: list[tuple]) -> Decimal:  # type: ignore[type-arg]
    """Act the story out on the venue's one instrument; the money transferred in all."""
    (leg,) = venue.instruments.values()
    moved = ZERO
    for step, (what, *how) in enumerate(story):
        match what:
            case "order":
                side, size, price, time_in_force, reduce_only = how
                sent = Order(
                    f"o{step}", leg.id, side, Decimal(size) / 1000, price * unit, time_in_force, bool(reduce_only)
                )
                venue.place(sent, step)
            case "move":
                price, size = how
                level = Decimal(size) / 1000
                shown = Book(leg.id, (Level(price * unit, level),), (Level((price + 1) * unit, level),), step, step)
                venue.see([shown], step)
            case "fund" if leg.id in venue.contracts:
                venue.settle_funding(leg.id, Decimal(how[0]) / 1_000_000, step)
            case "transfer":
                venue.move_funds(Amount(Decimal(how[0]), leg.quote))
                moved += how[0]
            case "cancel":
                venue.cancel(f"o{how[0]}")
    return moved


@settings(max_examples=150, deadline=None)
@given(stories)
def test_a_spot_venue_conserves_money_and_coins(story: list[tuple]) -> None:  # type: ignore[type-arg]
    unit = Decimal(100_000)
    venue = SimulatedVenue(Venue.UPBIT, [COIN], {"KRW": Decimal(50_000_000), "BTC": Decimal(1)})
    venue.see([Book(COIN.id, (Level(999 * unit, Decimal(1)),), (Level(1_000 * unit, Decimal(1)),), 0, 0)], 0)
    moved = play(venue, unit, story)
    cash = sum((-fill.side.sign * fill.quantity * fill.price - fill.fee.value for fill in venue.trades), ZERO)
    coins = sum((fill.side.sign * fill.quantity for fill in venue.trades), ZERO)
    assert venue.balances == {"KRW": 50_000_000 + moved + cash, "BTC": 1 + coins}
    assert venue.balances["BTC"] >= venue.locked("BTC") >= ZERO


@settings(max_examples=150, deadline=None)
@given(stories, st.sampled_from([1, 2, 3]))
def test_a_perpetual_venue_conserves_its_wallet_and_its_contracts(story: list[tuple], leverage: int) -> None:  # type: ignore[type-arg]
    unit = Decimal(100)
    rules = MarginRules(leverage=Decimal(leverage))
    venue = SimulatedVenue(Venue.BINANCE, [PERP], {"USDT": Decimal(30_000)}, rules)
    venue.see([Book(PERP.id, (Level(999 * unit, Decimal(1)),), (Level(1_000 * unit, Decimal(1)),), 0, 0)], 0)
    moved = play(venue, unit, story)
    contract, settled = Contract(), ZERO
    for fill in venue.trades:
        signed = fill.side.sign * fill.quantity
        settled += contract.trade(signed, -signed * fill.price) - fill.fee.value
    income = sum((paid.amount.value for paid in venue.income), ZERO)
    assert venue.balances == {"USDT": 30_000 + moved + settled + income}
    assert venue.contracts[PERP.id] == contract


@settings(max_examples=100, deadline=None)
@given(stories)
def test_what_a_venue_says_of_an_order_adds_up(story: list[tuple]) -> None:  # type: ignore[type-arg]
    unit = Decimal(100_000)
    venue = SimulatedVenue(Venue.UPBIT, [COIN], {"KRW": Decimal(50_000_000), "BTC": Decimal(1)})
    venue.see([Book(COIN.id, (Level(999 * unit, Decimal(1)),), (Level(1_000 * unit, Decimal(1)),), 0, 0)], 0)
    play(venue, unit, story)
    assert len({fill.trade_id for fill in venue.trades}) == len(venue.trades)
    for placed in venue.history:
        report = venue.query(placed.order.client_id)
        assert report.executed == sum((fill.quantity for fill in report.fills), ZERO) <= placed.order.quantity
        assert (report.status is OrderStatus.WORKING) == (placed in venue.resting)
        for fill in report.fills:
            beyond = fill.price > placed.order.limit if fill.side is Side.BUY else fill.price < placed.order.limit
            assert not beyond
        if placed.order.time_in_force is TimeInForce.FOK:
            assert report.executed in (ZERO, placed.order.quantity)
