"""Simulated venues hold orders to the real venues' rules (docs/strategy.md, the venues' own API documents)."""

from decimal import Decimal
from itertools import count

import pytest

from kimp.research.simulation.margin import MarginRules
from kimp.research.simulation.venue import SimulatedVenue
from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.instruments import Side, Venue, binance_perpetual, upbit_spot
from kimp.shared.domain.money import Amount
from kimp.shared.domain.orders import Accepted, Order, OrderStatus, Outcome, Rejected, TimeInForce

COIN, PERP = upbit_spot("BTC"), binance_perpetual("BTC")
IDS = count(1)


def d(text: str | int) -> Decimal:
    return Decimal(text)


def book(leg: str, bids: list[tuple[str, str]], asks: list[tuple[str, str]], at: int = 1) -> Book:
    def levels(side: list[tuple[str, str]]) -> tuple[Level, ...]:
        return tuple(Level(d(price), d(size)) for price, size in side)

    return Book(leg, levels(bids), levels(asks), at, at)


def upbit(krw: str = "20000000", btc: str = "0") -> SimulatedVenue:
    venue = SimulatedVenue(Venue.UPBIT, [COIN], {"KRW": d(krw), "BTC": d(btc)})
    venue.see(
        [book(COIN.id, [("99999000", "0.05"), ("99990000", "1")], [("100000000", "0.05"), ("100010000", "1")])], 1
    )
    return venue


def binance(usdt: str = "100000", leverage: int = 1) -> SimulatedVenue:
    venue = SimulatedVenue(Venue.BINANCE, [PERP], {"USDT": d(usdt)}, MarginRules(leverage=d(leverage)))
    mark(venue, "100000")
    return venue


def mark(venue: SimulatedVenue, price: str, size: str = "10") -> list[str]:
    """Move the perpetual's book so that its mid is ``price``; the client ids of what that filled."""
    below, above = d(price) - d("0.1"), d(price) + d("0.1")
    fills = venue.see([Book(PERP.id, (Level(below, d(size)),), (Level(above, d(size)),), 2, 2)], 2)
    return [fill.client_id for fill in fills]


def order(side: Side, quantity: str, limit: str, **more: object) -> Order:
    leg = more.pop("leg", COIN.id)
    client_id = more.pop("client_id", None) or f"own-{next(IDS)}"
    return Order(str(client_id), str(leg), side, d(quantity), d(limit), **more)  # type: ignore[arg-type]


def perp(side: Side, quantity: str, limit: str, **more: object) -> Order:
    return order(side, quantity, limit, leg=PERP.id, **more)


def code(outcome: Outcome) -> str:
    assert isinstance(outcome, Rejected), outcome
    return outcome.code


# -- matching ----------------------------------------------------------------------------------------------------------


def test_an_ioc_takes_what_its_limit_reaches_and_cancels_the_rest() -> None:
    venue = upbit()
    sent = order(Side.BUY, "0.1", "100000000")
    assert isinstance(venue.place(sent, 5), Accepted)
    report = venue.query(sent.client_id)
    assert (report.status, report.executed) == (OrderStatus.DONE, d("0.05"))
    assert [(fill.price, fill.quantity) for fill in report.fills] == [(d("100000000"), d("0.05"))]
    assert venue.resting == []


def test_an_order_walks_the_book_level_by_level_and_pays_its_fee_on_each() -> None:
    venue = upbit()
    sent = order(Side.BUY, "0.1", "100010000")
    venue.place(sent, 5)
    fills = venue.query(sent.client_id).fills
    assert [fill.price for fill in fills] == [d("100000000"), d("100010000")]
    cost = d("0.05") * 100_000_000 + d("0.05") * 100_010_000
    assert sum(fill.fee.value for fill in fills) == cost * d("0.0005")
    assert venue.balances == {"KRW": d(20_000_000) - cost * d("1.0005"), "BTC": d("0.1")}


def test_two_orders_cannot_take_the_same_coins_until_the_book_is_shown_anew() -> None:
    venue = upbit()
    first, second, third = (order(Side.BUY, "0.05", "100000000") for _ in range(3))
    venue.place(first, 5)
    venue.place(second, 6)
    assert venue.query(second.client_id).executed == 0
    venue.see([venue.books[COIN.id]], 7)
    venue.place(third, 8)
    assert venue.query(third.client_id).executed == d("0.05")


