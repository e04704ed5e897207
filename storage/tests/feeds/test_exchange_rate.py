"""Exchange rates: two sources that may freeze, jump, lie or vanish."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from kimp.shared.domain.time import HOUR, KST, MILLISECOND, MINUTE, SECOND, Nanos, from_datetime
from kimp.storage.feeds.exchange_rate.decoder import RateDecoder
from kimp.storage.feeds.exchange_rate.hours import MarketHours, with_holidays
from kimp.storage.feeds.exchange_rate.spikes import SpikeFilter
from kimp.storage.feeds.frames import Frame

TUESDAY_NOON = from_datetime(datetime(2026, 11, 17, 12, tzinfo=KST))
SATURDAY_NOON = from_datetime(datetime(2026, 11, 21, 12, tzinfo=KST))


class Sources:
    """A decoder and the two sources' answers, as they would come."""

    def __init__(self, at: Nanos, hours: MarketHours | None = None) -> None:
        self.decoder = RateDecoder(hours)
        self.at = at

    def bank(self, value: str, *, age: Nanos = 0) -> list[Any]:
        text = f'[{{"code":"FRX.KRWUSD","provider":"하나은행","basePrice":{value},"timestamp":{self._stamp(age)}}}]'
        return self.decoder.read(Frame("fx/bank", self.at, text.encode()))

    def market(self, value: str, *, age: Nanos = 0) -> list[Any]:
        stamp = self._stamp(age) // 1000
        meta = f'"currency":"KRW","symbol":"KRW=X","regularMarketPrice":{value},"regularMarketTime":{stamp}'
        text = f'{{"chart":{{"result":[{{"meta":{{{meta}}}}}],"error":null}}}}'
        return self.decoder.read(Frame("fx/market", self.at, text.encode()))

    def _stamp(self, age: Nanos) -> int:
        return (self.at - age) // MILLISECOND

    def later(self, by: Nanos) -> "Sources":
        self.at += by
        return self


@pytest.fixture
def sources() -> Sources:
    made = Sources(TUESDAY_NOON)
    made.bank("1400.50")
    assert made.market("1401.25")
    return made


def test_a_rate_needs_two_sources_to_begin_with() -> None:
    made = Sources(TUESDAY_NOON)
    assert made.bank("1400.50") == []
    (rate,) = made.market("1401.25")
    assert (rate.base, str(rate.value), rate.source) == ("USD", "1401.25", "market")
    assert (rate.at, rate.valid_until) == (TUESDAY_NOON, TUESDAY_NOON + 2 * MINUTE)
    assert made.decoder.counts == {"unconfirmed": 1}


def test_one_source_alone_is_believed_for_an_hour_near_what_both_agreed_on(sources: Sources) -> None:
    assert sources.later(50 * MINUTE).bank("1405")[0].value == 1405
    assert sources.later(9 * MINUTE).bank("1406")
    assert sources.later(5 * MINUTE).bank("1406") == []


def test_one_source_alone_that_walks_away_is_not_believed(sources: Sources) -> None:
    told = [bool(sources.later(MINUTE).bank(str(1400 + 4 * step))) for step in range(10)]
    assert told == [True] * 5 + [False] * 5  # past one percent of what both said


def test_when_the_sources_contradict_each_other_the_rate_is_taken_back(sources: Sources) -> None:
    told = []
    for _ in range(5):  # the filter lets a lasting jump through
        told += sources.later(15 * SECOND).bank("1450")
    (taken_back,) = told
    assert not taken_back.is_usable
    assert not taken_back.is_valid(sources.at)
    assert sources.later(SECOND).market("1401") == []  # nobody knows who is right
    again = [event for _ in range(5) for event in sources.later(15 * SECOND).market("1450")]
    assert again[-1].value == 1450


@pytest.mark.parametrize("lie", ["0", "-1400", "140000", "14", "1e400", "1e999999999", "1.4005"])
def test_a_single_absurd_reading_is_no_news(sources: Sources, lie: str) -> None:
    assert sources.later(15 * SECOND).bank(lie) == []
    assert sources.later(15 * SECOND).bank("1400.75")[0].value == Decimal("1400.75")


@pytest.mark.parametrize("lie", ['"NaN"', '"Infinity"', "null", '""', "true"])
def test_what_is_no_number_is_no_rate(sources: Sources, lie: str) -> None:
    assert sources.later(15 * SECOND).bank(lie) == []


