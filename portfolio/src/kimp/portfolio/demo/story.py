"""Writes down what happens, as lines a trader reads: signals, orders gone astray, entries, refusals, exits.

It only reads the journal, the notices and the desk's refusals; the engine does not know that it is watched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from kimp.portfolio.demo import words
from kimp.portfolio.demo.scenario import IMPATIENT, Stage
from kimp.portfolio.demo.words import Kind
from kimp.research.backtest.report.labels import Label
from kimp.research.backtest.report.numerals import signed_percent, signed_won, won
from kimp.research.simulation.world import Told, World
from kimp.shared.domain.money import Amount
from kimp.shared.domain.orders import ClientId, Rejected, Unknown
from kimp.shared.domain.positions import Action, Breakdown, ExitVerdict, Plan
from kimp.shared.domain.signals import Exit, Refusal
from kimp.shared.domain.time import HOUR, SECOND, Nanos
from kimp.shared.messages.notices import LegNaked, LegRepaired, PairClosed, PairOpened
from kimp.shared.messages.records import FundsBooked, OrderOutcome, PlanMade, Record

REPEATED_AFTER: Nanos = HOUR
"""The same refusal again within this time is one story, not sixty."""

STORY_MAX = 5_000
"""Lines kept; a panicking market may have a hundred pairs, and no fortnight has more than this."""


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
    """An order whose outcome was unknown, and how the venue's answer to our question settled it."""

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
    """Collects lines as the world goes on; call ``observe`` after every step of it."""

    def __init__(self, stage: Stage) -> None:
        self.lines: list[Line] = []
        self.resolved: list[Resolved] = []
        self.exits_refused: list[ExitRefused] = []
        self._stage = stage
        self._desk = stage.backtest.trading.desks[0]
        self._records_seen = 0
        self._notices_seen = 0
        self._refused = 0
        self._last_refusal: tuple[str, Nanos] = ("", 0)
        self._asking: dict[ClientId, Nanos] = {}
        self._naked_at: Nanos = 0

    def observe(self, world: World) -> list[Line]:
        """What has been added to the story since the last look."""
        if (
            len(world.records) == self._records_seen
            and self._desk.refusals.total() == self._refused
            and not self._asking
        ):
            return []
        added: list[Line] = []
        for record in world.records[self._records_seen :]:
            added += self._of_record(record)
        added += self._answers(world.now)
        for notice in world.notices[self._notices_seen :]:
            added += self._of_notice(notice)
        self._records_seen, self._notices_seen = len(world.records), len(world.notices)
        added += self._refusals(world.now)
        self.lines += added
        del self.lines[:-STORY_MAX]
        return added

    # -- from the journal ------------------------------------------------------------------------------------------

    def _of_record(self, record: Record) -> Iterator[Line]:
        match record:
            case FundsBooked(at=at, venue=venue, amount=amount):
                yield Line(at, Kind.FUNDED, f"{_spoken(words.VENUES[venue])} {_money(amount)}")
            case PlanMade(at=at, plan=plan):
                yield Line(at, Kind.SIGNAL, _decision(plan), words.reason(plan.reason))
            case OrderOutcome(at=at, client_id=client_id, outcome=Unknown()):
                if client_id not in self._asking:
                    self._asking[client_id] = at
                    is_injected = client_id == self._stage.faults.unanswered
                    why = words.LOST_ANSWER if is_injected else None
                    yield Line(at, Kind.UNKNOWN, self._order(client_id), why, is_injected)
            case OrderOutcome(at=at, client_id=client_id, outcome=Rejected(code=code)):
                is_injected = client_id == self._stage.faults.refused
                why = words.REFUSED_LEG if is_injected else None
                yield Line(at, Kind.REJECTED, f"{self._order(client_id)}: {code}", why, is_injected)

    def _order(self, client_id: ClientId) -> str:
        order = self._stage.backtest.trading.state.orders[client_id].order
        leg = self._desk.slot.leg(order.instrument_id)
        what = f"{_spoken(words.VENUES[leg.venue])} {_spoken(words.SIDES[order.side])}"
        return f"{what} {order.quantity.normalize():f} {leg.base}"

    def _answers(self, now: Nanos) -> Iterator[Line]:
        """Unknown orders that the venue has since told the truth about."""
        for client_id, since in tuple(self._asking.items()):
            tracked = self._stage.backtest.trading.state.orders[client_id]
            if not tracked.is_settled:
                continue
            del self._asking[client_id]
            executed, after = tracked.executed or Decimal(0), (now - since) / SECOND
            self.resolved.append(Resolved(client_id, tracked.order.instrument_id, executed, after))
            base = self._desk.slot.leg(tracked.order.instrument_id).base
            is_injected = client_id == self._stage.faults.unanswered
            facts = f"{executed.normalize():f} {base} 체결 filled, {after:.1f}초 s"
            yield Line(now, Kind.RESOLVED, facts, words.ASKED if executed else None, is_injected)

    # -- from the notices ------------------------------------------------------------------------------------------

    def _of_notice(self, told: Told) -> Iterator[Line]:
        base = self._desk.pair.symbol
        match told.notice:
            case PairOpened(quantity=quantity, premium=fx, usdt_premium=usdt):
                facts = (
                    f"{quantity.normalize():f} {base}, 김프 fx {signed_percent(fx)} 테더 usdt {signed_percent(usdt)}"
                )
                yield Line(told.at, Kind.ENTERED, facts)
            case PairClosed(breakdown=earned):
                yield Line(told.at, Kind.EXITED, f"순손익 net {signed_won(earned.net)}", _parts(earned))
            case LegNaked(exposure=exposure):
                self._naked_at = told.at
                yield Line(told.at, Kind.NAKED, f"{exposure.normalize():+f} {base} 헤지 안 됨 unhedged")
            case LegRepaired():
                took = (told.at - self._naked_at) / SECOND
                yield Line(told.at, Kind.REPAIRED, f"두 다리 일치 legs match, {took:.2f}초 s", words.COMPLETED)
            case other:
                yield Line(told.at, Kind.ALERT, type(other).__name__)

    # -- from the desk ---------------------------------------------------------------------------------------------

    def _refusals(self, now: Nanos) -> Iterator[Line]:
        total = self._desk.refusals.total()
        if total == self._refused:
            return
        self._refused = total
        codes = ",".join(refusal.value for refusal in self._desk.last_refusals)
        if Refusal.NET_NOT_POSITIVE in self._desk.last_refusals:
            yield from self._exit_refusal(now)
        elif codes != self._last_refusal[0] or now - self._last_refusal[1] >= REPEATED_AFTER:
            self._last_refusal = (codes, now)
            named = [_spoken(words.known(words.REFUSALS, refusal.value)) for refusal in self._desk.last_refusals]
            yield Line(now, Kind.REFUSED, ", ".join(named))

    def _exit_refusal(self, now: Nanos) -> Iterator[Line]:
        verdict = self._desk.verdict(now)
        signal = self._desk.last_signal
        is_injected = isinstance(signal, Exit) and signal.reason == IMPATIENT
        if verdict is None or verdict.net is None or verdict.premium_now is None or verdict.break_even_premium is None:
            return
        self.exits_refused.append(
            ExitRefused(now, verdict.net, verdict.premium_now, verdict.break_even_premium, is_injected)
        )
        yield Line(
            now, Kind.EXIT_REFUSED, _refused_exit(verdict), words.IMPATIENCE if is_injected else None, is_injected
        )


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


def _parts(earned: Breakdown) -> Label:
    figures = [f"{part:+z,.0f}" for part in (earned.premium, earned.fx, earned.funding, earned.fees + earned.slippage)]
    korean, english = ("김프", "환율", "펀딩", "비용"), ("premium", "fx", "funding", "costs")
    ko, en = (
        " ".join(f"{name} {figure}" for name, figure in zip(names, figures, strict=True)) for names in (korean, english)
    )
    return Label(f"= {ko}", f"= {en}")
