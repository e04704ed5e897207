"""Public data over a WebSocket, and the manners it asks for."""

from types import SimpleNamespace
from typing import Any

import aiohttp
import msgspec
import pytest

from kimp.portfolio.exchange.upbit_wire.spelling import NAMES
from kimp.shared.domain.time import SECOND

TICKET = {"ticket": "t"}


def ask(*parts: dict[str, Any]) -> str:
    return msgspec.json.encode([TICKET, *parts]).decode()


def wanted(kind: str, *codes: str, **options: Any) -> dict[str, Any]:
    return {"type": kind, "codes": codes or ("KRW-BTC",)} | options


def test_data_comes_in_binary_frames_snapshot_first(kit: SimpleNamespace, clock: Any, market: Any) -> None:
    market.quote(rows=5)

    async def story() -> None:
        async with market.open() as client, client.socket() as socket:
            await socket.send_str(ask(wanted("orderbook", "KRW-BTC.5")))
            frame = await socket.receive()
            assert frame.type is aiohttp.WSMsgType.BINARY
            snapshot = msgspec.json.decode(frame.data)
            assert (snapshot["type"], snapshot["code"], snapshot["stream_type"]) == ("orderbook", "KRW-BTC", "SNAPSHOT")
            assert len(snapshot["orderbook_units"]) == 5
            await clock.move(SECOND)
            market.quote("100002000", "100003000", rows=5)
            news = await kit.message(socket)
            assert (news["stream_type"], news["timestamp"]) == ("REALTIME", snapshot["timestamp"] + 1000)
            assert news["orderbook_units"][0]["bid_price"] == 100002000

    kit.run(story())


def test_every_type_comes_in_both_spellings(kit: SimpleNamespace, market: Any) -> None:
    market.quote()

    async def story() -> None:
        async with market.open() as client, client.socket() as socket:
            kinds = ("ticker", "trade", "orderbook", "candle.1m")
            await socket.send_str(ask(*map(wanted, kinds), {"format": "DEFAULT"}))
            long = await kit.messages(socket, 4)
            await socket.send_str(ask(*map(wanted, kinds), {"format": "SIMPLE"}))
            short = await kit.messages(socket, 4)
            assert [message["type"] for message in long] == [message["ty"] for message in short] == list(kinds)
            for spelt, brief in zip(long, short, strict=True):
                names = NAMES[spelt["type"].partition(".")[0]]
                assert [names[name] for name in spelt] == list(brief)
            assert short[2]["obu"][0] == {"ap": 100001000, "bp": 100000000, "as": 1, "bs": 1}
            await socket.send_str(ask(wanted("trade"), {"format": "SIMPLE_LIST"}))
            assert (await kit.message(socket))[0]["tp"] == 100001000

    kit.run(story())


def test_each_trade_is_told_once_and_in_order(kit: SimpleNamespace, clock: Any, market: Any) -> None:
    market.quote()

    async def story() -> None:
        async with market.open() as client, client.socket() as socket:
            await socket.send_str(ask(wanted("trade"), wanted("ticker", is_only_realtime=True)))
            assert (await kit.message(socket))["sequential_id"] == 1
            for bid in ("100001000", "100002000", "100002000", "100000000"):
                await clock.move(SECOND)
                market.quote(bid, str(int(bid) + 1000))
            told = await kit.messages(socket, 4)
            # all four quotes were shown before the session ran once: nothing may be missing or come twice
            trades = [message["sequential_id"] for message in told if message["type"] == "trade"]
            assert trades == [2, 3, 4]
            assert {message["trade_price"] for message in told if message["type"] == "ticker"} == {100000000}

    kit.run(story())


def test_snapshot_only_and_stream_only_are_kept_to(kit: SimpleNamespace, market: Any) -> None:
    market.quote()

    async def story() -> None:
        async with market.open() as client, client.socket() as once, client.socket() as later:
            await once.send_str(ask(wanted("orderbook", is_only_snapshot=True)))
            await later.send_str(ask(wanted("orderbook", is_only_realtime=True)))
            assert (await kit.message(once))["stream_type"] == "SNAPSHOT"
            await market.until_wanted("orderbook")
            await later.send_str("PING")
            assert await kit.message(later) == {"status": "UP"}
            market.quote("99000000", "99001000")
            assert (await kit.message(later))["stream_type"] == "REALTIME"
            await once.send_str("PING")
            assert await kit.message(once) == {"status": "UP"}  # and no book before it

    kit.run(story())


def test_a_second_request_replaces_the_first(kit: SimpleNamespace, clock: Any, market: Any) -> None:
    market.quote()
    market.show(kit.book(kit.USDT, "1400", "1401", clock.now()))

    async def story() -> None:
        async with market.open() as client, client.socket() as socket:
            await socket.send_str(ask(wanted("orderbook")))
            await kit.message(socket)
            await socket.send_str(ask(wanted("orderbook", "KRW-USDT")))
            await kit.message(socket)
            market.quote("99000000", "99001000")
            market.show(kit.book(kit.USDT, "1401", "1402", clock.now()))
            assert (await kit.message(socket))["code"] == "KRW-USDT"

    kit.run(story())


