"""What Upbit says we have, what traded, and what its rules are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from kimp.order.exchanges.upbit import UpbitExchange
from kimp.order.exchanges.upbit_examination import expiry
from kimp.order.exchanges.upbit_markets import bands_with
from kimp.shared.domain.accounts import Balance, Check
from kimp.shared.domain.instruments import UPBIT_KRW_BANDS, upbit_spot
from kimp.shared.domain.time import DAY, HOUR, KST, MINUTE, SECOND, Nanos, from_datetime, to_datetime
from kimp.storage.feeds.clocks import SystemClock

Play = Callable[[Callable[[UpbitExchange, Any], Any]], Any]
BTC = "upbit:KRW-BTC"
BEGAN: Nanos = SystemClock().now() // SECOND * SECOND - 2 * DAY
OUT_OF_SCOPE = (401, {"error": {"name": "out_of_scope", "message": "권한이 부족합니다."}})


def iso(at: Nanos) -> str:
    return to_datetime(at).astimezone(KST).isoformat()


def deal(name: str, at: Nanos, volume: str = "0.01", price: str = "150000000") -> dict[str, str]:
    return {"uuid": name, "price": price, "volume": volume, "created_at": iso(at), "market": "KRW-BTC", "side": "bid"}


def row(name: str, made_at: Nanos, executed: str = "0", state: str = "done", **more: Any) -> dict[str, Any]:
    told = {"uuid": name, "market": "KRW-BTC", "side": "bid", "ord_type": "limit", "state": state, "identifier": None}
    return {**told, "created_at": iso(made_at), "executed_volume": executed, "paid_fee": "0", **more}


def with_orders(fake: Any, closed: list[dict[str, Any]], resting: list[dict[str, Any]], *, page: int = 1_000) -> None:
    """The lists leave trades out, as Upbit's do; an order by itself has them."""
    everything = closed + resting

    async def answer_closed(request: Any) -> Any:
        from aiohttp import web

        start = int(request.query["start_time"]) * 1_000_000
        made = [(from_datetime(datetime.fromisoformat(order["created_at"])), order) for order in closed]
        found = [order for at, order in made if start <= at < start + 7 * DAY]
        return web.json_response([{key: order[key] for key in order if key != "trades"} for order in found][:page])

    async def answer_open(request: Any) -> Any:
        from aiohttp import web

        found = [order for order in resting if order["state"] == request.query["state"]]
        first = (int(request.query["page"]) - 1) * 100
        return web.json_response([{k: o[k] for k in o if k != "trades"} for o in found[first : first + 100]])

    async def answer_one(request: Any) -> Any:
        from aiohttp import web

        return web.json_response(next(order for order in everything if order["uuid"] == request.query["uuid"]))

    fake.on("GET /v1/orders/closed", answer_closed)
    fake.on("GET /v1/orders/open", answer_open)
    fake.on("GET /v1/order", answer_one)


def test_balances_are_told_without_zeros(play: Play) -> None:
    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        fake.on(
            "GET /v1/accounts",
            (
                200,
                [
                    {"currency": "KRW", "balance": "1000000.5", "locked": "2.25", "avg_buy_price": "0"},
                    {"currency": "BTC", "balance": "0.07", "locked": "0.0"},
                    {"currency": "XRP", "balance": "0.0", "locked": "0"},
                ],
            ),
        )
        return await exchange.account()

    krw, btc = Balance("KRW", Decimal("1000000.5"), Decimal("2.25")), Balance("BTC", Decimal("0.07"), Decimal("0.0"))
    assert play(scene).balances == (krw, btc)


@pytest.mark.parametrize("answer", [OUT_OF_SCOPE, (500, {}), (200, {"not": "a list"}), (200, [{"currency": "KRW"}])])
def test_balances_that_cannot_be_read_are_not_zero(play: Play, answer: Any) -> None:
    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        fake.on("GET /v1/accounts", answer)
        return await exchange.account()

    assert play(scene) is None


def test_every_trade_since_a_moment_is_found_whoever_made_it(play: Play) -> None:
    closed = [
        row("rested", BEGAN - 6 * DAY, "0.02", trades=[deal("before", BEGAN - HOUR), deal("after", BEGAN + HOUR)]),
        row("ours", BEGAN + 2 * HOUR, "0.01", "cancel", identifier="kimp-1", trades=[deal("mine", BEGAN + 2 * HOUR)]),
        row("nothing", BEGAN + HOUR, "0", "cancel", trades=[]),
    ]
    resting = [row("waiting", BEGAN - 30 * DAY, "0.01", "wait", trades=[deal("partly", BEGAN + 3 * HOUR)])]

    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        with_orders(fake, closed, resting)
        return await exchange.fills_since(BTC, BEGAN), [asked.query["uuid"] for asked in fake.requests("GET /v1/order")]

    fills, asked = play(scene)
    assert [(fill.trade_id, fill.client_id) for fill in fills] == [
        ("after", "rested"),
        ("mine", "kimp-1"),
        ("partly", "waiting"),
    ]
    assert "nothing" not in asked  # it has no trades to ask for


