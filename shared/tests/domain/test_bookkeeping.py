"""Whatever happens, in whatever order: money is conserved, and the ledger and the position tell the same story."""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from kimp.shared.domain.funding import FundingPayment
from kimp.shared.domain.instruments import Instrument, Side, Venue, binance_perpetual, upbit_spot
from kimp.shared.domain.ledger import Entry, Ledger, funding_entry, transfer_entry
from kimp.shared.domain.money import ONE, Amount
from kimp.shared.domain.orders import Fill
from kimp.shared.domain.positions import Mark, Position
from kimp.shared.domain.signals import Direction

KOREA, ABROAD = upbit_spot("BTC"), binance_perpetual("BTC")
SIDES = st.sampled_from(Side)
COINS = st.integers(1, 10**8).map(lambda n: Decimal(n).scaleb(-8))
CONTRACTS = st.integers(1, 300).map(lambda n: Decimal(n).scaleb(-3))
KOREAN_PRICES = st.integers(5_000, 600_000).map(lambda n: Decimal(n * 1_000))
ABROAD_PRICES = st.integers(50_000, 3_000_000).map(lambda n: Decimal(n).scaleb(-1))
PAYMENTS = st.integers(-(10**9), 10**9).map(lambda n: Decimal(n).scaleb(-8))
RATES = st.integers(9_000, 20_000).map(lambda n: Decimal(n).scaleb(-1))


class Bookkeeping(RuleBasedStateMachine):
    """A ledger beside three sums kept in fractions: what each venue's statement would say."""

    def __init__(
        self, ledger: Any, fill_of: Callable[..., Fill], conservation_faults: Callable[[Ledger], list[str]]
    ) -> None:
        super().__init__()
        self.ledger, self.fill_of, self.conservation_faults = ledger, fill_of, conservation_faults
        self.krw, self.btc, self.usdt = map(Fraction, (ledger.krw, ledger.btc, ledger.usdt))
        self.contracts = Fraction(0)
        self.steps = 0

    def next_id(self) -> str:
        self.steps += 1
        return str(self.steps)

    @rule(side=SIDES, quantity=COINS, price=KOREAN_PRICES)
    def trade_coins(self, side: Side, quantity: Decimal, price: Decimal) -> None:
        fill = self.fill_of(KOREA, side, quantity, price, trade_id=self.next_id())
        assert self.ledger.book(fill)
        self.btc += side.sign * Fraction(quantity)
        self.krw -= side.sign * Fraction(quantity) * Fraction(price) + Fraction(fill.fee.value)

    @rule(side=SIDES, quantity=CONTRACTS, price=ABROAD_PRICES)
    def trade_contracts(self, side: Side, quantity: Decimal, price: Decimal) -> None:
        fill = self.fill_of(ABROAD, side, quantity, price, trade_id=self.next_id())
        assert self.ledger.book(fill)
        self.contracts += side.sign * Fraction(quantity)
        self.usdt -= side.sign * Fraction(quantity) * Fraction(price) + Fraction(fill.fee.value)

    @precondition(lambda self: self.contracts)
    @rule(price=ABROAD_PRICES)
    def close_contracts(self, price: Decimal) -> None:
        held = self.ledger.contracts
        self.trade_contracts(Side.SELL if held > 0 else Side.BUY, abs(held), price)
        assert self.ledger.contracts == 0

    @rule(value=PAYMENTS)
    def settle_funding(self, value: Decimal) -> None:
        payment = FundingPayment(self.next_id(), ABROAD.id, Amount(value, "USDT"), at=self.steps)
        assert self.ledger.post(funding_entry(payment, ABROAD, "signal"))
        self.usdt += Fraction(value)

    @rule(value=st.integers(-(10**6), 10**6))
    def move_won(self, value: int) -> None:
        moved = Amount(Decimal(value), "KRW")
        assert self.ledger.post(transfer_entry(self.next_id(), Venue.UPBIT, moved, at=self.steps))
        self.krw += value

    @rule(data=st.data())
    def hear_it_again(self, data: st.DataObject) -> None:
        assert not self.ledger.post(data.draw(st.sampled_from(self.ledger.entries)))

    @invariant()
    def nothing_is_created_or_lost(self) -> None:
        assert self.conservation_faults(self.ledger) == []

    @invariant()
    def wallets_are_what_the_venues_would_say(self) -> None:
        assert (Fraction(self.ledger.krw), Fraction(self.ledger.btc)) == (self.krw, self.btc)
        assert Fraction(self.ledger.usdt) + Fraction(self.ledger.unsettled) == self.usdt
        assert Fraction(self.ledger.contracts) == self.contracts

    @invariant()
    def nothing_is_unsettled_while_nothing_is_held(self) -> None:
        assert self.contracts or self.ledger.unsettled == 0


