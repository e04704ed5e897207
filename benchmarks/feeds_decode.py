"""What reading a venue's message costs: Upbit's book, and Binance's difference with the book kept from it.

    uv run python benchmarks/feeds_decode.py [--json] [--repeat 15]

Recorded frames are used where ``KIMP_TEST_DATA`` names them, else frames made up in their likeness. All contenders run
in turns in one process on the same frames, and the fastest of the turns counts, in processor time. orjson and
sortedcontainers come from an environment of their own, made for this run by uv; without it they are left out.

*ours* ends in a checked ``Book`` of exact ``Decimal`` levels, ready for the engine. The peers do less: *bare msgspec*
decodes the same typed message and stops, *json* and *orjson* decode into dictionaries of floats (Upbit) or text
(Binance) and stop. *msgspec + SortedDict* keeps Binance's book and its best 20 rows as ours does.

Targets: Upbit at most 2 × bare msgspec; 200 symbols on both venues at 10 messages a second in a quarter of one core.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from random import Random
from time import process_time
from typing import Any, NamedTuple

import msgspec

from kimp.shared.domain.books import Book, Level
from kimp.storage.feeds.binance import BinanceDecoder, BinanceSubscription
from kimp.storage.feeds.binance import wire as binance_wire
from kimp.storage.feeds.captures import merge_items
from kimp.storage.feeds.frames import BINANCE_PUBLIC, UPBIT, Frame, depth_channel, depth_symbol
from kimp.storage.feeds.upbit import UpbitDecoder, UpbitSubscription
from kimp.storage.feeds.upbit import wire as upbit_wire

PEERS = ("orjson", "sortedcontainers")
UPBIT_CAPTURE = ("cryptofeed_UPBIT.ws.62.0.txt.gz",)
BINANCE_CAPTURES = {
    "binance_quiet": ("cryptofeed_BINANCE_FUTURES.ws.1.0.txt.gz", "cryptofeed_BINANCE_FUTURES.http.0.0.txt.gz"),
    "binance_wild": ("hftbacktest_um_btcusdt_20240808.txt.gz",),
}
SYMBOLS, PER_SECOND = 200, 10
TOLD = 20


class Contender(NamedTuple):
    """Something to measure, and what has to be made ready before each turn."""

    run: Callable[[], None]
    prepare: Callable[[], None] = lambda: None


def recorded(names: tuple[str, ...]) -> list[Frame]:
    """The frames of a capture, nothing where it is not there."""
    folder = os.environ.get("KIMP_TEST_DATA")
    paths = [Path(folder) / "frames" / name for name in names] if folder else []
    if not paths or not all(path.is_file() for path in paths):
        return []
    return [item for item in merge_items(paths) if isinstance(item, Frame)]


def made_up_upbit(count: int = 300) -> list[Frame]:
    """Books of 15 rows in Upbit's SIMPLE spelling."""
    dice = Random(1)
    frames = []
    for number in range(count):
        units = [
            {
                "ap": 1e8 + i * 1e3,
                "bp": 1e8 - 1e3 - i * 1e3,
                "as": round(dice.random(), 8),
                "bs": round(dice.random(), 8),
            }
            for i in range(15)
        ]
        book = {"ty": "orderbook", "cd": "KRW-BTC", "tms": number, "tas": 1.5, "tbs": 2.5, "obu": units}
        frames.append(Frame(UPBIT, number, json.dumps(book, separators=(",", ":")).encode()))
    return frames


