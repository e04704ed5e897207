"""Binance USDT-M futures' own wire protocol on top of the virtual exchange, for any client of the real one."""

from kimp.portfolio.exchange.binance_wire.keys import ApiKey
from kimp.portfolio.exchange.binance_wire.weights import Limits
from kimp.portfolio.exchange.binance_wire.wire import BinanceWire

__all__ = ["ApiKey", "BinanceWire", "Limits"]
