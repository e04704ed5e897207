"""What would have had to differ, as sentences: Korean and English, each with its figures."""

from __future__ import annotations

from kimp.order.commands.figures import digits_for, number, percent, won
from kimp.order.commands.words import Both, both, said
from kimp.order.reading.why import Need
from kimp.shared.ports.strategy import Condition

_UPWARD = {">", ">="}
_NETS = {"net", "worst_net", "net_target", "breakout_net"}
_COUNTS = {"entries_this_minute", "orders_in_doubt"}
_REMAINING = {"cooldown", "exit_pause", "quarantine_upbit", "quarantine_binance"}


def sentence(need: Need) -> Both:
    """One need in both languages."""
    korean, english = both(need.name)
    if need.actual is None or need.needed is None or need.missing is None:
        missing = ("지금 값", "its figure") if need.actual is None else ("기준 값", "its level")
        return f"{korean}: {missing[0]}을 아직 모름", f"{english}: {missing[1]} is not known yet"
    name = need.name.removeprefix("add_")
    if name in _NETS:
        return _net(need, korean, english)
    if name in _COUNTS:
        return (
            f"{korean} {number(need.actual)} → {_relation(need)[0].format(number(need.needed))}",
            f"{english} {number(need.actual)} → {_relation(need)[1].format(number(need.needed))}",
        )
    if name in _REMAINING:
        left = number(need.actual, 1)
        return f"{korean} {left}초 남음", f"{english} ends in {left} s"
    if name.startswith("rate_"):
        over = number(-need.actual, 1)
        return f"{korean}이 {over}초 전에 끝남", f"{english} ended {over} s ago"
    if name in ("book_age_upbit", "book_age_binance", "leg_skew"):
        return (
            f"{korean} {number(need.actual, 3)}초 → {number(need.needed, 3)}초 이내여야 함",
            f"{english} {number(need.actual, 3)} s → must be within {number(need.needed, 3)} s",
        )
    if name == "usdkrw":
        return (
            f"{korean} {number(need.actual, 2)}원 → {number(need.needed, 2)}원 이하여야 함: {number(need.missing, 2)}원",
            f"{english} {number(need.actual, 2)} → must be {number(need.needed, 2)} or less: {number(need.missing, 2)}",
        )
    return _fraction(need, korean, english)


def _fraction(need: Need, korean: str, english: str) -> Both:
    """A premium, a funding rate or a share: percent, and the difference in percentage points."""
    assert need.needed is not None
    digits = max(digits_for(need.missing), 4 if need.name.endswith("funding_income") else 2)
    actual, needed, missing = (percent(value, digits) for value in (need.actual, need.needed, need.missing))
    upward = need.relation in _UPWARD
    is_at = need.missing == 0
    gap_ko, gap_en = (
        ("정확히 기준 값이라 부족함", "exactly on it is not enough") if is_at else (f"{missing}p", f"{missing}p")
    )
    return (
        f"{korean} {actual} → {needed}보다 {'올라가야' if upward else '내려가야'} 함: {gap_ko}",
        f"{english} {actual} → must {'rise above' if upward else 'fall below'} {needed}: {gap_en}",
    )


def _net(need: Need, korean: str, english: str) -> Both:
    assert need.needed is not None
    needed_ko, needed_en = f"{won(need.needed, signed=False)}원 초과", f"> {won(need.needed, signed=False)}"
    ko = f"{korean} {won(need.actual)}원 → {needed_ko} 필요 (부족분 {won(need.missing)}원)"
    en = f"{english} {won(need.actual)} KRW → needs {needed_en} (lacks {won(need.missing)} KRW)"
    if need.premium is None or need.premium_now is None:
        return ko, en
    upward = need.premium > need.premium_now
    now, then = percent(need.premium_now), percent(need.premium)
    return (
        f"{ko}: 청산 김프(테더 기준)가 {now}에서 {then}까지 {'올라야' if upward else '내려야'} 함",
        f"{en}: the leaving premium (usdt basis) must {'rise' if upward else 'fall'} from {now} to {then}",
    )


def told(one: Condition) -> str:
    """A strategy's comparison with its figures, whether or not it holds."""
    name = one.name.removeprefix("add_")
    if name in _NETS:
        actual, needed = f"{won(one.actual)}원", f"{won(one.needed)}원"
    elif name == "usdkrw":
        actual, needed = number(one.actual, 2), number(one.needed, 2)
    else:
        gap = None if one.actual is None or one.needed is None else one.needed - one.actual
        digits = max(digits_for(gap), 4 if name == "funding_income" else 2)
        actual, needed = percent(one.actual, digits), percent(one.needed, digits)
    return f"{said(one.name)} {actual} {one.relation} {needed}"


def _relation(need: Need) -> Both:
    return {
        "<": ("{} 미만이어야 함", "must be below {}"),
        "<=": ("{} 이하여야 함", "must be {} or less"),
        ">": ("{} 초과여야 함", "must be above {}"),
        ">=": ("{} 이상이어야 함", "must be {} or more"),
    }[need.relation]


def need_of_refusal(code: str) -> Both | None:
    """What an owner can do about a refusal that no figure stands behind."""
    return {
        "stopped": ("kimp resume 으로 신규 진입을 다시 허용해야 함", "entries have to be allowed again: kimp resume"),
        "halted": ("원인을 확인하고 kimp resume 해야 함", "look into the cause, then: kimp resume"),
        "position_mismatch": (
            "kimp reconcile 로 장부와 잔고를 맞춰야 함",
            "books and venue have to agree: kimp reconcile",
        ),
        "venue_unavailable": ("거래소가 다시 응답해야 함", "the venue has to answer again"),
        "clock_skewed": ("컴퓨터 시계를 맞춰야 함", "this machine's clock has to be set"),
        "too_small": ("자금이 더 필요함", "more money is needed"),
        "book_too_thin": ("호가 물량이 더 있어야 함", "the books have to be deeper"),
        "not_at_size": (
            "실제 수량의 평균 체결가에서도 조건이 맞아야 함",
            "it has to hold at the prices of the real size too",
        ),
        "cannot_afford": ("업비트에 원화가 더 필요함", "more won is needed on Upbit"),
        "no_book": ("거래소 호가를 받아야 함", "a book has to arrive"),
        "book_invalid": ("정상 호가를 받아야 함", "a sound book has to arrive"),
        "feed_lost": ("시세 수신이 복구되어야 함", "the feed has to come back"),
        "fx_missing": ("환율을 받아야 함", "an exchange rate has to arrive"),
    }.get(code)
