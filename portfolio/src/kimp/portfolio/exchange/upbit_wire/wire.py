"""The virtual Upbit as a web application: the real venue's paths, headers, bodies and refusals."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from kimp.portfolio.exchange.dating import dated
from kimp.portfolio.exchange.diary import DiaryFailed
from kimp.portfolio.exchange.upbit_wire.accounts import Accounts
from kimp.portfolio.exchange.upbit_wire.authentication import Authenticator, body_fields, plain_body, plain_query
from kimp.portfolio.exchange.upbit_wire.calls import Call, Route, pairs
from kimp.portfolio.exchange.upbit_wire.errors import UpbitError, maintenance
from kimp.portfolio.exchange.upbit_wire.figures import encode
from kimp.portfolio.exchange.upbit_wire.keys import ApiKey
from kimp.portfolio.exchange.upbit_wire.quotation import Quotation, Quotes
from kimp.portfolio.exchange.upbit_wire.ratelimits import Limits, RequestLimits
from kimp.portfolio.exchange.upbit_wire.routes import routes
from kimp.portfolio.exchange.upbit_wire.service import Service
from kimp.portfolio.exchange.upbit_wire.sessions import Session, Venue
from kimp.portfolio.exchange.upbit_wire.subscriptions import Subscription
from kimp.portfolio.exchange.upbit_wire.trading import Trading
from kimp.portfolio.exchange.virtual import VirtualExchange
from kimp.portfolio.exchange.wire_faults import Faults, faulty
from kimp.portfolio.markets.boards import Boards
from kimp.shared.domain.instruments import Venue as VenueName
from kimp.shared.logs import get
from kimp.shared.ports.clock import Clock

BODY_MAX = 65_536
"""Bytes of a request's body; an order has a few hundred."""

SOCKET_MESSAGE_MAX = 131_072
"""Bytes of one WebSocket message from a client, above what a request may have, so that it is answered and not cut."""

ACCOUNT = "account"
"""Exchange requests count per account, and there is one."""

JSON = "application/json"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class UpbitWire:
    """Speaks Upbit's protocol for a virtual exchange.

    Args:
        exchange: the venue behind it.
        boards: what is shown of the market.
        clock: the venue's time.
        keys: who may sign in, by any name.
        limits: how many requests are too many.
        faults: lets requests go wrong on their way; ``None`` leaves all alone.
    """

    def __init__(
        self,
        exchange: VirtualExchange,
        boards: Boards,
        clock: Clock,
        keys: Mapping[str, ApiKey],
        *,
        limits: Limits | None = None,
        faults: Faults | None = None,
    ) -> None:
        if exchange.venue is not VenueName.UPBIT:
            raise ValueError(f"{exchange.venue.value} does not speak Upbit's protocol")
        markets = {leg.symbol: leg for leg in exchange.simulated.instruments.values()}
        quotes, accounts = Quotes(boards, markets), Accounts(exchange)
        self._exchange = exchange
        self._clock = clock
        self._faults = faults
        self._authenticator = Authenticator(keys)
        self._limits = RequestLimits(limits or Limits())
        self._venue = Venue(exchange, quotes, accounts, clock, self._limits.limits)
        self._routes = routes(
            Quotation(quotes),
            Trading(exchange, markets),
            Service(exchange, markets, accounts, list(keys.values())),
        )

    def application(self) -> web.Application:
        """An application to be served; more than one may be made, they share the venue."""
        first = [] if self._faults is None else [faulty(self._faults, self._clock)]
        application = web.Application(middlewares=[*first, self._guard], client_max_size=BODY_MAX)
        for route in self._routes:
            application.router.add_route(route.method, route.path, self._endpoint(route))
        application.router.add_get("/websocket/v1", self._public_socket)
        application.router.add_get("/websocket/v1/private", self._private_socket)
        application.on_response_prepare.append(dated(self._clock))
        application.on_shutdown.append(self._hang_up)
        return application

    def subscriptions(self) -> list[Subscription]:
        """What connected clients want at this moment, one entry per connection."""
        return [session.subscription for session in self._venue.sessions]

    # -- requests --------------------------------------------------------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn everything that ends a request early into the body Upbit sends."""
        try:
            if not self._exchange.simulated.is_available:
                raise maintenance()
            return await handler(request)
        except UpbitError as error:
            return web.Response(status=error.status, body=error.body(), content_type=JSON, headers=error.headers)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            wrong = UpbitError(error.status, error.status, error.reason)
            return web.Response(status=error.status, body=wrong.body(), content_type=JSON)
        except DiaryFailed:
            # Nobody knows whether it happened: that is what a 500 of the real venue means to its client.
            get(__name__).exception("the venue cannot write its diary")
            wrong = UpbitError(500, "server_error", "내부 오류가 발생했습니다.")
            return web.Response(status=500, body=wrong.body(), content_type=JSON)

    def _endpoint(self, route: Route) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            raw = await request.read()
            now = self._clock.now()
            if not route.is_private and "Origin" in request.headers:
                self._limits.take_from_browser(_ip(request), now)
            caller = ACCOUNT if route.is_private else _ip(request)
            allowance = self._limits.take(route.group, caller, now)
            headers = {"Remaining-Req": allowance.header}
            try:
                answer = route.endpoint(self._admit(route, request, raw))
            except UpbitError as error:
                error.headers.update(headers)
                raise
            return web.Response(status=answer.status, body=encode(answer.payload), content_type=JSON, headers=headers)

        return handle

    def _admit(self, route: Route, request: web.Request, raw: bytes) -> Call:
        """What is asked, once it is clear who asks."""
        now = self._clock.now()
        fields = body_fields(raw) if request.method == "POST" else {}
        signed = plain_body(fields) if fields else plain_query(request.rel_url.raw_query_string)
        key = None
        if route.is_private:
            key = self._authenticator.check(
                request.headers.get("Authorization"), signed, ip=_ip(request), now=now, needed=route.permission
            )
        query = pairs(request.rel_url.raw_query_string)
        return Call(now, query, fields, dict(request.match_info), key)

    # -- sockets ---------------------------------------------------------------------------------------------------

    async def _public_socket(self, request: web.Request) -> web.StreamResponse:
        self._take_socket(request, _ip(request))
        return await self._serve(request, is_private=False)

    async def _private_socket(self, request: web.Request) -> web.StreamResponse:
        self._authenticator.check_socket(request.headers.get("Authorization"), ip=_ip(request), now=self._clock.now())
        self._take_socket(request, ACCOUNT)
        return await self._serve(request, is_private=True)

    def _take_socket(self, request: web.Request, caller: str) -> None:
        now = self._clock.now()
        if "Origin" in request.headers:
            self._limits.take_from_browser(_ip(request), now)
        self._limits.take_connection(caller, now)

    async def _serve(self, request: web.Request, *, is_private: bool) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoping=False, compress=False, max_msg_size=SOCKET_MESSAGE_MAX)
        await socket.prepare(request)
        is_browser = "Origin" in request.headers
        await Session(self._venue, socket, is_private=is_private, is_browser=is_browser).run()
        return socket

    async def _hang_up(self, _application: web.Application) -> None:
        async with asyncio.TaskGroup() as group:
            for session in list(self._venue.sessions):
                group.create_task(session.hang_up())


def _ip(request: web.Request) -> str:
    return request.remote or "unknown"
