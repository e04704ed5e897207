"""What happened, in the end, as facts for programs."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from kimp.order.engine.state import ClosedPair
from kimp.portfolio.demo.scenario import PRESET, TARGET_NET, THRESHOLD
from kimp.portfolio.demo.show import Played
from kimp.research.backtest.report.summary import instant
from kimp.shared.domain.instruments import Venue
from kimp.shared.domain.money import ZERO
from kimp.shared.messages.notices import ForcedLoss

PARTS = ("premium", "fx", "funding", "fees", "slippage", "net")


def facts_of(played: Played) -> dict[str, Any]:
    """What ``kimp demo --json`` prints. Money in KRW is text, because it is exact; rates are fractions."""
    stage, story = played.stage, played.story
    scenario, slot = stage.scenario, played.engine.desks[0].slot
    return {
        "is_simulation": True,
        "is_chosen": True,
        "seed": scenario.seed,
        "speed": scenario.speed,
        "from": instant(scenario.start),
        "to": instant(stage.clock.now()),
        "preset": PRESET,
        "knobs": {"threshold": THRESHOLD, "target_net": TARGET_NET},
        "equity_krw": {"first": played.equity[0], "last": played.equity[1]},
        "pairs": [_pair(pair) for pair in slot.closed],
        "is_open": slot.position is not None,
        "closed_at_a_loss": len(losses_of(played)),
        "forced_losses": [notice.cause for notice in forced_losses_of(played)],
        "exits_refused": [
            {
                "at": instant(refused.at),
                "net_krw": str(refused.net),
                "premium_now": refused.premium_now,
                "break_even_premium": refused.break_even_premium,
                "injected": refused.is_injected,
            }
            for refused in story.exits_refused
        ],
        "injected": mishaps_of(played),
        "orders": {venue.value: _orders(played, venue) for venue in Venue},
        "books": {
            "balanced": books_agree(played),
            "accounts": [
                {
                    "venue": account.venue,
                    "asset": account.asset,
                    "venue_says": str(account.venue_says),
                    "ledger_says": str(account.ledger_says),
                }
                for account in played.accounts
            ],
        },
        "mirror": {
            "equal": played.copied.agrees,
            "records": played.copied.records,
            "copied": played.copied.copied,
            "rows": played.copied.rows,
            "differing": played.copied.differing,
        },
        "is_settled": played.is_quiet,
        "elapsed_s": played.elapsed_s,
        "artefacts": artefacts_of(played),
    }


def books_agree(played: Played) -> bool:
    """Whether every venue balance equals our ledger's, to the last digit."""
    return all(account.agrees for account in played.accounts)


def losses_of(played: Played) -> list[ClosedPair]:
    """Closed pairs that did not earn anything."""
    return [pair for pair in played.engine.desks[0].slot.closed if pair.breakdown.net <= ZERO]


def forced_losses_of(played: Played) -> list[ForcedLoss]:
    """Losses with one of the three labelled causes."""
    told = (told.notice for told in played.stage.notebook.notices)
    return [notice for notice in told if isinstance(notice, ForcedLoss)]


def sent_once(played: Played) -> bool:
    """Whether the venues saw exactly as many orders as the journal says were meant to leave."""
    return played.stage.mishaps.sent == played.story.intended


def mishaps_of(played: Played) -> list[dict[str, Any]]:
    """What was put in on purpose, and what became of it."""
    story, mishaps, slot = played.story, played.stage.mishaps, played.engine.desks[0].slot
    found: list[dict[str, Any]] = []
    if mishaps.has_lost:
        answer = next(iter(story.resolved), None)
        found.append(
            {
                "kind": "unknown_outcome",
                "client_id": None if answer is None else answer.client_id,
                "resolved": answer is not None,
                "questions": mishaps.asked,
                "resent": not sent_once(played),
                "executed": None if answer is None else str(answer.executed),
                "after_s": None if answer is None else answer.after_s,
            }
        )
    if mishaps.has_refused:
        found.append(
            {
                "kind": "naked_leg",
                "client_id": next(iter(story.refused), None),
                "resolved": not slot.unsettled and not slot.is_halted,
                "repairs": story.repairs,
            }
        )
    if played.restored:
        found.append({"kind": "restart", "records": played.restored, "resolved": True})
    return found


def artefacts_of(played: Played) -> dict[str, str]:
    """Where everything lies, by what it is."""
    place, directory = played.stage.place, played.stage.directory
    return {
        "directory": str(directory),
        "journal": str(place.journal),
        "flight": str(place.flight),
        "log": str(directory / "demo.log"),
        "database": str(directory / "database"),
    }


def _orders(played: Played, venue: Venue) -> dict[str, int]:
    return {"intended": played.story.intended[venue], "seen_by_the_venue": played.stage.mishaps.sent[venue]}


def _pair(pair: ClosedPair) -> dict[str, Any]:
    return {
        "signal_id": pair.position.signal_id,
        "opened_at": instant(pair.position.opened_at),
        "closed_at": instant(pair.closed_at),
        **{f"{part}_krw": str(part_of(pair, part)) for part in PARTS},
    }


def part_of(pair: ClosedPair, part: str) -> Decimal:
    """One part of what a pair earned (KRW)."""
    value: Decimal = getattr(pair.breakdown, part)
    return value
