"""``kimp doctor`` and ``kimp reconcile``: is everything right, and do the venues agree with our books?"""

from typing import TYPE_CHECKING, Annotated

import typer

from kimp.order.commands.options import Desk, Json, Mode
from kimp.shared.cli import console, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kimp.order.runtime.reconciliation import Reconciliation
    from kimp.shared.domain.accounts import Check


def doctor(
    mode: Mode = "paper",
    has_market: Annotated[
        bool, typer.Option("--market/--no-market", help="시세 수신도 점검. Also wait for live quotes.")
    ] = True,
    as_json: Json = False,
) -> None:
    """거래 전에 모든 것을 점검합니다. Check keys, clocks, venues, feeds, journal, disk and switch before trading."""
    from kimp.order.examining import examined
    from kimp.shared.errors import ValidationFailed
    from kimp.storage.cli import run

    desk = Desk(mode)
    checks = run(examined(mode, desk.settings, desk.place, has_market=has_market))
    if as_json:
        print_json({"mode": mode, "checks": checks})
    else:
        _print_checks(mode, checks)
    failed = [check.name for check in checks if not check.ok]
    if failed:
        raise ValidationFailed(f"{len(failed)} of {len(checks)} checks failed: {', '.join(failed)}")


def reconcile(mode: Mode = "paper", as_json: Json = False) -> None:
    """거래소 잔고·포지션·체결을 장부와 대조합니다. Hold the venues' word against our books; changes nothing."""
    from kimp.order.examining import reconciled
    from kimp.shared.errors import ValidationFailed
    from kimp.storage.cli import run

    desk = Desk(mode)
    found = run(reconciled(mode, desk.settings, desk.place))
    if as_json:
        print_json(found)
    else:
        _print_reconciliation(mode, found)
    unclean = [look.venue.value for look in found.venues if not look.is_clean]
    if unclean:
        raise ValidationFailed(f"not in agreement: {', '.join(unclean)}")


def _print_checks(mode: str, checks: "Sequence[Check]") -> None:
    from rich.table import Table

    table = Table("", "점검 (check)", "결과 (detail)", title=f"kimp doctor --mode {mode}", title_justify="left")
    for check in checks:
        table.add_row("✅" if check.ok else "❌", check.name, check.detail)
    console().print(table)


_FIGURES = (("장부\nours", True), ("거래소\nvenue", True), ("차이\ndifference", True))
"""Never cut, however narrow the terminal: half a number is a wrong one."""


def _print_reconciliation(mode: str, found: "Reconciliation") -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    from kimp.order.commands.figures import number
    from kimp.shared.domain.time import show

    out = console()
    out.print(f"{mode}: {show(found.at)} 대조 (reconciled)", soft_wrap=True)
    for look in found.venues:
        if not look.is_reachable:
            out.print(f"❌ {look.venue.value}: 응답 없음 (does not answer) {look.reason}", soft_wrap=True, markup=False)
            continue
        title = f"{'✅' if look.is_clean else '⚠️'} {look.venue.value}"
        table = Table(box=SIMPLE, pad_edge=False, title=title, title_justify="left")
        for head, is_figure in (("항목\nwhat", False), *_FIGURES, ("판정\nverdict", False)):
            table.add_column(head, justify="right" if is_figure else "left", no_wrap=is_figure)
        for row in (*look.wallets, *look.positions):
            figures = (number(row.ours), number(row.theirs), number(row.difference))
            table.add_row(row.name, *figures, row.verdict.value)
        out.print(table)
        missed = f"{len(look.missed_fills)} fills, {len(look.missed_funding)} funding, {len(look.strays)} orders"
        out.print(f"  빠진 것 (missed): {missed}", soft_wrap=True)
