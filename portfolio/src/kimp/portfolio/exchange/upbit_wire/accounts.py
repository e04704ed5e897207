"""What the account holds, in Upbit's words.

Upbit, "계정 잔고 조회"::

    [{"currency":"KRW","balance":"1000000","locked":"0","avg_buy_price":"0","avg_buy_price_modified":true,
      "unit_currency":"KRW"}, …]

``balance`` is what is free, ``locked`` what resting orders hold back.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from kimp.portfolio.exchange.upbit_wire.figures import text
from kimp.portfolio.exchange.virtual import VirtualExchange
from kimp.shared.domain.instruments import Side
from kimp.shared.domain.money import ZERO

WON = "KRW"
_PRICE_STEP = Decimal("1e-8")


class BuyPrices:
    """What the coins that are held cost on average (quote asset), as a fold over all trades."""

    def __init__(self, exchange: VirtualExchange) -> None:
        self._exchange = exchange
        self._read = 0
        self._held: dict[str, tuple[Decimal, Decimal]] = {}

    def average(self, asset: str) -> Decimal:
        """The average purchase price of what is left of an asset; zero for what was never bought."""
        self._catch_up()
        size, cost = self._held.get(asset, (ZERO, ZERO))
        return (cost / size).quantize(_PRICE_STEP) if size else ZERO

    def _catch_up(self) -> None:
        trades, instruments = self._exchange.simulated.trades, self._exchange.simulated.instruments
        for fill in trades[self._read :]:
            base = instruments[fill.instrument_id].base
            size, cost = self._held.get(base, (ZERO, ZERO))
            if fill.side is Side.BUY:
                self._held[base] = (size + fill.quantity, cost + fill.quantity * fill.price)
            elif fill.quantity >= size:
                self._held[base] = (ZERO, ZERO)
            else:
                self._held[base] = (size - fill.quantity, cost - cost * fill.quantity / size)
        self._read = len(trades)


class Accounts:
    """Balances as REST and stream show them."""

    def __init__(self, exchange: VirtualExchange) -> None:
        self._simulated = exchange.simulated
        self._prices = BuyPrices(exchange)

    def standing(self, asset: str) -> tuple[Decimal, Decimal]:
        """Free and locked."""
        locked = self._simulated.locked(asset)
        return self._simulated.balances.get(asset, ZERO) - locked, locked

    def one(self, asset: str) -> dict[str, Any]:
        """One asset, also if there is nothing of it."""
        free, locked = self.standing(asset)
        return {
            "currency": asset,
            "balance": text(free),
            "locked": text(locked),
            "avg_buy_price": text(self._prices.average(asset)),
            "avg_buy_price_modified": asset == WON,
            "unit_currency": WON,
        }

    def all(self) -> list[dict[str, Any]]:
        """Everything that is held, won first."""
        assets = sorted(self._simulated.balances, key=lambda asset: (asset != WON, asset))
        return [self.one(asset) for asset in assets if any(self.standing(asset))]
