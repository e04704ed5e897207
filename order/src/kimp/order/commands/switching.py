"""``kimp stop`` and ``kimp resume``: the owner's switch, which works whether the trader runs or not."""

from typing import TYPE_CHECKING, Annotated

import typer

from kimp.order.commands.options import Desk, Json, Mode
from kimp.shared.cli import console, print_json

if TYPE_CHECKING:
    from kimp.order.runtime.switch import SwitchAct
    from kimp.shared.messages.events import SwitchState


def stop(
    mode: Mode = "paper",
    reason: Annotated[str, typer.Option(help="이유. Why; it is journaled.")] = "",
    is_halt: Annotated[
        bool, typer.Option("--halt", help="완전 정지로 표시. Mark as halted, not only reducing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """신규 진입을 멈춥니다. 청산과 복구는 계속됩니다. Stop entries; exits and repairs go on."""
    from kimp.shared.messages.events import SwitchState

    _turn(mode, SwitchState.HALTED if is_halt else SwitchState.REDUCING, reason or "kimp stop", as_json)


def resume(
    mode: Mode = "paper",
    reason: Annotated[str, typer.Option(help="이유. Why; it is journaled.")] = "",
    is_sure: Annotated[bool, typer.Option("--yes", help="묻지 않고 재개. Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """신규 진입을 다시 허용합니다. 복구 실패로 멈춘 것도 풀립니다. Allow entries again, also after a failed repair."""
    import sys

    from kimp.shared.errors import ValidationFailed
    from kimp.shared.messages.events import SwitchState

    if not is_sure:
        if not sys.stdin.isatty():
            raise ValidationFailed("resuming wants to be confirmed: add --yes, or type it on a terminal")
        if not typer.confirm(f"{mode}: 신규 진입을 다시 허용할까요? Allow entries again?"):
            raise ValidationFailed("not confirmed; entries stay stopped")
    _turn(mode, SwitchState.ACTIVE, reason or "kimp resume", as_json)


def _turn(mode: str, state: "SwitchState", reason: str, as_json: bool) -> None:
    from kimp.order.commands.owner import owner
    from kimp.order.runtime.switch import FileSwitch
    from kimp.storage.feeds.clocks import SystemClock

    act = FileSwitch(Desk(mode).place.switch, SystemClock()).set(state, owner(), reason)
    if as_json:
        print_json(act)
    else:
        console().print(_said(mode, act), soft_wrap=True)


def _said(mode: str, act: "SwitchAct") -> str:
    from kimp.shared.domain.time import show
    from kimp.shared.messages.events import SwitchState

    texts = {
        SwitchState.ACTIVE: "✅ 신규 진입을 허용합니다 (entries allowed)",
        SwitchState.REDUCING: "🛑 신규 진입을 멈췄습니다. 청산·복구는 계속됩니다 (entries stopped; exits, repairs go on)",
        SwitchState.HALTED: "🚨 정지했습니다. 청산과 복구는 계속됩니다 (halted; exits and repairs go on)",
    }
    return f"{mode}: {texts[act.state]}\n{show(act.at)}  {act.by}  {act.reason}"
