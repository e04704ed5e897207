"""The process of both virtual venues: served on the wire, with diaries, asked for its books over a socket of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from aiohttp import web
from crash.life import end_with_parent
from crash.swinging import SwingingMarket, Weather

from kimp.portfolio.exchange.served import serve_venues
from kimp.portfolio.exchange.upbit_wire.figures import trade_uuid
from kimp.portfolio.exchange.virtual import VirtualExchange
from kimp.portfolio.exchange.wire_faults import (
    EXECUTED_AND_DROPPED,
    LOST_ON_THE_WAY,
    TRUNCATED,
    Faults,
    WireFault,
    answered_after,
    answered_instead,
    delayed,
)
from kimp.portfolio.markets.boards import Boards
from kimp.portfolio.markets.tether import TETHER_MARKET, WithTether
from kimp.portfolio.paper import PaperVenues
from kimp.portfolio.serving_market import pump
from kimp.shared.domain.instruments import Venue, default_pair
from kimp.shared.domain.orders import Fill
from kimp.shared.domain.time import MILLISECOND
from kimp.storage.feeds.clocks import SystemClock

MONEY = {Venue.UPBIT: {"KRW": Decimal(100_000_000)}, Venue.BINANCE: {"USDT": Decimal(70_000)}}
GATEWAY = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
QUESTION_SHARE = 0.1
"""A look at a venue is a dozen questions and fails with one of them: at the same share none would ever succeed."""

LINE_MAX = 64 * 1024 * 1024
ANSWER_S_MAX = 60.0


@dataclass(frozen=True, slots=True)
class VenuesAt:
    """Where the venues keep their books, and where they are served (0: anywhere)."""

    directory: Path
    seed: int
    ports: tuple[int, int, int] = (0, 0, 0)


class VenuesProcess:
    """The venues in a forked process; ``kill`` is kill −9, after which ``start`` brings them back at their ports."""

    def __init__(self, directory: Path, seed: int) -> None:
        self._at = VenuesAt(directory, seed)
        self._pid = 0
        self._line: socket.socket | None = None
        self._buffer = b""
        self.environment: dict[str, str] = {}

    def start(self, weather: Weather) -> None:
        """Fork, and wait until they are served."""
        ours, theirs = socket.socketpair()
        self._pid = os.fork()
        if self._pid == 0:
            ours.close()
            _die_alone(lambda: asyncio.run(_serve(self._at, theirs, weather)))
        theirs.close()
        ours.settimeout(ANSWER_S_MAX)
        self._line, self._buffer = ours, b""
        hello = self._read()
        self.environment = hello["environment"]
        self._at = VenuesAt(self._at.directory, self._at.seed, tuple(hello["ports"]))

    def weather(self, weather: Weather) -> None:
        """Change the market and the wire."""
        self._ask({"is_calm": weather.is_calm, "trouble": weather.trouble})

    def books(self) -> dict[str, Any]:
        """Everything both venues hold true: orders with their fills, balances, contracts, income, and faults so far."""
        return self._ask({"books": True})

    def kill(self) -> None:
        """Kill −9, and wait for the end."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0
        if self._line is not None:
            self._line.close()
            self._line = None

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._line is not None
        self._line.sendall(msgspec.json.encode(question) + b"\n")
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._line is not None
        parts = [self._buffer]
        while b"\n" not in parts[-1]:
            part = self._line.recv(1 << 20)
            if not part:
                raise RuntimeError("the venues' process ended by itself; see its log")
            parts.append(part)
        line, _, self._buffer = b"".join(parts).partition(b"\n")
        found: dict[str, Any] = msgspec.json.decode(line)
        return found


def _die_alone(work: Any) -> None:
    """Run in a forked child, which never returns into its parent's code."""
    end_with_parent()
    code = 1
    try:
        work()
        code = 0
    except BaseException:  # whatever it is goes to the log, not up into the parent's copy of its stack
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


