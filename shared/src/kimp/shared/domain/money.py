"""Amounts and prices that refuse to be mixed up; an exchange rate is just another price.

``Price(1400, "USDT", "KRW")`` says one USDT costs 1,400 KRW. Prices chain when the inner assets meet (BTC/USDT ×
USDT/KRW = BTC/KRW), and anything that does not chain raises ``UnitMismatch``: a wrong unit must never become a wrong
number.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, overload

import msgspec

from kimp.shared.errors import UnitMismatch

ZERO = Decimal(0)
ONE = Decimal(1)

Factor = Decimal | int
"""A pure number. ``float`` is left out on purpose: binary fractions have no place in money."""


class Amount(msgspec.Struct, frozen=True, gc=False):
    """So much of one asset, for example 0.07 BTC or −1,500 KRW.

    Raises:
        UnitMismatch: on adding, subtracting or comparing amounts of different assets, or multiplying with a price that
        does not fit.
    """

    value: Decimal
    asset: str

    def _same(self, other: Amount, verb: str) -> None:
        if not isinstance(other, Amount) or self.asset != other.asset:
            raise UnitMismatch(f"cannot {verb} {self} and {other}: the assets differ")

    def __add__(self, other: Amount) -> Amount:
        self._same(other, "add")
        return Amount(self.value + other.value, self.asset)

    def __sub__(self, other: Amount) -> Amount:
        self._same(other, "subtract")
        return Amount(self.value - other.value, self.asset)

    def __neg__(self) -> Amount:
        return Amount(-self.value, self.asset)

    def __abs__(self) -> Amount:
        return Amount(abs(self.value), self.asset)

    @overload
    def __mul__(self, other: Factor) -> Amount: ...
    @overload
    def __mul__(self, other: Price) -> Amount: ...
    def __mul__(self, other: Factor | Price) -> Amount:
        if not isinstance(other, Price):
            return Amount(self.value * _pure(other), self.asset)
        if self.asset != other.base:
            raise UnitMismatch(f"cannot value {self} at {other}: the price is per {other.base}")
        return Amount(self.value * other.value, other.quote)

    def __rmul__(self, other: Factor) -> Amount:
        return Amount(self.value * _pure(other), self.asset)

    @overload
    def __truediv__(self, other: Factor) -> Amount: ...
    @overload
    def __truediv__(self, other: Amount) -> Decimal: ...
    @overload
    def __truediv__(self, other: Price) -> Amount: ...
    def __truediv__(self, other: Factor | Amount | Price) -> Amount | Decimal:
        if isinstance(other, Amount):
            self._same(other, "divide")
            return self.value / other.value
        if isinstance(other, Price):
            if self.asset != other.quote:
                raise UnitMismatch(f"cannot divide {self} by {other}: the price is in {other.quote}")
            return Amount(self.value / other.value, other.base)
        return Amount(self.value / _pure(other), self.asset)

    def __lt__(self, other: Amount) -> bool:
        self._same(other, "compare")
        return self.value < other.value

    def __le__(self, other: Amount) -> bool:
        self._same(other, "compare")
        return self.value <= other.value

    def __gt__(self, other: Amount) -> bool:
        self._same(other, "compare")
        return self.value > other.value

    def __ge__(self, other: Amount) -> bool:
        self._same(other, "compare")
        return self.value >= other.value

    def __bool__(self) -> bool:
        return bool(self.value)

    def __str__(self) -> str:
        return f"{self.value:f} {self.asset}"


class Price(msgspec.Struct, frozen=True, gc=False):
    """What one unit of ``base`` costs in ``quote``.

    Raises:
        UnitMismatch: on comparing, dividing or chaining prices whose assets do not fit.
    """

    value: Decimal
    base: str
    quote: str

    def _same(self, other: Price, verb: str) -> None:
        if not isinstance(other, Price) or self.base != other.base or self.quote != other.quote:
            raise UnitMismatch(f"cannot {verb} {self} and {other}: the pairs differ")

    @overload
    def __mul__(self, other: Factor) -> Price: ...
    @overload
    def __mul__(self, other: Price) -> Price: ...
    def __mul__(self, other: Factor | Price) -> Price:
        if not isinstance(other, Price):
            return Price(self.value * _pure(other), self.base, self.quote)
        if self.quote == other.base:
            return Price(self.value * other.value, self.base, other.quote)
        if other.quote == self.base:
            return Price(self.value * other.value, other.base, self.quote)
        raise UnitMismatch(f"cannot chain {self} with {other}: no asset in between")

    def __truediv__(self, other: Price) -> Decimal:
        self._same(other, "divide")
        return self.value / other.value

    def __sub__(self, other: Price) -> Price:
        self._same(other, "subtract")
        return Price(self.value - other.value, self.base, self.quote)

    def __add__(self, other: Price) -> Price:
        self._same(other, "add")
        return Price(self.value + other.value, self.base, self.quote)

    def __lt__(self, other: Price) -> bool:
        self._same(other, "compare")
        return self.value < other.value

    def __le__(self, other: Price) -> bool:
        self._same(other, "compare")
        return self.value <= other.value

    def __gt__(self, other: Price) -> bool:
        self._same(other, "compare")
        return self.value > other.value

    def __ge__(self, other: Price) -> bool:
        self._same(other, "compare")
        return self.value >= other.value

    def __str__(self) -> str:
        return f"{self.value:f} {self.base}/{self.quote}"


def _pure(number: Any) -> Decimal | int:
    if isinstance(number, Decimal) or type(number) is int:
        return number
    raise UnitMismatch(f"cannot use {number!r} ({type(number).__name__}) with money: use Decimal or int")


def exact(number: float) -> Decimal:
    """The decimal a venue meant by a float: its shortest text, not its binary expansion.

    Raises:
        ValueError: the float is NaN or infinite.
    """
    # ``str`` and not ``repr``: numpy's float64 is a float whose repr is "np.float64(0.1)".
    value = Decimal(str(number))
    if not value.is_finite():
        raise ValueError(f"{number} is not a number to trade on")
    return value
