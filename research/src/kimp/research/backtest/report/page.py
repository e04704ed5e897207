"""One HTML file that holds the whole report: no network, no fonts, no scripts from elsewhere."""

from decimal import Decimal
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]  # plotly ships no types

from kimp.research.backtest.report import labels, numerals
from kimp.research.backtest.report.charts import charts_of
from kimp.research.backtest.report.findings import Findings
from kimp.research.backtest.result import BacktestResult
from kimp.research.metrics import marks_of

TRADES_MAX = 500
"""Rows of the trade table; more make a phone stutter, and all of them lie in trades.parquet."""

REFUSALS_MAX = 30
"""Guards named one by one; a run has a handful, so more than this is a runaway reason text."""

CHART_TITLES = {
    "equity": labels.EQUITY,
    "premium": labels.PREMIUM_CHART,
    "attribution": labels.ATTRIBUTION,
    "funding": labels.FUNDING_CHART,
    "rolling": labels.ROLLING_SHARPE,
    "monthly": labels.MONTHLY,
    "parameters": labels.PARAMETERS,
}


def page_of(result: BacktestResult, findings: Findings, provenance: dict[str, Any]) -> str:
    """The report as one self-contained page; every text from outside is escaped on its way in."""
    _, equity = marks_of(result)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            labels=labels,
            result=result,
            findings=findings,
            final_equity=float(equity[-1]) if len(equity) else None,
            headline=headline_of(findings),
            charts=charts_of(result, findings),
            titles=CHART_TITLES,
            trades=result.trades[: -TRADES_MAX - 1 : -1],  # the latest first
            refusals=refusals_of(result, REFUSALS_MAX),
            provenance=provenance,
            plotly=get_plotlyjs(),
        )
    )


def headline_of(findings: Findings) -> list[tuple[labels.Label, str]]:
    """The figures at the top, in the order they are asked for."""
    metrics, fall = findings.metrics, findings.metrics.drawdown
    sinking = None if fall is None else labels.YES if fall.is_under_water else labels.NO
    return [
        (labels.TOTAL_RETURN, numerals.signed_percent(metrics.total_return)),
        (labels.CAGR, numerals.signed_percent(metrics.cagr)),
        (labels.SHARPE, numerals.ratio(metrics.sharpe)),
        (labels.SORTINO, numerals.ratio(metrics.sortino)),
        (labels.CALMAR, numerals.ratio(metrics.calmar)),
        (labels.VOLATILITY, numerals.percent(metrics.volatility)),
        (labels.MAX_DRAWDOWN, numerals.percent(metrics.max_drawdown)),
        (labels.DRAWDOWN_LENGTH, numerals.span(fall.duration if fall else None)),
        (labels.UNDER_WATER, numerals.NOTHING if sinking is None else sinking.ko),
        (labels.PROFIT_FACTOR, numerals.ratio(metrics.profit_factor)),
        (labels.CLOSED_TRADES, f"{metrics.trades:,}"),
        (labels.WIN_RATE, numerals.percent(metrics.win_rate)),
        (labels.EXPOSURE, numerals.percent(metrics.exposure)),
        (labels.HELD_MEDIAN, numerals.span(metrics.holding.median)),
        (labels.HELD_MAX, numerals.span(metrics.holding.max)),
    ]


def refusals_of(result: BacktestResult, shown_max: int) -> list[tuple[str, int]]:
    """Refusals by guard, the most frequent first; what does not fit is summed in a last line."""
    ranked = sorted(result.refusals.items(), key=lambda pair: (-pair[1], pair[0]))
    rest = sum(count for _, count in ranked[shown_max:])
    return ranked[:shown_max] + ([(labels.OTHERS.both, rest)] if rest else [])


def tone(value: Decimal | float | None) -> str:
    """The style class of a signed number: gain, loss or neither."""
    return "" if not value else ("gain" if value > 0 else "loss")


def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader(__package__, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.policies["json.dumps_kwargs"] = {"allow_nan": False, "ensure_ascii": False, "separators": (",", ":")}
    names = ["won", "signed_won", "percent", "signed_percent", "ratio", "coins", "moment", "span", "plain"]
    found.filters.update({name: getattr(numerals, name) for name in names})
    found.filters["tone"] = tone
    return found
