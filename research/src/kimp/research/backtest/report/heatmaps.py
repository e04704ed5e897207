"""Two heat maps: what each month earned, and how a sweep's score depends on two parameters."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from kimp.research.backtest.report.numerals import plain, signed_percent
from kimp.research.metrics import MonthlyReturn, finite

PARAMETER_HEATMAP = "parameter_heatmap"
"""Where ``meta`` may hold a sweep: ``{"score": str, "x": {"name", "values"}, "y": {"name", "values"}, "z": rows}``."""

MONTHS = [f"{month}월" for month in range(1, 13)]

# Losses and gains meet at the page's own ground, so an unremarkable month does not shine.
_DIVERGING = [[0, "@short"], [0.5, "@panel"], [1, "@long"]]


def monthly_chart(monthly: Sequence[MonthlyReturn]) -> dict[str, Any] | None:
    """Years down, months across; a month outside the run stays empty."""
    known = {(month.year, month.month): month.value for month in monthly}
    if not any(value is not None for value in known.values()):
        return None
    years = sorted({month.year for month in monthly})
    rows = [[known.get((year, month)) for month in range(1, 13)] for year in years]
    return {
        "data": [
            {
                **_cells(
                    MONTHS,
                    [f"{year}" for year in years],
                    [[None if value is None else round(value * 100, 4) for value in row] for row in rows],
                ),
                "text": [["" if value is None else f"{value * 100:+z.1f}" for value in row] for row in rows],
                "texttemplate": "%{text}",
                "hovertext": [["" if value is None else signed_percent(value) for value in row] for row in rows],
                "hovertemplate": "%{y} %{x} %{hovertext}<extra></extra>",
                "zmid": 0,
                "colorscale": _DIVERGING,
                "showscale": False,
            }
        ],
        "layout": _layout(120 + 44 * len(years)),
    }


def parameter_chart(meta: Mapping[str, Any]) -> dict[str, Any] | None:
    """The sweep's score over two parameters; None when the run was no sweep."""
    sweep = meta.get(PARAMETER_HEATMAP)
    if sweep is None:
        return None
    across, down = sweep["x"], sweep["y"]
    rows = [[None if score is None else finite(score) for score in row] for row in sweep["z"]]
    cells = _cells([_outside(value) for value in across["values"]], [_outside(value) for value in down["values"]], rows)
    cells["colorscale"] = [[0, "@panel"], [1, "@accent"]]
    cells["texttemplate"] = "%{z:.2f}"
    cells["colorbar"] = {"title": {"text": _outside(sweep["score"])}, "thickness": 12}
    layout = _layout(160 + 34 * len(rows))
    layout["xaxis"]["title"] = {"text": _outside(across["name"])}
    layout["yaxis"]["title"] = {"text": _outside(down["name"])}
    return {"data": [cells], "layout": layout}


def _outside(name: object) -> str:
    """Names and values come from a strategy's settings, and Plotly reads a little HTML in titles and labels."""
    return escape(plain(str(name)))


def _cells(across: list[str], down: list[str], rows: list[list[float | None]]) -> dict[str, Any]:
    return {"type": "heatmap", "x": across, "y": down, "z": rows, "xgap": 2, "ygap": 2, "hoverongaps": False}


def _layout(height: int) -> dict[str, Any]:
    return {
        "xaxis": {"type": "category", "side": "top", "showgrid": False},
        "yaxis": {"type": "category", "autorange": "reversed", "showgrid": False},
        "height": height,
        "hovermode": "closest",
    }
