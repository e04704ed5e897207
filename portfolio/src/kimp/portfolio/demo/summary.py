"""What happened, in the end: as facts for programs, and as a page in both languages for people."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kimp.portfolio.demo.scenario import KNOBS, PRESET
from kimp.portfolio.demo.screen import short_span
from kimp.portfolio.demo.show import Played
from kimp.research.attribution import attribution_of
from kimp.research.backtest.report.artefacts import Artefacts
from kimp.research.backtest.report.labels import Label
from kimp.research.backtest.report.numerals import NOTHING, signed_percent, signed_won, won
from kimp.research.backtest.report.summary import instant
from kimp.research.backtest.result import Trade
from kimp.shared.domain.money import ZERO
from kimp.shared.messages.notices import ForcedLoss

HEADINGS = (
    "\n",
    "보유\nheld",
    "김프 진입→청산\nentry→exit",
    "김프\npremium",
    "환율\nfx",
    "펀딩\nfunding",
    "수수료\nfees",
    "슬리피지\nslippage",
    "순손익\nnet",
)
LEFT_OUT = 2
"""The column of premiums: the first to go when a panicking market has made the figures too wide."""

PARTS = ("premium", "fx", "funding", "fees", "slippage", "net")


def facts_of(played: Played, artefacts: Artefacts) -> dict[str, Any]:
    """What ``kimp demo --json`` prints. Money in KRW is text, because it is exact; rates are fractions."""
    scenario, result, story = played.stage.scenario, played.result, played.story
    return {
        "is_simulation": True,
        "seed": scenario.seed,
        "is_chosen_seed": scenario.is_chosen,
        "from": instant(scenario.start),
        "to": instant(scenario.end),
        "bars": result.bars,
        "preset": PRESET,
        "knobs": KNOBS,
        "capital_krw": str(scenario.capital),
        "equity_krw": end_equity(played),
        "pairs": [_pair(trade) for trade in result.trades],
        "open_position": None if result.open_position is None else _pair(result.open_position),
        "attribution_krw": {name: str(value) for name, value in attribution_of(result).as_dict().items()},
        "closed_at_a_loss": len(losses_of(played)),
        "forced_losses": [notice.cause for notice in forced_losses_of(played)],
        "refusals": result.refusals,
        "exits_refused": [
            {
                "at": instant(refused.at),
                "net_krw": str(refused.net),
                "premium_now": refused.premium_now,
                "break_even_premium": refused.break_even_premium,
                "injected": refused.is_injected,
            }
            for refused in story.exits_refused
        ],
        "injected": _injected(played),
        "books": {
            "balanced": books_agree(played),
            "accounts": [
                {
                    "venue": account.venue,
                    "asset": account.asset,
                    "venue_says": str(account.venue_says),
                    "ledger_says": str(account.ledger_says),
                }
                for account in played.accounts
            ],
        },
        "decision_hash": result.decision_hash,
        "elapsed_s": played.elapsed_s,
        "report": str(artefacts.report),
        "artefacts": artefacts.as_dict(),
    }


def books_agree(played: Played) -> bool:
    """Whether every venue balance equals our ledger's, to the last digit."""
    return all(account.agrees for account in played.accounts)


def losses_of(played: Played) -> list[Trade]:
    """Closed pairs that did not earn anything."""
    return [trade for trade in played.result.trades if trade.net <= ZERO]


def forced_losses_of(played: Played) -> list[ForcedLoss]:
    """Losses with one of the three labelled causes."""
    told = (told.notice for told in played.stage.backtest.world.notices)
    return [notice for notice in told if isinstance(notice, ForcedLoss)]


def end_equity(played: Played) -> float:
    """KRW at the last minute, the open pair at the mids."""
    return float(played.result.curves.equity[-1])


def _injected(played: Played) -> list[dict[str, Any]]:
    faults, story = played.stage.faults, played.story
    resolved = {answer.client_id: answer for answer in story.resolved}
    found: list[dict[str, Any]] = []
    if faults.unanswered is not None:
        answer = resolved.get(faults.unanswered)
        found.append(
            {
                "kind": "unknown_outcome",
                "client_id": faults.unanswered,
                "resolved": answer is not None,
                "resolved_by": "asking the venue by client id",
                "executed": None if answer is None else str(answer.executed),
                "after_s": None if answer is None else answer.after_s,
            }
        )
    if faults.refused is not None:
        state = played.stage.backtest.trading.state
        exposure = state.orders[faults.refused]
        found.append(
            {
                "kind": "naked_leg",
                "client_id": faults.refused,
                "resolved": not any(slot.unsettled or slot.is_halted for slot in state.slots.values()),
                "resolved_by": "completing the missing leg within the plan's bound, else unwinding",
                "quantity": str(exposure.order.quantity),
                "repairs": played.result.repairs,
            }
        )
    return found


def _pair(trade: Trade) -> dict[str, Any]:
    return {
        "signal_id": trade.signal_id,
        "opened_at": instant(trade.opened_at),
        "closed_at": instant(trade.closed_at),
        "quantity": str(trade.quantity),
        "notional_krw": str(trade.notional),
        "entry_premium": trade.entry_premium,
        "exit_premium": trade.exit_premium,
        "exit_reason": trade.exit_reason,
        **{f"{part}_krw": str(getattr(trade, part)) for part in PARTS},
    }


# -- for people --------------------------------------------------------------------------------------------------------


def print_summary(played: Played, artefacts: Artefacts, console: Console) -> None:
    """The page at the end."""
    console.print(_heading(played))
    console.print(_table(played, console.width))
    page = Table.grid(padding=(0, 1, 0, 0))
    for is_good, sentence in _findings(played):
        mark = Text("✔", "green") if is_good else Text("·", "yellow")
        page.add_row(mark, Text(sentence.ko).append(f"\n{sentence.en}", "dim"))
    console.print(page)
    console.print(Text(f"\n보고서 report: {artefacts.report}", "bold"), soft_wrap=True)