def made_up_binance(count: int = 1_000, rows: int = 8) -> list[Frame]:
    """A snapshot of 1,000 rows and a chain of differences near the touch."""
    dice = Random(2)
    sides = {"bids": [[f"{60000 - i}.10", "1.500"] for i in range(999)]}
    sides["asks"] = [[f"{60001 + i}.10", "1.500"] for i in range(999)]
    frames = [Frame(depth_channel("BTCUSDT"), 0, json.dumps({"lastUpdateId": 0, "T": 0, **sides}).encode())]
    for number in range(1, count):
        changes = {
            "b": [[f"{60000 - dice.randrange(60)}.10", f"{dice.randrange(1, 9)}.500"] for _ in range(rows // 2)],
            "a": [[f"{60001 + dice.randrange(60)}.10", f"{dice.randrange(1, 9)}.500"] for _ in range(rows // 2)],
        }
        ids = {"e": "depthUpdate", "E": number, "T": number, "s": "BTCUSDT", "U": number, "u": number, "pu": number - 1}
        text = json.dumps({"stream": "btcusdt@depth@100ms", "data": ids | changes}, separators=(",", ":"))
        frames.append(Frame(BINANCE_PUBLIC, number, text.encode()))
    return frames


def upbit_contenders(frames: list[Frame]) -> dict[str, Contender]:
    """What reads Upbit's books."""
    payloads = [frame.payload for frame in frames]
    typed = msgspec.json.Decoder(upbit_wire.SimpleMessage)
    floats = msgspec.json.Decoder(_float_book())
    ours = UpbitDecoder(UpbitSubscription())
    contenders: dict[str, Contender] = {
        "ours": Contender(lambda: _each(ours.read, frames)),
        "bare msgspec": Contender(lambda: _each(typed.decode, payloads)),
        "bare msgspec floats": Contender(lambda: _each(floats.decode, payloads)),
        "json": Contender(lambda: _each(json.loads, payloads)),
        "json exact to Book": Contender(lambda: _each(_plain_upbit, payloads)),
    }
    if orjson := _peer("orjson"):
        contenders["orjson"] = Contender(lambda: _each(orjson.loads, payloads))
    return contenders


def binance_contenders(frames: list[Frame]) -> dict[str, Contender]:
    """What reads Binance's differences; a book is joined outside of the measured time."""
    differences = [frame for frame in frames if b"depthUpdate" in frame.payload]
    payloads = [frame.payload for frame in differences]
    typed = msgspec.json.Decoder(binance_wire.Combined)
    contenders: dict[str, Contender] = {
        "ours": _ours_binance(frames),
        "bare msgspec": Contender(lambda: _each(typed.decode, payloads)),
        "json": Contender(lambda: _each(json.loads, payloads)),
    }
    if orjson := _peer("orjson"):
        contenders["orjson"] = Contender(lambda: _each(orjson.loads, payloads))
    if sortedcontainers := _peer("sortedcontainers"):
        contenders["msgspec + SortedDict"] = _sorted_dict(frames, sortedcontainers.SortedDict)
    return contenders


def _each(function: Callable[[Any], Any], values: list[Any]) -> None:
    for value in values:
        function(value)


def _peer(name: str) -> Any:
    try:
        return __import__(name)
    except ImportError:
        return None


def _float_book() -> Any:
    unit = msgspec.defstruct("FloatUnit", [(name, float) for name in ("ap", "bp", "bs")], gc=False)
    fields = [("cd", str), ("tms", int), ("obu", list[unit])]  # type: ignore[valid-type]
    return msgspec.defstruct("FloatBook", fields, gc=False)


def _plain_upbit(payload: bytes) -> Book:
    """The same Book by way of json, its digits kept."""
    told = json.loads(payload, parse_float=Decimal, parse_int=Decimal)
    bids = tuple(Level(unit["bp"], unit["bs"]) for unit in told["obu"] if unit["bp"])
    asks = tuple(Level(unit["ap"], unit["as"]) for unit in told["obu"] if unit["ap"])
    book = Book(told["cd"], bids, asks, int(told["tms"]), 0)
    assert book.fault() is None
    return book


def _ours_binance(frames: list[Frame]) -> Contender:
    decoders: list[BinanceDecoder] = []
    joined = _joined(frames)
    following = [frame for frame in frames[joined:] if b"depthUpdate" in frame.payload]

    def prepare() -> None:
        decoders[:] = [BinanceDecoder(BinanceSubscription())]
        _each(decoders[0].read, frames[:joined])

    return Contender(lambda: _each(decoders[0].read, following), prepare)


def _joined(frames: list[Frame]) -> int:
    """How many frames it takes until every snapshot has arrived."""
    return max(number for number, frame in enumerate(frames) if depth_symbol(frame.channel)) + 1


def _sorted_dict(frames: list[Frame], sorted_dict: Any) -> Contender:
    """Binance's book in two sorted dictionaries of Decimal, best 20 rows after each difference."""
    typed = msgspec.json.Decoder(binance_wire.Combined)
    snapshot = msgspec.json.Decoder(binance_wire.Snapshot)
    books: dict[str, tuple[Any, Any]] = {}

    def apply(rows: list[tuple[str, str]], side: Any, sign: int) -> None:
        for price, size in rows:
            key, amount = sign * Decimal(price), Decimal(size)
            if amount:
                side[key] = amount
            else:
                side.pop(key, None)

    def run() -> None:
        for frame in following:
            update: Any = typed.decode(frame.payload).data
            bids, asks = books.setdefault(update.symbol, (sorted_dict(), sorted_dict()))
            apply(update.bids, bids, -1)
            apply(update.asks, asks, 1)
            for side, sign in ((bids, -1), (asks, 1)):
                tuple([Level(sign * key, side[key]) for key in side.islice(0, TOLD)])

    def prepare() -> None:
        books.clear()
        for frame in frames:
            if symbol := depth_symbol(frame.channel):
                answer = snapshot.decode(frame.payload)
                books[symbol] = (sorted_dict(), sorted_dict())
                apply(answer.bids, books[symbol][0], -1)
                apply(answer.asks, books[symbol][1], 1)

    following = [frame for frame in frames[_joined(frames) :] if b"depthUpdate" in frame.payload]
    return Contender(run, prepare)


def measure(contenders: dict[str, Contender], count: int, repeat: int) -> dict[str, float]:
    """Microseconds per message of each contender: the best of turns taken in rotation."""
    best = dict.fromkeys(contenders, float("inf"))
    for _ in range(repeat):
        for name, contender in contenders.items():
            contender.prepare()
            began = process_time()
            contender.run()
            best[name] = min(best[name], process_time() - began)
    return {name: seconds / count * 1e6 for name, seconds in best.items()}


def facts(repeat: int) -> dict[str, Any]:
    """Everything measured, in the form that ``--json`` promises."""
    times: dict[str, dict[str, float]] = {}
    upbit = [frame for frame in recorded(UPBIT_CAPTURE) if b"orderbook" in frame.payload]
    times["upbit_book"] = measure(upbit_contenders(upbit or made_up_upbit()), len(upbit or made_up_upbit()), repeat)
    for name, capture in BINANCE_CAPTURES.items():
        frames = recorded(capture)[:20_000] or made_up_binance(rows=8 if name == "binance_quiet" else 68)
        differences = sum(b"depthUpdate" in frame.payload for frame in frames)
        times[name] = measure(binance_contenders(frames), differences, repeat)
    load = SYMBOLS * PER_SECOND * (times["upbit_book"]["ours"] + times["binance_wild"]["ours"]) / 1e6
    peers = {name: {key: value for key, value in one.items() if key != "ours"} for name, one in times.items()}
    ratios = {f"{name} / {key}": times[name]["ours"] / value for name in peers for key, value in peers[name].items()}
    return {
        "name": "feeds_decode",
        "ours": {f"{name}_us": one["ours"] for name, one in times.items()} | {"load_share_of_a_core": load},
        "peers": {f"{name}_us": one for name, one in peers.items()},
        "ratios": ratios,
        "machine": {"processor": platform.machine(), "python": platform.python_version(), "recorded": bool(upbit)},
        "versions": {name: _version(name) for name in ("kimp-storage", "msgspec", *PEERS)},
    }


def _version(name: str) -> str | None:
    return version(name) if name.startswith("kimp") or _peer(name) else None


def with_peers(arguments: list[str]) -> int | None:
    """Run again in an environment that has the peers too; ``None`` where that cannot be made."""
    extra = [word for name in PEERS for word in ("--with", name)]
    command = ["uv", "run", "--quiet", *extra, "python", __file__, "--here", *arguments]
    try:
        return subprocess.run(command, check=False).returncode
    except OSError:
        return None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print facts as JSON")
    parser.add_argument("--repeat", type=int, default=15, help="turns; the fastest counts")
    parser.add_argument("--here", action="store_true", help="in this environment, with the peers it happens to have")
    options = parser.parse_args()
    if not options.here and with_peers(sys.argv[1:]) == 0:
        return
    found = facts(options.repeat)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for name in ("upbit_book", "binance_quiet", "binance_wild"):
        print(f"{name:14} ours {found['ours'][name + '_us']:6.1f} µs", end="")
        for peer, value in found["peers"][name + "_us"].items():
            print(f"   {peer} {value:.1f} ({found['ratios'][f'{name} / {peer}']:.1f} ×)", end="")
        print()
    share = found["ours"]["load_share_of_a_core"]
    print(
        f"{SYMBOLS} symbols × 2 venues × {PER_SECOND}/s: {share:.0%} of one core ({'met' if share < 0.25 else 'missed'})"
    )


if __name__ == "__main__":
    main()
