"""Whether quotes arrive, and whether the money that lies there is enough for one lot at them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from kimp.order.engine.allocator import CapitalAllocator
from kimp.order.engine.exit_validator import worst_limit
from kimp.order.engine.settings import EngineSettings, engine_settings
from kimp.order.engine.state import EngineState, Slot
from kimp.order.runtime.preflight_venues import VenueSeen
from kimp.shared.domain.accounts import Check
from kimp.shared.domain.books import Book
from kimp.shared.domain.fx import FxQuote
from kimp.shared.domain.instruments import Instrument, InstrumentId, Pair, Venue
from kimp.shared.domain.ledger import transfer_entry
from kimp.shared.domain.money import Amount
from kimp.shared.domain.signals import Direction
from kimp.shared.domain.time import SECOND, Nanos
from kimp.shared.messages.events import FeedBack, FeedLost, MarketMoved
from kimp.shared.ports.clock import Clock
from kimp.shared.ports.market import MarketDataSource
from kimp.shared.settings import Settings

FEEDS_S_MAX = 20.0
"""How long quotes may take at first: sockets are opened, a snapshot fetched, and the bank's rate asked for."""


@dataclass(slots=True)
class MarketSeen:
    """The newest sound books and usable rates that were heard."""

    books: dict[InstrumentId, Book] = field(default_factory=dict)
    rates: dict[str, FxQuote] = field(default_factory=dict)
    lost: dict[InstrumentId, str] = field(default_factory=dict)

    def take(self, event: MarketMoved | FeedLost | FeedBack) -> None:
        """Note what was heard; a broken book or rate is as if it were not there."""
        match event:
            case FeedLost(instrument_id=lost, reason=reason):
                self.books.pop(lost, None)
                self.lost[lost] = reason
            case FeedBack(instrument_id=back):
                self.lost.pop(back, None)
            case MarketMoved(books=books, rates=rates):
                for book in books:
                    if book.fault() is None:
                        self.books[book.instrument_id] = book
                self.rates.update({rate.base: rate for rate in rates if rate.is_usable})


async def watch_market(
    market: MarketDataSource, pairs: Sequence[Pair], settings: Settings, clock: Clock, seen: MarketSeen
) -> tuple[Check, ...]:
    """Listen until both books of every pair and both rates are there and fresh, or the time is up."""
    limits = engine_settings(settings)
    legs = [leg.id for pair in pairs for leg in (pair.korea, pair.abroad)]
    assets = list(dict.fromkeys(basis.asset for basis in (limits.signal_basis, limits.valuation_basis)))
    try:
        async with asyncio.timeout(FEEDS_S_MAX):
            await _listen(market, legs, assets, limits, clock, seen)
    except TimeoutError:
        pass  # what is missing by now is told below
    now = clock.now()
    return (
        *(_book_check(leg, seen, now, limits.book_age_max) for leg in legs),
        *(_rate_check(asset, seen.rates.get(asset), now) for asset in assets),
    )


async def _listen(
    market: MarketDataSource,
    legs: Sequence[InstrumentId],
    assets: Sequence[str],
    limits: EngineSettings,
    clock: Clock,
    seen: MarketSeen,
) -> None:
    stream = market.stream()
    try:
        async for event in stream:
            seen.take(event)
            now = clock.now()
            are_fresh = all(leg in seen.books and now - seen.books[leg].venue_at <= limits.book_age_max for leg in legs)
            if are_fresh and all(asset in seen.rates and seen.rates[asset].is_valid(now) for asset in assets):
                return
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()


def _book_check(leg: InstrumentId, seen: MarketSeen, now: Nanos, age_max: Nanos) -> Check:
    name, book = f"feed {leg}", seen.books.get(leg)
    if book is None:
        reason = seen.lost.get(leg, f"{FEEDS_S_MAX:.0f} s")
        return Check(
            name, False, f"호가가 오지 않습니다 ({reason}), 네트워크를 확인하세요 / no order book: check the network"
        )
    age = now - book.venue_at
    detail = f"{age / SECOND:.1f} s"
    if age <= age_max:
        return Check(name, True, detail)
    return Check(
        name, False, f"{detail}: 호가가 낡았습니다, 시계와 네트워크를 확인하세요 / too old: check clock and network"
    )


def _rate_check(asset: str, rate: FxQuote | None, now: Nanos) -> Check:
    name = f"feed KRW-{asset}"
    if rate is None:
        return Check(
            name, False, "환율이 오지 않습니다, fx.* 주소를 확인하세요 / no rate: check the fx.* URLs and the network"
        )
    if not rate.is_valid(now):
        return Check(name, False, "환율이 만료되었습니다 / the rate has expired: wait for a newer one")
    return Check(name, True, f"{rate.value:,.2f} KRW ({rate.source})")


def capital_check(pair: Pair, settings: Settings, venues: Mapping[Venue, VenueSeen], seen: MarketSeen) -> Check:
    """Whether what lies on both venues buys one lot at the prices now, by the same sizing that entries use."""
    name = f"capital {pair.symbol}"
    korea, abroad = _as_told(pair.korea, venues), _as_told(pair.abroad, venues)
    books = seen.books.get(korea.id), seen.books.get(abroad.id)
    accounts = venues.get(korea.venue), venues.get(abroad.venue)
    if books[0] is None or books[1] is None:
        return Check(name, True, "시세가 없어 계산하지 않음 / not judged without quotes")
    if accounts[0] is None or accounts[0].account is None or accounts[1] is None or accounts[1].account is None:
        return Check(name, False, "잔고를 읽을 수 없습니다 / balances are not readable")
    if accounts[1].account.contract(abroad.id):
        return Check(name, True, "포지션 보유 중 / a position is open")
    direction, limits = Direction(settings.strategy.direction), engine_settings(settings)
    state = EngineState([Slot("preflight", "preflight", pair.symbol, (korea, abroad))])
    assets = ((korea.venue, korea.quote), (korea.venue, korea.base), (abroad.venue, abroad.quote))
    for venue, asset in assets:
        account = venues[venue].account
        assert account is not None, "looked at above"
        state.ledger.post(transfer_entry(f"{venue.value}:{asset}", venue, Amount(account.total(asset), asset), 0))
    side = direction.korea_side
    sizing = CapitalAllocator(Pair(pair.symbol, korea, abroad), limits).size(
        state,
        direction,
        worst_limit(korea, books[0].touch(side), side, limits.slippage_max),
        worst_limit(abroad, books[1].touch(side.opposite), side.opposite, limits.slippage_max),
    )
    if sizing.refusal is None:
        return Check(name, True, f"{sizing.quantity:f} {pair.symbol} 가능 / affordable")
    held = ((asset, state.ledger.wallet(venue, asset)) for venue, asset in assets)
    return Check(name, False, _too_small(pair, [(asset, total) for asset, total in held if total]))


def _as_told(leg: Instrument, venues: Mapping[Venue, VenueSeen]) -> Instrument:
    """The leg with the venue's own rules, where it told them."""
    told = venues[leg.venue].instruments if leg.venue in venues else None
    return next((found for found in told or () if found.id == leg.id), leg)


def _too_small(pair: Pair, held: Sequence[tuple[str, Decimal]]) -> str:
    money = ", ".join(f"{total:,.2f} {asset}" for asset, total in held) or "0"
    lot = f"{pair.lot:f} {pair.symbol}"
    return f"{money}: 최소 주문({lot} 단위)에 모자랍니다, 입금하세요 / below the smallest order: deposit more"
