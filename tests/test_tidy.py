"""The house rules, as tests: each finding says where it is and what to write instead.

Every rule is a function from one file's text to findings, so that the second half of this file can plant a violation
and see that the rule bites.
"""

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULE_LINES_MAX = 350  # one idea; 300 is the aim
FUNCTION_LINES_MAX = 60  # one screen; 40 is the aim
VAGUE_NAMES = {"utils", "util", "helpers", "common", "base", "core", "manager", "misc"}
DOCUMENTED = ("shared/src/kimp/shared/domain/", "order/src/kimp/order/engine/")
ADR_HEADINGS = ["Context", "Decision", "Consequences", "What would change our mind"]

BANNED_CALLS = {
    "time.time": "read a Clock that was passed in, so that a replay sees the same time",
    "time.time_ns": "read a Clock that was passed in, so that a replay sees the same time",
    "datetime.now": "read a Clock that was passed in, so that a replay sees the same time",
    "datetime.utcnow": "read a Clock that was passed in; and naive datetimes are banned anyway",
    "datetime.today": "read a Clock that was passed in, so that a replay sees the same time",
    "date.today": "read a Clock that was passed in, so that a replay sees the same time",
    "uuid.uuid4": "ids are functions of their causes, so that a restart makes the same ones",
    "uuid4": "ids are functions of their causes, so that a restart makes the same ones",
    "asyncio.create_task": "use a TaskGroup: a task nobody waits for swallows its exception",
    "asyncio.ensure_future": "use a TaskGroup: a task nobody waits for swallows its exception",
    "create_task": "use a TaskGroup: a task nobody waits for swallows its exception",
    "asyncio.gather": "use a TaskGroup: gather leaves the others running when one fails",
    "gather": "use a TaskGroup: gather leaves the others running when one fails",
}
BANNED_IN_TESTS = {
    "time.sleep": "do not wait, advance a clock: sleeping tests are slow and still flaky",
    "MagicMock": "write a five-line fake: a mock agrees with everything",
    "mock.MagicMock": "write a five-line fake: a mock agrees with everything",
    "Mock": "write a five-line fake: a mock agrees with everything",
}
SEEDED_DICE = {"random.Random", "random.default_rng", "random.Generator", "random.SeedSequence", "random.PCG64"}
# (file, call): why it is right there. An entry that is no longer needed fails a test below.
ALLOWED_CALLS: dict[tuple[str, str], str] = {
    ("storage/src/kimp/storage/feeds/clocks.py", "time.time_ns"): "the one real Clock, which all the others are handed",
    ("tests/test_trading_commands.py", "time.sleep"): "looks now and then at another process, whose time is real",
}


@dataclass(frozen=True)
class Source:
    """One tracked file."""

    path: str
    text: str
    tree: ast.Module | None = field(default=None, compare=False)

    @staticmethod
    def of(path: str, text: str) -> "Source":
        return Source(path, text, ast.parse(text) if path.endswith(".py") else None)

    @property
    def is_test(self) -> bool:
        return "tests/" in self.path

    @property
    def nodes(self) -> Iterator[ast.AST]:
        return ast.walk(self.tree) if self.tree else iter(())


Rule = Callable[[Source], Iterator[str]]


def no_file_at_the_namespace(source: Source) -> Iterator[str]:
    if source.path.endswith("src/kimp/__init__.py"):
        yield "kimp is a namespace of five packages; an __init__.py here hides the other four. Delete it"


def no_vague_module(source: Source) -> Iterator[str]:
    words = {part.removesuffix(".py") for part in Path(source.path).parts}
    if source.path.endswith(".py") and (found := words & VAGUE_NAMES):
        yield f"{found.pop()!r} says nothing; name the module after what it holds"


def no_long_module(source: Source) -> Iterator[str]:
    lines = source.text.count("\n")
    if source.tree and not source.is_test and lines > MODULE_LINES_MAX:
        yield f"{lines} lines, more than {MODULE_LINES_MAX}; which two ideas are in here?"


def no_long_function(source: Source) -> Iterator[str]:
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            lines = node.end_lineno - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"line {node.lineno}: {node.name} has {lines} lines, over {FUNCTION_LINES_MAX}; take it apart"


