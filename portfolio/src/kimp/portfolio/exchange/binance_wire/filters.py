"""A symbol's filters, and what an order must look like to pass them, in the venue's order of checks.

Binance, "Exchange Information" and "Common Definition", Filters: PRICE_FILTER, LOT_SIZE, MARKET_LOT_SIZE, MIN_NOTIONAL,
PERCENT_PRICE; "Error Codes", 40xx. The largest sizes and prices are multiples that give BTCUSDT's real ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from kimp.portfolio.exchange.binance_wire import errors
from kimp.portfolio.exchange.binance_wire.errors import Refusal
from kimp.shared.domain.instruments import Instrument, Side
from kimp.shared.domain.money import ONE, ZERO

LOTS_MAX = 1_000_000
MARKET_LOTS_MAX = 120_000
TICKS_MAX = 100_000_000
PERCENT_UP = Decimal("1.05")
PERCENT_DOWN = Decimal("0.95")
OPEN_ORDERS_MAX = 200


def decimals(step: Decimal) -> int:
    """How many digits after the point a number on this step needs."""
    exponent = step.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)


def text(value: Decimal) -> str:
    """A number as the venue writes it: plain, without an exponent."""
    return format(value, "f")


@dataclass(frozen=True, slots=True)
class Filters:
    """What an order of one instrument has to satisfy."""

    instrument: Instrument

    @property
    def tick(self) -> Decimal:
        """The price step (quote asset)."""
        return self.instrument.rules.bands[-1].tick

    def check_quantity(self, quantity: Decimal, *, is_market: bool) -> None:
        """Size, as LOT_SIZE or MARKET_LOT_SIZE has it.

        Raises:
            Refusal: −4003, −1111, −4004, −4005, −4023.
        """
        lot = self.instrument.rules.lot
        if quantity <= ZERO:
            raise Refusal(errors.QUANTITY_TOO_LOW)
        if decimals(quantity) > decimals(lot):
            raise Refusal(errors.BAD_PRECISION)
        if quantity < self.instrument.rules.minimum_quantity:
            raise Refusal(errors.QUANTITY_BELOW_MIN)
        if quantity > lot * (MARKET_LOTS_MAX if is_market else LOTS_MAX):
            raise Refusal(errors.QUANTITY_OVER_MAX)
        if quantity % lot != ZERO:
            raise Refusal(errors.QUANTITY_OFF_STEP)

    def check_price(self, price: Decimal, side: Side, mark: Decimal | None) -> None:
        """Price, as PRICE_FILTER and PERCENT_PRICE have it.

        Raises:
            Refusal: −4001, −1111, −4002, −4014, −4016, −4024.
        """
        if price <= ZERO:
            raise Refusal(errors.PRICE_TOO_LOW)
        if decimals(price) > decimals(self.tick):
            raise Refusal(errors.BAD_PRECISION)
        if price > self.tick * TICKS_MAX:
            raise Refusal(errors.PRICE_OVER_MAX)
        if price % self.tick != ZERO:
            raise Refusal(errors.PRICE_OFF_TICK)
        if mark is None:
            return
        if side is Side.BUY and price > mark * PERCENT_UP:
            raise Refusal(errors.PRICE_TOO_HIGH_NOW.about(text(self._on_tick(mark * PERCENT_UP))))
        if side is Side.SELL and price < mark * PERCENT_DOWN:
            raise Refusal(errors.PRICE_TOO_LOW_NOW.about(text(self._on_tick(mark * PERCENT_DOWN))))

    def check_notional(self, quantity: Decimal, price: Decimal) -> None:
        """Value, as MIN_NOTIONAL has it; not asked of reduce-only orders.

        Raises:
            Refusal: −4164.
        """
        least = self.instrument.rules.minimum_notional
        if quantity * price < least:
            raise Refusal(errors.NOTIONAL_TOO_LOW.about(text(least)))

    def described(self) -> list[dict[str, object]]:
        """The filters as exchangeInfo lists them."""
        rules, tick = self.instrument.rules, self.tick
        lot, least = text(rules.lot), text(rules.minimum_quantity)
        return [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": text(tick),
                "maxPrice": text(tick * TICKS_MAX),
                "tickSize": text(tick),
            },
            {"filterType": "LOT_SIZE", "minQty": least, "maxQty": text(rules.lot * LOTS_MAX), "stepSize": lot},
            {
                "filterType": "MARKET_LOT_SIZE",
                "minQty": least,
                "maxQty": text(rules.lot * MARKET_LOTS_MAX),
                "stepSize": lot,
            },
            {"filterType": "MAX_NUM_ORDERS", "limit": OPEN_ORDERS_MAX},
            {"filterType": "MIN_NOTIONAL", "notional": text(rules.minimum_notional)},
            {
                "filterType": "PERCENT_PRICE",
                "multiplierUp": text(PERCENT_UP),
                "multiplierDown": text(PERCENT_DOWN),
                "multiplierDecimal": str(decimals(ONE - PERCENT_DOWN)),
            },
        ]

    def _on_tick(self, price: Decimal) -> Decimal:
        return price // self.tick * self.tick