def test_ended_orders_are_asked_for_once(play: Play) -> None:
    closed = [row("ours", BEGAN + HOUR, "0.01", identifier="kimp-1", trades=[deal("mine", BEGAN + HOUR)])]

    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        with_orders(fake, closed, [])
        first = await exchange.fills_since(BTC, BEGAN)
        return first, await exchange.fills_since(BTC, BEGAN), len(fake.requests("GET /v1/order"))

    first, second, asked = play(scene)
    assert first == second
    assert len(first) == 1
    assert asked == 1


def test_an_order_that_ended_as_it_arrived_long_ago_is_not_asked_for(play: Play) -> None:
    closed = [row("old", BEGAN - HOUR, "0.01", time_in_force="ioc", trades=[deal("old", BEGAN - HOUR)])]

    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        with_orders(fake, closed, [])
        return await exchange.fills_since(BTC, BEGAN), len(fake.requests("GET /v1/order"))

    assert play(scene) == ((), 0)


def test_a_full_page_is_read_on(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kimp.order.exchanges.upbit_history.CLOSED_PAGE", 3)
    closed = [row(f"o{n}", BEGAN + n * MINUTE, "0.01", trades=[deal(f"t{n}", BEGAN + n * MINUTE)]) for n in range(8)]

    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        with_orders(fake, closed, [], page=3)
        return await exchange.fills_since(BTC, BEGAN)

    assert [fill.trade_id for fill in play(scene)] == [f"t{n}" for n in range(8)]


def test_a_list_without_end_is_no_answer(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kimp.order.exchanges.upbit_history.CLOSED_PAGE", 1)
    monkeypatch.setattr("kimp.order.exchanges.upbit_history.PAGES_MAX", 3)

    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        with_orders(fake, [row("again", BEGAN)], [], page=1)
        return await exchange.fills_since(BTC, BEGAN)

    assert play(scene) is None


@pytest.mark.parametrize("broken", ["GET /v1/orders/closed", "GET /v1/orders/open", "GET /v1/order"])
def test_part_of_the_trades_is_no_answer(play: Play, broken: str) -> None:
    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        with_orders(fake, [row("ours", BEGAN + HOUR, "0.01", trades=[deal("mine", BEGAN + HOUR)])], [])
        fake.on(broken, (500, {}))
        return await exchange.fills_since(BTC, BEGAN)

    assert play(scene) is None


def test_resting_orders_are_named_by_our_id_or_theirs(play: Play) -> None:
    resting = [row("u1", BEGAN, state="wait", identifier="kimp-1"), row("u2", BEGAN, state="watch")]
    resting += [row(f"many{n}", BEGAN, state="wait") for n in range(120)]

    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        with_orders(fake, [], resting)
        return await exchange.open_orders(BTC)

    names = play(scene)
    assert {"kimp-1", "u2"} <= set(names)
    assert len(names) == 122


def chance(state: str = "active") -> dict[str, Any]:
    market = {
        "id": "KRW-BTC",
        "bid": {"currency": "KRW", "min_total": "5000"},
        "ask": {"currency": "BTC", "min_total": 6000},
    }
    return {"bid_fee": "0.0004", "ask_fee": "0.0005", "market": {**market, "state": state}}


@pytest.mark.parametrize("symbol", ["BTC", "KRW-BTC"])
def test_rules_and_fees_are_read_from_the_venue(play: Play, symbol: str) -> None:
    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        fake.on("GET /v1/orders/chance", (200, chance()))
        return await exchange.instruments([symbol])

    (found,) = play(scene)
    assert (found.id, found.base, found.quote, found.fee_rate) == (BTC, "BTC", "KRW", Decimal("0.0005"))
    assert found.rules.minimum_notional == Decimal(6000)
    assert found.rules.tick_at(Decimal(150_000_000)) == Decimal(1000)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ((404, {"error": {"name": 404, "message": "Code not found"}}), ()),
        ((200, chance("suspended")), ()),
        ((500, {}), None),
        (OUT_OF_SCOPE, None),
    ],
)
def test_a_market_that_does_not_trade_is_left_out_and_no_answer_is_none(play: Play, answer: Any, found: Any) -> None:
    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        fake.on("GET /v1/orders/chance", answer)
        return await exchange.instruments(["BTC"])

    assert play(scene) == found