def public_things_are_documented(source: Source) -> Iterator[str]:
    if not source.tree or not source.path.startswith(DOCUMENTED):
        return
    if not ast.get_docstring(source.tree):
        yield "the module has no docstring; begin with a sentence a trader understands"
    for node in source.tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            overloaded = any(_dotted(decorator).endswith("overload") for decorator in node.decorator_list)
            if not overloaded and not ast.get_docstring(node):
                yield f"line {node.lineno}: {node.name} has no docstring; say what it means, with units"


def no_ambient_clock_dice_or_task(source: Source) -> Iterator[str]:
    banned = BANNED_CALLS | (BANNED_IN_TESTS if source.is_test else {})
    for node in source.nodes:
        if not isinstance(node, ast.Call):
            continue
        call = ".".join(_dotted(node.func).split(".")[-2:])
        reason = banned.get(call.removeprefix("loop."))
        if reason and (source.path, call) not in ALLOWED_CALLS:
            yield f"line {node.lineno}: {call}(): {reason}"
        if call.startswith("random.") and not (call in SEEDED_DICE and (node.args or node.keywords)):
            yield f"line {node.lineno}: {call}(): pass in seeded dice, so that the same seed tells the same story"


def no_path_or_host_of_one_machine(source: Source) -> Iterator[str]:
    # spelt in pieces, or this very file would break the rule
    places = (
        r"(?<![\w.~}])/(?:"
        + "|".join(["home/" + r"\w", "root" + "/", "Users/" + r"\w", "tmp" + "/", "work" + "/"])
        + ")"
    )
    hosts = "|".join(["pypi" + r"\.org", "python" + "hosted", "npm" + r"js\.", "deb" + r"\.debian"])
    for number, line in enumerate(source.text.splitlines(), 1):
        if re.search(places, line):
            yield f"line {number}: a path of one machine; make it relative, a setting, or pytest's tmp_path"
        if re.search(hosts, line):
            yield f"line {number}: a registry's host; name the package only, everyone has their own index"


def lines_end_in_newlines_only(source: Source) -> Iterator[str]:
    if "\r" in source.text:
        yield "has carriage returns; save it with LF line endings"
    if source.text and not source.text.endswith("\n"):
        yield "does not end in a newline"


def decisions_have_their_four_parts(source: Source) -> Iterator[str]:
    if re.fullmatch(r"docs/adr/\d{4}-[\w-]+\.md", source.path):
        headings = re.findall(r"^## (.+)$", source.text, re.MULTILINE)
        if headings != ADR_HEADINGS:
            yield f"its headings are {headings}; a decision record has {ADR_HEADINGS}"
    elif source.path.startswith("docs/adr/") and source.path.endswith(".md"):
        yield "is not named like 0001-what-was-decided.md"


RULES: list[Rule] = [
    no_file_at_the_namespace,
    no_vague_module,
    no_long_module,
    no_long_function,
    public_things_are_documented,
    no_ambient_clock_dice_or_task,
    no_path_or_host_of_one_machine,
    lines_end_in_newlines_only,
    decisions_have_their_four_parts,
]


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}".lstrip(".")
    return node.id if isinstance(node, ast.Name) else ""


