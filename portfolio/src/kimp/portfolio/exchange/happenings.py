"""What the virtual exchange tells those who listen: the wire layers push their clients' streams from this."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import TracebackType

import msgspec

from kimp.portfolio.exchange.tickets import VirtualOrder
from kimp.shared.domain.books import Book
from kimp.shared.domain.funding import FundingPayment, FundingRate
from kimp.shared.domain.orders import Fill
from kimp.shared.domain.time import Nanos

LISTENER_MAX = 10_000
"""Happenings a listener may leave unread, minutes of a lively market; who is further behind has stopped reading."""


class OrderMoved(msgspec.Struct, frozen=True):
    """An order was taken, filled or ended: its snapshot, and the fill if it was one.

    Of an order that fills at once there comes one without a fill (it was taken), then one per fill, then, if it ended
    with something unfilled, one without a fill again. The last one has the final state.
    """

    order: VirtualOrder
    fill: Fill | None
    at: Nanos


class BalancesMoved(msgspec.Struct, frozen=True):
    """Balances of these assets changed (free, locked or both); ``why`` is ``order``, ``funding`` or ``transfer``."""

    assets: tuple[str, ...]
    at: Nanos
    why: str


class FundingSettled(msgspec.Struct, frozen=True):
    """Funding was settled on an open contract."""

    payment: FundingPayment
    rate: FundingRate
    at: Nanos


class BooksShown(msgspec.Struct, frozen=True):
    """New books of this venue's instruments."""

    books: tuple[Book, ...]
    at: Nanos


class AvailabilityMoved(msgspec.Struct, frozen=True):
    """The venue went into or came out of maintenance."""

    is_available: bool
    reason: str
    at: Nanos


class Dropped(msgspec.Struct, frozen=True):
    """The listener was too slow: something is missing before this, and nothing comes after it."""

    at: Nanos


Happening = OrderMoved | BalancesMoved | FundingSettled | BooksShown | AvailabilityMoved | Dropped


class Listener:
    """Hears of everything from entering to leaving: ``async with exchange.listen() as happenings: await happenings.get()``.

    Who does not read is dropped, and the last thing in the queue is then ``Dropped``.
    """

    def __init__(self, audience: Audience, limit: int) -> None:
        self.queue: asyncio.Queue[Happening] = asyncio.Queue(limit)
        self._audience = audience

    async def __aenter__(self) -> asyncio.Queue[Happening]:
        self._audience.add(self)
        return self.queue

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._audience.remove(self)

    def tell(self, happenings: Iterable[Happening], at: Nanos) -> bool:
        """Add to what is to be read; false when the listener is too far behind and has been told so."""
        for happening in happenings:
            if self.queue.full():
                self.queue.get_nowait()
                self.queue.put_nowait(Dropped(at))
                return False
            self.queue.put_nowait(happening)
        return True


class Audience:
    """Everybody who listens now."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def add(self, listener: Listener) -> None:
        """From now on."""
        self._listeners.append(listener)

    def remove(self, listener: Listener) -> None:
        """No longer; nothing if it had been dropped."""
        self._listeners = [known for known in self._listeners if known is not listener]

    def tell(self, happenings: list[Happening], at: Nanos) -> None:
        """Tell all of them, in order."""
        if happenings and self._listeners:
            self._listeners = [listener for listener in self._listeners if listener.tell(happenings, at)]
