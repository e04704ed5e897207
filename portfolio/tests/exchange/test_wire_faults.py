"""Bad luck at the wire: what it does to a request whose client does not live to hear of it."""

import asyncio

from aiohttp import web

from kimp.portfolio.exchange.serving import serve
from kimp.portfolio.exchange.wire_faults import delayed, faulty
from kimp.shared.domain.time import MILLISECOND
from kimp.storage.feeds.clocks import SystemClock

WAIT_S_MAX = 5.0


def test_a_delayed_order_executes_although_its_client_has_died() -> None:
    async def story() -> str:
        taken: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def take(request: web.Request) -> web.Response:
            taken.set_result(await request.text())
            return web.Response()

        application = web.Application(middlewares=[faulty(lambda _: delayed(50 * MILLISECOND), SystemClock())])
        application.router.add_post("/order", take)
        async with serve(application) as served:
            _, writer = await asyncio.open_connection(served.host, served.port)
            writer.write(b"POST /order HTTP/1.1\r\nHost: here\r\nContent-Length: 4\r\n\r\nsell")
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            return await asyncio.wait_for(taken, WAIT_S_MAX)

    assert asyncio.run(story()) == "sell"
