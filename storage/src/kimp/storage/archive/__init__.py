"""Recorded market data on disk: read it, check it, bring your own."""

from kimp.storage.archive.bars import gaps, read_candles, resample
from kimp.storage.archive.imports import import_csv
from kimp.storage.archive.market import read_market

__all__ = ["gaps", "import_csv", "read_candles", "read_market", "resample"]
