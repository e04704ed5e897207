"""What was once said stays as it was said: nothing in the domain can be changed in place."""

import importlib
import pkgutil
from typing import Any

import msgspec
import pytest

import kimp.shared.domain as domain

MODULES = [
    importlib.import_module(f"{domain.__name__}.{found.name}") for found in pkgutil.iter_modules(domain.__path__)
]
STRUCTS = {
    thing
    for module in MODULES
    for thing in vars(module).values()
    if isinstance(thing, type) and issubclass(thing, msgspec.Struct) and thing.__module__ == module.__name__
}


@pytest.mark.parametrize("struct", sorted(STRUCTS, key=lambda struct: struct.__qualname__), ids=lambda x: x.__name__)
def test_a_value_cannot_be_changed_in_place(struct: Any) -> None:
    assert struct.__struct_config__.frozen


def test_no_module_of_the_domain_was_overlooked() -> None:
    assert {"Amount", "Book", "Fill", "FundingPayment", "FxQuote", "Position", "Posting", "Enter"} <= {
        struct.__name__ for struct in STRUCTS
    }
