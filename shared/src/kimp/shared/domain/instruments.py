"""What can be traded where, and the venue's rules for prices and sizes.

Rules are read from the venue at start; the constants here are the documented defaults for simulation and backtests.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from kimp.shared.domain.money import ONE, ZERO, Price

InstrumentId = str
"""Venue and its own symbol, ``upbit:KRW-BTC``."""


class Venue(StrEnum):
    """An exchange we can hold money at."""

    UPBIT = "upbit"
    BINANCE = "binance"


class Side(StrEnum):
    """Which way an order moves our holdings."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """+1 for a purchase, −1 for a sale."""
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> Side:
        """The side that undoes this one."""
        return Side.SELL if self is Side.BUY else Side.BUY


class Kind(StrEnum):
    """Spot moves coins; a perpetual moves only margin."""

    SPOT = "spot"
    PERPETUAL = "perpetual"


class TickBand(msgspec.Struct, frozen=True):
    """Prices at or above ``from_price`` move in steps of ``tick`` (both in the quote asset)."""

    from_price: Decimal
    tick: Decimal


class TradingRules(msgspec.Struct, frozen=True):
    """A venue's steps and minimums for one instrument.

    ``bands`` are sorted from the highest price down; ``lot`` and ``minimum_quantity`` are in the base coin,
    ``minimum_notional`` in the quote asset.
    """

    bands: tuple[TickBand, ...]
    lot: Decimal
    minimum_quantity: Decimal
    minimum_notional: Decimal

    def tick_at(self, price: Decimal) -> Decimal:
        """The price step in force at ``price``."""
        for band in self.bands:
            if price >= band.from_price:
                return band.tick
        return self.bands[-1].tick

    def bound(self, price: Decimal, side: Side) -> Decimal:
        """The worst acceptable limit on the tick grid: a purchase rounds down, a sale rounds up, never to our
        disadvantage.
        """
        tick = self.tick_at(price)
        rounded = _on_grid(price, tick, side)
        # Rounding may cross into a band with a coarser step; one more pass lands on that grid.
        coarser = self.tick_at(rounded)
        return _on_grid(rounded, coarser, side) if coarser != tick else rounded

    def floor(self, quantity: Decimal) -> Decimal:
        """The largest tradable quantity not above ``quantity`` (base coin)."""
        return quantity // self.lot * self.lot

    def permits(self, quantity: Decimal, price: Decimal) -> bool:
        """Whether an order of this size at this price reaches the venue's minimums and sits on the lot grid."""
        return (
            quantity >= self.minimum_quantity
            and quantity > ZERO
            and quantity * price >= self.minimum_notional
            and quantity % self.lot == ZERO
        )


def _on_grid(price: Decimal, tick: Decimal, side: Side) -> Decimal:
    # Integer division is exact where ``/`` keeps 28 digits only and could round past the price.
    below = price // tick * tick
    return below + tick if side is Side.SELL and below < price else below


class Instrument(msgspec.Struct, frozen=True):
    """One market on one venue: ``symbol`` is the venue's spelling; ``fee_rate`` the taker fee as a fraction of the
    notional.
    """

    venue: Venue
    symbol: str
    base: str
    quote: str
    kind: Kind
    rules: TradingRules
    fee_rate: Decimal
    id: InstrumentId = ""
    """Venue and symbol in one word; made here, once, because every quote is looked up by it."""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "id", f"{self.venue.value}:{self.symbol}")

    def price(self, value: Decimal) -> Price:
        """``value`` as a price of this instrument."""
        return Price(value, self.base, self.quote)


class Pair(msgspec.Struct, frozen=True):
    """The two instruments one premium is made of; ``symbol`` is the coin."""

    symbol: str
    korea: Instrument
    abroad: Instrument

    def __post_init__(self) -> None:
        if not (self.korea.base == self.abroad.base == self.symbol):
            raise ValueError(f"{self.korea.id} and {self.abroad.id} are not both {self.symbol}")

    @property
    def lot(self) -> Decimal:
        """The coarser of the two lots: entries are sized in it, and legs may differ by it."""
        return max(self.korea.rules.lot, self.abroad.rules.lot)

    def instrument(self, instrument_id: InstrumentId) -> Instrument:
        """The leg of that id.

        Raises:
            KeyError: the id belongs to neither leg.
        """
        for leg in (self.korea, self.abroad):
            if leg.id == instrument_id:
                return leg
        raise KeyError(f"{instrument_id} is not a leg of {self.symbol}")


_UPBIT_KRW_STEPS = (
    ("1000000", "1000"),
    ("500000", "500"),
    ("100000", "100"),
    ("50000", "50"),
    ("10000", "10"),
    ("5000", "5"),
    ("1000", "1"),
    ("100", "1"),
    ("10", "0.1"),
    ("1", "0.01"),
    ("0.1", "0.001"),
    ("0.01", "0.0001"),
    ("0.001", "0.00001"),
    ("0.0001", "0.000001"),
    ("0.00001", "0.0000001"),
    ("0", "0.00000001"),
)
"""Upbit's KRW price steps since 2025-07-31 (its guide "KRW Market Trading Price Unit"); live reads
/v1/orderbook/instruments.
"""

UPBIT_KRW_BANDS = tuple(TickBand(Decimal(start), Decimal(tick)) for start, tick in _UPBIT_KRW_STEPS)


def upbit_spot(base: str, *, fee_rate: Decimal = Decimal("0.0005")) -> Instrument:
    """Upbit's KRW market of a coin with the documented defaults: 5,000 KRW minimum, eight decimals, 0.05 % fee."""
    rules = TradingRules(
        bands=UPBIT_KRW_BANDS, lot=Decimal("0.00000001"), minimum_quantity=ZERO, minimum_notional=Decimal(5_000)
    )
    return Instrument(Venue.UPBIT, f"KRW-{base}", base, "KRW", Kind.SPOT, rules, fee_rate)


def binance_perpetual(
    base: str,
    *,
    tick: Decimal = Decimal("0.1"),
    lot: Decimal = Decimal("0.001"),
    minimum_notional: Decimal = Decimal(100),
    fee_rate: Decimal = Decimal("0.0005"),
) -> Instrument:
    """Binance's USDT-M perpetual of a coin; the defaults are BTCUSDT's filters in exchangeInfo."""
    rules = TradingRules(
        bands=(TickBand(ZERO, tick),), lot=lot, minimum_quantity=lot, minimum_notional=minimum_notional
    )
    return Instrument(Venue.BINANCE, f"{base}USDT", base, "USDT", Kind.PERPETUAL, rules, fee_rate)


def default_pair(base: str = "BTC", *, fee_rate: Decimal | None = None) -> Pair:
    """The pair of a coin with both venues' documented defaults."""
    if fee_rate is None:
        return Pair(base, upbit_spot(base), binance_perpetual(base))
    if not ZERO <= fee_rate < ONE:
        raise ValueError(f"fee rate {fee_rate} is not a fraction of the notional")
    return Pair(base, upbit_spot(base, fee_rate=fee_rate), binance_perpetual(base, fee_rate=fee_rate))