def test_another_instruments_new_book_does_not_refill_this_one() -> None:
    other = upbit_spot("ETH")
    venue = SimulatedVenue(Venue.UPBIT, [COIN, other], {"KRW": d(20_000_000)})
    venue.see([book(COIN.id, [("99999000", "0.05")], [("100000000", "0.05")])], 1)
    venue.place(order(Side.BUY, "0.05", "100000000"), 2)
    venue.see([book(other.id, [("4999000", "1")], [("5000000", "1")])], 3)
    again = order(Side.BUY, "0.05", "100000000")
    venue.place(again, 4)
    assert venue.query(again.client_id).executed == 0


def test_offers_are_taken_in_whole_lots() -> None:
    venue = binance()
    mark(venue, "100000", size="0.0125")
    sent = perp(Side.SELL, "0.02", "99000")
    venue.place(sent, 5)
    assert venue.query(sent.client_id).executed == d("0.012")


def test_a_fok_fills_whole_or_not_at_all() -> None:
    venue = upbit()
    whole = order(Side.BUY, "0.05", "100000000", time_in_force=TimeInForce.FOK)
    more = order(Side.BUY, "0.06", "100000000", time_in_force=TimeInForce.FOK)
    venue.place(more, 5)
    venue.place(whole, 6)
    assert venue.query(more.client_id).executed == 0
    assert venue.query(more.client_id).status is OrderStatus.DONE
    assert venue.query(whole.client_id).executed == d("0.05")


def test_a_gtc_rests_with_its_money_locked_and_fills_at_its_own_price_when_the_market_comes() -> None:
    venue = upbit()
    sent = order(Side.BUY, "0.1", "100000000", time_in_force=TimeInForce.GTC)
    venue.place(sent, 5)
    assert venue.query(sent.client_id).status is OrderStatus.WORKING
    assert venue.locked("KRW") == d("0.05") * 100_000_000 * d("1.0005")
    (fill,) = venue.see([book(COIN.id, [("98000000", "1")], [("98100000", "1")])], 6)
    assert (fill.price, fill.quantity) == (d("100000000"), d("0.05"))
    assert venue.query(sent.client_id).status is OrderStatus.DONE
    assert venue.locked("KRW") == 0


def test_of_two_resting_orders_the_better_price_goes_first_and_then_the_earlier() -> None:
    venue = upbit(krw="100000000")
    low, early, late = (
        order(Side.BUY, "0.1", limit, time_in_force=TimeInForce.GTC) for limit in ("98000000", "99000000", "99000000")
    )
    for sent in (low, early, late):
        venue.place(sent, 5)
    fills = venue.see([book(COIN.id, [("97000000", "1")], [("97500000", "0.15")])], 6)
    assert [(fill.client_id, fill.quantity) for fill in fills] == [
        (early.client_id, d("0.1")),
        (late.client_id, d("0.05")),
    ]


def test_a_post_only_order_that_would_trade_is_refused_by_binance_and_cancelled_by_upbit() -> None:
    ours, theirs = upbit(), binance()
    crossing = order(Side.BUY, "0.05", "100000000", time_in_force=TimeInForce.POST_ONLY)
    assert isinstance(ours.place(crossing, 5), Accepted)
    assert ours.query(crossing.client_id).status is OrderStatus.DONE
    assert ours.trades == []
    assert code(theirs.place(perp(Side.BUY, "0.05", "100001", time_in_force=TimeInForce.POST_ONLY), 5)) == "-5022"
    waiting = order(Side.BUY, "0.05", "99000000", time_in_force=TimeInForce.POST_ONLY)
    ours.place(waiting, 6)
    assert ours.query(waiting.client_id).status is OrderStatus.WORKING


def test_cancelling_frees_what_was_locked_and_an_unknown_order_cannot_be_cancelled() -> None:
    venue = upbit()
    sent = order(Side.BUY, "0.1", "99000000", time_in_force=TimeInForce.GTC)
    venue.place(sent, 5)
    venue.cancel(sent.client_id)
    assert venue.locked("KRW") == 0
    assert venue.query(sent.client_id).status is OrderStatus.DONE
    assert code(venue.cancel("never-sent")) == "order_not_found"
    assert venue.query("never-sent").status is OrderStatus.ABSENT


