"""``kimp flatten``: close what is held at the market, in two steps, because it may realise a loss."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from kimp.order.commands.options import Desk, Json, Mode
from kimp.shared.cli import console, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kimp.order.operators.mailbox import CloseAnswer, Mailbox
    from kimp.order.runtime.place import TradePlace
    from kimp.shared.errors import KimpError

ANSWER_S_MAX = 15.0
"""A running trader answers within a second; longer means that it hangs."""

CODE_ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
"""Without letters that look like digits: the code is read from a screen and typed."""


def flatten(
    mode: Mode = "paper",
    code: Annotated[str, typer.Option("--confirm", help="1단계에서 받은 코드. The code of the first step.")] = "",
    reason: Annotated[str, typer.Option(help="이유. Why; it is journaled.")] = "",
    as_json: Json = False,
) -> None:
    """보유 페어를 손실이라도 시장가로 청산합니다 (2단계 확인). Close every open pair at the market, even at a loss."""
    place = Desk(mode).place
    slots = _open_slots(place)
    if not code:
        _offer(mode, place, slots, as_json)
    else:
        _close(mode, place, code.strip().upper(), reason or "kimp flatten", as_json)


def _open_slots(place: "TradePlace") -> tuple[str, ...]:
    """What the running trader holds.

    Raises:
        NotRunning: there is no trader to close anything.
    """
    from kimp.order.runtime.pulse import read_pulse
    from kimp.storage.feeds.clocks import SystemClock

    pulse = read_pulse(place.pulse, SystemClock())
    return tuple(slot.slot for slot in pulse.slots if slot.position is not None)


def _offer(mode: str, place: "TradePlace", slots: "Sequence[str]", as_json: bool) -> None:
    import secrets

    from kimp.order.operators.mailbox import Confirmation
    from kimp.storage.feeds.clocks import SystemClock

    if not slots:
        console().print(f"{mode}: 보유한 페어가 없습니다. Nothing is held.") if not as_json else print_json(
            {"slots": []}
        )
        return
    code = "".join(secrets.choice(CODE_ALPHABET) for _ in range(6))
    Confirmation(place.orders, SystemClock()).offer(code, tuple(slots))
    command = f"kimp flatten --mode {mode} --confirm {code}"
    if as_json:
        print_json({"slots": slots, "code": code, "command": command})
        return
    out = console()
    out.print(f"{mode}: 시장가로 청산할 페어 (to be closed at the market): {', '.join(slots)}", soft_wrap=True)
    out.print("⚠️ 손실이 확정될 수 있습니다. 지금 손익: kimp position. This may realise a loss; see: kimp position")
    out.print(f"2분 안에 확인 (confirm within two minutes): {command}", soft_wrap=True)


def _close(mode: str, place: "TradePlace", code: str, reason: str, as_json: bool) -> None:
    from kimp.order.commands.owner import owner
    from kimp.order.operators.mailbox import CloseRequest, Confirmation, Mailbox
    from kimp.order.runtime.switch import FileSwitch
    from kimp.shared.errors import ValidationFailed
    from kimp.shared.messages.events import SwitchState
    from kimp.storage.feeds.clocks import SystemClock

    clock = SystemClock()
    slots = Confirmation(place.orders, clock).take(code)
    if slots is None:
        raise ValidationFailed("that code is wrong, used or older than two minutes; ask again with: kimp flatten")
    # Without the stop the strategy would enter again on the next quote.
    FileSwitch(place.switch, clock).set(SwitchState.REDUCING, owner(), reason)
    mailbox, now = Mailbox(place.orders), clock.now()
    requests = [CloseRequest(f"{now}-{number}", slot, owner(), reason, now) for number, slot in enumerate(slots)]
    for request in requests:
        mailbox.order(request)
    answers = [_answer(mailbox, request.command_id) for request in requests]
    _report(mode, slots, answers, as_json)


def _answer(mailbox: "Mailbox", command_id: str) -> "CloseAnswer":
    from kimp.shared.errors import TimedOut

    until = time.monotonic() + ANSWER_S_MAX
    while time.monotonic() < until:
        answer = mailbox.answered(command_id)
        if answer is not None:
            return answer
        time.sleep(0.1)
    raise TimedOut(
        f"the trader did not answer within {ANSWER_S_MAX:.0f} s; entries are stopped. Look at: kimp status, kimp doctor"
    )


def _report(mode: str, slots: "Sequence[str]", answers: "Sequence[CloseAnswer]", as_json: bool) -> None:
    if as_json:
        print_json({"closed": [{"slot": s, "refusals": a.refusals} for s, a in zip(slots, answers, strict=True)]})
    else:
        for slot, answer in zip(slots, answers, strict=True):
            said = ", ".join(answer.refusals) if answer.refusals else "주문 전송 (orders sent); kimp position 으로 확인"
            console().print(f"{mode}: {slot}: {said}", soft_wrap=True)
    refused = [refusal for answer in answers for refusal in answer.refusals]
    if refused:
        raise _refused(refused)


def _refused(refusals: "Sequence[str]") -> "KimpError":
    from kimp.shared.errors import ValidationFailed

    return ValidationFailed(f"not everything could be closed: {', '.join(refusals)}; entries stay stopped, try again")
