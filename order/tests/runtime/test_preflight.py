"""Preflight: every fault is found, told with what to do, and never raised."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kimp.order.runtime import preflight as preflight_module
from kimp.order.runtime.journal import SqliteJournal
from kimp.order.runtime.place import TradePlace
from kimp.order.runtime.preflight import Grounds, preflight
from kimp.order.runtime.switch import FileSwitch
from kimp.order.runtime.trade_lock import TradeLock
from kimp.order.runtime.virtual_loop import VirtualClock, run_virtual
from kimp.shared.domain.accounts import Check
from kimp.shared.domain.instruments import Venue, default_pair
from kimp.shared.domain.time import MILLISECOND, SECOND
from kimp.shared.messages.events import FeedBack, FeedLost, MarketMoved, SwitchState
from kimp.shared.settings import Settings
from kimp.storage.database.pool import DatabaseAway
from kimp.storage.feeds.clocks import SystemClock


@dataclass
class FakeMarket:
    """Says these events once, then is silent."""

    events: Sequence[MarketMoved | FeedLost | FeedBack]

    async def stream(self) -> AsyncIterator[MarketMoved | FeedLost | FeedBack]:
        for event in self.events:
            await VirtualClock().sleep_until(event.at)
            yield event
        await asyncio.Event().wait()


@dataclass
class Bench:
    """A sound trader-to-be, in which one thing at a time is made wrong."""

    story: Any
    upbit: Any
    binance: Any
    directory: Path
    events: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.place = TradePlace(self.directory)
        self.switch = FileSwitch(self.place.switch, SystemClock())
        self.switch.set(SwitchState.ACTIVE, "test", "")
        self.quotes = MarketMoved(self.story.now, self.story._books(0), self.story._rates())
        self.grounds = Grounds(
            "live",
            Settings(),
            {Venue.UPBIT: self.upbit, Venue.BINANCE: self.binance},
            (default_pair(),),
            self.place,
            self.switch,
            VirtualClock(),
            FakeMarket([self.quotes]),
        )

    def look(self, **changes: Any) -> dict[str, Check]:
        checks = run_virtual(preflight(replace(self.grounds, **changes)), self.story.now)
        assert len({check.name for check in checks}) == len(checks)
        return {check.name: check for check in checks}

    def failed(self, **changes: Any) -> set[str]:
        return {name for name, check in self.look(**changes).items() if not check.ok}


@pytest.fixture
def bench(make_story: Any, upbit: Any, binance: Any, tmp_path: Path) -> Bench:
    return Bench(make_story(), upbit, binance, tmp_path)


def test_a_sound_trader_passes_every_check(bench: Bench) -> None:
    checks = bench.look()
    assert [check for check in checks.values() if not check.ok] == []
    assert set(checks) == {
        "data directory",
        "journal",
        "trade lock",
        "disk space",
        "switch",
        "database",
        "upbit clock",
        "upbit rules KRW-BTC",
        "upbit balance",
        "upbit open orders",
        "binance clock",
        "binance rules BTCUSDT",
        "binance balance",
        "binance position BTCUSDT",
        "binance open orders",
        "feed upbit:KRW-BTC",
        "feed binance:BTCUSDT",
        "feed KRW-USD",
        "feed KRW-USDT",
        "capital BTC",
    }
    assert all(check.detail for check in checks.values())


def test_looking_makes_nothing(bench: Bench, tmp_path: Path) -> None:
    bench.look(place=TradePlace(tmp_path / "not" / "there"))
    assert not (tmp_path / "not").exists()


def test_what_the_venue_says_of_its_keys_is_passed_on(bench: Bench) -> None:
    bench.binance.checks = (Check("binance position mode", False, "헤지 모드 / hedge mode"),)
    assert bench.failed() == {"binance position mode"}
    examined = next(asked for asked in bench.binance.asked if asked[0] == "examine")
    assert examined[2] == Decimal(1)


def test_a_venue_that_is_away_fails_all_that_asks_it(bench: Bench) -> None:
    bench.upbit.is_away = True
    assert bench.failed() == {"upbit clock", "upbit rules", "upbit balance", "upbit open orders", "capital BTC"}


def test_an_adapter_that_raises_fails_its_venue_alone(bench: Bench) -> None:
    bench.binance.bug = RuntimeError("a bug")
    failed = bench.look()
    assert {name for name, check in failed.items() if not check.ok} == {"binance", "capital BTC"}
    assert "RuntimeError: a bug" in failed["binance"].detail


def test_a_venue_that_hangs_fails_in_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def for_ever() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(bench.upbit, "account", for_ever)
    assert preflight_module.CHECK_S_MAX <= 60
    assert bench.failed() == {"upbit", "capital BTC"}


@pytest.mark.parametrize(("skew_ms", "failed"), [(500, set()), (-500, set()), (501, {"upbit clock"})])
def test_a_clock_may_be_off_by_its_limit(bench: Bench, skew_ms: int, failed: set[str]) -> None:
    bench.upbit.skew = skew_ms * MILLISECOND
    assert bench.failed() == failed


def test_a_coin_the_venue_does_not_trade_is_named(bench: Bench) -> None:
    bench.binance.listed = ()
    assert bench.failed() == {"binance rules BTCUSDT"}


def test_orders_placed_by_hand_are_to_be_cancelled_ours_are_left_to_reconciliation(bench: Bench) -> None:
    bench.upbit.resting.append(("upbit:KRW-BTC", "kimp-left-behind"))
    assert bench.failed() == set()
    bench.upbit.resting.append(("upbit:KRW-BTC", "uuid-of-a-hand"))
    assert bench.failed() == {"upbit open orders"}


def test_too_little_money_for_one_lot_is_said(bench: Bench) -> None:
    bench.upbit.balances["KRW"] = Decimal(100_000)
    assert bench.failed() == {"capital BTC"}
    bench.upbit.balances["KRW"] = Decimal(320_000)
    assert bench.failed() == set()
    bench.binance.balances["USDT"] = Decimal(0)
    assert bench.failed() == {"binance balance", "capital BTC"}


def test_money_that_is_in_an_open_pair_is_not_missed(bench: Bench) -> None:
    bench.upbit.balances = {"KRW": Decimal(0), "BTC": Decimal("0.07")}
    bench.binance.contracts["binance:BTCUSDT"] = Decimal("-0.07")
    assert bench.failed() == set()


def test_quotes_that_do_not_come_are_named_one_by_one(bench: Bench) -> None:
    korea = bench.quotes.books[0]
    events = [
        MarketMoved(bench.story.now, (korea,), bench.quotes.rates[:1]),
        FeedLost(bench.story.now, "binance:BTCUSDT", "told to"),
    ]
    checks = bench.look(market=FakeMarket(events))
    failed = {name for name, check in checks.items() if not check.ok}
    assert failed >= {"feed binance:BTCUSDT", "feed KRW-USDT"}
    assert "told to" in checks["feed binance:BTCUSDT"].detail
    assert checks["capital BTC"].ok, "not judged without quotes"


def test_every_source_is_waited_for(bench: Bench) -> None:
    now, (books, rates) = bench.story.now, (bench.quotes.books, bench.quotes.rates)
    steps = [((), rates), (books[:1], ()), (books[1:], ())]
    for order in (steps, steps[::-1]):
        events = [MarketMoved(now + (i + 1) * SECOND, *step) for i, step in enumerate(order)]
        assert bench.failed(market=FakeMarket(events)) == set()


def test_old_quotes_are_no_quotes(bench: Bench) -> None:
    bench.story.now += 200 * SECOND
    assert bench.failed() == {"feed upbit:KRW-BTC", "feed binance:BTCUSDT", "feed KRW-USD", "feed KRW-USDT"}


def test_without_a_market_nothing_is_said_of_quotes(bench: Bench) -> None:
    assert not any(name.startswith("feed") for name in bench.look(market=None))


def test_a_damaged_journal_fails_and_a_sound_one_is_counted(bench: Bench) -> None:
    with SqliteJournal(bench.place.journal, clock=SystemClock()) as journal:
        journal.append(bench.story.records)
    assert "2건" in bench.look()["journal"].detail
    bench.place.journal.write_bytes(b"not a database at all" * 100)
    assert bench.failed() == {"journal"}


def test_a_trader_that_runs_is_named(bench: Bench) -> None:
    with TradeLock(bench.place.lock):
        assert "a trader is running" in bench.look()["trade lock"].detail
        assert "this trader" in bench.look(holds_lock=True)["trade lock"].detail
    assert "free" in bench.look()["trade lock"].detail


def test_a_full_disk_fails(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight_module, "DISK_FREE_MIN", 2**62)
    assert bench.failed() == {"disk space"}


def test_a_stopped_switch_is_said_and_no_fault(bench: Bench) -> None:
    bench.switch.set(SwitchState.HALTED, "test", "")
    assert "kimp resume" in bench.look()["switch"].detail
    bench.place.switch.unlink()
    assert "first start" in bench.look()["switch"].detail, "nothing was ever traded here"
    SqliteJournal(bench.place.journal).close()
    assert "reducing" in bench.look()["switch"].detail, "a switch that is lost stops"


def test_a_database_that_is_away_is_a_warning_only(bench: Bench) -> None:
    @asynccontextmanager
    async def away() -> AsyncIterator[Any]:
        raise DatabaseAway("nobody there")
        yield

    check = bench.look(database=away())["database"]
    assert check.ok
    assert "nobody there" in check.detail
