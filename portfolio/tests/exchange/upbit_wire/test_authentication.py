"""Who is let in: signatures, hashes, nonces, expiry, addresses, permissions."""

import base64
import json
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from kimp.portfolio.exchange.upbit_wire import Permission
from kimp.shared.domain.time import DAY


@pytest.mark.parametrize("algorithm", ["HS512", "HS256"])
def test_both_documented_algorithms_are_taken(kit: SimpleNamespace, market: Any, algorithm: str) -> None:
    async def story() -> None:
        async with market.open() as client:
            client.algorithm = algorithm
            assert (await client.get("/v1/accounts")).status == 200

    kit.run(story())


def test_who_does_not_sign_is_refused(kit: SimpleNamespace, market: Any) -> None:
    async def story() -> None:
        async with market.open() as client:
            reply = await client.get("/v1/accounts", headers={"Authorization": ""})
            assert (reply.status, reply.error) == (401, "no_authorization_token")
            reply = await client.get("/v1/accounts", token="not.a.token")
            assert (reply.status, reply.error) == (401, "jwt_verification")

    kit.run(story())


def test_a_signature_by_another_secret_is_refused(kit: SimpleNamespace, market: Any) -> None:
    async def story() -> None:
        async with market.open() as client:
            client.key = kit.api_key(secret="t" * 64)
            reply = await client.get("/v1/accounts")
            assert (reply.status, reply.error) == (401, "jwt_verification")

    kit.run(story())


