"""Files written from the code: they fall behind in silence unless something compares them."""

import os
import re
from pathlib import Path

import pytest

from kimp.shared import config_files

ROOT = Path(__file__).resolve().parent.parent
GENERATED = {
    "docs/configuration.md": config_files.markdown,
    ".env.example": config_files.env_example,
    "config/base.toml": config_files.base_toml,
    "config/paper.toml": lambda: config_files.files()["paper.toml"],
    "config/testnet.toml": lambda: config_files.files()["testnet.toml"],
    "config/live.toml": lambda: config_files.files()["live.toml"],
}


@pytest.mark.parametrize("name", GENERATED)
def test_what_is_generated_is_up_to_date(name: str) -> None:
    path, wanted = ROOT / name, GENERATED[name]()
    if os.environ.get("KIMP_GENERATE") == "1":  # what `just generate` sets
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted, encoding="utf-8")
    found = path.read_text(encoding="utf-8") if path.is_file() else "(missing)"
    assert found == wanted, f"{name} is behind kimp.shared.settings; renew it with: uv run just generate"


def test_every_variable_of_the_example_is_read() -> None:
    from kimp.shared.catalogue import catalogue

    named = set(re.findall(r"^(KIMP__\w+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))
    known = {field.variable for field in catalogue().values()}
    known |= {field.variable + "_FILE" for field in catalogue().values() if field.is_secret}
    assert named == known


def test_a_copied_example_changes_nothing() -> None:
    from kimp.shared.config import load

    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    environ = dict(line.split("=", 1) for line in lines if line.startswith("KIMP"))
    assert load(environ=environ).settings == load(environ={}).settings
