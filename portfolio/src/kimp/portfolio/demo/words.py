"""Every word of the demo in one place, Korean first and English second."""

from __future__ import annotations

from enum import StrEnum

from kimp.research.backtest.report.labels import Label
from kimp.shared.domain.instruments import Side, Venue
from kimp.shared.messages.records import Phase


class Kind(StrEnum):
    """What a line of the story is about."""

    CURTAIN = "curtain"
    FUNDED = "funded"
    FUNDING = "funding"
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
    ENDED = "ended"
    RESTORED = "restored"


TAGS = {
    Kind.CURTAIN: Label("데모", "demo"),
    Kind.FUNDED: Label("입금", "funds"),
    Kind.FUNDING: Label("펀딩", "funding"),
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
    Kind.ENDED: Label("종료", "ended"),
    Kind.RESTORED: Label("복귀", "restored"),
}

COLOURS = {
    Kind.ENTERED: "bold cyan",
    Kind.EXITED: "bold green",
    Kind.EXIT_REFUSED: "bold yellow",
    Kind.UNKNOWN: "bold magenta",
    Kind.REJECTED: "bold magenta",
    Kind.NAKED: "bold red",
    Kind.ALERT: "bold red",
    Kind.ENDED: "bold magenta",
    Kind.RESTORED: "green",
    Kind.FUNDING: "cyan",
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

SIGNALS = {"Enter": Label("진입", "enter"), "Exit": Label("청산", "exit"), "Hold": Label("대기", "hold")}

CURTAIN = Label(
    "보여 주려고 고른 시장·시간·기준입니다. * 표시는 일부러 넣은 사고입니다.",
    "Market, hour and thresholds were chosen for showing; what has a * was put in on purpose.",
)
LOST_ANSWER = Label(
    "일부러 넣은 사고: 체결된 주문의 응답이 끊김. 다시 보내지 않습니다.",
    "Injected: executed, but the answer was cut off. It is not sent again.",
)
ASKED = Label(
    "거래소에 확인하니 체결되어 있었습니다. 다시 보냈다면 두 배를 팔았습니다.",
    "The venue says it had filled. Sending it again would have sold twice.",
)
REFUSED_LEG = Label(
    "일부러 넣은 사고: 업비트는 거부, 바이낸스는 체결. 한쪽이 비었습니다.",
    "Injected: Upbit refused while Binance filled, so one leg is naked.",
)
COMPLETED = Label(
    "빠진 쪽을 같은 가격 한도 안에서 채워 두 다리가 맞습니다.",
    "The missing leg was filled within the same limit; both legs match.",
)
IMPATIENCE = Label(
    "일부러 넣은 조급한 손이 손실인데 닫자고 합니다. 엔진은 닫지 않습니다.",
    "Injected impatience: close it, though at a loss. The engine does not.",
)
ENDED = Label(
    "일부러 넣은 사고: 포지션을 든 채 트레이더를 끕니다. 거래소는 계속 돕니다.",
    "Injected: the trader is ended while it holds; the venues go on.",
)
RESTORED = Label(
    "원장에서 포지션을 되살리고 두 거래소와 맞춰 본 뒤 이어 갑니다.",
    "The journal brought the position back; both venues confirm it.",
)
FUNDING = Label(
    "펀딩비가 정산되었습니다: 숏이 받은 돈도 장부에 들어갑니다.",
    "Funding settled: what the short received is in the books.",
)
