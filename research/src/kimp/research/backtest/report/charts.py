"""The charts of the page as Plotly specifications: plain data, drawn by the browser.

Colours are written ``@accent``, ``@long`` and so on, names of the page's style tokens, so that the browser can
repaint them when the reader switches between light and dark. Times on the axes are Korean.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kimp.research.backtest.report import labels
from kimp.research.backtest.report.decimation import decimated
from kimp.research.backtest.report.findings import Findings, median_before, pairs_of
from kimp.research.backtest.report.heatmaps import monthly_chart, parameter_chart
from kimp.research.backtest.report.numerals import plain, signed_percent, signed_won
from kimp.research.backtest.result import BacktestResult, Trade
from kimp.research.metrics import drawdowns, marks_of
from kimp.shared.domain.time import HOUR, Nanos

Spec = dict[str, Any]

KOREA: Nanos = 9 * HOUR
MEDIAN_POINTS = 300
"""The median moves slowly, so it is computed at so many bars only."""

MARKERS_MAX = 2_000
"""Entries and exits drawn on the premium chart, the latest; more would hide the line and swell the page."""

MARKERS_LARGE = 120
"""Up to so many pairs are drawn large; beyond, small and half transparent, so that the line stays visible."""

ENTRY_THRESHOLD = "entry_threshold"
"""Where ``meta`` may name the premium at which the preset enters, as a fraction; absent, no line is drawn."""


def charts_of(result: BacktestResult, findings: Findings) -> dict[str, Spec]:
    """All charts there is data for, by the name of their place on the page."""
    charts = {
        "equity": equity_chart(result),
        "premium": premium_chart(result),
        "attribution": attribution_chart(result, findings),
        "funding": funding_chart(result),
        "rolling": rolling_chart(findings),
        "monthly": monthly_chart(findings.metrics.monthly),
        "parameters": parameter_chart(result.meta),
    }
    return {name: spec for name, spec in charts.items() if spec is not None}


def equity_chart(result: BacktestResult) -> Spec | None:
    """Equity above, drawdown below, one time axis."""
    at, equity = marks_of(result)
    if not len(at):
        return None
    depth = -drawdowns(equity, float(result.capital)) * 100
    top, low = decimated(equity), decimated(depth)
    capital = float(result.capital)
    return {
        "data": [
            _line(at[top], np.round(equity[top]), labels.EQUITY.both, "@accent"),
            {
                **_line(at[low], np.round(depth[low], 4), labels.DRAWDOWN.both, "@short"),
                "fill": "tozeroy",
                "fillcolor": "@short-soft",
                "yaxis": "y2",
            },
        ],
        "layout": {
            "xaxis": {**_time_axis(), "anchor": "y2"},
            "yaxis": {"domain": [0.36, 1], "tickformat": ",.0f", "ticksuffix": "원"},
            "yaxis2": {"domain": [0, 0.28], "ticksuffix": "%", "tickformat": ".1f", "rangemode": "tozero"},
            "shapes": [_level(capital, "@muted")],
            "height": 460,
        },
    }


def premium_chart(result: BacktestResult) -> Spec | None:
    """The premium with every entry and exit on it, its usual level, and the line above or below which it enters."""
    curves = result.curves
    if not np.isfinite(curves.premium).any():
        return None
    kept = decimated(curves.premium)
    some = np.unique(np.linspace(0, len(curves.at) - 1, min(MEDIAN_POINTS, len(curves.at))).astype(np.int64))
    usual = np.array([_or_nan(median_before(result, int(at))) for at in curves.at[some]])
    data = [_line(curves.at[kept], np.round(curves.premium[kept] * 100, 4), labels.PREMIUM.both, "@muted")]
    if np.isfinite(usual).any():
        median = _line(curves.at[some], np.round(usual * 100, 4), labels.MEDIAN.both, "@warning")
        data.append({**median, "line": {"color": "@warning", "width": 1.5, "dash": "dash"}})
    shown = pairs_of(result)[-MARKERS_MAX:]
    data += _entries(shown), _exits([pair for pair in shown if pair.closed_at is not None])
    layout: Spec = {
        "xaxis": _time_axis(),
        "yaxis": {"ticksuffix": "%", "tickformat": ".1f", "zeroline": True},
        "height": 380,
    }
    if result.meta.get(ENTRY_THRESHOLD) is not None:
        threshold = float(result.meta[ENTRY_THRESHOLD])
        layout["shapes"] = [_level(threshold * 100, "@accent")]
        layout["annotations"] = [_note(f"{labels.ENTRY_LINE.both} {signed_percent(threshold)}", threshold * 100)]
    return {"data": data, "layout": layout}


def funding_chart(result: BacktestResult) -> Spec | None:
    """Funding received less funding paid, summed from the start."""
    if not len(result.funding_at):
        return None
    total = np.nancumsum(result.funding_received)
    kept = decimated(total)
    steps = _line(result.funding_at[kept], np.round(total[kept]), labels.FUNDING_CHART.both, "@accent")
    steps["line"]["shape"] = "hv"
    return {
        "data": [{**steps, "fill": "tozeroy", "fillcolor": "@accent-soft"}],
        "layout": {"xaxis": _time_axis(), "yaxis": {"tickformat": ",.0f", "ticksuffix": "원"}, "height": 300},
    }


def rolling_chart(findings: Findings) -> Spec | None:
    """Sharpe of the last 90 days, day by day; a gap where it is undefined."""
    points = findings.metrics.rolling_sharpe
    if not any(value is not None for _, value in points):
        return None
    at = np.array([day for day, _ in points], dtype=np.int64)
    values = np.round(np.array([_or_nan(value) for _, value in points]), 3)
    return {
        "data": [_line(at, values, labels.ROLLING_SHARPE.both, "@accent")],
        "layout": {
            "xaxis": _time_axis(),
            "yaxis": {"tickformat": ".1f"},
            "shapes": [_level(0.0, "@muted")],
            "height": 300,
        },
    }


def attribution_chart(result: BacktestResult, findings: Findings) -> Spec:
    """A waterfall from premium over FX, funding and costs to the net, in percent of capital."""
    parts = findings.attribution.as_dict()
    shares = [value / result.capital for value in parts.values()]
    bars = {
        "type": "waterfall",
        "x": [labels.PARTS[name].stacked for name in parts],
        "y": [round(float(share) * 100, 6) for share in shares[:-1]] + [0],  # a total draws itself
        "measure": ["relative"] * (len(parts) - 1) + ["total"],
        "text": [signed_percent(share) for share in shares],
        "textposition": "outside",
        "cliponaxis": False,
        "hovertext": [signed_won(value) for value in parts.values()],
        "hoverinfo": "text",
        "increasing": {"marker": {"color": "@long"}},
        "decreasing": {"marker": {"color": "@short"}},
        "totals": {"marker": {"color": "@accent"}},
        "connector": {"line": {"color": "@line", "width": 1}},
        "name": "",
    }
    layout = {
        "yaxis": {"ticksuffix": "%", "zeroline": True},
        "xaxis": {"type": "category", "tickangle": 0, "showgrid": False},
        "height": 340,
        "hovermode": "closest",
        "showlegend": False,
    }
    return {"data": [bars], "layout": layout}


def _entries(pairs: Sequence[Trade]) -> Spec:
    marks = [(pair.opened_at, float(pair.entry_premium)) for pair in pairs]
    hover = [f"{pair.quantity.normalize():f} · {signed_percent(pair.entry_premium)}" for pair in pairs]
    return _markers(marks, hover, labels.ENTRY.both, "triangle-up", "@long")


def _exits(pairs: Sequence[Trade]) -> Spec:
    marks = [(pair.closed_at or 0, _or_nan(pair.exit_premium)) for pair in pairs]
    # Plotly reads a little HTML in hover texts, so the reason, which came from a strategy, is escaped.
    hover = [f"{signed_won(pair.net)} · {escape(plain(pair.exit_reason))}" for pair in pairs]
    return _markers(marks, hover, labels.EXIT.both, "triangle-down", "@accent")


def _markers(marks: Sequence[tuple[Nanos, float]], hover: list[str], name: str, symbol: str, colour: str) -> Spec:
    size, opacity = (11, 1.0) if len(marks) <= MARKERS_LARGE else (6, 0.5)
    return {
        "type": "scatter",
        "mode": "markers",
        "x": _korean(np.array([at for at, _ in marks], dtype=np.int64)),
        "y": _numbers(np.round(np.array([value for _, value in marks], dtype=np.float64) * 100, 4)),
        "hovertext": hover,
        "hoverinfo": "x+text",
        "marker": {
            "symbol": symbol,
            "color": colour,
            "size": size,
            "opacity": opacity,
            "line": {"color": "@ground", "width": 1},
        },
        "name": name,
    }


def _line(at: NDArray[np.int64], values: NDArray[np.float64], name: str, colour: str) -> Spec:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": _korean(at),
        "y": _numbers(values),
        "line": {"color": colour, "width": 1.5},
        "connectgaps": False,
        "name": name,
    }


def _time_axis() -> Spec:
    return {"type": "date", "hoverformat": "%Y-%m-%d %H:%M KST", "showgrid": False}


def _level(value: float, colour: str) -> Spec:
    line = {"color": colour, "width": 1, "dash": "dot"}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": value, "y1": value, "line": line}


def _note(text: str, value: float) -> Spec:
    place = {"xref": "paper", "x": 1, "xanchor": "right", "y": value, "yanchor": "bottom", "showarrow": False}
    return {**place, "text": text, "font": {"color": "@accent", "size": 12}}


def _korean(at: NDArray[np.int64]) -> list[str]:
    """Plotly knows no time zones, so the axis is given Korean wall-clock time to the minute."""
    return [str(moment) for moment in np.datetime_as_string((at + KOREA).astype("datetime64[ns]"), unit="m")]


def _numbers(values: NDArray[np.float64]) -> list[float | None]:
    return [None if number != number else number for number in values.tolist()]


def _or_nan(value: Any) -> float:
    return float("nan") if value is None else float(value)
