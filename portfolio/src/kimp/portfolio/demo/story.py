"""Writes down what happens, as lines a trader reads: signals, orders gone astray, entries, refusals, exits.

It only reads the journal's file, the notices and the desk's refusals; the trader does not know that it is watched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from kimp.order.commands.words import both
from kimp.order.engine.engine import TradingEngine
from kimp.order.operators.wording import Language, worded
from kimp.order.runtime.decisions import read_decisions
from kimp.order.runtime.journal import SqliteJournal
from kimp.portfolio.demo import words
from kimp.portfolio.demo.scenario import IMPATIENT
from kimp.portfolio.demo.stage import Stage, Told
from kimp.portfolio.demo.words import Kind
from kimp.research.backtest.report.labels import Label
from kimp.research.backtest.report.numerals import signed_percent, signed_won, won
from kimp.shared.domain.instruments import Venue
from kimp.shared.domain.money import Amount
from kimp.shared.domain.orders import ClientId, Rejected, Unknown
from kimp.shared.domain.positions import Action, Breakdown, ExitVerdict, Plan, Purpose
from kimp.shared.domain.signals import Refusal
from kimp.shared.domain.time import MILLISECOND, MINUTE, SECOND, Nanos
from kimp.shared.messages.notices import FundsFound, LegNaked, LegRepaired, PairClosed, PairOpened
from kimp.shared.messages.records import (
    FundingBooked,
    FundsBooked,
    OrderIntended,
    OrderOutcome,
    PlanMade,
    Record,
)

REPEATED_AFTER: Nanos = 15 * MINUTE
"""The same refusal again within this time is one story, not sixty."""

DECISIONS_MAX = 1_000
"""Read at one look; the log keeps at most 120 changes a minute, and an unchanged answer once a minute."""

STORY_MAX = 1_000
"""Lines kept; an hour has some thirty."""

TOLD_ONCE_A_TRADER = frozenset({Refusal.NO_BOOK, Refusal.FEED_QUARANTINED, Refusal.FEED_LOST, Refusal.FX_MISSING})
"""What every start goes through; it stands on the screen while it lasts, and is no news."""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened: a tag, the figures, and a sentence where figures do not explain themselves."""

    at: Nanos
    kind: Kind
    facts: str
    why: Label | None = None
    is_injected: bool = False


@dataclass(frozen=True, slots=True)
class Resolved:
    """An order whose outcome was unknown, and what the venue said of it (``executed`` base coins)."""

    client_id: ClientId
    instrument_id: str
    executed: Decimal
    after_s: float


@dataclass(frozen=True, slots=True)
class ExitRefused:
    """A wish to close that the engine did not follow (KRW; premiums as fractions on the valuation basis)."""

    at: Nanos
    net: Decimal
    premium_now: Decimal
    break_even_premium: Decimal
    is_injected: bool


