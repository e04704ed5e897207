"""Upbit, the Korean spot leg: its WebSocket messages, and what to ask for."""

from kimp.storage.feeds.upbit.decoder import UpbitDecoder
from kimp.storage.feeds.upbit.subscription import Form, UpbitSubscription

__all__ = ["Form", "UpbitDecoder", "UpbitSubscription"]
