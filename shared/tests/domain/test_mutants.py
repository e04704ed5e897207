"""Known ways to get money wrong, planted on purpose: each check passes the real code and catches every mutant.

A check is one function that lists faults; real and mutant run through the same one.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from itertools import permutations
from typing import Any

import msgspec
import pytest

from kimp.shared.domain import ledger as ledger_module
from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.fx import FxQuote
from kimp.shared.domain.instruments import Pair, Side, TradingRules, binance_perpetual, upbit_spot
from kimp.shared.domain.ledger import Entry, Ledger
from kimp.shared.domain.money import ONE, ZERO
from kimp.shared.domain.orders import Fill
from kimp.shared.domain.positions import LegPosition, Mark, Position
from kimp.shared.domain.signals import Direction

KOREA, ABROAD = upbit_spot("BTC"), binance_perpetual("BTC")
TRADES = (
    (Side.SELL, Decimal("0.073"), Decimal("100000.1")),
    (Side.SELL, Decimal("0.031"), Decimal("100033.7")),
    (Side.BUY, Decimal("0.023"), Decimal("99871.3")),
    (Side.BUY, Decimal("0.019"), Decimal("101234.9")),
)
Faults = list[str]


# Money that is not conserved


class FloatLedger(Ledger):
    """Adds balances up in binary fractions."""

    def post(self, entry: Entry) -> bool:
        if self.has(entry.entry_id):
            return False
        before = dict(self._balances)
        super().post(entry)
        for posting in entry.postings:
            key = posting.account, posting.amount.asset
            self._balances[key] = Decimal(str(float(before.get(key, ZERO)) + float(posting.amount.value)))
            before[key] = self._balances[key]
        return True


class LosesTheFee(Ledger):
    """Takes the fee out of the wallet and books it nowhere."""

    def post(self, entry: Entry) -> bool:
        is_new = super().post(entry)
        for posting in entry.postings:
            if posting.account.startswith("fees:"):
                self._balances[posting.account, posting.amount.asset] -= posting.amount.value
        return is_new


@pytest.mark.parametrize(
    ("mutation", "is_mutant"), [(Ledger, False), (FloatLedger, True), (LosesTheFee, True)], ids=lambda x: str(x)
)
def test_money_that_is_not_conserved_is_noticed(
    funded: Any,
    fills_of: Callable[..., list[Fill]],
    conservation_faults: Callable[[Ledger], Faults],
    mutation: type[Ledger],
    is_mutant: bool,
) -> None:
    mixed = type("Mixed", (funded, mutation), {})
    ledger = mixed(fills_of(ABROAD, TRADES))
    assert bool(conservation_faults(ledger)) is is_mutant


def unrounded(held: Decimal, unsettled: Decimal, signed: Decimal, cash: Decimal) -> Decimal:
    """Settles to all the digits a quotient has, which the wallet then cuts otherwise than what is left."""
    if held * signed >= ZERO:
        return ZERO
    if abs(signed) <= abs(held):
        return unsettled * (-signed / held) + cash
    return unsettled + cash * (-held / signed)


@pytest.mark.parametrize(("settle", "is_mutant"), [(ledger_module.realised, False), (unrounded, True)])
def test_settling_in_endless_digits_is_noticed(
    funded: Any,
    fills_of: Callable[..., list[Fill]],
    conservation_faults: Callable[[Ledger], Faults],
    monkeypatch: pytest.MonkeyPatch,
    settle: Callable[..., Decimal],
    is_mutant: bool,
) -> None:
    monkeypatch.setattr(ledger_module, "realised", settle)
    assert bool(conservation_faults(funded(fills_of(ABROAD, TRADES)))) is is_mutant


# Fills that do not count exactly once


class BooksTwice(Ledger):
    """Has forgotten, as after a restart, what it booked."""

    def post(self, entry: Entry) -> bool:
        self._seen.clear()
        return super().post(entry)


class TakesOnlyNewer(Ledger):
    """Remembers the last id and not the set: a late fill is taken for an old one."""

    def post(self, entry: Entry) -> bool:
        is_late = any(seen >= entry.entry_id for seen in self._seen if seen.startswith("fill:"))
        return super().post(entry) if entry.kind != "fill" or not is_late else False


class TrustsTradeIds(Ledger):
    """Takes trade ids for unique across instruments."""

    def post(self, entry: Entry) -> bool:
        return super().post(msgspec.structs.replace(entry, entry_id=entry.entry_id.rpartition(":")[2]))


def exactly_once_faults(ledger_type: Any, fills: Sequence[Fill]) -> Faults:
    expected = {
        "coins": sum(fill.side.sign * fill.quantity for fill in fills if fill.instrument_id == KOREA.id),
        "contracts": sum(fill.side.sign * fill.quantity for fill in fills if fill.instrument_id == ABROAD.id),
        "fees": sum(fill.fee.value for fill in fills if fill.instrument_id == KOREA.id),
    }
    found = []
    for order in permutations(fills):
        ledger = ledger_type([*order, *reversed(order)])
        seen = {
            "coins": ledger.btc - ledger.btc_start,
            "contracts": ledger.contracts,
            "fees": ledger.balance("fees:signal", "KRW"),
        }
        found += [f"{name}: {seen[name]}, not {value}" for name, value in expected.items() if seen[name] != value]
    return found


@pytest.mark.parametrize(
    ("mutation", "is_mutant"), [(Ledger, False), (BooksTwice, True), (TakesOnlyNewer, True), (TrustsTradeIds, True)]
)
def test_a_fill_that_counts_twice_or_never_is_noticed(
    funded: Any, fills_of: Callable[..., list[Fill]], mutation: type[Ledger], is_mutant: bool
) -> None:
    both = fills_of(KOREA, TRADES[:2]) + fills_of(ABROAD, TRADES[2:])
    assert bool(exactly_once_faults(type("Mixed", (funded, mutation), {}), both)) is is_mutant


# Profit that is not the legs'


def from_the_legs(row: Any, round_trip: Callable[..., Any]) -> Decimal:
    position, marks = round_trip(Direction.LONG_PREMIUM, row.quantity, row.entry, row.exit)
    return position.breakdown(marks).net


def from_the_premium(row: Any, round_trip: Callable[..., Any]) -> Decimal:
    """The change of the premium times the notional, less the same fees: right only while nothing else moves."""
    position, _ = round_trip(Direction.LONG_PREMIUM, row.quantity, row.entry, row.exit)
    fees = sum((leg.fees_krw for leg in position.legs), ZERO)
    return (row.exit_premium - row.entry_premium) * row.quantity * row.entry.korea - fees


def with_half_the_fees(row: Any, round_trip: Callable[..., Any]) -> Decimal:
    """Two fees, as if leaving were free."""
    position, marks = round_trip(Direction.LONG_PREMIUM, row.quantity, row.entry, row.exit)
    parts = position.breakdown(marks)
    return parts.net - parts.fees / 2


def table_faults(net_of: Callable[..., Decimal], table: Sequence[Any], round_trip: Callable[..., Any]) -> Faults:
    found = []
    for row in table:
        net = net_of(row, round_trip)
        percent = (net / (row.quantity * row.entry.korea) * 100).quantize(Decimal("0.001"))
        if percent != row.long_net:
            found.append(f"{row.path}: nets {percent} %, not {row.long_net} %")
        if (net > 0) is not row.long_may_exit:
            found.append(f"{row.path}: exit {'refused' if row.long_may_exit else 'allowed'}")
    return found


@pytest.mark.parametrize(
    ("net_of", "is_mutant"), [(from_the_legs, False), (from_the_premium, True), (with_half_the_fees, True)]
)
def test_profit_that_is_not_the_legs_is_noticed(
    worked_table: Sequence[Any], round_trip: Callable[..., Any], net_of: Callable[..., Decimal], is_mutant: bool
) -> None:
    assert bool(table_faults(net_of, worked_table, round_trip)) is is_mutant


def test_profit_from_the_premium_would_leave_at_a_loss_when_the_won_has_risen(
    worked_table: Sequence[Any], round_trip: Callable[..., Any]
) -> None:
    found = table_faults(from_the_premium, worked_table, round_trip)
    assert "0.5 to 1.2 %, F -0.5 %: exit allowed" in found
    assert "3.5 to 3.5 %, BTC +20 %: exit refused" in found
    assert table_faults(from_the_legs, worked_table, round_trip) == []


class ForgetsFunding(Position, frozen=True):
    """Funding never reaches the pair."""

    def with_funding(self, krw: Decimal) -> Position:  # noqa: ARG002
        return self


class ValuesAtEntry(Position, frozen=True):
    """Values what the perpetual earned at the rate of each fill and not at that of leaving."""

    def breakdown(self, marks: Any) -> Any:
        parts = super().breakdown(marks)
        return msgspec.structs.replace(parts, fx=ZERO)


class ForgetsWhatIsHeld(Position, frozen=True):
    """Counts only what was realised, so that every open pair looks fine."""

    def breakdown(self, marks: Any) -> Any:
        return super().breakdown({key: Mark(ZERO, mark.krw_rate) for key, mark in marks.items()})


def story_faults(position_type: type[Position], pair: Pair, fill_of: Callable[..., Fill]) -> Faults:
    """A pair half closed in pieces, with funding and a moving rate, against the cash that moved."""
    legs = (LegPosition(pair.korea.id), LegPosition(pair.abroad.id))
    position = position_type("signal", "kimp", "BTC", Direction.LONG_PREMIUM, legs, opened_at=0)
    cash = Fraction(0)
    marks = {pair.korea.id: Mark(Decimal(146_000_000), ONE), pair.abroad.id: Mark(Decimal(101_000), Decimal(1_390))}
    for leg, side, size, price, rate in (
        (pair.korea, Side.BUY, "0.07", 144_900_000, 1),
        (pair.abroad, Side.SELL, "0.05", 100_000, 1_400),
        (pair.abroad, Side.SELL, "0.02", 100_010, 1_401),
        (pair.korea, Side.SELL, "0.03", 145_500_000, 1),
        (pair.abroad, Side.BUY, "0.03", 100_700, 1_395),
    ):
        fill = fill_of(leg, side, Decimal(size), Decimal(price))
        position = position.with_fill(fill, fill.price + 10, Decimal(rate))
        mark = marks[leg.id]
        moved = side.sign * Fraction(size) * (Fraction(mark.price) - price) * Fraction(mark.krw_rate)
        cash += moved - Fraction(fill.fee.value) * rate
    net = position.with_funding(Decimal(2_100)).breakdown(marks).net
    return [] if Fraction(net) == cash + 2_100 else [f"nets {net}, moved {float(cash + 2_100)}"]


@pytest.mark.parametrize(
    ("position_type", "is_mutant"),
    [(Position, False), (ForgetsFunding, True), (ValuesAtEntry, True), (ForgetsWhatIsHeld, True)],
)
def test_an_open_pair_that_is_misjudged_is_noticed(
    pair: Pair, fill_of: Callable[..., Fill], position_type: type[Position], is_mutant: bool
) -> None:
    assert bool(story_faults(position_type, pair, fill_of)) is is_mutant


# Limits that favour the other side


class RoundsToTheNearest(TradingRules, frozen=True):
    """Rounds prices the way one rounds in school."""

    def bound(self, price: Decimal, side: Side) -> Decimal:  # noqa: ARG002
        tick = self.tick_at(price)
        return (price / tick).to_integral_value(ROUND_HALF_EVEN) * tick


class RoundsSidesTheOtherWay(TradingRules, frozen=True):
    """Rounds so that the order surely fills."""

    def bound(self, price: Decimal, side: Side) -> Decimal:
        return super().bound(price, side.opposite)


class DividesFirst(TradingRules, frozen=True):
    """Floors a quotient that was already rounded to 28 digits."""

    def bound(self, price: Decimal, side: Side) -> Decimal:
        tick = self.tick_at(price)
        quotient = price / tick
        steps = quotient // 1 if side is Side.BUY else -(-quotient // 1)
        return steps * tick


def bound_faults(rules_type: type[TradingRules]) -> Faults:
    rules = rules_type(**msgspec.structs.asdict(KOREA.rules))
    found = []
    for text in ("144901234.5", "999999.9999999999999999999999", "1000600", "99.96", "0.0123456"):
        price = Decimal(text)
        found += [f"buys at {bound}" for bound in [rules.bound(price, Side.BUY)] if bound > price]
        found += [f"sells at {bound}" for bound in [rules.bound(price, Side.SELL)] if bound < price]
    return found


@pytest.mark.parametrize(
    ("rules_type", "is_mutant"),
    [(TradingRules, False), (RoundsToTheNearest, True), (RoundsSidesTheOtherWay, True), (DividesFirst, True)],
)
def test_a_limit_that_favours_the_other_side_is_noticed(rules_type: type[TradingRules], is_mutant: bool) -> None:
    assert bool(bound_faults(rules_type)) is is_mutant


# Books and rates that are believed too easily


class SellsAtTheAsk(Book, frozen=True):
    """Prices an order against its own side of the book."""

    def vwap(self, side: Side, quantity: Decimal) -> Decimal | None:
        return super().vwap(side.opposite, quantity)


class FillsAnySizeAtTheTouch(Book, frozen=True):
    """Takes the best price for the price of everything."""

    def vwap(self, side: Side, quantity: Decimal) -> Decimal | None:  # noqa: ARG002
        return self.touch(side)


class FillsWhatThereIs(Book, frozen=True):
    """Averages what a thin book holds as if that were enough."""

    def vwap(self, side: Side, quantity: Decimal) -> Decimal | None:
        depth = sum((level.size for level in self.eats(side)), ZERO)
        return super().vwap(side, min(quantity, depth))


def vwap_faults(book_type: type[Book]) -> Faults:
    one = Decimal(1)
    bids, asks = (
        (Level(Decimal(99), one), Level(Decimal(97), one)),
        (Level(Decimal(101), one), Level(Decimal(103), one)),
    )
    book = book_type("binance:BTCUSDT", bids, asks, 0, 0)
    expected = {(Side.BUY, 1): 101, (Side.BUY, 2): 102, (Side.BUY, 3): None, (Side.SELL, 2): 98, (Side.SELL, 3): None}
    return [
        f"{side} {size}: {book.vwap(side, Decimal(size))}, not {price}"
        for (side, size), price in expected.items()
        if book.vwap(side, Decimal(size)) != price
    ]


@pytest.mark.parametrize(
    ("book_type", "is_mutant"),
    [(Book, False), (SellsAtTheAsk, True), (FillsAnySizeAtTheTouch, True), (FillsWhatThereIs, True)],
)
def test_a_book_that_promises_too_much_is_noticed(book_type: type[Book], is_mutant: bool) -> None:
    assert bool(vwap_faults(book_type)) is is_mutant


class NeverExpires(FxQuote, frozen=True):
    """Believes the last rate for ever."""

    def is_valid(self, now: int) -> bool:
        return super().is_valid(min(now, self.valid_until))


class ChecksOnlyTime(FxQuote, frozen=True):
    """Believes any number as long as it is fresh."""

    def is_valid(self, now: int) -> bool:
        return self.at <= now <= self.valid_until


def rate_faults(quote_type: type[FxQuote]) -> Faults:
    lies = [("1400", 121), ("1400", -1), ("0", 1), ("-1400", 1), ("NaN", 1), ("Infinity", 1)]
    found = [f"{value} at {now}" for value, now in lies if quote_type("USD", Decimal(value), 0, 120, "x").is_valid(now)]
    return found if quote_type("USD", Decimal(1_400), 0, 120, "x").is_valid(120) else [*found, "a sound rate refused"]


@pytest.mark.parametrize(("quote_type", "is_mutant"), [(FxQuote, False), (NeverExpires, True), (ChecksOnlyTime, True)])
def test_a_rate_that_is_believed_too_easily_is_noticed(quote_type: type[FxQuote], is_mutant: bool) -> None:
    assert bool(rate_faults(quote_type)) is is_mutant


# Ids that are not functions of their causes


def id_faults(expression: str) -> Faults:
    """Ids of one cause from two processes, which must agree, and of ten causes in one, which must not."""
    code = f"from kimp.shared.domain.orders import client_order_id\nmake = {expression}\n"
    code += "print(*(make('kimp:BTC:1', leg, attempt) for leg in (0, 1) for attempt in range(5)))"
    said = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        said.append(run.stdout.split())
    found = [] if said[0] == said[1] else ["differ between processes"]
    return found if len(set(said[0])) == 10 else [*found, "one id for two orders"]


@pytest.mark.parametrize(
    ("expression", "is_mutant"),
    [
        ("client_order_id", False),
        ("lambda *cause: f'kimp-{abs(hash(cause))}'", True),
        ("lambda *cause: client_order_id(cause[0], cause[1], 0)", True),
        ("lambda *cause: client_order_id(cause[0], 0, cause[2])", True),
    ],
    ids=["real", "hashes with a seed", "forgets the attempt", "forgets the leg"],
)
def test_an_id_that_is_not_a_function_of_its_cause_is_noticed(expression: str, is_mutant: bool) -> None:
    assert bool(id_faults(expression)) is is_mutant
