"""``kimp demo``: the whole program in half a minute. What is heavy is imported when it is called."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kimp.shared.cli import console, error_console, print_json
from kimp.shared.errors import ConfigurationError

if TYPE_CHECKING:
    from kimp.portfolio.demo.scenario import Stage
    from kimp.portfolio.demo.show import Played
    from kimp.research.backtest.report.artefacts import Artefacts


def demo(
    seed: Annotated[int, typer.Option(help="모의 시장의 시드. Seed of the simulated market.", min=0)] = 7,
    speed: Annotated[float, typer.Option(help="2는 두 배 빠르게. 2 is twice as fast.", min=0.1, max=100.0)] = 1.0,
    is_fast: Annotated[bool, typer.Option("--fast", help="화면 없이 바로 끝까지. No picture, flat out.")] = False,
    out: Annotated[Path | None, typer.Option(help="보고서 디렉터리. Directory of the report.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="결과를 JSON으로 출력. Print facts as JSON.")] = False,
) -> None:
    """2주치 모의 시장에서 전 과정을 보여 줍니다. Show the whole loop on a simulated fortnight, offline."""
    from kimp.portfolio.demo.scenario import Scenario, staged
    from kimp.portfolio.demo.summary import facts_of, print_summary

    directory = _writable(_default_directory(seed) if out is None else out)
    is_live = not is_fast and not as_json and sys.stdout.isatty()
    stage = staged(Scenario(seed=seed))
    played = _watch(stage, speed) if is_live else _read(stage, is_silent=as_json)
    artefacts = _written(played, directory)
    if as_json:
        print_json(facts_of(played, artefacts))
    else:
        print_summary(played, artefacts, console())


def _watch(stage: "Stage", speed: float) -> "Played":
    from rich.live import Live

    from kimp.portfolio.demo.show import Spectator, play

    with Live(console=console(), screen=True, auto_refresh=False) as live:
        return play(stage, lambda observer: Spectator(stage, observer, live, speed))


def _read(stage: "Stage", *, is_silent: bool) -> "Played":
    from kimp.portfolio.demo.show import Nobody, Reader, play

    out = console()
    return play(stage, lambda observer: Nobody() if is_silent else Reader(stage, observer, out))


def _default_directory(seed: int) -> Path:
    from kimp.shared.config import load

    return load(environ=os.environ).settings.data.directory / "runs" / f"demo-seed-{seed}"


def _writable(directory: Path) -> Path:
    """Say before half a minute of show, and not after it, that the report has no place; leave nothing behind."""
    probe, was_there = directory / f".probe-{os.getpid()}", directory.exists()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
        if not was_there:
            directory.rmdir()
    except OSError as error:
        raise _nowhere(directory, error) from error
    return directory


def _written(played: "Played", directory: Path) -> "Artefacts":
    from kimp.research.backtest.report.artefacts import write_artefacts

    error_console().print("보고서를 쓰는 중… writing the report", style="dim")
    try:
        return write_artefacts(played.result, directory)
    except OSError as error:
        raise _nowhere(directory, error) from error


def _nowhere(directory: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"the report cannot be written to {directory}: {error.strerror}; choose another place with --out"
    )
