"""Upbit's own words about orders, trades, balances and markets, and what they mean here.

Amounts stand in REST answers as strings and on the stream as JSON numbers, some in exponent form; both become
``Decimal`` from their digits, never through a float. Fields not named here are skipped unread.

Upbit, "개별 주문 조회" (https://docs.upbit.com/kr/reference/get-order)::

    {"market":"KRW-USDT","uuid":"3b67…","side":"ask","ord_type":"market","state":"done","executed_volume":"5.377594",
     "paid_fee":"3.697095875","trades_count":1,"identifier":"kimp-…","trades":[{"market":"KRW-USDT","uuid":"795d…",
     "price":"1375","volume":"5.377594","funds":"7394.19175","created_at":"2025-08-09T16:44:00.597751+09:00","side":"ask"}]}
"""

from __future__ import annotations

from datetime import datetime
from decimal import Context, Decimal

import msgspec

from kimp.shared.domain.instruments import InstrumentId, Side, Venue
from kimp.shared.domain.ledger import settlement
from kimp.shared.domain.money import ZERO, Amount
from kimp.shared.domain.orders import Fill, OrderReport, OrderStatus
from kimp.shared.domain.time import Nanos, from_datetime

KRW_FEE_RATE = Decimal("0.0005")
"""Upbit's fee in KRW markets, where the venue does not say the fee of a trade itself."""

FEE_STEP = Decimal("1e-16")
"""Four decimals of a price, eight of a volume, four of a rate. Finer shares of large fees would not fit the 28 digits
that sums in the ledger keep; what is left over of cheaper coins' fees goes to the last trade.
"""

_EXACT = Context(prec=60)

WORKING = frozenset({"wait", "watch"})
DONE = frozenset({"done", "cancel"})
BRIEF_TYPES = frozenset({"price", "market", "best"})
BRIEF_TIMES = frozenset({"ioc", "fok"})


class Trade(msgspec.Struct, frozen=True):
    """One trade of an order; Upbit tells its price, volume and sum, but not its fee."""

    uuid: str
    price: Decimal
    volume: Decimal
    created_at: str
    funds: Decimal | None = None

    @property
    def value(self) -> Decimal:
        """KRW that changed hands."""
        return self.price * self.volume if self.funds is None else self.funds


class UpbitOrder(msgspec.Struct, frozen=True):
    """One order as REST tells it; lists leave ``trades`` out. ``side`` is ``bid`` or ``ask``."""

    uuid: str
    market: str
    side: str
    state: str
    created_at: str
    executed_volume: Decimal
    paid_fee: Decimal = ZERO
    identifier: str | None = None
    ord_type: str = "limit"
    time_in_force: str | None = None
    trades: tuple[Trade, ...] = ()

    @property
    def client_id(self) -> str:
        """Our id, or the venue's own where none was given (an order made by hand)."""
        return self.identifier or self.uuid

    @property
    def made_at(self) -> Nanos:
        """When the venue took it; whole seconds.

        Raises:
            ValueError: not a moment.
        """
        return moment(self.created_at)

    @property
    def is_brief(self) -> bool:
        """Whether it ends in the moment it arrives: market orders, and those that fill at once or not at all."""
        return self.ord_type in BRIEF_TYPES or self.time_in_force in BRIEF_TIMES

    @property
    def is_told_whole(self) -> bool:
        """Whether its trades make up all that was executed."""
        return sum((trade.volume for trade in self.trades), ZERO) == self.executed_volume

    @property
    def status(self) -> OrderStatus | None:
        """``cancel`` may be a fully executed order too: how much filled stands elsewhere. ``None``: a state we do not
        know.
        """
        if self.state in WORKING:
            return OrderStatus.WORKING
        return OrderStatus.DONE if self.state in DONE else None

    def report(self, fee_rate: Decimal = KRW_FEE_RATE) -> OrderReport | None:
        """The venue's word on the order, with all its trades as fills; ``None`` for a state we do not know."""
        if self.status is None:
            return None
        return OrderReport(self.client_id, self.status, self.executed_volume, self.fills(fee_rate))

    def fills(self, fee_rate: Decimal = KRW_FEE_RATE) -> tuple[Fill, ...]:
        """The trades, oldest first, each with its share of the fee."""
        trades = sorted(self.trades, key=lambda trade: moment(trade.created_at))
        fees = [_by_rate(trade, fee_rate) for trade in trades]
        if self.is_told_whole:
            fees = shared_fee(trades, self.paid_fee, fee_rate)
        return tuple(
            Fill(
                trade_id=trade.uuid,
                client_id=self.client_id,
                instrument_id=instrument_id(self.market),
                side=side(self.side),
                quantity=trade.volume,
                price=trade.price,
                fee=Amount(fee, quote_of(self.market)),
                at=moment(trade.created_at),
            )
            for trade, fee in zip(trades, fees, strict=True)
        )


