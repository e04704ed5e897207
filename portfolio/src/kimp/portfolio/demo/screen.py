"""The demo's live picture: market, position, story, equity and books on one terminal of 80 by 24 or larger."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kimp.order.commands.words import both
from kimp.portfolio.demo import words
from kimp.portfolio.demo.snapshot import Snapshot
from kimp.portfolio.demo.story import Line
from kimp.research.backtest.report.numerals import NOTHING, signed_percent, signed_won, span, won
from kimp.shared.domain.positions import ExitVerdict
from kimp.shared.domain.premium import Basis
from kimp.shared.domain.time import Nanos, show
from kimp.shared.ports.strategy import Condition

FIXED_ROWS = 18
"""Rows of everything but the story's lines: heading 2, both boxes 8, story's frame 2, equity and books 6."""

ROOMY = 14
"""Rows of story from which every line has its sentence in both languages."""

TAG_CELLS = 18

SPEED_CELLS = 14

CONDITIONS_SHOWN = 3
"""With the reason in two languages and what was closed, as many rows as the market beside it has."""

BARS = "▁▂▃▄▅▆▇█"


def picture(seen: Snapshot, width: int, height: int) -> RenderableType:
    """Everything on ``width`` by ``height`` cells."""
    return Group(
        _heading(seen, width),
        _side_by_side(_market(seen), _position(seen)),
        _story(seen, width, max(3, height - FIXED_ROWS)),
        _money(seen, width),
    )


def _heading(seen: Snapshot, width: int) -> RenderableType:
    title = Table.grid(expand=True)
    title.add_column(no_wrap=True)
    title.add_column(justify="right", no_wrap=True)
    name = Text("kimp demo", style="bold").append("  고른 모의 시장 chosen simulated market", style="not bold yellow")
    title.add_row(name, Text(f"{show(seen.at)[:19]} KST", "bold"))
    line = Table.grid(expand=True)
    line.add_column(width=SPEED_CELLS, no_wrap=True)
    line.add_column(ratio=1)
    pace = Text(f"{seen.speed}× seed {seen.seed}", style="dim")
    line.add_row(pace, ProgressBar(total=1.0, completed=seen.done, width=width - SPEED_CELLS))
    return Group(title, line)


def _side_by_side(left: RenderableType, right: RenderableType) -> Table:
    grid = Table.grid(expand=True)
    grid.add_column(ratio=1)
    grid.add_column(ratio=1)
    grid.add_row(left, right)
    return grid


def _market(seen: Snapshot) -> Panel:
    fx, usdt = seen.premiums[Basis.FX], seen.premiums[Basis.USDT]
    rates = " / ".join(NOTHING if rate is None else f"{rate:,.1f}" for rate in seen.rates.values())
    rows: list[tuple[str, RenderableType]] = [
        ("김프 premium (fx)", Text(signed_percent(fx), "bold")),
        ("테더 기준 (usdt)", Text(signed_percent(usdt), "bold")),
        ("업비트 Upbit", Text(won(seen.korea))),
        ("바이낸스 Binance", Text(NOTHING if seen.abroad is None else f"{seen.abroad:,.1f} USDT")),
        ("환율/테더 KRW", Text(rates)),
        ("펀딩 funding 8h", Text(NOTHING if seen.funding is None else f"{seen.funding * 100:+.4f}%")),
    ]
    return _box(rows, "시장 market")


def _position(seen: Snapshot) -> Panel:
    phase = words.PHASES[seen.phase]
    size = f" {seen.quantity.normalize():f} BTC" if seen.quantity else ""
    closed: tuple[str, RenderableType] = ("청산 closed", Text(f"{seen.closed}쌍 {signed_won(seen.earned)}"))
    title = f"포지션: [bold]{phase.ko} {phase.en}{size}[/]"
    if seen.verdict is not None and seen.verdict.net is not None:
        return _box([*_holding(seen, seen.verdict), closed], title)
    return _box([*_waiting(seen), closed], title, _why(seen))


def _why(seen: Snapshot) -> tuple[Text, ...]:
    """Why nothing is done: the data's reason, or the strategy's."""
    code = seen.doubts[0].value if seen.doubts else seen.signal.reason if seen.signal else ""
    korean, english = both(code) if code else (NOTHING, NOTHING)
    lines = Text(f" {korean}", "yellow"), Text(f" {english}", "dim")
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return lines


def _waiting(seen: Snapshot) -> list[tuple[str, RenderableType]]:
    """What the strategy compares, with its figures."""
    rows: list[tuple[str, RenderableType]] = [
        (" ".join(both(one.name)), _comparison(one)) for one in seen.conditions[:CONDITIONS_SHOWN]
    ]
    return [*rows, *([("", Text())] * (CONDITIONS_SHOWN - len(rows)))]


def _comparison(one: Condition) -> Text:
    style = "green" if one.holds else "yellow"
    return Text(f"{signed_percent(one.actual)} {one.relation} {signed_percent(one.needed)}", style)


def _holding(seen: Snapshot, verdict: ExitVerdict) -> list[tuple[str, RenderableType]]:
    """What closing would earn, and what waiting costs."""
    target = next((one for one in seen.conditions if one.name == "net_target"), None)
    carry = NOTHING if verdict.carry_per_day is None else f"{signed_won(verdict.carry_per_day)}/일 day"
    style = "green" if verdict.is_allowed else "yellow"
    return [
        ("지금 닫으면 net now", Text(signed_won(verdict.net), style)),
        ("목표 target", Text(NOTHING if target is None else signed_won(target.needed))),
        ("손익분기 b/e (usdt)", Text(signed_percent(verdict.break_even_premium))),
        ("펀딩 carry", Text(carry)),
        ("보유 held, 받음 got", Text(f"{short_span(verdict.held_for)}, {signed_won(seen.received)}")),
    ]


def short_span(length: Nanos) -> str:
    """``12d3h``, ``3h20m``: how long, where there is little room."""
    return span(length).replace("시간", "h").replace("일", "d").replace("분", "m").replace(" ", "")


def _box(rows: list[tuple[str, RenderableType]], title: str, above: tuple[Text, ...] = ()) -> Panel:
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(justify="right", no_wrap=True, ratio=1)
    for label, value in rows:
        table.add_row(label, value)
    return Panel(Group(*above, table), title=title, title_align="left", box=box.ROUNDED, border_style="dim")


def _story(seen: Snapshot, width: int, rows: int) -> Panel:
    """The last lines that fit; sentences under all of them where there is room, else under the last one only."""
    is_roomy = rows >= ROOMY
    shown: list[Text] = []
    for line in reversed(seen.lines):
        block = [_row(line)]
        if line.why is not None and (is_roomy or not shown):
            sentences = sentences_of(line, width - 6) if is_roomy else (line.why.ko,)
            block += [Text(f"  {sentence}", "italic dim") for sentence in sentences]
        if len(shown) + len(block) > rows:
            break
        shown = block + shown
    shown += [Text()] * (rows - len(shown))
    for text in shown:
        text.truncate(width - 4, overflow="ellipsis")
    return Panel(Group(*shown), title="일지 story", title_align="left", box=box.ROUNDED, border_style="dim")


def _row(line: Line) -> Text:
    tag = tag_of(line)
    tag.append(" " * max(0, TAG_CELLS - tag.cell_len))
    return Text(f"{moment_of(line)} ", "dim").append_text(tag).append(f" {line.facts}", "default")


def sentences_of(line: Line, cells: int) -> tuple[str, ...]:
    """Why, in both languages: on one line where they fit ``cells``, else on two; nothing where there is no why."""
    if line.why is None:
        return ()
    return (line.why.both,) if cell_len(line.why.both) <= cells else (line.why.ko, line.why.en)


def moment_of(line: Line) -> str:
    """Hour, minute and second in Korea."""
    return show(line.at)[11:19]


def tag_of(line: Line) -> Text:
    """What the line is about, in both languages and its colour."""
    tag = words.TAGS[line.kind]
    mark = "*" if line.is_injected else ""
    return Text(f"{tag.ko} {tag.en}{mark}", style=words.COLOURS.get(line.kind, "dim"))


def _money(seen: Snapshot, width: int) -> Panel:
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(no_wrap=True, style="dim", width=16)
    table.add_column(no_wrap=True, ratio=1, overflow="ellipsis")
    first, now = (seen.equity[0], seen.equity[-1]) if seen.equity else (None, None)
    change = now / first - 1 if first and now else 0.0
    style = "green" if change >= 0 else "red"
    table.add_row(
        "자산 equity", Text(f"{won(now)}  ").append(f"{signed_percent(change)}  ", style).append(_journal(seen))
    )
    table.add_row("", Text(sparkline(seen.equity, width - 23), style))
    for venue in ("upbit", "binance"):
        balances = [account for account in seen.accounts if account.venue == venue and "unsettled" not in account.asset]
        text = "  ".join(f"{account.ledger_says:,.{_digits(account.asset)}f} {account.asset}" for account in balances)
        agrees = all(account.agrees for account in seen.accounts if account.venue == venue)
        # While an answer is under way the venue is ahead of us; only then may they differ.
        verdict = Text("= ", "green") if agrees else Text("… ", "dim") if seen.is_busy else Text("≠ ", "bold red")
        table.add_row(f"장부 {venue}", verdict.append(text, "default"))
    title = "자산과 장부 equity and books (= 거래소와 일치 as the venue says)"
    return Panel(table, title=title, title_align="left", box=box.ROUNDED, border_style="dim")


def _journal(seen: Snapshot) -> Text:
    return Text(f"원장 journal {seen.records}", "dim")


def _digits(asset: str) -> int:
    return 0 if asset == "KRW" else 2 if asset == "USDT" else 3


def sparkline(values: Sequence[float], width: int) -> str:
    """The whole curve in ``width`` letters; a flat one stays at the bottom."""
    if not values:
        return ""
    step = max(1.0, len(values) / width)
    picked = [values[min(len(values) - 1, int(index * step))] for index in range(min(width, len(values)))]
    picked[-1] = values[-1]
    low, high = min(picked), max(picked)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] for value in picked)
