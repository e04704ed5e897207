"""The monkey's misfortunes come from the seed, are bounded, counted, and end when told."""

from decimal import Decimal
from random import Random

import pytest

from kimp.research.chaos.eager import EagerStrategy
from kimp.research.chaos.market import StormMarket
from kimp.research.chaos.monkey import CALM, DELAY_MAX, READ_LAG_MAX, STRONGEST, ChaosMonkey, Dials, swarm
from kimp.research.chaos.scenarios import PRESETS, Episode, Incident, Weather
from kimp.research.simulation.faults import FINE, PROMPT
from kimp.shared.domain.instruments import Side, default_pair
from kimp.shared.domain.orders import Order, Rejected, Unknown
from kimp.shared.domain.signals import Direction, Enter, Exit, Hold
from kimp.shared.domain.time import MINUTE, SECOND
from kimp.shared.ports.strategy import MarketView, PositionView

ORDER = Order("own", "upbit:KRW-BTC", Side.BUY, Decimal("0.1"), Decimal(100_000_000))
PAIR = default_pair()


def test_the_same_seed_draws_the_same_misfortunes() -> None:
    first, again, other = (ChaosMonkey(seed, STRONGEST) for seed in (1, 1, 2))
    drawn = [[monkey.draw(ORDER) for _ in range(50)] for monkey in (first, again, other)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(
    ("dials", "fired"),
    [
        (Dials(lost=1.0), "lost"),
        (Dials(unknown=1.0), "unknown"),
        (Dials(overdue=1.0), "overdue"),
        (Dials(rejected=1.0), "rejected"),
        (Dials(delayed=1.0), "delayed"),
        (Dials(doubled=1.0), "doubled"),
        (Dials(silent=1.0), "silent"),
        (Dials(late_fills=1.0), "late_fills"),
    ],
)
def test_each_dial_alone_does_what_it_says_and_is_counted(dials: Dials, fired: str) -> None:
    monkey = ChaosMonkey(3, dials)
    faults = [monkey.draw(ORDER) for _ in range(20)]
    assert monkey.fired == {fired: 20}
    for fault in faults:
        assert fault.executes == (fired not in ("lost", "rejected"))
        assert isinstance(fault.answer, Rejected) == (fired == "rejected")
        assert isinstance(fault.answer, Unknown) == (fired in ("unknown", "overdue"))
        assert fault.gives_up == (fired == "overdue")
        assert (fault.delay > 0) == (fired in ("delayed", "overdue"))
        assert fault.delay <= DELAY_MAX
        assert (fault.copies == 2) == (fired == "doubled")
        assert fault.is_silent == (fired == "silent")
        assert (fault.fills_late > 0) == (fired == "late_fills")


def test_a_venue_denies_an_order_for_a_bounded_time_and_number_only() -> None:
    monkey = ChaosMonkey(4, Dials(read_lag=1.0))
    for number in range(50):
        name, start = f"order-{number}", number * MINUTE
        answers = [monkey.denies(name, start + step * SECOND // 4) for step in range(40)]
        assert answers[0]
        assert sum(answers) <= 4
        assert not any(answers[READ_LAG_MAX * 4 // SECOND :])


def test_healing_stops_everything_at_once() -> None:
    monkey = ChaosMonkey(5, Dials(*[1.0] * 13))
    assert monkey.denies("own", 0)
    monkey.heal()
    assert monkey.draw(ORDER) is FINE
    assert monkey.news() is PROMPT
    assert [monkey.loses_query("own"), monkey.denies("own", 1), monkey.hides_fills("own")] == [False] * 3


def test_a_swarm_switches_dials_on_and_off_and_stays_below_the_strongest() -> None:
    random = Random(6)
    draws = [swarm(random) for _ in range(100)]
    for name in Dials.__dataclass_fields__:
        values = [getattr(dials, name) for dials in draws]
        assert all(value <= getattr(STRONGEST, name) for value in values)
        if name != "unknown_max":
            assert 0 < sum(1 for value in values if value == 0.0) < 100


def test_answers_can_be_lost_a_limited_number_of_times() -> None:
    monkey = ChaosMonkey(7, Dials(unknown=1.0, unknown_max=2))
    answers = [monkey.draw(ORDER).answer for _ in range(10)]
    assert [isinstance(answer, Unknown) for answer in answers] == [True, True] + [False] * 8


# -- the market --------------------------------------------------------------------------------------------------------


def market_with(*episodes: Episode) -> StormMarket:
    return StormMarket(8, PAIR, Weather(CALM, episodes, 0.0), 0)


def mids(market: StormMarket) -> tuple[Decimal, Decimal]:
    korea, abroad = market.books()
    return korea.mid(), abroad.mid()


def test_books_are_always_tradable_and_on_the_venues_grid() -> None:
    market = market_with(*[Episode(incident, 0, 100 * SECOND) for incident in Incident])
    for step in range(1, 100):
        market.advance(step * SECOND)
        for book, leg in zip(market.books(), (PAIR.korea, PAIR.abroad), strict=True):
            assert book.fault() is None
            for level in book.bids + book.asks:
                assert level.price % leg.rules.tick_at(level.price) == 0
                assert level.size % leg.rules.lot == 0


@pytest.mark.parametrize(
    ("incident", "korea", "abroad"),
    [
        (Incident.FLASH_CRASH, "0.90", "0.90"),
        (Incident.MARTIAL_LAW, "0.67", "0.97"),
        (Incident.SHORT_LIQUIDATED, "2.2", "2.2"),
        (Incident.LIQUIDITY_DRY, "1", "1"),
    ],
)
def test_an_incident_moves_prices_by_what_it_is_known_for(incident: Incident, korea: str, abroad: str) -> None:
    struck, calm = market_with(Episode(incident, 0, 100 * SECOND)), market_with()
    for market in (struck, calm):
        market.advance(50 * SECOND)
    ratios = [ours / theirs for ours, theirs in zip(mids(struck), mids(calm), strict=True)]
    assert ratios == pytest.approx([Decimal(korea), Decimal(abroad)], abs=Decimal("0.002"))


def test_dry_books_offer_a_tenth() -> None:
    dry, calm = market_with(Episode(Incident.LIQUIDITY_DRY, 0, 100 * SECOND)), market_with()
    offered = [market.books()[0].asks[0].size for market in (dry, calm)]
    assert offered[0] == pytest.approx(offered[1] / 10, abs=Decimal("0.00000002"))


def test_a_dead_rate_source_says_nothing_until_it_is_back() -> None:
    market = market_with(Episode(Incident.FX_EXPIRED, 0, 100 * SECOND))
    market.advance(50 * SECOND)
    assert market.rates() == ()
    market.advance(101 * SECOND)
    assert [quote.base for quote in market.rates()] == ["USD", "USDT"]
    assert market.rates() == ()


def test_every_preset_is_a_weather_of_its_own() -> None:
    assert {
        "flash_crash",
        "liquidity_dry",
        "latency_spike",
        "partial_fill",
        "order_rejection",
        "one_leg_failure",
    } <= set(PRESETS)
    assert {"exchange_maintenance", "martial_law", "short_liquidated", "fx_expired"} <= set(PRESETS)


# -- the strategy ------------------------------------------------------------------------------------------------------


def view(premium: str, at: int = 0) -> MarketView:
    return MarketView(at, Decimal(premium), Decimal(premium), None, None)


def position(filled: str) -> PositionView:
    return PositionView(Direction.LONG_PREMIUM, 0, Decimal(-1), Decimal(1), Decimal(filled))


def test_the_eager_strategy_enters_on_the_better_half_and_then_always_asks_to_leave() -> None:
    eager = EagerStrategy(Direction.LONG_PREMIUM)
    assert isinstance(eager.decide(view("-0.01"), None), Enter)
    assert isinstance(eager.decide(view("0.01"), None), Hold)
    assert isinstance(eager.decide(view("-0.01"), position("0.3")), Exit)
    assert isinstance(EagerStrategy(Direction.SHORT_PREMIUM).decide(view("0.01"), None), Enter)


def test_it_adds_tranches_while_there_is_room_and_rests_when_the_storm_is_over() -> None:
    eager = EagerStrategy(Direction.LONG_PREMIUM, Decimal("0.5"), rests_from=10)
    assert isinstance(eager.decide(view("-0.01"), position("0.5")), Enter)
    assert isinstance(eager.decide(view("-0.01"), position("0.95")), Exit)
    assert isinstance(eager.decide(view("-0.01", at=10), position("0.5")), Hold)
