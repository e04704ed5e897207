"""``kimp data``: what was collected, what is missing, and bringing data in and out. Heavy imports come late."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kimp.shared.cli import console, error_console, print_json
from kimp.shared.errors import EXIT_TIMEOUT, NotRunning
from kimp.storage.cli import Json, load_settings, run

if TYPE_CHECKING:
    from kimp.shared.settings import Settings
    from kimp.storage.database.pool import Database

From = Annotated[
    str | None,
    typer.Option("--from", help="시작. Begin: 2026-01-31, 2026-01-31T09:00+09:00, or a span ago such as 7d."),
]
To = Annotated[str, typer.Option("--to", help="끝(미포함). End, exclusive; now by default.")]
Coin = Annotated[str | None, typer.Option(help="코인. Coin such as BTC; by default those of collect.coins.")]

data = typer.Typer(
    help="수집한 데이터를 채우고, 살피고, 주고받습니다. Fill in, look at and exchange collected data.",
    no_args_is_help=True,
)


@data.command()
def fetch(
    begin: From = "1d",
    end: To = "now",
    coin: Coin = None,
    as_json: Json = False,
) -> None:
    """빠진 분을 거래소에서 채웁니다. Fetch missing minutes from the venues; run it again to go on where it ended."""
    from kimp.storage.collectors.fetching import fetch as fetching

    facts = run(fetching(load_settings(), begin, end, coin))
    if as_json:
        print_json(facts)
    else:
        _show_fetched(facts)
    if any(part.trouble for part in facts["series"]) or facts["trouble"]:
        raise typer.Exit(EXIT_TIMEOUT)


@data.command(name="import")
def import_(
    path: Annotated[Path, typer.Argument(help="파일 또는 폴더. A file, or a directory of files, of DATA_LAYOUT.md.")],
    name: Annotated[
        str | None,
        typer.Option("--as", help="CSV의 새 이름. What a CSV of yours holds: upbit_KRW-BTC_1h_mine.parquet."),
    ] = None,
    replace: Annotated[bool, typer.Option(help="있는 파일을 바꿉니다. Replace the file made of a CSV before.")] = False,
    as_json: Json = False,
) -> None:
    """파일을 데이터베이스로 가져옵니다. Load files of recorded market data into the database."""
    from kimp.storage.collectors.fetching import import_files

    facts = run(import_files(load_settings(), path, name, replace))
    if as_json:
        print_json(facts)
        return
    for part in facts["files"]:
        console().print(f"{part.file}: {part.rows:,}행 (rows), 새로 (new) {part.added:,}", soft_wrap=True)


@data.command()
def status(as_json: Json = False) -> None:
    """무엇이 얼마나 쌓였는지 봅니다. Show what there is of each series, and how old its newest row is."""
    facts = run(_status(load_settings()))
    if as_json:
        print_json(facts)
    else:
        _show_status(facts)


@data.command()
def gaps(
    begin: From = None,
    end: To = "now",
    coin: Coin = None,
    series: Annotated[str | None, typer.Option(help="한 계열만. One series only: candles:upbit:KRW-BTC:60.")] = None,
    as_json: Json = False,
) -> None:
    """빠진 분과 그 이유를 봅니다. Show every missing minute and why it is missing."""
    facts = run(_gaps(load_settings(), begin, end, coin, series))
    if as_json:
        print_json(facts)
    else:
        _show_gaps(facts)


@data.command()
def export(
    directory: Annotated[Path, typer.Argument(help="폴더. Directory to write the files of DATA_LAYOUT.md to.")],
    begin: From = None,
    end: To = "now",
    coin: Coin = None,
    replace: Annotated[bool, typer.Option(help="있는 파일을 바꿉니다. Replace files that are there.")] = False,
    as_json: Json = False,
) -> None:
    """데이터베이스를 파일로 내보냅니다. Write bars and funding as files that a backtest reads."""
    facts = run(_export(load_settings(), directory, (begin, end), coin, replace))
    if as_json:
        print_json(facts)
        return
    for part in facts["files"]:
        console().print(f"{part.path}: {part.rows:,}행 (rows)", soft_wrap=True)
    if not facts["files"]:
        console().print("내보낼 것이 없습니다 (nothing to export)")


@data.command()
def archive(as_json: Json = False) -> None:
    """보관 기간이 지난 데이터를 Parquet으로 옮깁니다. Move rows past their time into Parquet files, now."""
    facts = run(_archive(load_settings()))
    if as_json:
        print_json(facts)
        return
    for part in facts["archived"]:
        console().print(f"{part.partition} → {part.path}: {part.rows:,}행 (rows)", soft_wrap=True)
    if not facts["archived"]:
        console().print("옮길 것이 없습니다 (nothing is past its time)")


# -- the work ----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def reading(settings: "Settings") -> AsyncIterator["Database"]:
    """The database with its tables, for commands that only look.

    Raises:
        NotRunning: nothing was ever collected here, or somebody else's server does not answer.
    """
    from kimp.storage.database.migrate import migrate
    from kimp.storage.database.pool import Database

    database = Database.of(settings)
    if database.server is not None and not database.server.data.is_dir():
        raise NotRunning(f"there are no data in {database.server.directory} yet; begin with: kimp collect")
    async with database:
        await migrate(database)
        yield database


async def _status(settings: "Settings") -> dict[str, Any]:
    from kimp.storage.feeds.clocks import SystemClock
    from kimp.storage.quality import status as find

    async with reading(settings) as database:
        return {"where": database.where, "series": await find(database, SystemClock().now())}


async def _gaps(
    settings: "Settings", begin: str | None, end: str, coin: str | None, only: str | None
) -> dict[str, Any]:
    from kimp.shared.domain.time import SECOND
    from kimp.storage.collectors.program import coins_of
    from kimp.storage.database.reader import Reader
    from kimp.storage.feeds.clocks import SystemClock
    from kimp.storage.gaps import candle_series, premium_series
    from kimp.storage.options import moment_of
    from kimp.storage.quality import coverage, gap_facts

    now, period = SystemClock().now(), settings.collect.premium_s * SECOND
    start, stop = moment_of(begin, "--from", now), moment_of(end, "--to", now)
    assert stop is not None
    coins = coins_of(settings) if coin is None else (coin.upper(),)
    names = [only] if only else []
    for each in () if only else coins:
        names += [candle_series(f"upbit:KRW-{each}"), candle_series(f"binance:{each}USDT")]
        names += [premium_series(each, period)]
    if not only:
        names.append(candle_series("upbit:KRW-USDT"))
    async with reading(settings) as database:
        reader = Reader(database)
        found = [await coverage(reader, name, start, stop, now) for name in dict.fromkeys(names)]
    totals = {part.series: {"expected": part.expected, "present": part.present} for part in found}
    return gap_facts(found) | {"series": totals}


async def _export(
    settings: "Settings", directory: Path, span: tuple[str | None, str], coin: str | None, replace: bool
) -> dict[str, Any]:
    from kimp.storage.collectors.files import export as write
    from kimp.storage.collectors.program import coins_of
    from kimp.storage.database.reader import Reader
    from kimp.storage.database.upsert import EARLIEST
    from kimp.storage.feeds.clocks import SystemClock
    from kimp.storage.options import moment_of

    now = SystemClock().now()
    start, stop = moment_of(span[0], "--from", now) or EARLIEST, moment_of(span[1], "--to", now)
    assert stop is not None
    async with reading(settings) as database:
        coins = coins_of(settings) if coin is None else (coin.upper(),)
        files: dict[Path, Any] = {}
        for each in coins:  # the tether is written with the first coin
            again = replace or bool(files)
            files |= {
                part.path: part for part in await write(directory, each, Reader(database), start, stop, replace=again)
            }
    return {"files": list(files.values())}


async def _archive(settings: "Settings") -> dict[str, Any]:
    from kimp.storage.collectors.program import ARCHIVE_FOLDER
    from kimp.storage.database.retention import maintain

    async with reading(settings) as database:
        done = await maintain(database, settings.data.directory.expanduser() / ARCHIVE_FOLDER)
    return {"partitions_made": done.partitions_made, "archived": list(done.archived)}


# -- for people --------------------------------------------------------------------------------------------------------


def _show_fetched(facts: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(
        "계열 (series)", "있음 (present)", "새로 (added)", "거래 없음 (no trade)", "중단 (halted)", "미수집 (open)"
    )
    for part in facts["series"]:
        missing = [f"{part.missing[reason]:,}" for reason in ("no_trade", "halted", "not_collected")]
        table.add_row(part.series, f"{part.present:,}/{part.expected:,}", f"{part.added:,}", *missing)
        if part.trouble:
            error_console().print(f"{part.series}: {part.trouble}", soft_wrap=True)
    console().print(table)


def _show_status(facts: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table("계열 (series)", "행 (rows)", "처음 (first, UTC)", "마지막 (last, UTC)", "나이 s (age)")
    for part in facts["series"]:
        table.add_row(part.series, f"{part.rows:,}", part.first, part.last, f"{part.age_s:,.0f}")
    out = console()
    out.print(facts["where"], soft_wrap=True)
    out.print(table)


def _show_gaps(facts: dict[str, Any]) -> None:
    from rich.table import Table

    out = console()
    out.print(
        f"있어야 할 (expected) {facts['expected']:,}, 있음 (present) {facts['present']:,}, "
        f"빠짐 (missing) {facts['missing']:,}"
    )
    table = Table("계열 (series)", "부터 (from, UTC)", "까지 (to, UTC)", "분 (minutes)", "이유 (reason)")
    for gap in facts["gaps"]:
        table.add_row(gap["series"], gap["from"], gap["to"], f"{gap['minutes']:,}", gap["reason"])
    if facts["gaps"]:
        out.print(table)
