"""Binance USDT-M, the perpetual leg: its routed WebSocket streams, and a book kept from differences."""

from kimp.storage.feeds.binance.decoder import BinanceDecoder
from kimp.storage.feeds.binance.subscription import BinanceSubscription

__all__ = ["BinanceDecoder", "BinanceSubscription"]
