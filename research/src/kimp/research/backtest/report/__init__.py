"""What the trader sees of a backtest: JSON, Parquet, one HTML page and tables in the terminal."""

from kimp.research.backtest.report.artefacts import Artefacts, write_artefacts
from kimp.research.backtest.report.summary import as_json
from kimp.research.backtest.report.tables import print_tables

__all__ = ["Artefacts", "as_json", "print_tables", "write_artefacts"]
