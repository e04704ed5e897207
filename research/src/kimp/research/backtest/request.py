"""From what the owner asked for to a finished run: market, strategy, engine, and where the numbers came from.

Nothing is printed and nothing is read but the market: the command line above this and the tests use the same path.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from shlex import join
from typing import Any

import msgspec
import numpy as np

from kimp.order.engine.settings import engine_settings
from kimp.research.backtest.engine import BacktestEngine, BacktestSettings, Progress
from kimp.research.backtest.result import BacktestResult
from kimp.research.backtest.treasury import Rebalance
from kimp.research.simulation.market import simulate_market
from kimp.research.simulation.slippage import FixedSlippage
from kimp.shared.domain.history import Candles, MarketData, Observations
from kimp.shared.domain.signals import Direction
from kimp.shared.domain.time import DAY, MINUTE, Nanos, to_datetime
from kimp.shared.errors import DataError
from kimp.shared.pairs import pair_of
from kimp.shared.plugins import strategy_of
from kimp.shared.ports.strategy import Strategy
from kimp.shared.settings import Settings
from kimp.storage.archive import read_market

SIMULATED = "simulated"
"""The market that needs no files."""

SIMULATED_END: Nanos = 20_089 * DAY
"""2025-01-01 UTC: a fixed day, so that two people who type the same command see the same report."""

SIMULATED_LENGTH: Nanos = 90 * DAY

SIMULATED_YEARS_MAX = 10
"""Minutes of ten years are all a laptop's memory should hold; a slip in a date must not fill it."""

TRADED_SECTIONS = ("capital", "costs", "strategy", "guards", "execution")
"""Sections of the configuration that change what a run does."""


@dataclass(frozen=True, slots=True)
class Request:
    """Everything a run depends on besides the recorded data and the version of the program.

    ``start`` and ``end`` are nanoseconds UTC, ``interval`` nanoseconds; ``None`` takes what the market offers.
    ``parameters`` override single thresholds of the preset, as text.
    """

    settings: Settings
    capital: Decimal
    market: str = SIMULATED
    start: Nanos | None = None
    end: Nanos | None = None
    interval: Nanos | None = None
    seed: int = 7
    fx: str = "ecb"
    rebalance: Rebalance = Rebalance.WHEN_FLAT
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def is_simulated(self) -> bool:
        return self.market == SIMULATED


def prepare(request: Request) -> tuple[BacktestEngine, dict[str, Any]]:
    """An engine ready to run, and the run's meta: its hashes, seed, version and the command that repeats it.

    Raises:
        ConfigurationError: unknown strategy, preset, threshold, directory, source or series.
        DataError: crossed or uncovered dates, or a row that cannot be true.
    """
    direction = Direction(request.settings.strategy.direction)
    strategy = strategy_of(request.settings, request.parameters)
    data = market_of(request)
    settings = BacktestSettings(
        capital=request.capital,
        engine=engine_settings(request.settings),
        slippage=FixedSlippage(float(request.settings.costs.slippage)),
        rebalance=request.rebalance,
    )
    engine = BacktestEngine(data, strategy, direction, settings, pair_of(request.settings, data.base))
    return engine, _meta(request, strategy, data)


def run(request: Request, progress: Progress | None = None) -> BacktestResult:
    """The whole run.

    Raises:
        KimpError: see ``prepare``; and ``ValidationFailed`` when the capital never suffices for one lot.
    """
    engine, meta = prepare(request)
    return engine.run(preset=request.settings.strategy.preset, meta=meta, progress=progress)


def market_of(request: Request) -> MarketData:
    """The market asked for: simulated from the seed, or recorded in a directory."""
    start, end = request.start, request.end
    if start is not None and end is not None and start >= end:
        raise DataError(f"The range starts at {_iso(start)} and ends at {_iso(end)}; let --from come before --to.")
    if not request.is_simulated:
        return read_market(Path(request.market), start=start, end=end, interval=request.interval, fx=request.fx)
    if end is None:
        end = SIMULATED_END if start is None else start + SIMULATED_LENGTH
    start = end - SIMULATED_LENGTH if start is None else start
    if end - start > SIMULATED_YEARS_MAX * 366 * DAY:
        raise DataError(f"A simulated market lasts {SIMULATED_YEARS_MAX} years at most; bring --from and --to closer.")
    return simulate_market(seed=request.seed, start=start, end=end, interval=request.interval or MINUTE)


def data_hash(data: MarketData) -> str:
    """One hash over every number of a market: equal data, equal hash, whatever file it came from."""
    digest = blake2b(f"{data.base} {data.interval} {data.start} {data.end}".encode(), digest_size=16)
    for part in (data.korea, data.abroad, data.usdkrw, data.usdtkrw, data.funding):
        for column in _columns(part):
            digest.update(len(column).to_bytes(8, "big"))
            digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()


def _columns(part: Candles | Observations | None) -> tuple[Any, ...]:
    match part:
        case Candles():
            return part.opened, part.open, part.high, part.low, part.close, part.volume
        case Observations():
            return part.at, part.value
        case None:
            return ()


def _meta(request: Request, strategy: Strategy, data: MarketData) -> dict[str, Any]:
    thresholds = getattr(strategy, "settings", None)
    parameters = (
        msgspec.to_builtins(thresholds, builtin_types=(Decimal,), str_keys=True)
        if isinstance(thresholds, msgspec.Struct)
        else request.parameters
    )
    configured = {
        "settings": {name: msgspec.to_builtins(getattr(request.settings, name)) for name in TRADED_SECTIONS},
        "parameters": parameters,
        "capital": request.capital,
        "rebalance": request.rebalance,
    }
    encoded = msgspec.json.encode(configured, order="deterministic")
    return {
        "config_hash": blake2b(encoded, digest_size=16).hexdigest(),
        "data_hash": data_hash(data),
        "seed": request.seed if request.is_simulated else None,
        "version": version("kimp-research"),
        "command": command_of(request, data),
        "entry_threshold": getattr(thresholds, "threshold", None),
        "parameters": parameters,
    }


def command_of(request: Request, data: MarketData) -> str:
    """A command line that repeats this run, with everything that was left to defaults spelt out."""
    settings = request.settings
    words = ["kimp", "backtest", "--market", request.market]
    words += ["--preset", settings.strategy.preset, "--direction", settings.strategy.direction]
    words += ["--from", _iso(data.start), "--to", _iso(data.end), "--interval", f"{data.interval // MINUTE}m"]
    words += ["--capital", f"{request.capital:f}", "--rebalance", request.rebalance.value]
    words += ["--seed", f"{request.seed}"] if request.is_simulated else ["--fx", request.fx]
    for key, value in request.parameters.items():
        words += ["--param", f"{key}={value}"]
    plain = Settings()
    for section in TRADED_SECTIONS:
        ours, default = getattr(settings, section), getattr(plain, section)
        for name in ours.__struct_fields__:
            value = getattr(ours, name)
            if value != getattr(default, name) and (section, name) not in SPELT_OUT:
                words += ["--set", f"{section}.{name}={value}"]
    return join(words)


SPELT_OUT = {("strategy", "preset"), ("strategy", "direction")}
"""Settings that have an option of their own in the command."""


def _iso(at: Nanos) -> str:
    return to_datetime(at).isoformat().replace("+00:00", "Z")
