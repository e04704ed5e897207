"""Every notebook in docs/notebooks is run, cell after cell, so that no reader is the first to try it.

The cells run in this process, in one namespace, as a kernel would do: one that awaits is awaited, and the last
expression is shown. A real kernel would bring forty packages and a second process to do the same, with neither our rule
that a warning is an error nor a traceback into the cell.
"""

import ast
import asyncio
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def cells(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


def run(source: str, name: str, namespace: dict[str, Any]) -> Any:
    """One cell; the value of its last line if that is an expression."""
    tree = ast.parse(source, name)
    shown = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None
    body = compile(tree, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    waiting = eval(body, namespace)
    if inspect.iscoroutine(waiting):
        asyncio.run(waiting)
    return None if shown is None else eval(compile(shown, name, "eval"), namespace)


def run_all(path: Path) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(cells(path), 1):
        value = run("".join(cell["source"]), f"{path.name}, cell {number}", namespace)
        repr(value)  # which is what a notebook would print
    return namespace


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_its_output(path: Path) -> None:
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells(path))


def test_the_premium_history_tells_what_it_shows() -> None:
    found = run_all(FOLDER / "01_premium_history.ipynb")
    assert found["written"] == len(found["rows"])
    assert set(found["coverage"]["kind"]) == {"candles", "funding_rates", "fx_rates", "kimp_rates"}
    expected = found["DAYS"] * 1_440
    assert len(found["filled"]) <= expected
    assert len(found["korea"]) + found["filled"]["is_filled"].sum() == len(found["filled"])
    assert found["missing"]["minutes"].sum() == found["filled"]["is_filled"].sum()
    assert len(found["hours"]) == 24
    assert 0 <= found["share_above"] <= 1
    assert found["difference"] < 1e-8
    assert sum(minutes for _, minutes, _, _ in found["days"]) == len(found["premium"])
    assert found["result"].bars > 0.9 * expected
    assert not found["directory"].exists()


def test_a_cell_that_fails_is_noticed() -> None:
    with pytest.raises(ZeroDivisionError):
        run("x = 1\nx / 0", "planted", {})
    assert run("import asyncio\nawait asyncio.sleep(0)\ny = 2\ny", "planted", {}) == 2
