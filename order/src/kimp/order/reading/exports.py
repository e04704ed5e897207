"""Rows for spreadsheets and for the tax office: fills, ledger lines, and realised gains by moving average."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

import msgspec

from kimp.order.reading.history import History
from kimp.shared.domain.instruments import Instrument, Kind, Side
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.time import KST, Nanos, show, to_datetime
from kimp.shared.messages.records import FillBooked, FundingBooked


class TradeRow(msgspec.Struct, frozen=True, kw_only=True):
    """One fill. ``krw_*`` are at the rate it was booked at; ``cost_basis_krw`` is the moving-average cost of what it
    closed, or, where it opened, what it cost itself (fees included).
    """

    time_kst: str
    venue: str
    symbol: str
    side: str
    purpose: str
    quantity: Decimal
    price: Decimal
    quote: str
    fee: Decimal
    fee_asset: str
    krw_rate: Decimal
    value_krw: Decimal
    fee_krw: Decimal
    cost_basis_krw: Decimal
    slot: str
    signal_id: str
    trade_id: str
    client_id: str


class LedgerRow(msgspec.Struct, frozen=True, kw_only=True):
    """One posting of the double entry: the postings of one ``entry_id`` sum to zero per asset."""

    time_kst: str
    entry_id: str
    kind: str
    purpose: str
    account: str
    asset: str
    amount: Decimal


class TaxRow(msgspec.Struct, frozen=True, kw_only=True):
    """One fill or funding settlement in KRW at the rate booked. ``gain_krw`` is what it realised, after fees.

    A contract's gain is made in USDT and becomes won when it is settled: its notional was never owned, so that the
    exchange rate earns nothing on it. ``held`` and ``average_cost`` stand after the fill: coins or contracts (signed),
    and the quote asset for each.
    """

    year: int
    time_kst: str
    event: str
    venue: str
    asset: str
    side: str
    quantity: Decimal
    price: Decimal
    krw_rate: Decimal
    value_krw: Decimal
    fee_krw: Decimal
    cost_basis_krw: Decimal
    gain_krw: Decimal
    held: Decimal
    average_cost: Decimal
    trade_id: str


class TaxYear(msgspec.Struct, frozen=True, kw_only=True):
    """One asset's year (Korean time) in KRW; ``gain_krw`` is after the fees of what was closed."""

    year: int
    venue: str
    asset: str
    events: int
    cost_basis_krw: Decimal
    fees_krw: Decimal
    gain_krw: Decimal


@dataclass(slots=True)
class _Stock:
    """What is held of one asset, signed, and what it cost in all (quote asset, positive; a short: what it brought)."""

    quantity: Decimal = ZERO
    cost: Decimal = ZERO

    def trade(self, signed: Decimal, value: Decimal, fee: Decimal) -> tuple[Decimal, Decimal, Decimal]:
        """One fill worth ``value`` (quote asset): the cost basis of what it closed, what that brought, and the gain.

        What opens takes its fee into the cost (a short: out of the proceeds), so a gain counts every fee once.
        """
        closing = min(abs(signed), abs(self.quantity)) if self.quantity * signed < ZERO else ZERO
        size = abs(signed)
        closed_value = value * closing / size
        closed_fee = fee * closing / size
        basis = self.cost if closing == abs(self.quantity) else self.cost * closing / abs(self.quantity)
        basis = basis if closing else ZERO
        was_long = self.quantity > ZERO
        gain = ((closed_value - basis) if was_long else (basis - closed_value)) - closed_fee if closing else ZERO
        self.cost -= basis
        self.quantity += signed
        opened_value, opened_fee = value - closed_value, fee - closed_fee
        if opened_value:
            self.cost += opened_value + (opened_fee if signed > ZERO else -opened_fee)
        return basis, closed_value, gain

    @property
    def average(self) -> Decimal:
        return self.cost / abs(self.quantity) if self.quantity else ZERO


