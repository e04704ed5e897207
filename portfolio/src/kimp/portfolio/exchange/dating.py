"""The ``Date`` header by the venue's own clock: the only clock Upbit shows, and the one its clients measure theirs by."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from email.utils import formatdate

from aiohttp import hdrs, web

from kimp.shared.domain.time import SECOND
from kimp.shared.ports.clock import Clock


def dated(clock: Clock) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Dates every answer; append it to ``on_response_prepare``. The header has whole seconds (RFC 9110, 5.6.7)."""

    async def date(_request: web.Request, answer: web.StreamResponse) -> None:
        answer.headers[hdrs.DATE] = formatdate(clock.now() // SECOND, usegmt=True)

    return date
