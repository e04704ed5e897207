"""The quotation API's endpoints: markets, books, tickers, trades and candles, for everybody."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from kimp.portfolio.exchange.upbit_wire import public
from kimp.portfolio.exchange.upbit_wire.calls import Answer, Call
from kimp.portfolio.exchange.upbit_wire.errors import code_not_found, invalid
from kimp.portfolio.exchange.upbit_wire.figures import moment
from kimp.portfolio.exchange.upbit_wire.tape import MINUTES, Bar, DayFigures, bars, day_figures
from kimp.portfolio.markets.boards import Boards
from kimp.shared.domain.books import Book
from kimp.shared.domain.candles import Candle
from kimp.shared.domain.instruments import Instrument
from kimp.shared.domain.ticks import PublicTrade
from kimp.shared.domain.time import DAY, MINUTE, Nanos

BARS_MAX = 200
TICKS_MAX = 500
ROWS_MAX = 30
DAY_CANDLES = 2 * DAY // MINUTE
"""Minutes looked back for a day's figures: today, the last 24 hours and yesterday's close."""

MINUTES_OF_A_DAY = DAY // MINUTE


class Quotes:
    """What the market boards hold, in the order the wire wants it."""

    def __init__(self, boards: Boards, markets: Mapping[str, Instrument]) -> None:
        self._boards = boards
        self.markets = markets
        self._days: dict[str, tuple[Nanos, int, DayFigures]] = {}
        self._closes: dict[str, tuple[Nanos, Decimal]] = {}

    def book(self, instrument: Instrument) -> Book | None:
        """The latest book."""
        return self._boards.book(instrument.id)

    def trades(self, instrument: Instrument, count: int) -> list[PublicTrade]:
        """The latest trades, newest first."""
        found = self._boards.trades(instrument.id, count)
        return sorted(found, key=lambda trade: trade.trade_id, reverse=True)[:count]

    def candles(self, instrument: Instrument, count: int, before: Nanos) -> list[Candle]:
        """Minutes with a trade, oldest first, opened before that moment."""
        found = self._boards.candles(instrument.id, count, before)
        return sorted(found, key=lambda candle: candle.opened_at)

    def day(self, instrument: Instrument, last: PublicTrade, now: Nanos) -> DayFigures:
        """A market's day; counted anew only when something traded or a minute has passed."""
        mark = now // MINUTE
        known = self._days.get(instrument.id)
        if known is None or known[:2] != (mark, last.trade_id):
            figures = day_figures(self.candles(instrument, DAY_CANDLES, now + 1), last, now)
            known = self._days[instrument.id] = (mark, last.trade_id, figures)
        return known[2]

    def previous_close(self, instrument: Instrument, last: PublicTrade, now: Nanos) -> Decimal:
        """Yesterday's last price; looked for once a day."""
        known = self._closes.get(instrument.id)
        if known is None or known[0] != now // DAY:
            known = self._closes[instrument.id] = (now // DAY, self.day(instrument, last, now).previous_close)
        return known[1]

    def latest(self, instrument: Instrument, now: Nanos) -> tuple[PublicTrade, DayFigures] | None:
        """The last trade and its day, or ``None`` before the first one."""
        trades = self.trades(instrument, 1)
        return (trades[0], self.day(instrument, trades[0], now)) if trades else None

    def bars(self, instrument: Instrument, minutes: int, *, before: Nanos, count: int, now: Nanos) -> list[Bar]:
        """Bars of that length, newest first."""
        candles = self.candles(instrument, count * minutes, min(before, now + 1))
        return bars(candles, minutes, before=before, count=count, now=now)


class Quotation:
    """Answers the quotation endpoints."""

    def __init__(self, quotes: Quotes) -> None:
        self._quotes = quotes
        self._markets = quotes.markets

    def markets(self, call: Call) -> Answer:
        """GET /v1/market/all."""
        with_details = "true" in (call.text("is_details"), call.text("isDetails"))
        return Answer([public.market_json(leg, with_details=with_details) for leg in self._markets.values()])

    def books(self, call: Call) -> Answer:
        """GET /v1/orderbook: as many rows as asked for, thirty at most."""
        rows = call.count("count", ROWS_MAX, ROWS_MAX)
        found = ((leg, self._quotes.book(leg)) for leg in self._wanted(call))
        return Answer(
            [{"market": leg.symbol} | public.orderbook(book, rows) for leg, book in found if book is not None]
        )

    def policies(self, call: Call) -> Answer:
        """GET /v1/orderbook/instruments: the price steps in force."""
        found = ((leg, self._quotes.book(leg)) for leg in self._wanted(call))
        return Answer([public.tick_policy(leg, book) for leg, book in found if book and book.bids and book.asks])

    def tickers(self, call: Call) -> Answer:
        """GET /v1/ticker."""
        return self._tickers(self._wanted(call), call.now)

    def all_tickers(self, call: Call) -> Answer:
        """GET /v1/ticker/all, of the quote currencies asked for."""
        quotes = call.texts("quote_currencies")
        return self._tickers([leg for leg in self._markets.values() if not quotes or leg.quote in quotes], call.now)

    def trades(self, call: Call) -> Answer:
        """GET /v1/trades/ticks: newest first; a cursor is the sequential id below which to go on."""
        instrument = self._market(call)
        count, cursor = call.count("count", 1, TICKS_MAX), call.text("cursor")
        if cursor is not None and not (cursor.isascii() and cursor.isdigit()):
            raise invalid("cursor does not have a valid value")
        found = self._quotes.trades(instrument, TICKS_MAX)
        if cursor is not None:
            found = [trade for trade in found if trade.trade_id < int(cursor)]
        if not found:
            return Answer([])
        close = self._quotes.previous_close(instrument, found[0], call.now)
        return Answer([public.trade_tick(trade, instrument, close) for trade in found[:count]])

    def minutes(self, call: Call) -> Answer:
        """GET /v1/candles/minutes/{unit}: newest first, ``to`` exclusive, 200 at most, minutes without trades missing."""
        unit = call.path.get("unit", "1")
        if unit not in {str(minutes) for minutes in MINUTES}:
            raise invalid("unit does not have a valid value")
        instrument, minutes = self._market(call), int(unit)
        shared = {"unit": minutes}
        return Answer([self._bar(instrument, bar) | shared for bar in self._bars(call, instrument, minutes)])

    def days(self, call: Call) -> Answer:
        """GET /v1/candles/days: days begin at 09:00 in Korea."""
        instrument = self._market(call)
        shown = []
        for bar in self._bars(call, instrument, MINUTES_OF_A_DAY):
            change = {"prev_closing_price": bar.open, "change_price": bar.close - bar.open}
            shown.append(self._bar(instrument, bar) | change)
        return Answer(shown)

    def _bars(self, call: Call, instrument: Instrument, minutes: int) -> list[Bar]:
        written, count = call.text("to"), call.count("count", 1, BARS_MAX)
        before = call.now + 1 if written is None else moment(written)
        if before is None:
            raise invalid("to does not have a valid value")
        return self._quotes.bars(instrument, minutes, before=before, count=count, now=call.now)

    def _bar(self, instrument: Instrument, bar: Bar) -> dict[str, Any]:
        return {"market": instrument.symbol} | public.candle(bar)

    def _tickers(self, instruments: list[Instrument], now: Nanos) -> Answer:
        found = ((leg, self._quotes.latest(leg, now)) for leg in instruments)
        return Answer([public.ticker_json(latest[1], latest[0], leg) for leg, latest in found if latest is not None])

    def _market(self, call: Call) -> Instrument:
        instrument = self._markets.get(call.required("market"))
        if instrument is None:
            raise code_not_found()
        return instrument

    def _wanted(self, call: Call) -> list[Instrument]:
        call.required("markets")
        wanted = list(dict.fromkeys(call.texts("markets")))
        if any(market not in self._markets for market in wanted):
            raise code_not_found()
        return [self._markets[market] for market in wanted]
