"""The rules of Upbit's KRW markets as the venue has them today: steps, minimums and our fees."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from kimp.order.exchanges.outcomes import Answer
from kimp.order.exchanges.upbit_client import UpbitClient, read
from kimp.order.exchanges.upbit_forms import Chance, TickRule
from kimp.shared.domain.instruments import (
    UPBIT_KRW_BANDS,
    Instrument,
    Kind,
    TickBand,
    TradingRules,
    Venue,
)
from kimp.shared.domain.money import ZERO

LOT = Decimal("0.00000001")
"""Upbit counts coins in eight decimals and publishes no other lot ("원화(KRW) 마켓 주문 정책")."""

NOT_TRADED = (400, 404)
"""How Upbit answers a question about a market it does not have."""


class UpbitMarkets:
    """Reads "페어별 주문 가능 정보 조회" and "호가 정책 조회"."""

    def __init__(self, client: UpbitClient) -> None:
        self._client = client

    async def instruments(self, symbols: Sequence[str]) -> tuple[Instrument, ...] | None:
        """The active KRW markets among the symbols; ``None`` when the venue cannot be asked."""
        found = []
        for market in dict.fromkeys(_market(symbol) for symbol in symbols):
            reply = await self._client.call("private_get_orders_chance", {"market": market})
            if isinstance(reply, Answer) and reply.status in NOT_TRADED:
                continue
            chance = read(reply, Chance)
            ticks = read(await self._client.ticks(market), list[TickRule])
            if chance is None or chance.market.id != market or ticks is None:
                return None
            if chance.market.state != "active":
                continue
            tick = next((rule.tick_size for rule in ticks if rule.market == market), None)
            if tick is None:
                return None
            found.append(_instrument(market, chance, tick))
        return tuple(found)


def bands_with(tick: Decimal) -> tuple[TickBand, ...]:
    """The published bands while the step the venue names is one of them.

    Upbit tells only the step at the present price. If the bands do not know it they are out of date, and the one step
    that is certain is used for every price.
    """
    if any(band.tick == tick for band in UPBIT_KRW_BANDS):
        return UPBIT_KRW_BANDS
    return (TickBand(ZERO, tick),)


def _instrument(market: str, chance: Chance, tick: Decimal) -> Instrument:
    minimum = max(chance.market.bid.min_total, chance.market.ask.min_total)
    rules = TradingRules(bands=bands_with(tick), lot=LOT, minimum_quantity=ZERO, minimum_notional=minimum)
    quote, _, base = market.partition("-")
    fee_rate = max(chance.bid_fee, chance.ask_fee)
    return Instrument(Venue.UPBIT, market, base, quote, Kind.SPOT, rules, fee_rate)


def _market(symbol: str) -> str:
    return symbol if symbol.startswith("KRW-") else f"KRW-{symbol}"