# -- rules -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "refusal"),
    [
        (order(Side.BUY, "0.05", "100000500"), "invalid_price"),
        (order(Side.BUY, "0.05", "0"), "invalid_price"),
        (order(Side.BUY, "0.000000005", "100000000"), "invalid_lot"),
        (order(Side.BUY, "0", "100000000"), "invalid_lot"),
        (order(Side.BUY, "0.00004999", "100000000"), "below_minimum"),
        (order(Side.BUY, "0.2", "100000000"), "insufficient_funds"),
        (order(Side.SELL, "0.05", "99000000"), "insufficient_funds"),
        (order(Side.SELL, "0.05", "99000000", reduce_only=True), "invalid_parameter"),
        (order(Side.BUY, "0.05", "100000000", leg="upbit:KRW-DOGE"), "invalid_symbol"),
    ],
)
def test_upbit_refuses_what_its_rules_forbid_and_nothing_moves(sent: Order, refusal: str) -> None:
    venue = upbit()
    assert code(venue.place(sent, 5)) == refusal
    assert (venue.history, venue.trades) == ([], [])
    assert venue.balances == {"KRW": d(20_000_000), "BTC": d(0)}


def test_an_order_of_exactly_the_minimum_is_taken() -> None:
    assert isinstance(upbit().place(order(Side.BUY, "0.00005", "100000000"), 5), Accepted)
    assert isinstance(binance().place(perp(Side.SELL, "0.001", "100000"), 5), Accepted)
    assert code(binance().place(perp(Side.SELL, "0.001", "99999.9"), 5)) == "below_minimum"


def test_money_must_cover_the_worst_price_and_the_fee() -> None:
    exactly = upbit(krw="10005000")
    assert isinstance(exactly.place(order(Side.BUY, "0.1", "100000000"), 5), Accepted)
    assert code(upbit(krw="10004999").place(order(Side.BUY, "0.1", "100000000"), 5)) == "insufficient_funds"


def test_locked_money_cannot_be_spent_again() -> None:
    venue = upbit(krw="10005000")
    venue.place(order(Side.BUY, "0.1", "99000000", time_in_force=TimeInForce.GTC), 5)
    assert code(venue.place(order(Side.BUY, "0.01", "99000000"), 6)) == "insufficient_funds"


def test_nothing_can_be_ordered_before_there_is_a_market() -> None:
    venue = SimulatedVenue(Venue.UPBIT, [COIN], {"KRW": d(20_000_000)})
    assert code(venue.place(order(Side.BUY, "0.05", "100000000"), 5)) == "no_market"


def test_in_maintenance_orders_are_refused_and_nothing_trades() -> None:
    venue = upbit()
    resting = order(Side.BUY, "0.1", "99000000", time_in_force=TimeInForce.GTC)
    venue.place(resting, 5)
    venue.is_available = False
    assert code(venue.place(order(Side.BUY, "0.05", "100000000"), 6)) == "maintenance"
    cheap = [book(COIN.id, [("97000000", "1")], [("97500000", "1")])]
    assert venue.see(cheap, 7) == []
    venue.is_available = True
    assert len(venue.see(cheap, 8)) == 1


# -- client ids --------------------------------------------------------------------------------------------------------


def test_upbit_burns_an_identifier_for_ever_even_by_an_error() -> None:
    venue = upbit()
    assert code(venue.place(order(Side.BUY, "9", "100000000", client_id="once"), 5)) == "insufficient_funds"
    assert code(venue.place(order(Side.BUY, "0.05", "100000000", client_id="once"), 6)) == "duplicate_client_id"
    venue.place(order(Side.BUY, "0.05", "100000000", client_id="filled"), 7)
    assert code(venue.place(order(Side.BUY, "0.05", "100000000", client_id="filled"), 8)) == "duplicate_client_id"


def test_binance_knows_a_client_id_only_while_its_order_is_open_so_a_blind_resend_fills_twice() -> None:
    venue = binance()
    waiting = perp(Side.SELL, "0.05", "101000", client_id="waiting", time_in_force=TimeInForce.GTC)
    venue.place(waiting, 5)
    assert code(venue.place(waiting, 6)) == "duplicate_client_id"
    filled = perp(Side.SELL, "0.05", "99000", client_id="filled")
    venue.place(filled, 7)
    assert isinstance(venue.place(filled, 8), Accepted)
    assert venue.contracts[PERP.id].quantity == d("-0.1")


# -- perpetuals --------------------------------------------------------------------------------------------------------


