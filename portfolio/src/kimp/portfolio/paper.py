"""Paper trading's virtual venues: real rules and fees, money of our own making, in the trader's own process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

from kimp.order.runtime.place import TradePlace
from kimp.portfolio.exchange.diary import Diary
from kimp.portfolio.exchange.virtual import VirtualExchange
from kimp.research.simulation.margin import MarginRules
from kimp.research.simulation.venue import SimulatedVenue
from kimp.shared.domain.instruments import Instrument, Pair, Venue
from kimp.shared.domain.time import MILLISECOND, Nanos
from kimp.shared.errors import ConfigurationError
from kimp.shared.messages.events import MarketMoved
from kimp.shared.ports.clock import Clock
from kimp.shared.settings import Settings


class PaperVenues:
    """Both venues. Give it the money they start with; it counts only while their diaries are empty.

    Args:
        instruments: what is traded, of both venues.
        balances: per venue the asset and how much of it.
        clock: time.
        directory: where the diaries lie; ``None`` forgets everything at the end.
        one_way: how far away they are (nanoseconds).
    """

    def __init__(
        self,
        instruments: Sequence[Instrument],
        balances: Mapping[Venue, Mapping[str, Decimal]],
        clock: Clock,
        *,
        directory: Path | None = None,
        one_way: Nanos = 0,
        margin: MarginRules | None = None,
    ) -> None:
        self.diaries: list[Diary] = []
        self.exchanges: dict[Venue, VirtualExchange] = {}
        for venue in Venue:
            legs = [leg for leg in instruments if leg.venue is venue]
            rules = margin if venue is Venue.BINANCE else None
            simulated = SimulatedVenue(venue, legs, dict(balances.get(venue, {})), rules)
            diary = None if directory is None else Diary(directory / f"{venue.value}.diary")
            if diary is not None:
                self.diaries.append(diary)
            self.exchanges[venue] = VirtualExchange(simulated, clock, diary=diary, one_way=one_way)

    def see(self, moved: MarketMoved) -> None:
        """Show both the market."""
        for exchange in self.exchanges.values():
            exchange.see(moved)

    def close(self) -> None:
        """Close the diaries."""
        for diary in self.diaries:
            diary.close()


@asynccontextmanager
async def open_virtual_venues(
    settings: Settings, pairs: Sequence[Pair], place: TradePlace, clock: Clock
) -> AsyncIterator[PaperVenues]:
    """The virtual venues of paper trading, as configured in ``[paper]``: the plug-in ``virtual`` of ``kimp.venues``.

    Raises:
        ConfigurationError: their directory cannot be written to.
        DataError: a diary is damaged, or another process has it open.
    """
    try:
        place.venues.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"{place.venues} cannot be made: {error.strerror}; choose another data.directory"
        ) from error
    venues = PaperVenues(
        [leg for pair in pairs for leg in (pair.korea, pair.abroad)],
        {Venue.UPBIT: {"KRW": settings.paper.krw}, Venue.BINANCE: {"USDT": settings.paper.usdt}},
        clock,
        directory=place.venues,
        one_way=settings.paper.latency_ms * MILLISECOND,
        margin=MarginRules(leverage=Decimal(settings.execution.leverage)),
    )
    try:
        yield venues
    finally:
        venues.close()
