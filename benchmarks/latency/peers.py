"""What else could send the two orders: nothing but HTTP, and stock ccxt."""

from __future__ import annotations

import asyncio
import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256, sha512
from time import perf_counter_ns
from typing import Any
from urllib.parse import urlencode

import aiohttp

from kimp.shared.domain.instruments import Venue
from kimp.storage.feeds.clocks import SystemClock
from latency.shots import Contender, Shot
from latency.venues import KOREA


def _url_safe(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def upbit_request(told: Mapping[str, str], name: str) -> tuple[str, dict[str, str], bytes]:
    """URL, headers and body of a purchase, signed as Upbit wants it."""
    words = {"market": "KRW-BTC", "side": "bid", "ord_type": "limit", "volume": "0.003", "price": KOREA}
    words |= {"identifier": name, "time_in_force": "ioc"}
    claims = {"access_key": told["key"], "nonce": name, "query_hash_alg": "SHA512"}
    claims["query_hash"] = sha512(urlencode(words).encode()).hexdigest()
    text = _url_safe(b'{"alg":"HS512","typ":"JWT"}') + b"." + _url_safe(json.dumps(claims).encode())
    token = text + b"." + _url_safe(hmac.digest(told["secret"].encode(), text, "sha512"))
    headers = {"Authorization": f"Bearer {token.decode()}", "Content-Type": "application/json"}
    return f"{told['upbit.rest_url']}/v1/orders", headers, json.dumps(words).encode()


def binance_request(told: Mapping[str, str], name: str) -> tuple[str, dict[str, str], bytes]:
    """URL, headers and body of a sale, signed as Binance wants it."""
    words = {"symbol": "BTCUSDT", "side": "SELL", "type": "LIMIT", "timeInForce": "IOC", "quantity": "0.003"}
    words |= {"price": "99000.0", "newClientOrderId": name, "recvWindow": "5000"}
    query = urlencode(words | {"timestamp": str(SystemClock().now() // 1_000_000)})
    signature = hmac.digest(told["secret"].encode(), query.encode(), sha256).hex()
    headers = {"X-MBX-APIKEY": told["key"], "Content-Type": "application/x-www-form-urlencoded"}
    return f"{told['binance.rest_url']}/fapi/v1/order", headers, f"{query}&signature={signature}".encode()


async def together(shot: Shot, sends: Mapping[Venue, Callable[[], Awaitable[Any]]]) -> None:
    """Both at once, as anybody would write it."""

    async def one(venue: Venue, send: Callable[[], Awaitable[Any]]) -> None:
        await send()
        shot.answered[venue] = perf_counter_ns()

    shot.begin()
    async with asyncio.TaskGroup() as group:
        for venue, send in sends.items():
            group.create_task(one(venue, send))


@dataclass
class Bare:
    """Two requests signed beforehand, sent by aiohttp; ``is_cold`` connects anew for each."""

    told: Mapping[str, str]
    session: aiohttp.ClientSession
    is_cold: bool = False
    count: int = 0

    async def shoot(self, shot: Shot) -> None:
        self.count += 1
        name = f"bare-{self.is_cold}-{self.count}"
        requests = {Venue.UPBIT: upbit_request(self.told, name), Venue.BINANCE: binance_request(self.told, name)}

        async def send(venue: Venue) -> None:
            url, headers, body = requests[venue]
            async with self.session.post(url, data=body, headers=headers) as response:
                assert response.status in (200, 201), await response.text()
                await response.read()

        await together(shot, {venue: lambda venue=venue: send(venue) for venue in requests})


@dataclass
class Stock:
    """Two ``create_order`` of the unchanged library."""

    upbit: Any
    binance: Any

    async def shoot(self, shot: Shot) -> None:
        ioc = {"timeInForce": "IOC"}
        await together(
            shot,
            {
                Venue.UPBIT: lambda: self.upbit.create_order("BTC/KRW", "limit", "buy", 0.003, float(KOREA), ioc),
                Venue.BINANCE: lambda: self.binance.create_order("BTC/USDT:USDT", "limit", "sell", 0.003, 99_000, ioc),
            },
        )


def _elsewhere(urls: Any, base: str) -> Any:
    if isinstance(urls, dict):
        return {name: _elsewhere(url, base) for name, url in urls.items()}
    return f"{base}/{urls.partition('://')[2].partition('/')[2]}"


async def _stock(told: Mapping[str, str], stack: AsyncExitStack, options: Mapping[str, Any]) -> Stock:
    import ccxt.async_support as ccxt  # type: ignore[import-untyped]

    key = {"apiKey": told["key"], "secret": told["secret"]}
    upbit, binance = ccxt.upbit({**key, **options}), ccxt.binanceusdm({**key, **options})
    upbit.urls["api"] = dict.fromkeys(("public", "private"), told["upbit.rest_url"])
    binance.urls["api"] = _elsewhere(binance.urls["api"], told["binance.rest_url"])
    for client in (upbit, binance):
        stack.push_async_callback(client.close)
        await client.load_markets()
    return Stock(upbit, binance)


@asynccontextmanager
async def peers(told: Mapping[str, str]) -> AsyncIterator[dict[str, Contender]]:
    """What else could send the two orders."""
    async with AsyncExitStack() as stack:
        warm = await stack.enter_async_context(aiohttp.ClientSession())
        cold = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)))
        yield {
            "aiohttp": Bare(told, warm),
            "aiohttp cold": Bare(told, cold, is_cold=True),
            "ccxt": await _stock(told, stack, {"enableRateLimit": False}),
            "ccxt default": await _stock(told, stack, {}),
            "ccxt rollingWindow": await _stock(told, stack, {"rateLimiterAlgorithm": "rollingWindow"}),
        }