def _heading(played: Played) -> Text:
    scenario = played.stage.scenario
    picked = "보여 주려고 고른 시드 chosen for showing" if scenario.is_chosen else "임의의 시드 any seed"
    text = Text("\n요약 What happened\n", "bold")
    text.append(f"모의 시장입니다. This market is simulated. seed {scenario.seed}, {picked}\n", "not bold yellow")
    change = Decimal(end_equity(played)) / scenario.capital - 1
    text.append(f"{scenario.days}일 days: {won(scenario.capital)} → {won(end_equity(played))} ", "not bold")
    return text.append(f"({signed_percent(change)})\n", "not bold green" if change >= 0 else "not bold red")


def _table(played: Played, width: int) -> Table:
    """One row a pair and their sum; where there is little room, the less important columns are left out."""
    result = played.result
    rows = [[str(number), *_cells(trade, result.end)] for number, trade in enumerate(result.trades, 1)]
    if result.open_position is not None:
        rows.append([f"{len(rows) + 1}*", *_cells(result.open_position, result.end)])
    total = attribution_of(result).as_dict()
    rows.append(["합", "", "", *(f"{total[part]:+z,.0f}" for part in PARTS)])
    needed = [max(8, *(cell_len(row[column]) for row in rows)) if column > LEFT_OUT else 13 for column in range(9)]
    dropped = LEFT_OUT if sum(needed[LEFT_OUT:]) + 2 * 2 + 6 + 9 > width else None
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for column, heading in enumerate(HEADINGS):
        if column != dropped:
            table.add_column(heading, justify="left" if column <= LEFT_OUT else "right", no_wrap=True)
    for row in rows:
        is_sum, is_open = row[0] == "합", row[0].endswith("*")
        cells = [cell for column, cell in enumerate(row) if column != dropped]
        table.add_row(*cells, style="bold" if is_sum else "yellow" if is_open else None)
    return table


def _cells(trade: Trade, end: int) -> Iterable[str]:
    left = NOTHING if trade.exit_premium is None else signed_percent(trade.exit_premium)
    yield short_span((trade.closed_at or end) - trade.opened_at)
    yield f"{signed_percent(trade.entry_premium)}→{left}"
    for part in PARTS:
        yield f"{getattr(trade, part):+z,.0f}"


def _findings(played: Played) -> Iterable[tuple[bool, Label]]:
    result, story = played.result, played.story
    closed, held = len(result.trades), int(result.open_position is not None)
    yield True, Label(f"{closed}쌍을 닫았고 {held}쌍을 보유 중입니다.", f"{closed} pairs closed, {held} still open.")
    if result.open_position is not None:
        net = signed_won(result.open_position.net)
        yield (
            False,
            Label(
                f"* 보유 중인 쌍은 중간값 평가로 {net}이며 자산에 들어 있습니다. 실현 손익만 보면 늘 승률 100%입니다.",
                f"* The open pair is marked at mids ({net}) and is in the equity; realised alone always looks like 100 %.",
            ),
        )
    yield from _never_at_a_loss(played)
    for refused in story.exits_refused[:1]:
        count, net = len(story.exits_refused), signed_won(refused.net)
        yield (
            True,
            Label(
                f"손실 청산 요청 {count}번을 거절했습니다 (일부러 넣은 조급한 손). 첫 번째: {net}.",
                f"{count} wishes to close at a loss were refused (injected impatience); the first: {net}.",
            ),
        )
    yield from _mishaps(played)
    agrees = books_agree(played)
    yield (
        agrees,
        Label(
            "거래소 잔고와 장부가 마지막 자리까지 같습니다." if agrees else "거래소 잔고와 장부가 다릅니다!",
            "Venue balances and ledger agree to the last digit." if agrees else "Venue balances and ledger DISAGREE!",
        ),
    )
    yield (
        False,
        Label(
            "환율 항목은 업비트 KRW-USDT의 변화입니다. 김프가 오르면 테더도 함께 올라, 번 돈의 일부가 여기에 적힙니다.",
            "fx is the move of Upbit's KRW-USDT: when 김프 rises so does the tether, so part of the gain stands here.",
        ),
    )


def _never_at_a_loss(played: Played) -> Iterable[tuple[bool, Label]]:
    losses, forced = losses_of(played), forced_losses_of(played)
    if not losses:
        yield True, Label("손실로 닫은 쌍은 없습니다.", "No pair was closed at a loss.")
    else:
        causes = ", ".join(notice.cause for notice in forced)
        yield (
            len(losses) <= len(forced),
            Label(f"손실로 끝난 쌍 {len(losses)}개: {causes}", f"{len(losses)} pairs ended at a loss: {causes}"),
        )


def _mishaps(played: Played) -> Iterable[tuple[bool, Label]]:
    for mishap in _injected(played):
        if mishap["kind"] == "unknown_outcome" and mishap["resolved"]:
            took = f"{mishap['after_s']:.1f}"
            yield (
                True,
                Label(
                    f"응답이 사라진 주문 (주입)은 다시 보내지 않고 물어서 {took}초 만에 확인했습니다.",
                    f"The order whose answer was lost (injected) was asked about, not resent: settled in {took} s.",
                ),
            )
        elif mishap["kind"] == "naked_leg":
            yield (
                bool(mishap["resolved"]),
                Label(
                    f"한쪽만 체결된 쌍 (주입)은 주문 {mishap['repairs']}건으로 다시 맞췄습니다.",
                    f"The naked leg (injected) was matched again with {mishap['repairs']} order(s).",
                ),
            )