def test_unknown_markets_are_ignored_without_a_word(kit: SimpleNamespace, market: Any) -> None:
    market.quote()

    async def story() -> None:
        async with market.open() as client, client.socket() as socket:
            await socket.send_str(ask(wanted("orderbook", "KRW-NIX", "krw-btc", "KRW-BTC.7")))
            assert (await kit.message(socket))["code"] == "KRW-BTC"
            await socket.send_str("PING")
            assert await kit.message(socket) == {"status": "UP"}

    kit.run(story())


MALFORMED = [
    ("{", "WRONG_FORMAT"),
    ('{"ticket":"t"}', "WRONG_FORMAT"),
    ("[1]", "WRONG_FORMAT"),
    ('[{"type":"ticker","codes":["KRW-BTC"]}]', "NO_TICKET"),
    (ask(), "NO_TYPE"),
    (ask({"codes": ["KRW-BTC"]}), "NO_TYPE"),
    (ask({"type": "ticker"}), "NO_CODES"),
    (ask({"type": "ticker", "codes": []}), "INVALID_PARAM"),
    (ask({"type": "ticker", "codes": "KRW-BTC"}), "WRONG_FORMAT"),
    (ask({"type": "tickers", "codes": ["KRW-BTC"]}), "INVALID_PARAM"),
    (ask(wanted("ticker"), {"format": "LONG"}), "WRONG_FORMAT"),
    (ask({"type": "myOrder"}), "INVALID_AUTH"),
    ("[" * 60_000, "WRONG_FORMAT"),
]


@pytest.mark.parametrize(("request_", "name"), MALFORMED)
def test_a_malformed_request_is_answered_by_name_and_the_old_one_stands(
    kit: SimpleNamespace, market: Any, request_: str, name: str
) -> None:
    market.quote()

    async def story() -> None:
        async with market.open() as client, client.socket() as socket:
            await socket.send_str(ask(wanted("orderbook")))
            await kit.message(socket)
            await socket.send_str(request_)
            assert (await kit.message(socket))["error"]["name"] == name
            market.quote("99000000", "99001000")
            assert (await kit.message(socket))["type"] == "orderbook"

    kit.run(story())


def test_a_ping_frame_is_answered_with_a_pong_frame(kit: SimpleNamespace, market: Any) -> None:
    async def story() -> None:
        async with market.open() as client:
            url = f"{market.served.ws_url}/websocket/v1"
            async with client.session.ws_connect(url, autoping=False) as socket:
                await socket.ping(b"beat")
                answer = await socket.receive()
                assert (answer.type, answer.data) == (aiohttp.WSMsgType.PONG, b"beat")

    kit.run(story())


def test_who_is_silent_for_two_minutes_is_disconnected(kit: SimpleNamespace, clock: Any, market: Any) -> None:
    async def story() -> None:
        async with market.open() as client, client.socket() as socket:
            await socket.send_str("PING")
            await kit.message(socket)
            await clock.move(119 * SECOND)
            await socket.send_str("PING")
            assert await kit.message(socket) == {"status": "UP"}
            await clock.move(119 * SECOND)
            await socket.send_str("PING")
            assert await kit.message(socket) == {"status": "UP"}
            await clock.move(120 * SECOND)
            assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE

    kit.run(story())


def test_the_sixth_request_of_a_second_ends_the_connection(kit: SimpleNamespace, market: Any) -> None:
    market.quote()

    async def story() -> None:
        async with market.open() as client, client.socket() as socket:
            for _ in range(6):
                await socket.send_str(ask(wanted("orderbook")))
            told = await kit.messages(socket, 6)
            assert [message.get("type") for message in told] == ["orderbook"] * 5 + [None]
            assert told[5]["error"]["name"] == "TOO_MANY_REQUESTS"
            assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE

    kit.run(story())


def test_a_hundred_requests_are_a_minutes_worth(kit: SimpleNamespace, clock: Any, market: Any) -> None:
    market.quote()

    async def story() -> None:
        async with market.open() as client, client.socket() as socket:
            for _ in range(100):
                await clock.move(SECOND // 4)
                await socket.send_str(ask(wanted("orderbook")))
                assert (await kit.message(socket))["type"] == "orderbook"
            await socket.send_str(ask(wanted("orderbook")))
            assert (await kit.message(socket))["error"]["name"] == "TOO_MANY_REQUESTS"

    kit.run(story())


def test_too_many_connections_of_one_second_are_refused(kit: SimpleNamespace, clock: Any, market: Any) -> None:
    async def story() -> None:
        async with market.open() as client:
            for _ in range(5):
                async with client.socket():
                    pass
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await client.socket()
            assert refused.value.status == 429
            await clock.move(SECOND)
            async with client.socket():
                pass

    kit.run(story())


def test_a_browser_connects_once_in_ten_seconds(kit: SimpleNamespace, clock: Any, market: Any) -> None:
    async def story() -> None:
        async with market.open() as client:
            async with client.socket(Origin="https://example.com"):
                pass
            await clock.move(SECOND)
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await client.socket(Origin="https://example.com")
            assert refused.value.status == 429

    kit.run(story())