def shared_fee(trades: list[Trade], paid: Decimal, fee_rate: Decimal = KRW_FEE_RATE) -> list[Decimal]:
    """The fee of each trade, by its value; together exactly what the venue took.

    Upbit charges a fraction of the value, so the shares are what it charged, digit for digit, whether it rounds that or
    not: the stream tells the same trade's fee, and the ledger takes whichever comes first. If neither adds up, the last
    trade bears what is left over.
    """
    charged = [_by_rate(trade, fee_rate) for trade in trades]
    for fees in (charged, [settlement(fee) for fee in charged]):
        if sum(fees, ZERO) == paid:
            return fees
    total = sum((trade.value for trade in trades), ZERO)
    if total == ZERO:
        return [ZERO for _ in trades]
    shares = []
    for trade in trades[:-1]:
        share = _EXACT.divide(_EXACT.multiply(paid, trade.value), total)
        shares.append(_EXACT.quantize(share, FEE_STEP).normalize(_EXACT))
    last = paid
    for share in shares:
        last = _EXACT.subtract(last, share)
    return [*shares, last]


def _by_rate(trade: Trade, fee_rate: Decimal) -> Decimal:
    """While not all trades are told, the sum paid cannot be shared out; the rate is what Upbit charges by."""
    return _EXACT.multiply(trade.value, fee_rate)


class MyOrder(msgspec.Struct, frozen=True, tag_field="type", tag="myOrder"):
    """What the private stream says of an order; with state ``trade``, price, volume and fee are those of the trade.

    Upbit, "내 주문 및 체결 (MyOrder)" (https://docs.upbit.com/kr/reference/websocket-myorder).
    """

    code: str
    uuid: str
    ask_bid: str
    state: str
    executed_volume: Decimal
    price: Decimal | None = None
    volume: Decimal | None = None
    trade_uuid: str | None = None
    trade_fee: Decimal | None = None
    trade_timestamp: int | None = None
    identifier: str | None = None

    @property
    def client_id(self) -> str:
        """Our id, or the venue's own where none was given."""
        return self.identifier or self.uuid


class MyAsset(msgspec.Struct, frozen=True, tag_field="type", tag="myAsset"):
    """Balances changed; the figures are asked for over REST, which also has what did not change.

    Upbit, "내 자산 (MyAsset)" (https://docs.upbit.com/kr/reference/websocket-myasset).
    """

    timestamp: int


class Placed(msgspec.Struct, frozen=True):
    """What matters of the answer to a new order or a cancellation."""

    uuid: str
    identifier: str | None = None


class BalanceRow(msgspec.Struct, frozen=True):
    """One row of "계정 잔고 조회": ``{"currency":"KRW","balance":"1000000.0","locked":"0.0", …}``."""

    currency: str
    balance: Decimal
    locked: Decimal


class ApiKey(msgspec.Struct, frozen=True):
    """One row of "API Key 목록 조회": ``{"access_key":"…","expire_at":"2027-01-10T14:00:00+09:00"}``."""

    access_key: str
    expire_at: str


class Wallet(msgspec.Struct, frozen=True):
    """One row of "입출금 서비스 상태 조회": ``{"currency":"BTC","wallet_state":"working", …}``."""

    currency: str
    wallet_state: str


class TickRule(msgspec.Struct, frozen=True):
    """One row of "호가 정책 조회": the price step now, ``{"market":"KRW-BTC","tick_size":"1000", …}``."""

    market: str
    tick_size: Decimal


class SideRule(msgspec.Struct, frozen=True):
    """What an order of one side must reach at least (KRW)."""

    min_total: Decimal


class MarketRule(msgspec.Struct, frozen=True):
    """A market's minimums and whether it trades."""

    id: str
    bid: SideRule
    ask: SideRule
    state: str = "active"


class Chance(msgspec.Struct, frozen=True):
    """ "페어별 주문 가능 정보 조회": our fees and the market's minimums."""

    bid_fee: Decimal
    ask_fee: Decimal
    market: MarketRule


class ErrorWords(msgspec.Struct, frozen=True):
    """The name is a word or, for some errors, a number."""

    name: str | int
    message: str = ""


class ErrorBody(msgspec.Struct, frozen=True):
    """``{"error":{"name":"order_not_found","message":"주문을 찾지 못했습니다."}}``."""

    error: ErrorWords


class Status(msgspec.Struct, frozen=True):
    """The answer to a ``PING`` text, ``{"status":"UP"}``."""

    status: str


def instrument_id(market: str) -> InstrumentId:
    """``KRW-BTC`` in our words."""
    return f"{Venue.UPBIT.value}:{market}"


def market_of(instrument: InstrumentId) -> str:
    """``upbit:KRW-BTC`` in Upbit's words."""
    return instrument.partition(":")[2]


def quote_of(market: str) -> str:
    """What a market is priced and charged in: the first half of its name."""
    return market.partition("-")[0]


def side(word: str) -> Side:
    """``bid``/``BID`` buys, ``ask``/``ASK`` sells.

    Raises:
        ValueError: neither of them; guessing a side would turn a position around.
    """
    match word.lower():
        case "bid":
            return Side.BUY
        case "ask":
            return Side.SELL
    raise ValueError(f"{word!r} is no side of Upbit's")


def moment(text: str) -> Nanos:
    """``2025-08-09T16:44:00.597751+09:00`` in nanoseconds.

    Raises:
        ValueError: not a moment, or one without a time zone.
    """
    return from_datetime(datetime.fromisoformat(text))
