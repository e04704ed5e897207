"""What the domain tests share: the pair, fills that pay their fee, the worked table and the check of conservation."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

import pytest

from kimp.shared.domain.instruments import Instrument, InstrumentId, Pair, Side, Venue, default_pair
from kimp.shared.domain.ledger import Ledger, transfer_entry
from kimp.shared.domain.money import ONE, Amount
from kimp.shared.domain.orders import Fill
from kimp.shared.domain.positions import LegPosition, Mark, Position, Purpose
from kimp.shared.domain.signals import Direction

FEE_RATE = Decimal("0.0005")
RoundTrip = tuple[Position, Mapping[InstrumentId, Mark]]


class Quotes(NamedTuple):
    """Where the market stood: Korea in KRW, abroad in USDT, ``fx`` KRW per USDT."""

    korea: Decimal
    abroad: Decimal
    fx: Decimal


class WorkedRow(NamedTuple):
    """One row of the worked table of the domain page; nets in percent of the Korean entry leg, as printed there."""

    path: str
    entry_premium: Decimal
    exit_premium: Decimal
    abroad_rise: Decimal
    fx_rise: Decimal
    long_net: Decimal
    short_net: Decimal
    long_may_exit: bool

    quantity = Decimal("0.07")

    @property
    def entry(self) -> Quotes:
        abroad, fx = Decimal(100_000), Decimal(1_400)
        return Quotes(abroad * fx * (1 + self.entry_premium), abroad, fx)

    @property
    def exit(self) -> Quotes:
        abroad, fx = self.entry.abroad * (1 + self.abroad_rise), self.entry.fx * (1 + self.fx_rise)
        return Quotes(abroad * fx * (1 + self.exit_premium), abroad, fx)


def _row(path: str, numbers: str, *, long_may_exit: bool) -> WorkedRow:
    return WorkedRow(path, *map(Decimal, numbers.split()), long_may_exit)


#   entry premium, exit premium, rise of BTC, rise of F, LONG net %, SHORT net %
WORKED_TABLE = (
    _row("3.5 to 1.0 %, BTC flat", "0.035 0.010 0.0 0.000 -2.611 +2.220", long_may_exit=False),
    _row("3.5 to 4.5 %, BTC flat", "0.035 0.045 0.0 0.000 +0.769 -1.163", long_may_exit=True),
    _row("3.5 to 1.0 %, BTC +20 %", "0.035 0.010 0.2 0.000 -2.437 +2.007", long_may_exit=False),
    _row("3.5 to 3.5 %, BTC +20 %", "0.035 0.035 0.2 0.000 +0.460 -0.893", long_may_exit=True),
    _row("0.5 to 1.2 %, F flat", "0.005 0.012 0.0 0.000 +0.497 -0.896", long_may_exit=True),
    _row("0.5 to 1.2 %, F -0.5 %", "0.005 0.012 0.0 -0.005 -0.006 -0.392", long_may_exit=False),
)


@pytest.fixture(scope="session")
def worked_table() -> tuple[WorkedRow, ...]:
    return WORKED_TABLE


@pytest.fixture(scope="session", params=WORKED_TABLE, ids=lambda row: row.path)
def worked_row(request: pytest.FixtureRequest) -> WorkedRow:
    return request.param


@pytest.fixture(scope="session")
def pair() -> Pair:
    return default_pair("BTC")


@pytest.fixture(scope="session")
def fill_of() -> Callable[..., Fill]:
    """Makes a fill of an instrument that pays ``fee_rate`` of its notional in the quote asset."""

    def make(
        instrument: Instrument,
        side: Side,
        quantity: Decimal,
        price: Decimal,
        *,
        trade_id: str = "1",
        fee_rate: Decimal = FEE_RATE,
        at: int = 0,
    ) -> Fill:
        fee = Amount(quantity * price * fee_rate, instrument.quote)
        return Fill(trade_id, f"kimp-{trade_id}", instrument.id, side, quantity, price, fee, at)

    return make


@pytest.fixture(scope="session")
def fills_of(fill_of: Callable[..., Fill]) -> Callable[..., list[Fill]]:
    """Makes numbered fills of one instrument out of (side, quantity, price)."""

    def make(instrument: Instrument, trades: Sequence[tuple[Side, Decimal, Decimal]], **others: Decimal) -> list[Fill]:
        return [fill_of(instrument, *trade, trade_id=str(i), at=i, **others) for i, trade in enumerate(trades)]

    return make


@pytest.fixture(scope="session")
def open_pair(pair: Pair) -> Callable[[Direction], Position]:
    """Makes a position of both legs with nothing on them yet."""

    def make(direction: Direction) -> Position:
        legs = (LegPosition(pair.korea.id), LegPosition(pair.abroad.id))
        return Position("signal", "kimp", pair.symbol, direction, legs, opened_at=0)

    return make


@pytest.fixture(scope="session")
def round_trip(
    pair: Pair, fill_of: Callable[..., Fill], open_pair: Callable[[Direction], Position]
) -> Callable[..., RoundTrip]:
    """Enters and leaves a pair in four fills decided on at their own prices; also returns the marks of the exit."""

    def make(
        direction: Direction, quantity: Decimal, entry: Quotes, leave: Quotes, fee_rate: Decimal = FEE_RATE
    ) -> RoundTrip:
        position = open_pair(direction)
        for quotes, side in ((entry, direction.korea_side), (leave, direction.korea_side.opposite)):
            bought = fill_of(pair.korea, side, quantity, quotes.korea, fee_rate=fee_rate)
            hedged = fill_of(pair.abroad, side.opposite, quantity, quotes.abroad, fee_rate=fee_rate)
            position = position.with_fill(bought, quotes.korea, ONE).with_fill(hedged, quotes.abroad, quotes.fx)
        return position, {pair.korea.id: Mark(leave.korea, ONE), pair.abroad.id: Mark(leave.abroad, leave.fx)}

    return make


class FundedLedger(Ledger):
    """A ledger with money on both venues, and short names for what the venues would show."""

    krw_start, btc_start, usdt_start = Decimal(1_000_000_000), Decimal(10), Decimal(1_000_000)

    def __init__(self, fills: Sequence[Fill] = ()) -> None:
        super().__init__()
        self.post(transfer_entry("krw", Venue.UPBIT, Amount(self.krw_start, "KRW"), at=0))
        self.post(transfer_entry("btc", Venue.UPBIT, Amount(self.btc_start, "BTC"), at=0))
        self.post(transfer_entry("usdt", Venue.BINANCE, Amount(self.usdt_start, "USDT"), at=0))
        for fill in fills:
            self.book(fill)

    def book(self, fill: Fill, signal_id: str = "signal") -> bool:
        instrument = default_pair("BTC").instrument(fill.instrument_id)
        return self.post(self.fill_entry(fill, instrument, signal_id, Purpose.ENTER))

    @property
    def krw(self) -> Decimal:
        return self.wallet(Venue.UPBIT, "KRW")

    @property
    def btc(self) -> Decimal:
        return self.wallet(Venue.UPBIT, "BTC")

    @property
    def usdt(self) -> Decimal:
        return self.wallet(Venue.BINANCE, "USDT")

    @property
    def contracts(self) -> Decimal:
        return self.balance("binance:contracts", "BTCUSDT")

    @property
    def unsettled(self) -> Decimal:
        return self.balance("binance:unsettled:BTCUSDT", "USDT")


@pytest.fixture(scope="session")
def funded() -> type[FundedLedger]:
    """A class: ``funded(fills)`` is a ledger with money on both venues and those fills booked in turn."""
    return FundedLedger


@pytest.fixture(scope="session")
def conservation_faults() -> Callable[[Ledger], list[str]]:
    """Names what a ledger created or lost: assets that do not sum to zero, accounts that are not their postings."""

    def faults(ledger: Ledger) -> list[str]:
        found = []
        totals: defaultdict[str, Fraction] = defaultdict(Fraction)
        for (_, asset), value in ledger.balances().items():
            totals[asset] += Fraction(value)
        found += [f"{asset} sums to {float(total)}" for asset, total in totals.items() if total]
        posted: defaultdict[tuple[str, str], Fraction] = defaultdict(Fraction)
        for entry in ledger.entries:
            for posting in entry.postings:
                posted[posting.account, posting.amount.asset] += Fraction(posting.amount.value)
        for (account, asset), total in posted.items():
            if Fraction(ledger.balance(account, asset)) != total:
                found.append(f"{account} holds {ledger.balance(account, asset)} {asset}, posted {float(total)}")
        return found

    return faults
