"""Exchange rates into won, each of which says itself until when it may be used."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from kimp.shared.domain.money import Price
from kimp.shared.domain.time import Nanos
from kimp.shared.errors import UnitMismatch

USD = "USD"
USDT = "USDT"
KRW = "KRW"


class FxQuote(msgspec.Struct, frozen=True, gc=False):
    """KRW per one ``base`` (USD or USDT), known at ``at`` and usable until ``valid_until``.

    The source sets ``valid_until``: two minutes for a live quote, over the weekend for a rate that is known to be
    frozen. There is no fallback: without a valid quote nothing is entered and nothing leaves.
    """

    base: str
    value: Decimal
    at: Nanos
    valid_until: Nanos
    source: str

    def is_valid(self, now: Nanos) -> bool:
        """Whether the rate may be used now: finite, positive, published, and not yet expired."""
        return self.at <= now <= self.valid_until and self.is_usable

    @property
    def is_usable(self) -> bool:
        """Whether this is a rate at all: finite and positive."""
        return self.value.is_finite() and self.value > 0

    @property
    def price(self) -> Price:
        """The quote as a price, for example 1,400 KRW per USDT."""
        return Price(self.value, self.base, KRW)


def at_par(usdkrw: Price) -> Price:
    """The official dollar rate taken as that of USDT: what the fx basis (김프) assumes and the usdt basis does not."""
    if usdkrw.base != USD:
        raise UnitMismatch(f"{usdkrw} is not a price of the dollar")
    return Price(usdkrw.value, USDT, usdkrw.quote)
