"""Why an entry that the strategy wants does not happen. Exits and repairs pass none of these gates."""

from __future__ import annotations

from kimp.order.engine.settings import EngineSettings
from kimp.order.engine.state import EngineState, Slot
from kimp.shared.domain.signals import Refusal
from kimp.shared.domain.time import MINUTE, Nanos
from kimp.shared.messages.events import SwitchState


def entry_refusals(state: EngineState, slot: Slot, settings: EngineSettings, now: Nanos) -> tuple[Refusal, ...]:
    """Every reason of our own (switch, halt, pace, doubt) not to open or add to a position now."""
    refusals: list[Refusal] = []
    if state.switch is not SwitchState.ACTIVE:
        refusals.append(Refusal.STOPPED)
    if slot.is_halted:
        refusals.append(Refusal.HALTED)
    if slot.cooling_from is not None and now < slot.cooling_from + settings.cooldown:
        refusals.append(Refusal.COOLING_DOWN)
    if sum(1 for at in state.entry_times if at > now - MINUTE) >= settings.entries_per_minute_max:
        refusals.append(Refusal.RATE_CAPPED)
    if state.unsettled:
        refusals.append(Refusal.ORDER_UNKNOWN)
    return tuple(refusals)
