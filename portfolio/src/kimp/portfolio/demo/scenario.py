"""What the demo plays: three quarters of an hour that were chosen, an impatient owner and three mishaps put in on purpose.

Everything else is what a trading owner runs: the venues' own wire protocols, the real adapters, runner, journal,
reconciler, mirror and feeds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from aiohttp import web

from kimp.portfolio.exchange.wire_faults import EXECUTED_AND_DROPPED, Faults, WireFault, answered_instead
from kimp.shared.domain.instruments import Venue
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.signals import Exit, Signal
from kimp.shared.domain.time import MINUTE, SECOND, Nanos, from_datetime
from kimp.shared.ports.clock import Clock
from kimp.shared.ports.strategy import Condition, MarketView, PositionView, Strategy

CHOSEN_SEED = 456
"""Chosen by looking through 600 simulated markets: two swings within an hour, and a funding settlement in the first."""

DATA_BEGINS: Nanos = from_datetime(datetime(2026, 3, 2, tzinfo=UTC))
"""A Monday at 09:00 in Seoul; no market was ever like this one."""

ENTERED_AT: Nanos = DATA_BEGINS + 4781 * MINUTE + 40 * SECOND
"""Thursday 16:41 in Seoul, a good quarter of an hour before funding settles."""

LENGTH: Nanos = 50 * MINUTE
"""How long it goes on at most; it ends soon after the second pair is closed."""

AFTERMATH: Nanos = MINUTE
"""How long is looked on after the last exit."""

SPEED, SPEED_FAST = 60, 240
"""The market's hour in a minute, or in a quarter of one: faster, and a round trip through both wire protocols (ten
milliseconds) is seconds of the market, in which prices move away from orders."""

BOOKS_EVERY: Nanos = 2 * SECOND
"""Of the market's time; at sixty times the speed that is thirty books a second of each leg on the wire."""

MONEY = {Venue.UPBIT: {"KRW": Decimal(10_000_000)}, Venue.BINANCE: {"USDT": Decimal(7_000)}}

PRESET = "low_entry"
THRESHOLD = Decimal("0.0219")
TARGET_NET = Decimal("0.0020")
"""The recommended preset shortened to an hour: its 1 % and 1.5 % are waited for during weeks, which nobody watches."""

SETTINGS = {
    "strategy.preset": PRESET,
    "strategy.parameters": f"threshold={THRESHOLD}, target_net={TARGET_NET}",
    # At sixty times the speed a hundredth of a second on this machine is more than half a second of the market.
    "guards.leg_skew_max_ms": "10000",
    "guards.book_age_max_ms": "60000",
    "guards.clock_skew_max_ms": "5000",
    "guards.fx_age_max_s": "600",
    # The market goes on while an order is under way, sixty times as fast as the order.
    "execution.slippage_max": "0.01",
    "trade.coins": "BTC",
    "trade.mirror": "true",
}
"""What differs from the defaults."""

IMPATIENT_FROM, IMPATIENT_FOR, IMPATIENT_EVERY = 20 * SECOND, 2 * MINUTE, 10 * SECOND
"""The owner loses patience twenty seconds into a losing pair and says so for two minutes."""

IMPATIENT = "impatient_hand"

RESTARTED_AFTER: Nanos = 6 * MINUTE
"""How long the first pair has been held when the trader is ended."""

ORDER_PATHS = {"/v1/orders": Venue.UPBIT, "/fapi/v1/order": Venue.BINANCE}
"""Where orders are placed, and on Binance also asked about."""

REFUSAL = b'{"error":{"name":"create_bid_error","message":"injected by the demo"}}'


class ImpatientHand:
    """A strategy whose owner wants out as soon as a pair is under water; the engine is to refuse that."""

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self._asked_at: Nanos = 0

    @property
    def name(self) -> str:
        """The name of the strategy that is being interfered with."""
        return self._strategy.name

    def observe(self, view: MarketView) -> None:
        """Only the strategy takes note."""
        self._strategy.observe(view)

    def decide(self, view: MarketView, position: PositionView | None) -> Signal:
        """The strategy's word, but every ten seconds of a losing pair's first minutes."""
        if position is not None and position.net is not None and position.net < ZERO:
            held = view.at - position.opened_at
            is_due = view.at >= self._asked_at + IMPATIENT_EVERY
            if is_due and IMPATIENT_FROM <= held < IMPATIENT_FROM + IMPATIENT_FOR:
                self._asked_at = view.at
                return Exit(IMPATIENT)
        return self._strategy.decide(view, position)

    def explain(self, view: MarketView, position: PositionView | None) -> tuple[Condition, ...]:
        """The strategy's own comparisons."""
        return self._strategy.explain(view, position)

    @property
    def warm_up(self) -> Nanos:
        """As the strategy."""
        return self._strategy.warm_up

    @property
    def settings(self) -> object:
        """What the strategy shows of itself: the hand changes no order, so a replay without it journals the same."""
        return getattr(self._strategy, "settings", None)


@dataclass(slots=True)
class Mishaps:
    """What goes wrong on the wire: the first short's answer is lost, and later one purchase is refused.

    ``arrived`` are the requests that place orders, with the venue and when they came in by ``clock``; ``asked`` counts
    those that ask Binance about one.
    """

    clock: Clock
    is_refusing: bool = False
    has_lost: bool = False
    has_refused: bool = False
    arrived: list[tuple[Venue, Nanos]] = field(default_factory=list)
    asked: int = 0

    @property
    def sent(self) -> dict[Venue, int]:
        """How many orders each venue was sent."""
        return {venue: sum(1 for seen, _ in self.arrived if seen is venue) for venue in Venue}

    def refuse_next(self) -> None:
        """Let the next order on Upbit be refused; once."""
        self.is_refusing = not self.has_refused

    @property
    def faults(self) -> dict[Venue, Faults]:
        """As the venues' servers take them."""
        return dict.fromkeys(Venue, self._fault)

    def _fault(self, request: web.Request) -> WireFault | None:
        venue = ORDER_PATHS.get(request.path)
        if venue is None:
            return None
        if request.method != "POST":
            self.asked += request.method == "GET"
            return None
        self.arrived.append((venue, self.clock.now()))
        if venue is Venue.BINANCE and not self.has_lost:
            self.has_lost = True
            return EXECUTED_AND_DROPPED
        if venue is Venue.UPBIT and self.is_refusing:
            self.is_refusing, self.has_refused = False, True
            return answered_instead(400, REFUSAL)
        return None


@dataclass(frozen=True, slots=True)
class Scenario:
    """One showing: ``start`` and ``length`` in nanoseconds of the market, ``speed`` of its clock."""

    speed: int = SPEED
    seed: int = CHOSEN_SEED
    start: Nanos = ENTERED_AT
    length: Nanos = LENGTH

    @property
    def end(self) -> Nanos:
        """When it is over at the latest."""
        return self.start + self.length
