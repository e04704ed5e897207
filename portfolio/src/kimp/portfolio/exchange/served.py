"""Both virtual venues and the exchange-rate sources on this machine's network, and the settings that lead to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from kimp.portfolio.exchange import binance_wire, upbit_wire
from kimp.portfolio.exchange.fx_wire import BANK_PATH, MARKET_PATH, FxWire
from kimp.portfolio.exchange.serving import LOOPBACK, Served, serve
from kimp.portfolio.exchange.wire_faults import Faults, no_faults
from kimp.portfolio.markets.boards import Boards
from kimp.portfolio.paper import PaperVenues
from kimp.shared.domain.instruments import Venue
from kimp.shared.domain.time import DAY, Nanos
from kimp.shared.ports.clock import Clock

KEY_LIFE: Nanos = 365 * DAY
"""Upbit, "API Key 발급 안내": a key lives for a year."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The key of both venues: there is one account, and nothing behind it is worth stealing."""

    key: str = "virtual-access-key"
    secret: str = "virtual-secret-key-that-is-long-enough-for-sha512-signatures-and-no-real-one"


@dataclass(frozen=True, slots=True)
class ServedVenues:
    """Where everything can be reached."""

    upbit: Served
    binance: Served
    fx: Served
    credentials: Credentials

    @property
    def settings(self) -> dict[str, str]:
        """``section.key`` → value: what makes kimp itself use these venues."""
        upbit, binance, fx = self.upbit, self.binance, self.fx
        return {
            "upbit.rest_url": upbit.http_url,
            "upbit.ws_url": f"{upbit.ws_url}/websocket/v1",
            "upbit.ws_private_url": f"{upbit.ws_url}/websocket/v1/private",
            "binance.rest_url": binance.http_url,
            "binance.ws_public_url": f"{binance.ws_url}/public",
            "binance.ws_market_url": f"{binance.ws_url}/market",
            "binance.ws_private_url": f"{binance.ws_url}/private",
            "fx.bank_url": fx.http_url + BANK_PATH,
            "fx.market_url": fx.http_url + MARKET_PATH,
        }

    @property
    def environment(self) -> dict[str, str]:
        """The same as environment variables, with the keys, which no command line takes."""
        variables = {f"KIMP__{key.upper().replace('.', '__')}": value for key, value in self.settings.items()}
        key, secret = self.credentials.key, self.credentials.secret
        return variables | {
            "KIMP__UPBIT__ACCESS_KEY": key,
            "KIMP__UPBIT__SECRET_KEY": secret,
            "KIMP__BINANCE__API_KEY": key,
            "KIMP__BINANCE__SECRET_KEY": secret,
        }


@asynccontextmanager
async def serve_venues(
    venues: PaperVenues,
    boards: Boards,
    clock: Clock,
    *,
    host: str = LOOPBACK,
    ports: tuple[int, int, int] = (0, 0, 0),
    credentials: Credentials | None = None,
    faults: dict[Venue, Faults] | None = None,
) -> AsyncIterator[ServedVenues]:
    """Serve Upbit, Binance and the rates for as long as the block runs; a port of 0 takes any free one.

    Raises:
        OSError: a port is taken.
    """
    account, wrong = credentials or Credentials(), faults or {}
    upbit = upbit_wire.UpbitWire(
        venues.exchanges[Venue.UPBIT],
        boards,
        clock,
        {account.key: upbit_wire.ApiKey(account.key, account.secret, clock.now() + KEY_LIFE)},
        faults=wrong.get(Venue.UPBIT, no_faults),
    )
    binance = binance_wire.BinanceWire(
        venues.exchanges[Venue.BINANCE],
        boards,
        clock,
        {account.key: binance_wire.ApiKey(account.secret, addresses=(host,))},  # live refuses a key for anywhere
        faults=wrong.get(Venue.BINANCE, no_faults),
    )
    async with (
        serve(upbit.application(), host=host, port=ports[0]) as at_upbit,
        serve(binance.application(), host=host, port=ports[1]) as at_binance,
        serve(FxWire(boards, clock).application(), host=host, port=ports[2]) as at_fx,
    ):
        yield ServedVenues(at_upbit, at_binance, at_fx, account)
