"""Binance USDT-M on the wire: one aiohttp application that any client of the real venue can trade on.

::

    request ─► faults ─► available? ─► weight ─► key, signature, time ─► endpoint ─► JSON and X-MBX-… headers
    happenings of the virtual exchange ─► Broadcast ─► Sockets ─► /public, /market, /private
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from aiohttp import WSCloseCode, web
from aiohttp.typedefs import Handler

from kimp.portfolio.exchange.binance_wire import errors
from kimp.portfolio.exchange.binance_wire.account_desk import AccountDesk
from kimp.portfolio.exchange.binance_wire.broadcast import Broadcast
from kimp.portfolio.exchange.binance_wire.endpoints import Asked, Endpoint, Security
from kimp.portfolio.exchange.binance_wire.errors import Refusal
from kimp.portfolio.exchange.binance_wire.filters import Filters
from kimp.portfolio.exchange.binance_wire.forms import Form
from kimp.portfolio.exchange.binance_wire.keys import KEY_HEADER, ApiKey, check_signature, check_time, known_key
from kimp.portfolio.exchange.binance_wire.market_desk import MarketDesk
from kimp.portfolio.exchange.binance_wire.records import Records
from kimp.portfolio.exchange.binance_wire.sockets import LIFE, Route, Sockets
from kimp.portfolio.exchange.binance_wire.stream_desk import StreamDesk
from kimp.portfolio.exchange.binance_wire.trade_desk import TradeDesk
from kimp.portfolio.exchange.binance_wire.user_data import LISTEN_KEY_LIFE, ListenKeys
from kimp.portfolio.exchange.binance_wire.weights import Limits, WeightCounter
from kimp.portfolio.exchange.dating import dated
from kimp.portfolio.exchange.diary import DiaryFailed
from kimp.portfolio.exchange.virtual import VirtualExchange
from kimp.portfolio.exchange.wire_faults import Faults, faulty, no_faults
from kimp.portfolio.markets.boards import Boards
from kimp.shared.domain.time import Nanos
from kimp.shared.ports.clock import Clock

BODY_BYTES_MAX = 64 * 1024
WEIGHT_HEADER = "X-MBX-USED-WEIGHT-1M"


class BinanceWire:
    """Speaks for one virtual exchange.

    Args:
        exchange: what is traded on.
        boards: what is shown in public; noted by whoever calls ``exchange.see``, before or after it.
        clock: time.
        keys: API keys by name.
        limits: request weights and order counts.
        faults: what goes wrong at the wire.
        connection_life, listen_key_life: nanoseconds.
    """

    def __init__(
        self,
        exchange: VirtualExchange,
        boards: Boards,
        clock: Clock,
        keys: Mapping[str, ApiKey],
        *,
        limits: Limits | None = None,
        faults: Faults = no_faults,
        connection_life: Nanos = LIFE,
        listen_key_life: Nanos = LISTEN_KEY_LIFE,
    ) -> None:
        limits = limits or Limits()
        self._exchange = exchange
        self._clock = clock
        self._keys = keys
        self._faults = faults
        self._weights = WeightCounter(limits)
        filters = {leg.symbol: Filters(leg) for leg in exchange.simulated.instruments.values()}
        records, self._sockets = Records(exchange), Sockets(clock, life=connection_life)
        listen_keys = ListenKeys(listen_key_life)
        self._broadcast = Broadcast(exchange, boards, clock, self._sockets, records, listen_keys)
        self._streams = StreamDesk(listen_keys, self._sockets, clock)
        self._endpoints = [
            *MarketDesk(exchange, boards, self._broadcast, clock, filters, limits).endpoints(),
            *TradeDesk(exchange, records, clock, filters).endpoints(),
            *AccountDesk(exchange, records, clock, filters).endpoints(),
            *self._streams.endpoints(),
        ]

    def application(self) -> web.Application:
        """REST under ``/fapi`` and ``/sapi``, WebSockets under their routes; streams run while it is served."""
        application = web.Application(
            middlewares=[faulty(self._faults, self._clock), self._guard()], client_max_size=BODY_BYTES_MAX
        )
        for endpoint in self._endpoints:
            application.router.add_route(endpoint.method, endpoint.path, self._handler(endpoint))
        self._streams.add_to(application)
        application.cleanup_ctx.append(self._broadcasting)
        application.on_response_prepare.append(dated(self._clock))
        application.on_shutdown.append(self._say_goodbye)
        return application

    def account_listeners(self) -> int:
        """How many clients listen to the account at this moment."""
        return self._sockets.listeners(Route.PRIVATE)

    # -- inside ----------------------------------------------------------------------------------------------------

    async def _broadcasting(self, _application: web.Application) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(self._broadcast.run())
            yield
            running.cancel()

    async def _say_goodbye(self, _application: web.Application) -> None:
        self._sockets.close_all(WSCloseCode.GOING_AWAY, "bye")

    def _guard(self) -> Any:
        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            """Refusals become bodies; a venue in maintenance, or one that lost its diary, answers 503."""
            if not self._exchange.simulated.is_available:
                return self._gateway(request, errors.UNAVAILABLE)
            try:
                return await handler(request)
            except Refusal as refusal:
                headers = {} if refusal.retry_after_s is None else {"Retry-After": str(refusal.retry_after_s)}
                return refusal.error.response(headers)
            except DiaryFailed:
                return self._gateway(request, errors.UNKNOWN_OUTCOME)

        return guard

    def _gateway(self, request: web.Request, message: str) -> web.Response:
        body = errors.gateway_body(request.path, self._clock.now(), message)
        return web.Response(status=503, body=body, content_type="application/json")

    def _handler(self, endpoint: Endpoint) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            query, body = request.raw_path.partition("?")[2], await request.text()
            form = Form(dict(parse_qsl(body, keep_blank_values=True)) | dict(parse_qsl(query, keep_blank_values=True)))
            now, address = self._clock.now(), request.remote or ""
            headers = {WEIGHT_HEADER: str(self._weights.spend(address, endpoint.cost(form), now))}
            asked = self._admit(endpoint, request, form, query, body)
            if endpoint.is_order:
                headers |= self._weights.count_order(now)
            if not self._exchange.simulated.is_available:  # it may have gone while the body was read
                return self._gateway(request, errors.UNAVAILABLE)
            try:
                answer = endpoint.answer(asked)
            except Refusal as refusal:
                return refusal.error.response(headers)
            return web.Response(body=msgspec.json.encode(answer), content_type="application/json", headers=headers)

        return handle

    def _admit(self, endpoint: Endpoint, request: web.Request, form: Form, query: str, body: str) -> Asked:
        """Who asks, and whether he may."""
        if endpoint.security is Security.NONE:
            return Asked(form)
        name = request.headers.get(KEY_HEADER)
        key = known_key(self._keys, name, request.remote)
        if endpoint.security is not Security.KEY:
            check_time(form, self._clock.now())
            check_signature(key, query, body)
        if endpoint.security is Security.TRADE and not key.may_trade:
            raise Refusal(errors.BAD_KEY)
        return Asked(form, name or "", key)
