"""``kimp premium``: the premium now, as it moves, and as it was. Heavy imports come late."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kimp.shared.cli import console, print_json
from kimp.shared.errors import EXIT_FAILED, EXIT_NOT_RUNNING, TimedOut
from kimp.storage.cli import Json, load_settings, run

if TYPE_CHECKING:
    from rich.table import Table

    from kimp.shared.settings import Settings

Coin = Annotated[str, typer.Option(help="코인. Coin.")]
REFRESHED_S = 1.0
SHOWN_ROWS_MAX = 60

premium = typer.Typer(
    help="김프를 봅니다: 지금, 계속, 과거. The premium: now, as it moves, as it was.", no_args_is_help=True
)


@premium.command()
def now(
    coin: Coin = "BTC",
    wait: Annotated[str, typer.Option(help="거래소를 기다릴 시간. How long to wait for the venues.")] = "10s",
    as_json: Json = False,
) -> None:
    """지금의 김프를 봅니다. Show the premium of this moment; code 6 when it must not be traded on, and why."""
    from kimp.storage.options import span_of

    facts = run(_now(load_settings(), coin.upper(), span_of(wait, "--wait")))
    if as_json:
        print_json(facts)
    else:
        console().print(_table([facts]))
        _print_faults(facts)
    if not facts["valid"]:
        raise typer.Exit(EXIT_FAILED)


@premium.command()
def watch(
    coin: Annotated[str, typer.Option(help="코인, 쉼표로 구분. Coins, separated by commas.")] = "BTC",
    duration: Annotated[str | None, typer.Option("--for", help="이 시간만. How long: 30s, 10m, 1h.")] = None,
    as_json: Json = False,
) -> None:
    """김프를 실시간으로 봅니다. Watch the premium move; with --json one line a second."""
    from kimp.storage.options import seconds_of

    coins = list(dict.fromkeys(word.strip().upper() for word in coin.split(",") if word.strip()))
    run(_watch(load_settings(), coins, None if duration is None else seconds_of(duration, "--for"), as_json))


@premium.command()
def history(
    coin: Coin = "BTC",
    begin: Annotated[
        str, typer.Option("--from", help="시작. Begin: 2026-01-31, a time with its zone, or a span ago: 7d.")
    ] = "1h",
    end: Annotated[str, typer.Option("--to", help="끝(미포함). End, exclusive.")] = "now",
    every: Annotated[str, typer.Option(help="간격마다 마지막 값. The last value of each: 1m, 1h, 1d.")] = "1m",
    as_json: Json = False,
) -> None:
    """기록된 김프를 봅니다. Show the premium as it was collected; code 3 when nothing was."""
    facts = run(_history(load_settings(), coin.upper(), (begin, end), every))
    if as_json:
        print_json(facts)
    else:
        _show_history(facts)
    if not facts["rows"]:
        raise typer.Exit(EXIT_NOT_RUNNING)


async def _now(settings: "Settings", coin: str, wait: int) -> dict[str, Any]:
    from kimp.shared.domain.instruments import default_pair
    from kimp.storage.collectors.quotes import live_reading, premium_facts, stored_reading
    from kimp.storage.feeds.clocks import SystemClock

    clock, source = SystemClock(), "database"
    reading = await stored_reading(settings, coin, clock)
    if reading is None:
        reading, source = await live_reading(settings, coin, clock, wait), "venues"
    if reading.korea is None and reading.abroad is None:
        raise TimedOut(
            "neither Upbit nor Binance answered; check the connection, or look back with: kimp premium history"
        )
    return premium_facts(default_pair(coin), reading, clock.now(), source)


async def _watch(settings: "Settings", coins: list[str], seconds: float | None, as_json: bool) -> None:
    import asyncio
    from contextlib import AsyncExitStack, suppress

    from rich.live import Live

    from kimp.shared.cli import to_json
    from kimp.shared.domain.instruments import default_pair
    from kimp.storage.collectors.quotes import live_readings, premium_facts
    from kimp.storage.feeds.clocks import SystemClock

    clock, out = SystemClock(), console()
    async with AsyncExitStack() as stack:
        reads = {coin: await stack.enter_async_context(live_readings(settings, coin, clock)) for coin in coins}
        is_live = not as_json and out.is_terminal
        live = stack.enter_context(Live(console=out, auto_refresh=False)) if is_live else None
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    await asyncio.sleep(REFRESHED_S)
                    facts = [
                        premium_facts(default_pair(coin), read(), clock.now(), "venues") for coin, read in reads.items()
                    ]
                    if live is not None:
                        live.update(_table(facts), refresh=True)
                    else:
                        lines = [" ".join(to_json(fact).split()) if as_json else _line(fact) for fact in facts]
                        sys.stdout.write("\n".join(lines) + "\n")
                        sys.stdout.flush()


async def _history(settings: "Settings", coin: str, span: tuple[str, str], every: str) -> dict[str, Any]:
    import numpy as np

    from kimp.shared.domain.time import to_datetime
    from kimp.storage.data_cli import reading
    from kimp.storage.database.reader import Reader
    from kimp.storage.feeds.clocks import SystemClock
    from kimp.storage.options import moment_of, span_of
    from kimp.storage.quality import iso

    clock = SystemClock().now()
    start, stop = moment_of(span[0], "--from", clock), moment_of(span[1], "--to", clock)
    assert start is not None
    assert stop is not None
    step = span_of(every, "--every")
    async with reading(settings) as database:
        found = await Reader(database).premiums(coin, start, stop)
    places = np.flatnonzero(np.diff(found["at"] // step, append=-1))  # the last row of each step
    rows = [
        {"at": iso(to_datetime(int(found["at"][i]))), "fx_basis": float(found["fx_mid"][i])}
        | {"usdt_basis": float(found["usdt_mid"][i])}
        | {
            "executable": {
                "enter": float(found["usdt_executable_buy_korea"][i]),
                "leave": float(found["usdt_executable_sell_korea"][i]),
            }
        }
        for i in places
    ]
    return {"symbol": coin, "from": iso(to_datetime(start)), "to": iso(to_datetime(stop)), "rows": rows}


# -- for people --------------------------------------------------------------------------------------------------------


def _table(many: list[dict[str, Any]]) -> "Table":
    from rich.table import Table

    columns = (
        "코인 (coin)",
        "환율 기준 (fx)",
        "테더 기준 (usdt)",
        "진입 (enter)",
        "청산 (leave)",
        "업비트 KRW",
        "바이낸스 USDT",
    )
    table = Table(*columns, "USD/KRW", "USDT/KRW", "상태 (state)")
    for facts in many:
        table.add_row(
            facts["symbol"],
            _percent(facts["fx_basis"]),
            _percent(facts["usdt_basis"]),
            _percent(facts["executable"]["enter"]),
            _percent(facts["executable"]["leave"]),
            _amount(facts["upbit"], 0),
            _amount(facts["binance"], 2),
            _amount(facts["usdkrw"], 2),
            _amount(facts["usdtkrw"], 2),
            "유효 (valid)" if facts["valid"] else ", ".join(facts["reasons"]),
        )
    return table


def _print_faults(facts: dict[str, Any]) -> None:
    if not facts["valid"]:
        reasons = ", ".join(facts["reasons"])
        console().print(f"거래 판단에 쓸 수 없습니다 (not to be traded on): {reasons}", soft_wrap=True)


def _line(facts: dict[str, Any]) -> str:
    state = "" if facts["valid"] else "  " + ", ".join(facts["reasons"])
    return f"{facts['symbol']}  fx {_percent(facts['fx_basis'])}  usdt {_percent(facts['usdt_basis'])}{state}"


def _show_history(facts: dict[str, Any]) -> None:
    from rich.table import Table

    rows = facts["rows"]
    table = Table("시각 (UTC)", "환율 기준 (fx)", "테더 기준 (usdt)", "진입 (enter)", "청산 (leave)")
    for row in rows[-SHOWN_ROWS_MAX:]:
        executable = row["executable"]
        table.add_row(
            row["at"], *(_percent(value) for value in (row["fx_basis"], row["usdt_basis"], *executable.values()))
        )
    out = console()
    out.print(table if rows else "기록이 없습니다 (nothing was collected in this range)")
    if len(rows) > SHOWN_ROWS_MAX:
        out.print(f"마지막 {SHOWN_ROWS_MAX}개 (the last of {len(rows):,}); --every 1h, --json")


def _percent(value: Any) -> str:
    return "-" if value is None or value != value else f"{float(value) * 100:+.2f} %"


def _amount(value: Any, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
