"""Why something was done, or not, at a moment: the decision, the figures it hung on, what would have had to differ."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from typing import assert_never

import msgspec

from kimp.order.reading.decision import Answer, Decision
from kimp.order.reading.history import Act, History
from kimp.order.reading.profit import Parts, parts_of
from kimp.shared.domain.instruments import InstrumentId, Side
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.orders import Accepted, Outcome, Rejected, Unknown
from kimp.shared.domain.positions import Action, ExitVerdict, Purpose
from kimp.shared.domain.signals import Direction, Refusal
from kimp.shared.domain.time import MINUTE, Nanos
from kimp.shared.messages.events import SwitchState
from kimp.shared.messages.records import CloseTaken, OrderClosed, OrderLost, OrderOutcome, Phase
from kimp.shared.ports.strategy import Condition

ACT_IS_ANSWER: Nanos = MINUTE
"""For so long after a plan was made, the plan is what the owner asks about."""


class Rule(StrEnum):
    """Whose rule it was: the strategy's, the engine's guards', or that no pair is closed at a loss."""

    STRATEGY = "strategy"
    GUARD = "guard"
    NO_LOSS = "no_loss"


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that would have had to differ: ``actual`` would have to be ``relation`` ``needed``, so it lacks
    ``missing`` (signed). ``premium`` is the premium of leaving at which a net is reached, where that is known.
    """

    rule: Rule
    name: str
    actual: Decimal | None
    relation: str
    needed: Decimal | None
    missing: Decimal | None
    premium: Decimal | None = None
    premium_now: Decimal | None = None


class SentOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One order of a plan and what became of it; ``price`` and fees of what filled, in the quote asset."""

    client_id: str
    instrument_id: InstrumentId
    side: Side
    purpose: Purpose
    sent_at: Nanos
    quantity: Decimal
    limit: Decimal
    reference: Decimal
    outcome: str
    detail: str
    filled: Decimal
    price: Decimal | None
    fee: Decimal


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """A plan that was carried out: what was sent, what filled, where it ended and what it earned."""

    slot: str
    action: Action
    direction: Direction
    reason: str
    decided_at: Nanos
    orders: tuple[SentOrder, ...]
    foreign: Decimal
    ended_at: Nanos | None
    phase: Phase | None
    ending: str | None
    earned: Parts | None


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """The answer for one slot. ``is_about_plan`` says that the moment asked about is that of ``done``.

    ``since`` is when this answer began, ``ordered`` the owner's order to close that the plan follows or that was
    refused. ``decision`` is ``None`` where nothing was kept (before the trader ran, or too long ago); the journal alone
    answers then.
    """

    asked: Nanos
    slot: str
    phase: Phase
    switch: SwitchState
    is_halted: bool
    decision: Decision | None
    since: Nanos | None
    needs: tuple[Need, ...]
    done: Done | None
    is_about_plan: bool
    ordered: CloseTaken | None = None


def why(history: History, decisions: Sequence[Decision], slot: str, asked: Nanos) -> Why:
    """Explain a slot at a moment; ``history`` and ``decisions`` (of that slot, oldest first) end there."""
    last = decisions[-1] if decisions else None
    act = history.last_act(slot)
    known = history.state.slots.get(slot)
    phase = known.phase if known else last.phase if last else Phase.FLAT
    is_under_way = act is not None and not act.is_over
    is_recent = act is not None and asked - _ended_at(act, asked) <= ACT_IS_ANSWER
    return Why(
        asked=asked,
        slot=slot,
        phase=phase,
        switch=history.state.switch if history.switched or last is None else last.switch,
        is_halted=known.is_halted if known else False,
        decision=last,
        since=_since(decisions),
        needs=() if last is None else needs_of(last),
        done=None if act is None else done_of(act),
        is_about_plan=is_under_way or is_recent,
        ordered=_ordered(history, slot, act, asked),
    )


def _ordered(history: History, slot: str, act: Act | None, asked: Nanos) -> CloseTaken | None:
    decided_at = None if act is None else act.plan.decided_at
    for order in reversed(history.orders_closed):
        if order.slot == slot and (order.at == decided_at or asked - order.at <= ACT_IS_ANSWER):
            return order
    return None