def trade_rows(history: History) -> list[TradeRow]:
    """Every fill, oldest first."""
    rows, stocks = [], dict[str, _Stock]()
    for record in history.fills:
        fill, leg = record.fill, _leg(history, record)
        value, fee, rate = fill.quantity * fill.price, fill.fee.value, record.krw_rate
        basis, closed, _ = stocks.setdefault(leg.id, _Stock()).trade(fill.quantity * fill.side.sign, value, fee)
        rows.append(
            TradeRow(
                time_kst=show(fill.at),
                venue=leg.venue.value,
                symbol=leg.symbol,
                side=fill.side.value,
                purpose=record.purpose.value,
                quantity=fill.quantity,
                price=fill.price,
                quote=leg.quote,
                fee=fee,
                fee_asset=fill.fee.asset,
                krw_rate=rate,
                value_krw=value * rate,
                fee_krw=fee * rate,
                cost_basis_krw=(basis if closed else value + (fee if fill.side is Side.BUY else -fee)) * rate,
                slot=record.slot,
                signal_id=record.signal_id,
                trade_id=fill.trade_id,
                client_id=fill.client_id,
            )
        )
    return rows


def ledger_rows(history: History) -> list[LedgerRow]:
    """Every posting, in the order it was booked."""
    return [
        LedgerRow(
            time_kst=show(entry.at),
            entry_id=entry.entry_id,
            kind=entry.kind.value,
            purpose=entry.purpose.value if entry.purpose else "",
            account=posting.account,
            asset=posting.amount.asset,
            amount=posting.amount.value,
        )
        for entry in history.state.ledger.entries
        for posting in entry.postings
    ]


def tax_rows(history: History) -> list[TaxRow]:
    """Every fill and funding settlement with what it realised, oldest first."""
    happened: list[FillBooked | FundingBooked] = [*history.fills, *history.fundings]
    happened.sort(key=lambda record: record.at)
    stocks: dict[str, _Stock] = {}
    return [
        _fill_row(history, record, stocks) if isinstance(record, FillBooked) else _funding_row(history, record, stocks)
        for record in happened
    ]


def _fill_row(history: History, record: FillBooked, stocks: dict[str, _Stock]) -> TaxRow:
    fill, leg = record.fill, _leg(history, record)
    value, fee, rate = fill.quantity * fill.price, fill.fee.value, record.krw_rate
    stock = stocks.setdefault(leg.id, _Stock())
    basis, _, gain = stock.trade(fill.quantity * fill.side.sign, value, fee)
    return TaxRow(
        year=_year(fill.at),
        time_kst=show(fill.at),
        event="fill",
        venue=leg.venue.value,
        asset=_asset(leg),
        side=fill.side.value,
        quantity=fill.quantity,
        price=fill.price,
        krw_rate=rate,
        value_krw=value * rate,
        fee_krw=fee * rate,
        cost_basis_krw=basis * rate,
        gain_krw=gain * rate,
        held=stock.quantity,
        average_cost=stock.average,
        trade_id=fill.trade_id,
    )


def _funding_row(history: History, record: FundingBooked, stocks: dict[str, _Stock]) -> TaxRow:
    payment = record.payment
    leg = history.state.slots[record.slot].leg(payment.instrument_id)
    stock = stocks.setdefault(leg.id, _Stock())
    worth = payment.amount.value * record.krw_rate
    return TaxRow(
        year=_year(payment.at),
        time_kst=show(payment.at),
        event="funding",
        venue=leg.venue.value,
        asset=_asset(leg),
        side="",
        quantity=ZERO,
        price=ZERO,
        krw_rate=record.krw_rate,
        value_krw=worth,
        fee_krw=ZERO,
        cost_basis_krw=ZERO,
        gain_krw=worth,
        held=stock.quantity,
        average_cost=stock.average,
        trade_id=payment.payment_id,
    )


def tax_years(rows: Iterable[TaxRow]) -> list[TaxYear]:
    """Gains per Korean calendar year and asset."""
    sums: dict[tuple[int, str, str], list[Decimal]] = {}
    for row in rows:
        found = sums.setdefault((row.year, row.venue, row.asset), [ZERO, ZERO, ZERO, ZERO])
        found[0] += 1
        found[1] += row.cost_basis_krw
        found[2] += row.fee_krw
        found[3] += row.gain_krw
    return [
        TaxYear(
            year=year,
            venue=venue,
            asset=asset,
            events=int(events),
            cost_basis_krw=basis,
            fees_krw=fees,
            gain_krw=gain,
        )
        for (year, venue, asset), (events, basis, fees, gain) in sorted(sums.items())
    ]


def _leg(history: History, record: FillBooked) -> Instrument:
    return history.state.slots[record.slot].leg(record.fill.instrument_id)


def _asset(leg: Instrument) -> str:
    return leg.base if leg.kind is Kind.SPOT else leg.symbol


def _year(at: Nanos) -> int:
    return to_datetime(at).astimezone(KST).year