def test_bands_that_do_not_know_the_venues_step_are_out_of_date() -> None:
    assert bands_with(Decimal(1000)) == UPBIT_KRW_BANDS
    (band,) = bands_with(Decimal(2000))
    assert (band.from_price, band.tick) == (Decimal(0), Decimal(2000))


def test_a_clock_like_ours_shows_no_skew(play: Play) -> None:
    async def scene(exchange: UpbitExchange, _: Any) -> Any:
        return await exchange.clock_skew()

    assert abs(play(scene)) < SECOND


def examined(play: Play, **answers: Any) -> dict[str, Check]:
    key = {"access_key": "canary-access-key", "expire_at": iso(SystemClock().now() + 200 * DAY)}
    told = {
        "GET /v1/api_keys": (200, [key]),
        "GET /v1/accounts": (200, []),
        "GET /v1/orders/open": (200, []),
        "DELETE /v1/withdraws/coin": OUT_OF_SCOPE,
        "POST /v1/orders/test": (400, {"error": {"name": "under_min_total_bid", "message": "최소주문금액"}}),
        "GET /v1/orders/chance": (200, chance()),
        "GET /v1/status/wallet": (200, [{"currency": "BTC", "wallet_state": "paused"}]),
    }
    for name, answer in answers.items():
        told[next(endpoint for endpoint in told if endpoint.endswith(name))] = answer

    async def scene(exchange: UpbitExchange, fake: Any) -> Any:
        for endpoint, answer in told.items():
            fake.on(endpoint, answer)
        return await exchange.examine([upbit_spot("BTC")], Decimal(1))

    return {check.name: check for check in play(scene)}


def test_a_good_key_passes_every_check(play: Play) -> None:
    checks = examined(play)
    assert all(check.ok for check in checks.values()), checks
    assert len(checks) == 8


@pytest.mark.parametrize(
    "answer",
    [
        (404, {"error": {"name": "withdraw_not_found", "message": "출금 정보를 찾지 못했습니다."}}),
        (401, {"error": {"name": "withdraw_blocked", "message": "출금 안심차단"}}),
        (200, {}),
        (500, {}),
    ],
)
def test_a_key_not_proven_unable_to_withdraw_fails(play: Play, answer: Any) -> None:
    assert not examined(play, coin=answer)["upbit may not withdraw"].ok


@pytest.mark.parametrize("answer", [OUT_OF_SCOPE, (400, {"error": {"name": "out_of_scope", "message": ""}}), (500, {})])
def test_a_key_not_proven_able_to_order_fails(play: Play, answer: Any) -> None:
    assert not examined(play, test=answer)["upbit may order"].ok


def test_a_key_that_may_not_view_fails(play: Play) -> None:
    assert not examined(play, accounts=OUT_OF_SCOPE)["upbit may view"].ok
    assert not examined(play, open=OUT_OF_SCOPE)["upbit may view"].ok


def test_a_wrong_key_or_address_ends_the_examination(play: Play) -> None:
    checks = examined(play, api_keys=(401, {"error": {"name": "no_authorization_ip", "message": "not verified"}}))
    assert [check.ok for check in checks.values()] == [False]
    assert "IP" in checks["upbit key"].detail


def test_a_market_that_stopped_trading_fails(play: Play) -> None:
    assert not examined(play, chance=(200, chance("suspended")))["upbit market KRW-BTC"].ok


@pytest.mark.parametrize(
    ("left", "ok", "is_warned"),
    [
        (200 * DAY, True, False),
        (20 * DAY, True, True),
        (3 * DAY, True, True),
        (HOUR, False, True),
        (-HOUR, False, False),
    ],
)
def test_a_key_near_its_end_is_warned_about(left: Nanos, ok: bool, is_warned: bool) -> None:
    check = expiry("key", BEGAN + left, BEGAN)
    assert check.ok is ok
    assert ("⚠️" in check.detail) is is_warned


def test_a_key_that_is_not_in_the_list_fails(play: Play) -> None:
    assert not examined(play, api_keys=(200, []))["upbit key expiry"].ok


def test_no_key_is_told_without_asking(stage: Any) -> None:
    import asyncio

    from kimp.shared.settings import Upbit

    serving, _ = stage

    async def scene() -> Any:
        async with serving() as fake:
            settings = Upbit(rest_url=f"http://127.0.0.1:{fake.url}")
            async with UpbitExchange(settings, [], SystemClock(), Random(1)) as exchange:
                return (
                    await exchange.examine([], Decimal(1)),
                    fake.requests("GET /v1/api_keys"),
                    await exchange.account(),
                )

    checks, asked, account = asyncio.run(scene())
    assert [check.ok for check in checks] == [False]
    assert asked == []
    assert account is None
