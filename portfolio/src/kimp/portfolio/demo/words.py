"""Every word of the demo in one place, Korean first and English second."""

from __future__ import annotations

from enum import StrEnum

from kimp.research.backtest.report.labels import Label
from kimp.shared.domain.instruments import Side, Venue
from kimp.shared.domain.signals import Refusal
from kimp.shared.messages.records import Phase


class Kind(StrEnum):
    """What a line of the story is about."""

    FUNDED = "funded"
    SIGNAL = "signal"
    UNKNOWN = "unknown"
    RESOLVED = "resolved"
    REJECTED = "rejected"
    NAKED = "naked"
    REPAIRED = "repaired"
    ENTERED = "entered"
    REFUSED = "refused"
    EXIT_REFUSED = "exit_refused"
    EXITED = "exited"
    ALERT = "alert"


TAGS = {
    Kind.FUNDED: Label("입출금", "funds"),
    Kind.SIGNAL: Label("신호", "signal"),
    Kind.UNKNOWN: Label("결과 불명", "unknown"),
    Kind.RESOLVED: Label("확인", "resolved"),
    Kind.REJECTED: Label("거부", "rejected"),
    Kind.NAKED: Label("한쪽 체결", "naked"),
    Kind.REPAIRED: Label("복구", "repaired"),
    Kind.ENTERED: Label("진입", "entered"),
    Kind.REFUSED: Label("보류", "refused"),
    Kind.EXIT_REFUSED: Label("청산 거절", "no exit"),
    Kind.EXITED: Label("청산", "exited"),
    Kind.ALERT: Label("경보", "alert"),
}

COLOURS = {
    Kind.ENTERED: "bold cyan",
    Kind.EXITED: "bold green",
    Kind.EXIT_REFUSED: "bold yellow",
    Kind.UNKNOWN: "bold magenta",
    Kind.REJECTED: "bold magenta",
    Kind.NAKED: "bold red",
    Kind.ALERT: "bold red",
    Kind.RESOLVED: "green",
    Kind.REPAIRED: "green",
    Kind.SIGNAL: "cyan",
}

PHASES = {
    Phase.FLAT: Label("대기", "flat"),
    Phase.ENTERING: Label("진입 중", "entering"),
    Phase.OPEN: Label("보유 중", "open"),
    Phase.EXITING: Label("청산 중", "exiting"),
    Phase.REPAIRING: Label("복구 중", "repairing"),
    Phase.HALTED: Label("정지", "halted"),
}

VENUES = {Venue.UPBIT: Label("업비트", "Upbit"), Venue.BINANCE: Label("바이낸스", "Binance")}
SIDES = {Side.BUY: Label("매수", "buy"), Side.SELL: Label("매도", "sell")}

REFUSALS = {
    Refusal.NO_BOOK: Label("호가 없음", "no book"),
    Refusal.BOOK_INVALID: Label("호가 이상", "book invalid"),
    Refusal.BOOK_STALE: Label("오래된 호가", "book stale"),
    Refusal.LEGS_SKEWED: Label("두 거래소 시각 차이", "legs skewed"),
    Refusal.FX_MISSING: Label("환율 없음", "no FX"),
    Refusal.FX_EXPIRED: Label("환율 만료", "FX expired"),
    Refusal.COOLING_DOWN: Label("잠시 쉼", "cooling down"),
    Refusal.TOO_SMALL: Label("수량 부족", "too small"),
    Refusal.NOT_AT_SIZE: Label("실제 수량 가격 미달", "not at size"),
    Refusal.NET_NOT_POSITIVE: Label("순손익이 +가 아님", "net not positive"),
}

HOLDS = {
    "warming_up_premium": Label("데이터 모으는 중", "a day of data first"),
    "premium_not_below_percentile": Label("김프가 낮지 않음", "premium not low"),
    "premium_below_percentile": Label("하루 중 하위 1/5", "lowest fifth of a day"),
    "net_not_above_target": Label("목표 순이익 미달", "net below target"),
    "target_reached": Label("목표 순이익 도달", "target reached"),
    "impatient_hand": Label("조급한 손 (주입)", "impatient (injected)"),
    "entry_unwound": Label("진입 되돌림", "entry unwound"),
}
"""Signals of the strategy by their reason codes."""

SIGNALS = {"Enter": Label("진입", "enter"), "Exit": Label("청산", "exit"), "Hold": Label("대기", "hold")}

INJECTED = Label("주입", "injected")
LOST_ANSWER = Label(
    "일부러 넣은 사고: 응답이 사라짐. 다시 보내지 않고 주문 번호로 물어봅니다.",
    "Injected: the answer got lost. It is not sent again; the venue is asked by the order's id.",
)
ASKED = Label(
    "물어보니 이미 체결되어 있었습니다. 다시 보냈다면 두 배를 팔았을 것입니다.",
    "The venue says it had filled. Sending it again would have sold twice as much.",
)
REFUSED_LEG = Label(
    "일부러 넣은 사고: 업비트는 거부, 바이낸스는 체결. 한쪽이 비었습니다.",
    "Injected: Upbit refused while Binance filled, so one leg is naked.",
)
COMPLETED = Label(
    "빠진 쪽을 같은 가격 한도 안에서 채워 두 다리가 맞습니다.",
    "The missing leg was filled within the same price limit; both legs match again.",
)
IMPATIENCE = Label(
    "일부러 넣은 조급한 손이 손실인데 닫자고 합니다. 엔진은 닫지 않습니다.",
    "Injected impatience: close it, though at a loss. The engine does not.",
)


def known(table: dict[Refusal, Label], code: str) -> Label:
    """The words for a refusal's code; the code itself where no words were found for it yet."""
    return table.get(Refusal(code), Label(code, code))


def reason(code: str) -> Label:
    """The words for a signal's reason; the code itself where there are none."""
    return HOLDS.get(code, Label(code, code))
