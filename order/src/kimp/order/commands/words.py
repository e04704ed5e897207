"""Every word the reading commands print, Korean and English: codes of the engine in both languages."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

Both = tuple[str, str]
"""Korean and English."""

WORDS: Mapping[str, Both] = MappingProxyType(
    {
        # where a pair stands
        "flat": ("포지션 없음", "flat"),
        "entering": ("진입 중", "entering"),
        "open": ("보유 중", "open"),
        "exiting": ("청산 중", "exiting"),
        "repairing": ("복구 중", "repairing"),
        # what was answered
        "hold": ("대기", "hold"),
        "enter": ("진입", "enter"),
        "exit": ("청산", "exit"),
        "repair": ("복구", "repair"),
        "override": ("소유자 강제 청산", "the owner's override"),
        "foreign": ("주문하지 않은 체결", "nobody's order"),
        "quote_ahead": ("미래 시각의 시세", "a quote dated ahead of us"),
        "undecided": ("판단 보류", "no decision"),
        "busy": ("주문 처리 중", "orders under way"),
        # the owner's switch
        "active": ("거래 허용", "active"),
        "reducing": ("신규 진입 정지", "no new entries"),
        "halted": ("정지됨", "halted"),
        # directions and sides
        "LONG_PREMIUM": ("김프 매수 (업비트 매수 + 선물 매도)", "long the premium"),
        "SHORT_PREMIUM": ("김프 매도 (업비트 매도 + 선물 매수)", "short the premium"),
        "buy": ("매수", "buy"),
        "sell": ("매도", "sell"),
        # the strategy's figures
        "premium_threshold": ("김프", "premium"),
        "premium_percentile": ("김프 (백분위 기준)", "premium (percentile)"),
        "premium_z_score": ("김프 (Z점수 기준)", "premium (z-score)"),
        "funding_income": ("펀딩비 수입", "funding income"),
        "usdkrw": ("원/달러 환율", "USD/KRW"),
        "net_target": ("순이익 (목표)", "net (target)"),
        "breakout_net": ("순이익 (돌파 청산)", "net (breakout exit)"),
        "breakout_band": ("청산 김프 (볼린저 상단)", "leaving premium (Bollinger band)"),
        "add_share": ("보유 비율", "share held"),
        "add_further": ("김프 (추가 진입 Z점수)", "premium (second tranche z-score)"),
        "net": ("순손익", "net"),
        "worst_net": ("최악 체결 시 순손익", "net at the worst fills"),
        # the engine's guards
        "book_age_upbit": ("업비트 호가 나이", "age of Upbit's book"),
        "book_age_binance": ("바이낸스 호가 나이", "age of Binance's book"),
        "leg_skew": ("두 거래소 호가 시차", "time between the two books"),
        "rate_usd_valid_for": ("원/달러 환율 유효 시간", "validity of USD/KRW"),
        "rate_usdt_valid_for": ("테더 시세 유효 시간", "validity of KRW-USDT"),
        "quarantine_upbit": ("업비트 시세 재연결 대기", "quarantine of Upbit's feed"),
        "quarantine_binance": ("바이낸스 시세 재연결 대기", "quarantine of Binance's feed"),
        "cooldown": ("재진입 대기", "cooldown"),
        "exit_pause": ("청산 재시도 대기", "pause before the next exit"),
        "entries_this_minute": ("최근 1분 진입 횟수", "entries within a minute"),
        "orders_in_doubt": ("끝나지 않은 주문", "orders not settled"),
        # why the strategy waits
        "premium_not_above_threshold": ("김프가 기준보다 높지 않음", "the premium is not above its threshold"),
        "premium_not_below_threshold": ("김프가 기준보다 낮지 않음", "the premium is not below its threshold"),
        "premium_not_above_percentile": ("김프가 백분위 기준보다 높지 않음", "the premium is not above its percentile"),
        "premium_not_below_percentile": ("김프가 백분위 기준보다 낮지 않음", "the premium is not below its percentile"),
        "premium_not_above_z_score": ("김프가 Z점수 기준보다 높지 않음", "the premium is not above its z-score"),
        "premium_not_below_z_score": ("김프가 Z점수 기준보다 낮지 않음", "the premium is not below its z-score"),
        "warming_up_premium": ("김프 이력을 모으는 중", "the premium's window is warming up"),
        "warming_up_fx": ("환율 이력을 모으는 중", "the window of USD/KRW is warming up"),
        "warming_up_band": ("볼린저 밴드 이력을 모으는 중", "the Bollinger band is warming up"),
        "funding_unknown": ("펀딩비를 아직 모름", "funding is not known"),
        "funding_not_above_minimum": ("펀딩비 수입이 부족함", "funding pays too little"),
        "usdkrw_unknown": ("원/달러 환율을 모름", "USD/KRW is not known"),
        "usdkrw_surging": ("원/달러 환율 급등", "USD/KRW has surged"),
        "net_unknown": ("지금 청산하면 얼마인지 알 수 없음", "the net of closing is not known"),
        "net_not_positive": ("지금 청산하면 손실", "closing now would lose money"),
        "net_not_above_target": ("순이익이 목표에 못 미침", "the net is not above its target"),
        "no_breakout": ("돌파 없음", "no breakout"),
        "not_a_number": ("숫자가 아닌 값", "a figure that is no number"),
        # why it acts
        "second_tranche": ("2차 진입", "second tranche"),
        "net_positive": ("순이익 발생", "net positive"),
        "target_reached": ("목표 순이익 도달", "target reached"),
        "breakout": ("김프 돌파", "breakout"),
        "owner_override": ("소유자 강제 청산", "the owner's override"),
        "foreign_fill": ("주문하지 않은 체결", "a fill nobody ordered"),
        # why the engine did not follow
        "no_book": ("호가 없음", "no book yet"),
        "book_invalid": ("잘못된 호가", "the book is invalid"),
        "book_stale": ("호가가 오래됨", "a book is stale"),
        "legs_skewed": ("두 거래소 호가의 시차가 큼", "the books are too far apart in time"),
        "fx_missing": ("환율 없음", "an exchange rate is missing"),
        "fx_expired": ("환율 유효 시간 지남", "an exchange rate has expired"),
        "feed_lost": ("시세 수신 끊김", "a feed is lost"),
        "feed_quarantined": ("시세 재연결 직후", "a feed has just come back"),
        "venue_unavailable": ("거래소 점검 또는 응답 없음", "a venue is not available"),
        "clock_skewed": ("시계 오차가 큼", "the clocks differ too much"),
        "stopped": ("신규 진입이 정지됨", "entries are stopped"),
        "cooling_down": ("재진입 대기 중", "cooling down"),
        "rate_capped": ("분당 진입 횟수 한도", "too many entries in a minute"),
        "position_mismatch": ("장부와 거래소 잔고가 다름", "books and venue disagree"),
        "order_unknown": ("결과를 모르는 주문이 있음", "an order is not settled"),
        "too_small": ("최소 주문보다 작음", "too small for the venues"),
        "book_too_thin": ("호가 물량 부족", "a book is too thin"),
        "not_at_size": ("실제 수량의 체결가로는 조건 미달", "not at the prices of the real size"),
        "signal_consumed": ("이미 처리한 신호", "the signal was used before"),
        "not_held": ("보유 포지션 없음", "nothing is held"),
        "held_the_other_way": ("반대 방향 보유 중", "held the other way"),
        "cannot_afford": ("되살 원화 부족", "not enough won to buy back"),
        # how it ended
        "legs_match": ("양쪽 일치", "legs match"),
        "nothing_filled": ("체결 없음", "nothing filled"),
        "legs_differ": ("한쪽만 체결", "naked leg"),
        "repair_failing": ("복구 실패", "repair failing"),
        "entry_unwound": ("한쪽 체결을 되돌림", "entry unwound"),
        "exit_repaired": ("청산 중 한쪽 체결 복구", "exit repaired"),
        "closed_by_others": ("강제 청산·ADL·수동 거래", "liquidation, ADL or a hand"),
        # orders
        "waiting": ("응답 대기", "no answer yet"),
        "accepted": ("접수됨", "accepted"),
        "done": ("완료", "done"),
        "lost": ("도착하지 않음", "never arrived"),
        "rejected": ("거부됨", "rejected"),
        "unknown": ("결과 불명", "unknown"),
        # feeds
        "feed_ok": ("정상", "ok"),
        "feed_stale": ("오래됨", "stale"),
        "feed_expired": ("유효 시간 지남", "expired"),
        "feed_missing": ("받지 못함", "missing"),
        "feed_invalid": ("잘못된 호가", "invalid"),
        # exports
        "trades": ("체결 내역", "trades"),
        "ledger": ("복식부기 원장", "ledger"),
        "tax": ("세무 자료", "tax records"),
    }
)


def both(code: str) -> Both:
    """A code in Korean and English; one that is not known here (of a foreign strategy) stands for itself."""
    if code in WORDS:
        return WORDS[code]
    bare = code.removeprefix("add_")
    if bare in WORDS:  # the conditions of entering, asked again before the second tranche
        return f"추가 진입: {WORDS[bare][0]}", f"second tranche: {WORDS[bare][1]}"
    if code.startswith("premium_"):  # a reason of an entry: premium_below_threshold_and_z_score
        return "진입 조건 충족", code.replace("_", " ")
    return code, code.replace("_", " ")


def said(code: str) -> str:
    """``한국어 (English)``."""
    korean, english = both(code)
    return f"{korean} ({english})" if korean != english else korean
