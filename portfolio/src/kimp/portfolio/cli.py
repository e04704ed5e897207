"""``kimp demo``: the whole trader in a minute. What is heavy is imported when it is called."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kimp.shared.cli import console, print_json
from kimp.shared.errors import EXIT_FAILED

if TYPE_CHECKING:
    from kimp.portfolio.demo.scenario import Scenario
    from kimp.portfolio.demo.show import MakeAudience, Played


def demo(
    is_fast: Annotated[bool, typer.Option("--fast", help="화면 없이 두 배 빠르게. No picture, twice as fast.")] = False,
    out: Annotated[Path | None, typer.Option(help="기록을 남길 디렉터리. Directory of journal and log.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="결과를 JSON으로 출력. Print facts as JSON.")] = False,
) -> None:
    """실거래와 같은 트레이더를 모의 거래소에서 1분간 보여 줍니다. The real trader, on virtual venues."""
    from kimp.portfolio.demo.facts import facts_of
    from kimp.portfolio.demo.scenario import SPEED, SPEED_FAST, Scenario
    from kimp.portfolio.demo.summary import print_summary

    directory = (_default_directory() if out is None else out).expanduser().absolute()
    scenario = Scenario(speed=SPEED_FAST if is_fast else SPEED)
    if not is_fast and not as_json and sys.stdout.isatty():
        played = _watched(scenario, directory)
    else:
        played = _read(scenario, directory, is_silent=as_json)
    if as_json:
        print_json(facts_of(played))
    else:
        print_summary(played, console())
    if not _is_fine(played):
        raise typer.Exit(EXIT_FAILED)


def _is_fine(played: "Played") -> bool:
    from kimp.portfolio.demo.facts import books_agree, sent_once

    return books_agree(played) and played.copied.agrees and sent_once(played) and played.is_quiet


def _watched(scenario: "Scenario", directory: Path) -> "Played":
    from rich.live import Live

    from kimp.portfolio.demo.show import Spectator

    with Live(console=console(), screen=True, auto_refresh=False) as live:
        return _play(scenario, directory, lambda _stage, _story, observer: Spectator(observer, live))


def _read(scenario: "Scenario", directory: Path, *, is_silent: bool) -> "Played":
    from kimp.portfolio.demo.show import Nobody, Reader

    out = console()
    return _play(
        scenario,
        directory,
        lambda stage, story, observer: Nobody() if is_silent else Reader(stage, story, observer, out),
    )


def _play(scenario: "Scenario", directory: Path, audience: "MakeAudience") -> "Played":
    """Play it; an interrupt or a termination ends everything that was started first."""
    import asyncio
    import signal

    from kimp.portfolio.demo.show import play
    from kimp.storage.collectors.supervisor import first_of

    async def played() -> "Played":
        task = asyncio.current_task()
        assert task is not None, "run by asyncio.run"
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await play(scenario, directory, audience)

    try:
        return asyncio.run(played())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    except BaseExceptionGroup as trouble:
        raise first_of(trouble) from trouble


def _default_directory() -> Path:
    from kimp.shared.config import load

    return load(environ=os.environ).settings.data.directory / "demo"
