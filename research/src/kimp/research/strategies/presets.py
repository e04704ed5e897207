"""Named sets of thresholds, and how the trader builds a strategy from one by name.

``roadmap`` is the rule the project started from: enter when Korea is dear and shorts are paid, leave with any profit.
``low_entry`` is the recommended one: a pair that earns when the premium *rises* is bought when it is low and left at
a worthwhile profit.

The defaults for ``SHORT_PREMIUM`` are mirrored: ``roadmap`` keeps its 3 % but asks nothing of funding, which is a
cost to this direction exactly when the premium is high; ``low_entry`` enters above 3 %, passed about as rarely as 1 %
is undercut (a quarter of all hours 2021 to 2024).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from difflib import get_close_matches
from enum import EnumType
from types import MappingProxyType
from typing import Any, get_type_hints

import msgspec

from kimp.research.strategies.filters import Zone
from kimp.research.strategies.kimp import KimpStrategy
from kimp.research.strategies.settings import KimpSettings
from kimp.shared.domain.money import ZERO, exact
from kimp.shared.domain.signals import Direction
from kimp.shared.errors import ConfigurationError


class Preset(msgspec.Struct, frozen=True):
    """A named set of thresholds for both directions; ``description`` is one sentence for lists and help texts."""

    description: str
    long: KimpSettings
    short: KimpSettings

    def settings(self, direction: Direction) -> KimpSettings:
        """The thresholds for that direction."""
        return self.long if direction is Direction.LONG_PREMIUM else self.short


_ROADMAP = KimpSettings(zone=Zone.ABOVE, threshold=Decimal("0.03"), funding_min=ZERO, target_net=ZERO)
_LOW_ENTRY = KimpSettings(zone=Zone.BELOW, threshold=Decimal("0.01"), target_net=Decimal("0.015"))

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "roadmap": Preset(
            "Enters above a premium of 3 % while funding pays, and leaves with any profit.",
            long=_ROADMAP,
            short=msgspec.structs.replace(_ROADMAP, direction=Direction.SHORT_PREMIUM, funding_min=None),
        ),
        "low_entry": Preset(
            "Recommended: enters below a premium of 1 % (short: above 3 %), leaves with 1.5 % of the capital earned.",
            long=_LOW_ENTRY,
            short=msgspec.structs.replace(
                _LOW_ENTRY, direction=Direction.SHORT_PREMIUM, zone=Zone.ABOVE, threshold=Decimal("0.03")
            ),
        ),
    }
)
"""Every preset by name."""

_TYPES: Mapping[str, Any] = MappingProxyType(get_type_hints(KimpSettings))
_KINDS: Mapping[Any, str] = MappingProxyType(
    {str: "text", int: "a whole number", Decimal: "a number", Decimal | None: "a number or null"}
)


def preset(
    preset_name: str, /, *, direction: Direction | str = Direction.LONG_PREMIUM, **overrides: object
) -> KimpSettings:
    """The settings of a preset, with single knobs overridden by their name in ``KimpSettings``.

    Overrides may be of the setting's own type, or text as in files and on command lines (``"0.02"``, ``"null"``), or
    a float as tuners draw them, which stands for its shortest decimal.

    Raises:
        ConfigurationError: the preset, direction or a knob is unknown, or a value is nonsense.
    """
    chosen = PRESETS.get(preset_name)
    if chosen is None:
        raise ConfigurationError(_unknown("preset", preset_name, tuple(PRESETS)))
    settings = chosen.settings(_converted("direction", direction))
    for key in overrides:
        if key not in _TYPES:
            raise ConfigurationError(_unknown("setting of the kimp strategy", key, tuple(_TYPES)))
    return msgspec.structs.replace(settings, **{key: _converted(key, value) for key, value in overrides.items()})


def build(
    preset_name: str = "roadmap", /, *, direction: Direction | str = Direction.LONG_PREMIUM, **overrides: object
) -> KimpStrategy:
    """The strategy of a preset: what the entry point ``kimp`` of the group ``kimp.strategies`` leads to.

    Raises:
        ConfigurationError: the preset, direction or a knob is unknown, or a value is nonsense.
    """
    return KimpStrategy(preset(preset_name, direction=direction, **overrides))


def _converted(key: str, value: object) -> Any:
    kind = _TYPES[key]
    try:
        # A NumPy float is a float too, but its repr is not a number.
        return msgspec.convert(exact(float(value)) if isinstance(value, float) else value, kind, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        shown = f'"{value}"' if isinstance(value, str) else value
        expected = "one of " + ", ".join(kind) if isinstance(kind, EnumType) else _KINDS[kind]
        raise ConfigurationError(f"{key} is {shown}, but must be {expected}") from error


def _unknown(what: str, name: str, known: tuple[str, ...]) -> str:
    nearest = get_close_matches(name, known, n=1, cutoff=0)
    return f'there is no {what} "{name}"; did you mean "{nearest[0]}"? Known are: {", ".join(known)}'
