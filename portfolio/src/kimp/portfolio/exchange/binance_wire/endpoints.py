"""What an endpoint is: where it stands, what it costs, who may ask, and who answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from kimp.portfolio.exchange.binance_wire.forms import Form
from kimp.portfolio.exchange.binance_wire.keys import ApiKey


class Security(Enum):
    """Binance, "General Info", Endpoint Security Type."""

    NONE = auto()
    KEY = auto()
    """USER_STREAM, MARKET_DATA: the key alone."""
    USER_DATA = auto()
    """Key, signature and time."""
    TRADE = auto()
    """The same, with a key that may trade."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that has passed everything in front of its endpoint."""

    form: Form
    key_name: str = ""
    key: ApiKey | None = None


Answerer = Callable[[Asked], Any]
Weight = int | Callable[[Form], int]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path; ``answer`` returns what becomes JSON, or raises ``Refusal``."""

    method: str
    path: str
    weight: Weight
    security: Security
    answer: Answerer
    is_order: bool = False
    """Counts as a new order."""

    def cost(self, form: Form) -> int:
        """What this request weighs."""
        return self.weight if isinstance(self.weight, int) else self.weight(form)
