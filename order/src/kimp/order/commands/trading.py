"""``kimp trade``: runs until Ctrl-C, SIGTERM or ``--for``; paper unless told otherwise."""

from typing import TYPE_CHECKING, Annotated

import typer

from kimp.order.commands.options import Json, Mode
from kimp.shared.cli import console, print_json

if TYPE_CHECKING:
    from kimp.order.runtime.supervisor import Trader
    from kimp.order.trading import TradeRequest
    from kimp.shared.settings import Settings

Text = str | None


def trade(
    mode: Mode = "paper",
    strategy: Annotated[Text, typer.Option(help="전략 이름. The strategy's name.", show_default=False)] = None,
    preset: Annotated[Text, typer.Option(help="프리셋. A named set of thresholds.", show_default=False)] = None,
    parameters: Annotated[
        list[str] | None, typer.Option("--param", help="threshold=0.005 (반복 가능, repeatable)", show_default=False)
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value", show_default=False)
    ] = None,
    duration: Annotated[Text, typer.Option("--for", help="이 시간만 실행. How long: 30s, 10m, 1h, 2d.")] = None,
    warms_up: Annotated[
        bool,
        typer.Option("--warm-up/--no-warm-up", help="기록된 과거로 지표를 준비. Show the strategy the past first."),
    ] = True,
    is_meant: Annotated[
        bool, typer.Option("--real-money", help="실거래 확인. Means it: live mode moves real money.")
    ] = False,
    as_json: Json = False,
) -> None:
    """거래를 실행합니다 (기본: 모의투자). Trade; paper unless --mode says otherwise."""
    import os
    from random import Random

    from kimp.order.trading import TradeRequest
    from kimp.storage.cli import run
    from kimp.storage.feeds.clocks import SystemClock
    from kimp.storage.options import seconds_of

    seconds = None if duration is None else seconds_of(duration, "--for")
    settings = _settings(mode, strategy, preset, parameters or [], assignments or [])
    clock = SystemClock()
    # It spreads pauses and names nonces; no decision is drawn with it.
    request = TradeRequest(mode, settings, clock, Random(int.from_bytes(os.urandom(16))), warms_up, mode == "live")
    if mode == "live":
        _consent(request, is_meant)
    facts = run(_trade(request, seconds, is_quiet=as_json))
    if as_json:
        print_json(facts)
    else:
        console().print(
            f"{mode}: 종료했습니다. 기록 {facts['records']}건: {facts['journal']}. "
            f"Ended; {facts['records']} records. 다음 (next): kimp pnl --mode {mode}, kimp why --mode {mode}",
            soft_wrap=True,
        )


def _settings(mode: str, strategy: Text, preset: Text, parameters: list[str], assignments: list[str]) -> "Settings":
    import os

    from kimp.shared import logs
    from kimp.shared.config import load

    chosen = [f"strategy.{key}={value}" for key, value in (("name", strategy), ("preset", preset)) if value is not None]
    if parameters:
        chosen.append(f"strategy.parameters={', '.join(parameters)}")
    found = load(mode, environ=os.environ, overrides=[*assignments, *chosen])
    logs.configure(found.settings.log, found.secrets)
    return found.settings


def _consent(request: "TradeRequest", is_meant: bool) -> None:
    import sys

    from kimp.order.commands.owner import owner
    from kimp.order.operators.consent import SENTENCE, SENTENCE_EN, require

    def ask() -> str:
        chosen, capital = request.settings.strategy, request.settings.capital.fraction
        out = console()
        out.print(f"⚠️ 실거래: {chosen.name} / {chosen.preset} / {chosen.direction}, 자본의 {capital:.0%}. Real money.")
        return str(typer.prompt(f"'{SENTENCE}' 또는 (or) '{SENTENCE_EN}'"))

    path = request.place.directory / "consent.json"
    at = request.clock.now()
    require(request.settings, path, is_meant=is_meant, by=owner(), at=at, ask=ask if sys.stdin.isatty() else None)


async def _trade(request: "TradeRequest", seconds: float | None, *, is_quiet: bool) -> dict[str, object]:
    import asyncio
    import signal
    from contextlib import suppress

    from kimp.order.trading import trading

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, ended.set)
    began = loop.time()
    async with trading(request) as trader:
        if not is_quiet:
            _greet(request)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(trader.run())
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await ended.wait()
            running.cancel()
        return _facts(request, trader, loop.time() - began)


def _greet(request: "TradeRequest") -> None:
    import sys

    chosen, mode = request.settings.strategy, request.mode
    out = console()
    out.print(
        f"{mode}: 거래를 시작합니다 (trading): {chosen.name} / {chosen.preset} / {chosen.direction}, "
        f"{request.settings.trade.coins}",
        soft_wrap=True,
    )
    out.print(f"상태 (status): kimp status --mode {mode}, 중지 (stop): kimp stop --mode {mode}", soft_wrap=True)
    sys.stdout.flush()  # whoever started us in a pipe waits for these lines


def _facts(request: "TradeRequest", trader: "Trader", elapsed: float) -> dict[str, object]:
    engine = trader.runner.engine
    slots = engine.state.slots.values()
    return {
        "mode": request.mode,
        "strategy": request.settings.strategy.name,
        "elapsed_s": round(elapsed, 3),
        "events": trader.runner.counters.events,
        "records": engine.state.version,
        "closed": sum(len(slot.closed) for slot in slots),
        "net": sum((pair.breakdown.net for slot in slots for pair in slot.closed), start=0),
        "open": sum(1 for slot in slots if slot.position is not None),
        "restarts": {name: state.restarts for name, state in trader.states.items() if state.restarts},
        "journal": request.place.journal,
    }