def test_whatever_happens_nothing_is_created_or_lost(
    funded: Any, fill_of: Callable[..., Fill], conservation_faults: Callable[[Ledger], list[str]]
) -> None:
    run_state_machine_as_test(
        lambda: Bookkeeping(funded(), fill_of, conservation_faults),
        settings=settings(deadline=None, max_examples=80, stateful_step_count=25),
    )


@settings(deadline=None)
@given(st.lists(st.tuples(SIDES, CONTRACTS, ABROAD_PRICES), max_size=12))
def test_a_ledger_read_back_from_its_entries_is_the_same_ledger(
    funded: Any, fills_of: Callable[..., list[Fill]], trades: list[tuple[Side, Decimal, Decimal]]
) -> None:
    ledger = funded(fills_of(ABROAD, trades))
    kept = msgspec.msgpack.encode(ledger.entries)
    restored = Ledger()
    for entry in msgspec.msgpack.decode(kept, type=list[Entry]):
        assert restored.post(entry)
    assert restored.balances() == ledger.balances()


class Happening(NamedTuple):
    """A fill of a pair, or a funding settlement, and the KRW rate of its moment."""

    instrument: Instrument
    side: Side | None
    size: Decimal
    price: Decimal
    krw_rate: Decimal


@st.composite
def closed_pairs(draw: st.DrawFn) -> list[Happening]:
    """Entries and exits of both legs in any parts and order, ending flat, with funding in between."""
    total = draw(st.integers(1, 400))
    story = [Happening(ABROAD, None, paid, ONE, draw(RATES)) for paid in draw(st.lists(PAYMENTS, max_size=4))]
    for instrument, prices in ((KOREA, KOREAN_PRICES), (ABROAD, ABROAD_PRICES)):
        entering = draw(SIDES)
        for side in (entering, entering.opposite):
            left = total
            while left:
                part = draw(st.integers(1, left))
                left -= part
                rate = ONE if instrument is KOREA else draw(RATES)
                story.append(Happening(instrument, side, Decimal(part).scaleb(-3), draw(prices), rate))
    return draw(st.permutations(story))


def tell(
    ledger: Any, position: Position, story: list[Happening], fill_of: Callable[..., Fill]
) -> tuple[Position, Fraction]:
    """Book a story in both; returns the position and what the ledger says of fees and funding, in KRW."""
    for at, (instrument, side, size, price, rate) in enumerate(story):
        if side is None:
            payment = FundingPayment(str(at), instrument.id, Amount(size, "USDT"), at)
            ledger.post(funding_entry(payment, instrument, "signal"))
            position = position.with_funding(size * rate)
        else:
            fill = fill_of(instrument, side, size, price, trade_id=str(at), at=at)
            ledger.book(fill)
            position = position.with_fill(fill, price, rate)
    costs = Fraction(0)
    for entry in ledger.entries:
        for posting in entry.postings:
            if posting.account in ("fees:signal", "funding:signal"):
                costs -= Fraction(posting.amount.value) * Fraction(story[entry.at].krw_rate)
    return position, costs


@settings(deadline=None)
@given(closed_pairs(), RATES)
def test_a_closed_pair_earned_in_the_ledger_what_its_position_says(
    funded: Any,
    fill_of: Callable[..., Fill],
    open_pair: Callable[[Direction], Position],
    story: list[Happening],
    leaving_rate: Decimal,
) -> None:
    ledger = funded()
    position, costs = tell(ledger, open_pair(Direction.LONG_PREMIUM), story, fill_of)
    assert position.is_flat
    spot = -Fraction(ledger.balance(f"trading:signal:{KOREA.id}", "KRW"))
    perpetual = -Fraction(ledger.balance(f"trading:signal:{ABROAD.id}", "USDT"))
    parts = position.breakdown({KOREA.id: Mark(ONE, ONE), ABROAD.id: Mark(ONE, leaving_rate)})
    assert Fraction(parts.net) == spot + perpetual * Fraction(leaving_rate) + costs
    assert Fraction(parts.fees + parts.funding) == costs


@settings(deadline=None)
@given(closed_pairs(), RATES)
def test_at_a_constant_rate_a_closed_pair_earned_what_the_wallets_gained(
    funded: Any,
    fill_of: Callable[..., Fill],
    open_pair: Callable[[Direction], Position],
    story: list[Happening],
    rate: Decimal,
) -> None:
    steady = [happening._replace(krw_rate=ONE if happening.instrument is KOREA else rate) for happening in story]
    ledger = funded()
    position, _ = tell(ledger, open_pair(Direction.LONG_PREMIUM), steady, fill_of)
    net = position.breakdown({KOREA.id: Mark(ONE, ONE), ABROAD.id: Mark(ONE, rate)}).net
    gained = Fraction(ledger.krw - funded.krw_start) + Fraction(ledger.usdt - funded.usdt_start) * Fraction(rate)
    assert Fraction(net) == gained
    assert ledger.btc == funded.btc_start
