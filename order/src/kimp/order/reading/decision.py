"""One decision with every figure that was looked at, as it is kept beside the journal and read by ``kimp why``."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from kimp.order.engine.desk import PairDesk
from kimp.order.engine.settings import EngineSettings
from kimp.order.engine.state import EngineState
from kimp.shared.domain.fx import USD, USDT
from kimp.shared.domain.instruments import Venue
from kimp.shared.domain.money import ONE, ZERO
from kimp.shared.domain.positions import ExitVerdict
from kimp.shared.domain.time import MINUTE, SECOND, Nanos
from kimp.shared.messages.events import SwitchState
from kimp.shared.messages.records import Phase
from kimp.shared.ports.strategy import Condition


class Answer(StrEnum):
    """What came of looking at the quotes: ``UNDECIDED`` means that they were not good enough to ask the strategy,
    ``BUSY`` that orders of an earlier decision were under way.
    """

    UNDECIDED = "undecided"
    BUSY = "busy"
    HOLD = "hold"
    ENTER = "enter"
    EXIT = "exit"


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """The market as it was looked at: touches, KRW per dollar and per USDT as last heard, funding per settlement.

    Premiums are fractions at the touch; ``enter`` is that of buying in Korea, ``leave`` that of selling there.
    """

    korea_bid: Decimal | None = None
    korea_ask: Decimal | None = None
    abroad_bid: Decimal | None = None
    abroad_ask: Decimal | None = None
    usdkrw: Decimal | None = None
    usdtkrw: Decimal | None = None
    funding_rate: Decimal | None = None
    fx_enter: Decimal | None = None
    fx_leave: Decimal | None = None
    usdt_enter: Decimal | None = None
    usdt_leave: Decimal | None = None


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided for one slot, and everything it was decided on.

    ``reason`` is the strategy's (or the first refusal's) code, ``refusals`` why the engine did not follow.
    ``conditions`` are the strategy's comparisons, ``guards`` the engine's, durations in seconds. ``verdict`` is there
    while a pair is open and quotes are good. ``skipped`` counts changes of mind that were left out before this one
    because there were too many of them.
    """

    at: Nanos
    slot: str
    phase: Phase
    answer: Answer
    reason: str
    refusals: tuple[str, ...]
    switch: SwitchState
    is_halted: bool
    figures: Figures
    conditions: tuple[Condition, ...] = ()
    guards: tuple[Condition, ...] = ()
    verdict: ExitVerdict | None = None
    skipped: int = 0


def decision_of(
    desk: PairDesk, state: EngineState, settings: EngineSettings, at: Nanos, said: tuple[Answer, str, tuple[str, ...]]
) -> Decision:
    """Everything behind what a desk has just said: its answer, the reason, and the refusals."""
    answer, reason, refusals = said
    seen = desk.sight(at)
    return Decision(
        at=at,
        slot=desk.slot.key,
        phase=desk.slot.phase,
        answer=answer,
        reason=reason,
        refusals=refusals,
        switch=state.switch,
        is_halted=desk.slot.is_halted,
        figures=figures_of(desk),
        conditions=() if seen is None else desk.strategy.explain(*seen),
        guards=guards_of(desk, state, settings, at),
        verdict=desk.verdict(at),
    )


def figures_of(desk: PairDesk) -> Figures:
    """The market as the desk sees it, whether or not it is good enough to decide on."""
    market, pair = desk.market, desk.pair
    korea, abroad = market.books.get(pair.korea.id), market.books.get(pair.abroad.id)
    funding = market.funding.get(pair.abroad.id)
    dollar, tether = (None if (quote := market.rates.get(asset)) is None else quote.value for asset in (USD, USDT))
    ours = (None, None) if korea is None else (korea.bids[0].price, korea.asks[0].price)
    theirs = (None, None) if abroad is None else (abroad.bids[0].price, abroad.asks[0].price)
    return Figures(
        korea_bid=ours[0],
        korea_ask=ours[1],
        abroad_bid=theirs[0],
        abroad_ask=theirs[1],
        usdkrw=dollar,
        usdtkrw=tether,
        funding_rate=None if funding is None else funding.rate,
        fx_enter=_premium(ours[1], theirs[0], dollar),
        fx_leave=_premium(ours[0], theirs[1], dollar),
        usdt_enter=_premium(ours[1], theirs[0], tether),
        usdt_leave=_premium(ours[0], theirs[1], tether),
    )


def _premium(korea: Decimal | None, abroad: Decimal | None, rate: Decimal | None) -> Decimal | None:
    if korea is None or abroad is None or rate is None:
        return None
    return korea / (abroad * rate) - ONE


def guards_of(desk: PairDesk, state: EngineState, settings: EngineSettings, at: Nanos) -> tuple[Condition, ...]:
    """The engine's own limits with where they stand now; seconds unless they count something."""
    slot = desk.slot
    entries = sum(1 for entered in state.entry_times if entered > at - MINUTE)
    most = Decimal(settings.entries_per_minute_max)
    return (
        *_market_guards(desk, settings, at),
        _left("cooldown", slot.cooling_from, settings.cooldown, at),
        _left("exit_pause", slot.exit_failed_at, settings.exit_pause, at),
        Condition("entries_this_minute", Decimal(entries), "<", most, entries < most),
        _at_most("orders_in_doubt", Decimal(len(state.unsettled)), ZERO),
    )


def _market_guards(desk: PairDesk, settings: EngineSettings, at: Nanos) -> tuple[Condition, ...]:
    market, found = desk.market, []
    books = [market.books.get(leg.id) for leg in (desk.pair.korea, desk.pair.abroad)]
    for venue, book in zip((Venue.UPBIT, Venue.BINANCE), books, strict=True):
        age = None if book is None else _seconds(at - book.venue_at)
        found.append(_at_most(f"book_age_{venue.value}", age, _seconds(settings.book_age_max)))
    korea, abroad = books
    skew = None if korea is None or abroad is None else _seconds(abs(korea.venue_at - abroad.venue_at))
    found.append(_at_most("leg_skew", skew, _seconds(settings.leg_skew_max)))
    for asset in dict.fromkeys((settings.signal_basis.asset, settings.valuation_basis.asset)):
        quote = market.rates.get(asset)
        left = None if quote is None else _seconds(quote.valid_until - at)
        # Validity that is left, not age: a rate frozen over the weekend is old and still the right one.
        found.append(Condition(f"rate_{asset.lower()}_valid_for", left, ">=", ZERO, left is not None and left >= ZERO))
    for leg in (desk.pair.korea, desk.pair.abroad):
        left = _seconds(max(0, market.trusted_from(leg.id) - at))
        found.append(_at_most(f"quarantine_{leg.venue.value}", left, ZERO))
    return tuple(found)


def _left(name: str, begun: Nanos | None, lasts: Nanos, at: Nanos) -> Condition:
    left = ZERO if begun is None else _seconds(max(0, begun + lasts - at))
    return _at_most(name, left, ZERO)


def _at_most(name: str, actual: Decimal | None, limit: Decimal) -> Condition:
    return Condition(name, actual, "<=", limit, actual is not None and actual <= limit)


def _seconds(span: Nanos) -> Decimal:
    return Decimal(span) / SECOND
