"""The journal as a stranger reads it: SQLite rows and JSON, none of the project's own code."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

PHASE_OF = {"enter": "entering", "exit": "exiting", "repair": "repairing"}
Facts = dict[str, Any]


@dataclass(slots=True)
class Intent:
    """An order that was meant to leave, and what is proven of it."""

    at: int
    order: Facts
    signal_id: str
    purpose: str
    plan: str
    answers: list[str] = field(default_factory=list)
    closed: Decimal | None = None
    is_lost: bool = False
    filled: Decimal = Decimal(0)

    @property
    def is_settled(self) -> bool:
        """Whether the journal says how it ended, and has every fill it speaks of."""
        if self.is_lost:
            return True
        if self.closed is None:
            return "rejected" in self.answers and self.filled == 0
        return self.filled >= self.closed

    @property
    def was_unknown(self) -> bool:
        """Whether nobody knew at some time: no answer, or one that said nothing."""
        return not self.answers or "unknown" in self.answers


@dataclass(slots=True)
class JournalFacts:
    """Everything read so far; :meth:`catch_up` reads on. ``complaints`` are things no later record can make right."""

    path: Path
    sequence: int = 0
    intents: dict[str, Intent] = field(default_factory=dict)
    plans: list[Facts] = field(default_factory=list)
    fills: dict[tuple[str, str], Facts] = field(default_factory=dict)
    funding: dict[str, Facts] = field(default_factory=dict)
    funds: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    switches: list[tuple[int, str]] = field(default_factory=list)
    complaints: list[tuple[str, str]] = field(default_factory=list)
    given_up: set[str] = field(default_factory=set)
    consumed: set[str] = field(default_factory=set)
    phase: str = "flat"
    current: str = ""

    def catch_up(self) -> None:
        """Read what was appended since; the process that wrote it is dead or still writes, it does not matter."""
        if not self.path.exists():
            return
        for sequence, kind, body in self._rows():
            if sequence != self.sequence + 1:
                self.complaints.append(("journal", f"record {self.sequence + 1} is missing"))
            self.sequence = sequence
            self._take(kind, json.loads(body, parse_float=Decimal))

    def _rows(self) -> Iterator[tuple[int, str, bytes]]:
        uri = f"{self.path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=5)) as file:
            if not file.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'records'").fetchone()[0]:
                return
            query = "SELECT sequence, kind, body FROM records WHERE sequence > ? ORDER BY sequence"
            yield from file.execute(query, (self.sequence,)).fetchall()

    def unsettled(self) -> list[str]:
        """Orders nobody knows the end of."""
        return [client_id for client_id, intent in self.intents.items() if not intent.is_settled]

    def _take(self, kind: str, body: Facts) -> None:
        taker = getattr(self, f"_{kind}", None)
        if taker is not None:
            taker(body)

    def _PlanMade(self, body: Facts) -> None:  # noqa: N802  # named like the record
        plan = body["plan"]
        self.current = plan["signal_id"]
        if self.current in self.consumed:
            self.complaints.append(("exactly_once", f"{self.current} was decided on twice"))
        self.consumed.add(self.current)
        if plan["action"] == "enter":
            waiting = self.unsettled()
            if waiting:
                self.complaints.append(("one_attempt", f"{self.current} entered while {waiting} were not settled"))
            if self.phase != "flat":
                self.complaints.append(("one_attempt", f"{self.current} entered while {self.phase}"))
            if self.switches and self.switches[-1][1] != "active":
                self.complaints.append(("stop", f"{self.current} entered after the stop"))
        self.phase = PHASE_OF[plan["action"]]
        self.plans.append(plan | {"number": self.sequence})

    def _OrderIntended(self, body: Facts) -> None:  # noqa: N802
        client_id = body["order"]["client_id"]
        if client_id in self.intents:
            self.complaints.append(("exactly_once", f"{client_id} was intended twice"))
        self.intents[client_id] = Intent(body["at"], body["order"], body["signal_id"], body["purpose"], self.current)

    def _OrderOutcome(self, body: Facts) -> None:  # noqa: N802
        if body["client_id"] in self.intents:
            self.intents[body["client_id"]].answers.append(body["outcome"]["type"])

    def _OrderClosed(self, body: Facts) -> None:  # noqa: N802
        if body["client_id"] in self.intents:
            intent = self.intents[body["client_id"]]
            intent.closed, intent.is_lost = Decimal(body["executed"]), False

    def _OrderLost(self, body: Facts) -> None:  # noqa: N802
        self.intents[body["client_id"]].is_lost = True
        self.given_up.add(body["client_id"])

    def _FillBooked(self, body: Facts) -> None:  # noqa: N802
        fill = body["fill"]
        key = (fill["instrument_id"], fill["trade_id"])
        if key in self.fills:
            self.complaints.append(("exactly_once", f"trade {key} was booked twice"))
        self.fills[key] = body
        if fill["client_id"] in self.intents:
            self.intents[fill["client_id"]].filled += Decimal(fill["quantity"])

    def _FundingBooked(self, body: Facts) -> None:  # noqa: N802
        id_ = body["payment"]["payment_id"]
        if id_ in self.funding:
            self.complaints.append(("exactly_once", f"funding {id_} was booked twice"))
        self.funding[id_] = body

    def _FundsBooked(self, body: Facts) -> None:  # noqa: N802
        key = (body["venue"], body["amount"]["asset"])
        self.funds[key] = self.funds.get(key, Decimal(0)) + Decimal(body["amount"]["value"])

    def _PhaseEntered(self, body: Facts) -> None:  # noqa: N802
        self.phase = body["phase"]

    def _SwitchSet(self, body: Facts) -> None:  # noqa: N802
        self.switches.append((body["at"], body["state"]))
