"""What was answered is remembered, whatever happens to the process; what is not a diary is refused in one sentence."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from kimp.portfolio.exchange.diary import Diary, DiaryFailed
from kimp.portfolio.exchange.facts import IdentifierBurnt
from kimp.portfolio.exchange.tickets import OrderKind, OrderState, Ticket, VirtualOrder
from kimp.portfolio.exchange.virtual import VirtualExchange
from kimp.research.simulation.venue import SimulatedVenue
from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.instruments import Side, Venue, binance_perpetual, upbit_spot
from kimp.shared.domain.money import Amount
from kimp.shared.domain.orders import Rejected
from kimp.shared.domain.time import HOUR, SECOND, Nanos
from kimp.shared.errors import DataError
from kimp.shared.messages.events import MarketMoved

D = Decimal
COIN, PERP = upbit_spot("BTC"), binance_perpetual("BTC")


class FixedClock:
    """One moment."""

    def __init__(self, at: Nanos = 0) -> None:
        self.at = at

    def now(self) -> Nanos:
        return self.at

    async def sleep_until(self, at: Nanos) -> None:
        raise AssertionError(f"nobody waits until {at} here")


def book(id_: str, price: int, at: Nanos = 0) -> Book:
    return Book(id_, (Level(D(price), D(1)),), (Level(D(price + 1_000), D(1)),), at, at)


def upbit(diary: Diary | None, balances: dict[str, Decimal] | None = None) -> VirtualExchange:
    simulated = SimulatedVenue(Venue.UPBIT, [COIN], balances or {"KRW": D(10_000_000), "BTC": D(1)})
    venue = VirtualExchange(simulated, FixedClock(), diary=diary)
    venue.see(MarketMoved(0, (book(COIN.id, 100_000_000),)))
    return venue


def binance(diary: Diary, at: Nanos) -> VirtualExchange:
    return VirtualExchange(SimulatedVenue(Venue.BINANCE, [PERP], {"USDT": D(500_000)}), FixedClock(at), diary=diary)


def sell(client_id: str | None, price: int = 100_000_000, quantity: str = "0.01") -> Ticket:
    return Ticket(client_id, COIN.id, Side.SELL, OrderKind.LIMIT, D(quantity), D(price))


CHILD = """
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_diary import Diary, sell, upbit
venue = upbit(Diary(Path(sys.argv[1])))
for number in range(100_000):
    order = venue.submit(sell(f"c{number}", quantity="0.0001"))
    print(order.number, flush=True)
