"""Public market data over REST: https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api"""

from __future__ import annotations

from typing import Any

from kimp.portfolio.exchange.binance_wire import errors, market_shapes
from kimp.portfolio.exchange.binance_wire.broadcast import Broadcast
from kimp.portfolio.exchange.binance_wire.endpoints import Answerer, Asked, Endpoint, Security, Weight
from kimp.portfolio.exchange.binance_wire.errors import Refusal
from kimp.portfolio.exchange.binance_wire.filters import Filters, text
from kimp.portfolio.exchange.binance_wire.forms import Form
from kimp.portfolio.exchange.binance_wire.weights import Limits
from kimp.portfolio.exchange.virtual import VirtualExchange
from kimp.portfolio.markets.boards import Boards
from kimp.shared.domain.instruments import Instrument
from kimp.shared.domain.ticks import PublicTrade
from kimp.shared.domain.time import DAY, HOUR, MILLISECOND, MINUTE
from kimp.shared.ports.clock import Clock

DEPTH_LIMITS = (5, 10, 20, 50, 100, 500, 1_000)
DEPTH_WEIGHTS = {5: 2, 10: 2, 20: 2, 50: 2, 100: 5, 500: 10, 1_000: 20}
KLINES_MAX = 1_500
RECORDS_MAX = 1_000
DAY_MINUTES = DAY // MINUTE


def depth_weight(form: Form) -> int:
    """What a book costs, by its rows."""
    return DEPTH_WEIGHTS.get(form.maybe_integer("limit") or 500, 20)


def klines_weight(form: Form) -> int:
    """What candles cost, by their number."""
    limit = form.maybe_integer("limit") or 500
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1_000 else 10


