"""Closed and open pairs as rows of a report."""

from __future__ import annotations

from decimal import Decimal

from kimp.order.engine.desk import PairDesk
from kimp.order.engine.state import FOREIGN_SIGNAL, ClosedPair, Slot
from kimp.research.backtest.result import Trade
from kimp.research.backtest.tape import Tape
from kimp.shared.domain.instruments import Instrument, Pair, Side
from kimp.shared.domain.money import ONE, ZERO
from kimp.shared.domain.positions import Breakdown, Position
from kimp.shared.domain.time import Nanos
from kimp.shared.messages.records import FillBooked, Record

Fills = list[FillBooked]


def trades_of(slot: Slot, records: list[Record], pair: Pair) -> tuple[Trade, ...]:
    """Every closed pair, oldest first."""
    fills = _fills_by_signal(records)
    return tuple(
        _trade(closed.position, closed.breakdown, fills[closed.position.signal_id], pair, closed)
        for closed in slot.closed
    )


def open_trade(desk: PairDesk, records: list[Record], tape: Tape, pair: Pair) -> Trade | None:
    """The pair still open at the end, marked at the last mids; its ``exit_premium`` is the premium of that moment."""
    position, market = desk.slot.position, desk.market
    if position is None:
        return None
    marks = {leg.id: market.mark(leg) for leg in (pair.korea, pair.abroad)}
    known = {leg_id: mark for leg_id, mark in marks.items() if mark is not None}
    if len(known) < len(marks):
        raise AssertionError(f"no price to mark {position.signal_id} with at {int(tape.closed_at[-1])}")
    korea, abroad = known[pair.korea.id], known[pair.abroad.id]
    now = korea.price / (abroad.price * abroad.krw_rate) - ONE
    return _trade(position, position.breakdown(known), _fills_by_signal(records)[position.signal_id], pair, None, now)


def _trade(
    position: Position,
    earned: Breakdown,
    fills: Fills,
    pair: Pair,
    closed: ClosedPair | None,
    premium_now: Decimal | None = None,
) -> Trade:
    side = position.direction.korea_side
    entries = [record for record in fills if _enters(record, side, pair.korea)]
    exits = [record for record in fills if not _enters(record, side, pair.korea)]
    korea_in = [record for record in entries if record.fill.instrument_id == pair.korea.id]
    return Trade(
        signal_id=position.signal_id,
        direction=position.direction.value,
        opened_at=position.opened_at,
        closed_at=_last(exits, closed),
        quantity=sum((record.fill.quantity for record in korea_in), ZERO),
        entry_premium=_premium(entries, pair) or ZERO,
        exit_premium=premium_now if closed is None else _premium(exits, pair),
        notional=sum((record.fill.quantity * record.fill.price for record in korea_in), ZERO),
        premium=earned.premium,
        fx=earned.fx,
        funding=earned.funding,
        fees=earned.fees,
        slippage=earned.slippage,
        net=earned.net,
        exit_reason=closed.reason if closed else "open",
    )


def _fills_by_signal(records: list[Record]) -> dict[str, Fills]:
    fills: dict[str, Fills] = {}
    for record in records:
        if isinstance(record, FillBooked) and record.signal_id != FOREIGN_SIGNAL:
            fills.setdefault(record.signal_id, []).append(record)
    return fills


def _enters(record: FillBooked, korea_side: Side, korea: Instrument) -> bool:
    is_korean = record.fill.instrument_id == korea.id
    return record.fill.side is (korea_side if is_korean else korea_side.opposite)


def _last(exits: Fills, closed: ClosedPair | None) -> Nanos | None:
    if closed is None:
        return None
    return max((record.fill.at for record in exits), default=closed.closed_at)


def _premium(fills: Fills, pair: Pair) -> Decimal | None:
    """The premium two groups of fills were done at: average prices over the average rate; ``None`` when a leg is missing."""
    korea, abroad = (
        [record for record in fills if record.fill.instrument_id == leg.id] for leg in (pair.korea, pair.abroad)
    )
    if not korea or not abroad:
        return None
    worth = sum((record.fill.price * record.fill.quantity * record.krw_rate for record in abroad), ZERO)
    coins_abroad = sum((record.fill.quantity for record in abroad), ZERO)
    paid = sum((record.fill.price * record.fill.quantity for record in korea), ZERO)
    coins = sum((record.fill.quantity for record in korea), ZERO)
    return (paid / coins) / (worth / coins_abroad) - ONE
