"""The owner's orders reach the trader once, are answered, and never outlive the moment they were meant for."""

import asyncio
from pathlib import Path

from kimp.order.operators.mailbox import (
    CODE_VALID_FOR,
    UNTAKEN_AFTER,
    VALID_FOR,
    CloseAnswer,
    CloseRequest,
    Confirmation,
    Mailbox,
    Postman,
)
from kimp.shared.domain.time import SECOND
from kimp.shared.messages.events import CloseOrdered

NOW = 1_700_000_000 * SECOND


class StoppedClock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> int:
        return self.at

    async def sleep_until(self, at: int) -> None:
        self.at = max(self.at, at)


class Office:
    """A mailbox with a postman and an engine that takes what it is told to take."""

    def __init__(self, directory: Path) -> None:
        self.mailbox, self.clock = Mailbox(directory), StoppedClock()
        self.commands: dict[str, tuple[str, ...]] = {}
        self.delivered: list[CloseOrdered] = []

        async def deliver(event: CloseOrdered) -> None:
            self.delivered.append(event)

        self.postman = Postman(self.mailbox, self.commands, deliver, self.clock)

    def look(self) -> None:
        asyncio.run(self.postman.look())

    def order(self, command_id: str = "c1", at: int = NOW) -> None:
        self.mailbox.order(CloseRequest(command_id, "kimp:BTC", "owner", "why not", at))


def test_an_order_is_delivered_once_and_answered_when_it_was_taken(tmp_path: Path) -> None:
    office = Office(tmp_path)
    office.order()
    office.look()
    office.look()
    assert [event.command_id for event in office.delivered] == ["c1"]
    assert office.mailbox.answered("c1") is None
    office.commands["c1"] = ()
    office.look()
    assert office.mailbox.answered("c1") == CloseAnswer("c1", NOW, ())
    assert office.mailbox.waiting() == []


def test_a_refusal_reaches_the_owner(tmp_path: Path) -> None:
    office = Office(tmp_path)
    office.order()
    office.look()
    office.commands["c1"] = ("book_stale",)
    office.look()
    answer = office.mailbox.answered("c1")
    assert answer is not None
    assert answer.refusals == ("book_stale",)


def test_an_order_from_before_the_trader_was_down_is_not_followed(tmp_path: Path) -> None:
    office = Office(tmp_path)
    office.order(at=NOW - VALID_FOR - 1)
    office.look()
    assert office.delivered == []
    answer = office.mailbox.answered("c1")
    assert answer is not None
    assert answer.refusals == ("too_old",)


def test_an_order_nobody_took_is_answered_too(tmp_path: Path) -> None:
    office = Office(tmp_path)
    office.order()
    office.look()
    office.clock.at += UNTAKEN_AFTER + 1
    office.look()
    answer = office.mailbox.answered("c1")
    assert answer is not None
    assert answer.refusals == ("no_such_slot",)


def test_a_restarted_trader_answers_what_it_had_taken_before(tmp_path: Path) -> None:
    office = Office(tmp_path)
    office.order()
    office.commands["c1"] = ()
    office.look()
    assert office.delivered == []
    assert office.mailbox.answered("c1") is not None


def test_half_an_order_is_put_aside_and_the_others_are_read(tmp_path: Path) -> None:
    office = Office(tmp_path)
    (tmp_path / "torn.order.json").write_bytes(b'{"command_id": "to')
    office.order()
    office.look()
    assert [event.command_id for event in office.delivered] == ["c1"]
    assert (tmp_path / "torn.order.unreadable").exists()


def test_a_code_is_good_once_for_what_it_was_shown_for_and_not_for_long(tmp_path: Path) -> None:
    clock = StoppedClock()
    confirmation = Confirmation(tmp_path, clock)
    assert confirmation.take("ABC") is None
    confirmation.offer("ABC", ("kimp:BTC",))
    assert confirmation.take("XYZ") is None
    assert confirmation.take("ABC") == ("kimp:BTC",)
    assert confirmation.take("ABC") is None
    confirmation.offer("ABC", ("kimp:BTC",))
    clock.at += CODE_VALID_FOR + 1
    assert confirmation.take("ABC") is None
