"""Every setting of kimp: its meaning, unit, default and limits, in one place.

This is only the catalogue; :mod:`kimp.shared.config` finds the values. ``docs/configuration.md``, ``.env.example`` and
``config/base.toml`` are written from here, and a test fails when they fall behind.

Fractions are fractions: 0.0005 is 0.05 %. Money and rates are ``Decimal`` from the first character of the file on, so
that no fee is ever 0.00050000000000000001.
"""

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Struct

from kimp.shared.setting import Fraction, Setting
from kimp.shared.setting import SecretStr as SecretStr  # part of what settings are

MODES = ("paper", "testnet", "live")

OFFICIAL_HOSTS = frozenset(
    {
        "api.upbit.com",
        "fapi.binance.com",
        "fstream.binance.com",
        "demo-fapi.binance.com",
        "demo-fstream.binance.com",
        "quotation-api-cdn.dunamu.com",
        "query1.finance.yahoo.com",
    }
)
"""Where requests may go without anybody having said so; loopback is the only other such place. The last two are asked
for exchange rates only: a rate from anywhere else could make a premium out of nothing.
"""


class Data(Struct, frozen=True, kw_only=True):
    """Where results and market data lie on this machine."""

    directory: Annotated[
        Path,
        Setting("Results, downloaded market data and the journal. `XDG_DATA_HOME`, where set, moves the default."),
    ] = Path("~/.local/share/kimp")


class Capital(Struct, frozen=True, kw_only=True):
    """How much of the money may be at work."""

    fraction: Annotated[
        Fraction,
        Setting(
            "Share of the capital that may be committed at any instant; the rest pays fees and margin moves.",
            "fraction",
            Decimal("0.01"),
            Decimal("0.95"),
        ),
    ] = Decimal("0.95")


class Costs(Struct, frozen=True, kw_only=True):
    """What trading costs, where the venue does not say so itself."""

    upbit_fee: Annotated[
        Fraction,
        Setting("Upbit's fee per fill. Live trading reads it from the venue at start.", "fraction", 0, Decimal("0.01")),
    ] = Decimal("0.0005")
    binance_fee: Annotated[
        Fraction,
        Setting("Binance's taker fee per fill. Live reads it from the venue.", "fraction", 0, Decimal("0.01")),
    ] = Decimal("0.0005")
    slippage: Annotated[
        Fraction,
        Setting("How much worse than the quote a simulated fill is, on each leg.", "fraction", 0, Decimal("0.05")),
    ] = Decimal("0.0005")


class Strategy(Struct, frozen=True, kw_only=True):
    """Which strategy decides; its thresholds belong to the preset."""

    name: Annotated[str, Setting("Name in the entry-point group `kimp.strategies`; your own package may add one.")] = (
        "kimp"
    )
    preset: Annotated[str, Setting("A named set of that strategy's thresholds, such as `roadmap` or `low_entry`.")] = (
        "roadmap"
    )
    parameters: Annotated[
        str, Setting("Single thresholds that differ from the preset's: `threshold=0.005, target_net=0.01`.")
    ] = ""
    direction: Annotated[
        Literal["LONG_PREMIUM", "SHORT_PREMIUM"],
        Setting(
            "LONG_PREMIUM buys on Upbit and shorts the perpetual; SHORT_PREMIUM needs coins already held on Upbit."
        ),
    ] = "LONG_PREMIUM"


class Guards(Struct, frozen=True, kw_only=True):
    """When data is too bad to decide on. Every refusal is counted and shown with its reason."""

    book_age_max_ms: Annotated[
        int, Setting("No entry on an order book older than this: the price is history.", "ms", 100, 60_000)
    ] = 5_000
    leg_skew_max_ms: Annotated[
        int,
        Setting("No entry when the two venues' times differ by more: a late leg fakes a premium.", "ms", 10, 10_000),
    ] = 1_000
    quarantine_s: Annotated[
        int, Setting("No entry this soon after a feed came back: it may still be catching up.", "s", 0, 600)
    ] = 5
    clock_skew_max_ms: Annotated[
        int, Setting("No entry when our clock and a venue's differ by more than this.", "ms", 10, 5_000)
    ] = 500
    fx_age_max_s: Annotated[
        int, Setting("No entry on an exchange rate older than this in market hours.", "s", 1, 3_600)
    ] = 120


