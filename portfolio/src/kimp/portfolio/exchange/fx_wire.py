"""The two sources of the dollar's price in won, in the very forms the rate feed reads; for virtual markets only."""

from __future__ import annotations

import msgspec
from aiohttp import web

from kimp.portfolio.markets.boards import Boards
from kimp.shared.domain.fx import USD
from kimp.shared.domain.time import MILLISECOND, SECOND
from kimp.shared.ports.clock import Clock

BANK_PATH, MARKET_PATH = "/fx/bank", "/fx/market"


class FxWire:
    """Answers with the boards' official rate, dated now: a virtual market quotes day and night."""

    def __init__(self, boards: Boards, clock: Clock) -> None:
        self._boards = boards
        self._clock = clock

    def application(self) -> web.Application:
        """An application to be served."""
        application = web.Application()
        application.router.add_get(BANK_PATH, self._bank)
        application.router.add_get(MARKET_PATH, self._market)
        return application

    async def _bank(self, _request: web.Request) -> web.Response:
        return _json(
            [
                {
                    "code": "FRX.KRWUSD",
                    "basePrice": self._rate(),
                    "provider": "virtual",
                    "timestamp": self._clock.now() // MILLISECOND,
                }
            ]
        )

    async def _market(self, _request: web.Request) -> web.Response:
        meta = {
            "currency": "KRW",
            "symbol": "KRW=X",
            "regularMarketPrice": self._rate(),
            "regularMarketTime": self._clock.now() // SECOND,
        }
        return _json({"chart": {"result": [{"meta": meta}], "error": None}})

    def _rate(self) -> object:
        quote = self._boards.rates.get(USD)
        if quote is None:
            raise web.HTTPServiceUnavailable(text="no rate yet")
        return quote.value


def _json(content: object) -> web.Response:
    body = msgspec.json.Encoder(decimal_format="number").encode(content)
    return web.Response(body=body, content_type="application/json")
