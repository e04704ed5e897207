"""What one setting is made of: its explanation, and the text that must not be seen."""

from dataclasses import dataclass
from decimal import Decimal
from typing import NoReturn


@dataclass(frozen=True, slots=True)
class Setting:
    """What a reader has to know about one setting: why it is there, its unit and its limits (both included)."""

    meaning: str
    unit: str = ""
    at_least: Decimal | int | None = None
    at_most: Decimal | int | None = None


class SecretStr:
    """Text that shows itself to nobody: printing, logging and formatting give asterisks.

    Truthy when a secret is there at all. There is no encoder for it, so it cannot slip into a journal or a ``--json``.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str = "") -> None:
        self._value = value

    def get_secret_value(self) -> str:
        """The secret itself; call this at the last moment, where it is signed or sent."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretStr) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __str__(self) -> str:
        return "**********" if self._value else ""

    def __repr__(self) -> str:
        return f"SecretStr({str(self)!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled: a pickle is a file")


Fraction = Decimal
"""0.03 is three percent."""
