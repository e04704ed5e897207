"""What venues still know of the past: bars and funding, over their public REST interfaces.

Upbit, "분(Minute) 캔들": at most 200 bars a call, newest first, ``to`` exclusive, and none at all for a minute without a
trade. Binance, "Kline/Candlestick Data": a bar for every minute, also without a trade, oldest first, both ends included.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

import msgspec

from kimp.shared.domain.candles import Candle
from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.instruments import InstrumentId, Venue
from kimp.shared.domain.time import MILLISECOND, MINUTE, Nanos, from_datetime, to_datetime
from kimp.shared.settings import Settings
from kimp.storage.collectors.courier import Courier
from kimp.storage.database.rows import GapReason
from kimp.storage.feeds.rest import Answer, Unanswered

UPBIT_BARS_MAX = 200
BINANCE_BARS_MAX = 499
"""Binance weighs a call of less than 500 bars 2, one of 500 and more 5: twice the bars for the same weight."""
FUNDING_MAX = 1_000


class CandleHistory(Protocol):
    """A venue's bars of the past."""

    bars_max: int
    absence: GapReason
    """What it means when the venue answers and has no bar for a minute."""

    async def candles(self, instrument_id: InstrumentId, start: Nanos, end: Nanos) -> list[Candle]:
        """All minute bars that open in ``[start, end)``, which has at most ``bars_max`` minutes.

        Raises:
            Unanswered: the venue is away or will not talk to us.
        """
        ...


class _UpbitBar(msgspec.Struct):
    candle_date_time_utc: str
    opening_price: Decimal
    high_price: Decimal
    low_price: Decimal
    trade_price: Decimal
    candle_acc_trade_volume: Decimal
    candle_acc_trade_price: Decimal


_UPBIT_BARS = msgspec.json.Decoder(list[_UpbitBar])


class UpbitHistory:
    """Upbit's minute bars."""

    bars_max = UPBIT_BARS_MAX
    absence = GapReason.NO_TRADE

    def __init__(self, rest_url: str, courier: Courier) -> None:
        self._rest_url = rest_url.rstrip("/")
        self._courier = courier

    async def candles(self, instrument_id: InstrumentId, start: Nanos, end: Nanos) -> list[Candle]:
        """The bars of ``[start, end)``; minutes without a trade have none."""
        count = (end - start) // MINUTE
        assert 0 < count <= UPBIT_BARS_MAX
        url = (
            f"{self._rest_url}/v1/candles/minutes/1?market={_symbol(instrument_id)}"
            f"&to={to_datetime(end):%Y-%m-%dT%H:%M:%SZ}&count={count}"
        )
        answer = await self._courier.get(url)
        try:
            bars = [self._candle(instrument_id, bar, answer) for bar in _UPBIT_BARS.decode(answer.body)]
        except (msgspec.MsgspecError, ValueError) as error:
            raise Unanswered(f"Upbit's bars cannot be read: {error}") from error
        # thin markets reach further back than was asked for
        return [bar for bar in bars if start <= bar.opened_at < end]

    def _candle(self, instrument_id: InstrumentId, bar: _UpbitBar, answer: Answer) -> Candle:
        return Candle(
            instrument_id=instrument_id,
            interval=MINUTE,
            opened_at=from_datetime(datetime.fromisoformat(bar.candle_date_time_utc + "+00:00")),
            open=bar.opening_price,
            high=bar.high_price,
            low=bar.low_price,
            close=bar.trade_price,
            volume=bar.candle_acc_trade_volume,
            turnover=bar.candle_acc_trade_price,
            is_closed=True,
            received_at=answer.received_at,
        )


class _Funding(msgspec.Struct):
    rate: Decimal = msgspec.field(name="fundingRate")
    settled: int = msgspec.field(name="fundingTime")


_Bar = tuple[int, Decimal, Decimal, Decimal, Decimal, Decimal, int, Decimal, Any, Any, Any, Any]
"""Open time, open, high, low, close, volume, close time, turnover, and what is of no use here."""
_BINANCE_BARS = msgspec.json.Decoder(list[_Bar])
_FUNDING = msgspec.json.Decoder(list[_Funding])


class BinanceHistory:
    """Binance's minute bars and settled funding rates."""

    bars_max = BINANCE_BARS_MAX
    absence = GapReason.HALTED

    def __init__(self, rest_url: str, courier: Courier) -> None:
        self._rest_url = rest_url.rstrip("/")
        self._courier = courier

    async def candles(self, instrument_id: InstrumentId, start: Nanos, end: Nanos) -> list[Candle]:
        """The bars of ``[start, end)``; only a venue that stood still has none for a minute."""
        count = (end - start) // MINUTE
        assert 0 < count <= BINANCE_BARS_MAX
        url = (
            f"{self._rest_url}/fapi/v1/klines?symbol={_symbol(instrument_id)}&interval=1m"
            f"&startTime={start // MILLISECOND}&endTime={end // MILLISECOND - 1}&limit={count}"
        )
        answer = await self._courier.get(url)
        try:
            rows = _BINANCE_BARS.decode(answer.body)
        except msgspec.MsgspecError as error:
            raise Unanswered(f"Binance's bars cannot be read: {error}") from error
        bars = [
            Candle(instrument_id, MINUTE, row[0] * MILLISECOND, *row[1:6], row[7], True, answer.received_at)
            for row in rows
        ]
        return [bar for bar in bars if start <= bar.opened_at < end]

    async def funding(self, instrument_id: InstrumentId, start: Nanos, end: Nanos) -> list[FundingRate]:
        """The rates settled in ``[start, end)``, oldest first, however many there are.

        Raises:
            Unanswered: the venue is away.
        """
        found: list[FundingRate] = []
        while start < end:
            url = (
                f"{self._rest_url}/fapi/v1/fundingRate?symbol={_symbol(instrument_id)}"
                f"&startTime={start // MILLISECOND}&endTime={end // MILLISECOND - 1}&limit={FUNDING_MAX}"
            )
            answer = await self._courier.get(url)
            try:
                rows = _FUNDING.decode(answer.body)
            except msgspec.MsgspecError as error:
                raise Unanswered(f"Binance's funding cannot be read: {error}") from error
            for row in rows:
                # the venue's times are some milliseconds late: 1583020800003
                at = row.settled * MILLISECOND // MINUTE * MINUTE
                found.append(FundingRate(instrument_id, row.rate, at, at))
            if len(rows) < FUNDING_MAX:
                break
            start = (rows[-1].settled + 1) * MILLISECOND
        return found


def histories(settings: Settings, courier: Courier) -> dict[str, CandleHistory]:
    """Each venue's history, by the name that its instruments begin with."""
    return {
        Venue.UPBIT.value: UpbitHistory(settings.upbit.rest_url, courier),
        Venue.BINANCE.value: BinanceHistory(settings.binance.public_rest_url, courier),
    }


def _symbol(instrument_id: InstrumentId) -> str:
    return instrument_id.partition(":")[2]
