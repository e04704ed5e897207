"""The journal on disk: all or nothing, durable, readable by others, and clear words when something is wrong with it."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kimp.order.runtime.journal import JournalFailed, MemoryJournal, SqliteJournal, decoded, digest, encoded
from kimp.order.runtime.trade_lock import TradeLock, holder_of
from kimp.order.runtime.virtual_loop import run_virtual
from kimp.shared.domain.instruments import Venue
from kimp.shared.domain.money import Amount
from kimp.shared.errors import ConfigurationError, DataError, KimpError, NotRunning
from kimp.shared.messages.events import SwitchState
from kimp.shared.messages.records import FundsBooked, Record, SwitchSet


def funds(count: int, since: int = 0) -> list[Record]:
    return [
        FundsBooked(n, f"t-{n}", Venue.UPBIT, Amount(Decimal(f"{n}.10"), "KRW")) for n in range(since, since + count)
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


def test_what_was_appended_is_read_in_order_after_reopening(path: Path) -> None:
    with SqliteJournal(path) as journal:
        journal.append(funds(3))
        journal.append(funds(2, since=3))
        id_ = journal.id
    with SqliteJournal(path) as journal:
        assert list(journal.read()) == funds(5)
        assert (journal.length, journal.id) == (5, id_)
        journal.append(funds(1, since=5))
        assert all(file.stat().st_mode & 0o077 == 0 for file in path.parent.iterdir())


def test_every_record_of_a_real_trade_comes_back_equal(path: Path, stage: Any, enter: Any, start: int) -> None:
    async def play() -> list[Record]:
        shown = stage(says=enter, journal=MemoryJournal())
        async with asyncio.TaskGroup() as group:
            running = group.create_task(shown.runner.run())
            shown.runner.move(shown.quotes())
            await shown.until(lambda: bool(shown.notices.told))
            running.cancel()
        return list(shown.journal.read())

    records = run_virtual(play(), start)
    with SqliteJournal(path) as journal:
        journal.append(records)
        assert list(journal.read()) == records
        assert digest(journal.read()) == digest(records)
    kinds = {type(record).__name__ for record in records}
    assert {"PlanMade", "OrderIntended", "OrderOutcome", "FillBooked", "OrderClosed", "PhaseEntered"} <= kinds


def test_a_digest_tells_one_changed_digit() -> None:
    changed = [*funds(3)[:2], FundsBooked(2, "t-2", Venue.UPBIT, Amount(funds(3)[2].amount.value + 1, "KRW"))]  # type: ignore[union-attr]
    assert digest(funds(3)) != digest(changed)
    assert digest(funds(3)) == digest(decoded(encoded(record)) for record in funds(3))


def test_another_reader_follows_while_the_trader_writes(path: Path) -> None:
    with SqliteJournal(path) as journal:
        journal.append(funds(2))
        with SqliteJournal(path, read_only=True) as reader:
            assert [number for number, _ in reader.tail(0)] == [1, 2]
            journal.append(funds(1500, since=2))
            assert [number for number, _ in reader.tail(2)] == list(range(3, 1503))
            assert reader.length == 1502
            with pytest.raises(JournalFailed):
                reader.append(funds(1))


def test_a_trade_that_never_ran_has_no_journal(path: Path) -> None:
    with pytest.raises(NotRunning, match="no trader has run"):
        SqliteJournal(path, read_only=True)
    assert not path.exists()


def test_every_commit_waits_for_the_platter(path: Path) -> None:
    """https://www.sqlite.org/pragma.html#pragma_synchronous: 2 is FULL; a kill would not show the difference."""
    with SqliteJournal(path) as journal:
        assert journal._one("PRAGMA synchronous") == 2
        assert journal._one("PRAGMA journal_mode") == "wal"


def test_a_directory_in_its_place_is_said_in_words(path: Path) -> None:
    path.mkdir()
    with pytest.raises(DataError, match="could not be opened"):
        SqliteJournal(path)