def test_a_short_needs_margin_fee_and_the_loss_it_opens_with() -> None:
    """Binance's cost of an order: initial margin at the better of limit and bid, fee, and the gap to the mark."""
    touch, limit = d("99999.9"), d("99500")
    per_coin = touch * d("1.0005") + (100_000 - limit)
    sent = perp(Side.SELL, "0.1", "99500")
    assert isinstance(binance(usdt=f"{d('0.1') * per_coin}").place(sent, 5), Accepted)
    assert code(binance(usdt=f"{d('0.1') * per_coin - d('0.01')}").place(sent, 5)) == "insufficient_funds"


def test_leverage_divides_the_margin_and_not_the_fee() -> None:
    venue = binance(usdt="10000", leverage=3)
    venue.place(perp(Side.SELL, "0.1", "99999.9"), 5)
    # Wallet after the fee, less a third of the notional, less the distance from the touch to the mark.
    notional = d("0.1") * d("99999.9")
    expected = 10_000 - notional * d("0.0005") - notional / 3 - d("0.01")
    assert abs(venue.free("USDT") - expected) < d("1e-9")


def test_closing_needs_no_margin_but_turning_a_position_does() -> None:
    venue = binance(usdt="10060")
    venue.place(perp(Side.SELL, "0.1", "99999.9"), 5)
    assert code(venue.place(perp(Side.BUY, "0.3", "100000.1"), 6)) == "insufficient_funds"
    assert isinstance(venue.place(perp(Side.BUY, "0.1", "100000.1"), 7), Accepted)
    assert venue.contracts[PERP.id].quantity == 0


def test_profit_is_settled_into_the_wallet_when_contracts_close() -> None:
    venue = binance()
    venue.place(perp(Side.SELL, "0.1", "99999.9"), 5)
    mark(venue, "90000")
    venue.place(perp(Side.BUY, "0.04", "90000.1", reduce_only=True), 6)
    fees = d("0.1") * d("99999.9") * d("0.0005") + d("0.04") * d("90000.1") * d("0.0005")
    assert venue.balances["USDT"] == 100_000 - fees + d("0.04") * (d("99999.9") - d("90000.1"))
    assert venue.contracts[PERP.id].quantity == d("-0.06")


@pytest.mark.parametrize(
    ("side", "quantity"), [(Side.SELL, "0.05"), (Side.BUY, "0.11")], ids=["adds to it", "more than there is"]
)
def test_a_reduce_only_order_that_would_not_only_reduce_is_2022(side: Side, quantity: str) -> None:
    venue = binance()
    venue.place(perp(Side.SELL, "0.1", "99000"), 5)
    limit = "99000" if side is Side.SELL else "101000"
    assert code(venue.place(perp(side, quantity, limit, reduce_only=True), 6)) == "-2022"


def test_reduce_only_without_a_position_is_2022() -> None:
    assert code(binance().place(perp(Side.BUY, "0.05", "101000", reduce_only=True), 5)) == "-2022"


def test_reducing_knows_no_minimum_notional() -> None:
    venue = binance()
    venue.place(perp(Side.SELL, "0.001", "99900", client_id="too-small"), 5)
    venue.place(perp(Side.SELL, "0.002", "99000"), 6)
    mark(venue, "40000")
    assert isinstance(venue.place(perp(Side.BUY, "0.001", "40001", reduce_only=True), 7), Accepted)


def test_a_resting_reduce_only_order_expires_once_there_is_nothing_left_to_reduce() -> None:
    venue = binance()
    venue.place(perp(Side.SELL, "0.1", "99000"), 5)
    resting = perp(Side.BUY, "0.1", "95000", reduce_only=True, time_in_force=TimeInForce.GTC)
    venue.place(resting, 6)
    venue.place(perp(Side.BUY, "0.1", "101000", reduce_only=True), 7)
    mark(venue, "94000")
    assert venue.query(resting.client_id).status is OrderStatus.DONE
    assert venue.contracts[PERP.id].quantity == 0


# -- funding -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "rate", "amount"),
    [
        (Side.SELL, "0.0001", "1"),
        (Side.SELL, "-0.0001", "-1"),
        (Side.BUY, "0.0001", "-1"),
        (Side.BUY, "-0.0001", "1"),
    ],
)
def test_a_positive_rate_takes_from_longs_and_gives_to_shorts(side: Side, rate: str, amount: str) -> None:
    venue = binance()
    venue.place(perp(side, "0.1", "99000" if side is Side.SELL else "101000"), 5)
    before = venue.balances["USDT"]
    payment = venue.settle_funding(PERP.id, d(rate), 6)
    assert payment is not None
    assert payment.amount == Amount(d(amount), "USDT")
    assert venue.balances["USDT"] - before == d(amount)
    assert venue.income == [payment]


