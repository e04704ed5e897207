"""Notices in words, Korean and English: what happened, its figures, and what the owner should do next."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import assert_never

from kimp.shared.messages.notices import (
    CloseRefused,
    ForcedLoss,
    ForeignFill,
    FundsFound,
    LegNaked,
    LegRepaired,
    Notice,
    OrderUnresolved,
    PairClosed,
    PairOpened,
    PartFailed,
    PositionMismatch,
    RepairFailing,
    StrayOrder,
    VenueTurned,
)


class Language(StrEnum):
    """Which of the two an operator reads."""

    KOREAN = "ko"
    ENGLISH = "en"


class Weight(StrEnum):
    """How loud a notice is: an alarm wants a person now."""

    NEWS = "news"
    WARNING = "warning"
    ALARM = "alarm"


def weight(notice: Notice) -> Weight:
    """How loud this is."""
    match notice:
        case PairOpened() | LegRepaired():
            return Weight.NEWS
        case PairClosed(is_loss=is_loss):
            return Weight.WARNING if is_loss else Weight.NEWS
        case VenueTurned(is_available=is_available):
            return Weight.NEWS if is_available else Weight.WARNING
        case LegNaked() | CloseRefused() | FundsFound() | PartFailed():
            return Weight.WARNING
        case RepairFailing() | OrderUnresolved() | ForeignFill() | PositionMismatch() | ForcedLoss() | StrayOrder():
            return Weight.ALARM
        case _:
            assert_never(notice)


def worded(notice: Notice, language: Language = Language.KOREAN) -> str:
    """The notice as one line."""
    korean, english = _both(notice)
    return korean if language is Language.KOREAN else english


def _both(notice: Notice) -> tuple[str, str]:
    match notice:
        case PairOpened() | PairClosed() | ForcedLoss():
            return _of_pair(notice)
        case LegNaked() | LegRepaired() | RepairFailing():
            return _of_leg(notice)
        case OrderUnresolved() | ForeignFill() | PositionMismatch() | CloseRefused():
            return _of_doubt(notice)
        case StrayOrder() | FundsFound() | VenueTurned() | PartFailed():
            return _of_surroundings(notice)
        case _:
            assert_never(notice)


def _of_pair(notice: PairOpened | PairClosed | ForcedLoss) -> tuple[str, str]:
    coin = notice.slot.rpartition(":")[2]
    match notice:
        case PairOpened(quantity=quantity, premium=fx, usdt_premium=usdt):
            size = f"{quantity.normalize():f} {coin}"
            return (
                f"📈 포지션 진입 - 김프 {_percent(fx)} (테더 기준 {_percent(usdt)}), {size}",
                f"📈 position opened - premium {_percent(fx)} (usdt basis {_percent(usdt)}), {size}",
            )
        case PairClosed(breakdown=earned):
            parts = (earned.premium, earned.fx, earned.funding, earned.fees + earned.slippage)
            ko = " ".join(f"{n} {_won(p)}" for n, p in zip(("김프", "환율", "펀딩", "비용"), parts, strict=True))
            en = " ".join(f"{n} {_won(p)}" for n, p in zip(("premium", "fx", "funding", "costs"), parts, strict=True))
            return (
                f"📉 포지션 청산 - {coin} 순손익 {_won(earned.net)}원 ({ko})",
                f"📉 position closed - {coin} net {_won(earned.net)} KRW ({en})",
            )
        case ForcedLoss(net=net, cause=cause):
            return (
                f"🚨 손실 청산 {coin} {_won(net)}원 - 원인 {cause}. kimp why 로 확인하세요",
                f"🚨 closed at a loss {coin} {_won(net)} KRW - cause {cause}; see: kimp why",
            )
        case _:
            assert_never(notice)


def _of_leg(notice: LegNaked | LegRepaired | RepairFailing) -> tuple[str, str]:
    coin = notice.slot.rpartition(":")[2]
    match notice:
        case LegNaked(exposure=exposure):
            return (
                f"⚠️ 한쪽 체결 {coin} {exposure:+f} - 자동 복구 중",
                f"⚠️ naked leg {coin} {exposure:+f} - being repaired",
            )
        case LegRepaired():
            return f"✅ 양쪽 일치 {coin} - 복구 완료", f"✅ legs match again {coin} - repaired"
        case RepairFailing(exposure=exposure, attempts=attempts):
            return (
                f"🚨 복구 실패 {coin} {exposure:+f}, {attempts}회 시도 - 신규 진입을 멈췄습니다. 거래소를 확인하세요",
                f"🚨 repair failing {coin} {exposure:+f} after {attempts} tries - entries halted; look at the venues",
            )
        case _:
            assert_never(notice)


def _of_doubt(notice: OrderUnresolved | ForeignFill | PositionMismatch | CloseRefused) -> tuple[str, str]:
    match notice:
        case OrderUnresolved(client_id=client_id):
            return (
                f"🚨 주문 결과 불명 {client_id} - 확인될 때까지 진입하지 않습니다. 거래소 주문 내역을 확인하세요",
                f"🚨 order outcome unknown {client_id} - no entry until it is known; look at the venue's order list",
            )
        case ForeignFill(instrument_id=instrument_id, client_id=client_id, quantity=quantity):
            return (
                f"🚨 주문하지 않은 체결 {instrument_id} {quantity:f} ({client_id}) - 청산·ADL·수동 거래인지 확인하세요",
                f"🚨 a fill nobody ordered {instrument_id} {quantity:f} ({client_id}) - liquidation, ADL or a hand?",
            )
        case PositionMismatch(instrument_id=instrument_id, ours=ours, theirs=theirs):
            return (
                f"🚨 잔고 불일치 {instrument_id}: 장부 {ours:f}, 거래소 {theirs:f} - kimp reconcile 로 확인하세요",
                f"🚨 position mismatch {instrument_id}: ours {ours:f}, venue {theirs:f} - see: kimp reconcile",
            )
        case CloseRefused(slot=slot, refusals=refusals):
            why = ", ".join(refusals)
            return (
                f"⚠️ 강제 청산을 실행하지 못했습니다 {slot}: {why} - 다시 시도하세요",
                f"⚠️ the ordered close could not be followed {slot}: {why} - order it again",
            )
        case _:
            assert_never(notice)


def _of_surroundings(notice: StrayOrder | FundsFound | VenueTurned | PartFailed) -> tuple[str, str]:
    match notice:
        case StrayOrder(instrument_id=instrument_id, client_id=client_id, is_ours=is_ours):
            ko = "취소했습니다" if is_ours else "직접 낸 주문인지 확인하세요"
            en = "ours, cancelled" if is_ours else "not ours; did you place it?"
            return (
                f"🚨 장부에 없는 미체결 주문 {instrument_id} {client_id} - {ko}",
                f"🚨 an order rests that our books do not know {instrument_id} {client_id} - {en}",
            )
        case FundsFound(venue=venue, amount=amount):
            size = f"{amount.value:+f} {amount.asset}"
            return (
                f"⚠️ 입출금 반영 {venue.value} {size} - 직접 하신 것이 아니면 거래소를 확인하세요",
                f"⚠️ funds moved {venue.value} {size} - if that was not you, look at the venue",
            )
        case VenueTurned(venue=venue, is_available=True):
            return f"✅ 거래소 복구 {venue.value} - 대조 완료", f"✅ venue answers again {venue.value} - reconciled"
        case VenueTurned(venue=venue, reason=reason):
            return (
                f"⚠️ 거래소 응답 없음 {venue.value} ({reason}) - 응답할 때까지 진입하지 않습니다",
                f"⚠️ venue does not answer {venue.value} ({reason}) - no entry until it does",
            )
        case PartFailed(part=part, reason=reason, restarts=restarts):
            return (
                f"⚠️ 구성 요소 재시작 {part} ({restarts}회): {reason} - 거래는 계속됩니다",
                f"⚠️ a part was started again {part} ({restarts} times): {reason} - trading goes on",
            )
        case _:
            assert_never(notice)


def _percent(fraction: Decimal | None) -> str:
    return "-" if fraction is None else f"{fraction:+.2%}"


def _won(amount: Decimal) -> str:
    return f"{amount:+z,.0f}"