def needs_of(decision: Decision) -> tuple[Need, ...]:
    """Everything that would have had to differ for something to be done; nothing where something was."""
    if decision.answer in (Answer.ENTER, Answer.EXIT) and not decision.refusals:
        return ()  # and the guards were read after it: orders in flight and this very entry count there
    verdict = decision.verdict
    strategy = [_need(Rule.STRATEGY, one, verdict) for one in decision.conditions if not one.holds]
    guards = [_need(Rule.GUARD, one, None) for one in decision.guards if not one.holds]
    if decision.answer is Answer.UNDECIDED:
        return tuple(guards)
    no_loss = []
    if verdict is not None and Refusal.NET_NOT_POSITIVE.value in decision.refusals:
        is_worst = verdict.net is not None and verdict.net > ZERO
        name, figure = ("worst_net", verdict.worst_net) if is_worst else ("net", verdict.net)
        no_loss = [_need(Rule.NO_LOSS, Condition(name, figure, ">", ZERO, False), verdict)]
    return (*no_loss, *strategy, *guards)


def _need(rule: Rule, one: Condition, verdict: ExitVerdict | None) -> Need:
    missing = None if one.actual is None or one.needed is None else one.needed - one.actual
    premium = None
    if verdict is not None and one.name in ("net", "net_target", "breakout_net") and one.needed is not None:
        premium = premium_for(verdict, one.needed)
    return Need(
        rule=rule,
        name=one.name,
        actual=one.actual,
        relation=one.relation,
        needed=one.needed,
        missing=missing,
        premium=premium,
        premium_now=None if premium is None or verdict is None else verdict.premium_now,
    )


def premium_for(verdict: ExitVerdict, net: Decimal) -> Decimal | None:
    """The premium of leaving (usdt basis) at which ``net`` KRW would be earned, the perpetual staying where it is.

    The net is a straight line in the Korean price, and two of its points are known: now, and break-even.
    """
    now, even, figure = verdict.premium_now, verdict.break_even_premium, verdict.net
    if now is None or even is None or not figure:
        return None
    return even + (now - even) * net / figure


def done_of(act: Act) -> Done:
    """What became of a plan."""
    plan, last = act.plan, act.phases[-1] if act.phases else None
    ours = {intent.order.client_id for intent in act.intents}
    foreign = [record.fill for record in act.fills if record.fill.client_id not in ours]
    return Done(
        slot=act.slot,
        action=plan.action,
        direction=plan.direction,
        reason=plan.reason,
        decided_at=plan.decided_at,
        orders=tuple(_sent(act, number) for number in range(len(act.intents))),
        foreign=sum((fill.quantity for fill in foreign), ZERO),
        ended_at=last.at if last is not None and act.is_over else None,
        phase=None if last is None else last.phase,
        ending=None if last is None else last.reason,
        earned=None if act.end is None else parts_of(act.end.breakdown),
    )


def _sent(act: Act, number: int) -> SentOrder:
    intent = act.intents[number]
    order = intent.order
    fills = [record.fill for record in act.fills if record.fill.client_id == order.client_id]
    filled = sum((fill.quantity for fill in fills), ZERO)
    paid = sum((fill.quantity * fill.price for fill in fills), ZERO)
    outcome, detail = _outcome(act.answers.get(order.client_id))
    return SentOrder(
        client_id=order.client_id,
        instrument_id=order.instrument_id,
        side=order.side,
        purpose=intent.purpose,
        sent_at=intent.at,
        quantity=order.quantity,
        limit=order.limit,
        reference=intent.reference,
        outcome=outcome,
        detail=detail,
        filled=filled,
        price=paid / filled if filled else None,
        fee=sum((fill.fee.value for fill in fills), ZERO),
    )


def _outcome(answer: OrderOutcome | OrderClosed | OrderLost | None) -> tuple[str, str]:
    match answer:
        case None:
            return "waiting", ""
        case OrderClosed():
            return "done", ""
        case OrderLost():
            return "lost", ""
        case OrderOutcome(outcome=outcome):
            return _answered(outcome)
        case _:
            assert_never(answer)


def _answered(outcome: Outcome) -> tuple[str, str]:
    match outcome:
        case Accepted():
            return "accepted", ""
        case Rejected(code=code, reason=reason):
            return "rejected", f"{code}: {reason}" if reason else code
        case Unknown(reason=reason):
            return "unknown", reason
        case _:
            assert_never(outcome)


def _ended_at(act: Act, asked: Nanos) -> Nanos:
    return act.phases[-1].at if act.is_over else asked


def _since(decisions: Sequence[Decision]) -> Nanos | None:
    """When the last answer began: as far back as rows say the same."""
    since = None
    for row in reversed(decisions):
        if _gist(row) != _gist(decisions[-1]):
            break
        since = row.at
    return since


def _gist(row: Decision) -> tuple[Answer, str, tuple[str, ...]]:
    return row.answer, row.reason, row.refusals
