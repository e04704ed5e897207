"""What happened, in the end, as a page in both languages for people."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from shlex import quote

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kimp.portfolio.demo.facts import (
    PARTS,
    artefacts_of,
    books_agree,
    forced_losses_of,
    losses_of,
    mishaps_of,
    part_of,
    sent_once,
)
from kimp.portfolio.demo.screen import short_span
from kimp.portfolio.demo.show import Played
from kimp.research.backtest.report.labels import Label
from kimp.research.backtest.report.numerals import signed_percent, signed_won, won
from kimp.shared.domain.time import MINUTE, show

HEADINGS = (
    "\n",
    "보유\nheld",
    "김프\npremium",
    "환율\nfx",
    "펀딩\nfunding",
    "수수료\nfees",
    "슬리피지\nslippage",
    "순손익\nnet",
)

Finding = tuple[bool, Label]


def print_summary(played: Played, console: Console) -> None:
    """The page at the end."""
    console.print(_heading(played))
    console.print(_table(played))
    page = Table.grid(padding=(0, 1, 0, 0))
    for is_good, sentence in _findings(played):
        mark = Text("✔", "green") if is_good else Text("✘", "bold red")
        page.add_row(mark, Text(sentence.ko).append(f"\n{sentence.en}", "dim"))
    console.print(page)
    _print_places(played, console)


def _heading(played: Played) -> Text:
    scenario = played.stage.scenario
    first, last = played.equity
    change = last / first - 1 if first else 0.0
    minutes = (played.stage.clock.now() - scenario.start) // MINUTE
    text = Text("\n요약 What happened\n", "bold")
    text.append("보여 주려고 고른 모의 시장입니다. A simulated market, chosen for showing.\n", "not bold yellow")
    text.append(f"seed {scenario.seed}, {show(scenario.start)[:16]} KST, {scenario.speed}×\n", "not bold dim")
    text.append(f"{minutes}분 minutes, {played.elapsed_s:.0f}초 s: {won(first)} → {won(last)} ", "not bold")
    return text.append(f"({signed_percent(change)})\n", "not bold green" if change >= 0 else "not bold red")


def _table(played: Played) -> Table:
    """One row a pair, and their sum."""
    closed = played.engine.desks[0].slot.closed
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for column, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="left" if column < 2 else "right", no_wrap=True)
    for number, pair in enumerate(closed, 1):
        held = short_span(pair.closed_at - pair.position.opened_at)
        table.add_row(str(number), held, *(f"{part_of(pair, part):+z,.0f}" for part in PARTS))
    sums = (sum((part_of(pair, part) for pair in closed), Decimal(0)) for part in PARTS)
    table.add_row("합", "", *(f"{total:+z,.0f}" for total in sums), style="bold")
    return table


def _findings(played: Played) -> Iterable[Finding]:
    yield from _never_at_a_loss(played)
    yield from _refused(played)
    yield from _mishaps(played)
    agrees, copied = books_agree(played), played.copied
    yield (
        agrees,
        Label(
            "두 거래소의 잔고와 우리 장부가 마지막 자리까지 같습니다." if agrees else "거래소 잔고와 장부가 다릅니다!",
            "Both venues' balances equal our ledger to the last digit." if agrees else "Venues and ledger DISAGREE!",
        ),
    )
    rows = sum(copied.rows.values())
    yield (
        copied.agrees,
        Label(
            f"원장 {copied.records}건 = 데이터베이스 {rows}행."
            if copied.agrees
            else "데이터베이스 사본이 원장과 다릅니다!",
            f"The database's copy ({rows} rows) equals the journal ({copied.records} records)."
            if copied.agrees
            else f"The database's copy DIFFERS: {copied.copied} of {copied.records} records, {copied.differing} rows.",
        ),
    )
    if not played.is_quiet:
        yield False, Label("끝날 때까지 정리되지 않은 것이 있습니다.", "Something was still under way at the end.")


def _never_at_a_loss(played: Played) -> Iterable[Finding]:
    losses, forced = losses_of(played), forced_losses_of(played)
    closed = len(played.engine.desks[0].slot.closed)
    if not losses:
        yield (
            closed > 0,
            Label(
                f"{closed}쌍을 닫았고, 손실로 닫은 쌍은 없습니다.",
                f"{closed} pairs closed, and none of them at a loss.",
            ),
        )
    else:
        causes = ", ".join(notice.cause for notice in forced)
        yield (
            len(losses) <= len(forced),
            Label(f"손실로 끝난 쌍 {len(losses)}개: {causes}", f"{len(losses)} pairs ended at a loss: {causes}"),
        )


def _refused(played: Played) -> Iterable[Finding]:
    refused = played.story.exits_refused
    if refused:
        net = signed_won(refused[0].net)
        yield (
            True,
            Label(
                f"* 조급한 손의 손실 청산 요청 {len(refused)}번을 거절했습니다. 첫 번째: {net}.",
                f"* Impatience wanted out at a loss {len(refused)} times and was refused; the first: {net}.",
            ),
        )


def _mishaps(played: Played) -> Iterable[Finding]:
    for mishap in mishaps_of(played):
        is_fine = bool(mishap["resolved"])
        match mishap["kind"]:
            case "unknown_outcome":
                took = "?" if mishap["after_s"] is None else f"{mishap['after_s']:.1f}"
                orders = sum(played.story.intended.values())
                ko = f"* 응답이 사라진 주문을 다시 보내지 않고 {took}초 만에 확인했습니다."
                en = f"* The order whose answer was lost was not sent again: settled in {took} s."
                yield (
                    is_fine and sent_once(played),
                    Label(
                        f"{ko} 주문 {orders}건이 모두 한 번씩만 갔습니다.",
                        f"{en} Each of {orders} orders reached its venue once.",
                    ),
                )
            case "naked_leg":
                yield (
                    is_fine,
                    Label(
                        f"* 한쪽만 체결된 쌍을 주문 {mishap['repairs']}건으로 다시 맞췄습니다.",
                        f"* The naked leg was matched again with {mishap['repairs']} order(s).",
                    ),
                )
            case _:
                yield (
                    is_fine,
                    Label(
                        f"* 트레이더를 껐다 켜도 원장 {mishap['records']}건에서 포지션이 되살아났습니다.",
                        f"* Ended while holding, the trader came back from {mishap['records']} journal records.",
                    ),
                )


def _print_places(played: Played, console: Console) -> None:
    """Where everything lies, and what to type next: the files are those of paper trading, so the commands read them."""
    artefacts = artefacts_of(played)
    console.print(Text(f"\n기록 files: {artefacts['directory']}", "bold"), soft_wrap=True)
    closed = played.engine.desks[0].slot.closed
    at = show(closed[0].position.opened_at)[:19] if closed else show(played.stage.scenario.start)[:19]
    console.print("다음에 입력해 보세요. What to type next:", style="dim")
    variable = f"KIMP__DATA__DIRECTORY={quote(artefacts['directory'])}"
    console.print(f"  export {variable}", soft_wrap=True, markup=False)
    for command in (f'kimp why "{at}"', "kimp pnl", "kimp replay"):
        console.print(f"  {command}", soft_wrap=True, markup=False)
