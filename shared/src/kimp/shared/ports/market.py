"""Market data as ports: live streams and recorded history."""

from collections.abc import AsyncIterator
from typing import Protocol

from kimp.shared.domain.history import MarketData
from kimp.shared.domain.time import Nanos
from kimp.shared.messages.events import FeedBack, FeedLost, MarketMoved


class MarketDataSource(Protocol):
    """A live stream of quotes, which also says when it cannot be trusted."""

    def stream(self) -> AsyncIterator[MarketMoved | FeedLost | FeedBack]:
        """Events in the order they arrived."""
        ...


class MarketHistory(Protocol):
    """Recorded market data of one coin."""

    def load(self, base: str, start: Nanos | None, end: Nanos | None) -> MarketData:
        """Everything in ``[start, end)``; ``None`` means as far as the record goes.

        Raises:
            DataError: the range is not covered or the record is broken.
        """
        ...
