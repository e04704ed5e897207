"""Every endpoint: its path, the limit it counts against, and what a key must be allowed.

Upbit, "API Reference": each page names its rate limit group and the permission it needs.
"""

from __future__ import annotations

from kimp.portfolio.exchange.upbit_wire.calls import Route
from kimp.portfolio.exchange.upbit_wire.keys import Permission
from kimp.portfolio.exchange.upbit_wire.quotation import Quotation
from kimp.portfolio.exchange.upbit_wire.service import Service
from kimp.portfolio.exchange.upbit_wire.trading import Trading


def routes(quotation: Quotation, trading: Trading, service: Service) -> list[Route]:
    """The whole table."""
    return [*_public(quotation), *_orders(trading, service), *_account(service)]


def _public(quotation: Quotation) -> list[Route]:
    table = [
        ("/v1/market/all", "market", quotation.markets),
        ("/v1/orderbook", "orderbook", quotation.books),
        ("/v1/orderbook/instruments", "orderbook", quotation.policies),
        ("/v1/ticker", "ticker", quotation.tickers),
        ("/v1/ticker/all", "ticker", quotation.all_tickers),
        ("/v1/trades/ticks", "crix-trades", quotation.trades),
        ("/v1/candles/minutes/{unit}", "candles", quotation.minutes),
        ("/v1/candles/minutes", "candles", quotation.minutes),
        ("/v1/candles/days", "candles", quotation.days),
    ]
    return [Route("GET", path, group, endpoint, is_private=False) for path, group, endpoint in table]


def _orders(trading: Trading, service: Service) -> list[Route]:
    make, view = Permission.MAKE_ORDERS, Permission.VIEW_ORDERS
    return [
        Route("POST", "/v1/orders", "order", trading.place, permission=make),
        Route("POST", "/v1/orders/test", "order-test", trading.rehearse, permission=make),
        Route("DELETE", "/v1/order", "default", trading.cancel, permission=make),
        Route("DELETE", "/v1/orders/uuids", "default", trading.cancel_some, permission=make),
        Route("DELETE", "/v1/orders/open", "order-cancel-all", trading.cancel_open, permission=make),
        Route("GET", "/v1/order", "default", trading.one, permission=view),
        Route("GET", "/v1/orders/uuids", "default", trading.named, permission=view),
        Route("GET", "/v1/orders/open", "default", trading.open, permission=view),
        Route("GET", "/v1/orders/closed", "default", trading.closed, permission=view),
        Route("GET", "/v1/orders/chance", "default", service.chance, permission=view),
    ]


def _account(service: Service) -> list[Route]:
    see, leave = Permission.VIEW_WITHDRAWALS, Permission.WITHDRAW
    return [
        Route("GET", "/v1/accounts", "default", service.accounts, permission=Permission.VIEW_ASSETS),
        Route("GET", "/v1/api_keys", "default", service.keys),
        Route("GET", "/v1/status/wallet", "default", service.wallets),
        Route("GET", "/v1/withdraws/chance", "default", service.withdrawal_chance, permission=see),
        Route("GET", "/v1/withdraws", "default", service.nothing, permission=see),
        Route("GET", "/v1/withdraws/coin_addresses", "default", service.nothing, permission=leave),
        Route("POST", "/v1/withdraws/coin", "default", service.refuse_withdrawal, permission=leave),
        Route("DELETE", "/v1/withdraws/coin", "default", service.no_withdrawal, permission=leave),
        Route("POST", "/v1/withdraws/krw", "default", service.refuse_withdrawal, permission=leave),
        Route("GET", "/v1/deposits", "default", service.nothing, permission=Permission.VIEW_DEPOSITS),
    ]
