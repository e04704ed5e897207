"""Reads a hosted database through its REST interface, for those who have a key and no connection to PostgreSQL.

Slower than :class:`kimp.storage.client.StorageClient` by far (JSON, a thousand rows a request), but exact: PostgREST sends
``numeric`` as a JSON number, which becomes a binary float on the way, so those columns are asked for as text and come
back as ``Decimal``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import Any, Literal

import httpx
import msgspec
import numpy as np
from numpy.typing import NDArray
from supabase import Client, PostgrestAPIError, create_client
from supabase.lib.client_options import SyncClientOptions

from kimp.shared.domain.instruments import Instrument
from kimp.shared.domain.time import SECOND, Nanos, from_datetime
from kimp.shared.errors import ConfigurationError, DataError, NotRunning
from kimp.shared.settings import SecretStr
from kimp.storage.client.frames import As, Columns, Frame, shaped
from kimp.storage.client.moments import Interval, Moment, edge, length, span
from kimp.storage.database.rows import Row
from kimp.storage.database.tables import BASES, BY_NAME, RATES

PAGE = 1_000
"""What hosted services send at most; a server that sends less is asked more often."""
ANSWER_S_MAX = 30.0
_REFUSED = ("42501", "PGRST301", "PGRST302", "PGRST303", "401", "403")
"""Permission denied by PostgreSQL; a token PostgREST does not accept; the gateway's own refusals."""
_NO_TABLE = ("42P01", "PGRST205")

ColumnKind = Literal["time", "number", "exact", "integer", "text", "array", "json"]
Record = Mapping[str, Any]

_TYPES: dict[str, ColumnKind] = {
    **dict.fromkeys(("opened_at", "venue_at", "received_at", "settles_at", "at", "valid_until"), "time"),
    **dict.fromkeys(("from_at", "to_at", "noticed_at", "repaired_at"), "time"),
    **dict.fromkeys(("open", "high", "low", "close", "volume"), "number"),
    **dict.fromkeys(("turnover", "price", "quantity", "rate", "value"), "exact"),
    **dict.fromkeys(("fee_rate", "lot", "minimum_quantity", "minimum_notional"), "exact"),
    **dict.fromkeys((f"{basis}_{name}" for basis in BASES for name in RATES), "exact"),
    **dict.fromkeys(("trade_id", "interval_s"), "integer"),
    **dict.fromkeys(("bid_prices", "bid_sizes", "ask_prices", "ask_sizes"), "array"),
    "tick_bands": "json",
}
_PREMIUMS = tuple(f"{basis}_{name}" for basis in BASES for name in RATES)


