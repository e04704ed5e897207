"""What can go wrong between a client and a venue, planted at the wire: the request did or did not execute, and the
answer is lost, wrong, cut short or late. This is how an order's outcome becomes unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from kimp.shared.domain.time import Nanos
from kimp.shared.ports.clock import Clock


@dataclass(frozen=True, slots=True)
class WireFault:
    """One request's bad luck.

    Args:
        executes: whether the venue acts on the request at all.
        drops: the connection ends without an answer.
        status, body: answered in place of the venue's own answer.
        truncates: the answer's body ends halfway, and the connection with it.
        delay: nanoseconds before the venue sees the request.
    """

    executes: bool = True
    drops: bool = False
    status: int | None = None
    body: bytes = b""
    content_type: str = "application/json"
    truncates: bool = False
    delay: Nanos = 0


EXECUTED_AND_DROPPED = WireFault(drops=True)
LOST_ON_THE_WAY = WireFault(executes=False, drops=True)
TRUNCATED = WireFault(truncates=True)

Faults = Callable[[web.Request], WireFault | None]
"""Asked once per request, before the venue sees it; ``None`` lets it pass."""


def no_faults(_request: web.Request) -> WireFault | None:
    """Everything goes well."""
    return None


def answered_after(status: int, body: bytes) -> WireFault:
    """Executed, but the client is told something else: a gateway's 502, an "unknown" of the venue itself."""
    return WireFault(status=status, body=body)


def answered_instead(status: int, body: bytes) -> WireFault:
    """Not executed, and the client is told this."""
    return WireFault(executes=False, status=status, body=body)


def delayed(by: Nanos) -> WireFault:
    """Executed that much later, and answered well."""
    return WireFault(delay=by)


def faulty(faults: Faults, clock: Clock) -> Middleware:
    """The middleware that asks for faults; put it first, so that the venue's own rules run behind it."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        fault = faults(request)
        if fault is None:
            return await handler(request)
        if fault.delay:
            await request.read()  # it has arrived whole: a client that dies meanwhile does not take it back
            await clock.sleep_until(clock.now() + fault.delay)
        answer = await _executed(request, handler) if fault.executes else web.Response()
        if fault.drops:
            _hang_up(request)
            return answer
        if fault.status is not None:
            return web.Response(status=fault.status, body=fault.body, content_type=fault.content_type)
        if fault.truncates:
            return await _cut(request, answer)
        return answer

    return middleware


async def _executed(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as refusal:
        return web.Response(status=refusal.status, text=refusal.text)


def _hang_up(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


async def _cut(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
    body = answer.body if isinstance(answer, web.Response) else None
    if not isinstance(body, bytes) or not body:
        _hang_up(request)
        return answer
    cut = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
    cut.content_length = len(body)
    await cut.prepare(request)
    await cut.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()  # after what was written has left, unlike abort
    return cut
