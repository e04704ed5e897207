"""The judge's own arithmetic, on made-up books of two trades a leg."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]
SCRIPT = """
import json, sys
from pathlib import Path
from crash.journal_facts import JournalFacts
from crash.judge import Judge
judge = Judge(JournalFacts(Path(sys.argv[1])))
judge.journal.catch_up()
print(json.dumps([kind for kind, _ in judge.at_rest(json.loads(sys.argv[2]))]))
"""


def legs(quantities: tuple[str, str, str, str], exit_price: str) -> list[dict[str, Any]]:
    """In and out of one pair: coins bought, contracts sold, coins sold, contracts bought back."""
    spot, perpetual = "upbit:KRW-BTC", "binance:BTCUSDT"
    return [
        {"id": f"kimp-{number}", "leg": leg, "side": side, "quantity": quantity, "price": price, "purpose": purpose}
        for number, (leg, side, quantity, price, purpose) in enumerate(
            [
                (spot, "buy", quantities[0], "140000000", "enter"),
                (perpetual, "sell", quantities[1], "100000", "enter"),
                (spot, "sell", quantities[2], exit_price, "exit"),
                (perpetual, "buy", quantities[3], "100000", "exit"),
            ]
        )
    ]


def judged(trades: list[dict[str, Any]], directory: Path) -> list[str]:
    """What the judge says of a journal and of books that both have these trades."""
    records: list[tuple[str, dict[str, Any]]] = []
    orders: dict[str, list[dict[str, Any]]] = {"upbit": [], "binance": []}
    for number, trade in enumerate(trades):
        venue = trade["leg"].split(":")[0]
        fee = {"value": "0", "asset": "KRW" if venue == "upbit" else "USDT"}
        named = {"client_id": trade["id"], "instrument_id": trade["leg"], "side": trade["side"]}
        fill = named | {"trade_id": f"t{number}", "quantity": trade["quantity"], "price": trade["price"], "fee": fee}
        plan = {"signal_id": f"plan-{trade['purpose']}", "action": trade["purpose"]}
        if number % 2 == 0:
            records.append(("PlanMade", {"plan": plan | {"decided_at": number, "krw_rate": "1400"}}))
        order = named | {"quantity": trade["quantity"]}
        meant = {"at": number, "order": order, "signal_id": "pair", "purpose": trade["purpose"]}
        records += [
            ("OrderIntended", meant),
            ("FillBooked", {"at": number, "fill": fill, "purpose": trade["purpose"]}),
            ("OrderClosed", {"client_id": trade["id"], "executed": trade["quantity"]}),
        ]
        if number % 2:
            records.append(("PhaseEntered", {"phase": "open" if number == 1 else "flat"}))
        taken = order | {"executed": trade["quantity"], "is_done": True, "at": number, "fills": [fill | {"at": number}]}
        orders[venue].append(taken)
    path = directory / "journal.sqlite"
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("CREATE TABLE records (sequence INTEGER PRIMARY KEY, kind TEXT, body BLOB)")
        rows = [(kind, json.dumps(body)) for kind, body in records]
        file.executemany("INSERT INTO records (kind, body) VALUES (?, ?)", rows)
    books = {"venues": {venue: {"orders": found, "balances": {}, "contracts": {}} for venue, found in orders.items()}}
    books["venues"]["binance"]["income"] = []
    command = [sys.executable, "-c", SCRIPT, str(path), json.dumps(books)]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, timeout=60, check=True)
    found: list[str] = json.loads(done.stdout)
    return [kind for kind in found if kind != "conservation"]


@pytest.mark.parametrize(
    ("quantities", "exit_price", "kinds"),
    [
        (("0.07", "0.07", "0.07", "0.07"), "141000000", []),
        (("0.07", "0.07", "0.07", "0.07"), "139000000", ["no_loss"]),
        (("0.07", "0.07", "0.07", "0.069"), "141000000", ["hedged"]),
        (("0.07", "0.07", "0.068", "0.07"), "141000000", ["hedged"]),
    ],
    ids=["a gain", "a loss", "a contract left over", "coins left over"],
)
def test_a_pair_is_judged_by_what_its_trades_come_to(
    quantities: tuple[str, str, str, str], exit_price: str, kinds: list[str], tmp_path: Path
) -> None:
    assert judged(legs(quantities, exit_price), tmp_path) == kinds