class MarketDesk:
    """Answers what anybody may ask."""

    def __init__(
        self,
        exchange: VirtualExchange,
        boards: Boards,
        broadcast: Broadcast,
        clock: Clock,
        filters: dict[str, Filters],
        limits: Limits,
    ) -> None:
        self._exchange = exchange
        self._boards = boards
        self._broadcast = broadcast
        self._clock = clock
        self._filters = filters
        self._limits = limits

    def endpoints(self) -> list[Endpoint]:
        """All of it."""
        v1 = "/fapi/v1"
        rows: list[tuple[str, Weight, Answerer]] = [
            (f"{v1}/ping", 1, self.ping),
            (f"{v1}/time", 1, self.time),
            (f"{v1}/exchangeInfo", 1, self.exchange_info),
            (f"{v1}/depth", depth_weight, self.depth),
            (f"{v1}/klines", klines_weight, self.klines),
            (f"{v1}/aggTrades", 20, self.aggregate_trades),
            (f"{v1}/trades", 5, self.trades),
            (f"{v1}/premiumIndex", 1, self.premium_index),
            (f"{v1}/fundingRate", 1, self.funding_rate),
            (f"{v1}/fundingInfo", 1, self.funding_info),
            (f"{v1}/ticker/bookTicker", 2, self.book_ticker),
            (f"{v1}/ticker/24hr", 1, self.day_ticker),
            (f"{v1}/ticker/price", 1, self.price),
            ("/fapi/v2/ticker/price", 1, self.price),
        ]
        return [Endpoint("GET", path, weight, Security.NONE, answer) for path, weight, answer in rows]

    def ping(self, _asked: Asked) -> dict[str, Any]:
        """Test connectivity."""
        return {}

    def time(self, _asked: Asked) -> dict[str, Any]:
        """The venue's clock."""
        return {"serverTime": self._clock.now() // MILLISECOND}

    def exchange_info(self, _asked: Asked) -> dict[str, Any]:
        """Symbols, filters and limits."""
        return market_shapes.exchange_info(self._filters.values(), self._limits, self._clock.now())

    def depth(self, asked: Asked) -> dict[str, Any]:
        """A book, numbered like the differences of the stream."""
        instrument = self._instrument(asked.form)
        limit = asked.form.maybe_integer("limit") or 500
        if limit not in DEPTH_LIMITS:
            raise Refusal(errors.BAD_DEPTH_LIMIT.about(limit))
        return self._broadcast.tapes[instrument.id].snapshot(limit, self._clock.now())

    def klines(self, asked: Asked) -> list[Any]:
        """Candles, oldest first; without a start the newest ones."""
        instrument = self._instrument(asked.form)
        interval = market_shapes.INTERVALS.get(asked.form.text("interval"))
        if interval is None:
            raise Refusal(errors.BAD_INTERVAL)
        limit = asked.form.limit(500, KLINES_MAX)
        start, end = asked.form.period()
        minutes = market_shapes.gapless(self._boards.candles(instrument.id, KLINES_MAX))
        bars = [
            bar
            for bar in market_shapes.gathered(minutes, interval)
            if (start is None or bar.opened_at >= start) and (end is None or bar.opened_at <= end)
        ]
        return [market_shapes.kline(bar) for bar in (bars[:limit] if start is not None else bars[-limit:])]

    def aggregate_trades(self, asked: Asked) -> list[dict[str, Any]]:
        """Recent trades, with ``fromId`` or a period if wanted.

        Raises:
            Refusal: −4165 a period over an hour.
        """
        start, end = asked.form.period()
        if start is not None and end is not None and end - start > HOUR:
            raise Refusal(errors.INTERVAL_TOO_LONG.about("1/24"))
        first = asked.form.maybe_integer("fromId")
        limit = asked.form.limit(500, RECORDS_MAX)
        found = [
            trade
            for trade in self._recent(asked.form)
            if (start is None or trade.venue_at >= start)
            and (end is None or trade.venue_at <= end)
            and (first is None or trade.trade_id >= first)
        ]
        has_beginning = start is not None or first is not None
        return [market_shapes.aggregate_trade(trade) for trade in (found[:limit] if has_beginning else found[-limit:])]

    def trades(self, asked: Asked) -> list[dict[str, Any]]:
        """The most recent trades."""
        limit = asked.form.limit(500, RECORDS_MAX)
        return [market_shapes.public_trade(trade) for trade in self._recent(asked.form)[-limit:]]

    def premium_index(self, asked: Asked) -> Any:
        """Mark price and expected funding, of one symbol or all."""
        return self._one_or_all(asked.form, self._premium_index)

    def funding_rate(self, asked: Asked) -> list[dict[str, Any]]:
        """Settled rates, oldest first."""
        start, end = asked.form.period()
        limit = asked.form.limit(100, RECORDS_MAX)
        wanted = [self._instrument(asked.form)] if asked.form.maybe("symbol") else self._instruments()
        found = [
            {
                "symbol": instrument.symbol,
                "fundingTime": rate.at // MILLISECOND,
                "fundingRate": text(rate.rate),
                "markPrice": text(rate.mark),
            }
            for instrument in wanted
            for rate in self._broadcast.settled[instrument.id]
            if (start is None or rate.at >= start) and (end is None or rate.at <= end)
        ]
        return found[:limit] if start is not None else found[-limit:]

    def funding_info(self, _asked: Asked) -> list[dict[str, Any]]:
        """Symbols whose funding does not settle every eight hours."""
        rates = ((instrument, self._boards.funding(instrument.id)) for instrument in self._instruments())
        return [
            market_shapes.funding_info(instrument.symbol, rate)
            for instrument, rate in rates
            if rate is not None and rate.interval != 8 * HOUR
        ]

    def book_ticker(self, asked: Asked) -> Any:
        """The touch, of one symbol or all."""
        return self._one_or_all(asked.form, self._book_ticker)

    def day_ticker(self, asked: Asked) -> Any:
        """Twenty-four hours, of one symbol or all."""
        return self._one_or_all(asked.form, self._day_ticker)

    def price(self, asked: Asked) -> Any:
        """The last price, of one symbol or all."""
        return self._one_or_all(asked.form, self._price)

    # -- of one instrument -----------------------------------------------------------------------------------------

    def _premium_index(self, instrument: Instrument) -> dict[str, Any] | None:
        mark = self._exchange.mark(instrument.id)
        rate = self._boards.funding(instrument.id)
        return None if mark is None else market_shapes.premium_index(instrument.symbol, mark, rate, self._clock.now())

    def _book_ticker(self, instrument: Instrument) -> dict[str, Any] | None:
        told = self._broadcast.tapes[instrument.id].ticker(self._clock.now())
        if told is None:
            return None
        return {
            "symbol": told["s"], "bidPrice": told["b"], "bidQty": told["B"], "askPrice": told["a"],
            "askQty": told["A"], "time": told["T"], "lastUpdateId": told["u"],
        }  # fmt: skip

    def _day_ticker(self, instrument: Instrument) -> dict[str, Any]:
        now, trades = self._clock.now(), self._boards.trades(instrument.id, 1)
        minutes = [bar for bar in self._boards.candles(instrument.id, DAY_MINUTES) if bar.opened_at > now - DAY]
        return market_shapes.day_ticker(instrument.symbol, minutes, trades[-1] if trades else None, now)

    def _price(self, instrument: Instrument) -> dict[str, Any] | None:
        last = self._boards.last(instrument.id)
        if last is None:
            return None
        return {"symbol": instrument.symbol, "price": text(last), "time": self._clock.now() // MILLISECOND}

    def _recent(self, form: Form) -> list[PublicTrade]:
        return list(self._boards.trades(self._instrument(form).id, RECORDS_MAX))

    def _instruments(self) -> list[Instrument]:
        return [filters.instrument for filters in self._filters.values()]

    def _instrument(self, form: Form) -> Instrument:
        filters = self._filters.get(form.text("symbol"))
        if filters is None:
            raise Refusal(errors.BAD_SYMBOL)
        return filters.instrument

    def _one_or_all(self, form: Form, tell: Any) -> Any:
        if form.maybe("symbol") is not None:
            return tell(self._instrument(form)) or {}
        return [told for instrument in self._instruments() if (told := tell(instrument))]
