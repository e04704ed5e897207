"""Public market data in Upbit's words, as the REST API and the WebSocket share them.

Numbers are JSON numbers here, large and small ones in exponent form; the exchange API writes them as texts instead.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from kimp.portfolio.exchange.upbit_wire.figures import kst_label, millis, text, utc_label
from kimp.portfolio.exchange.upbit_wire.personal import SIDE_WORDS
from kimp.portfolio.exchange.upbit_wire.tape import Bar, DayFigures, direction
from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.instruments import Instrument
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.ticks import PublicTrade

_NOTHING = Level(ZERO, ZERO)

NAMES = {
    "BTC": ("비트코인", "Bitcoin"),
    "ETH": ("이더리움", "Ethereum"),
    "XRP": ("엑스알피(리플)", "XRP"),
    "SOL": ("솔라나", "Solana"),
    "DOGE": ("도지코인", "Dogecoin"),
    "ADA": ("에이다", "Ada"),
    "TRX": ("트론", "TRON"),
    "USDT": ("테더", "Tether"),
}
"""Korean and English names; a coin that is missing goes by its symbol."""


def orderbook(book: Book, rows: int) -> dict[str, Any]:
    """A book's best rows; the shorter side is filled up with price 0 and size 0, as the venue does."""
    bids, asks = book.bids[:rows], book.asks[:rows]
    height = max(len(bids), len(asks))
    padded_bids = [*bids, *[_NOTHING] * (height - len(bids))]
    padded_asks = [*asks, *[_NOTHING] * (height - len(asks))]
    return {
        "timestamp": millis(book.venue_at),
        "total_ask_size": sum((level.size for level in asks), ZERO),
        "total_bid_size": sum((level.size for level in bids), ZERO),
        "orderbook_units": [
            {"ask_price": ask.price, "bid_price": bid.price, "ask_size": ask.size, "bid_size": bid.size}
            for bid, ask in zip(padded_bids, padded_asks, strict=True)
        ],
        "level": 0,
    }


def tick_policy(instrument: Instrument, book: Book) -> dict[str, Any]:
    """The price step in force now (Upbit, "호가 정책 조회")."""
    tick = text(instrument.rules.tick_at(book.mid()))
    return {
        "market": instrument.symbol,
        "quote_currency": instrument.quote,
        "tick_size": tick,
        "supported_levels": ["0"],
    }


def market_json(instrument: Instrument, *, with_details: bool) -> dict[str, Any]:
    """A market as ``/v1/market/all`` lists it."""
    korean, english = NAMES.get(instrument.base, (instrument.base, instrument.base))
    shown: dict[str, Any] = {"market": instrument.symbol, "korean_name": korean, "english_name": english}
    if with_details:
        names = ("PRICE_FLUCTUATIONS", "TRADING_VOLUME_SOARING", "DEPOSIT_AMOUNT_SOARING", "GLOBAL_PRICE_DIFFERENCES")
        caution = dict.fromkeys((*names, "CONCENTRATION_OF_SMALL_ACCOUNTS"), False)
        shown["market_event"] = {"warning": False, "caution": caution}
    return shown


def trade_tick(trade: PublicTrade, instrument: Instrument, previous_close: Decimal) -> dict[str, Any]:
    """A trade as ``/v1/trades/ticks`` lists it; ``previous_close`` is yesterday's last price (quote asset)."""
    label = utc_label(trade.venue_at)
    return {
        "market": instrument.symbol,
        "trade_date_utc": label[:10],
        "trade_time_utc": label[11:],
        "timestamp": millis(trade.venue_at),
        "trade_price": trade.price,
        "trade_volume": trade.quantity,
        "prev_closing_price": previous_close,
        "change_price": trade.price - previous_close,
        "ask_bid": SIDE_WORDS[trade.side],
        "sequential_id": trade.trade_id,
    }