class Story:
    """Collects lines as the market goes on; call ``observe`` often."""

    def __init__(self, stage: Stage) -> None:
        self.lines: list[Line] = []
        self.resolved: list[Resolved] = []
        self.exits_refused: list[ExitRefused] = []
        self.intended = dict.fromkeys(Venue, 0)
        self.refused: list[ClientId] = []
        self.repairs = 0
        self._stage = stage
        self._engine: TradingEngine | None = None
        self._sequence = 0
        self._notices_seen = 0
        self._refusals_seen = 0
        self._decisions_seen: Nanos = 0
        self._last_refusal: tuple[str, Nanos] = ("", 0)
        self._asking: dict[ClientId, Nanos] = {}
        self._heard_at: Nanos = 0
        self._naked_at: Nanos = 0
        self._arrived_before = 0

    def tell(self, line: Line) -> None:
        """Something the journal does not know of: the curtain, the restart."""
        self.lines.append(line)
        del self.lines[:-STORY_MAX]

    def observe(self) -> None:
        """Add what has happened since the last look."""
        engine = self._stage.engine
        if engine is None:
            return
        if engine is not self._engine:
            self._engine, self._refusals_seen = engine, 0
        for record in self._new_records(engine):
            self._heard_at = record.at
            for line in self._of_record(record, engine):
                self.tell(line)
        now = self._stage.clock.now()
        for line in self._answers(self._heard_at, engine):
            self.tell(line)
        notices = self._stage.notebook.notices
        for told in notices[self._notices_seen :]:
            for line in self._of_notice(told):
                self.tell(line)
        self._notices_seen = len(notices)
        for line in self._refusals(now, engine):
            self.tell(line)

    def _new_records(self, engine: TradingEngine) -> list[Record]:
        if engine.state.version == self._sequence or not self._stage.place.journal.exists():
            return []
        with SqliteJournal(self._stage.place.journal, read_only=True) as journal:
            found = list(journal.tail(self._sequence))
        self._sequence += len(found)
        return [record for _, record in found]

    # -- from the journal ------------------------------------------------------------------------------------------

    def _of_record(self, record: Record, engine: TradingEngine) -> Iterator[Line]:
        match record:
            case FundsBooked(at=at, venue=venue, amount=amount):
                yield Line(at, Kind.FUNDED, f"{_spoken(words.VENUES[venue])} {_money(amount)}")
            case FundingBooked(at=at, payment=payment, krw_rate=rate):
                yield Line(at, Kind.FUNDING, signed_won(payment.amount.value * rate), words.FUNDING)
            case PlanMade(at=at, plan=plan):
                self._arrived_before = sum(self.intended.values())
                yield Line(at, Kind.SIGNAL, _decision(plan), Label(*both(plan.reason)))
            case OrderIntended(order=order, purpose=purpose):
                venue = engine.desks[0].slot.leg(order.instrument_id).venue
                self.intended[venue] += 1
                self.repairs += purpose is Purpose.REPAIR
            case OrderOutcome(at=at, client_id=client_id, outcome=Unknown()) if client_id not in self._asking:
                self._asking[client_id] = at
                is_injected = not self.resolved
                why = words.LOST_ANSWER if is_injected else None
                yield Line(at, Kind.UNKNOWN, _order(client_id, engine), why, is_injected)
            case OrderOutcome(at=at, client_id=client_id, outcome=Rejected(code=code)):
                is_injected = not self.refused
                self.refused.append(client_id)
                why = words.REFUSED_LEG if is_injected else None
                yield Line(at, Kind.REJECTED, f"{_order(client_id, engine)}: {code}", why, is_injected)

    def _answers(self, heard_at: Nanos, engine: TradingEngine) -> Iterator[Line]:
        """Unknown orders that the venue has since told the truth about."""
        for client_id, since in tuple(self._asking.items()):
            tracked = engine.state.orders[client_id]
            if not tracked.is_settled:
                continue
            del self._asking[client_id]
            executed, after = tracked.executed or Decimal(0), (heard_at - since) / SECOND
            is_injected = not self.resolved
            self.resolved.append(Resolved(client_id, tracked.order.instrument_id, executed, after))
            base = engine.desks[0].pair.symbol
            facts = f"{executed.normalize():f} {base} 체결 filled, {after:.1f}초 s"
            yield Line(heard_at, Kind.RESOLVED, facts, words.ASKED if executed else None, is_injected)

    # -- from the notices ------------------------------------------------------------------------------------------

    def _of_notice(self, told: Told) -> Iterator[Line]:
        base = self._stage.pair.symbol
        match told.notice:
            case PairOpened(quantity=quantity, premium=fx, usdt_premium=usdt):
                facts = f"{quantity.normalize():f} {base} 김프 fx {signed_percent(fx)} usdt {signed_percent(usdt)}"
                yield Line(told.at, Kind.ENTERED, facts, self._skew())
            case PairClosed(breakdown=earned):
                yield Line(told.at, Kind.EXITED, f"순손익 net {signed_won(earned.net)}", parts_of(earned))
            case LegNaked(exposure=exposure):
                self._naked_at = told.at
                yield Line(told.at, Kind.NAKED, f"{exposure.normalize():+f} {base} 헤지 안 됨 unhedged")
            case LegRepaired():
                took = (told.at - self._naked_at) / SECOND
                yield Line(told.at, Kind.REPAIRED, f"두 다리 일치 legs match, {took:.2f}초 s", words.COMPLETED)
            case FundsFound():
                return  # the journal tells it
            case other:
                both_worded = f"{worded(other, Language.KOREAN)} {worded(other, Language.ENGLISH)}"
                yield Line(told.at, Kind.ALERT, both_worded)

    def _skew(self) -> Label | None:
        """How far apart the plan's first order on either venue came in, of this machine's time."""
        came: dict[Venue, Nanos] = {}
        for venue, at in self._stage.mishaps.arrived[self._arrived_before :]:
            came.setdefault(venue, at)
        if len(came) < len(Venue):
            return None
        apart_ms = (max(came.values()) - min(came.values())) / MILLISECOND
        return Label(
            f"두 다리 모두 체결. 두 주문은 {apart_ms:.1f}ms 간격으로 도착했습니다.",
            f"Both legs on; their orders came in {apart_ms:.1f} ms apart.",
        )

    # -- from the desk ---------------------------------------------------------------------------------------------

    def _refusals(self, now: Nanos, engine: TradingEngine) -> Iterator[Line]:
        desk = engine.desks[0]
        total = desk.refusals.total()
        if total == self._refusals_seen:
            return
        self._refusals_seen = total
        if Refusal.NET_NOT_POSITIVE in desk.last_refusals:
            yield from self._exit_refusals()
            return
        news = [refusal for refusal in desk.last_refusals if refusal not in TOLD_ONCE_A_TRADER]
        codes = ",".join(refusal.value for refusal in news)
        if news and (codes != self._last_refusal[0] or now - self._last_refusal[1] >= REPEATED_AFTER):
            self._last_refusal = (codes, now)
            yield Line(now, Kind.REFUSED, ", ".join(" ".join(both(refusal.value)) for refusal in news))

    def _exit_refusals(self) -> Iterator[Line]:
        """From the log of decisions, which keeps the figures each was made on."""
        since = self._decisions_seen + 1
        for row in read_decisions(self._stage.place.journal, since=since, limit=DECISIONS_MAX):
            self._decisions_seen = row.at
            seen = row.verdict
            if Refusal.NET_NOT_POSITIVE.value not in row.refusals or seen is None:
                continue
            if seen.net is None or seen.premium_now is None or seen.break_even_premium is None:
                continue
            is_first = not self.exits_refused or row.at - self.exits_refused[-1].at >= REPEATED_AFTER
            is_injected = row.reason == IMPATIENT
            self.exits_refused.append(
                ExitRefused(row.at, seen.net, seen.premium_now, seen.break_even_premium, is_injected)
            )
            if is_first:
                why = words.IMPATIENCE if is_injected else None
                yield Line(row.at, Kind.EXIT_REFUSED, _refused_exit(seen), why, is_injected)


