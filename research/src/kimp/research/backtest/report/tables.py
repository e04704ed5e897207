"""The report in the terminal: readable at 80 columns, fuller at 120."""

from collections.abc import Iterable
from decimal import Decimal

from rich import box
from rich.columns import Columns
from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from kimp.research.backtest.report import labels
from kimp.research.backtest.report.findings import Findings, findings_of
from kimp.research.backtest.report.numerals import (
    coins,
    moment,
    percent,
    plain,
    signed_percent,
    signed_won,
    span,
    won,
)
from kimp.research.backtest.report.page import headline_of, refusals_of, tone
from kimp.research.backtest.result import BacktestResult, Trade
from kimp.research.metrics import marks_of

WIDE = 110
"""Columns from which the tables show everything; below it the less important is left out."""

REFUSALS_MAX = 12
"""Guards listed in the terminal; the page and result.json hold more."""

COLOURS = {"gain": "green", "loss": "red", "": ""}
"""Named, not exact, so that a light and a dark terminal each show theirs."""


def print_tables(result: BacktestResult, console: Console) -> None:
    """Prints what a trader asks first, and the assumptions it all rests on.

    Raises:
        ValueError: the books of a pair do not add up.
    """
    findings = findings_of(result)
    is_wide = console.width >= WIDE
    console.print(_heading(result))
    for warned in findings.warnings:
        text = Text(f"{warned.text.ko}\n", style="bold").append(warned.text.en, style="not bold dim")
        console.print(Panel(text, title=labels.WARNINGS.both, border_style="#FFB800", box=box.ROUNDED))
    console.print(_headline(findings, is_wide))
    console.print(Text(f"\n{labels.REALISED_NOTE.ko}\n{labels.REALISED_NOTE.en}\n", style="dim"))
    halves = [_attribution(result, findings), _open_position(result)]
    console.print(Columns(halves, padding=(0, 4)) if is_wide else halves[0])
    if not is_wide:
        console.print(halves[1])
    console.print(_exit_reasons(findings, is_wide))
    console.print(_monthly(findings, is_wide))
    console.print(_refusals(result))
    console.print(_assumptions(findings))


def _heading(result: BacktestResult) -> Text:
    _, equity = marks_of(result)
    heading = Text(labels.TITLE.both, style="bold").append("  ")
    heading.append(plain(result.preset), style="bold #0066FF").append(f" {plain(result.direction)}\n")
    heading.append(f"{moment(result.start)} – {moment(result.end)} KST · {result.bars:,} {labels.BARS.ko}\n", "dim")
    heading.append(f"{labels.CAPITAL.ko} {won(result.capital)} → ", "dim")
    return heading.append(f"{labels.FINAL_EQUITY.ko} {won(float(equity[-1]) if len(equity) else None)}\n", "dim")


