"""Parameters of one request, read the way the venue reads them: text in, numbers out, or the venue's own complaint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from kimp.portfolio.exchange.binance_wire import errors
from kimp.portfolio.exchange.binance_wire.errors import Refusal, VenueError
from kimp.shared.domain.time import MILLISECOND, Nanos

Choice = TypeVar("Choice", bound=StrEnum)

PLAIN_NUMBER = re.compile(r"-?\d{1,20}(\.\d{1,20})?")
NUMBER_RANGE = r"^([0-9]{1,20})(\.[0-9]{1,20})?$"
WHOLE_NUMBER = re.compile(r"-?\d{1,19}")
CLIENT_ID = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}")
CLIENT_ID_RANGE = r"^[\.A-Z\:/a-z0-9_-]{1,36}$"


class Form:
    """Query and body parameters together; a name sent in both is taken from the query, as the venue does."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = fields

    def maybe(self, name: str) -> str | None:
        """The text of a parameter, or nothing when it was not sent.

        Raises:
            Refusal: −1105 sent without a value.
        """
        value = self._fields.get(name)
        if value == "":
            raise Refusal(errors.EMPTY.about(name))
        return value

    def text(self, name: str) -> str:
        """The text of a mandatory parameter.

        Raises:
            Refusal: −1102 missing.
        """
        value = self._fields.get(name)
        if not value:
            raise Refusal(errors.MANDATORY.about(name))
        return value

    def maybe_integer(self, name: str) -> int | None:
        """A whole number, if sent.

        Raises:
            Refusal: −1102 something else.
        """
        value = self.maybe(name)
        if value is None:
            return None
        if not WHOLE_NUMBER.fullmatch(value):
            raise Refusal(errors.MANDATORY.about(name))
        return int(value)

    def integer(self, name: str) -> int:
        """A mandatory whole number."""
        value = self.maybe_integer(name) if self._fields.get(name) else None
        if value is None:
            raise Refusal(errors.MANDATORY.about(name))
        return value

    def maybe_decimal(self, name: str) -> Decimal | None:
        """A plain decimal number, if sent: no exponent, no infinity.

        Raises:
            Refusal: −1100 anything else.
        """
        value = self.maybe(name)
        if value is None:
            return None
        if not PLAIN_NUMBER.fullmatch(value):
            raise Refusal(errors.ILLEGAL_CHARACTERS.about(name, NUMBER_RANGE))
        return Decimal(value)

    def decimal(self, name: str) -> Decimal:
        """A mandatory plain decimal number."""
        value = self.maybe_decimal(name) if self._fields.get(name) else None
        if value is None:
            raise Refusal(errors.MANDATORY.about(name))
        return value

    def maybe_flag(self, name: str) -> bool | None:
        """``true`` or ``false`` in any spelling of case, if sent.

        Raises:
            Refusal: −1130 anything else.
        """
        value = self.maybe(name)
        if value is None:
            return None
        if value.lower() not in ("true", "false"):
            raise Refusal(errors.NOT_VALID.about(name))
        return value.lower() == "true"

    def flag(self, name: str) -> bool:
        """A mandatory flag."""
        self.text(name)
        return bool(self.maybe_flag(name))

    def choice(self, name: str, kind: type[Choice], complaint: VenueError) -> Choice:
        """A mandatory word out of a list.

        Raises:
            Refusal: −1102 missing, ``complaint`` for another word.
        """
        value = self.text(name)
        try:
            return kind(value)
        except ValueError:
            raise Refusal(complaint) from None

    def maybe_client_id(self, name: str) -> str | None:
        """A client's own order id, if sent: at most 36 of the characters the venue allows.

        Raises:
            Refusal: −4015 longer than that, −1100 other characters.
        """
        value = self.maybe(name)
        if value is None or CLIENT_ID.fullmatch(value):
            return value
        raise Refusal(
            errors.BAD_CLIENT_ID if len(value) > 36 else errors.ILLEGAL_CHARACTERS.about(name, CLIENT_ID_RANGE)
        )

    def limit(self, default: int, most: int) -> int:
        """How many records are wanted; more than the venue gives is cut to what it gives.

        Raises:
            Refusal: −1130 none at all.
        """
        value = self.maybe_integer("limit")
        if value is not None and value <= 0:
            raise Refusal(errors.NOT_VALID.about("limit"))
        return default if value is None else min(value, most)

    def period(self) -> tuple[Nanos | None, Nanos | None]:
        """``startTime`` and ``endTime``, both included, in nanoseconds.

        Raises:
            Refusal: −1023 the wrong way round.
        """
        start, end = self.maybe_integer("startTime"), self.maybe_integer("endTime")
        if start is not None and end is not None and start > end:
            raise Refusal(errors.START_AFTER_END)
        return (
            None if start is None else start * MILLISECOND,
            None if end is None else (end + 1) * MILLISECOND - 1,
        )
