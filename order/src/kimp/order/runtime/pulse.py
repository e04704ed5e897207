"""The trader's heartbeat: once a second a small file says how everything stands, for whoever asks from outside.

It is replaced as a whole and never synced: a power cut may take it, and then nothing runs that it could speak of.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from kimp.order.engine.desk import PairDesk
from kimp.order.engine.engine import TradingEngine
from kimp.order.runtime.counters import Counters
from kimp.order.runtime.pulse_report import (
    FeedPulse,
    LegPulse,
    MirrorPulse,
    OrdersPulse,
    PnlPulse,
    PositionPulse,
    PulseReport,
    QueuesPulse,
    SlotPulse,
    VenuePulse,
)
from kimp.order.runtime.reconcile import Reconciler
from kimp.shared.domain.instruments import InstrumentId, Venue
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.time import DAY, HOUR, MILLISECOND, SECOND, Nanos
from kimp.shared.errors import NotRunning
from kimp.shared.messages.effects import Effect
from kimp.shared.messages.events import Event, FeedBack, FeedLost, MarketMoved, VenueChanged
from kimp.shared.messages.records import Phase
from kimp.shared.ports.clock import Clock

BEAT: Nanos = SECOND

AGE_MAX: Nanos = 5 * SECOND
"""A file older than this is that of a trader that is no more: five beats, for a machine that is busy."""

SIZE_MAX = 4 * 1024 * 1024
"""A report is some kilobytes per coin; a file beyond this is something else."""

KST_OFFSET: Nanos = 9 * HOUR
BUSIEST = (Phase.HALTED, Phase.REPAIRING, Phase.EXITING, Phase.ENTERING, Phase.OPEN, Phase.FLAT)


@dataclass(slots=True)
class Witnesses:
    """Whom the pulse asks besides the engine; what is not there is not reported."""

    reconciler: Reconciler | None = None
    counters: Counters | None = None
    mirror: Callable[[], MirrorPulse] | None = None
    parts: Callable[[], Mapping[str, str]] | None = None


@dataclass(slots=True)
class _Heard:
    """What only events tell: which feeds are lost or just back, and which venues are down, why."""

    lost: set[InstrumentId] = field(default_factory=set)
    trusted_from: dict[InstrumentId, Nanos] = field(default_factory=dict)
    down: dict[Venue, str] = field(default_factory=dict)


class Pulse:
    """Writes the file every beat; an observer too, because losses are only told."""

    name = "pulse"

    def __init__(
        self,
        engine: TradingEngine,
        path: Path,
        *,
        mode: str,
        clock: Clock,
        witnesses: Witnesses,
        beat: Nanos = BEAT,
    ) -> None:
        self._beat = beat
        self._engine = engine
        self._path = path
        self._mode = mode
        self._clock = clock
        self._witnesses = witnesses
        self._heard = _Heard()

    def after(self, event: Event, _effects: Sequence[Effect], engine: TradingEngine) -> None:
        """Note what is lost and what is back."""
        if type(event) is MarketMoved:
            return
        heard = self._heard
        if isinstance(event, FeedLost):
            heard.lost.add(event.instrument_id)
        elif isinstance(event, FeedBack):
            heard.lost.discard(event.instrument_id)
            heard.trusted_from[event.instrument_id] = event.at + engine.settings.quarantine
        elif isinstance(event, VenueChanged) and event.is_available:
            heard.down.pop(event.venue, None)
        elif isinstance(event, VenueChanged):
            heard.down[event.venue] = event.reason

    async def run(self) -> None:
        """Beat for ever.

        Raises:
            OSError: the file cannot be written.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            now = self._clock.now()
            self.write(now)
            await self._clock.sleep_until(now + self._beat)

    def write(self, now: Nanos) -> None:
        """Write one report, all of it or none."""
        new = self._path.with_name(f"{self._path.name}.new")
        new.write_bytes(msgspec.json.encode(self.report(now)))
        os.replace(new, self._path)

    def clear(self) -> None:
        """The trader ends: nobody shall take the last beat for a living one."""
        self._path.unlink(missing_ok=True)

    # -- what is said ----------------------------------------------------------------------------------------------

    def report(self, now: Nanos) -> PulseReport:
        """How everything stands."""
        slots = tuple(_slot(desk, now) for desk in self._engine.desks)
        witnesses, state = self._witnesses, self._engine.state
        phases = {slot.phase for slot in state.slots.values()}
        positions = [slot.position for slot in slots if slot.position is not None]
        is_halted = any(slot.is_halted for slot in slots)
        return PulseReport(
            at=now,
            pid=os.getpid(),
            mode=self._mode,
            strategy=", ".join(dict.fromkeys(slot.strategy for slot in slots)),
            state=(Phase.HALTED if is_halted else next(phase for phase in BUSIEST if phase in phases)).value,
            switch=state.switch.value,
            position=positions[0] if positions else None,
            slots=slots,
            feeds=self._feeds(now),
            venues={venue.value: self._venue(venue) for venue in self._traded()},
            pnl=self._pnl(positions, now),
            orders=_orders(witnesses.counters),
            queues=_queues(witnesses.counters),
            mirror=witnesses.mirror() if witnesses.mirror is not None else None,
            parts=dict(witnesses.parts()) if witnesses.parts is not None else {},
            reconciliation=None if witnesses.reconciler is None else witnesses.reconciler.last,
        )

    def _traded(self) -> list[Venue]:
        return list(dict.fromkeys(leg.venue for slot in self._engine.state.slots.values() for leg in slot.legs))

    def _feeds(self, now: Nanos) -> dict[str, FeedPulse]:
        market, settings, feeds = self._engine.market, self._engine.settings, dict[str, FeedPulse]()
        for slot in self._engine.state.slots.values():
            for leg in slot.legs:
                book = market.books.get(leg.id)
                age = None if book is None else now - book.venue_at
                state = self._book_state(leg.id, age, now, settings.book_age_max)
                feeds[leg.id] = FeedPulse(_ms(age), state)
                if (funding := market.funding.get(leg.id)) is not None:
                    feeds[f"funding:{leg.id}"] = FeedPulse(_ms(now - funding.at), "ok")
        for asset in dict.fromkeys(basis.asset for basis in (settings.signal_basis, settings.valuation_basis)):
            quote = market.rates.get(asset)
            if quote is None:
                feeds[asset] = FeedPulse(None, "missing")
            else:
                feeds[asset] = FeedPulse(_ms(now - quote.at), "ok" if now <= quote.valid_until else "expired")
        return feeds

    def _book_state(self, instrument_id: InstrumentId, age: Nanos | None, now: Nanos, age_max: Nanos) -> str:
        if instrument_id in self._heard.lost:
            return "lost"
        if instrument_id in self._engine.market.faults:
            return "invalid"
        if age is None:
            return "missing"
        if now < self._heard.trusted_from.get(instrument_id, 0):
            return "quarantined"
        return "stale" if age > age_max else "ok"

    def _venue(self, venue: Venue) -> VenuePulse:
        reconciler, skew, reached, is_clean = self._witnesses.reconciler, None, None, None
        if reconciler is not None:
            skew, reached = reconciler.skews.get(venue), reconciler.reached_at.get(venue)
            found = reconciler.last.venues if reconciler.last is not None else ()
            looked = next((looked for looked in found if looked.venue is venue), None)
            # While something was under way nothing could be compared: that is no disagreement.
            is_clean = None if looked is None or (looked.is_reachable and not looked.is_quiet) else looked.is_clean
        reason = self._heard.down.get(venue)
        skew_ms = None if skew is None else skew / MILLISECOND
        return VenuePulse(reason is None, reason or "", skew_ms, reached, is_clean)

    def _pnl(self, positions: Sequence[PositionPulse], now: Nanos) -> PnlPulse:
        midnight = (now + KST_OFFSET) // DAY * DAY - KST_OFFSET
        closed = [pair for slot in self._engine.state.slots.values() for pair in slot.closed]
        nets = [position.net for position in positions]
        known = [net for net in nets if net is not None]
        return PnlPulse(
            closed=sum((pair.breakdown.net for pair in closed), ZERO),
            today=sum((pair.breakdown.net for pair in closed if pair.closed_at >= midnight), ZERO),
            open=sum(known, ZERO) if len(known) == len(nets) else None,
        )


