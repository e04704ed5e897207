"""``kimp position``: open pairs, what closing would leave now, and what waiting costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kimp.order.commands.options import Desk, Json, Mode
from kimp.shared.cli import console, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from kimp.order.reading.holding import Holding, Market


def position(mode: Mode = "paper", as_json: Json = False) -> None:
    """보유 포지션과 기다리는 비용을 봅니다. Show open pairs, and what waiting costs."""
    from decimal import Decimal

    from kimp.order.reading.holding import holdings

    desk = Desk(mode)
    found = holdings(desk.history(), desk.last_decisions(), desk.now, Decimal(desk.settings.execution.leverage))
    if as_json:
        print_json({"mode": mode, "positions": [facts_of(held) for held in found]})
        return
    out = console()
    if not found:
        out.print("보유 포지션이 없습니다. Nothing is held.")
    for held in found:
        _show(out, held)


def facts_of(held: Holding) -> dict[str, Any]:
    """A holding for ``--json``: times with offset, ages in seconds."""
    from msgspec.structs import asdict

    from kimp.order.commands.figures import iso

    market = held.market
    now = None
    if market is not None:
        now = asdict(market) | {"as_of": iso(market.as_of), "is_live": is_live(market)}
        now["age_s"] = round(now.pop("age") / 1e9, 3)
    return asdict(held) | {"opened_at": iso(held.opened_at), "market": now}


def is_live(market: Market) -> bool:
    """Whether the figures are those of a trader that runs."""
    from kimp.order.commands.figures import LIVE_S_MAX
    from kimp.shared.domain.time import SECOND

    return market.age <= LIVE_S_MAX * SECOND


def _show(out: Console, held: Holding) -> None:
    from rich.table import Table

    from kimp.order.commands.figures import number, percent, quantity, won
    from kimp.order.commands.words import said
    from kimp.shared.domain.time import show

    out.print(
        f"[bold]{held.coin}[/] {quantity(held.quantity, held.coin)} · {said(held.direction.value)} · "
        f"{said(held.phase.value)}",
        soft_wrap=True,
    )
    table = Table(show_header=False)
    table.add_column(justify="left")
    table.add_column(justify="right")
    table.add_row("진입 (opened)", show(held.opened_at))
    table.add_row("보유 일수 (days held)", f"{held.days_held:.1f}")
    table.add_row("진입 김프 (entry premium)", f"{percent(held.entry_fx)}  테더 기준 (usdt) {percent(held.entry_usdt)}")
    if held.market is not None:
        _add_market(table, held.market)
    table.add_row("받은 펀딩 (funding received)", f"{won(held.funding_received)}원")
    if held.funding_per_day is not None:
        table.add_row("하루 평균 펀딩 (funding a day so far)", f"{won(held.funding_per_day)}원")
    table.add_row("낸 수수료 (fees paid)", f"{won(held.fees_paid)}원")
    if held.liquidation is not None:
        away = held.liquidation
        table.add_row("청산가 (liquidation)", f"{number(away.price, 1)} USDT = 진입가 (entry) × {away.multiple:.2f}")
        table.add_row(
            "청산까지 (distance)", f"{percent(away.distance)}  증거금 여유 (runway) {away.margin_runway:,.2f} USDT"
        )
    out.print(table)
    _show_legs(out, held)
    _show_age(out, held)


def _add_market(table: Any, market: Market) -> None:
    from kimp.order.commands.figures import percent, won
    from kimp.order.commands.words import said

    table.add_row(
        "지금 김프 (premium now)", f"{percent(market.premium_fx)}  테더 기준 (usdt) {percent(market.premium_usdt)}"
    )
    parts = market.parts
    if parts is None:
        why = ", ".join(said(code) for code in market.refusals) or "-"
        table.add_row("[bold]지금 청산하면 (net now)[/]", f"알 수 없음 (not known): {why}")
    else:
        table.add_row("[bold]지금 청산하면 (net now)[/]", f"[bold]{won(parts.net)}원[/]")
        for label, value in (
            ("  김프 (premium)", parts.premium),
            ("  환율 (fx)", parts.fx),
            ("  펀딩 (funding)", parts.funding),
            ("  수수료, 나갈 때 포함 (fees, both ways)", parts.fees),
            ("  슬리피지 (slippage)", parts.slippage),
        ):
            table.add_row(label, f"{won(value)}원")
    table.add_row("손익분기 김프, 테더 기준 (break-even, usdt)", percent(market.break_even_premium))
    table.add_row("하루 펀딩 예상 (carry per day)", f"{won(market.carry_per_day)}원")
    if market.days_to_break_even is not None:
        table.add_row("펀딩만으로 손익분기 (days to break-even)", f"{market.days_to_break_even:.1f}일 (d)")


def _show_legs(out: Console, held: Holding) -> None:
    from rich.table import Table

    from kimp.order.commands.figures import money, number, won

    table = Table("거래소 (venue)", "수량 (quantity)", "진입가 (entry)", "지금 (now)", "수수료 원 (fees, KRW)")
    for leg in held.legs:
        table.add_row(
            f"{leg.venue.value} {leg.symbol}",
            number(leg.quantity),
            f"{money(leg.entry_price, leg.quote)} {leg.quote}",
            money(leg.price_now, leg.quote),
            won(-leg.fees_krw),
        )
    out.print(table)


def _show_age(out: Console, held: Holding) -> None:
    from kimp.order.commands.figures import ago

    if held.market is None:
        out.print("시세 기록이 없어 원장만 봅니다. No prices were recorded for it: this is the journal alone.")
        return
    korean, english = ago(held.market.age)
    if is_live(held.market):
        out.print(f"시세: {korean} 전 (prices: {english} ago)", style="dim")
    else:
        out.print(
            f"트레이더가 돌지 않습니다: 시세는 {korean} 전 것입니다. The trader does not run: prices are {english} old.",
            style="yellow",
        )
