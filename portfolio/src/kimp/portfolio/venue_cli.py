"""``kimp venue serve``: both venues' wire protocols on this machine, for any client of the real ones."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kimp.shared.cli import console, error_console, print_json

if TYPE_CHECKING:
    from kimp.portfolio.exchange.served import ServedVenues
    from kimp.portfolio.serving_market import ServedRequest

venue = typer.Typer(
    help="가상 거래소: 업비트와 바이낸스의 통신 규격 그대로. Virtual venues that speak Upbit's and Binance's protocols.",
    no_args_is_help=True,
)


@venue.callback()
def _group() -> None:
    """Keeps ``serve`` a subcommand although it is the only one."""


@venue.command()
def serve(
    market: Annotated[
        str, typer.Option(help="simulated, mirror (실시간 시세), 또는 Parquet 폴더. Or a directory of recorded bars.")
    ] = "simulated",
    seed: Annotated[int, typer.Option(help="모의 시장의 시드. Seed of the simulated market.", min=0)] = 7,
    speed: Annotated[int, typer.Option(help="60이면 1분이 1초. 60 makes a minute of a second.", min=1, max=10_000)] = 1,
    coin: Annotated[str, typer.Option(help="코인. The coin.")] = "BTC",
    krw: Annotated[int, typer.Option(help="업비트의 원화. Won on Upbit.", min=0)] = 10_000_000,
    usdt: Annotated[int, typer.Option(help="바이낸스의 테더. Tether on Binance.", min=0)] = 7_000,
    port: Annotated[
        int,
        typer.Option(
            help="업비트 포트; 다음 둘은 바이낸스와 환율. Upbit's; the next two are Binance's and the rates'."
        ),
    ] = 8701,
    state: Annotated[
        Path | None, typer.Option(help="잔고와 주문을 보관할 폴더. Keeps balances and orders over restarts.")
    ] = None,
    environment: Annotated[
        Path | None, typer.Option(help="연결 설정을 쓸 파일. File to write the settings to, for --env-file.")
    ] = None,
    duration: Annotated[str | None, typer.Option("--for", help="이 시간만. How long: 30s, 10m, 1h.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="주소를 JSON으로 출력. Print the addresses as JSON.")] = False,
) -> None:
    """가상 업비트와 바이낸스를 이 컴퓨터에서 엽니다. Serve a virtual Upbit and Binance on this machine until Ctrl-C."""
    from decimal import Decimal

    from kimp.portfolio.serving_market import ServedRequest
    from kimp.storage.cli import load_settings, run
    from kimp.storage.options import seconds_of

    seconds = None if duration is None else seconds_of(duration, "--for")
    ports = (port, port + 1, port + 2) if port else (0, 0, 0)
    request = ServedRequest(
        load_settings(), market, seed, speed, coin.upper(), Decimal(krw), Decimal(usdt), ports, state
    )
    run(_serve(request, environment, seconds, as_json=as_json))


async def _serve(request: "ServedRequest", environment: Path | None, seconds: float | None, *, as_json: bool) -> None:
    import asyncio
    import signal
    from contextlib import suppress

    from kimp.portfolio.serving_market import serving_market

    ended = asyncio.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sign, ended.set)
    async with serving_market(request) as served:
        _tell(served, environment, request.speed, as_json=as_json)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await ended.wait()


def _tell(served: "ServedVenues", environment: Path | None, speed: int, *, as_json: bool) -> None:
    import sys

    from kimp.shared.errors import ConfigurationError

    lines = "".join(f"{name}={value}\n" for name, value in served.environment.items())
    if environment is not None:
        try:
            environment.write_text(lines, encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"{environment} cannot be written: {error.strerror}") from error
    if speed != 1:
        error_console().print(
            f"시장이 {speed}배로 갑니다: kimp trade는 판단하지 않습니다 (다른 시계). "
            f"The market runs at {speed} times the time: kimp trade, whose clock does not, will decide nothing on it.",
            style="yellow",
        )
    if as_json:
        print_json({"settings": served.settings, "environment": served.environment})
    else:
        console().print(
            "가상 거래소를 열었습니다 (virtual venues are open). kimp이 쓰게 하려면 (to make kimp use them):"
        )
        console().print(lines, soft_wrap=True, markup=False, end="")
    sys.stdout.flush()  # whoever started us in a pipe waits for these lines
