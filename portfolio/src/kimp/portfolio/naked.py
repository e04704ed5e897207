"""How long one leg stood without the other, by the venues' own trades: nobody's belief counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from kimp.shared.domain.money import ZERO
from kimp.shared.domain.orders import Fill
from kimp.shared.domain.time import Nanos


@dataclass(slots=True)
class Nakedness:
    """Spans (begin, end; nanoseconds) during which bought and sold coins differed by more than a lot."""

    spans: list[tuple[Nanos, Nanos]] = field(default_factory=list)
    exposure: Decimal = ZERO

    @property
    def longest(self) -> Nanos:
        """The longest of them; zero without any."""
        return max((end - begin for begin, end in self.spans), default=0)


def nakedness(fills: Iterable[Fill], lot: Decimal, until: Nanos) -> Nakedness:
    """The naked spans of trades on both venues; coins that were there before do not count, as nobody hedged them.

    ``exposure`` is what is left at the end (coins, signed). Trades of one instant count together.
    """
    found, since = Nakedness(), None
    moves: dict[Nanos, Decimal] = {}
    for fill in fills:
        moves[fill.at] = moves.get(fill.at, ZERO) + fill.side.sign * fill.quantity
    for at in sorted(moves):
        found.exposure += moves[at]
        if abs(found.exposure) > lot:
            since = at if since is None else since
        elif since is not None:
            found.spans.append((since, at))
            since = None
    if since is not None:
        found.spans.append((since, until))
    return found
