"""Every word of the report in one place, Korean first and English second."""

from typing import NamedTuple


class Label(NamedTuple):
    """One name in both languages."""

    ko: str
    en: str

    @property
    def both(self) -> str:
        """``자산 곡선 · Equity``."""
        return f"{self.ko} · {self.en}"

    @property
    def stacked(self) -> str:
        """Both languages on two lines, for the narrow axis of a chart."""
        return f"{self.ko}<br>{self.en}"


TITLE = Label("백테스트 보고서", "Backtest report")
HEADLINE = Label("요약", "Headline")
EQUITY = Label("자산 곡선", "Equity")
DRAWDOWN = Label("낙폭", "Drawdown")
CAPITAL = Label("시작 자본", "Starting capital")
FINAL_EQUITY = Label("최종 자산", "Final equity")
PREMIUM = Label("김프", "Premium")
PREMIUM_CHART = Label("김프와 진입·청산", "Premium with entries and exits")
MEDIAN = Label("30일 중앙값", "30-day median")
ENTRY = Label("진입", "Entry")
EXIT = Label("청산", "Exit")
ENTRY_LINE = Label("진입 기준", "Entry line")
FUNDING_CHART = Label("누적 펀딩", "Cumulative funding")
ROLLING_SHARPE = Label("90일 이동 샤프", "Rolling Sharpe, 90 d")
MONTHLY = Label("월별 수익률", "Monthly returns")
YEAR = Label("연간", "Year")
ATTRIBUTION = Label("손익 분해", "Attribution")
PARAMETERS = Label("파라미터 히트맵", "Parameter heat map")
TRADES = Label("거래 내역", "Trades")
EXIT_REASONS = Label("청산 사유", "Exit reasons")
OPEN_POSITION = Label("종료 시점 보유 포지션", "Open position at the end")
NO_OPEN_POSITION = Label("종료 시점에 보유 포지션 없음", "No open position at the end")
REFUSALS = Label("진입·청산 거절", "Refusals by guard")
ASSUMPTIONS = Label("가정", "Assumptions")
WARNINGS = Label("주의", "Warnings")
PROVENANCE = Label("재현 정보", "Provenance")
OTHERS = Label("그 외", "others")
NONE = Label("없음", "none")

TOTAL_RETURN = Label("총수익률", "Total return")
CAGR = Label("연복리 수익률", "CAGR")
VOLATILITY = Label("연 변동성", "Volatility")
SHARPE = Label("샤프", "Sharpe")
SORTINO = Label("소르티노", "Sortino")
CALMAR = Label("칼마", "Calmar")
MAX_DRAWDOWN = Label("최대 낙폭", "Max drawdown")
DRAWDOWN_LENGTH = Label("낙폭 기간", "Its duration")
PROFIT_FACTOR = Label("손익비", "Profit factor")
CLOSED_TRADES = Label("거래", "Trades")
WIN_RATE = Label("승률", "Win rate")
EXPOSURE = Label("보유 비중", "Exposure")
HELD_MEDIAN = Label("중앙 보유", "Median held")
HELD_MAX = Label("최장 보유", "Longest held")
REPAIRS = Label("한쪽 체결 복구", "Repairs")
LIQUIDATIONS = Label("강제 청산", "Liquidations")
BARS = Label("봉", "Bars")
UNDER_WATER = Label("현재 낙폭 중", "Under water")
YES = Label("예", "yes")
NO = Label("아니오", "no")

FX = Label("환율", "FX")
FUNDING = Label("펀딩", "Funding")
FEES = Label("수수료", "Fees")
SLIPPAGE = Label("슬리피지", "Slippage")
NET = Label("순손익", "Net")
PARTS = {"premium": PREMIUM, "fx": FX, "funding": FUNDING, "fees": FEES, "slippage": SLIPPAGE, "net": NET}

REASON = Label("사유", "Reason")
COUNT = Label("횟수", "Count")
OPENED = Label("진입 시각 KST", "Opened")
CLOSED = Label("청산 시각 KST", "Closed")
HELD = Label("보유 기간", "Held")
QUANTITY = Label("수량", "Quantity")
NOTIONAL = Label("진입 금액", "Notional")
ENTRY_PREMIUM = Label("진입 김프", "Entry premium")
EXIT_PREMIUM = Label("청산 김프", "Exit premium")
NET_SHARE = Label("순손익 %", "Net % of notional")

ASSUMPTION_NAMES = {
    "fees": FEES,
    "slippage": SLIPPAGE,
    "slippage_model": Label("슬리피지 모형", "Slippage model"),
    "fill_rule": Label("체결 규칙", "Fill rule"),
    "fx_source": Label("환율 출처", "FX source"),
    "funding_source": Label("펀딩 출처", "Funding source"),
    "latency": Label("지연", "Latency"),
    "annualisation": Label("연환산", "Annualisation"),
    "marking": Label("평가", "Marking"),
    "capital": CAPITAL,
    "period": Label("기간", "Period"),
    "valuation": Label("USDT 평가", "USDT valued at"),
    "margin": Label("증거금", "Margin"),
    "rebalancing": Label("자금 재배치", "Rebalancing"),
    "buying_back": Label("재매수 자금", "Buying back"),
    "idle_usdt": Label("유휴 USDT", "Idle USDT"),
}

ANNUALISATION = "365 d, 무위험 수익률 0 · risk-free rate 0"
MARKING = "일별 09:00 KST, 보유 포지션 포함 · daily at 00:00 UTC, open position included"
REALISED_NOTE = Label(
    "손실 청산이 금지되어 있어 실현 손익만의 승률은 구조적으로 100%입니다. "
    "모든 성과는 시가평가 기준입니다: 승률에는 보유 중인 포지션을 포함하고, 손익비는 일별 손익으로 계산합니다.",
    "Closing at a loss is refused, so realised-only win rates are 100 % by construction; "
    "all figures are marked to market: the win rate counts the open position, the profit factor daily changes.",
)
SHOWN_OF_ALL = Label(
    "최근 {shown:,}건 / 전체 {total:,}건 (전체는 trades.parquet)", "latest shown, all in trades.parquet"
)
NO_TRADES = Label("청산된 거래 없음", "No closed trades")
NO_SCRIPT = Label("차트를 보려면 자바스크립트를 허용해 주세요.", "Charts need JavaScript; all tables work without it.")
ABOVE_MEDIAN = Label(
    "LONG_PREMIUM 진입 {judged:,}건 중 {above:,}건({share})이 30일 중앙값 김프보다 높은 곳에서 이루어졌습니다: "
    "추가 상승에 거는 진입입니다.",
    "{above:,} of {judged:,} long entries ({share}) lie above the 30-day median premium: "
    "they are betting on a further rise.",
)
UNATTRIBUTED = Label(
    "자산 변화와 손익 분해가 {amount} 어긋납니다.",
    "Equity change and attribution differ by {amount}.",
)
