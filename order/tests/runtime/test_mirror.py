"""The mirror: after any journal the database holds exactly its fold, whoever dies in between."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal
from itertools import count
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg  # type: ignore[import-untyped]
import msgspec
import pytest

from kimp.order.engine.state import EngineState, Slot
from kimp.order.runtime.journal import SqliteJournal
from kimp.order.runtime.mirror import Mirror
from kimp.order.runtime.mirrored_rows import TABLES
from kimp.shared.domain.instruments import Side, Venue
from kimp.shared.domain.money import Amount
from kimp.shared.domain.orders import Accepted, Rejected, Unknown
from kimp.shared.domain.positions import LegPosition
from kimp.shared.domain.time import from_datetime
from kimp.shared.errors import DataError
from kimp.shared.messages.events import CloseOrdered, FundsMoved, OrderAnswered, SwitchState
from kimp.shared.messages.records import FillBooked, PlanMade, SwitchSet
from kimp.shared.settings import Database as DatabaseSettings
from kimp.shared.settings import SecretStr
from kimp.storage.database.address import Address
from kimp.storage.database.embedded import EmbeddedServer
from kimp.storage.database.migrate import migrate
from kimp.storage.database.pool import Database, DatabaseAway
from kimp.storage.feeds.clocks import SystemClock

SECONDS_MAX = 60.0


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """One server for all tests here; in memory where there is room, because a new cluster is synced file by file."""
    memory = Path("/dev/shm")
    is_roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2 * 1024**3
    directory = Path(tempfile.mkdtemp(prefix="kimp-test-", dir=memory if is_roomy else None))
    directory.chmod(0o755)
    with EmbeddedServer(directory) as started:
        yield started
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def new_database(server: EmbeddedServer) -> Callable[[], Database]:
    """Makes databases with all tables and no rows."""
    names = (f"mirror_{number}" for number in count())

    def make(template: str = "template0") -> str:
        name = next(names)

        async def create() -> None:
            connection = await asyncpg.connect(server.url.get_secret_value())
            await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
            await connection.close()

        with ThreadPoolExecutor(1) as elsewhere:  # tests ask for databases from within a running loop
            elsewhere.submit(run, create()).result()
        return name

    def opened(name: str) -> Database:
        parts = urlsplit(server.url.get_secret_value())
        url = urlunsplit(parts._replace(path=f"/{name}"))
        return Database(Address(SecretStr(url), Path()), DatabaseSettings(pool_max=2, connect_timeout_s=5))

    async def fill(name: str) -> None:
        async with opened(name) as database:
            await migrate(database)

    template = make()
    run(fill(template))
    return lambda: opened(make(template))


def run(coroutine: Any) -> Any:
    async def limited() -> Any:
        async with asyncio.timeout(SECONDS_MAX):
            return await coroutine

    return asyncio.run(limited())


# -- journals ----------------------------------------------------------------------------------------------------------


def lived(make_story: Any, seed: int) -> Any:
    """A story in which anything may have happened."""
    story, dice = make_story(), Random(seed)
    for step in range(60):
        story.quote(dice.choice(("0.001", "0.005", "0.03")), usdt=dice.choice(("1390", "1400", "1412.5")))
        match dice.randrange(9):
            case 0 | 1:
                story.enter(share=dice.choice(("1", "0.4")))
            case 2:
                story.leave()
            case 3:
                story.pay_funding(str(Decimal(dice.randrange(-900, 900)) / 1000), f"f{step}")
            case 4:
                side = dice.choice((Side.BUY, Side.SELL))
                story.foreign(story.pair.abroad, side, "0.003", "100321.7", f"hand-{step}")
            case 5:
                amount = Amount(Decimal(dice.randrange(1, 10**12)) / 10**8, "USDT")
                story.feed(FundsMoved(story.now, f"t{step}", Venue.BINANCE, amount))
            case 6:
                story.turn(dice.choice(list(SwitchState)), is_resume=dice.random() < 0.3)
            case 7:
                order = CloseOrdered(story.now, f"c{step}", "fake:BTC", "owner", "zero \x00 \u0000 and 김프")
                story.feed(order)
            case _:
                pass
        if dice.random() < 0.8:
            stumble(story, dice)
        story.wait(dice.choice((1, 90, 4000)))
    return story


def stumble(story: Any, dice: Random) -> None:
    """Whatever is in flight gets an answer of some kind."""
    for tracked in list(story.engine.state.orders.values()):
        if not tracked.is_settled:
            answer = dice.choice((Rejected("400", "no \x00"), Unknown("timeout"), Accepted("v")))
            story.feed(OrderAnswered(story.now, tracked.order.client_id, answer))
            if dice.random() < 0.7:
                story.fill(tracked.order, tracked.order.quantity / 2 if dice.random() < 0.5 else None)


def journal_of(story: Any, path: Path, *, number: int | None = None) -> SqliteJournal:
    journal = SqliteJournal(path, clock=SystemClock())
    journal.append(story.records[journal.length : number])
    return journal


def mirror_of(story: Any, journal: Any, database: Database, name: str = "paper:1") -> Mirror:
    like = story.engine.state
    return Mirror(database, journal, name=name, like=like, clock=SystemClock(), dice=Random(1), page=7)


def folded(story: Any, number: int | None = None) -> EngineState:
    like = story.engine.state.slots.values()
    state = EngineState(Slot(slot.key, slot.strategy, slot.symbol, slot.legs) for slot in like)
    for record in story.records[:number]:
        state.apply(record)
    return state


# -- what the database says --------------------------------------------------------------------------------------------


async def rows_of(database: Database, name: str = "paper:1") -> dict[str, list[tuple[Any, ...]]]:
    async with database.connection() as connection:
        found = {}
        for table in TABLES:
            columns = ", ".join(table.columns)
            order = ", ".join(table.columns[: table.keys])
            query = f"SELECT {columns} FROM {table.name} WHERE journal = $1 ORDER BY {order}"
            found[table.name] = [tuple(row) for row in await connection.fetch(query, name)]
        found["audit"] = [tuple(row) for row in await connection.fetch("SELECT action, detail FROM audit ORDER BY id")]
        return found


async def assert_equals_the_fold(database: Database, story: Any, number: int | None = None) -> None:
    state, rows, records = folded(story, number), await rows_of(database), story.records[:number]
    booked = {(row[0], row[1]): (row[5], row[6], row[7]) for row in rows["ledger"]}
    assert booked == {
        (entry.entry_id, line): (posting.account, posting.amount.asset, posting.amount.value)
        for entry in state.ledger.entries
        for line, posting in enumerate(entry.postings)
    }
    balances: dict[tuple[str, str], Decimal] = {}
    for account, asset, amount in booked.values():
        balances[account, asset] = balances.get((account, asset), Decimal(0)) + amount
    assert {key: value for key, value in balances.items() if value} == state.ledger.balances()
    orders = {row[0]: row for row in rows["orders"]}
    assert {key: (row[6], row[7], row[13 - 1], row[16]) for key, row in orders.items()} == {
        key: (
            tracked.order.quantity,
            tracked.order.limit,
            {Accepted: "accepted", Rejected: "rejected", Unknown: "unknown"}.get(type(tracked.outcome)),
            tracked.executed,
        )
        for key, tracked in state.orders.items()
    }
    assert {key: row[18] is not None for key, row in orders.items()} == {
        key: tracked.is_lost for key, tracked in state.orders.items()
    }
    fills = [record for record in records if isinstance(record, FillBooked)]
    assert {row[1]: (row[7], row[8], row[9], row[12]) for row in rows["fills"]} == {
        record.fill.trade_id: (record.fill.quantity, record.fill.price, record.fill.fee.value, record.krw_rate)
        for record in fills
    }
    decided = {record.plan.signal_id for record in records if isinstance(record, PlanMade)}
    assert {row[0] for row in rows["signals"]} == decided
    expected = {}
    for slot in state.slots.values():
        for pair in slot.closed:
            expected[pair.position.signal_id] = (pair.position, "flat", pair.closed_at)
        if slot.position is not None:
            expected[slot.position.signal_id] = (slot.position, slot.phase.value, None)
    found = {
        row[0]: (
            msgspec.json.decode(row[6], type=tuple[LegPosition, ...]),
            row[7],
            row[5],
            None if row[9] is None else from_datetime(row[9]),
        )
        for row in rows["positions"]
    }
    assert found == {
        key: (position.legs, position.funding_krw, phase, closed_at)
        for key, (position, phase, closed_at) in expected.items()
    }
    assert len([row for row in rows["audit"] if row[0] == "switch"]) == len(
        [record for record in records if isinstance(record, SwitchSet)]
    )


# -- tests -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_after_any_journal_the_database_holds_its_fold_exactly(
    make_story: Any, new_database: Callable[[], Database], tmp_path: Path, seed: int
) -> None:
    story = lived(make_story, seed)

    async def scenario() -> None:
        with closing(journal_of(story, tmp_path / "j.sqlite")) as journal:
            async with new_database() as database:
                mirror = mirror_of(story, journal, database)
                while await mirror.once(database):
                    assert mirror.copied <= journal.length
                assert mirror.lag == 0
                await assert_equals_the_fold(database, story)
                before = await rows_of(database)
                assert await mirror.once(database) == 0
                again = mirror_of(story, journal, database)
                assert await again.once(database) == 0
                assert await rows_of(database) == before

    run(scenario())


def test_a_kill_between_or_within_pages_loses_and_doubles_nothing(
    make_story: Any, new_database: Callable[[], Database], tmp_path: Path
) -> None:
    story = lived(make_story, 77)
    assert len(story.records) > 50, "the story is too short to be killed in"

    class Killed(Exception):
        pass

    class Dying(Mirror):
        async def _write(self, connection: Any, page: Any) -> None:
            await super()._write(connection, page)
            raise Killed

    async def scenario() -> None:
        with closing(journal_of(story, tmp_path / "j.sqlite")) as journal:
            async with new_database() as database:
                while True:
                    like = story.engine.state
                    dying = Dying(
                        database, journal, name="paper:1", like=like, clock=SystemClock(), dice=Random(1), page=7
                    )
                    with pytest.raises(Killed):
                        await dying.once(database)
                    assert await mirror_of(story, journal, database).once(database) > 0
                    if not await mirror_of(story, journal, database).once(database):
                        break
                await assert_equals_the_fold(database, story)

    run(scenario())


def test_a_page_that_did_not_happen_is_written_again(
    make_story: Any, new_database: Callable[[], Database], tmp_path: Path
) -> None:
    story = lived(make_story, 5)

    class Flaky(Mirror):
        failures = 2

        async def _write(self, connection: Any, page: Any) -> None:
            await super()._write(connection, page)
            if self.failures:
                self.failures -= 1
                raise DatabaseAway("told to")

    async def scenario() -> None:
        with closing(journal_of(story, tmp_path / "j.sqlite")) as journal:
            async with new_database() as database:
                like = story.engine.state
                flaky = Flaky(database, journal, name="paper:1", like=like, clock=SystemClock(), dice=Random(1), page=7)
                for _ in range(2):
                    with pytest.raises(DatabaseAway):
                        await flaky.once(database)
                while await flaky.once(database):
                    pass
                await assert_equals_the_fold(database, story)

    run(scenario())


def test_it_copies_on_while_the_journal_grows(
    make_story: Any, new_database: Callable[[], Database], tmp_path: Path
) -> None:
    story = lived(make_story, 8)

    async def scenario() -> None:
        async with new_database() as database:
            mirror: Any = None
            for number in (1, 2, 7, 30, len(story.records)):
                with closing(journal_of(story, tmp_path / "j.sqlite", number=number)) as journal:
                    mirror = mirror or mirror_of(story, journal, database)
                    mirror._journal = journal
                    while await mirror.once(database):
                        pass
                    await assert_equals_the_fold(database, story, number)

    run(scenario())


def test_a_new_database_is_filled_from_the_beginning(
    make_story: Any, new_database: Callable[[], Database], tmp_path: Path
) -> None:
    story = lived(make_story, 3)

    async def scenario() -> None:
        with closing(journal_of(story, tmp_path / "j.sqlite")) as journal:
            async with new_database() as first, new_database() as second:
                mirror = mirror_of(story, journal, first)
                for database in (first, second, first):
                    while await mirror.once(database):
                        pass
                    await assert_equals_the_fold(database, story)

    run(scenario())


def test_two_journals_in_one_database_do_not_mix(
    make_story: Any, new_database: Callable[[], Database], tmp_path: Path
) -> None:
    paper, live = make_story(), lived(make_story, 4)

    async def scenario() -> None:
        with (
            closing(journal_of(paper, tmp_path / "p.sqlite")) as of_paper,
            closing(journal_of(live, tmp_path / "l.sqlite")) as of_live,
        ):
            async with new_database() as database:
                for story, journal, name in ((live, of_live, "live:1"), (paper, of_paper, "paper:1")):
                    mirror = mirror_of(story, journal, database, name)
                    while await mirror.once(database):
                        pass
                found = await rows_of(database, "live:1")
                assert len({row[0] for row in found["ledger"]}) == len(live.engine.state.ledger.entries)
                assert {row[0] for row in (await rows_of(database))["ledger"]} == {
                    entry.entry_id for entry in paper.engine.state.ledger.entries
                }

    run(scenario())


def test_a_journal_older_than_its_copy_is_refused(
    make_story: Any, new_database: Callable[[], Database], tmp_path: Path
) -> None:
    story = lived(make_story, 3)

    async def scenario() -> None:
        async with new_database() as database:
            with closing(journal_of(story, tmp_path / "new.sqlite")) as journal:
                while await mirror_of(story, journal, database).once(database):
                    pass
            with (
                closing(journal_of(story, tmp_path / "old.sqlite", number=3)) as journal,
                pytest.raises(DataError, match="replaced by an older one"),
            ):
                await mirror_of(story, journal, database).once(database)

    run(scenario())


def test_it_waits_for_a_database_that_is_away_and_catches_up(
    make_story: Any, new_database: Callable[[], Database], tmp_path: Path
) -> None:
    story = lived(make_story, 9)

    class Impatient(SystemClock):
        async def sleep_until(self, at: int) -> None:
            await asyncio.sleep(0.001 if at > self.now() else 0)

    class Gate:
        """A database of which every transaction fails until it is opened."""

        def __init__(self, database: Database) -> None:
            self.database, self.is_open, self.refused = database, False, 0

        async def __aenter__(self) -> Gate:
            await self.database.__aenter__()
            return self

        async def __aexit__(self, *exception: object) -> None:
            await self.database.__aexit__(*exception)

        def connection(self) -> Any:
            return self._or_away(self.database.connection)

        def transaction(self) -> Any:
            return self._or_away(self.database.transaction)

        def _or_away(self, then: Any) -> Any:
            if not self.is_open:
                self.refused += 1
                raise DatabaseAway("told to")
            return then()

    async def scenario() -> None:
        gate: Any = Gate(new_database_now)
        with closing(journal_of(story, tmp_path / "j.sqlite")) as journal:
            like = story.engine.state
            mirror = Mirror(gate, journal, name="paper:1", like=like, clock=Impatient(), dice=Random(1))
            async with asyncio.TaskGroup() as group:
                running = group.create_task(mirror.run())
                while gate.refused < 5:
                    await asyncio.sleep(0)
                assert (mirror.state, mirror.copied) == ("away", 0)
                gate.is_open = True
                while mirror.lag or mirror.state != "running":
                    await asyncio.sleep(0)
                await assert_equals_the_fold(gate, story)
                running.cancel()

    new_database_now = new_database()
    run(scenario())


def test_a_mirror_that_broke_can_be_run_again(
    make_story: Any, new_database: Callable[[], Database], tmp_path: Path
) -> None:
    story = lived(make_story, 2)

    class Broken(Mirror):
        failures = 1

        async def _write(self, connection: Any, page: Any) -> None:
            await super()._write(connection, page)
            if self.failures:
                self.failures -= 1
                raise ValueError("a bug")

    async def scenario() -> None:
        database = new_database()
        with closing(journal_of(story, tmp_path / "j.sqlite")) as journal:
            like = story.engine.state
            mirror = Broken(database, journal, name="paper:1", like=like, clock=SystemClock(), dice=Random(1), page=7)
            with pytest.raises(ValueError, match="a bug"):
                await mirror.run()
            async with asyncio.TaskGroup() as group:
                running = group.create_task(mirror.run())
                while mirror.lag or mirror.state != "running":
                    await asyncio.sleep(0)
                await assert_equals_the_fold(database, story)
                running.cancel()

    run(scenario())
