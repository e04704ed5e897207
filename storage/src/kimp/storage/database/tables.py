"""How each kind of row lies in its table: columns, key, what a second arrival changes, and both directions of reading.

Times are stored to the microsecond, which is finer than any venue's; a nanosecond clock of ours is cut, never rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.candles import Candle
from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.fx import FxQuote
from kimp.shared.domain.instruments import Instrument, Kind, Side, TickBand, TradingRules, Venue
from kimp.shared.domain.money import exact
from kimp.shared.domain.premium import BasisRates, PremiumRates
from kimp.shared.domain.ticks import PublicTrade
from kimp.shared.domain.time import SECOND, Nanos, from_datetime, to_datetime
from kimp.storage.database.rows import Gap, GapReason, Row

Values = tuple[Any, ...]
Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """One table. ``update`` is what a second arrival of the same key does; empty: the first one stands.

    ``series`` is the column that names whose data it is, ``time`` the one that it is ordered and split by.
    """

    name: str
    kind: type[Row]
    columns: tuple[str, ...]
    key: tuple[str, ...]
    update: str
    series: str
    time: str | None
    encode: Callable[[Any], Values]
    decode: Callable[[Record], Any]

    @property
    def is_partitioned(self) -> bool:
        return self.time is not None and self.name != "gaps"


def _all_but_key(columns: tuple[str, ...], key: tuple[str, ...], table: str) -> str:
    """Take over the newer row, but write nothing when it says the same."""
    rest = [name for name in columns if name not in key and name != "received_at"]
    sets = ", ".join(f"{name} = excluded.{name}" for name in rest)
    ours = ", ".join(f"{table}.{name}" for name in rest)
    theirs = ", ".join(f"excluded.{name}" for name in rest)
    return f"{sets} WHERE ({ours}) IS DISTINCT FROM ({theirs})"


def _instrument_values(row: Instrument) -> Values:
    rules = row.rules
    bands = msgspec.json.encode(rules.bands).decode()
    sizes = (rules.lot, rules.minimum_quantity, rules.minimum_notional)
    return (row.id, row.venue.value, row.symbol, row.base, row.quote, row.kind.value, row.fee_rate, *sizes, bands)


def _instrument(record: Record) -> Instrument:
    bands = msgspec.json.decode(record["tick_bands"], type=tuple[TickBand, ...])
    rules = TradingRules(bands, record["lot"], record["minimum_quantity"], record["minimum_notional"])
    venue, kind = Venue(record["venue"]), Kind(record["kind"])
    return Instrument(venue, record["symbol"], record["base"], record["quote"], kind, rules, record["fee_rate"])


def _candle_values(row: Candle) -> Values:
    prices = (float(row.open), float(row.high), float(row.low), float(row.close), float(row.volume))
    opened, received = to_datetime(row.opened_at), to_datetime(row.received_at)
    return (row.instrument_id, row.interval // SECOND, opened, *prices, row.turnover, received)


def _candle(record: Record) -> Candle:
    return Candle(
        instrument_id=record["instrument_id"],
        interval=record["interval_s"] * SECOND,
        opened_at=from_datetime(record["opened_at"]),
        open=exact(record["open"]),
        high=exact(record["high"]),
        low=exact(record["low"]),
        close=exact(record["close"]),
        volume=exact(record["volume"]),
        turnover=record["turnover"],
        is_closed=True,
        received_at=from_datetime(record["received_at"]),
    )


def _book_values(row: Book) -> Values:
    return (
        row.instrument_id,
        to_datetime(row.venue_at),
        to_datetime(row.received_at),
        [float(level.price) for level in row.bids],
        [float(level.size) for level in row.bids],
        [float(level.price) for level in row.asks],
        [float(level.size) for level in row.asks],
    )


def _book(record: Record) -> Book:
    return Book(
        record["instrument_id"],
        _levels(record["bid_prices"], record["bid_sizes"]),
        _levels(record["ask_prices"], record["ask_sizes"]),
        from_datetime(record["venue_at"]),
        from_datetime(record["received_at"]),
    )


def _levels(prices: list[float], sizes: list[float]) -> tuple[Level, ...]:
    return tuple(Level(exact(price), exact(size)) for price, size in zip(prices, sizes, strict=True))


def _trade_values(row: PublicTrade) -> Values:
    times = (to_datetime(row.venue_at), to_datetime(row.received_at))
    return (row.instrument_id, row.trade_id, *times, row.side.value, row.price, row.quantity)


def _trade(record: Record) -> PublicTrade:
    return PublicTrade(
        record["instrument_id"],
        record["trade_id"],
        Side(record["side"]),
        record["price"],
        record["quantity"],
        from_datetime(record["venue_at"]),
        from_datetime(record["received_at"]),
    )


def _funding_values(row: FundingRate) -> Values:
    return (row.instrument_id, to_datetime(row.settles_at), to_datetime(row.at), row.rate)


def _funding(record: Record) -> FundingRate:
    at, settles_at = from_datetime(record["at"]), from_datetime(record["settles_at"])
    return FundingRate(record["instrument_id"], record["rate"], at, settles_at)


def _fx_values(row: FxQuote) -> Values:
    return (row.base, row.source, to_datetime(row.at), row.value, to_datetime(row.valid_until))


def _fx(record: Record) -> FxQuote:
    at, valid_until = from_datetime(record["at"]), from_datetime(record["valid_until"])
    return FxQuote(record["base"], record["value"], at, valid_until, record["source"])


RATES = tuple(field.name for field in msgspec.structs.fields(BasisRates))
BASES = ("fx", "usdt")


def _premium_values(row: PremiumRates) -> Values:
    return (row.symbol, to_datetime(row.at), *_basis_values(row.fx), *_basis_values(row.usdt))


def _basis_values(rates: BasisRates | None) -> tuple[Decimal | None, ...]:
    return tuple(getattr(rates, name) for name in RATES) if rates else (None,) * len(RATES)


def _premium(record: Record) -> PremiumRates:
    fx, usdt = (_basis(record, basis) for basis in BASES)
    return PremiumRates(record["symbol"], from_datetime(record["at"]), fx, usdt)


def _basis(record: Record, basis: str) -> BasisRates | None:
    is_there = record[f"{basis}_mid"] is not None
    return BasisRates(*(record[f"{basis}_{name}"] for name in RATES)) if is_there else None


def _gap_values(row: Gap) -> Values:
    return (row.series, to_datetime(row.start), to_datetime(row.end), row.reason.value, *_marks(row))


def _marks(row: Gap) -> tuple[datetime, datetime | None]:
    return to_datetime(row.noticed_at), None if row.repaired_at is None else to_datetime(row.repaired_at)


def _gap(record: Record) -> Gap:
    times: list[Nanos] = [from_datetime(record[name]) for name in ("from_at", "to_at", "noticed_at")]
    repaired = record["repaired_at"]
    reason = GapReason(record["reason"])
    return Gap(record["series"], times[0], times[1], reason, times[2], repaired and from_datetime(repaired))


_RULES = ("fee_rate", "lot", "minimum_quantity", "minimum_notional", "tick_bands")
_INSTRUMENT_COLUMNS = ("id", "venue", "symbol", "base", "quote", "kind", *_RULES)
_PRICES = ("open", "high", "low", "close")
_CANDLE_COLUMNS = ("instrument_id", "interval_s", "opened_at", *_PRICES, "volume", "turnover", "received_at")
_CANDLE_KEY = ("instrument_id", "interval_s", "opened_at")
_LEVELS = ("bid_prices", "bid_sizes", "ask_prices", "ask_sizes")
_TRADE_COLUMNS = ("instrument_id", "trade_id", "venue_at", "received_at", "side", "price", "quantity")
_FUNDING_COLUMNS = ("instrument_id", "settles_at", "at", "rate")
_FX_COLUMNS = ("base", "source", "at", "value", "valid_until")
_PREMIUM_COLUMNS = ("symbol", "at", *(f"{basis}_{name}" for basis in BASES for name in RATES))
_GAP_COLUMNS = ("series", "from_at", "to_at", "reason", "noticed_at", "repaired_at")
_GAP_UPDATE = """
    to_at = excluded.to_at, reason = excluded.reason, repaired_at = coalesce(excluded.repaired_at, gaps.repaired_at)
    WHERE (gaps.to_at, gaps.reason) IS DISTINCT FROM (excluded.to_at, excluded.reason)
       OR (gaps.repaired_at IS NULL AND excluded.repaired_at IS NOT NULL)"""


def _table(
    name: str,
    kind: type[Row],
    columns: Values,
    key: Values,
    shape: tuple[Any, ...],
    time: str | None,
    update: str | None,
) -> Table:
    encode, decode = shape
    changes = _all_but_key(columns, key, name) if update is None else update
    return Table(name, kind, columns, key, changes, key[0], time, encode, decode)


KEEP_FIRST = ""
TABLES: tuple[Table, ...] = (
    _table("instruments", Instrument, _INSTRUMENT_COLUMNS, ("id",), (_instrument_values, _instrument), None, None),
    _table("candles", Candle, _CANDLE_COLUMNS, _CANDLE_KEY, (_candle_values, _candle), "opened_at", None),
    _table(
        "orderbook_snapshots",
        Book,
        ("instrument_id", "venue_at", "received_at", *_LEVELS),
        ("instrument_id", "venue_at"),
        (_book_values, _book),
        "venue_at",
        KEEP_FIRST,
    ),
    _table(
        "trades",
        PublicTrade,
        _TRADE_COLUMNS,
        ("instrument_id", "trade_id", "venue_at"),
        (_trade_values, _trade),
        "venue_at",
        KEEP_FIRST,
    ),
    _table(
        "funding_rates",
        FundingRate,
        _FUNDING_COLUMNS,
        ("instrument_id", "settles_at", "at"),
        (_funding_values, _funding),
        "at",
        None,
    ),
    _table("fx_rates", FxQuote, _FX_COLUMNS, ("base", "source", "at"), (_fx_values, _fx), "at", None),
    _table("kimp_rates", PremiumRates, _PREMIUM_COLUMNS, ("symbol", "at"), (_premium_values, _premium), "at", None),
    _table("gaps", Gap, _GAP_COLUMNS, ("series", "from_at"), (_gap_values, _gap), "from_at", _GAP_UPDATE),
)
BY_KIND: dict[type, Table] = {table.kind: table for table in TABLES}
BY_NAME: dict[str, Table] = {table.name: table for table in TABLES}
