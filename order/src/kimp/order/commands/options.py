"""What the reading commands share: their options, and how they come by the journal."""

from __future__ import annotations

import os
import re
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from kimp.shared.domain.time import DAY, HOUR, KST, MINUTE, SECOND, Nanos, from_datetime, to_datetime

if TYPE_CHECKING:
    from kimp.order.reading.decision import Decision
    from kimp.order.reading.history import History
    from kimp.order.runtime.place import TradePlace
    from kimp.shared.settings import Settings

Mode = Annotated[str, typer.Option(help="paper, testnet 또는 live.")]
Json = Annotated[bool, typer.Option("--json", help="결과를 JSON으로 출력합니다. Print facts as JSON.")]

_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_FIRST_YEAR, _LAST_YEAR = 2009, 2099


class Desk:
    """The settings and files of one mode, and the time."""

    def __init__(self, mode: str) -> None:
        from kimp.order.runtime.place import trade_place
        from kimp.shared import logs
        from kimp.shared.config import load
        from kimp.storage.feeds.clocks import SystemClock

        found = load(mode, environ=os.environ)
        logs.configure(found.settings.log, found.secrets)
        self.mode = mode
        self.settings: Settings = found.settings
        self.place: TradePlace = trade_place(found.settings, mode)
        self.now: Nanos = SystemClock().now()

    def history(self, until: Nanos | None = None) -> History:
        """The journal up to a moment.

        Raises:
            NotRunning: no trader has run in this mode yet.
            DataError: the journal is damaged.
        """
        from kimp.order.reading.history import History
        from kimp.order.runtime.journal import SqliteJournal
        from kimp.shared.pairs import pair_of

        with SqliteJournal(self.place.journal, read_only=True) as journal:
            return History(journal.read(), partial(pair_of, self.settings), until)

    def last_decisions(self) -> dict[str, Decision]:
        """The last decision of every slot."""
        from kimp.order.runtime.decisions import last_decisions

        return last_decisions(self.place.journal)


def moment(text: str | None, option: str, now: Nanos) -> Nanos | None:
    """A moment as people in Korea write it: ``2026-11-20 21:00``, ``21:00`` (the last one), ``2026-11-20`` (its midnight),
    ISO 8601 with an offset, ``10m`` ago, or ``now``. Without an offset it is Korean time.

    Raises:
        typer.BadParameter: it is none of these.
    """
    if text is None:
        return None
    word = text.strip()
    if word.lower() == "now":
        return now
    if found := re.fullmatch(r"(\d{1,6})([smhd])", word.lower()):
        return now - int(found[1]) * _UNITS[found[2]]
    if found := re.fullmatch(r"(\d{1,2}):(\d{2})(?::(\d{2}))?", word):
        return _last(int(found[1]), int(found[2]), int(found[3] or 0), text, option, now)
    try:
        at = datetime.fromisoformat(word)
    except ValueError:
        raise _refused(text, option) from None
    if not _FIRST_YEAR <= at.year <= _LAST_YEAR:
        raise typer.BadParameter(f"{text!r} is not between {_FIRST_YEAR} and {_LAST_YEAR}", param_hint=option)
    return from_datetime(at if at.tzinfo else at.replace(tzinfo=KST))


def _last(hour: int, minute: int, second: int, text: str, option: str, now: Nanos) -> Nanos:
    """The last time it was that late in Korea: 21:00 asked in the morning is yesterday's."""
    try:
        today = to_datetime(now).astimezone(KST).replace(hour=hour, minute=minute, second=second, microsecond=0)
    except ValueError:
        raise _refused(text, option) from None
    at = from_datetime(today)
    return at if at <= now else at - DAY


def _refused(text: str, option: str) -> typer.BadParameter:
    return typer.BadParameter(
        f'{text!r} is no moment; write "2026-11-20 21:00" or 21:00 (Korean time), 2026-11-20T12:00Z, or 10m for ten'
        " minutes ago",
        param_hint=option,
    )
