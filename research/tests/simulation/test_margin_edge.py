"""The price of liquidation, which spares a venue the sum on every quote, agrees with the rule itself."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from kimp.research.simulation.margin import Contract, MarginRules
from kimp.research.simulation.venue import SimulatedVenue
from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.instruments import Instrument, Side, Venue, binance_perpetual
from kimp.shared.domain.orders import Accepted, Fill, Order

PERP = binance_perpetual("BTC")

PRICES = st.decimals("1000", "200000", places=1)


@given(
    quantity=st.decimals("0.001", "5", places=3),
    is_short=st.booleans(),
    entry=PRICES,
    wallet=st.decimals("0", "1000000", places=2),
    mark=PRICES,
)
def test_a_mark_short_of_the_edge_is_safe_and_one_beyond_it_is_not(
    quantity: Decimal, is_short: bool, entry: Decimal, wallet: Decimal, mark: Decimal
) -> None:
    signed = -quantity if is_short else quantity
    contract, rules = Contract(signed, -signed * entry), MarginRules()
    edge = rules.edge(contract, wallet)
    assert rules.is_liquidated(contract, wallet, mark) is (mark >= edge if is_short else mark <= edge)


def test_what_another_contract_lost_does_not_stand_behind_this_one() -> None:
    """Cross margin is one wallet: two shorts that each could be carried alone are not carried together."""
    other = binance_perpetual("ETH")
    venue = SimulatedVenue(Venue.BINANCE, [PERP, other], {"USDT": Decimal(1_100)}, MarginRules(leverage=Decimal(2)))

    def show(leg: Instrument, price: int) -> list[Fill]:
        level = (Level(Decimal(price), Decimal(100)),), (Level(Decimal(price) + Decimal("0.1"), Decimal(100)),)
        return venue.see([Book(leg.id, *level, 0, 0)], 0)

    for leg in (PERP, other):
        show(leg, 1_000)
        assert venue.place(Order(f"s{leg.base}", leg.id, Side.SELL, Decimal(1), Decimal(1_000)), 0) == Accepted(
            f"binance-{len(venue.history)}"
        )
    assert not show(PERP, 1_600)
    fills = show(other, 1_600)
    assert [(fill.instrument_id, fill.side) for fill in fills] == [(other.id, Side.BUY)]