class SupabaseReader:
    """Reads through ``{url}/rest/v1``; the methods are those of ``StorageClient``, numbers that are money are ``Decimal``.

    Args:
        url: the project's address.
        key: the project's key, which the gateway wants to see.
        token: a JSON Web Token whose role may read (``kimp_reader``); without it the key itself has to be one. The
            anonymous key reads nothing: row-level security sees to that.

    Raises:
        ConfigurationError: the address or the key cannot be one.
    """

    def __init__(self, url: str, key: SecretStr, token: SecretStr | None = None) -> None:
        self._http = httpx.Client(timeout=ANSWER_S_MAX, follow_redirects=True)
        options = SyncClientOptions(httpx_client=self._http, auto_refresh_token=False, persist_session=False)
        if token is not None:
            options.headers["Authorization"] = f"Bearer {token.get_secret_value()}"
        try:
            self._client: Client = create_client(url, key.get_secret_value(), options)
        except Exception as error:  # its own exception type moves from version to version
            self._http.close()
            raise ConfigurationError(f"{url} cannot be used ({error}); check the project's address and key") from None

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> SupabaseReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def ohlcv(
        self,
        instrument: str,
        interval: Interval = "1m",
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        as_: As = "pandas",
    ) -> Frame:
        """Closed bars by ``opened_at``: open, high, low, close, volume, and the exact turnover in the quote asset."""
        names = ("opened_at", "open", "high", "low", "close", "volume", "turnover")
        only: dict[str, str | int] = {"instrument_id": instrument, "interval_s": length(interval) // SECOND}
        return _framed(self._rows("candles", names, only, ("opened_at",), start, end), names, as_)

    def orderbooks(
        self, instrument: str, start: Moment | None = None, end: Moment | None = None, *, as_: As = "pandas"
    ) -> Frame:
        """Books by ``venue_at``; each side's prices and sizes are lists, the best level first."""
        names = ("venue_at", "received_at", "bid_prices", "bid_sizes", "ask_prices", "ask_sizes")
        only = {"instrument_id": instrument}
        return _framed(self._rows("orderbook_snapshots", names, only, ("venue_at",), start, end), names, as_)

    def trades(
        self, instrument: str, start: Moment | None = None, end: Moment | None = None, *, as_: As = "pandas"
    ) -> Frame:
        """Other people's trades by ``venue_at``: trade_id, exact price and quantity, side of the taker."""
        names = ("venue_at", "trade_id", "price", "quantity", "side")
        only = {"instrument_id": instrument}
        return _framed(self._rows("trades", names, only, ("venue_at", "trade_id"), start, end), names, as_)

    def funding(
        self, instrument: str, start: Moment | None = None, end: Moment | None = None, *, as_: As = "pandas"
    ) -> Frame:
        """Exact funding rates by ``settles_at``, each as it was last known when it settled."""
        names = ("settles_at", "rate", "at")
        rows = self._rows("funding_rates", names, {"instrument_id": instrument}, ("settles_at", "at"), start, end)
        settled = {row["settles_at"]: row for row in rows if _nanos(row["at"]) <= _nanos(row["settles_at"])}
        return _framed(list(settled.values()), names[:2], as_)

    def fx(
        self,
        base: str = "USD",
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        source: str | None = None,
        as_: As = "pandas",
    ) -> Frame:
        """Exact KRW per ``base`` (USD, USDT) by the moment ``at`` it was known: value, valid_until, source."""
        names = ("at", "value", "valid_until", "source")
        only: dict[str, str | int] = {"base": base} if source is None else {"base": base, "source": source}
        return _framed(self._rows("fx_rates", names, only, ("at", "source"), start, end), names, as_)

    def premium(
        self, symbol: str = "BTC", start: Moment | None = None, end: Moment | None = None, *, as_: As = "pandas"
    ) -> Frame:
        """The kimchi premium by minute ``at``, as exact fractions on both bases; ``None`` while a rate was missing."""
        names = ("at", *_PREMIUMS)
        return _framed(self._rows("kimp_rates", names, {"symbol": symbol}, ("at",), start, end), names, as_)

    def gaps(self, series: str, start: Moment | None = None, end: Moment | None = None, *, as_: As = "pandas") -> Frame:
        """The gaps of a series (``candles:upbit:KRW-BTC:60``) that begin in the range, and why."""
        names = ("from_at", "to_at", "reason", "noticed_at", "repaired_at")
        return _framed(self._rows("gaps", names, {"series": series}, ("from_at",), start, end), names, as_)

    def latest(self, kind: str, series: str) -> Row | None:
        """The newest row of one series of a table, exactly as it was written; ``None`` before the first."""
        table = BY_NAME[kind]
        query = self._client.table(kind).select(*_selected(table.columns)).eq(table.series, series)
        found = self._answer(query.order(str(table.time), desc=True).limit(1))
        row: Row | None = table.decode(_exact(found[0])) if found else None
        return row

    def instruments(self) -> list[Instrument]:
        """Everything ever collected, with the venue's rules as last seen; exact decimals."""
        table = BY_NAME["instruments"]
        found = self._answer(self._client.table("instruments").select(*_selected(table.columns)).order("id"))
        return [table.decode(_exact(row)) for row in found]

    def _rows(
        self,
        table: str,
        names: tuple[str, ...],
        only: Mapping[str, str | int],
        key: tuple[str, ...],
        start: Moment | None,
        end: Moment | None,
    ) -> list[dict[str, Any]]:
        """All rows of ``[start, end)`` in order of the key, page by page.

        Each page begins behind the last row of the one before it, not at a number: rows that arrive meanwhile shift
        numbers, and a row would be told twice or never.
        """
        since, until = (edge(at).isoformat() for at in span(start, end))
        found: list[dict[str, Any]] = []
        while True:
            query = self._client.table(table).select(*_selected(names)).gte(key[0], since).lt(key[0], until)
            for name, value in only.items():
                query = query.eq(name, value)
            if found:
                query = query.or_(_behind(key, found[-1]))
            for name in key:
                query = query.order(name)
            page = self._answer(query.limit(PAGE))
            if not page:
                return found
            found += page

    def _answer(self, query: Any) -> list[dict[str, Any]]:
        try:
            rows: list[dict[str, Any]] = query.execute().data
        except PostgrestAPIError as error:
            code = str(error.code)
            if code in _REFUSED:
                raise ConfigurationError(
                    f"the database refuses this key ({error.message}); use a token of the role kimp_reader"
                ) from error
            if code in _NO_TABLE:
                raise ConfigurationError(
                    f"the database is not set up ({error.message}); run: kimp db migrate"
                ) from error
            raise DataError(f"the database did not answer as it should ({code}: {error.message})") from error
        except httpx.HTTPError as error:
            raise NotRunning(f"{self._client.supabase_url} does not answer ({type(error).__name__})") from error
        return rows


def _selected(names: tuple[str, ...]) -> list[str]:
    return [f"{name}::text" if _TYPES.get(name) == "exact" else name for name in names]


def _behind(key: tuple[str, ...], last: Record) -> str:
    """A filter for what comes after a row: greater in the first column, or equal there and greater in the next."""
    clauses = []
    for place, name in enumerate(key):
        equal = [f'{before}.eq."{last[before]}"' for before in key[:place]]
        greater = f'{name}.gt."{last[name]}"'
        clauses += [f"and({','.join([*equal, greater])})" if equal else greater]
    return ",".join(clauses)


def _nanos(text: str) -> Nanos:
    return from_datetime(datetime.fromisoformat(text))


def _exact(row: Record) -> Record:
    """A row as the database's own driver would give it."""

    def value(name: str) -> Any:
        raw = row[name]
        if raw is None:
            return None
        match _TYPES.get(name, "text"):
            case "time":
                return datetime.fromisoformat(raw)
            case "exact":
                return Decimal(raw)
            case "json":
                return _json(raw)
            case _:
                return raw

    return {name: value(name) for name in row}


def _json(raw: Any) -> str:
    """A JSON column as text again, which is how rows are decoded."""
    return msgspec.json.encode(raw).decode()


def _framed(rows: list[dict[str, Any]], names: tuple[str, ...], as_: As) -> Frame:
    arrays = {name: _array([row[name] for row in rows], _TYPES.get(name, "text")) for name in names}
    times = tuple(name for name in names if _TYPES.get(name) == "time")
    return shaped(Columns(arrays, names[0], times), as_)


def _array(values: list[Any], kind: ColumnKind) -> NDArray[Any]:
    match kind:
        case "time":
            missing = int(np.iinfo(np.int64).min)
            return np.array([missing if value is None else _nanos(value) for value in values], dtype=np.int64)
        case "number":
            return np.array(values, dtype=np.float64)
        case "integer":
            return np.array(values, dtype=np.int64)
        case "exact":
            return _objects([None if value is None else Decimal(value) for value in values])
        case _:
            return _objects(values)


def _objects(values: list[Any]) -> NDArray[Any]:
    """One object a row; numpy would make a table of equally long lists."""
    array = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):
        array[row] = value
    return array
