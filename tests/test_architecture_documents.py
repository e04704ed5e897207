"""The documents that describe the house name only what is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MEMBERS = ("shared", "storage", "order", "research", "portfolio")
DESCRIPTIONS = [
    ROOT / "README.md",
    ROOT / "README.ko.md",
    ROOT / "docs" / "architecture.md",
    *(ROOT / member / "README.md" for member in MEMBERS),
    *sorted((ROOT / "docs" / "adr").glob("*.md")),
]
MODULE = re.compile(r"`(kimp\.(?:" + "|".join(MEMBERS) + r")(?:\.\w+)*)`")
FILE = re.compile(r"`((?:tests|docs|config|" + "|".join(MEMBERS) + r")/[\w./-]+\.\w+)`")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[\w-]*)?\)")


def has_module(name: str) -> bool:
    member = name.split(".")[1]
    place = ROOT / member / "src" / Path(*name.split("."))
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()


@pytest.mark.parametrize("path", DESCRIPTIONS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_and_file_a_document_names_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    missing = [name for name in MODULE.findall(text) if not has_module(name)]
    missing += [name for name in FILE.findall(text) if not (ROOT / name).is_file()]
    assert not missing, f"{path.relative_to(ROOT)} names {missing}, which are not there; mend the document"


@pytest.mark.parametrize("path", DESCRIPTIONS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_inside_the_repository_leads_somewhere(path: Path) -> None:
    dead = [link for link in LINK.findall(path.read_text(encoding="utf-8")) if not (path.parent / link).exists()]
    assert not dead, f"{path.relative_to(ROOT)} links to {dead}, which are not there"


def test_the_architecture_names_most_of_the_engine_and_the_simulation() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for package in ("order/src/kimp/order/engine", "research/src/kimp/research/simulation"):
        modules = {path.stem for path in (ROOT / package).glob("[a-z]*.py")}
        named = {name for name in modules if re.search(rf"\b{name}\b", text)}
        assert len(named) >= len(modules) * 2 // 3, f"{package}: {sorted(modules - named)} are not mentioned"


def test_a_module_that_is_not_there_is_noticed() -> None:
    assert has_module("kimp.order.engine")
    assert has_module("kimp.order.engine.desk")
    assert not has_module("kimp.order.engine.desks")
    assert MODULE.findall("see `kimp.order.engine.desks` and `kimp.commands`") == ["kimp.order.engine.desks"]
    assert LINK.findall("[a](docs/a.md#b) [c](https://example.com) [d](#e)") == ["docs/a.md"]
