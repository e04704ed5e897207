"""ccxt's Binance client cut down to signing and sending: it raises our own error and answers with plain data.

Importing this costs seconds (ccxt), so it is imported where a connection is about to be opened.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
from ccxt.async_support import binanceusdm  # type: ignore[import-untyped]

from kimp.order.exchanges.binance_line import ANSWER_S, NotSigned
from kimp.order.exchanges.outcomes import Answer, Refused
from kimp.order.exchanges.sending import PlainSending, Signed, binance_order, patience
from kimp.shared.settings import Binance

RECEIVE_WINDOW_MS = 5_000
"""Binance, "General Info", "Timing security": 5,000 ms is its default, and a later order would meet another market."""

HeaderTap = Callable[[int, Mapping[str, str], str], None]
"""Is told every answer's HTTP status, headers and body."""


class BinanceTransport(PlainSending, binanceusdm):  # type: ignore[misc]
    """Signs and sends; the time, the judgement of errors and the counting of requests are ours."""

    answer_timeout = patience(ANSWER_S)
    logger = logging.Logger("ccxt", logging.CRITICAL + 1)  # its debug lines carry keys and signatures: belongs nowhere

    def __init__(
        self,
        settings: Binance,
        session: aiohttp.ClientSession,
        *,
        timestamp_ms: Callable[[], int],
        tap: HeaderTap,
    ) -> None:
        super().__init__(
            {
                "apiKey": settings.api_key.get_secret_value(),
                "secret": settings.secret_key.get_secret_value(),
                "session": session,
                "enableRateLimit": False,  # its bucket does not refill while idle and would add 200 ms to an order
                "options": {"recvWindow": RECEIVE_WINDOW_MS},
            }
        )
        # Nothing but what the settings name can be reached.
        self.urls["api"] = base_urls(settings.rest_url)
        self._order_url = f"{self.urls['api']['fapiPrivate']}/order"
        # "General Info": keys may also be RSA or Ed25519, whose secret is a PEM text.
        self._is_plain_key = bool(self.apiKey and self.secret) and "PRIVATE KEY" not in self.secret
        self._timestamp_ms = timestamp_ms
        self._tap = tap

    def nonce(self) -> int:
        """The venue's time in milliseconds, as we know it."""
        return self._timestamp_ms()

    def sign(self, path: str, *details: Any) -> Signed:
        """New orders by ourselves, everything else, and every other kind of key, as ccxt does.

        A request that cannot even be signed (no key, a broken secret) has not left.
        """
        try:
            if path == "order" and details[1] == "POST" and self._is_plain_key:
                now = self._timestamp_ms()
                return binance_order(self._order_url, self.apiKey, self.secret, details[2], now, RECEIVE_WINDOW_MS)
            return super().sign(path, *details)
        except Exception as error:
            raise NotSigned(path) from error

    def answered(self, status: int, headers: Mapping[str, str], text: str) -> Any:
        """Anything but success leaves as :class:`Refused`, with the status, the code and the text as they came."""
        self._tap(status, headers, text)
        data = self.parse_json(text.strip())
        answer = as_answer(status, data)
        if answer is not None:
            raise Refused(answer)
        return data


def as_answer(status: int, body: object) -> Answer | None:
    """The error in an HTTP answer, ``None`` when it is a success.

    A success may carry ``{"code": 200, "msg": "success"}``, so only negative codes are errors.
    """
    code, message = "", ""
    if isinstance(body, dict) and "msg" in body:
        code, message = str(body.get("code", "")), str(body["msg"])
    if status < 400 and not code.startswith("-"):
        return None
    return Answer(status, code, message)


def base_urls(rest_url: str) -> dict[str, Any]:
    """ccxt's names of the parts of the API, under the one address of the settings.

    What a key may do is told by the wallet API, which on the real venue has a host of its own: api. for fapi.
    """
    root = rest_url.rstrip("/")
    parts = urlsplit(root)
    wallet = root
    if parts.netloc.startswith("fapi."):
        wallet = urlunsplit(parts._replace(netloc=parts.netloc.removeprefix("f")))
    return {
        "fapiPublic": f"{root}/fapi/v1",
        "fapiPrivate": f"{root}/fapi/v1",
        "fapiPrivateV3": f"{root}/fapi/v3",
        "sapi": f"{wallet}/sapi/v1",
    }
