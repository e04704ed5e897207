"""Venues' books changed by hand after a sound storm: the judge has to notice every single one."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from decimal import Decimal
from typing import Any

from crash.judge import Judge

Books = dict[str, Any]


def _executed(books: Books) -> dict[str, Any]:
    """Some order that filled."""
    orders = [order for venue in books["venues"].values() for order in venue["orders"] if order["fills"]]
    found: dict[str, Any] = orders[0]
    return found


def _a_satoshi_more(books: Books) -> None:
    balances = books["venues"]["upbit"]["balances"]
    balances["BTC"] = str(Decimal(balances["BTC"]) + Decimal("0.00000001"))


def _a_contract_more(books: Books) -> None:
    contracts = books["venues"]["binance"]["contracts"]
    contracts["BTCUSDT"] = str(Decimal(contracts["BTCUSDT"]) + Decimal("0.001"))


def _a_trade_more(books: Books) -> None:
    order = _executed(books)
    order["fills"].append(order["fills"][0] | {"trade_id": "one more"})


def _a_trade_less(books: Books) -> None:
    _executed(books)["fills"].pop()


def _another_price(books: Books) -> None:
    fill = _executed(books)["fills"][0]
    fill["price"] = str(Decimal(fill["price"]) + 1)


def _an_order_nobody_intended(books: Books) -> None:
    books["venues"]["upbit"]["orders"].append(_executed(books) | {"client_id": "kimp-made-up-0-0", "fills": []})


def _an_order_sent_twice(books: Books) -> None:
    order = deepcopy(_executed(books))
    for fill in order["fills"]:
        fill["trade_id"] += " again"
    books["venues"]["binance"]["orders"].append(order)


def _an_order_that_rests(books: Books) -> None:
    _executed(books)["is_done"] = False


def _funding_nobody_booked(books: Books) -> None:
    books["venues"]["binance"]["income"].append({"payment_id": "x", "at": 1, "amount": {"value": "1", "asset": "USDT"}})


DOCTORS: dict[str, tuple[Callable[[Books], None], str]] = {
    "a satoshi more": (_a_satoshi_more, "conservation"),
    "a contract more": (_a_contract_more, "conservation"),
    "a trade more": (_a_trade_more, "lost_fill"),
    "a trade less": (_a_trade_less, "invented"),
    "another price": (_another_price, "invented"),
    "an order nobody intended": (_an_order_nobody_intended, "intent"),
    "an order sent twice": (_an_order_sent_twice, "exactly_once"),
    "an order that rests": (_an_order_that_rests, "unresolved"),
    "funding nobody booked": (_funding_nobody_booked, "lost_funding"),
}
"""What is changed, and what the judge has to call it."""


def overlooked(judge: Judge, books: Books) -> list[str]:
    """The changes that the judge did not notice, or called something else."""
    missed = []
    for name, (doctor, kind) in DOCTORS.items():
        changed = deepcopy(books)
        doctor(changed)
        if kind not in {found for found, _ in judge.at_rest(changed)}:
            missed.append(name)
    return missed
