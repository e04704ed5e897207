"""Market data for notebooks and the other packages: one call, whether it lies in the database or in files."""

from kimp.storage.client.asynchronous import AsyncStorageClient
from kimp.storage.client.blocking import StorageClient
from kimp.storage.client.filling import Fill
from kimp.storage.client.frames import As, Frame
from kimp.storage.client.moments import Interval, Moment

__all__ = ["As", "AsyncStorageClient", "Fill", "Frame", "Interval", "Moment", "StorageClient"]
