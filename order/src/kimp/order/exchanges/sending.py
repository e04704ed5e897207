"""An order on its way out: signed in one go and handed to the connection, nothing else in between.

Decision: ccxt names the endpoints and signs everything but new orders; between signing and the socket nothing of it is
left. Its ``fetch2`` and ``fetch`` look for proxies, retries, caches and log lines, and its ``sign`` walks through every
case of every API: together about a fifth of the time from placing to the wire, on both legs of a pair one after the
other. What is left out is nothing we use: no order is ever sent twice, limits are counted by
:mod:`~kimp.order.exchanges.ratelimit`, and answers are judged by :mod:`~kimp.order.exchanges.outcomes`. Redirects are
not followed: an order must not end up where nobody sent it. That a new order leaves as ccxt would have sent it, byte for
byte, is held by a test, so that a change of ccxt's is noticed.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256, sha512
from typing import Any, TypedDict
from urllib.parse import urlencode

import aiohttp
import yarl

JSON, FORM = "application/json", "application/x-www-form-urlencoded"


class Signed(TypedDict):
    """A request as ccxt's ``sign`` describes it."""

    url: str
    method: str
    body: str | None
    headers: Mapping[str, str] | None


class PlainSending:
    """Replaces ccxt's way of sending; put it before ccxt's class. Whoever uses it says what an answer means."""

    session: aiohttp.ClientSession | None
    answer_timeout: aiohttp.ClientTimeout

    def sign(self, path: str, *details: Any) -> Signed:
        """The request; ccxt's, unless it is overridden."""
        signed: Signed = super().sign(path, *details)  # type: ignore[misc]  # of the class beside this one
        return signed

    def answered(self, status: int, headers: Mapping[str, str], text: str) -> Any:
        """What the caller gets for this answer; raises what the venue refused."""
        raise NotImplementedError

    async def fetch2(
        self, path: str, api: Any, method: str = "GET", params: Mapping[str, Any] | None = None, *_: Any
    ) -> Any:
        """One request, once; ccxt's raw endpoints all end here."""
        signed = self.sign(path, api, method, {} if params is None else params)
        session, body = self.session, signed["body"]
        if session is None:
            raise RuntimeError("sending without a session")
        async with session.request(
            signed["method"],
            yarl.URL(signed["url"], encoded=True),
            data=body.encode() if body else None,
            headers=signed["headers"],
            timeout=self.answer_timeout,
            allow_redirects=False,
        ) as response:
            text = await response.text(errors="replace")
        return self.answered(response.status, response.headers, text)


def patience(seconds: float) -> aiohttp.ClientTimeout:
    """So long for the whole answer, and no longer for any part of it: a connection that died silently says nothing."""
    return aiohttp.ClientTimeout(total=seconds, sock_connect=seconds, sock_read=seconds)


def upbit_order(url: str, key: str, secret: str, nonce: str, words: Mapping[str, str]) -> Signed:
    """A new order for Upbit ("인증", https://docs.upbit.com/kr/reference/auth): a JSON body, and a JWT that names the
    SHA-512 of its fields written as a query *before* encoding.
    """
    query = "&".join(f"{name}={word}" for name, word in words.items())
    claims = {
        "access_key": key,
        "nonce": nonce,
        "query_hash": sha512(query.encode()).hexdigest(),
        "query_hash_alg": "SHA512",
    }
    text = f"{_JWT_HEAD}.{_url_safe(_compact(claims).encode())}"
    token = f"{text}.{_url_safe(hmac.digest(secret.encode(), text.encode(), sha256))}"
    headers = {"Content-Type": JSON, "Authorization": f"Bearer {token}"}
    return {"url": url, "method": "POST", "body": _compact(words), "headers": headers}


def binance_order(url: str, key: str, secret: str, form: Mapping[str, str | int], at_ms: int, window_ms: int) -> Signed:
    """A new order for Binance ("General Info", SIGNED endpoints): a form, and the HMAC-SHA256 of it as its last field.

    ``at_ms`` is the venue's time, ``window_ms`` how much later it may arrive (milliseconds).
    """
    query = urlencode({"timestamp": at_ms, **form, "recvWindow": window_ms})
    signature = hmac.digest(secret.encode(), query.encode(), sha256).hex()
    headers = {"X-MBX-APIKEY": key, "Content-Type": FORM}
    return {"url": url, "method": "POST", "body": f"{query}&signature={signature}", "headers": headers}


def _compact(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, separators=(",", ":"))


def _url_safe(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


_JWT_HEAD = _url_safe(b'{"alg":"HS256","typ":"JWT"}')