def test_a_token_without_a_signature_is_refused(kit: SimpleNamespace, market: Any) -> None:
    """The oldest trick: a header that says there is none to check."""

    def part(value: dict[str, str]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    async def story() -> None:
        async with market.open() as client:
            token = f"{part({'alg': 'none'})}.{part({'access_key': 'access', 'nonce': 'n'})}."
            reply = await client.get("/v1/accounts", token=token)
            assert (reply.status, reply.error) == (401, "jwt_verification")

    kit.run(story())


def test_an_unknown_key_is_refused(kit: SimpleNamespace, market: Any) -> None:
    async def story() -> None:
        async with market.open() as client:
            client.key = kit.api_key("somebody")
            reply = await client.get("/v1/accounts")
            assert (reply.status, reply.error) == (401, "invalid_access_key")
            assert reply.json == {"error": {"name": "invalid_access_key", "message": "잘못된 엑세스 키입니다."}}

    kit.run(story())


def test_a_nonce_serves_once(kit: SimpleNamespace, market: Any) -> None:
    async def story() -> None:
        async with market.open() as client:
            token = client.token()
            assert (await client.get("/v1/accounts", token=token)).status == 200
            again = await client.get("/v1/accounts", token=token)
            assert (again.status, again.error) == (401, "nonce_used")

    kit.run(story())


def test_a_copied_order_request_does_not_buy_twice(kit: SimpleNamespace, market: Any) -> None:
    market.quote()

    async def story() -> None:
        async with market.open() as client:
            body = {"market": "KRW-BTC", "side": "ask", "ord_type": "market", "volume": "0.01"}
            token = client.token("&".join(f"{name}={value}" for name, value in body.items()))
            first = await client.call("POST", "/v1/orders", body=body, token=token)
            second = await client.call("POST", "/v1/orders", body=body, token=token)
            assert (first.status, second.error) == (201, "nonce_used")
            assert len(market.exchange.orders()) == 1

    kit.run(story())


def test_the_hash_must_be_of_what_was_sent(kit: SimpleNamespace, market: Any) -> None:
    market.quote()

    async def story() -> None:
        async with market.open() as client:
            for token in (
                client.token(),  # no hash at all
                client.token("market=KRW-ETH"),
                client.token("market=KRW-BTC", query_hash_alg="MD5"),
            ):
                reply = await client.get("/v1/orders/chance", "market=KRW-BTC", token=token)
                assert (reply.status, reply.error) == (401, "invalid_query_payload")
            reply = await client.get("/v1/accounts", token=client.token("market=KRW-BTC"))
            assert reply.error == "invalid_query_payload"
            body = {"market": "KRW-BTC", "side": "ask", "ord_type": "market", "volume": "0.01"}
            wrong = client.token("market=KRW-BTC&side=ask&ord_type=market&volume=0.1")
            reply = await client.call("POST", "/v1/orders", body=body, token=wrong)
            assert reply.error == "invalid_query_payload"
            assert not market.exchange.orders()

    kit.run(story())


def test_lists_and_korean_are_hashed_as_they_read_before_encoding(kit: SimpleNamespace, market: Any) -> None:
    async def story() -> None:
        async with market.open() as client:
            assert (await client.get("/v1/orders/uuids", "uuids[]=a&uuids[]=b")).json == []
            assert (await client.get("/v1/order", "identifier=김프")).error == "order_not_found"

    kit.run(story())


def test_numbers_in_a_body_are_hashed_as_they_were_written(kit: SimpleNamespace, market: Any) -> None:
    market.quote()

    async def story() -> None:
        async with market.open() as client:
            raw = b'{"market":"KRW-BTC","side":"bid","ord_type":"limit","price":1000000.0,"volume":0.0100}'
            plain = "market=KRW-BTC&side=bid&ord_type=limit&price=1000000.0&volume=0.0100"
            headers = {"Authorization": f"Bearer {client.token(plain)}"}
            async with client.session.post(
                f"{market.served.http_url}/v1/orders", data=raw, headers=headers
            ) as response:
                assert response.status == 201
                assert msgspec.json.decode(await response.read())["price"] == "1000000"

    kit.run(story())


def test_an_expired_key_is_refused_from_its_last_moment_on(kit: SimpleNamespace, clock: Any, market: Any) -> None:
    market.keys = {"trader": kit.api_key(expires_at=kit.START + DAY)}

    async def story() -> None:
        async with market.open() as client:
            keys = await client.get("/v1/api_keys")
            assert keys.json == [{"access_key": "access", "expire_at": "2026-09-22T23:13:20+09:00"}]
            await clock.move(DAY - 1)
            assert (await client.get("/v1/accounts")).status == 200
            await clock.move(1)
            reply = await client.get("/v1/accounts")
            assert (reply.status, reply.error) == (401, "expired_access_key")

    kit.run(story())


def test_an_address_that_is_not_listed_is_refused(kit: SimpleNamespace, market: Any) -> None:
    market.keys = {
        "elsewhere": kit.api_key(allowed_ips=frozenset({"10.1.2.3"})),
        "here": kit.api_key("second", allowed_ips=frozenset({"127.0.0.1"})),
    }

    async def story() -> None:
        async with market.open() as client:
            reply = await client.get("/v1/accounts")
            assert (reply.status, reply.error) == (403, "no_authorization_ip")
            client.key = market.keys["here"]
            assert (await client.get("/v1/accounts")).status == 200

    kit.run(story())


NEEDED = [
    ("GET", "/v1/accounts", Permission.VIEW_ASSETS),
    ("POST", "/v1/orders", Permission.MAKE_ORDERS),
    ("POST", "/v1/orders/test", Permission.MAKE_ORDERS),
    ("DELETE", "/v1/order", Permission.MAKE_ORDERS),
    ("GET", "/v1/order", Permission.VIEW_ORDERS),
    ("GET", "/v1/orders/open", Permission.VIEW_ORDERS),
    ("GET", "/v1/orders/chance", Permission.VIEW_ORDERS),
    ("GET", "/v1/withdraws/chance", Permission.VIEW_WITHDRAWALS),
    ("POST", "/v1/withdraws/coin", Permission.WITHDRAW),
]


@pytest.mark.parametrize(("method", "path", "permission"), NEEDED)
def test_a_key_does_only_what_it_may(
    kit: SimpleNamespace, market: Any, method: str, path: str, permission: Permission
) -> None:
    market.keys = {"little": kit.api_key(permissions=frozenset(Permission) - {permission})}

    async def story() -> None:
        async with market.open() as client:
            reply = await client.call(method, path)
            assert (reply.status, reply.error) == (403, "out_of_scope")

    kit.run(story())


def test_a_secret_is_not_shown_with_its_key(kit: SimpleNamespace) -> None:
    assert "s" * 64 not in repr(kit.api_key())


def test_a_private_socket_wants_a_signature(kit: SimpleNamespace, market: Any) -> None:
    import aiohttp

    async def story() -> None:
        async with market.open() as client:
            for headers in ({"Authorization": ""}, {"Authorization": "Bearer a.b.c"}):
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await client.socket(is_private=True, **headers)
                assert refused.value.status == 401

    kit.run(story())
