"""What the owner reads: every notice in both languages, with its figures and what to do."""

from decimal import Decimal
from typing import get_args

import pytest

from kimp.order.operators.notifier import LogNotifier
from kimp.order.operators.wording import Language, Weight, weight, worded
from kimp.shared.domain.instruments import Venue
from kimp.shared.domain.money import Amount
from kimp.shared.domain.positions import Breakdown
from kimp.shared.domain.signals import Direction
from kimp.shared.messages import notices as told
from kimp.shared.messages.notices import Notice

EARNED = Breakdown(*(Decimal(part) for part in ("120000", "-20000", "3000", "-9000", "-1000")))
SLOT = "kimp:BTC"
NOTICES: list[Notice] = [
    told.PairOpened(SLOT, "s", Direction.LONG_PREMIUM, Decimal("0.0600"), Decimal("0.035"), None),
    told.PairClosed(SLOT, "s", EARNED, is_loss=False),
    told.LegNaked(SLOT, "s", Decimal("-0.02")),
    told.LegRepaired(SLOT, "s"),
    told.RepairFailing(SLOT, "s", Decimal("0.02"), 8),
    told.OrderUnresolved(SLOT, "kimp-1"),
    told.ForeignFill(SLOT, "binance:BTCUSDT", "autoclose-1", Decimal("0.06")),
    told.PositionMismatch(SLOT, "upbit:KRW-BTC", Decimal("0.06"), Decimal("0.05")),
    told.ForcedLoss(SLOT, "s", Decimal(-12345), "owner_override"),
    told.CloseRefused(SLOT, "c1", ("not_held",)),
    told.StrayOrder("binance:BTCUSDT", "kimp-1-0-0", is_ours=True),
    told.FundsFound(Venue.UPBIT, Amount(Decimal(-5000), "KRW")),
    told.VenueTurned(Venue.UPBIT, is_available=False, reason="timeout"),
    told.PartFailed("mirror", "ValueError: no", 3),
]


def test_every_kind_of_notice_is_worded_here() -> None:
    assert {type(notice) for notice in NOTICES} == set(get_args(Notice))


@pytest.mark.parametrize("notice", NOTICES, ids=lambda notice: type(notice).__name__)
@pytest.mark.parametrize("language", list(Language))
def test_a_notice_is_one_line_in_its_language(notice: Notice, language: Language) -> None:
    line = worded(notice, language)
    assert "\n" not in line
    assert any("가" <= letter <= "힣" for letter in line) == (language is Language.KOREAN)


def test_an_entry_reads_as_its_owner_expects() -> None:
    assert worded(NOTICES[0]) == "📈 포지션 진입 - 김프 +3.50% (테더 기준 -), 0.06 BTC"


def test_a_closed_pair_names_parts_that_add_up() -> None:
    line = worded(NOTICES[1], Language.ENGLISH)
    assert line == "📉 position closed - BTC net +93,000 KRW (premium +120,000 fx -20,000 funding +3,000 costs -10,000)"


def test_what_needs_a_person_is_an_alarm() -> None:
    alarms = {type(notice).__name__ for notice in NOTICES if weight(notice) is Weight.ALARM}
    assert alarms == {"RepairFailing", "OrderUnresolved", "ForeignFill", "PositionMismatch", "ForcedLoss", "StrayOrder"}


def test_the_log_notifier_takes_every_notice() -> None:
    notifier = LogNotifier("paper")
    for notice in NOTICES:
        notifier.send(notice, 1_700_000_000_000_000_000)
    assert notifier.count == len(NOTICES)
