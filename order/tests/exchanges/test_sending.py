"""New orders are signed by ourselves: exactly as ccxt would have."""

import asyncio
from random import Random
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from kimp.order.exchanges.binance_forms import new_order
from kimp.order.exchanges.binance_line import NotSigned
from kimp.order.exchanges.binance_transport import RECEIVE_WINDOW_MS, BinanceTransport
from kimp.order.exchanges.outcomes import Answer
from kimp.order.exchanges.sending import binance_order, upbit_order
from kimp.order.exchanges.upbit import order_words
from kimp.order.exchanges.upbit_client import UpbitClient
from kimp.shared.domain.instruments import Side
from kimp.shared.domain.orders import Order, TimeInForce
from kimp.shared.settings import Binance, SecretStr, Upbit

NOW_MS = 1_790_000_000_123
SECRET = "a secret that is long enough for any signature"
ORDERS = st.builds(
    Order,
    st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=36),
    st.just("upbit:KRW-BTC"),
    st.sampled_from(Side),
    st.decimals("0.00000001", "1000", places=8),
    st.decimals("0.00000001", "1000000000", places=8),
    st.sampled_from(TimeInForce),
    st.booleans(),
)


class FakeClock:
    def now(self) -> int:
        return NOW_MS * 1_000_000

    async def sleep_until(self, at: int) -> None:  # noqa: ARG002 - the port's
        raise AssertionError("nothing here waits")


@pytest.fixture(scope="module")
def upbit() -> Any:
    from ccxt.async_support import upbit

    client = upbit({"apiKey": "key", "secret": SECRET})
    client.urls["api"] = {"private": "http://venue"}
    client.uuid = lambda: "a-nonce"
    return client


@pytest.fixture(scope="module")
def binance() -> Any:
    from ccxt.async_support import binanceusdm

    client = binanceusdm({"apiKey": "key", "secret": SECRET, "options": {"recvWindow": RECEIVE_WINDOW_MS}})
    client.urls["api"]["fapiPrivate"] = "http://venue/fapi/v1"
    client.nonce = lambda: NOW_MS
    return client


@given(order=ORDERS)
def test_an_upbit_order_is_signed_as_ccxt_signs_it(upbit: Any, order: Order) -> None:
    words = order_words(order)
    assert upbit_order("http://venue/v1/orders", "key", SECRET, "a-nonce", words) == upbit.sign(
        "orders", ["private"], "POST", dict(words)
    )


@given(order=ORDERS)
def test_a_binance_order_is_signed_as_ccxt_signs_it(binance: Any, order: Order) -> None:
    form = new_order(order)
    ours = binance_order("http://venue/fapi/v1/order", "key", SECRET, form, NOW_MS, RECEIVE_WINDOW_MS)
    assert ours == binance.sign("order", ["fapiPrivate"], "POST", dict(form))


def transport(secret: str) -> BinanceTransport:
    settings = Binance(rest_url="http://venue", api_key=SecretStr("key"), secret_key=SecretStr(secret))
    return BinanceTransport(settings, None, timestamp_ms=lambda: NOW_MS, tap=lambda *_: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("secret", ["", "-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----"])
def test_a_secret_that_cannot_sign_sends_nothing(secret: str) -> None:
    with pytest.raises(NotSigned):
        transport(secret).sign("order", ["fapiPrivate"], "POST", {"symbol": "BTCUSDT"})


def test_only_new_orders_are_signed_by_ourselves() -> None:
    cancelling = transport(SECRET).sign("order", ["fapiPrivate"], "DELETE", {"symbol": "BTCUSDT"})
    assert (cancelling["method"], cancelling["body"]) == ("DELETE", None)


def test_an_order_is_never_sent_where_a_redirect_points() -> None:
    met: list[str] = []

    async def elsewhere(request: web.Request) -> web.Response:
        met.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async def story() -> Any:
        application = web.Application()
        application.router.add_route("*", "/{any:.*}", elsewhere)
        runner = web.AppRunner(application)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            key = SecretStr(SECRET)
            settings = Upbit(rest_url=f"http://127.0.0.1:{port}", access_key=key, secret_key=key)
            async with UpbitClient(settings, clock=FakeClock(), dice=Random(1)) as client:
                return await client.call("private_post_orders", {"market": "KRW-BTC"}, group="order")
        finally:
            await runner.cleanup()

    reply = asyncio.run(story())
    assert isinstance(reply, Answer)
    assert (reply.status, met) == (307, ["/v1/orders"])
