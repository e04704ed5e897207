"""``kimp backtest``: what would have happened, in one command.

Only the reading of options is here; the run itself is ``kimp.research.backtest.request``, imported when it is needed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kimp.shared.cli import console, error_console, print_json
from kimp.shared.errors import ConfigurationError

if TYPE_CHECKING:
    from kimp.research.backtest.report import Artefacts
    from kimp.research.backtest.request import Request
    from kimp.research.backtest.result import BacktestResult
    from kimp.shared.settings import Settings

Progress = Callable[[int, int], None]

MINUTES = {"m": 1, "h": 60, "d": 1_440}

FIRST_YEAR, LAST_YEAR = 1970, 2200
"""What fits into 64 bits of nanoseconds, rounded to what one can remember."""

CAPITAL_MAX = 10**15
"""KRW: more than anyone has, and less than would overflow a decimal."""

RUN_NAME_LENGTH = 12
"""Hex digits of the run's hash in its directory's name: enough for a lifetime of runs."""

Market = Annotated[str, typer.Option(help="simulated 또는 기록된 시장 데이터 폴더. Or a directory of recorded data.")]
Preset = Annotated[str | None, typer.Option(help="전략 프리셋. roadmap, low_entry …", show_default="strategy.preset")]
Towards = Annotated[
    str | None, typer.Option("--direction", help="LONG_PREMIUM, SHORT_PREMIUM.", show_default="strategy.direction")
]
Since = Annotated[
    str | None,
    typer.Option(
        "--from",
        help="시작: 날짜(00:00 UTC = 09:00 KST) 또는 시간대 포함 ISO 시각. A date is midnight UTC.",
        metavar="TIME",
    ),
]
Until = Annotated[str | None, typer.Option("--to", help="끝(미포함). End, not included.", metavar="TIME")]
Capital = Annotated[str, typer.Option(help="두 거래소 합계 원화. KRW in all.", metavar="KRW")]
Interval = Annotated[
    str | None, typer.Option(help="봉 길이: 1m, 5m, 1h. Bar length.", metavar="LENGTH", show_default="finest")
]
Seed = Annotated[int, typer.Option(help="시뮬레이션 시드. Seed of the simulated market.", min=0)]
Slippage = Annotated[
    str | None,
    typer.Option(
        help="체결당 슬리피지 비율(0.0005 = 0.05%). Fraction.", metavar="FRACTION", show_default="costs.slippage"
    ),
]
Leverage = Annotated[
    str | None,
    typer.Option(help="선물 레버리지 1–3. Of the perpetual.", metavar="N", show_default="execution.leverage"),
]
Fx = Annotated[Literal["ecb", "investing"], typer.Option(help="기록 데이터의 환율. Source of USD/KRW.")]
Rebalancing = Annotated[
    Literal["when_flat", "never"], typer.Option(help="거래소 간 자금 맞추기. Evening out the venues.")
]
Parameters = Annotated[
    list[str] | None,
    typer.Option("--param", help="프리셋 값 변경. Override of the preset, repeatable.", metavar="KEY=VALUE"),
]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", help="설정 변경. Any setting, repeatable.", metavar="SECTION.KEY=VALUE")
]
Out = Annotated[
    Path | None, typer.Option(help="결과 폴더. Directory of the results.", show_default="runs/… in data.directory")
]
NoArtefacts = Annotated[bool, typer.Option("--no-artefacts", help="파일을 쓰지 않습니다. Write no files.")]
Json = Annotated[bool, typer.Option("--json", help="결과를 JSON으로 출력합니다. Print facts as JSON.")]


def backtest(
    market: Market = "simulated",
    preset: Preset = None,
    direction: Towards = None,
    since: Since = None,
    until: Until = None,
    capital: Capital = "20000000",
    interval: Interval = None,
    seed: Seed = 7,
    slippage: Slippage = None,
    leverage: Leverage = None,
    fx: Fx = "ecb",
    rebalance: Rebalancing = "when_flat",
    parameters: Parameters = None,
    assignments: Assignments = None,
    out: Out = None,
    no_artefacts: NoArtefacts = False,
    as_json: Json = False,
) -> None:
    """과거 또는 시뮬레이션 시장에서 전략을 돌려 봅니다. Run the strategy over a recorded or simulated market."""
    options = {
        "strategy.preset": preset,
        "strategy.direction": direction,
        "costs.slippage": slippage,
        "execution.leverage": leverage,
    }
    named = [f"{key}={value}" for key, value in options.items() if value is not None]
    asked = {
        "market": market,
        "start": _moment(since, "--from"),
        "end": _moment(until, "--to"),
        "capital": _won(capital),
        "interval": _length(interval),
        "seed": seed,
        "fx": fx,
        "parameters": _parameters(parameters or []),
    }
    if out is not None and not no_artefacts:
        _check_place(out)
    request = _request([*(assignments or []), *named], rebalance, asked)
    with _progress(is_shown=not as_json) as progress:
        result = _run(request, progress)
    place = None if no_artefacts else out or _place(request.settings, result)
    files = None if place is None else _write(result, place)
    _show(result, files, as_json=as_json)


def _request(assignments: list[str], rebalance: str, asked: dict[str, Any]) -> Request:
    from kimp.research.backtest.request import Request
    from kimp.research.backtest.treasury import Rebalance
    from kimp.shared.config import load

    settings = load(environ=os.environ, overrides=assignments).settings
    return Request(settings=settings, rebalance=Rebalance(rebalance), **asked)


def _run(request: Request, progress: Progress | None) -> BacktestResult:
    from kimp.research.backtest.request import run

    return run(request, progress)


def _show(result: BacktestResult, files: Artefacts | None, *, as_json: bool) -> None:
    from kimp.research.backtest.report import as_json as facts_of
    from kimp.research.backtest.report import print_tables

    if as_json:
        written = None if files is None else files.as_dict()
        print_json({**facts_of(result), "meta": result.meta, "artefacts": written})
        return
    out = console()
    print_tables(result, out)
    if files is not None:
        out.print(f"\n보고서 (report): {files.report}", soft_wrap=True)
        out.print(f"모든 파일 (all files): {files.directory}", soft_wrap=True)


# -- files -------------------------------------------------------------------------------------------------------------


def _place(settings: Settings, result: BacktestResult) -> Path:
    """A directory of the run's own, named by its hashes: the same run again replaces it, another never does."""
    from hashlib import blake2b

    meta = result.meta
    name = blake2b(f"{meta['config_hash']} {meta['data_hash']} {meta['version']}".encode()).hexdigest()
    words = re.sub(r"[^\w-]", "_", f"{result.preset}-{result.direction}".lower())
    return settings.data.directory / "runs" / f"{words}-{name[:RUN_NAME_LENGTH]}"


