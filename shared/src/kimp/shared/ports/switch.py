"""The owner's stop switch as a port."""

from collections.abc import AsyncIterator
from typing import Protocol

from kimp.shared.messages.events import SwitchState


class EntrySwitch(Protocol):
    """Whether entries are allowed. Unreachable or missing means ``REDUCING``: it fails closed."""

    async def read(self) -> SwitchState:
        """The state now."""
        ...

    def changes(self) -> AsyncIterator[SwitchState]:
        """Every change from now on."""
        ...
