"""Telling the owner, as a port."""

from typing import Protocol

from kimp.shared.domain.time import Nanos
from kimp.shared.messages.notices import Notice


class Notifier(Protocol):
    """Takes notices; never raises and never blocks trading."""

    def send(self, notice: Notice, at: Nanos) -> None:
        """Queue a notice for delivery."""
        ...
