"""Listen keys over REST, and the entrances of the WebSocket."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from kimp.portfolio.exchange.binance_wire.endpoints import Asked, Endpoint, Security
from kimp.portfolio.exchange.binance_wire.sockets import Line, Route, Sockets
from kimp.portfolio.exchange.binance_wire.user_data import ListenKeys
from kimp.shared.ports.clock import Clock


class StreamDesk:
    """Hands out listen keys and opens connections."""

    def __init__(self, keys: ListenKeys, sockets: Sockets, clock: Clock) -> None:
        self._keys = keys
        self._sockets = sockets
        self._clock = clock

    def endpoints(self) -> list[Endpoint]:
        """Listen keys need the API key, but no signature."""
        path = "/fapi/v1/listenKey"
        return [
            Endpoint("POST", path, 1, Security.KEY, self.open),
            Endpoint("PUT", path, 1, Security.KEY, self.prolong),
            Endpoint("DELETE", path, 1, Security.KEY, self.close),
        ]

    def open(self, asked: Asked) -> dict[str, Any]:
        """A new listen key, or the living one."""
        return {"listenKey": self._keys.open(asked.key_name, self._clock.now())}

    def prolong(self, asked: Asked) -> dict[str, Any]:
        """Another 60 minutes.

        Raises:
            Refusal: −1125 there is none.
        """
        return {"listenKey": self._keys.prolong(asked.key_name, self._clock.now())}

    def close(self, asked: Asked) -> dict[str, Any]:
        """End the stream."""
        listen_key = self._keys.close(asked.key_name)
        if listen_key is not None:
            self._sockets.drop_stream(listen_key)
        return {}

    def add_to(self, application: web.Application) -> None:
        """Every route's ``/ws`` and ``/stream``."""
        for route in Route:
            prefix = f"/{route.value}" if route.value else ""
            application.router.add_get(f"{prefix}/ws", self._entrance(route))
            application.router.add_get(f"{prefix}/ws/{{names:.*}}", self._entrance(route))
            application.router.add_get(f"{prefix}/stream", self._combined(route))

    def _entrance(self, route: Route) -> Any:
        async def enter(request: web.Request) -> web.StreamResponse:
            names = [name for name in request.match_info.get("names", "").split("/") if name]
            line = Line(route, is_combined=False, kinds=_kinds(request))
            return await self._sockets.converse(request, line, names + _listen_key(request))

        return enter

    def _combined(self, route: Route) -> Any:
        async def enter(request: web.Request) -> web.StreamResponse:
            names = [name for name in request.query.get("streams", "").split("/") if name]
            line = Line(route, is_combined=True, kinds=_kinds(request))
            return await self._sockets.converse(request, line, names + _listen_key(request))

        return enter


def _listen_key(request: web.Request) -> list[str]:
    """``/private/ws?listenKey=…``, as ccxt connects."""
    return [request.query["listenKey"]] if request.query.get("listenKey") else []


def _kinds(request: web.Request) -> frozenset[str]:
    """``events=ORDER_TRADE_UPDATE/ACCOUNT_UPDATE``: only those; none named means all."""
    return frozenset(kind for kind in request.query.get("events", "").split("/") if kind)
