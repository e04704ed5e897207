"""``kimp why``: why something was done or not done at a moment, and what would have had to differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kimp.order.commands.options import Desk, Json, Mode, moment
from kimp.shared.cli import console, print_json
from kimp.shared.errors import NotRunning

if TYPE_CHECKING:
    from rich.console import Console

    from kimp.order.reading.decision import Decision
    from kimp.order.reading.why import Done, Need, Why
    from kimp.shared.messages.records import CloseTaken

LOOKED_BACK_ROWS = 500
"""Rows read to say since when an answer stands: hours of an unchanged one."""


def why(
    time: Annotated[
        str, typer.Argument(help='시각(KST). When: "2026-11-20 21:00", 21:00, ISO 8601, 10m (ago), now.')
    ] = "now",
    mode: Mode = "paper",
    as_json: Json = False,
) -> None:
    """왜 사고팔았는지, 왜 기다렸는지 봅니다. Why it traded or waited then, and what would have had to differ."""
    from kimp.order.reading.why import why as explain
    from kimp.order.runtime.decisions import read_decisions

    desk = Desk(mode)
    asked = moment(time, "TIME", desk.now)
    assert asked is not None
    history = desk.history(asked)
    slots = dict.fromkeys((*history.state.slots, *desk.last_decisions()))
    answers = []
    for slot in slots:
        rows = read_decisions(desk.place.journal, until=asked, slot=slot, limit=LOOKED_BACK_ROWS)
        if rows or history.last_act(slot):
            answers.append(explain(history, rows, slot, asked))
    if not answers:
        raise NotRunning(f"nothing was decided in mode {mode} up to then; start it with: kimp trade --mode {mode}")
    if as_json:
        print_json({"mode": mode, "slots": [_facts(answer) for answer in answers]})
        return
    for answer in answers:
        _show(console(), answer)


def _facts(answer: Why) -> dict[str, Any]:
    from msgspec.structs import asdict

    from kimp.order.commands.figures import iso
    from kimp.order.commands.sentences import sentence

    seen = answer.decision
    return {
        "asked": iso(answer.asked),
        "slot": answer.slot,
        "phase": answer.phase,
        "switch": answer.switch,
        "is_halted": answer.is_halted,
        "since": iso(answer.since),
        "decision": None if seen is None else asdict(seen) | {"at": iso(seen.at)},
        "needs": [asdict(need) | dict(zip(("ko", "en"), sentence(need), strict=True)) for need in answer.needs],
        "done": None if answer.done is None else _done_facts(answer.done),
        "is_about_plan": answer.is_about_plan,
        "ordered": None if answer.ordered is None else asdict(answer.ordered) | {"at": iso(answer.ordered.at)},
    }


def _done_facts(done: Done) -> dict[str, Any]:
    from msgspec.structs import asdict

    from kimp.order.commands.figures import iso

    orders = [asdict(order) | {"sent_at": iso(order.sent_at)} for order in done.orders]
    return asdict(done) | {
        "decided_at": iso(done.decided_at),
        "ended_at": iso(done.ended_at),
        "orders": orders,
    }


def _show(out: Console, answer: Why) -> None:
    from kimp.order.commands.words import said
    from kimp.shared.domain.time import show

    coin = answer.slot.rpartition(":")[2]
    out.print(f"[bold]{coin}[/] · {show(answer.asked)} · {said(answer.phase.value)}", soft_wrap=True)
    if answer.ordered is not None:
        _show_order(out, answer.ordered)
    if answer.done is not None and answer.is_about_plan:
        _show_done(out, answer.done)
    if answer.decision is None:
        out.print(
            "이 시각의 판단 기록이 없습니다: 원장만 봅니다. No record of what was considered then, only the journal."
        )
    else:
        _show_decision(out, answer, answer.decision)
    if answer.done is not None and not answer.is_about_plan:
        out.print("마지막 실행 (last carried out):")
        _show_done(out, answer.done)
    out.print()


def _show_order(out: Console, ordered: CloseTaken) -> None:
    from kimp.order.commands.figures import clock
    from kimp.order.commands.words import said

    out.print(
        f"{clock(ordered.at)} 소유자의 청산 지시 (ordered by the owner): {ordered.actor}, {ordered.reason}",
        soft_wrap=True,
        markup=False,
    )
    for code in ordered.refusals:
        out.print(f"  실행하지 못함 (could not be followed): {said(code)}", soft_wrap=True, markup=False)


def _show_decision(out: Console, answer: Why, seen: Decision) -> None:
    from kimp.order.commands.figures import LIVE_S_MAX, ago, percent
    from kimp.order.commands.sentences import told
    from kimp.order.commands.words import both
    from kimp.shared.domain.time import SECOND

    (answer_ko, answer_en), (reason_ko, reason_en) = both(seen.answer.value), both(seen.reason)
    out.print(f"판단: {answer_ko} - {reason_ko}", soft_wrap=True, markup=False)
    out.print(f"decision: {answer_en} - {reason_en}", style="dim", soft_wrap=True, markup=False)
    age_ko, age_en = ago(answer.asked - seen.at)
    since_ko, since_en = ago(answer.asked - (answer.since or seen.at))
    out.print(
        f"  {age_ko} 전 기록, {since_ko} 전부터 같은 답 (written {age_en} ago, the same for {since_en})", style="dim"
    )
    figures = seen.figures
    out.print(
        f"  진입 김프 {percent(figures.fx_enter)} (테더 기준 {percent(figures.usdt_enter)}), "
        f"청산 김프 {percent(figures.fx_leave)} (테더 기준 {percent(figures.usdt_leave)}), "
        f"펀딩 {percent(figures.funding_rate, 4)}",
        soft_wrap=True,
    )
    for one in seen.conditions:
        out.print(f"  {'✓' if one.holds else '✗'} {told(one)}", soft_wrap=True, markup=False)
    _show_needs(out, seen, answer.needs)
    if answer.asked - seen.at > LIVE_S_MAX * SECOND:
        out.print(
            "그 시각에는 트레이더가 돌지 않았습니다: 그 전의 마지막 판단입니다. "
            "The trader did not run then: this is the last decision before.",
            style="yellow",
            soft_wrap=True,
        )


def _show_needs(out: Console, seen: Decision, needs: tuple[Need, ...]) -> None:
    from kimp.order.commands.sentences import need_of_refusal, sentence
    from kimp.order.commands.words import both

    lines = [sentence(need) for need in needs]
    for code in seen.refusals:
        todo, (name_ko, name_en) = need_of_refusal(code), both(code)
        if todo is not None:
            lines.append((f"{name_ko}: {todo[0]}", f"{name_en}: {todo[1]}"))
    if not lines:
        return
    out.print("달라졌어야 할 것 (what would have had to differ):")
    for korean, english in lines:
        out.print(f"  • {korean}", soft_wrap=True, markup=False)
        out.print(f"    {english}", style="dim", soft_wrap=True, markup=False)


def _show_done(out: Console, done: Done) -> None:
    from rich.table import Table

    from kimp.order.commands.figures import clock, harmless, money, number
    from kimp.order.commands.words import said

    out.print(
        f"{clock(done.decided_at)} {said(done.action.value)}: {said(done.reason)}, {said(done.direction.value)}",
        soft_wrap=True,
        markup=False,
    )
    table = Table("주문\norder", "방향\nside", "목적\npurpose")
    for head in ("수량\nquantity", "지정가\nlimit", "체결\nfilled", "평균가\nprice"):
        table.add_column(head, justify="right")
    table.add_column("결과\noutcome")
    for order in done.orders:
        venue, _, symbol = order.instrument_id.partition(":")
        asset = "KRW" if venue == "upbit" else "USDT"
        table.add_row(
            f"{venue} {symbol}",
            said(order.side.value),
            said(order.purpose.value),
            number(order.quantity),
            money(order.limit, asset),
            number(order.filled),
            money(order.price, asset),
            said(order.outcome) + (f" {harmless(order.detail)}" if order.detail else ""),
        )
    out.print(table)
    _show_end(out, done)


def _show_end(out: Console, done: Done) -> None:
    from kimp.order.commands.figures import clock, won
    from kimp.order.commands.words import both, said

    if done.foreign:
        out.print(f"  주문하지 않은 체결이 섞였습니다 (fills nobody ordered): {done.foreign:f}")
    if done.ended_at is not None and done.phase is not None and done.ending is not None:
        out.print(f"  {clock(done.ended_at)} {said(done.phase.value)}: {said(done.ending)}")
    if done.earned is not None:
        parts = done.earned
        label = "" if parts.net >= 0 else f" - 손실 원인 (cause of the loss): {' / '.join(both(done.ending or ''))}"
        out.print(
            f"  순손익 (net) {won(parts.net)}원 = 김프 (premium) {won(parts.premium)} + 환율 (fx) {won(parts.fx)} + 펀딩 "
            f"(funding) {won(parts.funding)} + 수수료 (fees) {won(parts.fees)} + 슬리피지 (slippage) {won(parts.slippage)}"
            f"{label}",
            soft_wrap=True,
        )
