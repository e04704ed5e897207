"""Reads recordings: our own, and two layouts in which others publish theirs.

cryptofeed (a header line with the address, then seconds; sent frames are marked ``<-``, answers of REST ``->``)::

    wss://api.upbit.com/websocket/v1 <-> 1618678261.681707
    1618678263.010785: b'{"ty":"trade","cd":"KRW-LAMB", …}'
    https://fapi.binance.com/fapi/v1/depth?symbol=SUSHIUSDT&limit=1000 -> 1626992741.301402: {"lastUpdateId":…}

hftbacktest (nanoseconds; REST snapshots among the frames, without their symbol)::

    1723161255030314667 {"stream":"btcusdt@depth@0ms","data":{…}}
"""

from __future__ import annotations

import heapq
import re
import zlib
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path

from kimp.shared.domain.time import SECOND, Nanos
from kimp.storage.feeds.frames import BINANCE_PUBLIC, UPBIT, Frame, Item, depth_channel, happened_at
from kimp.storage.feeds.recorder import from_line

CHUNK = 1 << 16
_GZIP = 16 + zlib.MAX_WBITS

_OWN = re.compile(rb"\d{1,20} [\w/!.-]+ ")
_HFTBACKTEST = re.compile(rb"(\d{19}) (\{.*\})\s*$")
_SNAPSHOT = b'{"lastUpdateId"'
_SYMBOL = re.compile(rb'"s":"(\w+)"')
_ADDRESS = re.compile(rb"(wss?://\S+) <-> [\d.]+")
_RECEIVED = re.compile(rb"(\d+\.\d+): (?:b'(.*)'|(\{.*\}))\s*$")
_ANSWERED = re.compile(rb"https?://\S+/depth\?symbol=(\w+)\S* -> (\d+\.\d+): (\{.*\})\s*$")


def read_lines(path: Path) -> Iterator[bytes]:
    """The whole lines of a gzipped file, up to where it was cut off if a crash did that."""
    rest = b""
    with path.open("rb") as file:
        unpack = zlib.decompressobj(_GZIP)
        while chunk := file.read(CHUNK):
            while chunk:
                if unpack.eof:  # several gzip members may follow each other
                    unpack = zlib.decompressobj(_GZIP)
                try:
                    rest += unpack.decompress(chunk)
                except zlib.error:  # torn in the middle of a block: nothing after it can be read
                    return
                chunk = unpack.unused_data
                *lines, rest = rest.split(b"\n")
                yield from lines
    if unpack.eof and rest:
        yield rest


def read_items(path: Path) -> Iterator[Item]:
    """The items of one recording in whichever of the three layouts, in the order they are written."""
    channel, symbol = BINANCE_PUBLIC, ""
    for line in read_lines(path):
        if _OWN.match(line):
            yield from_line(line)
        elif found := _HFTBACKTEST.match(line):
            payload = found[2]
            if payload.startswith(_SNAPSHOT):
                yield Frame(depth_channel(symbol), int(found[1]), payload)
            else:
                symbol = symbol or _symbol(payload)
                yield Frame(channel, int(found[1]), payload)
        elif found := _RECEIVED.match(line):
            yield Frame(channel, _nanos(found[1]), found[2] or found[3])
        elif found := _ANSWERED.match(line):
            yield Frame(depth_channel(found[1].decode()), _nanos(found[2]), found[3])
        elif found := _ADDRESS.match(line):
            channel = UPBIT if b"upbit" in found[1] else BINANCE_PUBLIC


def merge_items(paths: Iterable[Path]) -> Iterator[Item]:
    """Several recordings as one, in the order of arrival."""
    return heapq.merge(*(read_items(path) for path in paths), key=happened_at)


def _symbol(payload: bytes) -> str:
    found = _SYMBOL.search(payload)
    return found[1].decode() if found else ""


def _nanos(seconds: bytes) -> Nanos:
    return int(Decimal(seconds.decode()) * SECOND)
