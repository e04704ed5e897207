"""``kimp export``: fills, ledger lines and tax records as a file, whole or not at all."""

from __future__ import annotations

import csv
import io
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kimp.order.commands.options import Desk, Json, Mode
from kimp.shared.cli import console, print_json, to_json
from kimp.shared.errors import KimpError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kimp.order.reading.exports import TaxYear


class Format(StrEnum):
    """How the file is written: CSV opens in a spreadsheet (UTF-8 with a mark, so that Excel reads Hangul)."""

    CSV = "csv"
    JSON = "json"


Out = Annotated[Path, typer.Option(help="만들 파일. File to write; one that is there is replaced as a whole.")]
As = Annotated[Format, typer.Option("--format", help="csv 또는 json.")]

export = typer.Typer(
    help="체결, 원장, 세무 자료를 파일로 냅니다. Write trades, ledger or tax records to a file.", no_args_is_help=True
)


@export.command()
def trades(out: Out, form: As = Format.CSV, mode: Mode = "paper", as_json: Json = False) -> None:
    """모든 체결과 원화 원가를 냅니다. Every fill with its KRW cost basis."""
    from kimp.order.reading.exports import TradeRow, trade_rows

    rows = trade_rows(Desk(mode).history())
    _write(out, form, TradeRow.__struct_fields__, rows, {})
    _report("trades", out, len(rows), as_json, {})


@export.command()
def ledger(out: Out, form: As = Format.CSV, mode: Mode = "paper", as_json: Json = False) -> None:
    """복식부기 원장을 냅니다. Every line of the double-entry ledger."""
    from kimp.order.reading.exports import LedgerRow, ledger_rows

    rows = ledger_rows(Desk(mode).history())
    _write(out, form, LedgerRow.__struct_fields__, rows, {})
    _report("ledger", out, len(rows), as_json, {})


@export.command()
def tax(out: Out, form: As = Format.CSV, mode: Mode = "paper", as_json: Json = False) -> None:
    """체결별 원화 가치와 이동평균 손익을 연도별로 냅니다. KRW values and realised gains, by year; no tax advice."""
    from kimp.order.reading.exports import TaxRow, tax_rows, tax_years

    rows = tax_rows(Desk(mode).history())
    years = tax_years(rows)
    _write(out, form, TaxRow.__struct_fields__, rows, {"years": years})
    _report("tax", out, len(rows), as_json, {"years": years})
    if not as_json:
        _show_years(years)


def _write(out: Path, form: Format, names: tuple[str, ...], rows: Sequence[Any], more: dict[str, Any]) -> None:
    is_json = form is Format.JSON
    write_whole(out, to_json({"rows": rows, **more}) + "\n" if is_json else "\ufeff" + _csv(names, rows))


def _csv(names: tuple[str, ...], rows: Sequence[Any]) -> str:
    from decimal import Decimal

    lines = io.StringIO()
    writer = csv.writer(lines)
    writer.writerow(names)
    for row in rows:
        values = (getattr(row, name) for name in names)
        # Never 1E-8: spreadsheets take it for text, and so do tax offices.
        writer.writerow(f"{value:f}" if isinstance(value, Decimal) else _plain(value) for value in values)
    return lines.getvalue()


def _plain(value: Any) -> Any:
    """Text of a venue's must not become a formula in a spreadsheet."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def write_whole(path: Path, text: str) -> None:
    """Write a file that is either there as a whole or not changed at all.

    Raises:
        KimpError: it cannot be written; nothing half-written stays behind.
    """
    import os

    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise KimpError(f"{path} cannot be written: {error.strerror}; choose another --out") from error
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _report(what: str, out: Path, rows: int, as_json: bool, more: dict[str, Any]) -> None:
    from kimp.order.commands.words import said

    if as_json:
        print_json({"what": what, "out": out, "rows": rows, **more})
    else:
        console().print(f"{said(what)}: {rows:,}행 (rows) → {out}", soft_wrap=True)


def _show_years(years: Sequence[TaxYear]) -> None:
    from rich.table import Table

    from kimp.order.commands.figures import won

    table = Table("연도 (year)", "자산 (asset)")
    for head in ("건수 (events)", "취득원가 원 (cost basis)", "수수료 원 (fees)", "실현손익 원 (gain)"):
        table.add_column(head, justify="right")
    for year in years:
        table.add_row(
            str(year.year),
            f"{year.venue} {year.asset}",
            str(year.events),
            won(year.cost_basis_krw, signed=False),
            won(year.fees_krw, signed=False),
            won(year.gain_krw),
        )
    console().print(table)
