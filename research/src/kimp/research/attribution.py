"""Where the money came from: premium, FX, funding and costs, adding up to the net without a remainder."""

from dataclasses import astuple, dataclass, fields
from decimal import Context, Decimal, localcontext

from kimp.research.backtest.result import BacktestResult, Trade

EXACT = Context(prec=100)
"""Wide enough that no sum of KRW amounts is rounded: 28 digits, the default, can drop the tail of a quotient."""

NET_MISMATCH_MAX = Decimal("0.000001")
"""KRW a pair's own net may differ from its parts: above rounding of a 28-digit quotient, far below a real won."""


@dataclass(frozen=True, slots=True)
class Attribution:
    """Parts of the result in KRW; costs are negative and ``net`` is exactly the sum of the other five."""

    premium: Decimal
    fx: Decimal
    funding: Decimal
    fees: Decimal
    slippage: Decimal
    net: Decimal

    def of_capital(self, capital: Decimal) -> dict[str, float]:
        """The same parts as fractions of the starting capital: 0.01 is one percent."""
        return {part.name: float(getattr(self, part.name) / capital) for part in fields(self)}

    def as_dict(self) -> dict[str, Decimal]:
        """Names and KRW amounts in the order they are read."""
        return dict(zip((part.name for part in fields(self)), astuple(self), strict=True))


def attribution_of(result: BacktestResult) -> Attribution:
    """Splits a run's profit over all closed pairs and the open one at its mark.

    Raises:
        ValueError: a pair's net is not the sum of its parts, so the run's own books are wrong.
    """
    pairs = result.trades if result.open_position is None else (*result.trades, result.open_position)
    with localcontext(EXACT):
        for pair in pairs:
            _check(pair)
        premium, fx, funding, fees, slippage = (
            sum((getattr(pair, part) for pair in pairs), Decimal(0))
            for part in ("premium", "fx", "funding", "fees", "slippage")
        )
        return Attribution(premium, fx, funding, fees, slippage, premium + fx + funding + fees + slippage)


def _check(pair: Trade) -> None:
    parts = pair.premium + pair.fx + pair.funding + pair.fees + pair.slippage
    if abs(parts - pair.net) > NET_MISMATCH_MAX:
        raise ValueError(f"pair {pair.signal_id}: its parts sum to {parts} KRW but its net says {pair.net}")
