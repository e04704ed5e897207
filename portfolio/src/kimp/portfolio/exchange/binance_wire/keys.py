"""Who is asking: API keys, signatures and the time window of a signed request.

Binance, "General Info", Endpoint Security Type and SIGNED Endpoint Security: the key goes in the header
``X-MBX-APIKEY``; HMAC SHA256 with the secret over query string and body together, ``signature`` last; ``timestamp`` in
milliseconds not older than ``recvWindow`` (default 5,000) and less than a second ahead.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from hashlib import sha256

import msgspec

from kimp.portfolio.exchange.binance_wire import errors
from kimp.portfolio.exchange.binance_wire.errors import Refusal
from kimp.portfolio.exchange.binance_wire.forms import Form
from kimp.shared.domain.time import MILLISECOND, Nanos

KEY_HEADER = "X-MBX-APIKEY"
RECEIVE_WINDOW_MS = 5_000
RECEIVE_WINDOW_MS_MAX = 60_000
AHEAD_MS_MAX = 1_000
KEY_FORM = re.compile(r"[A-Za-z0-9_-]{1,128}")
SIGNATURE = re.compile(r"(?:^|&)signature=([^&]*)")


class ApiKey(msgspec.Struct, frozen=True):
    """One key's secret and what it may do; ``addresses`` empty means any address may use it."""

    secret: str
    may_trade: bool = True
    may_withdraw: bool = False
    addresses: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"ApiKey(may_trade={self.may_trade}, may_withdraw={self.may_withdraw}, addresses={self.addresses})"


def known_key(keys: Mapping[str, ApiKey], name: str | None, address: str | None) -> ApiKey:
    """The key of that name.

    Raises:
        Refusal: −2014 not written like a key, −2015 unknown or not from this address.
    """
    if not name or not KEY_FORM.fullmatch(name):
        raise Refusal(errors.BAD_KEY_FORMAT)
    key = keys.get(name)
    if key is None or (key.addresses and address not in key.addresses):
        raise Refusal(errors.BAD_KEY)
    return key


def check_signature(key: ApiKey, query: str, body: str) -> None:
    """The signature over everything else that was sent, in the order it was sent.

    Raises:
        Refusal: −1102 there is none, −1022 it is another one.
    """
    found = [*SIGNATURE.findall(query), *SIGNATURE.findall(body)]
    if len(found) != 1 or not found[0]:
        raise Refusal(errors.MANDATORY.about("signature"))
    payload = SIGNATURE.sub("", query) + SIGNATURE.sub("", body)
    expected = hmac.new(key.secret.encode(), payload.encode(), sha256).hexdigest()
    if not hmac.compare_digest(expected, found[0].lower()):
        raise Refusal(errors.BAD_SIGNATURE)


def check_time(form: Form, now: Nanos) -> None:
    """Whether the request is from now.

    Raises:
        Refusal: −1102 no timestamp, −1021 too old or from the future, −1130 a window over a minute.
    """
    sent = form.integer("timestamp")
    window = form.maybe_integer("recvWindow")
    window = RECEIVE_WINDOW_MS if window is None else window
    if not 0 < window <= RECEIVE_WINDOW_MS_MAX:
        raise Refusal(errors.NOT_VALID.about("recvWindow"))
    now_ms = now // MILLISECOND
    if sent >= now_ms + AHEAD_MS_MAX:
        raise Refusal(errors.AHEAD_OF_SERVER)
    if now_ms - sent > window:
        raise Refusal(errors.OUTSIDE_WINDOW)