def test_funding_is_booked_in_eight_decimals_and_not_without_a_position() -> None:
    venue = binance()
    assert venue.settle_funding(PERP.id, d("0.0001"), 5) is None
    venue.place(perp(Side.SELL, "0.003", "99000"), 5)
    payment = venue.settle_funding(PERP.id, d("0.000012345678901234567"), 6)
    assert payment is not None
    assert payment.amount.value == d("0.00370370")


# -- liquidation -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("leverage", "times"), [(1, "1.9920"), (2, "1.4940"), (3, "1.3280")])
def test_a_short_is_liquidated_where_wallet_and_maintenance_margin_say(leverage: int, times: str) -> None:
    """(1 + 1/leverage) / (1 + maintenance 0.4 %): 1.99, 1.49 and 1.33 times the entry, on a wallet of just the margin."""
    quantity, entry = d(1), d("99999.9")
    venue = binance(usdt="1000000", leverage=leverage)
    venue.place(perp(Side.SELL, "1", "99000"), 5)
    venue.balances["USDT"] = quantity * entry / leverage
    critical = entry * d(times)
    assert mark(venue, f"{(critical * d('0.9995')).quantize(d('0.1'))}") == []
    assert mark(venue, f"{(critical * d('1.0005')).quantize(d('0.1'))}") == ["autoclose-2"]
    assert venue.contracts[PERP.id].quantity == 0


def test_a_reserve_in_the_wallet_moves_the_liquidation_away() -> None:
    venue = binance(usdt="105305")
    venue.place(perp(Side.SELL, "1", "99000"), 5)
    assert mark(venue, "200000") == []
    assert mark(venue, "205000") == ["autoclose-2"]


def test_a_long_is_liquidated_when_the_price_falls() -> None:
    venue = binance(usdt="52000", leverage=2)
    venue.place(perp(Side.BUY, "1", "100000.1"), 5)
    assert mark(venue, "50000") == []
    assert mark(venue, "48000") == ["autoclose-2"]


def test_a_gap_past_bankruptcy_costs_the_wallet_and_not_more() -> None:
    venue = binance(usdt="101000")
    venue.place(perp(Side.SELL, "1", "99999.9"), 5)
    mark(venue, "220000")
    assert venue.contracts[PERP.id].quantity == 0
    assert 0 <= venue.balances["USDT"] < 1


def test_a_liquidation_cancels_what_rests_and_takes_its_own_fee() -> None:
    venue = binance(usdt="105305")
    venue.place(perp(Side.SELL, "1", "99000"), 5)
    resting = perp(Side.BUY, "1", "90000", reduce_only=True, time_in_force=TimeInForce.GTC)
    venue.place(resting, 6)
    mark(venue, "205000")
    assert venue.resting == []
    assert venue.trades[-1].client_id.startswith("autoclose-")
    left = 105_305 - d("49.99995") + d("99999.9") - d("205000.1")
    assert venue.trades[-1].fee.value == min(d("205000.1") * d("0.0125"), left)


# -- thin markets ------------------------------------------------------------------------------------------------------


def test_a_book_with_one_side_fills_what_it_offers_and_leaves_the_mark_where_it_was() -> None:
    venue = binance()
    venue.place(perp(Side.SELL, "0.1", "99000"), 5)
    venue.see([book(PERP.id, [], [("150000", "1")])], 6)
    assert venue.mark(PERP.id) == 100_000
    bought = perp(Side.BUY, "0.1", "150000", reduce_only=True)
    sold = perp(Side.SELL, "0.1", "99000")
    venue.place(bought, 7)
    venue.place(sold, 8)
    assert venue.query(bought.client_id).executed == d("0.1")
    assert venue.query(sold.client_id).executed == 0


def test_a_market_that_never_had_two_sides_takes_no_orders() -> None:
    venue = SimulatedVenue(Venue.BINANCE, [PERP], {"USDT": d(100_000)})
    venue.see([book(PERP.id, [], [("150000", "1")])], 1)
    assert code(venue.place(perp(Side.BUY, "0.1", "150000"), 2)) == "no_market"
