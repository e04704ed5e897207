"""The kimchi premium: how much dearer Korea is than abroad, on both bases and at all three kinds of price.

``k = S / (B · F) − 1``. On the fx basis F is the official USD/KRW (what people call 김프); on the usdt basis it is
Upbit's KRW-USDT (what capital really moves at). The two differ routinely, sometimes in sign, so both are always
computed.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from kimp.shared.domain.books import Book
from kimp.shared.domain.fx import KRW, USD, USDT, FxQuote, at_par
from kimp.shared.domain.instruments import Pair, Side
from kimp.shared.domain.money import ONE, Price
from kimp.shared.domain.time import Nanos
from kimp.shared.errors import UnitMismatch


class Basis(StrEnum):
    """Which rate turns USDT into KRW."""

    FX = "fx"
    USDT = "usdt"

    @property
    def asset(self) -> str:
        """The currency whose KRW rate this basis uses."""
        return USD if self is Basis.FX else USDT


def premium(korea: Price, abroad: Price, fx: Price) -> Decimal:
    """How much dearer Korea is than abroad: 0.03 is three percent.

    Raises:
        UnitMismatch: the three prices do not chain (BTC/KRW ÷ (BTC/USDT × USDT/KRW)).
    """
    return korea / (abroad * fx) - 1


class BasisRates(msgspec.Struct, frozen=True):
    """One basis' premiums as fractions: mid for charts, touch for watching, executable for the size asked.

    ``buy_korea`` buys Korean asks and sells perpetual bids (entering ``LONG_PREMIUM``); ``sell_korea`` is the reverse.
    Executable is ``None`` when no size was asked or a book is too thin for it.
    """

    mid: Decimal
    touch_buy_korea: Decimal
    touch_sell_korea: Decimal
    executable_buy_korea: Decimal | None
    executable_sell_korea: Decimal | None


class PremiumRates(msgspec.Struct, frozen=True):
    """Both bases of one coin at one moment; a basis is ``None`` while its rate is missing or expired."""

    symbol: str
    at: Nanos
    fx: BasisRates | None
    usdt: BasisRates | None


class KimpCalculator:
    """Computes the premium of one pair from its two books and the two rates into won.

    Units are checked once, here: the pair must quote KRW and USDT for the same coin.

    Raises:
        UnitMismatch: the pair's legs do not chain through USDT/KRW.
    """

    def __init__(self, pair: Pair) -> None:
        if pair.korea.quote != KRW or pair.abroad.quote != USDT:
            raise UnitMismatch(
                f"a premium needs KRW and USDT legs, not {pair.korea.quote} and {pair.abroad.quote} of {pair.symbol}"
            )
        self._pair = pair

    @staticmethod
    def ratio(korea: Decimal, abroad: Decimal, fx: Decimal) -> Decimal:
        """The bare formula for values whose units were checked at construction: the engine's inner loop."""
        return korea / (abroad * fx) - ONE

    def rates(
        self,
        korea: Book,
        abroad: Book,
        *,
        now: Nanos,
        usdkrw: FxQuote | None,
        usdtkrw: FxQuote | None,
        quantity: Decimal | None = None,
    ) -> PremiumRates:
        """All premiums of this moment; ``quantity`` (base coins) asks for executable ones too.

        Both books must be free of faults.

        Raises:
            ValueError: a book is not of the leg it stands for.
        """
        if (korea.instrument_id, abroad.instrument_id) != (self._pair.korea.id, self._pair.abroad.id):
            raise ValueError(
                f"{korea.instrument_id} and {abroad.instrument_id} are not the legs of {self._pair.symbol}"
            )
        fx = at_par(usdkrw.price) if usdkrw and usdkrw.is_valid(now) else None
        usdt = usdtkrw.price if usdtkrw and usdtkrw.is_valid(now) else None
        return PremiumRates(
            symbol=self._pair.symbol,
            at=now,
            fx=self._basis(korea, abroad, fx, quantity) if fx else None,
            usdt=self._basis(korea, abroad, usdt, quantity) if usdt else None,
        )

    def _basis(self, korea: Book, abroad: Book, rate: Price, quantity: Decimal | None) -> BasisRates:
        def at_prices(ours: Decimal | None, theirs: Decimal | None) -> Decimal | None:
            if ours is None or theirs is None:
                return None
            return premium(self._pair.korea.price(ours), self._pair.abroad.price(theirs), rate)

        def at_size(side: Side) -> Decimal | None:
            if quantity is None:
                return None
            return at_prices(korea.vwap(side, quantity), abroad.vwap(side.opposite, quantity))

        mid = at_prices(korea.mid(), abroad.mid())
        buy = at_prices(korea.touch(Side.BUY), abroad.touch(Side.SELL))
        sell = at_prices(korea.touch(Side.SELL), abroad.touch(Side.BUY))
        assert mid is not None
        assert buy is not None
        assert sell is not None
        return BasisRates(mid, buy, sell, at_size(Side.BUY), at_size(Side.SELL))