class Execution(Struct, frozen=True, kw_only=True):
    """How the two legs are sent, and how long a naked one is repaired."""

    leverage: Annotated[
        int, Setting("Leverage of the perpetual leg; at 1 a short is liquidated only near twice its entry.", "×", 1, 3)
    ] = 1
    slippage_max: Annotated[
        Fraction,
        Setting("How far beyond the touch an entry's limit-IOC may fill.", "fraction", 0, Decimal("0.02")),
    ] = Decimal("0.002")
    complete_tries_max: Annotated[
        int, Setting("Tries to fill the missing leg before the filled one is unwound.", "orders", 0, 10)
    ] = 2
    entries_per_minute_max: Annotated[
        int, Setting("Cap on entries, so that no bug can spend in a loop.", "entries/min", 1, 60)
    ] = 4
    cooldown_s: Annotated[
        int, Setting("Pause after a closed or failed pair before the next entry.", "s", 0, 86_400)
    ] = 60


class Upbit(Struct, frozen=True, kw_only=True):
    """Upbit, the Korean spot leg."""

    rest_url: Annotated[str, Setting("REST base URL.", "URL")] = "https://api.upbit.com"
    ws_url: Annotated[str, Setting("WebSocket URL of quotes.", "URL")] = "wss://api.upbit.com/websocket/v1"
    ws_private_url: Annotated[str, Setting("WebSocket URL of our own orders and balances.", "URL")] = (
        "wss://api.upbit.com/websocket/v1/private"
    )
    access_key: Annotated[
        SecretStr, Setting("API key; needed for real orders only, and must not permit withdrawal.")
    ] = SecretStr()
    secret_key: Annotated[SecretStr, Setting("Signs requests; never sent, never shown.")] = SecretStr()


class Binance(Struct, frozen=True, kw_only=True):
    """Binance USDT-M, the perpetual leg.

    A stream asked for on the wrong route is acknowledged and then silent, so each route has its URL.
    """

    rest_url: Annotated[str, Setting("REST base URL.", "URL")] = "https://fapi.binance.com"
    quotes_url: Annotated[
        str, Setting("REST base URL of quotes and history, where it is not that of orders (demo trading).", "URL")
    ] = ""
    ws_public_url: Annotated[str, Setting("WebSocket of order books and trades.", "URL")] = (
        "wss://fstream.binance.com/public"
    )
    ws_market_url: Annotated[str, Setting("WebSocket of mark prices, funding and candles.", "URL")] = (
        "wss://fstream.binance.com/market"
    )
    ws_private_url: Annotated[str, Setting("WebSocket of our own orders and account.", "URL")] = (
        "wss://fstream.binance.com/private"
    )
    api_key: Annotated[SecretStr, Setting("API key; needed for real orders only, and must not permit withdrawal.")] = (
        SecretStr()
    )
    secret_key: Annotated[SecretStr, Setting("Signs requests; never sent, never shown.")] = SecretStr()

    @property
    def public_rest_url(self) -> str:
        """Where quotes and history are asked for."""
        return self.quotes_url or self.rest_url


class Trade(Struct, frozen=True, kw_only=True):
    """The running trader: what it trades, how it watches the venues, and what it keeps."""

    coins: Annotated[str, Setting("Coins to trade, separated by commas: `BTC,ETH`. They share one capital.")] = "BTC"
    live_enabled: Annotated[
        bool, Setting("Permit `kimp trade --mode live` at all; the flag and a typed confirmation are needed as well.")
    ] = False
    reconcile_s: Annotated[
        int, Setting("How often balances, positions and fills are compared with the venues' word.", "s", 5, 3_600)
    ] = 30
    countdown_s: Annotated[
        int,
        Setting(
            "Binance cancels what rests there when it has not heard from us for so long; 0 never asks for it.",
            "s",
            0,
            3_600,
        ),
    ] = 120
    flight_days: Annotated[
        int, Setting("How long the engine's inputs are kept for `kimp replay`; 0 records none.", "days", 0, 3_650)
    ] = 3
    mirror: Annotated[bool, Setting("Copy the journal into the database, for reports and dashboards.")] = True


class Paper(Struct, frozen=True, kw_only=True):
    """What the virtual exchange of paper trading starts with, and how far away it is."""

    krw: Annotated[Decimal, Setting("Won on the virtual Upbit at the first start.", "KRW", 0, 10**12)] = Decimal(
        10_000_000
    )
    usdt: Annotated[Decimal, Setting("Tether on the virtual Binance at the first start.", "USDT", 0, 10**9)] = Decimal(
        7_000
    )
    latency_ms: Annotated[
        int, Setting("One way to the virtual venues: 25 ms is an ordinary home line to the real ones.", "ms", 0, 10_000)
    ] = 25