def _order(client_id: ClientId, engine: TradingEngine) -> str:
    order = engine.state.orders[client_id].order
    leg = engine.desks[0].slot.leg(order.instrument_id)
    what = f"{_spoken(words.VENUES[leg.venue])} {_spoken(words.SIDES[order.side])}"
    return f"{what} {order.quantity.normalize():f} {leg.base}"


def _spoken(label: Label) -> str:
    return f"{label.ko} {label.en}"


def _money(amount: Amount) -> str:
    return signed_won(amount.value) if amount.asset == "KRW" else f"{amount.value:+,.2f} {amount.asset}"


def _decision(plan: Plan) -> str:
    action = {Action.ENTER: "Enter", Action.EXIT: "Exit", Action.REPAIR: "Exit"}[plan.action]
    size = max((leg.quantity for leg in plan.legs), default=Decimal(0)).normalize()
    return f"{_spoken(words.SIGNALS[action])} {size:f} {plan.symbol}"


def _refused_exit(verdict: ExitVerdict) -> str:
    return f"지금 now {won(verdict.net)}, 손익분기 b/e {signed_percent(verdict.break_even_premium)}"


def parts_of(earned: Breakdown) -> Label:
    """The parts that add up to a net, in both languages."""
    figures = [f"{part:+z,.0f}" for part in (earned.premium, earned.fx, earned.funding, earned.fees + earned.slippage)]
    korean, english = ("김프", "환율", "펀딩", "비용"), ("premium", "fx", "funding", "costs")
    ko, en = (
        " ".join(f"{name} {figure}" for name, figure in zip(names, figures, strict=True)) for names in (korean, english)
    )
    return Label(f"= {ko}", f"= {en}")
