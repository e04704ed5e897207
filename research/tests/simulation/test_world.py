"""The world between engine and venues: what travels, what is lost, what is told twice, and in which order."""

from decimal import Decimal

import pytest

from kimp.order.engine.engine import Assignment, TradingEngine
from kimp.order.engine.settings import EngineSettings
from kimp.research.chaos.eager import EagerStrategy
from kimp.research.simulation.faults import Fault, Faults, Lag, NoFaults
from kimp.research.simulation.latency import FixedLatency
from kimp.research.simulation.venue import SimulatedVenue
from kimp.research.simulation.world import EngineDied, World
from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.fx import USD, USDT, FxQuote
from kimp.shared.domain.instruments import Pair, Venue, default_pair
from kimp.shared.domain.money import Amount
from kimp.shared.domain.orders import ClientId, Order, Rejected, Unknown
from kimp.shared.domain.signals import Direction
from kimp.shared.domain.time import MILLISECOND, SECOND, Nanos
from kimp.shared.messages.effects import Effect
from kimp.shared.messages.events import Event, MarketMoved
from kimp.shared.messages.notices import OrderUnresolved
from kimp.shared.messages.records import FillBooked, FundingBooked, OrderClosed, OrderLost, OrderOutcome, Phase

PAIR = default_pair()
START = 1_700_000_000 * SECOND


class Scripted(NoFaults):
    """Faults by the number of the order; everything else is fine."""

    def __init__(self, faults: dict[int, Fault], lag: Lag | None = None, denied_until: Nanos = 0) -> None:
        self.faults, self.lag, self.denied_until, self.sent = faults, lag, denied_until, 0

    def draw(self, order: Order) -> Fault:  # noqa: ARG002
        self.sent += 1
        return self.faults.get(self.sent, Fault())

    def denies(self, client_id: ClientId, at: Nanos) -> bool:  # noqa: ARG002
        return at < self.denied_until

    def news(self) -> Lag:
        return self.lag or Lag()


def engine(pair: Pair = PAIR) -> TradingEngine:
    return TradingEngine([Assignment(EagerStrategy(Direction.LONG_PREMIUM), pair)], EngineSettings())


def world_of(faults: Faults | None = None) -> World:
    venues = [SimulatedVenue(Venue.UPBIT, [PAIR.korea], {}), SimulatedVenue(Venue.BINANCE, [PAIR.abroad], {})]
    world = World(engine(), venues, latency=FixedLatency(), faults=faults)
    world.now = START
    world.move_funds("won", Venue.UPBIT, Amount(Decimal(15_000_000), "KRW"))
    world.move_funds("dollars", Venue.BINANCE, Amount(Decimal(11_000), "USDT"))
    return world


def market(at: Nanos, premium: str = "-0.01") -> MarketMoved:
    """Touches around 100,000 USDT at 1,400 KRW each, at that premium."""
    korea = int(Decimal(140_000_000) * (1 + Decimal(premium)))
    rates = tuple(FxQuote(asset, Decimal(1_400), at, at + 60 * SECOND, "test") for asset in (USD, USDT))
    deep = Decimal(5)
    books = (
        Book(PAIR.korea.id, (Level(Decimal(korea - 1_000), deep),), (Level(Decimal(korea), deep),), at, at),
        Book(PAIR.abroad.id, (Level(Decimal(100_000), deep),), (Level(Decimal("100000.1"), deep),), at, at),
    )
    return MarketMoved(at, books, rates)


def run(world: World, seconds: int, premium: str = "-0.01") -> None:
    for _ in range(seconds):
        world.move(market(world.now + SECOND, premium))


def held(world: World) -> tuple[Decimal, Decimal]:
    contracts = world.venues[Venue.BINANCE].contracts[PAIR.abroad.id].quantity
    return world.venues[Venue.UPBIT].balances.get("BTC", Decimal(0)), contracts


def phase(world: World) -> Phase:
    return world.engine.desks[0].slot.phase


def of_kind(world: World, kind: type) -> list[object]:
    return [record for record in world.records if isinstance(record, kind)]


def test_an_order_travels_meets_the_book_of_its_arrival_and_is_answered_later() -> None:
    world = world_of()
    world.move(market(START + SECOND))
    world.run_until(START + SECOND + 25 * MILLISECOND)
    assert held(world) == (Decimal(0), Decimal(0))
    world.run_until(START + SECOND + 26 * MILLISECOND)
    assert held(world) == (Decimal("0.102"), Decimal("-0.102"))
    assert phase(world) is Phase.ENTERING
    world.run_until(START + SECOND + 51 * MILLISECOND)
    assert phase(world) is Phase.OPEN


def test_time_advances_to_where_it_was_run_to_even_when_nothing_happens() -> None:
    world = world_of()
    world.run_until(START + 5 * SECOND)
    assert world.now == START + 5 * SECOND
    assert not world.is_busy


def test_a_funding_payment_reaches_the_engine_after_its_settlement_and_never_before() -> None:
    world = world_of()
    run(world, 2)
    world.run_until(START + 10 * SECOND)
    world.settle_at(PAIR.abroad.id, Decimal("0.0001"), world.now)
    run(world, 1)
    (booked,) = of_kind(world, FundingBooked)
    assert isinstance(booked, FundingBooked)
    assert booked.at == booked.payment.at + 25 * MILLISECOND


