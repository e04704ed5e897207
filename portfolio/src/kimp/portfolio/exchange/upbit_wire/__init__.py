"""Upbit's own wire protocol on top of the virtual exchange, so that unmodified clients of the real venue can use it."""

from kimp.portfolio.exchange.upbit_wire.keys import TRADING, ApiKey, Permission
from kimp.portfolio.exchange.upbit_wire.ratelimits import GroupLimit, Limits
from kimp.portfolio.exchange.upbit_wire.wire import UpbitWire

__all__ = ["TRADING", "ApiKey", "GroupLimit", "Limits", "Permission", "UpbitWire"]