def test_a_foreign_file_is_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE holiday (photo BLOB)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="not a journal of kimp"):
        SqliteJournal(path)
    assert path.read_bytes() == before


def test_a_newer_versions_journal_is_left_alone(path: Path) -> None:
    SqliteJournal(path).close()
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(ConfigurationError, match="newer version"):
        SqliteJournal(path)


def test_garbage_is_called_damaged(path: Path) -> None:
    path.write_bytes(b"not a database at all, but long enough to look like one" * 40)
    with pytest.raises(DataError, match="damaged"):
        SqliteJournal(path)


def test_a_damaged_page_is_noticed_at_start(path: Path) -> None:
    with SqliteJournal(path) as journal:
        journal.append(funds(2000))
    body, page = bytearray(path.read_bytes()), 4096
    middle = len(body) // page // 2 * page
    body[middle + page // 2 : middle + page] = b"\xff" * (page // 2)  # its head still counts its records
    path.write_bytes(bytes(body))
    with pytest.raises(DataError, match="is damaged"):
        SqliteJournal(path)


def test_a_record_taken_out_is_noticed_at_start(path: Path) -> None:
    with SqliteJournal(path) as journal:
        journal.append(funds(5))
    with sqlite3.connect(path) as other:
        other.execute("DELETE FROM records WHERE sequence = 3")
    other.close()
    with pytest.raises(DataError, match="some are missing"):
        SqliteJournal(path)


def test_a_record_of_no_known_kind_cannot_be_read(path: Path) -> None:
    with SqliteJournal(path) as journal:
        journal.append(funds(1))
    with sqlite3.connect(path) as other:
        other.execute('UPDATE records SET body = \'{"type": "Nonsense"}\'')
    other.close()
    with SqliteJournal(path) as journal, pytest.raises(DataError, match="cannot be read"):
        list(journal.read())


def test_a_full_disk_fails_the_whole_append_and_keeps_the_rest(path: Path) -> None:
    journal = SqliteJournal(path)
    journal.append(funds(10))
    journal._connection.execute("PRAGMA max_page_count = 8")
    with pytest.raises(JournalFailed, match="trading ends"):
        journal.append(funds(5000, since=10))
    assert journal.length == 10
    assert list(journal.read()) == funds(10)
    journal.close()


def test_an_append_survives_kill_9(path: Path) -> None:
    """The process dies right after append returned; what it had appended is there."""
    script = (
        "import sys, os, signal, pathlib\n"
        "from kimp.order.runtime.journal import SqliteJournal\n"
        "from kimp.shared.messages.records import SwitchSet\n"
        "from kimp.shared.messages.events import SwitchState\n"
        "journal = SqliteJournal(pathlib.Path(sys.argv[1]))\n"
        "journal.append([SwitchSet(n, SwitchState.HALTED) for n in range(100)])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    with SqliteJournal(path) as journal:
        assert list(journal.read()) == [SwitchSet(n, SwitchState.HALTED) for n in range(100)]


def test_one_trader_per_mode(tmp_path: Path) -> None:
    lock = tmp_path / "live" / "lock"
    with TradeLock(lock):
        assert holder_of(lock) == os.getpid()
        with pytest.raises(KimpError, match=f"another trader \\(process {os.getpid()}\\)"), TradeLock(lock):
            pass
    assert holder_of(lock) is None
    with TradeLock(lock):
        pass
    assert holder_of(tmp_path / "nowhere") is None


def test_two_writers_cannot_both_have_the_next_number_and_the_loser_holds_nothing_back(path: Path) -> None:
    with SqliteJournal(path) as first, SqliteJournal(path) as second:
        first.append(funds(1))
        with pytest.raises(JournalFailed, match="UNIQUE"):
            second.append(funds(3))
        first.append(funds(1, since=1))
        assert list(first.read()) == funds(2)
