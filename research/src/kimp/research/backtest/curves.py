"""Equity per bar, from the journal: between two records a pair's profit is a straight function of the prices.

``equity = capital + Σ closed pairs + Σ legs (cash + quantity · mid) · rate + funding − fees``: the same formula as
``Position.breakdown``, evaluated by columns. Both legs are valued at mid, USDT at the valuation basis.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kimp.order.engine.state import EngineState, Slot
from kimp.research.backtest.result import Curves
from kimp.research.backtest.tape import Tape
from kimp.shared.domain.instruments import Pair
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.positions import Position
from kimp.shared.messages.records import FillBooked, FundingBooked, PhaseEntered, Record

if TYPE_CHECKING:
    from kimp.research.backtest.engine import BacktestSettings


@dataclass(frozen=True, slots=True)
class _Stretch:
    """From bar ``start`` on, this much was earned by closed pairs and this position was held."""

    start: int
    earned: Decimal
    position: Position | None


def curves_of(tape: Tape, records: list[Record], slot: Slot, pair: Pair, settings: BacktestSettings) -> Curves:
    """Mark-to-market equity (KRW), the premium on the signal basis and whether a pair was open, per bar."""
    korea, abroad = tape.korea.mid, tape.abroad.mid
    valuation = tape.krw_rates(settings.engine.valuation_basis.asset)
    signal = tape.krw_rates(settings.engine.signal_basis.asset)
    equity = np.full(len(tape), float(settings.capital))
    is_open = np.zeros(len(tape), dtype=bool)
    stretches = _stretches(tape, records, slot)
    for stretch, stop in zip(stretches, [s.start for s in stretches[1:]] + [len(tape)], strict=True):
        bars = slice(stretch.start, stop)
        equity[bars] += float(stretch.earned)
        if stretch.position is not None:
            equity[bars] += _worth(stretch.position, pair, korea[bars], abroad[bars], valuation[bars])
            is_open[bars] = True
    return Curves(at=tape.opened_at, equity=equity, premium=korea / (abroad * signal) - 1, is_open=is_open)


def _worth(
    position: Position,
    pair: Pair,
    korea: NDArray[np.float64],
    abroad: NDArray[np.float64],
    rate: NDArray[np.float64],
) -> NDArray[np.float64]:
    ours, theirs = position.leg(pair.korea.id), position.leg(pair.abroad.id)
    fixed = ours.cash + position.funding_krw - ours.fees_krw - theirs.fees_krw
    contracts = (float(theirs.cash) + float(theirs.quantity) * abroad) * rate
    return float(fixed) + float(ours.quantity) * korea + contracts


def _stretches(tape: Tape, records: list[Record], slot: Slot) -> list[_Stretch]:
    """Replay the journal and note, after each record that changes money, from which bar on it counts."""
    state = EngineState([Slot(slot.key, slot.strategy, slot.symbol, slot.legs)])
    replayed = state.slots[slot.key]
    stretches = [_Stretch(0, ZERO, None)]
    starts = np.searchsorted(tape.closed_at, [record.at for record in records], side="left").tolist()
    earned, counted = ZERO, 0
    for record, start in zip(records, starts, strict=True):
        state.apply(record)
        if not isinstance(record, FillBooked | FundingBooked | PhaseEntered):
            continue
        earned += sum((pair.breakdown.net for pair in replayed.closed[counted:]), ZERO)
        counted = len(replayed.closed)
        stretches.append(_Stretch(start, earned, replayed.position))
    return stretches


def funding_of(records: list[Record]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """When funding was booked and what it was worth in KRW: positive was received, negative paid."""
    booked = [record for record in records if isinstance(record, FundingBooked)]
    at = np.array([record.at for record in booked], dtype=np.int64)
    received = [float(record.payment.amount.value * record.krw_rate) for record in booked]
    return at, np.array(received, dtype=np.float64)
