"""How many requests are too many, and what happens to who does not listen."""

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kimp.portfolio.exchange.upbit_wire import GroupLimit, Limits
from kimp.portfolio.exchange.upbit_wire.ratelimits import MessageLimits
from kimp.shared.domain.time import MINUTE, SECOND


def test_every_answer_says_what_is_left_of_its_group(kit: SimpleNamespace, clock: Any, market: Any) -> None:
    market.quote()

    async def story() -> None:
        async with market.open() as client:
            first = await client.get("/v1/accounts")
            assert first.headers["Remaining-Req"] == "group=default; min=1800; sec=29"
            order = await client.order(price="90000000", volume="0.01")
            assert order.headers["Remaining-Req"] == "group=order; min=1800; sec=11"
            refused = await client.order(price="1", volume="0.01")
            assert refused.headers["Remaining-Req"] == "group=order; min=1800; sec=10"
            rehearsed = await client.order(path="/v1/orders/test", price="90000000", volume="0.01")
            assert rehearsed.headers["Remaining-Req"] == "group=order-test; min=1800; sec=7"
            for path, group in (("/v1/market/all", "market"), ("/v1/ticker?markets=KRW-BTC", "ticker")):
                assert (await client.get(path)).headers["Remaining-Req"] == f"group={group}; min=1800; sec=9"
            second = await client.get("/v1/orders/open")
            assert second.headers["Remaining-Req"] == "group=default; min=1800; sec=28"
            await clock.move(SECOND)
            assert (await client.get("/v1/accounts")).headers["Remaining-Req"] == "group=default; min=1800; sec=29"

    kit.run(story())


def test_the_thirteenth_order_of_a_second_is_not_carried_out(kit: SimpleNamespace, clock: Any, market: Any) -> None:
    market.quote()

    async def story() -> None:
        async with market.open() as client:
            statuses = [(await client.order(price="90000000", volume="0.001")).status for _ in range(13)]
            assert statuses == [201] * 12 + [429]
            assert len(market.exchange.orders()) == 12
            reply = await client.order(price="90000000", volume="0.001")
            assert (reply.error, reply.headers["Remaining-Req"]) == (
                "too_many_requests",
                "group=order; min=1800; sec=0",
            )
            assert (await client.get("/v1/accounts")).status == 200  # another group
            await clock.move(SECOND)
            assert (await client.order(price="90000000", volume="0.001")).status == 201

    kit.run(story())


def test_who_goes_on_is_blocked_and_every_time_for_longer(kit: SimpleNamespace, clock: Any, market: Any) -> None:
    market.limits = Limits(groups={"default": GroupLimit(1)}, refusals_max=3, first_block=10 * SECOND)

    async def story() -> None:
        async with market.open() as client:

            async def provoke() -> Any:
                assert (await client.get("/v1/accounts")).status == 200
                assert [(await client.get("/v1/accounts")).status for _ in range(2)] == [429, 429]
                return await client.get("/v1/accounts")

            blocked = await provoke()
            assert (blocked.status, blocked.headers["Retry-After"]) == (418, "10")
            await clock.move(10 * SECOND - 1)
            late = await client.get("/v1/accounts")
            assert (late.status, late.headers["Retry-After"]) == (418, "1")
            await clock.move(1)
            assert (await provoke()).headers["Retry-After"] == "20"
            await clock.move(20 * SECOND)
            assert (await provoke()).headers["Retry-After"] == "40"
            await clock.move(2 * 60 * MINUTE)  # long enough to be forgiven
            assert (await provoke()).headers["Retry-After"] == "10"

    kit.run(story())


def test_a_page_in_a_browser_may_ask_once_in_ten_seconds(kit: SimpleNamespace, clock: Any, market: Any) -> None:
    async def story() -> None:
        async with market.open() as client:
            origin = {"Origin": "https://example.com"}
            assert (await client.get("/v1/market/all", headers=origin)).status == 200
            await clock.move(9 * SECOND)
            assert (await client.get("/v1/market/all", headers=origin)).status == 429
            assert (await client.get("/v1/market/all")).status == 200
            await clock.move(SECOND)
            assert (await client.get("/v1/market/all", headers=origin)).status == 200

    kit.run(story())


def test_a_failed_signature_counts_too(kit: SimpleNamespace, market: Any) -> None:
    async def story() -> None:
        async with market.open() as client:
            refused = await client.get("/v1/accounts", token="x")
            assert (refused.status, refused.headers["Remaining-Req"]) == (401, "group=default; min=1800; sec=29")

    kit.run(story())


@given(st.lists(st.integers(0, SECOND // 2), max_size=60))
def test_no_window_ever_holds_more_messages_than_permitted(pauses: list[int]) -> None:
    counter, now, let_through = MessageLimits((GroupLimit(5), GroupLimit(12, 10 * SECOND))), 0, []
    arrived = []
    for pause in pauses:
        now += pause
        arrived.append(now)
        is_within = (
            sum(now - at < SECOND for at in arrived) <= 5 and sum(now - at < 10 * SECOND for at in arrived) <= 12
        )
        let_through.append(counter.permits(now) is is_within)
    assert all(let_through)
