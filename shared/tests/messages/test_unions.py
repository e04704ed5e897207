"""The unions are complete: a message that is in no union would never be matched, journaled or told."""

import typing
from collections.abc import Callable
from types import ModuleType
from typing import Any

import msgspec
import pytest

from kimp.shared.domain import orders, signals
from kimp.shared.messages import effects, events, notices, records
from kimp.shared.messages.effects import Append, Effect, Notify
from kimp.shared.messages.events import Event, MarketMoved
from kimp.shared.messages.notices import Notice
from kimp.shared.messages.records import Record

UNIONS = [
    pytest.param(records, Record, id="records"),
    pytest.param(events, Event, id="events"),
    pytest.param(effects, Effect, id="effects"),
    pytest.param(notices, Notice, id="notices"),
]
KEPT = [*typing.get_args(Record), *typing.get_args(Notice), *typing.get_args(Event)]


@pytest.mark.parametrize(("module", "union"), UNIONS)
def test_every_message_is_in_its_union(
    defined_in: Callable[[ModuleType], set[type]], module: ModuleType, union: Any
) -> None:
    assert set(typing.get_args(union)) == defined_in(module)


def test_outcomes_and_signals_are_the_tagged_structs_of_their_modules(
    defined_in: Callable[[ModuleType], set[type]],
) -> None:
    for module, union in ((orders, orders.Outcome), (signals, signals.Signal)):
        tagged = {struct for struct in defined_in(module) if struct.__struct_config__.tag is not None}
        assert tagged == set(typing.get_args(union))


def test_quotes_are_not_journaled() -> None:
    assert MarketMoved not in typing.get_args(Record)
    assert MarketMoved.__struct_config__.tag is None


@pytest.mark.parametrize("message", [x for x in KEPT if x is not MarketMoved], ids=lambda x: x.__name__)
def test_a_kept_message_is_tagged_with_its_own_name(message: Any) -> None:
    assert message.__struct_config__.tag == message.__name__


def test_no_two_kept_messages_share_a_name() -> None:
    names = [message.__name__ for message in KEPT]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("message", [*KEPT, *typing.get_args(Effect)], ids=lambda x: x.__name__)
def test_messages_cannot_be_changed_after_the_fact(message: Any) -> None:
    assert message.__struct_config__.frozen


@pytest.mark.parametrize("message", [*typing.get_args(Record), *typing.get_args(Event)], ids=lambda x: x.__name__)
def test_everything_that_happened_says_when_first(message: Any) -> None:
    first = msgspec.structs.fields(message)[0]
    assert (first.name, first.type) == ("at", int)


def test_effects_carry_any_record_and_any_notice() -> None:
    def carried(effect: Any) -> Any:
        (field,) = msgspec.structs.fields(effect)
        return field.type

    assert carried(Append) == Record
    assert carried(Notify) == Notice
