"""Trading Binance's USDT-M perpetuals: the ``Exchange`` port over ccxt's raw endpoints.

The real venue and its demo trading are the same class with other URLs (``[binance]`` in the settings). Pages are those
of https://developers.binance.com/docs/derivatives/usds-margined-futures.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from decimal import Decimal
from random import Random
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from kimp.order.exchanges.binance_examination import BinanceExamination
from kimp.order.exchanges.binance_forms import (
    AccountForm,
    ExchangeInfo,
    FeeForm,
    OrderForm,
    RiskForm,
    account,
    new_order,
    symbol_of,
)
from kimp.order.exchanges.binance_history import ORDER_QUERY, BinanceHistory
from kimp.order.exchanges.binance_line import ORDER, ORDER_ANSWER_S, BinanceLine, Reply, Told, read, weight
from kimp.order.exchanges.binance_lists import AccountLists
from kimp.order.exchanges.binance_stream import UserStream
from kimp.order.exchanges.outcomes import Answer, Trouble, without_answer
from kimp.order.exchanges.outcomes_binance import CANCEL_REJECTED, DUPLICATE_ID, NO_SUCH_ORDER, judge
from kimp.shared import logs
from kimp.shared.domain.accounts import Account, Check
from kimp.shared.domain.funding import FundingPayment
from kimp.shared.domain.instruments import Instrument, InstrumentId, Venue
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.orders import (
    Accepted,
    ClientId,
    Fill,
    Order,
    OrderReport,
    OrderStatus,
    Outcome,
    Rejected,
    Unknown,
)
from kimp.shared.domain.time import MILLISECOND, Nanos
from kimp.shared.messages.events import Event
from kimp.shared.ports.clock import Clock
from kimp.shared.settings import Binance

OUTBOX_MAX = 1_000
"""Events waiting to be taken; when it is full the stream stops reading, and nothing is dropped."""

CANCEL = weight(1)
ACCOUNT = weight(5)
OPEN_ORDERS = weight(1)
EXCHANGE_INFO = weight(1)
FEE = weight(20)
COUNTDOWN = weight(10)

_log = logs.get(__name__)


def is_play(rest_url: str) -> bool:
    """Whether no real money can lie there: demo trading, the old testnet, or this very machine."""
    host = urlsplit(rest_url).hostname or ""
    return host in ("127.0.0.1", "::1", "localhost") or host.startswith(("demo-", "testnet."))


class BinanceExchange:
    """One Binance account. Trouble never leaves it as an exception, only as an answer.

    Args:
        settings: URLs and keys.
        instruments: what is traded; their trades are compared with the venue's list.
        clock, dice: time, and chance for the pauses between attempts.
    """

    def __init__(self, settings: Binance, instruments: Sequence[Instrument], clock: Clock, dice: Random) -> None:
        self._settings = settings
        self._ids = tuple(instrument.id for instrument in instruments)
        self._clock = clock
        self._dice = dice
        self._line = BinanceLine(settings, clock)
        self._history = BinanceHistory(self._line)
        self._stream: UserStream | None = None

    @property
    def venue(self) -> Venue:
        """Binance."""
        return Venue.BINANCE

    async def __aenter__(self) -> Self:
        """Open the session, measure the clock, warm a connection."""
        await self._line.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the session."""
        await self._line.close()

    # -- orders ----------------------------------------------------------------------------------------------------

    async def place(self, order: Order, *, is_urgent: bool = False) -> Outcome:
        """ "New Order", sent once.

        Cancelling the caller's task is the only thing that raises (``CancelledError``); the order is then as unknown
        as after a timeout.
        """
        reply = await self._line.call(
            "fapiPrivatePostOrder", new_order(order), cost=ORDER, is_urgent=is_urgent, within_s=ORDER_ANSWER_S
        )
        if isinstance(reply, Answer) and reply.code == DUPLICATE_ID:
            return await self._adopt(order)
        outcome = self._outcome(reply)
        if isinstance(outcome, Accepted) and self._stream is not None:
            self._stream.expect(order.client_id)
        return outcome

    async def _adopt(self, order: Order) -> Outcome:
        """−4116 says that an open order has this id: ours, from a request that seemed lost. Never send another."""
        found = read(await self._ask(order.client_id, order.instrument_id), OrderForm)
        if found is None or found.client_order_id != order.client_id:
            return Unknown("an open order has this client id, and it could not be looked up")
        return self._known(found)

    def _outcome(self, reply: Reply) -> Outcome:
        match reply:
            case Told():
                form = read(reply, OrderForm)
                return Unknown("unreadable") if form is None else self._known(form)
            case Answer():
                return judge(reply)
            case Trouble():
                return without_answer(reply)
            case Rejected():
                return reply

    def _known(self, form: OrderForm) -> Accepted:
        self._history.remember(form.order_id, form.client_order_id)
        return Accepted(str(form.order_id))

    async def cancel(self, client_id: ClientId, instrument_id: InstrumentId) -> Outcome:
        """ "Cancel Order". −2011 may mean over already or never arrived, so the order itself is looked at."""
        params = {"symbol": symbol_of(instrument_id), "origClientOrderId": client_id}
        reply = await self._line.call("fapiPrivateDeleteOrder", params, cost=CANCEL, is_urgent=True)
        if not isinstance(reply, Answer) or reply.code != CANCEL_REJECTED:
            return self._outcome(reply)
        found = await self._ask(client_id, instrument_id)
        form = read(found, OrderForm)
        if form is None:
            is_absent = isinstance(found, Answer) and found.code == NO_SUCH_ORDER
            return judge(reply) if is_absent else Unknown("refused, and the order could not be looked up")
        report = form.report(())
        if report is not None and report.status is OrderStatus.DONE:
            return self._known(form)
        return Unknown("refused, though the order rests")

    async def query(self, client_id: ClientId, instrument_id: InstrumentId) -> OrderReport | None:
        """ "Query Order" by our id, with its trades from "Account Trade List" by the venue's.

        −2013 is ``ABSENT``; an order filled in part whose trades cannot be read now is asked for again.
        """
        reply = await self._ask(client_id, instrument_id)
        if isinstance(reply, Answer) and reply.code == NO_SUCH_ORDER:
            return OrderReport(client_id, OrderStatus.ABSENT, ZERO)
        form = read(reply, OrderForm)
        if form is None or form.client_order_id != client_id:
            return None
        self._history.remember(form.order_id, client_id)
        fills: tuple[Fill, ...] | None = ()
        if form.executed_qty > ZERO:
            fills = await self._history.fills_of(form)
        return None if fills is None else form.report(fills)

    async def _ask(self, client_id: ClientId, instrument_id: InstrumentId) -> Reply:
        params = {"symbol": symbol_of(instrument_id), "origClientOrderId": client_id}
        # an order in doubt may be a naked leg, so the question may use the reserve
        return await self._line.call("fapiPrivateGetOrder", params, cost=ORDER_QUERY, is_urgent=True)

    # -- the truth -------------------------------------------------------------------------------------------------

    async def account(self) -> Account | None:
        """ "Account Information V3": wallets and positions of one moment; prices from "Position Information V3"."""
        form = read(await self._line.call("fapiPrivateV3GetAccount", cost=ACCOUNT), AccountForm)
        if form is None:
            return None
        risks: list[RiskForm] | None = []
        if form.held:
            risks = read(await self._line.call("fapiPrivateV3GetPositionRisk", cost=ACCOUNT), list[RiskForm])
        return None if risks is None else account(form, risks)

    async def open_orders(self, instrument_id: InstrumentId) -> tuple[ClientId, ...] | None:
        """ "Current All Open Orders" of one instrument."""
        params = {"symbol": symbol_of(instrument_id)}
        reply = await self._line.call("fapiPrivateGetOpenOrders", params, cost=OPEN_ORDERS)
        orders = read(reply, list[OrderForm])
        return None if orders is None else tuple(order.client_order_id or str(order.order_id) for order in orders)

    async def fills_since(self, instrument_id: InstrumentId, since: Nanos) -> tuple[Fill, ...] | None:
        """ "Account Trade List", whole, with the client ids of the orders; six months back at most."""
        return await self._history.fills_since(instrument_id, since)

    async def funding_since(self, since: Nanos) -> tuple[FundingPayment, ...] | None:
        """FUNDING_FEE of "Get Income History", whole; three months back at most."""
        return await self._history.funding_since(since)

    # -- the venue itself ------------------------------------------------------------------------------------------

    async def instruments(self, symbols: Sequence[str]) -> tuple[Instrument, ...] | None:
        """ "Exchange Information" and our own "User Commission Rate"."""
        info = read(await self._line.call("fapiPublicGetExchangeInfo", cost=EXCHANGE_INFO), ExchangeInfo)
        if info is None:
            return None
        fees: dict[str, Decimal] = {}
        for symbol in info.traded(symbols):
            fee = read(await self._line.call("fapiPrivateGetCommissionRate", {"symbol": symbol}, cost=FEE), FeeForm)
            if fee is None:
                return None
            fees[symbol] = fee.taker_commission_rate
        try:
            return info.instruments(fees)
        except (KeyError, ArithmeticError, TypeError) as error:
            _log.error("rules unreadable", venue="binance", error=repr(error))
            return None

    async def clock_skew(self) -> Nanos | None:
        """Best of three round trips; requests are stamped with it from then on."""
        return await self._line.measure()

    async def examine(self, instruments: Sequence[Instrument], leverage: Decimal) -> tuple[Check, ...]:
        """Mode, margin, leverage, discount and key; harmless things are put right at once."""
        if not self._settings.api_key.get_secret_value():
            return (Check("binance key", False, "열쇠가 없습니다 / no key configured"),)
        is_real_venue = not is_play(self._settings.rest_url)
        return await BinanceExamination(self._line, is_real_venue=is_real_venue).examine(instruments, leverage)

    async def keep_alive(self, instruments: Iterable[Instrument], countdown: Nanos) -> None:
        """ "Auto-Cancel All Open Orders": the venue cancels in ``countdown`` unless told again; 0 stops the clock."""
        for instrument in instruments:
            params: dict[str, str | int] = {"symbol": instrument.symbol, "countdownTime": countdown // MILLISECOND}
            reply = await self._line.call("fapiPrivatePostCountdownCancelAll", params, cost=COUNTDOWN)
            if not isinstance(reply, Told):
                _log.warning("countdown not renewed", venue="binance", symbol=instrument.symbol, reply=str(reply))

    async def reports(self) -> AsyncGenerator[Event, None]:
        """The user data stream, and the lists that make up for what it misses."""
        lists = AccountLists(self._history, self._ids, self._clock)
        stream = UserStream(self._settings.ws_private_url, self._line, lists, clock=self._clock, dice=self._dice)
        outbox: asyncio.Queue[Event] = asyncio.Queue(OUTBOX_MAX)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(stream.run(outbox))
            self._stream = stream
            try:
                while True:
                    yield await outbox.get()
            except GeneratorExit:
                return  # nobody listens any more; a task group would wrap this in a group of its own
            finally:
                self._stream = None
                running.cancel()
