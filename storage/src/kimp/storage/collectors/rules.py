"""The venue's own rules for its contracts, read from it and kept beside the data, because they change."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec

from kimp.shared.domain.instruments import Instrument, TickBand, TradingRules
from kimp.shared.domain.money import ZERO
from kimp.storage.collectors.courier import Courier
from kimp.storage.feeds.rest import Unanswered


class _Symbol(msgspec.Struct):
    symbol: str
    filters: list[dict[str, Any]]


class _ExchangeInfo(msgspec.Struct):
    symbols: list[_Symbol]


_INFO = msgspec.json.Decoder(_ExchangeInfo)


async def binance_rules(rest_url: str, contracts: Iterable[Instrument], courier: Courier) -> list[Instrument]:
    """The contracts with tick, lot and minimums as Binance has them today ("Exchange Information").

    Raises:
        Unanswered: the venue is away, or its answer cannot be read.
    """
    answer = await courier.get(f"{rest_url.rstrip('/')}/fapi/v1/exchangeInfo")
    try:
        found = {symbol.symbol: _rules(symbol) for symbol in _INFO.decode(answer.body).symbols}
    except (msgspec.MsgspecError, KeyError, ArithmeticError) as error:
        raise Unanswered(f"Binance's rules cannot be read: {error}") from error
    return [
        msgspec.structs.replace(contract, rules=rules)
        for contract in contracts
        if (rules := found.get(contract.symbol)) is not None
    ]


def _rules(symbol: _Symbol) -> TradingRules:
    """``{"filterType":"LOT_SIZE","minQty":"0.001","stepSize":"0.001", …}`` and its like."""
    by_type = {rule["filterType"]: rule for rule in symbol.filters}
    lot = by_type["LOT_SIZE"]
    return TradingRules(
        bands=(TickBand(ZERO, Decimal(by_type["PRICE_FILTER"]["tickSize"])),),
        lot=Decimal(lot["stepSize"]),
        minimum_quantity=Decimal(lot["minQty"]),
        minimum_notional=Decimal(by_type["MIN_NOTIONAL"]["notional"]),
    )
