"""What other packages bring along, found by name in their entry points: strategies and virtual venues."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from kimp.shared.errors import ConfigurationError
from kimp.shared.ports.strategy import Strategy
from kimp.shared.settings import Settings

STRATEGIES = "kimp.strategies"
"""Entry-point group: a name, and a function of a preset's name that builds the strategy."""

VENUES = "kimp.venues"
"""Entry-point group: a name, and what opens virtual venues for paper trading."""


def plugin(group: str, name: str, what: str) -> Any:
    """The object registered under a name; ``what`` is how an owner calls it.

    Raises:
        ConfigurationError: nothing of that name is installed.
    """
    known = _known(group)
    if name not in known:
        nearest = get_close_matches(name, known, n=1)
        hint = f'; did you mean "{nearest[0]}"?' if nearest else ""
        listed = ", ".join(known) or "none (is kimp installed whole?)"
        raise ConfigurationError(f'there is no {what} "{name}"{hint} Known are: {listed}')
    return known[name].load()


def strategy_of(settings: Settings, parameters: Mapping[str, str] | None = None) -> Strategy:
    """The configured strategy; ``parameters`` override single thresholds, over those of ``strategy.parameters``.

    Raises:
        ConfigurationError: no such strategy, preset or threshold, or a value that is nonsense.
    """
    chosen = settings.strategy
    knobs = parameters_of(chosen.parameters) | dict(parameters or {})
    strategy: Strategy = plugin(STRATEGIES, chosen.name, "strategy")(chosen.preset, direction=chosen.direction, **knobs)
    return strategy


def parameters_of(text: str) -> dict[str, str]:
    """``threshold=0.02, target_net=0.01`` as names and values.

    Raises:
        ConfigurationError: a part is not ``name=value``.
    """
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value):
            raise ConfigurationError(
                f'strategy.parameters has "{part}", but must be like threshold=0.02, target_net=0.01'
            )
        found[name] = value
    return found


def _known(group: str) -> dict[str, EntryPoint]:
    # A foreign package cannot replace one of ours.
    points = sorted(entry_points(group=group), key=lambda point: (point.name, point.value.startswith("kimp.")))
    return {point.name: point for point in points}