"""


def test_every_order_that_was_answered_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "diary.sqlite"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    with child.stdout as answers:
        answered = [int(answers.readline()) for _ in range(40)]
        os.kill(child.pid, signal.SIGKILL)
        answered += [int(line) for line in answers.read().split()]
    assert child.wait() == -signal.SIGKILL
    with Diary(path) as diary:
        venue = upbit(diary)
        orders = venue.orders()
        assert answered == list(range(1, len(answered) + 1))
        assert len(answered) <= len(orders) <= len(answered) + 1
        sold = sum((order.executed for order in orders), D(0))
        assert venue.simulated.balances["BTC"] == 1 - sold
        fresh = venue.submit(sell("after"))
        assert isinstance(fresh, VirtualOrder)
        assert fresh.number == len(orders)
        assert int(fresh.fills[0].trade_id) == sum(len(order.fills) for order in orders)


def test_an_identifier_refused_before_a_restart_is_burnt_after_it(tmp_path: Path) -> None:
    with Diary(tmp_path / "d") as diary:
        refused = upbit(diary).submit(sell("once", quantity="5"))
        assert isinstance(refused, Rejected)
        assert refused.code == "insufficient_funds"
    with Diary(tmp_path / "d") as diary:
        again = upbit(diary).submit(sell("once"))
        assert isinstance(again, Rejected)
        assert again.code == "duplicate_client_id"


def test_the_opening_balances_count_only_once(tmp_path: Path) -> None:
    with Diary(tmp_path / "d") as diary:
        upbit(diary).move_funds("salary", Amount(D(5), "KRW"))
    with Diary(tmp_path / "d") as diary:
        venue = upbit(diary, {"KRW": D(999), "ETH": D(3)})
        assert venue.simulated.balances == {"KRW": D(10_000_005), "BTC": D(1)}
        assert isinstance(venue.move_funds("salary", Amount(D(5), "KRW")), Rejected)


def test_funding_that_came_due_while_the_venue_was_down_is_settled_once(tmp_path: Path) -> None:
    due = 8 * HOUR
    rate = FundingRate(PERP.id, D("0.0001"), due - SECOND, due)
    with Diary(tmp_path / "d") as diary:
        venue = binance(diary, due - SECOND)
        venue.see(MarketMoved(due - SECOND, (book(PERP.id, 100_000, due - SECOND),), funding=(rate,)))
        short = venue.submit(Ticket(None, PERP.id, Side.SELL, OrderKind.MARKET, D(1)))
        assert isinstance(short, VirtualOrder)
        assert short.state is OrderState.FILLED
    for _ in range(2):
        with Diary(tmp_path / "d") as diary:
            venue = binance(diary, due + HOUR)
            venue.see(MarketMoved(due + HOUR, (book(PERP.id, 99_500, due + HOUR),), funding=(rate,)))
            assert [(paid.amount.value, paid.at) for paid in venue.simulated.income] == [(D("10.00000000"), due)]
            assert venue.leverage == {"BTCUSDT": D(1)}


def test_leverage_and_mode_survive(tmp_path: Path) -> None:
    with Diary(tmp_path / "d") as diary:
        venue = binance(diary, 0)
        assert venue.set_leverage("BTCUSDT", D(3)) is None
        assert venue.set_hedge_mode(is_hedge_mode=True) is None
    with Diary(tmp_path / "d") as diary:
        venue = binance(diary, 0)
        assert venue.leverage == {"BTCUSDT": D(3)}
        assert venue.is_hedge_mode


def test_market_data_writes_nothing(tmp_path: Path) -> None:
    with Diary(tmp_path / "d") as diary:
        venue = upbit(diary)
        before = len(list(diary.read()))
        for price in range(100):
            venue.see(MarketMoved(price, (book(COIN.id, 100_000_000 + 1_000 * price),)))
        assert len(list(diary.read())) == before == 1


def test_a_venue_whose_diary_failed_takes_nothing_more_and_tells_nobody(tmp_path: Path) -> None:
    diary = Diary(tmp_path / "d")
    venue = upbit(diary)
    diary.close()
    with pytest.raises(DiaryFailed, match="cannot be written"):
        venue.submit(sell("a"))
    with pytest.raises(DiaryFailed):
        venue.orders()
    with Diary(tmp_path / "d") as diary:
        assert upbit(diary).orders() == []


@pytest.mark.parametrize("content", [b"", b"not a database, but long enough to be looked at" * 40])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "d"
    path.write_bytes(content)
    if content:
        with pytest.raises(DataError, match="diary"):
            Diary(path)
    else:
        Diary(path).close()  # an empty file is what SQLite itself begins with


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "d"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (x)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(DataError, match="not a venue's diary"):
        Diary(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "damaged",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:9_000] + bytes(3_000) + content[12_000:],
        lambda content: content.replace(b'"quantity":"0.0001"', b'"quantity":"0.0009"', 1),
    ],
    ids=["cut off", "zeroed", "one digit"],
)
def test_a_damaged_diary_is_refused(tmp_path: Path, damaged: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "d"
    with Diary(path) as diary:
        venue = upbit(diary)
        for number in range(50):
            venue.submit(sell(f"c{number}", quantity="0.0001"))
    path.write_bytes(damaged(path.read_bytes()))
    with pytest.raises(DataError, match="restore it"), Diary(path) as diary:
        upbit(diary)


def test_a_missing_fact_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "d"
    with Diary(path) as diary:
        diary.append([IdentifierBurnt("a"), IdentifierBurnt("b"), IdentifierBurnt("c")])
    file = sqlite3.connect(path)
    file.execute("DELETE FROM facts WHERE seq = 2")
    file.commit()
    file.close()
    with Diary(path) as diary, pytest.raises(DataError, match="fact 2 is missing or was changed"):
        list(diary.read())


def test_the_diary_of_another_venue_or_of_other_coins_is_refused(tmp_path: Path) -> None:
    with Diary(tmp_path / "d") as diary:
        upbit(diary).submit(sell("a"))
    with Diary(tmp_path / "d") as diary, pytest.raises(DataError, match="not the diary of binance"):
        binance(diary, 0)
    with Diary(tmp_path / "d") as diary, pytest.raises(DataError, match="same coins"):
        VirtualExchange(SimulatedVenue(Venue.UPBIT, [upbit_spot("ETH")], {}), FixedClock(), diary=diary)


def test_a_diary_has_one_owner(tmp_path: Path) -> None:
    with Diary(tmp_path / "d"), pytest.raises(DataError, match="locked"):
        Diary(tmp_path / "d")


def test_a_liquidation_is_remembered(tmp_path: Path) -> None:
    with Diary(tmp_path / "d") as diary:
        venue = binance(diary, 0)
        assert venue.set_leverage("BTCUSDT", D(20)) is None
        venue.move_funds("out", Amount(D(-490_000), "USDT"))
        venue.see(MarketMoved(0, (book(PERP.id, 100_000),)))
        venue.submit(Ticket("short", PERP.id, Side.SELL, OrderKind.MARKET, D(1)))
        venue.submit(Ticket("rest", PERP.id, Side.BUY, OrderKind.LIMIT, D("0.002"), D(60_000)))
        venue.see(MarketMoved(SECOND, (book(PERP.id, 120_000),)))
        before = venue.orders(), venue.simulated.balances, venue.simulated.trades
        assert [order.state for order in venue.orders()] == [OrderState.FILLED, OrderState.CANCELLED, OrderState.FILLED]
    with Diary(tmp_path / "d") as diary:
        venue = binance(diary, SECOND)
        assert (venue.orders(), venue.simulated.balances, venue.simulated.trades) == before
        assert venue.simulated.contracts[PERP.id].quantity == 0
        assert len(venue.simulated.history) == 2
