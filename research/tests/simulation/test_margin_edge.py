"""The price of liquidation, which spares a venue the sum on every quote, agrees with the rule itself."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from kimp.research.simulation.margin import Contract, MarginRules

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