def _slot(desk: PairDesk, now: Nanos) -> SlotPulse:
    slot, signal = desk.slot, desk.last_signal
    return SlotPulse(
        slot=slot.key,
        strategy=slot.strategy,
        symbol=slot.symbol,
        phase=slot.phase.value,
        is_halted=slot.is_halted,
        unsettled=len(slot.unsettled),
        signal=None if signal is None else type(signal).__name__.lower(),
        signal_reason=None if signal is None else signal.reason,
        refusals=tuple(refusal.value for refusal in desk.last_refusals),
        refusal_counts=dict(desk.refusals),
        position=_position(desk, now),
    )


def _position(desk: PairDesk, now: Nanos) -> PositionPulse | None:
    position = desk.slot.position
    if position is None:
        return None
    verdict = desk.verdict(now)
    return PositionPulse(
        signal_id=position.signal_id,
        direction=position.direction,
        opened_at=position.opened_at,
        legs=tuple(LegPulse(leg.instrument_id, leg.quantity, leg.cash) for leg in position.legs),
        exposure=position.exposure,
        funding_krw=position.funding_krw,
        net=None if verdict is None else verdict.net,
        break_even_premium=None if verdict is None else verdict.break_even_premium,
    )


def _orders(counters: Counters | None) -> OrdersPulse:
    sendings = () if counters is None else tuple(counters.sendings)
    answers = () if counters is None else tuple(counters.answer_latencies)
    started, skews = [sample.started for sample in sendings], [sample.skew for sample in sendings]
    return OrdersPulse(*(_percentile(values, share) for values in (started, skews, answers) for share in (50, 99)))


def _queues(counters: Counters | None) -> QueuesPulse:
    counters = counters or Counters()
    return QueuesPulse(counters.events, counters.coalesced, counters.queue_high_water)


def _percentile(values: Sequence[Nanos], percent: int) -> float | None:
    """The value that so many of a hundred do not exceed, in milliseconds."""
    if not values:
        return None
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)] / MILLISECOND


def _ms(age: Nanos | None) -> int | None:
    return None if age is None else age // MILLISECOND


def read_pulse(path: Path, clock: Clock) -> PulseReport:
    """The last beat, with its age.

    Raises:
        NotRunning: there is none, or it is too old: no trader runs in this mode.
    """
    try:
        with path.open("rb") as file:
            report = msgspec.json.decode(file.read(SIZE_MAX), type=PulseReport)
    except FileNotFoundError:
        raise NotRunning(f"no trader runs here ({path} is not there); start one with: kimp trade") from None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise NotRunning(f"what the trader says of itself cannot be read ({path}: {error}); is it running?") from error
    age = clock.now() - report.at
    if age > AGE_MAX:
        raise NotRunning(
            f"no trader runs here: {path} is {age // SECOND} s old (process {report.pid}); start one with: kimp trade"
        )
    return msgspec.structs.replace(report, age_ms=max(0, age // MILLISECOND))
