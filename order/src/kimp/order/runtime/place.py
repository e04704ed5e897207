"""Where a running trader keeps what must survive it: one directory per mode, so that paper never touches live."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kimp.shared.settings import Settings


@dataclass(frozen=True, slots=True)
class TradePlace:
    """The files of one mode."""

    directory: Path

    @property
    def journal(self) -> Path:
        """The SQLite journal, and in the same file what was considered and who ordered what."""
        return self.directory / "journal.sqlite"

    @property
    def lock(self) -> Path:
        """Held by the one trader that may run here; the system lets go of it even on kill −9."""
        return self.directory / "lock"

    @property
    def pulse(self) -> Path:
        """What the running trader last said of itself, replaced as a whole once a second."""
        return self.directory / "pulse.json"

    @property
    def switch(self) -> Path:
        """The owner's stop switch."""
        return self.directory / "switch.json"

    @property
    def orders(self) -> Path:
        """The owner's orders to the running trader (flatten), one file each."""
        return self.directory / "orders"

    @property
    def flight(self) -> Path:
        """The engine's inputs, for ``kimp replay``."""
        return self.directory / "flight"

    @property
    def venues(self) -> Path:
        """The virtual venues' own books (paper only)."""
        return self.directory / "venues"


def trade_place(settings: Settings, mode: str) -> TradePlace:
    """The place of a mode under the data directory; not created here."""
    return TradePlace(settings.data.directory.expanduser() / "trade" / mode)
