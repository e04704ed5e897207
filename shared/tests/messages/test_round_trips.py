"""What is journaled is read back as what it was: the same class, and every decimal to the last digit."""

import typing
from collections.abc import Callable
from decimal import Decimal
from functools import reduce
from operator import or_
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimp.shared.domain.instruments import Side
from kimp.shared.domain.orders import Accepted, Order, Rejected, Unknown
from kimp.shared.domain.positions import Purpose
from kimp.shared.messages.events import Event, MarketMoved
from kimp.shared.messages.notices import Notice
from kimp.shared.messages.records import OrderIntended, OrderOutcome, Record

RECORDS, EVENTS, NOTICES = map(typing.get_args, (Record, Event, Notice))
TOLD_EVENTS = tuple(event for event in EVENTS if event is not MarketMoved)
UNIONS = {"records": Record, "events": reduce(or_, TOLD_EVENTS), "notices": Notice}
TAGGED = [
    pytest.param(message, UNIONS[name], id=f"{name}-{message.__name__}")
    for name, messages in (("records", RECORDS), ("events", TOLD_EVENTS), ("notices", NOTICES))
    for message in messages
]
WIRES = pytest.mark.parametrize("wire", [msgspec.msgpack, msgspec.json], ids=["msgpack", "json"])


def assert_survives(message: Any, union: Any, wire: Any) -> None:
    back = wire.decode(wire.encode(message), type=union)
    assert type(back) is type(message)
    assert back == message
    assert repr(back) == repr(message)  # 1.0 and 1.00 are equal, but not the same number of digits


@WIRES
@pytest.mark.parametrize(("message", "union"), TAGGED)
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_a_message_survives_the_wire_as_one_of_its_union(
    any_of: Callable[[Any], st.SearchStrategy[Any]], message: type, union: Any, wire: Any, data: st.DataObject
) -> None:
    assert_survives(data.draw(any_of(message)), union, wire)


@WIRES
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_quotes_survive_the_wire_too(
    any_of: Callable[[Any], st.SearchStrategy[Any]], wire: Any, data: st.DataObject
) -> None:
    assert_survives(data.draw(any_of(MarketMoved)), MarketMoved, wire)


@WIRES
@settings(deadline=None)
@given(records=st.data())
def test_a_journal_of_many_kinds_is_read_back_in_its_order(
    any_of: Callable[[Any], st.SearchStrategy[Any]], wire: Any, records: st.DataObject
) -> None:
    journal = records.draw(st.lists(any_of(Record), max_size=8))
    assert wire.decode(wire.encode(journal), type=list[Record]) == journal


@WIRES
@pytest.mark.parametrize(
    "text",
    ["0.1", "0.10", "1E+3", "1E-8", "-0", "144900000.00000000", "0." + "1" * 28, "1234567890123456789012345678.9"],
)
def test_decimals_keep_every_digit(text: str, wire: Any) -> None:
    order = Order("id", "upbit:KRW-BTC", Side.BUY, Decimal(text), Decimal(text))
    record = OrderIntended(1, order, "kimp:BTC", "signal", Purpose.ENTER, Decimal(text))
    back = wire.decode(wire.encode(record), type=Record)
    assert (str(back.reference), str(back.order.quantity)) == (text, text)


@WIRES
@pytest.mark.parametrize("outcome", [Accepted("7"), Rejected("400", "no"), Unknown("timeout")])
def test_an_unknown_outcome_is_never_read_back_as_another(outcome: Any, wire: Any) -> None:
    back = wire.decode(wire.encode(OrderOutcome(1, "id", outcome)), type=Record)
    assert type(back.outcome) is type(outcome)


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"NeverHeardOf","at":1}',
        b'{"at":1,"client_id":"x"}',
        b'{"type":"OrderLost","at":1}',
        b'{"type":"OrderLost","at":"soon","client_id":"x"}',
        b'{"type":"OrderClosed","at":1,"client_id":"x","executed":"much"}',
        b'{"type":"OrderOutcome","at":1,"client_id":"x","outcome":{"type":"perhaps"}}',
        b'{"type":"MarketMoved","at":1}',
        b'{"type":"OrderLost","at":1,"clie',
    ],
    ids=["unknown kind", "no kind", "missing", "wrong type", "no number", "unknown outcome", "market", "torn"],
)
def test_a_line_that_is_no_record_is_refused(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(line, type=Record)