def tracked() -> list[Source]:
    """Every text file that git tracks; a file before its first add is still a sketch."""
    listing = ["git", "ls-files", "-z"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    sources = []
    for name in sorted(names):
        path = ROOT / name
        content = path.read_bytes() if name and path.is_file() else b"\0"
        if b"\0" not in content and not name.endswith(".lock"):
            sources.append(Source.of(name, content.decode("utf-8")))
    return sources


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    return tracked()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_is_tidy(rule: Rule, sources: list[Source]) -> None:
    findings = [f"{source.path}: {finding}" for source in sources for finding in rule(source)]
    assert not findings, "\n" + "\n".join(findings)


def test_every_exception_is_still_needed(sources: list[Source]) -> None:
    used = {
        (source.path, ".".join(_dotted(node.func).split(".")[-2:]))
        for source in sources
        for node in source.nodes
        if isinstance(node, ast.Call)
    }
    assert set(ALLOWED_CALLS) <= used, "remove from ALLOWED_CALLS what is no longer there"
    assert all(reason.strip() for reason in ALLOWED_CALLS.values())


# --- each rule bites -------------------------------------------------------------------------------------------------

IN_SHARED = "shared/src/kimp/shared/"
PLANTED = [
    (no_file_at_the_namespace, "order/src/kimp/__init__.py", ""),
    (no_vague_module, IN_SHARED + "utils.py", ""),
    (no_vague_module, IN_SHARED + "core/orders.py", ""),
    (no_long_module, IN_SHARED + "long.py", "x = 1\n" * (MODULE_LINES_MAX + 1)),
    (no_long_function, IN_SHARED + "long.py", "def f():\n" + "    x = 1\n" * FUNCTION_LINES_MAX),
    (public_things_are_documented, IN_SHARED + "domain/bare.py", '"""Said."""\n\n\ndef premium(): ...\n'),
    (public_things_are_documented, IN_SHARED + "domain/bare.py", '"""Said."""\n\n\nclass Book: ...\n'),
    (public_things_are_documented, "order/src/kimp/order/engine/bare.py", "x = 1\n"),
    (no_ambient_clock_dice_or_task, IN_SHARED + "x.py", "import time\ntime.time()\n"),
    (no_ambient_clock_dice_or_task, IN_SHARED + "x.py", "import datetime\ndatetime.datetime.now(tz=None)\n"),
    (no_ambient_clock_dice_or_task, IN_SHARED + "x.py", "from uuid import uuid4\nuuid4()\n"),
    (no_ambient_clock_dice_or_task, IN_SHARED + "x.py", "loop.create_task(f())\n"),
    (no_ambient_clock_dice_or_task, IN_SHARED + "x.py", "await_me = asyncio.gather(a, b)\n"),
    (no_ambient_clock_dice_or_task, IN_SHARED + "x.py", "import random\nrandom.choice([1])\n"),
    (no_ambient_clock_dice_or_task, IN_SHARED + "x.py", "import numpy as np\nnp.random.default_rng()\n"),
    (no_ambient_clock_dice_or_task, "shared/tests/test_x.py", "import time\ntime.sleep(1)\n"),
    (no_ambient_clock_dice_or_task, "shared/tests/test_x.py", "from unittest.mock import MagicMock\nMagicMock()\n"),
    (no_path_or_host_of_one_machine, "docs/x.md", "see /ho" + "me/trader/kimp\n"),
    (no_path_or_host_of_one_machine, "docs/x.md", "index-url = https://py" + "pi.org/simple\n"),
    (lines_end_in_newlines_only, "docs/x.md", "one\r\n"),
    (lines_end_in_newlines_only, "docs/x.md", "one"),
    (decisions_have_their_four_parts, "docs/adr/0009-x.md", "# 9. X\n\n## Context\n\n## Decision\n"),
    (decisions_have_their_four_parts, "docs/adr/thoughts.md", "# Thoughts\n"),
]
HARMLESS = [
    (no_vague_module, "docs/core.md", ""),
    (no_ambient_clock_dice_or_task, IN_SHARED + "x.py", "import random\ndice = random.Random(7)\ndice.choice([1])\n"),
    (no_ambient_clock_dice_or_task, IN_SHARED + "x.py", "import numpy as np\nnp.random.default_rng(7).normal()\n"),
    (no_ambient_clock_dice_or_task, IN_SHARED + "x.py", "import time\nbegan = time.perf_counter()\n"),
    (no_ambient_clock_dice_or_task, IN_SHARED + "x.py", "group.create_task(f())\nclock.now()\n"),
    (no_path_or_host_of_one_machine, "docs/x.md", "GET /tmpfiles and ~/.local/share/kimp and ./work/x\n"),
    (public_things_are_documented, "shared/tests/test_x.py", "def test_x(): ...\n"),
]


@pytest.mark.parametrize(("rule", "path", "text"), PLANTED)
def test_a_planted_violation_is_found(rule: Rule, path: str, text: str) -> None:
    assert list(rule(Source.of(path, text)))


@pytest.mark.parametrize(("rule", "path", "text"), HARMLESS)
def test_what_is_right_is_left_alone(rule: Rule, path: str, text: str) -> None:
    assert not list(rule(Source.of(path, text)))


def test_every_rule_is_known_to_bite() -> None:
    assert {rule for rule, _, _ in PLANTED} == set(RULES)
