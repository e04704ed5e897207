"""The database of market data: where it is, its tables, and how rows get in and out."""

from kimp.storage.database.migrate import migrate
from kimp.storage.database.pool import Database, DatabaseAway
from kimp.storage.database.reader import Reader
from kimp.storage.database.rows import Gap, GapReason, Row
from kimp.storage.database.writer import Writer, writing

__all__ = ["Database", "DatabaseAway", "Gap", "GapReason", "Reader", "Row", "Writer", "migrate", "writing"]
