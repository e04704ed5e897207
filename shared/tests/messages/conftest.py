"""What the message tests share: any instance of any message, drawn field by field from its types."""

import types
import typing
from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st

PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(-(2**63), 2**63 - 1),
    str: st.text(max_size=20),
    type(None): st.none(),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
}


@cache
def instances_of(kind: Any) -> st.SearchStrategy[Any]:
    """Every value a field of that type may hold; a type not thought of raises and does not go untested."""
    if kind in PLAIN:
        return PLAIN[kind]
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return st.one_of([instances_of(each) for each in typing.get_args(kind)])
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)
        if inner[-1] is Ellipsis:
            return st.lists(instances_of(inner[0]), max_size=3).map(tuple)
        return st.tuples(*map(instances_of, inner))
    if issubclass(kind, Enum):
        return st.sampled_from(kind)
    assert issubclass(kind, msgspec.Struct), f"no strategy for {kind}"
    return st.builds(kind, **{field.name: instances_of(field.type) for field in msgspec.structs.fields(kind)})


@pytest.fixture(scope="session")
def any_of() -> Callable[[Any], st.SearchStrategy[Any]]:
    return instances_of


@pytest.fixture(scope="session")
def defined_in() -> Callable[[types.ModuleType], set[type]]:
    """Every struct class a module defines itself."""

    def structs(module: types.ModuleType) -> set[type]:
        found = (x for x in vars(module).values() if isinstance(x, type) and issubclass(x, msgspec.Struct))
        return {struct for struct in found if struct.__module__ == module.__name__}

    return structs
