"""Client ids are a function of their cause alone, so that a crash cannot make a second order."""

import os
import re
import subprocess
import sys
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimp.shared.domain.instruments import Side
from kimp.shared.domain.orders import (
    CLIENT_ID_LENGTH_MAX,
    Accepted,
    Order,
    OrderReport,
    OrderStatus,
    Outcome,
    Rejected,
    TimeInForce,
    Unknown,
    client_order_id,
)

TAKEN_BY_BOTH_VENUES = re.compile(r"[A-Za-z0-9_-]+")
SIGNALS = st.text(max_size=200)
LEGS = st.integers(0, 9)
ATTEMPTS = st.integers(0, 99_999_999)
CAUSES = st.tuples(SIGNALS, LEGS, ATTEMPTS)


@given(CAUSES)
def test_the_same_cause_gives_the_same_id(cause: tuple[str, int, int]) -> None:
    assert client_order_id(*cause) == client_order_id(*cause)


@given(CAUSES)
def test_an_id_is_short_enough_and_spelled_for_both_venues(cause: tuple[str, int, int]) -> None:
    client_id = client_order_id(*cause)
    assert 0 < len(client_id) <= CLIENT_ID_LENGTH_MAX == 36
    assert TAKEN_BY_BOTH_VENUES.fullmatch(client_id)


@given(st.lists(CAUSES, unique=True, min_size=2, max_size=20))
def test_different_causes_give_different_ids(causes: list[tuple[str, int, int]]) -> None:
    assert len({client_order_id(*cause) for cause in causes}) == len(causes)


def test_every_leg_and_attempt_of_one_signal_has_its_own_id() -> None:
    ids = {client_order_id("kimp:BTC:1", leg, attempt) for leg in range(10) for attempt in range(1_000)}
    assert len(ids) == 10_000


def test_an_id_too_long_for_a_venue_is_a_bug_and_not_an_order() -> None:
    with pytest.raises(AssertionError):
        client_order_id("kimp:BTC:1", 0, 10**9)


def test_ids_never_change_because_journals_hold_them() -> None:
    assert client_order_id("kimp:BTC:1", 0, 0) == "kimp-4e544c6c6c990e64b5a2-0-0"
    assert client_order_id("김프:BTC:1", 1, 12).endswith("-1-12")


@pytest.mark.parametrize("seed", ["0", "1", "random"])
def test_ids_are_the_same_in_every_process(seed: str) -> None:
    code = "from kimp.shared.domain.orders import client_order_id as i; print(i('kimp:BTC:1', 0, 3), i('', 1, 4))"
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.split() == [client_order_id("kimp:BTC:1", 0, 3), client_order_id("", 1, 4)]


def test_an_order_is_immediate_and_may_open_unless_it_says_otherwise() -> None:
    order = Order("id", "upbit:KRW-BTC", Side.BUY, Decimal(1), Decimal(1))
    assert order.time_in_force is TimeInForce.IOC
    assert order.reduce_only is False


def test_a_report_without_fills_names_none() -> None:
    assert OrderReport("id", OrderStatus.DONE, Decimal(1)).fills == ()


@pytest.mark.parametrize("outcome", [Accepted("7"), Rejected("-2022", "ReduceOnly"), Unknown("timeout")])
def test_an_outcome_is_read_back_as_what_it_was(outcome: Outcome) -> None:
    assert msgspec.json.decode(msgspec.json.encode(outcome), type=Outcome) == outcome
