"""Whatever a client sends, it is answered in Upbit's words or taken; nothing breaks the venue."""

from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kimp.portfolio.exchange.tickets import Ticket
from kimp.portfolio.exchange.upbit_wire.authentication import Authenticator, body_fields, plain_body
from kimp.portfolio.exchange.upbit_wire.errors import UpbitError, refused
from kimp.portfolio.exchange.upbit_wire.figures import encode, moment, number
from kimp.portfolio.exchange.upbit_wire.orders import ticket_of
from kimp.portfolio.exchange.upbit_wire.subscriptions import SubscriptionError, parse
from kimp.shared.domain.instruments import Side, upbit_spot
from kimp.shared.domain.orders import Rejected
from kimp.shared.domain.time import to_datetime

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
likely = st.sampled_from(
    ["KRW-BTC", "bid", "ask", "limit", "price", "market", "best", "ioc", "fok", "post_only", "1", "0.5", "1e9", "-0"]
)
names = st.sampled_from(["market", "side", "ord_type", "price", "volume", "time_in_force", "identifier", "smp_type"])


@given(st.dictionaries(names, likely | anything))
def test_an_order_is_understood_or_refused_by_name(fields: dict[str, Any]) -> None:
    with suppress(UpbitError):
        assert isinstance(ticket_of(fields, {"KRW-BTC": upbit_spot("BTC")}), Ticket)


@given(st.binary(max_size=60) | anything.map(lambda value: repr(value).encode(errors="replace")))
def test_a_body_is_read_or_refused(raw: bytes) -> None:
    with suppress(UpbitError):
        plain_body(body_fields(raw)).encode()


def test_half_a_character_is_not_a_text() -> None:
    with suppress(UpbitError):
        body_fields(b'{"identifier":"\\ud800"}')
        raise AssertionError("it was taken")


@given(st.text(max_size=80) | st.binary(max_size=40).map(lambda raw: "Bearer " + raw.decode("latin-1")))
def test_a_token_is_verified_or_refused(header: str) -> None:
    with suppress(UpbitError):
        Authenticator({}).check(header, "", ip="127.0.0.1", now=0)
        raise AssertionError("it was let in")


@given(st.text(max_size=60) | anything.map(lambda value: msgspec.json.encode(str(value)).decode()))
def test_a_subscription_is_understood_or_refused(raw: str) -> None:
    with suppress(SubscriptionError):
        parse(raw, is_private=True)


parts = st.dictionaries(
    st.sampled_from(["ticket", "type", "codes", "format", "is_only_snapshot"]),
    st.sampled_from(["ticker", "myOrder", "SIMPLE"]) | st.just(["KRW-BTC.15"]) | anything.filter(lambda v: v == v),
)


@given(st.lists(parts, max_size=4))
def test_a_subscription_of_the_right_shape_is_understood_or_refused(wanted: list[Any]) -> None:
    try:
        raw = msgspec.json.encode(wanted)
    except UnicodeEncodeError:
        return
    with suppress(SubscriptionError):
        parse(raw, is_private=True)


@example("²")  # a digit to some, a number to nobody
@given(st.text(max_size=30) | st.datetimes().map(str) | st.integers(0, 10**14).map(str))
def test_a_moment_is_a_moment_or_nothing(written: str) -> None:
    at = moment(written)
    assert at is None or to_datetime(at)


@pytest.mark.parametrize("written", ["1_000", "١", " 1", "NaN", "Infinity", "1e99", "", True, None, 1.5])
def test_what_looks_like_a_number_to_python_only_is_none(written: Any) -> None:
    assert number(written) is None


@given(st.text(max_size=45) | st.floats().map(str) | st.integers().map(str))
def test_a_number_is_finite_or_nothing(written: str) -> None:
    value = number(written)
    assert value is None or value.is_finite()


def test_every_reason_of_the_venue_has_an_error_body(kit: SimpleNamespace) -> None:
    from kimp.portfolio.exchange.codes import ALL_CODES

    for code in ALL_CODES:
        error = refused(Rejected(code, ""), Side.BUY, "KRW", "BTC")
        assert 400 <= error.status < 600
        assert set(msgspec.json.decode(error.body())["error"]) == {"name", "message"}
    assert encode(kit.START)