def _check_place(directory: Path) -> None:
    """Before a long run, not after it."""
    if directory.exists() and not directory.is_dir():
        raise ConfigurationError(f"{directory} is a file, but the results need a directory; choose another --out")


def _write(result: BacktestResult, directory: Path) -> Artefacts:
    from kimp.research.backtest.report import write_artefacts

    try:
        return write_artefacts(result, directory)
    except OSError as error:
        raise ConfigurationError(
            f"{directory} cannot be written ({error.strerror or error}); choose another --out"
        ) from error


# -- reading options ---------------------------------------------------------------------------------------------------


def _moment(text: str | None, option: str) -> int | None:
    """Nanoseconds UTC of a date (midnight UTC, when Upbit's daily candle turns) or of a time with its zone."""
    from kimp.shared.domain.time import from_datetime

    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither a date like 2024-12-31 nor a time like 2024-12-31T09:00+09:00", param_hint=option
        ) from None
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise typer.BadParameter(f"{text!r} is not between {FIRST_YEAR} and {LAST_YEAR}", param_hint=option)
    if moment.tzinfo is None:
        if re.fullmatch(r"[\d-]+", text.strip()) is None:
            raise typer.BadParameter(
                f"{text!r} has no time zone; append Z for UTC or +09:00 for KST", param_hint=option
            )
        moment = moment.replace(tzinfo=UTC)
    return from_datetime(moment)


def _won(text: str) -> Decimal:
    try:
        amount = Decimal(text.replace(",", "").replace("_", ""))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or not 0 < amount <= CAPITAL_MAX:
        raise typer.BadParameter(
            f"{text!r} is not an amount above zero and up to {CAPITAL_MAX:,}, such as 20000000", param_hint="--capital"
        )
    return amount


def _length(text: str | None) -> int | None:
    from kimp.shared.domain.time import MINUTE

    if text is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,3})([mhd])", text.strip())
    minutes = int(found[1]) * MINUTES[found[2]] if found else 0
    if not minutes or MINUTES["d"] % minutes:
        raise typer.BadParameter(
            f"{text!r} is not a length that divides a day, such as 1m, 5m or 1h", param_hint="--interval"
        )
    return minutes * MINUTE


def _parameters(texts: list[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise typer.BadParameter(f"{text!r} is not of the form key=value", param_hint="--param")
        if key.strip() == "direction":
            raise typer.BadParameter("the direction has an option of its own: --direction", param_hint="--param")
        found[key.strip()] = value.strip()
    return found


# -- progress ----------------------------------------------------------------------------------------------------------


@contextmanager
def _progress(*, is_shown: bool) -> Iterator[Progress | None]:
    """A bar with rate and time left on stderr; nothing when nobody watches or a program reads."""
    err = error_console()
    if not is_shown or not err.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=err, transient=True) as bar:
        task = bar.add_task("시장 준비 (market)", total=None, rate="")

        def advance(done: int, total: int) -> None:
            speed = bar.tasks[0].speed
            rate = f"{speed:,.0f} 봉/s" if speed else ""
            bar.update(task, description="백테스트 (backtest)", completed=done, total=total, rate=rate)

        yield advance