async def _serve(at: VenuesAt, line: socket.socket, weather: Weather) -> None:
    clock, pair, boards = SystemClock(), default_pair("BTC"), Boards()
    at.directory.mkdir(parents=True, exist_ok=True)
    legs = [pair.korea, TETHER_MARKET, pair.abroad]
    venues = PaperVenues(legs, MONEY, clock, directory=at.directory)
    fired: dict[str, int] = {}
    dice = Random(f"{at.seed}:{clock.now()}")
    faults = {venue: _faults(dice, weather, fired) for venue in Venue}
    market = WithTether(SwingingMarket(pair, clock, weather, at.seed))
    async with serve_venues(venues, boards, clock, ports=at.ports, faults=faults) as served:
        ports = (served.upbit.port, served.binance.port, served.fx.port)
        reader, writer = await asyncio.open_connection(sock=line, limit=LINE_MAX)
        async with asyncio.TaskGroup() as group:
            pumping = group.create_task(pump(market, boards, venues))
            _say(writer, {"environment": served.environment, "ports": ports})
            while question := await reader.readline():
                asked = msgspec.json.decode(question)
                if "books" in asked:
                    both = {venue.value: _books(venues.exchanges[venue]) for venue in Venue}
                    _say(writer, {"venues": both, "fired": fired})
                else:
                    weather.is_calm, weather.trouble = asked["is_calm"], asked["trouble"]
                    _say(writer, {})
            pumping.cancel()


def _say(writer: asyncio.StreamWriter, words: dict[str, Any]) -> None:
    writer.write(msgspec.json.encode(words) + b"\n")


def _books(exchange: VirtualExchange) -> dict[str, Any]:
    simulated = exchange.simulated
    return {
        "orders": [
            {
                "client_id": order.client_id,
                "instrument_id": order.order.instrument_id,
                "side": order.order.side,
                "quantity": order.order.quantity,
                "executed": order.executed,
                "is_done": order.is_done,
                "at": order.created_at,
                "fills": [_as_told(fill) for fill in order.fills],
            }
            for order in exchange.orders()
        ],
        "balances": simulated.balances,
        "contracts": {simulated.instruments[id_].symbol: held.quantity for id_, held in simulated.contracts.items()},
        "income": simulated.income,
    }


def _as_told(fill: Fill) -> Fill:
    """A trade under the id that its venue tells the world."""
    is_upbit = fill.instrument_id.startswith(Venue.UPBIT.value)
    return msgspec.structs.replace(fill, trade_id=trade_uuid(fill.trade_id)) if is_upbit else fill


def _faults(dice: Random, weather: Weather, fired: dict[str, int]) -> Faults:
    """Orders suffer the whole share of trouble, questions a part of it; sockets and public quotes are left alone."""

    def fault(request: web.Request) -> WireFault | None:
        is_order = request.method in ("POST", "DELETE") and request.path in ("/v1/orders", "/fapi/v1/order")
        is_question = request.path.startswith(("/v1/order", "/v1/accounts", "/fapi/v")) and request.method == "GET"
        share = weather.trouble if is_order else weather.trouble * QUESTION_SHARE if is_question else 0.0
        if dice.random() >= share:
            return None
        name, found = _chosen(dice)
        name = f"{'order' if is_order else 'question'}: {name}"
        fired[name] = fired.get(name, 0) + 1
        return found

    return fault


def _chosen(dice: Random) -> tuple[str, WireFault]:
    throw = dice.random()
    if throw < 0.30:
        return "executed and dropped", EXECUTED_AND_DROPPED
    if throw < 0.40:
        return "lost on the way", LOST_ON_THE_WAY
    if throw < 0.50:
        return "truncated", TRUNCATED
    if throw < 0.62:
        return "executed, 502", answered_after(502, GATEWAY)
    if throw < 0.72:
        return "not executed, 503", answered_instead(503, b'{"code":-1008,"msg":"Server is currently overloaded."}')
    return "delayed", delayed(dice.randrange(20, 2_500) * MILLISECOND)
