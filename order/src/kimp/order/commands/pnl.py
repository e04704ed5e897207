"""``kimp pnl``: what pairs earned, in parts that add up, per pair or per Korean day, and the ledger's balances beside."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kimp.order.commands.options import Desk, Json, Mode, moment
from kimp.shared.cli import console, print_json

if TYPE_CHECKING:
    from decimal import Decimal

    from rich.console import Console
    from rich.table import Table

    from kimp.order.reading.profit import DayProfit, PairProfit, Parts

PARTS = ("premium", "fx", "funding", "fees", "slippage", "net")


class By(StrEnum):
    """What a row is."""

    DAY = "day"
    PAIR = "pair"


def pnl(
    start: Annotated[str | None, typer.Option("--from", help="시작(KST). From: 2026-11-01, 7d ago.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="끝(미포함). To, exclusive.")] = None,
    by: Annotated[By, typer.Option(help="하루씩 또는 페어별로. Per day or per pair.")] = By.PAIR,
    mode: Mode = "paper",
    as_json: Json = False,
) -> None:
    """번 돈을 김프·환율·펀딩·비용으로 나눠 봅니다. Profit and loss in parts that add up."""
    from kimp.order.reading.profit import by_day, closed_profits, profit_of, total

    desk = Desk(mode)
    since, until = moment(start, "--from", desk.now), moment(end, "--to", desk.now)
    if since is not None and until is not None and since >= until:
        raise typer.BadParameter("let --from come before --to", param_hint="--from")
    history, seen = desk.history(), desk.last_decisions()
    closed = closed_profits(history, since, until)
    held = [pair for slot in history.state.slots if (pair := history.open_pair(slot)) is not None]
    opened = [profit_of(pair, seen.get(pair.slot)) for pair, _ in held]
    summed = total(pair.parts for pair in closed if pair.parts is not None)
    days = by_day(closed)
    balances = history.state.ledger.balances()
    if as_json:
        print_json(_facts(mode, closed, opened, days, summed, balances))
        return
    out = console()
    out.print(_day_table(days, summed) if by is By.DAY else _pair_table(closed, summed), soft_wrap=True)
    _show_losses(out, closed)
    _show_open(out, opened)
    out.print(_balance_table(balances))


def _facts(
    mode: str,
    closed: list[PairProfit],
    opened: list[PairProfit],
    days: list[DayProfit],
    summed: Parts,
    balances: dict[tuple[str, str], Decimal],
) -> dict[str, Any]:
    return {
        "mode": mode,
        "pairs": [_pair_facts(pair) for pair in closed],
        "open": [_pair_facts(pair) for pair in opened],
        "days": days,
        "total": summed,
        "balances": [
            {"account": account, "asset": asset, "amount": value} for (account, asset), value in balances.items()
        ],
    }


def _pair_facts(pair: PairProfit) -> dict[str, Any]:
    from msgspec.structs import asdict

    from kimp.order.commands.figures import iso

    return asdict(pair) | {"opened_at": iso(pair.opened_at), "closed_at": iso(pair.closed_at)}


def _table(*heads: str) -> Table:
    from rich.box import SIMPLE
    from rich.table import Table

    # On 80 columns the words fold, and no figure is ever cut: half a number is a wrong one.
    table = Table(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    for head in heads:
        table.add_column(head, justify="left")
    for head in (
        "김프\npremium",
        "환율\nfx",
        "펀딩\nfunding",
        "수수료\nfees",
        "슬리피지\nslippage",
        "순손익 원\nnet KRW",
    ):
        table.add_column(head, justify="right", no_wrap=True)
    return table


def _cells(parts: Parts | None) -> list[str]:
    from kimp.order.commands.figures import won

    return [won(None if parts is None else getattr(parts, name)) for name in PARTS]


def _pair_table(closed: list[PairProfit], summed: Parts) -> Table:
    from kimp.order.commands.figures import clock, percent, quantity

    table = _table("청산 (KST), 수량, 김프\nclosed, size, premium")
    for pair in closed:
        at = "" if pair.closed_at is None else clock(pair.closed_at)[:16]
        premiums = f"{percent(pair.entry_fx).removesuffix(' %')}→{percent(pair.exit_fx)}"
        table.add_row(f"{at}\n{quantity(pair.quantity, pair.coin)} {premiums}", *_cells(pair.parts))
    table.add_section()
    table.add_row(f"합계 (total) {len(closed)}건", *_cells(summed), style="bold")
    return table


def _day_table(days: list[DayProfit], summed: Parts) -> Table:
    table = _table("날짜 (KST)\nday", "페어\npairs")
    for day in days:
        table.add_row(day.day, str(day.pairs), *_cells(day.parts))
    table.add_section()
    table.add_row("합계 (total)", str(sum(day.pairs for day in days)), *_cells(summed), style="bold")
    return table


def _show_losses(out: Console, closed: list[PairProfit]) -> None:
    from kimp.order.commands.figures import clock, won
    from kimp.order.commands.words import said

    for pair in closed:
        if pair.cause is not None and pair.parts is not None and pair.closed_at is not None:
            loss = f"{clock(pair.closed_at)} {pair.coin} {won(pair.parts.net)}원"
            out.print(f"손실 확정 (loss realised) {loss}: {said(pair.cause)}", style="red", soft_wrap=True)


def _show_open(out: Console, opened: list[PairProfit]) -> None:
    from kimp.order.commands.figures import percent, quantity, won

    for pair in opened:
        head = f"보유 중 (open) {quantity(pair.quantity, pair.coin)}, 진입 김프 {percent(pair.entry_fx)}"
        if pair.parts is None:
            out.print(f"{head}: 시세 기록이 없어 평가하지 못합니다 (no prices recorded)", soft_wrap=True)
        else:
            named = zip(("김프", "환율", "펀딩", "수수료", "슬리피지"), PARTS, strict=False)
            sums = " ".join(f"{name} {won(getattr(pair.parts, key))}" for name, key in named)
            out.print(f"{head}: 지금 청산하면 (net now) {won(pair.parts.net)}원 = {sums}", soft_wrap=True)


def _balance_table(balances: dict[tuple[str, str], Decimal]) -> Table:
    from rich.table import Table

    from kimp.order.commands.figures import number

    table = Table("계정 (account)", "자산 (asset)", title="원장 잔액 (ledger balances)", title_justify="left")
    table.add_column("잔액 (balance)", justify="right")
    for (account, asset), value in balances.items():
        if account.endswith(":wallet") or account.startswith("binance:"):
            table.add_row(account, asset, number(value))
    return table
