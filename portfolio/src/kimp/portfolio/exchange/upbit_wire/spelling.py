"""Upbit's abbreviated field names (format SIMPLE), per data type.

Upbit, "현재가 (Ticker)", "체결 (Trade)", "호가 (Orderbook)", "캔들 (Candle)", "내 주문 및 체결 (MyOrder)",
"내 자산 (MyAsset)": every field's second name stands in its table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SHARED = {"type": "ty", "code": "cd", "timestamp": "tms", "stream_type": "st"}

_TRADE = {
    "trade_price": "tp",
    "trade_volume": "tv",
    "ask_bid": "ab",
    "prev_closing_price": "pcp",
    "change": "c",
    "change_price": "cp",
    "trade_timestamp": "ttms",
    "sequential_id": "sid",
    "best_ask_price": "bap",
    "best_ask_size": "bas",
    "best_bid_price": "bbp",
    "best_bid_size": "bbs",
}

NAMES: Mapping[str, Mapping[str, str]] = {
    "trade": _SHARED | _TRADE | {"trade_date": "td", "trade_time": "ttm"},
    "ticker": _SHARED
    | _TRADE
    | {
        "opening_price": "op",
        "high_price": "hp",
        "low_price": "lp",
        "signed_change_price": "scp",
        "change_rate": "cr",
        "signed_change_rate": "scr",
        "acc_trade_volume": "atv",
        "acc_trade_volume_24h": "atv24h",
        "acc_trade_price": "atp",
        "acc_trade_price_24h": "atp24h",
        "trade_date": "tdt",
        "trade_time": "ttm",
        "acc_ask_volume": "aav",
        "acc_bid_volume": "abv",
        "highest_52_week_price": "h52wp",
        "highest_52_week_date": "h52wdt",
        "lowest_52_week_price": "l52wp",
        "lowest_52_week_date": "l52wdt",
        "market_state": "ms",
        "is_trading_suspended": "its",
        "delisting_date": "dd",
        "market_warning": "mw",
    },
    "orderbook": _SHARED
    | {
        "total_ask_size": "tas",
        "total_bid_size": "tbs",
        "orderbook_units": "obu",
        "ask_price": "ap",
        "bid_price": "bp",
        "ask_size": "as",
        "bid_size": "bs",
        "level": "lv",
    },
    "candle": _SHARED
    | {
        "candle_date_time_utc": "cdttmu",
        "candle_date_time_kst": "cdttmk",
        "opening_price": "op",
        "high_price": "hp",
        "low_price": "lp",
        "trade_price": "tp",
        "candle_acc_trade_volume": "catv",
        "candle_acc_trade_price": "catp",
    },
    "myOrder": _SHARED
    | {
        "uuid": "uid",
        "ask_bid": "ab",
        "order_type": "ot",
        "state": "s",
        "trade_uuid": "tuid",
        "price": "p",
        "avg_price": "ap",
        "volume": "v",
        "remaining_volume": "rv",
        "executed_volume": "ev",
        "trades_count": "tc",
        "reserved_fee": "rsf",
        "remaining_fee": "rmf",
        "paid_fee": "pf",
        "locked": "l",
        "executed_funds": "ef",
        "time_in_force": "tif",
        "trade_fee": "tf",
        "is_maker": "im",
        "identifier": "id",
        "smp_type": "smpt",
        "prevented_volume": "pv",
        "prevented_locked": "pl",
        "trade_timestamp": "ttms",
        "order_timestamp": "otms",
    },
    "myAsset": _SHARED
    | {
        "asset_uuid": "astuid",
        "assets": "ast",
        "currency": "cu",
        "balance": "b",
        "locked": "l",
        "asset_timestamp": "asttms",
    },
}


def abbreviate(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message with its short field names, nested ones too."""
    names = NAMES[str(message["type"]).partition(".")[0]]
    return {names[name]: _within(value, names) for name, value in message.items()}


def _within(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [{names[name]: item for name, item in row.items()} for row in value]
    return value
