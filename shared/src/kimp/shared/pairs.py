"""The pairs an owner has configured: which coins, and at which fees until the venue says otherwise."""

from __future__ import annotations

from kimp.shared.domain.instruments import Pair, binance_perpetual, upbit_spot
from kimp.shared.errors import ConfigurationError
from kimp.shared.settings import Settings

NO_COINS = ("KRW", "USD", "USDT")
"""What premiums are measured in."""


def coins_in(text: str, key: str) -> tuple[str, ...]:
    """``BTC, ETH`` as coins, each once; ``key`` is the setting it stands in.

    Raises:
        ConfigurationError: the list is empty or holds something that is no coin.
    """
    coins = tuple(dict.fromkeys(word.strip().upper() for word in text.split(",") if word.strip()))
    if not coins or not all(coin.isalnum() and coin.isascii() and coin not in NO_COINS for coin in coins):
        raise ConfigurationError(f"{key} is {text!r}, but must name coins like BTC or BTC,ETH; see: kimp config show")
    return coins


def pair_of(settings: Settings, coin: str) -> Pair:
    """The pair of a coin with the configured fees and both venues' documented rules."""
    costs = settings.costs
    return Pair(coin, upbit_spot(coin, fee_rate=costs.upbit_fee), binance_perpetual(coin, fee_rate=costs.binance_fee))


def traded_pairs(settings: Settings) -> tuple[Pair, ...]:
    """The pairs the trader is to trade.

    Raises:
        ConfigurationError: ``trade.coins`` is empty or names something that is no coin.
    """
    return tuple(pair_of(settings, coin) for coin in coins_in(settings.trade.coins, "trade.coins"))
