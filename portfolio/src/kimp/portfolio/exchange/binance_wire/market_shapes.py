"""Public market data as JSON: exchange information, candles, trades, tickers, mark prices and funding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from kimp.portfolio.exchange.binance_wire.filters import Filters, decimals, text
from kimp.portfolio.exchange.binance_wire.weights import Limits
from kimp.shared.domain.candles import Candle
from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.instruments import Side
from kimp.shared.domain.ledger import SETTLEMENT_STEP
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.ticks import PublicTrade
from kimp.shared.domain.time import DAY, HOUR, MILLISECOND, MINUTE, Nanos

INTERVALS: dict[str, Nanos] = {
    "1m": MINUTE, "3m": 3 * MINUTE, "5m": 5 * MINUTE, "15m": 15 * MINUTE, "30m": 30 * MINUTE,
    "1h": HOUR, "2h": 2 * HOUR, "4h": 4 * HOUR, "6h": 6 * HOUR, "8h": 8 * HOUR, "12h": 12 * HOUR,
    "1d": DAY, "3d": 3 * DAY, "1w": 7 * DAY,
}  # fmt: skip
PERPETUAL_DELIVERY_MS = 4_133_404_800_000
"""The year 2100: what the venue writes where nothing is ever delivered."""

ONBOARDED_MS = 1_569_398_400_000


def exchange_info(filters: Iterable[Filters], limits: Limits, now: Nanos) -> dict[str, Any]:
    """``/fapi/v1/exchangeInfo``."""
    known = list(filters)
    assets = dict.fromkeys(asset for one in known for asset in (one.instrument.quote,))
    return {
        "timezone": "UTC",
        "serverTime": now // MILLISECOND,
        "futuresType": "U_MARGINED",
        "rateLimits": [
            _rate_limit("REQUEST_WEIGHT", "MINUTE", 1, limits.weight_per_minute),
            _rate_limit("ORDERS", "MINUTE", 1, limits.orders_per_minute),
            _rate_limit("ORDERS", "SECOND", 10, limits.orders_per_ten_seconds),
        ],
        "exchangeFilters": [],
        "assets": [{"asset": asset, "marginAvailable": True, "autoAssetExchange": "-10000"} for asset in assets],
        "symbols": [_symbol(one) for one in known],
    }


def _rate_limit(kind: str, interval: str, count: int, limit: int) -> dict[str, Any]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": count, "limit": limit}


def _symbol(filters: Filters) -> dict[str, Any]:
    instrument = filters.instrument
    return {
        "symbol": instrument.symbol,
        "pair": instrument.symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": PERPETUAL_DELIVERY_MS,
        "onboardDate": ONBOARDED_MS,
        "status": "TRADING",
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": instrument.base,
        "quoteAsset": instrument.quote,
        "marginAsset": instrument.quote,
        "pricePrecision": decimals(filters.tick),
        "quantityPrecision": decimals(instrument.rules.lot),
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": ["PoW"],
        "triggerProtect": "0.0500",
        "liquidationFee": "0.012500",
        "marketTakeBound": "0.05",
        "maxMoveOrderLimit": 10_000,
        "filters": filters.described(),
        "orderTypes": ["LIMIT", "MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
    }


# -- candles -------------------------------------------------------------------------------------------------------


def gapless(minutes: Sequence[Candle]) -> list[Candle]:
    """Minute candles with a flat one wherever nothing traded: this venue, unlike Upbit, has one for every minute."""
    told: list[Candle] = []
    for minute in minutes:
        while told and told[-1].opened_at + MINUTE < minute.opened_at:
            before = told[-1]
            told.append(
                Candle(
                    before.instrument_id, MINUTE, before.opened_at + MINUTE,
                    before.close, before.close, before.close, before.close, ZERO, ZERO,
                    is_closed=True, received_at=before.received_at,
                )
            )  # fmt: skip
        told.append(minute)
    return told


def gathered(minutes: Sequence[Candle], interval: Nanos) -> list[Candle]:
    """Longer candles made of minutes; the first may be missing its beginning and is left out if so."""
    told: list[Candle] = []
    for minute in minutes:
        opened_at = minute.opened_at - minute.opened_at % interval
        if told and told[-1].opened_at == opened_at:
            told[-1] = _joined(told[-1], minute, interval)
        elif told or minute.opened_at == opened_at:
            told.append(_joined(None, minute, interval))
    return told


def _joined(bar: Candle | None, minute: Candle, interval: Nanos) -> Candle:
    opened_at = minute.opened_at - minute.opened_at % interval
    is_closed = minute.is_closed and minute.opened_at + MINUTE == opened_at + interval
    first = bar or minute
    return Candle(
        minute.instrument_id, interval, opened_at, first.open, max(first.high, minute.high),
        min(first.low, minute.low), minute.close,
        minute.volume + (bar.volume if bar else ZERO), minute.turnover + (bar.turnover if bar else ZERO),
        is_closed=is_closed, received_at=minute.received_at,
    )  # fmt: skip


def kline(bar: Candle) -> list[Any]:
    """One row of ``/fapi/v1/klines``."""
    return [
        bar.opened_at // MILLISECOND, text(bar.open), text(bar.high), text(bar.low), text(bar.close), text(bar.volume),
        (bar.opened_at + bar.interval) // MILLISECOND - 1, text(bar.turnover), 1, "0", "0", "0",
    ]  # fmt: skip


def kline_event(symbol: str, name: str, bar: Candle, now: Nanos) -> dict[str, Any]:
    """``kline`` of the candle stream; ``x`` when it is closed."""
    told = {
        "t": bar.opened_at // MILLISECOND, "T": (bar.opened_at + bar.interval) // MILLISECOND - 1, "s": symbol,
        "i": name, "f": 1, "L": 1, "o": text(bar.open), "c": text(bar.close), "h": text(bar.high), "l": text(bar.low),
        "v": text(bar.volume), "n": 1, "x": bar.is_closed, "q": text(bar.turnover), "V": "0", "Q": "0", "B": "0",
    }  # fmt: skip
    return {"e": "kline", "E": now // MILLISECOND, "s": symbol, "k": told}


# -- trades and tickers --------------------------------------------------------------------------------------------


def aggregate_trade(trade: PublicTrade) -> dict[str, Any]:
    """One row of ``/fapi/v1/aggTrades``; ``m``: the buyer was the maker."""
    return {
        "a": trade.trade_id, "p": text(trade.price), "q": text(trade.quantity), "f": trade.trade_id,
        "l": trade.trade_id, "T": trade.venue_at // MILLISECOND, "m": trade.side is Side.SELL,
    }  # fmt: skip


def public_trade(trade: PublicTrade) -> dict[str, Any]:
    """One row of ``/fapi/v1/trades``."""
    return {
        "id": trade.trade_id, "price": text(trade.price), "qty": text(trade.quantity),
        "quoteQty": text(trade.price * trade.quantity), "time": trade.venue_at // MILLISECOND,
        "isBuyerMaker": trade.side is Side.SELL,
    }  # fmt: skip


def trade_events(symbol: str, trade: PublicTrade, now: Nanos) -> tuple[dict[str, Any], dict[str, Any]]:
    """``aggTrade`` and ``trade`` of the streams."""
    head = {"E": now // MILLISECOND, "s": symbol}
    told = aggregate_trade(trade)
    single = {"t": told["a"], "p": told["p"], "q": told["q"], "T": told["T"], "m": told["m"], "X": "MARKET"}
    return {"e": "aggTrade", **head, **told}, {"e": "trade", **head, **single}


def day_ticker(symbol: str, minutes: Sequence[Candle], last: PublicTrade | None, now: Nanos) -> dict[str, Any]:
    """``/fapi/v1/ticker/24hr`` of the minutes of the last day."""
    price = last.price if last else ZERO
    opened = minutes[0].open if minutes else price
    volume = sum((bar.volume for bar in minutes), ZERO)
    turnover = sum((bar.turnover for bar in minutes), ZERO)
    change = price - opened
    return {
        "symbol": symbol,
        "priceChange": text(change),
        "priceChangePercent": text((change / opened * 100).quantize(Decimal("0.001"))) if opened else "0",
        "weightedAvgPrice": text((turnover / volume).quantize(SETTLEMENT_STEP)) if volume else "0",
        "lastPrice": text(price),
        "lastQty": text(last.quantity) if last else "0",
        "openPrice": text(opened),
        "highPrice": text(max((bar.high for bar in minutes), default=price)),
        "lowPrice": text(min((bar.low for bar in minutes), default=price)),
        "volume": text(volume),
        "quoteVolume": text(turnover),
        "openTime": (now - DAY) // MILLISECOND,
        "closeTime": now // MILLISECOND,
        "firstId": 1,
        "lastId": last.trade_id if last else 1,
        "count": len(minutes),
    }


# -- mark and funding ----------------------------------------------------------------------------------------------


def premium_index(symbol: str, mark: Decimal, rate: FundingRate | None, now: Nanos) -> dict[str, Any]:
    """``/fapi/v1/premiumIndex``: mark price, and the rate expected at the next settlement."""
    return {
        "symbol": symbol,
        "markPrice": text(mark),
        "indexPrice": text(mark),
        "estimatedSettlePrice": text(mark),
        "lastFundingRate": text(rate.rate) if rate else "0",
        "interestRate": "0.00010000",
        "nextFundingTime": rate.settles_at // MILLISECOND if rate else 0,
        "time": now // MILLISECOND,
    }


def mark_event(symbol: str, mark: Decimal, rate: FundingRate | None, now: Nanos) -> dict[str, Any]:
    """``markPriceUpdate``."""
    return {
        "e": "markPriceUpdate",
        "E": now // MILLISECOND,
        "s": symbol,
        "p": text(mark),
        "i": text(mark),
        "P": text(mark),
        "r": text(rate.rate) if rate else "",
        "T": rate.settles_at // MILLISECOND if rate else 0,
    }


def funding_info(symbol: str, rate: FundingRate) -> dict[str, Any]:
    """One row of ``/fapi/v1/fundingInfo``: only symbols that do not settle every eight hours are listed."""
    return {
        "symbol": symbol,
        "adjustedFundingRateCap": "0.02000000",
        "adjustedFundingRateFloor": "-0.02000000",
        "fundingIntervalHours": rate.interval // HOUR,
        "disclaimer": False,
    }
