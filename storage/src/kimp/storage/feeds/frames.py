"""What a venue sent, exactly as it arrived: the only thing parsers read, live and in a replay."""

from __future__ import annotations

import msgspec

from kimp.shared.domain.time import Nanos

UPBIT = "upbit"
BINANCE_PUBLIC = "binance/public"
BINANCE_MARKET = "binance/market"
_BINANCE_DEPTH = "binance/depth/"


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One message: over which channel it came, when it reached us, and its bytes."""

    channel: str
    received_at: Nanos
    payload: bytes


class ChannelOpened(msgspec.Struct, frozen=True, gc=False):
    """A connection stands and its subscription is sent; whether anything will come is not known yet."""

    channel: str
    at: Nanos


class ChannelLost(msgspec.Struct, frozen=True, gc=False):
    """A connection ended without a successor, or could not be made."""

    channel: str
    at: Nanos
    reason: str


Item = Frame | ChannelOpened | ChannelLost
"""All that reaches a reader from outside; a recording is a sequence of these."""


def depth_channel(symbol: str) -> str:
    """The channel of REST depth snapshots, whose text does not name its symbol."""
    return _BINANCE_DEPTH + symbol


def depth_symbol(channel: str) -> str | None:
    """The symbol of a depth snapshot's channel, ``None`` for any other channel."""
    return channel[len(_BINANCE_DEPTH) :] if channel.startswith(_BINANCE_DEPTH) else None


def happened_at(item: Item) -> Nanos:
    """When an item reached us: what recordings are ordered by."""
    return item.received_at if isinstance(item, Frame) else item.at