@pytest.mark.parametrize("copies", [1, 2, 3])
def test_reports_told_twice_are_booked_once(copies: int) -> None:
    world = world_of(Scripted({1: Fault(copies=copies), 2: Fault(copies=copies)}, Lag(copies=copies)))
    run(world, 2)
    world.settle_at(PAIR.abroad.id, Decimal("0.0001"), world.now)
    run(world, 2)
    assert len(of_kind(world, FillBooked)) == 2
    assert len(of_kind(world, FundingBooked)) == 1


def test_an_order_is_not_over_before_its_fills_are_there_even_if_its_report_comes_first() -> None:
    world = world_of(Scripted({1: Fault(fills_late=SECOND)}))
    world.move(market(START + SECOND))
    world.run_until(START + SECOND + 60 * MILLISECOND)
    assert len(of_kind(world, OrderClosed)) == 2
    assert phase(world) is Phase.ENTERING
    run(world, 2)
    assert phase(world) is Phase.OPEN


def test_a_lost_request_times_out_is_asked_about_and_never_executes() -> None:
    world = world_of(Scripted({1: Fault(executes=False)}))
    run(world, 20)
    assert len(of_kind(world, OrderLost)) == 1
    assert held(world)[0] + held(world)[1] == 0
    assert held(world)[0] > 0


def test_an_executed_order_with_a_lost_answer_is_found_by_asking() -> None:
    world = world_of(Scripted({1: Fault(answer=Unknown("reset"), is_silent=True)}))
    run(world, 4)
    assert held(world) == (Decimal("0.102"), Decimal("-0.102"))
    assert phase(world) is Phase.OPEN
    assert of_kind(world, OrderLost) == []


def test_a_request_given_up_on_may_still_arrive_and_is_found_then() -> None:
    world = world_of(Scripted({1: Fault(answer=Unknown("timeout"), gives_up=True, delay=4 * SECOND)}))
    run(world, 3)
    assert held(world)[0] == 0
    run(world, 9)
    assert held(world) == (Decimal("0.102"), Decimal("-0.102"))
    assert phase(world) is Phase.OPEN


def test_a_request_older_than_the_receive_window_is_refused() -> None:
    world = world_of(Scripted({2: Fault(delay=6 * SECOND)}))
    run(world, 8)
    outcomes = [record.outcome for record in of_kind(world, OrderOutcome) if isinstance(record, OrderOutcome)]
    assert any(isinstance(outcome, Rejected) and outcome.code == "-1021" for outcome in outcomes)


def test_a_venue_in_maintenance_refuses_orders_and_answers_no_questions() -> None:
    world = world_of(Scripted({1: Fault(answer=Unknown("reset"), is_silent=True)}))
    world.move(market(START + SECOND))
    world.run_until(START + SECOND + 30 * MILLISECOND)
    world.maintain(Venue.UPBIT, is_available=False, reason="test")
    run(world, 60)
    assert world.engine.state.unsettled
    assert any(isinstance(told.notice, OrderUnresolved) for told in world.notices)
    world.maintain(Venue.UPBIT, is_available=True, reason="over")
    run(world, 10)
    assert not world.engine.state.unsettled
    assert held(world) == (Decimal("0.102"), Decimal("-0.102"))


def test_an_order_given_up_too_early_is_asked_about_again_when_reducing_is_refused() -> None:
    """Read lag far beyond any assumption: the exit had executed, the venue denied it, the next one gets −2022."""
    faults = Scripted({4: Fault(answer=Unknown("reset"), is_silent=True)})
    world = world_of(faults)
    run(world, 5)
    faults.denied_until = world.now + 20 * SECOND
    run(world, 120, premium="0.02")
    assert of_kind(world, OrderLost)
    assert world.engine.state.ledger.balance("binance:contracts", "BTCUSDT") == held(world)[1]
    assert sum(held(world)) == 0


# -- death and restart -------------------------------------------------------------------------------------------------


@pytest.fixture
def steps() -> int:
    world = world_of()
    before = world.steps
    run(world, 3)
    return world.steps - before


def test_an_engine_may_die_before_every_step_and_a_new_one_ends_hedged_and_knowing(steps: int) -> None:
    assert steps > 8
    for step in range(steps):
        world = world_of()
        world.dies_at = world.steps + step
        with pytest.raises(EngineDied):
            run(world, 3)
        world.bury()
        world.run_until(world.now + SECOND)
        world.restart(engine())
        run(world, 30)
        assert not world.engine.state.unsettled
        assert sum(held(world)) == 0
        assert world.engine.state.ledger.wallet(Venue.UPBIT, "BTC") == held(world)[0]


def test_answers_meant_for_a_dead_engine_reach_nobody() -> None:
    world = world_of()
    world.move(market(START + SECOND))
    told: list[object] = []
    handle = world.engine.handle

    def listen(event: Event) -> list[Effect]:
        told.append(event)
        return handle(event)

    world.engine.handle = listen  # type: ignore[method-assign]
    world.bury()
    world.run_until(START + 5 * SECOND)
    assert told == []
    assert held(world) == (Decimal("0.102"), Decimal("-0.102"))
