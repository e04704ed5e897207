"""The live public markets, mirrored: what trading on paper is matched against."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from random import Random
from types import TracebackType
from typing import Self

from kimp.portfolio.markets.boards import Boards
from kimp.shared.domain.ticks import PublicTrade
from kimp.shared.messages.events import MarketMoved
from kimp.shared.ports.clock import Clock
from kimp.shared.settings import Settings
from kimp.storage.feeds.live import Feed
from kimp.storage.feeds.merge import LiveMarket, Moved, moves
from kimp.storage.feeds.wiring import market_feeds


class MirrorMarket:
    """Both venues' public feeds as one market with boards; a ``MarketDataSource`` within ``async with``.

    Args:
        settings: where the venues are.
        coins: ``BTC``, ``ETH``.
        clock, dice: time and chance of the feeds.
        with_trades: also mirror the venues' public trades; without them trades are derived from the books.
        feeds: instead of those of the settings.
    """

    def __init__(
        self,
        settings: Settings,
        coins: Sequence[str],
        *,
        clock: Clock,
        dice: Random,
        with_trades: bool = False,
        feeds: Sequence[Feed] | None = None,
    ) -> None:
        self.boards = Boards()
        if feeds is None:
            feeds = market_feeds(settings, coins, clock=clock, dice=dice, with_details=with_trades)
        self._live = LiveMarket(feeds)

    async def __aenter__(self) -> Self:
        await self._live.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._live.__aexit__(kind, error, trace)

    async def stream(self) -> AsyncIterator[Moved]:
        """Quotes, losses and returns as they arrive."""
        async for event in self._live.events():
            if isinstance(event, PublicTrade):
                self.boards.trade(event)
            for moved in moves([event]):
                if isinstance(moved, MarketMoved):
                    self.boards.note(moved)
                yield moved
