"""What the owner configures is what the engine obeys."""

from decimal import Decimal

import msgspec
import pytest

from kimp.order.engine.settings import EngineSettings, engine_settings
from kimp.shared.config import load
from kimp.shared.domain.time import MILLISECOND, SECOND
from kimp.shared.settings import Execution, Guards, Settings


def test_the_configuration_nobody_touched_is_the_engines_own_default() -> None:
    assert engine_settings(Settings()) == EngineSettings()


@pytest.mark.parametrize(
    ("assignment", "field", "value"),
    [
        ("capital.fraction=0.5", "capital_share", Decimal("0.5")),
        ("execution.leverage=3", "leverage", Decimal(3)),
        ("execution.slippage_max=0.001", "slippage_max", Decimal("0.001")),
        ("execution.complete_tries_max=0", "complete_tries_max", 0),
        ("execution.entries_per_minute_max=1", "entries_per_minute_max", 1),
        ("execution.cooldown_s=7", "cooldown", 7 * SECOND),
        ("guards.book_age_max_ms=900", "book_age_max", 900 * MILLISECOND),
        ("guards.leg_skew_max_ms=20", "leg_skew_max", 20 * MILLISECOND),
        ("guards.quarantine_s=60", "quarantine", 60 * SECOND),
        ("guards.clock_skew_max_ms=50", "clock_skew_max", 50 * MILLISECOND),
    ],
)
def test_each_setting_of_the_command_line_reaches_the_engine(assignment: str, field: str, value: object) -> None:
    settings = load(environ={}, overrides=[assignment]).settings
    assert engine_settings(settings) == msgspec.structs.replace(EngineSettings(), **{field: value})


def test_the_environment_reaches_the_engine_too() -> None:
    settings = load(environ={"KIMP__EXECUTION__LEVERAGE": "2"}).settings
    assert engine_settings(settings).leverage == 2


def test_every_guard_and_execution_setting_is_used_by_the_engine_or_known_to_be_anothers() -> None:
    """A setting that changes nothing is a lie; the exchange rate's age is the feeds' to judge."""
    anothers = {"fx_age_max_s"}
    for section in (Guards, Execution):
        for name in {field.name for field in msgspec.structs.fields(section)} - anothers:
            changed = section(**{name: 3 if section is Execution else 11})
            settings = Settings(**{section.__name__.lower(): changed})
            assert engine_settings(settings) != EngineSettings(), name