class Database(Struct, frozen=True, kw_only=True):
    """Where market data and the mirror of our trades are stored."""

    url: Annotated[
        SecretStr,
        Setting(
            "PostgreSQL to use, `postgresql://user:password@host:5432/name`; `DATABASE_URL` is read too. "
            "Without it kimp runs its own."
        ),
    ] = SecretStr()
    directory: Annotated[
        str, Setting("Where kimp's own PostgreSQL keeps its files; without it, `database` inside `data.directory`.")
    ] = ""
    pool_max: Annotated[int, Setting("Connections one process may hold at once.", "connections", 1, 64)] = 8
    connect_timeout_s: Annotated[
        int, Setting("How long a connection may take before the database counts as away.", "s", 1, 120)
    ] = 10
    command_timeout_s: Annotated[
        int, Setting("How long one ordinary statement may take; backups and long reads have none.", "s", 1, 3_600)
    ] = 60
    spool_max_mb: Annotated[
        int,
        Setting(
            "How much is kept on disk while the database is away; beyond it the collectors wait.", "MB", 16, 1_000_000
        ),
    ] = 4_096
    books_days: Annotated[
        int, Setting("Order books older than this move from the database into Parquet files.", "days", 1, 36_500)
    ] = 90
    trades_days: Annotated[
        int, Setting("Public trades older than this move from the database into Parquet files.", "days", 1, 36_500)
    ] = 30


class Collect(Struct, frozen=True, kw_only=True):
    """What the collectors write down, and how often."""

    coins: Annotated[str, Setting("Coins to collect, separated by commas: `BTC,ETH`. KRW-USDT always comes along.")] = (
        "BTC"
    )
    snapshot_ms: Annotated[int, Setting("How often an order book that changed is written down.", "ms", 10, 60_000)] = (
        100
    )
    levels: Annotated[int, Setting("Rows of each side of a book that are written down.", "rows", 1, 100)] = 15
    premium_s: Annotated[int, Setting("How often the premium is written down.", "s", 1, 3_600)] = 60
    size_krw: Annotated[
        Decimal,
        Setting("The size whose executable premium is computed: what filling this much costs.", "KRW", 5_000, 10**12),
    ] = Decimal(10_000_000)
    backfill_hours: Annotated[
        int,
        Setting(
            "How far back running collectors repair missing minutes; `kimp data fetch` goes further.", "h", 1, 8_760
        ),
    ] = 24
    http_port: Annotated[
        int, Setting("Where `/health` and `/metrics` answer, on this machine only; 0 is nowhere.", "port", 0, 65_535)
    ] = 9_108


class Fx(Struct, frozen=True, kw_only=True):
    """The official won rate of the dollar, from two public sources that are not official interfaces.

    Both are needed: what one says alone is not believed for long, and there is no fallback.
    """

    bank_url: Annotated[
        str, Setting("Hana Bank's board, as Dunamu serves it to Upbit's charts. Must answer in that form.", "URL")
    ] = "https://quotation-api-cdn.dunamu.com/v1/forex/recent?codes=FRX.KRWUSD"
    market_url: Annotated[
        str, Setting("The interbank rate, as Yahoo Finance charts it. Must answer in that form.", "URL")
    ] = "https://query1.finance.yahoo.com/v8/finance/chart/KRW=X?interval=1d&range=1d"


class Network(Struct, frozen=True, kw_only=True):
    """Where kimp may connect to."""

    allow_foreign_urls: Annotated[
        bool,
        Setting(
            "Permit base URLs that are neither the venues' own nor this machine: they would receive your API keys."
        ),
    ] = False


class Log(Struct, frozen=True, kw_only=True):
    """What is written to stderr. Secrets are blacked out whatever stands here."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Setting("The least serious line that is shown.")] = (
        "info"
    )
    format: Annotated[
        Literal["console", "json"], Setting("`console` for people, `json` (one object a line) for machines.")
    ] = "console"


class Settings(Struct, frozen=True, kw_only=True):
    """The whole configuration, resolved and checked. Hand parts of it to what needs them; nothing reads it globally."""

    data: Data = Data()
    capital: Capital = Capital()
    costs: Costs = Costs()
    strategy: Strategy = Strategy()
    guards: Guards = Guards()
    execution: Execution = Execution()
    upbit: Upbit = Upbit()
    binance: Binance = Binance()
    trade: Trade = Trade()
    paper: Paper = Paper()
    fx: Fx = Fx()
    database: Database = Database()
    collect: Collect = Collect()
    network: Network = Network()
    log: Log = Log()