def test_a_source_that_goes_on_telling_an_old_rate_is_dead(sources: Sources) -> None:
    sources.later(HOUR + MINUTE)
    assert sources.bank("1400.50", age=HOUR) == []
    assert sources.decoder.counts["dead bank"] == 1
    assert sources.bank("1400.50", age=5 * MINUTE) == []  # alive, but nobody confirms it any more
    assert sources.market("1401", age=5 * MINUTE)


def test_at_the_weekend_a_standing_rate_is_known_and_valid_until_the_opening() -> None:
    made = Sources(SATURDAY_NOON)
    made.bank("1400.50", age=10 * HOUR)
    (rate,) = made.market("1401", age=10 * HOUR)
    monday = from_datetime(datetime(2026, 11, 23, 9, tzinfo=KST))
    assert rate.valid_until == monday + 2 * MINUTE
    assert rate.is_valid(monday)
    assert not rate.is_valid(monday + 3 * MINUTE)


def test_just_after_the_opening_last_nights_rate_is_not_called_dead() -> None:
    opening = from_datetime(datetime(2026, 11, 17, 9, tzinfo=KST))
    made = Sources(opening + MINUTE)
    made.bank("1400.50", age=7 * HOUR)
    assert made.market("1401", age=7 * HOUR)
    assert made.later(10 * MINUTE).market("1401", age=7 * HOUR) == []


@pytest.mark.parametrize("channel", ["fx/bank", "fx/market", "fx/unheard-of"])
@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"<html>blocked</html>",
        b"[]",
        b"{}",
        b'{"chart":{"result":null,"error":{"code":"Not Found"}}}',
        b'[{"code":"FRX.KRWJPY","basePrice":9.1,"timestamp":1}]',
        b'{"chart":{"result":[{"meta":{"currency":"USD","symbol":"KRW=X","regularMarketPrice":1,"regularMarketTime":1}}]}}',
    ],
)
def test_an_answer_that_holds_no_rate_is_counted(channel: str, payload: bytes) -> None:
    decoder = RateDecoder()
    assert decoder.read(Frame(channel, TUESDAY_NOON, payload)) == []
    assert decoder.counts == {"unreadable": 1}


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ((2026, 11, 16, 8, 59), False),  # Monday before the opening
        ((2026, 11, 16, 9, 0), True),
        ((2026, 11, 17, 1, 59), True),  # the night belongs to Monday
        ((2026, 11, 17, 2, 0), False),
        ((2026, 11, 21, 1, 59), True),  # Friday's night ends on Saturday
        ((2026, 11, 21, 9, 30), False),
        ((2026, 11, 23, 1, 0), False),  # Sunday has no night
    ],
)
def test_seouls_hours(moment: tuple[int, int, int, int, int], is_open: bool) -> None:
    assert MarketHours().is_open(from_datetime(datetime(*moment, tzinfo=KST))) is is_open


def test_a_holiday_that_is_known_is_no_fault_and_one_that_is_not_expires() -> None:
    christmas = from_datetime(datetime(2026, 12, 25, 12, tzinfo=KST))  # a Friday
    known, unknown = Sources(christmas, with_holidays([date(2026, 12, 25)])), Sources(christmas)
    for made in (known, unknown):
        made.bank("1400", age=20 * HOUR)
    assert known.market("1400", age=20 * HOUR)[0].valid_until > christmas + 2 * 24 * HOUR
    assert unknown.market("1400", age=20 * HOUR) == []


def test_the_next_opening_skips_holidays_and_weekends() -> None:
    hours = with_holidays([date(2026, 11, 23)])
    expected = from_datetime(datetime(2026, 11, 24, 0, tzinfo=UTC))
    assert hours.next_opening(SATURDAY_NOON) == expected
    assert hours.next_opening(TUESDAY_NOON) == TUESDAY_NOON


def test_the_filter_follows_a_real_jump_after_three_readings() -> None:
    spikes = SpikeFilter()
    readings = ["1400"] * 5 + ["1450"] * 4
    passed = [spikes.passes(Decimal(value)) for value in readings]
    assert passed == [True] * 5 + [False] * 3 + [True]


def test_documented_answers_are_read() -> None:
    documented: Callable[[object], bytes] = msgspec.json.encode
    board = {"code": "FRX.KRWUSD", "currencyCode": "USD", "date": "2024-02-20", "time": "15:31:14"}
    board |= {"recurrenceCount": 419, "provider": "하나은행"}
    payload = documented([board | {"basePrice": 1338.00, "timestamp": 1708410689000, "tcBuyingPrice": None}])
    decoder = RateDecoder()
    at = 1_708_410_690 * SECOND
    decoder.read(Frame("fx/bank", at, payload))
    assert decoder.counts == {"unconfirmed": 1}
