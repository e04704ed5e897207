"""The plainest notifier: every notice becomes one line of the log, with the mode in front."""

from __future__ import annotations

from kimp.order.operators.wording import Language, Weight, weight, worded
from kimp.shared.domain.time import Nanos, show
from kimp.shared.logs import get
from kimp.shared.messages.notices import Notice


class LogNotifier:
    """Tells the log; never raises and never waits. ``count`` is how many notices were given."""

    def __init__(self, mode: str, language: Language = Language.KOREAN) -> None:
        self._mode = mode
        self._language = language
        self._log = get("kimp.order.notices")
        self.count = 0

    def send(self, notice: Notice, at: Nanos) -> None:
        """Log the notice as loud as it is."""
        self.count += 1
        say = {
            Weight.NEWS: self._log.info,
            Weight.WARNING: self._log.warning,
            Weight.ALARM: self._log.error,
        }[weight(notice)]
        say(f"[{self._mode}] {worded(notice, self._language)}", at=show(at))
