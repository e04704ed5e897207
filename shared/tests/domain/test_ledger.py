"""Double entry: nothing appears or vanishes, nothing counts twice, and the wallets are the venues'."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimp.shared.domain.funding import FundingPayment
from kimp.shared.domain.instruments import Side, Venue, binance_perpetual, upbit_spot
from kimp.shared.domain.ledger import (
    Entry,
    EntryKind,
    Ledger,
    Posting,
    fill_id,
    funding_entry,
    funding_id,
    transfer_entry,
)
from kimp.shared.domain.money import ONE, ZERO, Amount
from kimp.shared.domain.orders import Fill
from kimp.shared.domain.positions import Purpose

KOREA, ABROAD = upbit_spot("BTC"), binance_perpetual("BTC")
Trade = tuple[Side, Decimal, Decimal]
SPOT_TRADES = st.tuples(
    st.sampled_from(Side),
    st.integers(1, 10**8).map(lambda n: Decimal(n).scaleb(-8)),
    st.integers(5_000, 600_000).map(lambda n: Decimal(n * 1_000)),
)


# Entries


@pytest.mark.parametrize(
    "amounts",
    [
        [Amount(Decimal(1), "KRW")],
        [Amount(Decimal(1), "KRW"), Amount(Decimal(-1), "USDT")],
        [Amount(Decimal(1), "KRW"), Amount(Decimal(-1), "KRW"), Amount(Decimal("1e-8"), "BTC")],
        [Amount(Decimal("0.1"), "KRW"), Amount(Decimal("-0.10000000000000000000000001"), "KRW")],
        [Amount(Decimal("NaN"), "KRW"), Amount(Decimal("NaN"), "KRW")],
    ],
    ids=["one-sided", "across assets", "one asset of two", "by a hair", "NaN"],
)
def test_an_entry_that_creates_money_is_refused(amounts: list[Amount]) -> None:
    postings = tuple(Posting(f"account {i}", amount) for i, amount in enumerate(amounts))
    with pytest.raises(ValueError, match="must sum to zero"):
        Entry("x", EntryKind.TRANSFER, 0, postings)


def test_the_refusal_says_how_much_of_what_was_created() -> None:
    with pytest.raises(ValueError, match=r"entry x creates -0\.07 BTC"):
        Entry("x", EntryKind.FILL, 0, (Posting("upbit:wallet", Amount(Decimal("-0.07"), "BTC")),))


def test_an_entry_that_creates_money_is_refused_from_the_wire_too() -> None:
    sound = msgspec.json.encode(transfer_entry("t", Venue.UPBIT, Amount(Decimal(5), "KRW"), at=0))
    assert msgspec.json.decode(sound, type=Entry).entry_id == "transfer:t"
    with pytest.raises(msgspec.ValidationError, match="must sum to zero"):
        msgspec.json.decode(sound.replace(b'"-5"', b'"-4"'), type=Entry)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["KRW", "BTC"]), st.integers(-2, 2)), max_size=6))
def test_an_entry_is_accepted_exactly_when_every_asset_sums_to_zero(moves: list[tuple[str, str, int]]) -> None:
    postings = tuple(Posting(account, Amount(Decimal(value), asset)) for account, asset, value in moves)
    if all(sum(value for _, its, value in moves if its == asset) == 0 for asset in ("KRW", "BTC")):
        assert Entry("x", EntryKind.FILL, 0, postings).postings == postings
    else:
        with pytest.raises(ValueError, match="must sum to zero"):
            Entry("x", EntryKind.FILL, 0, postings)


def test_entries_say_what_they_were_for(fill_of: Callable[..., Fill]) -> None:
    fill = fill_of(KOREA, Side.SELL, ONE, ONE, at=7)
    entry = Ledger().fill_entry(fill, KOREA, "signal", Purpose.OVERRIDE)
    assert (entry.kind, entry.purpose, entry.at) == (EntryKind.FILL, Purpose.OVERRIDE, 7)
    assert entry.entry_id == fill_id(fill)


def test_balances_come_in_a_fixed_order_without_zeros(funded: Any, fills_of: Callable[..., list[Fill]]) -> None:
    ledger = funded(fills_of(KOREA, [(Side.BUY, ONE, ONE), (Side.SELL, ONE, ONE)]))
    balances = ledger.balances()
    assert list(balances) == sorted(balances)
    assert all(balances.values())
    assert ("trading:signal:upbit:KRW-BTC", "BTC") not in balances
    assert ledger.balance("never:used", "KRW") == 0
    assert ledger.balances() == balances


# Spot


def test_a_spot_purchase_swaps_won_for_coins_and_pays_its_fee(funded: Any, fill_of: Callable[..., Fill]) -> None:
    ledger = funded([fill_of(KOREA, Side.BUY, Decimal("0.07"), Decimal(144_900_000))])
    assert ledger.btc == funded.btc_start + Decimal("0.07")
    assert ledger.krw == funded.krw_start - 10_143_000 - Decimal("5071.5")
    assert ledger.balance("fees:signal", "KRW") == Decimal("5071.5")
    assert ledger.balance("trading:signal:upbit:KRW-BTC", "KRW") == 10_143_000
    assert ledger.balance("owner", "KRW") == -funded.krw_start


def test_a_fill_without_a_fee_touches_no_fee_account(funded: Any, fill_of: Callable[..., Fill]) -> None:
    ledger = funded([fill_of(KOREA, Side.BUY, ONE, ONE, fee_rate=ZERO)])
    assert not any(account.startswith("fees:") for account, _ in ledger.balances())


def test_a_rebate_is_a_fee_received(funded: Any, fill_of: Callable[..., Fill]) -> None:
    ledger = funded([fill_of(ABROAD, Side.BUY, ONE, Decimal(100_000), fee_rate=Decimal("-0.0001"))])
    assert ledger.usdt == funded.usdt_start + 10


def test_a_fee_in_another_coin_leaves_the_wallet_of_that_coin(funded: Any, fill_of: Callable[..., Fill]) -> None:
    fill = msgspec.structs.replace(fill_of(ABROAD, Side.BUY, ONE, ONE), fee=Amount(Decimal("0.01"), "BNB"))
    ledger = funded([fill])
    assert ledger.usdt == funded.usdt_start
    assert ledger.wallet(Venue.BINANCE, "BNB") == Decimal("-0.01")


@settings(deadline=None)
@given(st.lists(SPOT_TRADES, max_size=8))
def test_upbit_wallets_are_the_deposits_plus_cash_flow_less_fees(
    funded: Any, fills_of: Callable[..., list[Fill]], trades: Sequence[Trade]
) -> None:
    coins = sum((side.sign * Fraction(quantity) for side, quantity, _ in trades), Fraction(0))
    spent = sum((side.sign * Fraction(quantity) * Fraction(price) for side, quantity, price in trades), Fraction(0))
    paid = sum((Fraction(quantity) * Fraction(price) / 2_000 for _, quantity, price in trades), Fraction(0))
    ledger = funded(fills_of(KOREA, trades))
    assert Fraction(ledger.krw) == Fraction(funded.krw_start) - spent - paid
    assert Fraction(ledger.btc) == Fraction(funded.btc_start) + coins


# Exactly once


@settings(deadline=None)
@given(st.lists(SPOT_TRADES, max_size=8), st.data())
def test_spot_fills_in_any_order_and_number_leave_the_same_balances(
    funded: Any, fills_of: Callable[..., list[Fill]], trades: Sequence[Trade], data: st.DataObject
) -> None:
    once = fills_of(KOREA, trades)
    again = data.draw(st.permutations(once + once))
    assert funded(again).balances() == funded(once).balances()


def test_the_second_time_nothing_is_booked(funded: Any, fill_of: Callable[..., Fill]) -> None:
    ledger, fill = funded(), fill_of(ABROAD, Side.SELL, ONE, Decimal(100_000))
    assert not ledger.has(fill_id(fill))
    assert ledger.book(fill) is True
    before = ledger.balances(), list(ledger.entries)
    assert ledger.has(fill_id(fill))
    assert ledger.book(fill) is False
    assert (ledger.balances(), ledger.entries) == before


def test_the_same_trade_id_on_two_instruments_is_two_fills(funded: Any, fill_of: Callable[..., Fill]) -> None:
    ledger = funded()
    assert ledger.book(fill_of(KOREA, Side.BUY, ONE, ONE, trade_id="42"))
    assert ledger.book(fill_of(ABROAD, Side.SELL, ONE, ONE, trade_id="42"))


def test_an_id_counts_once_even_if_the_second_story_differs(funded: Any, fill_of: Callable[..., Fill]) -> None:
    ledger = funded([fill_of(KOREA, Side.BUY, ONE, Decimal(5_000))])
    before = ledger.balances()
    assert ledger.book(fill_of(KOREA, Side.BUY, ONE, Decimal(6_000)), "another signal") is False
    assert ledger.balances() == before


def test_a_fill_a_payment_and_a_transfer_of_one_number_are_three_things(fill_of: Callable[..., Fill]) -> None:
    payment = FundingPayment("1", ABROAD.id, Amount(ONE, "USDT"), at=0)
    ids = {
        fill_id(fill_of(ABROAD, Side.BUY, ONE, ONE, trade_id="1")),
        funding_id(payment),
        transfer_entry("1", Venue.BINANCE, Amount(ONE, "USDT"), at=0).entry_id,
    }
    assert len(ids) == 3


def test_a_funding_payment_that_arrives_twice_is_booked_once(funded: Any) -> None:
    ledger = funded()
    payment = FundingPayment("9", ABROAD.id, Amount(Decimal("-1.25"), "USDT"), at=0)
    assert ledger.post(funding_entry(payment, ABROAD, "signal"))
    assert not ledger.post(funding_entry(payment, ABROAD, "signal"))
    assert ledger.usdt == funded.usdt_start - Decimal("1.25")
    assert ledger.balance("funding:signal", "USDT") == Decimal("1.25")


def test_money_the_owner_takes_out_leaves_the_wallet(funded: Any) -> None:
    ledger = funded()
    ledger.post(transfer_entry("out", Venue.UPBIT, Amount(Decimal(-1_000_000), "KRW"), at=1))
    assert ledger.krw == funded.krw_start - 1_000_000
    assert ledger.balance("owner", "KRW") == 1_000_000 - funded.krw_start
