"""The journal as a port: what is appended survives a crash."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from kimp.shared.messages.records import Record


class Journal(Protocol):
    """An append-only list of records."""

    def append(self, records: Sequence[Record]) -> None:
        """Durable when it returns."""
        ...

    def read(self) -> Iterable[Record]:
        """Everything ever appended, oldest first."""
        ...
