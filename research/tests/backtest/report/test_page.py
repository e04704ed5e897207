import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go  # type: ignore[import-untyped]  # ships no types
import pytest
from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]  # ships no types

from kimp.research.backtest.report.artefacts import provenance_of
from kimp.research.backtest.report.charts import charts_of
from kimp.research.backtest.report.findings import findings_of
from kimp.research.backtest.report.page import page_of
from kimp.research.backtest.result import BacktestResult
from kimp.shared.domain.time import HOUR

Make = Callable[..., BacktestResult]
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> & \"'"
SWEEP = {
    "score": "sharpe",
    "x": {"name": "entry_threshold", "values": [0.01, 0.02]},
    "y": {"name": "target_net", "values": [0.0, 0.01]},
    "z": [[1.2, None], [float("nan"), 0.4]],
}


@pytest.fixture
def run(make_result: Make) -> BacktestResult:
    return make_result(bars=8_760, step=HOUR)


def page(run: BacktestResult) -> str:
    return page_of(run, findings_of(run), provenance_of(run))


def own(html: str) -> str:
    """The page without plotly.js, whose source names web pages it would only open if asked to draw maps."""
    assert get_plotlyjs() in html
    return html.replace(get_plotlyjs(), "")


def charts_in(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', html, re.DOTALL)
    assert found
    charts: dict[str, Any] = json.loads(found[1])
    return charts


def test_the_page_loads_nothing_from_anywhere(run: BacktestResult) -> None:
    html = page(run)
    assert not re.search(r"<script[^>]+src=|<link[^>]+href=|@import|<iframe|<img|<base", html)
    assert not re.search(r"https?://|url\(|//cdn", own(html))
    assert "default-src 'none'" in html
    assert "connect-src" not in html


def test_the_button_that_uploads_charts_is_off(run: BacktestResult) -> None:
    assert "showSendToCloud: false" in own(page(run))


def test_text_from_outside_cannot_become_markup(run: BacktestResult) -> None:
    hostile = replace(
        run,
        preset=HOSTILE,
        direction=HOSTILE,
        trades=tuple(replace(trade, exit_reason=HOSTILE) for trade in run.trades),
        refusals={HOSTILE: 3},
        assumptions={HOSTILE: HOSTILE},
        decision_hash=HOSTILE,
        meta={
            "command": HOSTILE,
            "seed": HOSTILE,
            "parameter_heatmap": {
                "score": HOSTILE,
                "x": {"name": HOSTILE, "values": [HOSTILE]},
                "y": {"name": HOSTILE, "values": [HOSTILE]},
                "z": [[1.0]],
            },
        },
    )
    clean, html = own(page(run)), own(page(hostile))
    assert "<img" not in html
    assert "alert(1)</script>" not in html
    assert html.count("<script") == clean.count("<script")
    exits = next(trace for trace in charts_in(html)["premium"]["data"] if trace["name"].endswith("Exit"))
    assert all("<" not in text for text in exits["hovertext"])
    cells = charts_in(html)["parameters"]
    assert "<" not in json.dumps(cells, ensure_ascii=False)


def test_a_year_of_minutes_makes_a_page_below_six_megabytes(make_result: Make) -> None:
    assert len(page(make_result(bars=525_600, pairs=900)).encode()) < 6_000_000


def test_every_chart_has_its_place_and_is_valid_plotly(run: BacktestResult) -> None:
    swept = replace(run, meta={**run.meta, "parameter_heatmap": SWEEP})
    html = page(swept)
    charts = charts_in(html)
    assert list(charts) == ["equity", "premium", "attribution", "funding", "rolling", "monthly", "parameters"]
    for name, spec in charts.items():
        assert f'id="chart-{name}"' in html
        go.Figure(coloured(spec))  # raises on a property or value Plotly does not know


def coloured(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("@"):
        return "#0066FF"
    if isinstance(value, list):
        return [coloured(inner) for inner in value]
    return {key: coloured(inner) for key, inner in value.items()} if isinstance(value, dict) else value


def test_every_colour_is_a_token_of_the_style_sheet(run: BacktestResult) -> None:
    html = own(page(run))
    used = set(re.findall(r'"@([a-z-]+)"', html))
    resolved = re.search(r"\^@\(([a-z|-]+)\)\$", html)
    assert resolved
    assert used <= set(resolved[1].split("|"))
    assert all(re.search(rf"--{name}: #", html) for name in resolved[1].split("|"))


def test_a_run_that_did_nothing_still_has_a_page(run: BacktestResult) -> None:
    bare = replace(
        run,
        bars=0,
        curves=replace(
            run.curves, at=run.curves.at[:0], equity=np.empty(0), premium=np.empty(0), is_open=run.curves.is_open[:0]
        ),
        trades=(),
        open_position=None,
        funding_at=run.funding_at[:0],
        funding_received=run.funding_received[:0],
        refusals={},
        assumptions={},
        meta={},
    )
    html = page(bare)
    assert list(charts_in(html)) == ["attribution"]
    assert "청산된 거래 없음" in html
    assert "종료 시점에 보유 포지션 없음" in html


def test_an_entry_line_is_drawn_only_when_the_run_names_one(run: BacktestResult) -> None:
    assert "진입 기준 · Entry line +3.00%" in json.dumps(charts_of(run, findings_of(run)), ensure_ascii=False)
    unnamed = replace(run, meta={})
    assert "shapes" not in charts_of(unnamed, findings_of(unnamed))["premium"]["layout"]


def test_all_entries_and_exits_are_marked_in_korean_time(run: BacktestResult) -> None:
    traces = charts_of(run, findings_of(run))["premium"]["data"]
    entries = next(trace for trace in traces if trace["name"] == "진입 · Entry")
    exits = next(trace for trace in traces if trace["name"] == "청산 · Exit")
    assert (len(entries["x"]), len(exits["x"])) == (13, 12)
    assert entries["x"][0] == "2024-01-01T09:00"


def test_only_the_latest_trades_are_listed_and_the_page_says_so(make_result: Make) -> None:
    html = own(page(make_result(bars=20_000, step=HOUR, pairs=600)))
    assert "최근 500건 / 전체 600건" in html
    assert html.count("<td>net_positive</td>") == 500 + 1  # and once among the exit reasons


def test_a_browser_draws_every_chart_without_complaint(run: BacktestResult, tmp_path: Path) -> None:
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("chromium is not installed: the page is checked as text only")
    (tmp_path / "report.html").write_text(page(run), encoding="utf-8")
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    seen = subprocess.run(
        [browser, *flags.split(), "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'p'}",
         "--enable-logging=stderr", "--virtual-time-budget=8000", "--dump-dom", (tmp_path / "report.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert not [line for line in seen.stderr.splitlines() if "CONSOLE" in line]
    assert seen.stdout.count('class="main-svg"') >= 6