def _headline(findings: Findings, is_wide: bool) -> Table:
    """Label and figure side by side, as many pairs a line as there is room for."""
    pairs = headline_of(findings)
    across = 3 if is_wide else 2
    table = Table(
        title=labels.HEADLINE.both,
        title_justify="left",
        title_style="bold",
        box=None,
        show_header=False,
        pad_edge=False,
    )
    table.padding = (0, 1, 0, 0)
    for _ in range(across):
        table.add_column(style="dim", no_wrap=True)
        table.add_column(justify="right", style="bold", no_wrap=True)
        table.add_column()  # keeps a figure apart from the next label
    rows = -(-len(pairs) // across)
    for row in range(rows):
        cells: list[RenderableType] = []
        for label, value in pairs[row::rows]:
            cells += [Text(label.both), Text(value), ""]
        table.add_row(*cells)
    return table


def _attribution(result: BacktestResult, findings: Findings) -> Table:
    table = _table(labels.ATTRIBUTION, [""], ["KRW", "%"])
    for name, value in findings.attribution.as_dict().items():
        if name == "net":
            table.add_section()
        share = value / result.capital
        table.add_row(labels.PARTS[name].both, _toned(signed_won(value), value), signed_percent(share))
    return table


def _open_position(result: BacktestResult) -> RenderableType:
    held = result.open_position
    if held is None:
        return Text(f"{labels.NO_OPEN_POSITION.both}\n", style="dim")
    table = _table(labels.OPEN_POSITION, [""], [""])
    table.show_header = False
    for label, text in (
        (labels.OPENED, moment(held.opened_at)),
        (labels.HELD, span(result.end - held.opened_at)),
        (labels.QUANTITY, coins(held.quantity)),
        (labels.NOTIONAL, won(held.notional)),
        (labels.ENTRY_PREMIUM, signed_percent(held.entry_premium)),
    ):
        table.add_row(label.both, text)
    table.add_row(labels.NET.both, _toned(f"{signed_won(held.net)} ({signed_percent(_share(held))})", held.net))
    return table


def _exit_reasons(findings: Findings, is_wide: bool) -> RenderableType:
    if not findings.exit_reasons:
        return Text(f"{labels.NO_TRADES.both}\n", style="dim")
    names = [labels.COUNT, labels.HELD_MEDIAN, labels.NET, labels.NET_SHARE]
    table = _table(labels.EXIT_REASONS, [_head(labels.REASON, is_wide)], [_head(name, is_wide) for name in names])
    for group in findings.exit_reasons:
        table.add_row(
            Text(plain(group.reason)),
            f"{group.trades:,}",
            span(group.held_median),
            _toned(signed_won(group.net), group.net),
            signed_percent(group.net_share),
        )
    return table


def _monthly(findings: Findings, is_wide: bool) -> RenderableType:
    """Years down, months across; percent with one decimal where lines are short, none once a month reaches ten."""
    known = {(month.year, month.month): month.value for month in findings.metrics.monthly}
    if not known:
        return Text("")
    is_calm = all(abs(value) < 0.1 for value in known.values() if value is not None)
    digits = 2 if is_wide else int(is_calm)
    table = _table(labels.MONTHLY, [""], [f"{month}월" for month in range(1, 13)] + [labels.YEAR.ko])
    table.title = f"{labels.MONTHLY.both} (%)"
    table.padding = 0
    for year in sorted({year for year, _ in known}):
        values = [known.get((year, month)) for month in range(1, 13)]
        grown = 1.0
        for value in values:
            grown *= 1 + (value or 0.0)
        cells = [_month(value, digits) for value in (*values, grown - 1)]
        table.add_row(f"{year}", *cells)
    return table


def _month(value: float | None, digits: int) -> Text:
    return Text("") if value is None else _toned(f"{value * 100:+z.{digits}f}", value)


def _refusals(result: BacktestResult) -> RenderableType:
    refusals = refusals_of(result, REFUSALS_MAX)
    total = sum(result.refusals.values())
    table = _table(labels.REFUSALS, [labels.REASON.both], [labels.COUNT.both, "%"])
    for reason, count in refusals:
        table.add_row(Text(plain(reason)), f"{count:,}", percent(count / total if total else None))
    if not refusals:
        table.add_row(labels.NONE.both, "0", "")
    table.add_section()
    table.add_row(labels.REPAIRS.both, f"{result.repairs:,}", "")
    table.add_row(labels.LIQUIDATIONS.both, f"{result.liquidations:,}", "")
    return table


def _assumptions(findings: Findings) -> Panel:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", max_width=30)
    grid.add_column(ratio=1, overflow="fold")  # an ellipsis eats letters of lines with Korean in them
    for name, text in findings.assumptions.items():
        label = labels.ASSUMPTION_NAMES.get(name)
        grid.add_row(Text(label.both if label else plain(name)), Text(plain(text)))
    return Panel(grid, title=labels.ASSUMPTIONS.both, title_align="left", border_style="dim", box=box.ROUNDED)


def _table(title: labels.Label, left: Iterable[str], right: Iterable[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title.both, title_justify="left", title_style="bold", pad_edge=False)
    for name in left:
        table.add_column(Text(name), overflow="fold")
    for name in right:
        table.add_column(Text(name), justify="right", no_wrap=True)
    return table


def _head(label: labels.Label, is_wide: bool) -> str:
    return label.both if is_wide else label.ko


def _toned(text: str, value: Decimal | float) -> Text:
    return Text(text, style=COLOURS[tone(value)])


def _share(pair: Trade) -> Decimal | None:
    return pair.net / pair.notional if pair.notional else None
