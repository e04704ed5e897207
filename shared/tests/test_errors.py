"""The exception tree: every error has an exit code that scripts can rely on."""

import pytest

from kimp.shared import errors
from kimp.shared.errors import KimpError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.KimpError, 1),
        (errors.UnitMismatch, 1),
        (errors.NotRunning, 3),
        (errors.ConfigurationError, 4),
        (errors.TimedOut, 5),
        (errors.DataError, 6),
        (errors.ValidationFailed, 6),
    ],
)
def test_every_error_carries_its_exit_code(error: type[KimpError], code: int) -> None:
    assert error("what, where, what to do").exit_code == code


def test_mixed_units_are_a_type_error_to_the_rest_of_the_world() -> None:
    with pytest.raises(TypeError, match="KRW and USDT"):
        raise errors.UnitMismatch("cannot add KRW and USDT")


def test_the_tree_in_the_docstring_names_every_error() -> None:
    named = [name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, KimpError)]
    assert errors.__doc__ is not None
    for name in named:
        assert name in errors.__doc__
