"""Double-entry bookkeeping: every entry's postings sum to zero per asset, so nothing appears or vanishes.

Accounts are plain strings. ``upbit:wallet`` and ``binance:wallet`` are what the venues say we have (free plus locked);
``binance:contracts`` counts perpetual contracts, and ``binance:unsettled`` their cash flow until closing turns it into
wallet balance, as the venue itself does. ``trading:…``, ``fees:…`` and ``funding:…`` are the other sides, per signal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum

import msgspec

from kimp.shared.domain.funding import FundingPayment
from kimp.shared.domain.instruments import Instrument, Kind, Venue
from kimp.shared.domain.money import ZERO, Amount
from kimp.shared.domain.orders import Fill
from kimp.shared.domain.positions import Purpose
from kimp.shared.domain.time import Nanos

OWNER = "owner"

SETTLEMENT_STEP = Decimal("0.00000001")
"""Binance books realised profit in eight decimals of the margin asset (``realizedPnl``). A quotient of 28 digits would
be cut differently in the wallet and in what is unsettled, and the ledger would no longer sum to zero.
"""


class EntryKind(StrEnum):
    """What happened."""

    FILL = "fill"
    FUNDING = "funding"
    TRANSFER = "transfer"


class Posting(msgspec.Struct, frozen=True):
    """``amount`` into (positive) or out of (negative) ``account``."""

    account: str
    amount: Amount


class Entry(msgspec.Struct, frozen=True):
    """One thing that happened to our money. ``entry_id`` is the venue's own id of it, so that it can count only once.

    ``purpose`` labels fills: a loss realised by a repair, a liquidation or an override is found by it.

    Raises:
        ValueError: the postings do not sum to zero in every asset.
    """

    entry_id: str
    kind: EntryKind
    at: Nanos
    postings: tuple[Posting, ...]
    purpose: Purpose | None = None

    def __post_init__(self) -> None:
        for asset, total in _totals(self.postings).items():
            if total != ZERO:
                raise ValueError(f"entry {self.entry_id} creates {total:f} {asset}: its postings must sum to zero")


class Ledger:
    """All entries so far and the balances they add up to."""

    def __init__(self) -> None:
        self._balances: defaultdict[tuple[str, str], Decimal] = defaultdict(lambda: ZERO)
        self._seen: set[str] = set()
        self.entries: list[Entry] = []

    def balance(self, account: str, asset: str) -> Decimal:
        """How much of an asset an account holds."""
        return self._balances.get((account, asset), ZERO)

    def balances(self) -> dict[tuple[str, str], Decimal]:
        """Every non-zero balance by (account, asset), in a fixed order."""
        return {key: value for key, value in sorted(self._balances.items()) if value != ZERO}

    def wallet(self, venue: Venue, asset: str) -> Decimal:
        """What the venue should say we own of an asset, free and locked together."""
        return self.balance(wallet_of(venue), asset)

    def has(self, entry_id: str) -> bool:
        """Whether this has been booked already."""
        return entry_id in self._seen

    def post(self, entry: Entry) -> bool:
        """Book an entry; ``False`` when its id was booked before and nothing changed."""
        if entry.entry_id in self._seen:
            return False
        self._seen.add(entry.entry_id)
        self.entries.append(entry)
        for posting in entry.postings:
            self._balances[posting.account, posting.amount.asset] += posting.amount.value
        return True

    def fill_entry(self, fill: Fill, instrument: Instrument, signal_id: str, purpose: Purpose) -> Entry:
        """The entry of a fill. Spot swaps coins for cash; a perpetual books contracts and settles what it closes."""
        signed = fill.quantity * fill.side.sign
        cash = -signed * fill.price
        trading = f"trading:{signal_id}:{instrument.id}"
        if instrument.kind is Kind.SPOT:
            moves = _pairwise(wallet_of(instrument.venue), trading, Amount(signed, instrument.base))
            moves += _pairwise(wallet_of(instrument.venue), trading, Amount(cash, instrument.quote))
        else:
            moves = self._perpetual_moves(instrument, trading, signed, cash)
        if fill.fee:
            moves += _pairwise(wallet_of(instrument.venue), f"fees:{signal_id}", -fill.fee)
        return Entry(fill_id(fill), EntryKind.FILL, fill.at, tuple(moves), purpose)

    def _perpetual_moves(self, instrument: Instrument, trading: str, signed: Decimal, cash: Decimal) -> list[Posting]:
        contracts, unsettled = (
            f"{instrument.venue.value}:contracts",
            f"{instrument.venue.value}:unsettled:{instrument.symbol}",
        )
        held = self.balance(contracts, instrument.symbol)
        settled = realised(held, self.balance(unsettled, instrument.quote), signed, cash)
        moves = _pairwise(contracts, trading, Amount(signed, instrument.symbol))
        moves += _pairwise(unsettled, trading, Amount(cash, instrument.quote))
        if settled:
            moves += _pairwise(wallet_of(instrument.venue), unsettled, Amount(settled, instrument.quote))
        return moves


def settlement(value: Decimal) -> Decimal:
    """An amount in the eight decimals of the venues' own records, ties to the even digit.

    The rounding is named here because the ambient one is anybody's: ccxt sets it to half up for the whole thread, and
    the same journal would then fold into other balances.
    """
    return value.quantize(SETTLEMENT_STEP, ROUND_HALF_EVEN)


def realised(held: Decimal, unsettled: Decimal, signed: Decimal, cash: Decimal) -> Decimal:
    """What a perpetual's fill turns into wallet balance: the average-cost profit of the part it closes (quote asset).

    ``held`` contracts with cash flow ``unsettled`` meet a fill of ``signed`` contracts with cash flow ``cash``. Binance
    settles by average entry price; closing everything settles the whole remainder, so nothing is left behind.
    """
    if held * signed >= ZERO:
        return ZERO
    if abs(signed) <= abs(held):
        closed_cost = unsettled if signed == -held else settlement(unsettled * -signed / held)
        return closed_cost + cash
    return unsettled + settlement(cash * -held / signed)


def funding_entry(payment: FundingPayment, instrument: Instrument, signal_id: str) -> Entry:
    """The entry of a funding settlement as the venue's income record states it."""
    moves = _pairwise(wallet_of(instrument.venue), f"funding:{signal_id}", payment.amount)
    return Entry(funding_id(payment), EntryKind.FUNDING, payment.at, tuple(moves))


def transfer_entry(transfer_id: str, venue: Venue, amount: Amount, at: Nanos) -> Entry:
    """The owner's money coming in (positive) or going out (negative)."""
    return Entry(f"transfer:{transfer_id}", EntryKind.TRANSFER, at, tuple(_pairwise(wallet_of(venue), OWNER, amount)))


def wallet_of(venue: Venue) -> str:
    """The account of what a venue says we own."""
    return f"{venue.value}:wallet"


def fill_id(fill: Fill) -> str:
    """The id a fill is booked under: trade ids are unique per instrument only."""
    return f"fill:{fill.instrument_id}:{fill.trade_id}"


def funding_id(payment: FundingPayment) -> str:
    """The id a funding payment is booked under."""
    return f"funding:{payment.instrument_id}:{payment.payment_id}"


def _pairwise(to: str, source: str, amount: Amount) -> list[Posting]:
    return [Posting(to, amount), Posting(source, -amount)]


def _totals(postings: Iterable[Posting]) -> dict[str, Decimal]:
    totals: dict[str, Decimal] = {}
    for posting in postings:
        totals[posting.amount.asset] = totals.get(posting.amount.asset, ZERO) + posting.amount.value
    return totals
