"""``kimp status``: how the running trader stands, from what it last said of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kimp.order.commands.options import Desk, Json, Mode
from kimp.shared.cli import console, print_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from kimp.order.runtime.pulse_report import PulseReport

GOOD, BAD = "green", "red"


def status(mode: Mode = "paper", as_json: Json = False) -> None:
    """트레이더의 상태를 봅니다. Show how the running trader stands; code 3 when none runs."""
    from kimp.order.runtime.pulse import read_pulse
    from kimp.storage.feeds.clocks import SystemClock

    report = read_pulse(Desk(mode).place.pulse, SystemClock())
    if as_json:
        print_json(report)
    else:
        _show(console(), report)


def _show(out: Console, report: PulseReport) -> None:
    from kimp.order.commands.figures import clock, won
    from kimp.order.commands.words import said

    out.print(
        f"[bold]{report.mode}[/] · {report.strategy} · {said(report.state)} · 스위치 (switch): {said(report.switch)}",
        style=None if report.switch == "active" and report.state != "halted" else "yellow",
        soft_wrap=True,
    )
    out.print(f"{clock(report.at)} KST, {report.age_ms / 1000:.1f}초 전 (s ago), pid {report.pid}", style="dim")
    out.print(_slots(report))
    out.print(_feeds(report))
    out.print(_venues(report))
    pnl = report.pnl
    out.print(
        f"손익 (pnl): 오늘 (today) {won(pnl.today)}원, 확정 (closed) {won(pnl.closed)}원, 지금 청산하면 (open) "
        f"{won(pnl.open)}원",
        soft_wrap=True,
    )
    if report.mirror is not None:
        mirror = report.mirror
        out.print(f"데이터베이스 사본 (mirror): {mirror.state}, 밀린 기록 (behind) {mirror.lag:,}", soft_wrap=True)
    for part, state in report.parts.items():
        out.print(f"  {part}: {state}", style="dim", markup=False)


def _slots(report: PulseReport) -> Table:
    from rich.table import Table

    from kimp.order.commands.figures import harmless, number, percent, won
    from kimp.order.commands.words import said

    table = Table("코인\ncoin", "상태\nstate", "전략의 말\nthe strategy says")
    for head in ("수량\nquantity", "지금 청산하면 원\nnet now", "손익분기 김프\nbreak-even"):
        table.add_column(head, justify="right")
    for slot in report.slots:
        held = slot.position
        says = "-" if slot.signal is None else f"{said(slot.signal)}: {harmless(said(slot.signal_reason or ''))}"
        table.add_row(
            slot.symbol,
            said("halted" if slot.is_halted else slot.phase),
            says,
            "-" if held is None else number(abs(held.legs[0].quantity)),
            "-" if held is None else won(held.net),
            "-" if held is None else percent(held.break_even_premium),
        )
    return table


def _feeds(report: PulseReport) -> Table:
    from rich.table import Table

    from kimp.order.commands.words import said

    table = Table("시세 (feed)", "상태 (state)")
    table.add_column("나이 ms (age)", justify="right")
    for name, feed in report.feeds.items():
        age = "-" if feed.age_ms is None else f"{feed.age_ms:,}"
        table.add_row(name, f"[{GOOD if feed.state == 'ok' else BAD}]{said(f'feed_{feed.state}')}[/]", age)
    return table


def _venues(report: PulseReport) -> Table:
    from rich.table import Table

    from kimp.order.commands.figures import clock, harmless

    table = Table("거래소 (venue)", "상태 (state)", "시계 차 ms (skew)", "대조 (reconciled)", "일치 (agrees)")
    for name, venue in report.venues.items():
        state = f"[{GOOD}]정상 (available)[/]" if venue.available else f"[{BAD}]응답 없음 (away)[/]"
        agrees = {True: "예 (yes)", False: f"[{BAD}]아니요 (no)[/]", None: "-"}[venue.is_clean]
        table.add_row(
            name,
            f"{state} {harmless(venue.reason)}".strip(),
            "-" if venue.skew_ms is None else f"{venue.skew_ms:+.1f}",
            "-" if venue.reconciled_at is None else clock(venue.reconciled_at),
            agrees,
        )
    return table