def trade_message(
    trade: PublicTrade, instrument: Instrument, previous_close: Decimal, book: Book | None
) -> dict[str, Any]:
    """A trade as the stream tells it, with the touch it left behind."""
    label = utc_label(trade.venue_at)
    bid = book.bids[0] if book is not None and book.bids else _NOTHING
    ask = book.asks[0] if book is not None and book.asks else _NOTHING
    change = trade.price - previous_close
    return {
        "type": "trade",
        "code": instrument.symbol,
        "timestamp": millis(trade.received_at),
        "trade_date": label[:10],
        "trade_time": label[11:],
        "trade_timestamp": millis(trade.venue_at),
        "trade_price": trade.price,
        "trade_volume": trade.quantity,
        "ask_bid": SIDE_WORDS[trade.side],
        "prev_closing_price": previous_close,
        "change": direction(change),
        "change_price": abs(change),
        "sequential_id": trade.trade_id,
        "best_ask_price": ask.price,
        "best_ask_size": ask.size,
        "best_bid_price": bid.price,
        "best_bid_size": bid.size,
    }


def ticker(day: DayFigures, last: PublicTrade) -> dict[str, Any]:
    """What REST and stream say alike about a market's day; the yearly extremes are those of the day, nothing older is
    kept.
    """
    date = utc_label(last.venue_at)[:10]
    return {
        "opening_price": day.open,
        "high_price": day.high,
        "low_price": day.low,
        "trade_price": day.last,
        "prev_closing_price": day.previous_close,
        "change": direction(day.change),
        "change_price": abs(day.change),
        "change_rate": abs(day.change_rate),
        "signed_change_price": day.change,
        "signed_change_rate": day.change_rate,
        "trade_volume": last.quantity,
        "acc_trade_price": day.turnover,
        "acc_trade_price_24h": day.turnover_24h,
        "acc_trade_volume": day.volume,
        "acc_trade_volume_24h": day.volume_24h,
        "highest_52_week_price": day.high,
        "highest_52_week_date": date,
        "lowest_52_week_price": day.low,
        "lowest_52_week_date": date,
        "trade_timestamp": millis(last.venue_at),
        "timestamp": millis(last.received_at),
    }


def ticker_json(day: DayFigures, last: PublicTrade, instrument: Instrument) -> dict[str, Any]:
    """A market's day as ``/v1/ticker`` answers it: dates and times without separators, in UTC and KST."""
    utc, kst = (label(last.venue_at) for label in (utc_label, kst_label))
    return {
        "market": instrument.symbol,
        "trade_date": utc[:10].replace("-", ""),
        "trade_time": utc[11:].replace(":", ""),
        "trade_date_kst": kst[:10].replace("-", ""),
        "trade_time_kst": kst[11:].replace(":", ""),
    } | ticker(day, last)


def ticker_message(day: DayFigures, last: PublicTrade, instrument: Instrument) -> dict[str, Any]:
    """A market's day as the stream tells it."""
    utc = utc_label(last.venue_at)
    return {
        "type": "ticker",
        "code": instrument.symbol,
        "ask_bid": SIDE_WORDS[last.side],
        "trade_date": utc[:10].replace("-", ""),
        "trade_time": utc[11:].replace(":", ""),
        "market_state": "ACTIVE",
        "is_trading_suspended": False,
        "delisting_date": None,
        "market_warning": "NONE",
    } | ticker(day, last)


def candle(bar: Bar) -> dict[str, Any]:
    """What REST and stream say alike about a bar."""
    return {
        "candle_date_time_utc": utc_label(bar.opened_at),
        "candle_date_time_kst": kst_label(bar.opened_at),
        "opening_price": bar.open,
        "high_price": bar.high,
        "low_price": bar.low,
        "trade_price": bar.close,
        "timestamp": millis(bar.last_at),
        "candle_acc_trade_price": bar.turnover,
        "candle_acc_trade_volume": bar.volume,
    }
