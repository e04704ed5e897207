"""Which ways through the engine a storm has really taken: a branch that never fires proves nothing."""

from __future__ import annotations

from collections import Counter

from kimp.research.simulation.world import World
from kimp.shared.domain.orders import Accepted, Rejected, Unknown
from kimp.shared.domain.positions import Purpose
from kimp.shared.messages.records import FillBooked, FundingBooked, OrderIntended, OrderLost, OrderOutcome, PhaseEntered

OUTCOMES = {Accepted: "accepted", Rejected: "rejected", Unknown: "unknown"}


def branches_of(world: World) -> Counter[str]:
    """How often each branch was taken, from the journal and the notices."""
    taken: Counter[str] = Counter()
    for record in world.records:
        match record:
            case OrderIntended(purpose=purpose):
                taken[purpose.value] += 1
            case OrderOutcome(outcome=outcome):
                taken[OUTCOMES[type(outcome)]] += 1
            case OrderLost():
                taken["lost"] += 1
            case PhaseEntered(phase=phase, reason=reason):
                taken[f"{phase.value}:{reason}"] += 1
            case FillBooked(purpose=Purpose.FOREIGN):
                taken["foreign_fill"] += 1
            case FundingBooked():
                taken["funding"] += 1
            case _:
                pass
    for told in world.notices:
        taken[type(told.notice).__name__] += 1
    for desk in world.engine.desks:
        for refusal, count in desk.refusals.items():
            taken[f"refused:{refusal}"] += count
    return taken
