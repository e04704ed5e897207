"""Every command in the documentation is run, so that no reader is the first to try it.

In fenced ``console``, ``bash`` and ``sh`` blocks of the READMEs and docs/, a line that begins with ``$ `` is a command
and the lines after it its output; a block without any ``$ `` is all commands. A ``\\`` at the end continues a line,
``#`` begins a comment. All documents share one directory, as a reader has one clone, and each distinct command runs
once, in the order of the documents (a runbook is read where a trader has run), with the ``kimp`` of this environment.

What cannot run here stands in ``NOT_RUN`` with the reason; nothing is skipped in silence.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SECONDS_MAX = 300  # for one command; the slowest in the documentation runs a year of minutes
LANGUAGES = {"console", "bash", "sh"}

NOT_RUN: dict[str, str] = {
    r"git (clone|add|commit|pull|push|switch|checkout)\b.*": "changes a repository, or needs one elsewhere",
    r"cd .*": "every document runs in a directory of its own",
    r"(python3? -m )?pip install .*": "installs into the reader's machine",
    r"(curl|wget|apt-get|brew|pipx|npm) .*": "fetches from the network",
    r"uv (sync|lock|tool|pip|venv|python)\b.*": "builds the environment this test runs in",
    r"uv run pytest\b.*": "is this very test run",
    r"uv run just\b.*": "runs or changes the whole project; that the recipes parse is tested below",
    r"uv run (ruff|mypy|lint-imports)\b.*": "is a gate of its own in .ci/run",
    r"uv run --env-file \.env .*": "needs the reader's own .env; the same command without it is tested",
    r"bash \.ci/run": "runs these tests itself",
    r"docker( |-).*": "needs a container engine",
    r"export KIMP__\w+=…": "shows where the reader puts a secret",
    r"kimp (status|flatten)\b.*": "needs a trader that runs; tests/test_trading_commands.py tells an owner's whole day",
    r"kimp (trade|doctor) --mode (testnet|live)\b.*": "needs the reader's own keys",
}


@dataclass(frozen=True)
class Command:
    document: str
    line: int
    text: str

    @property
    def reason_not_to_run(self) -> str | None:
        return next((reason for pattern, reason in NOT_RUN.items() if re.fullmatch(pattern, self.text)), None)


def documents() -> list[Path]:
    found = [
        ROOT / "README.md",
        ROOT / "README.ko.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    ]
    return [path for path in found if path.is_file()]


def commands(document: str, text: str) -> list[Command]:
    """The commands of one document, in order."""
    found: list[Command] = []
    for fence in re.finditer(r"^( *)```(\w+)[^\n]*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        if fence[2] not in LANGUAGES:
            continue
        first = text.count("\n", 0, fence.start(3)) + 1
        lines = [line.removeprefix(fence[1]) for line in fence[3].split("\n")]
        has_prompt = any(line.startswith("$ ") for line in lines)
        number = 0
        while number < len(lines):
            start, line = number, lines[number]
            while line.endswith("\\") and number + 1 < len(lines):
                number += 1
                line = line[:-1].rstrip() + " " + lines[number].strip()
            number += 1
            if has_prompt and not line.startswith("$ "):
                continue
            stripped = re.sub(r"(^|\s+)#.*$", "", line.removeprefix("$ ")).strip()
            if stripped:
                found.append(Command(document, first + start, stripped))
    return found


def typed(command: Command) -> str:
    """The command as it is typed in this very environment."""
    return re.sub(r"^uv run (--quiet )?(?=(kimp|python)\b)", "", command.text)


def run(command: Command, directory: Path) -> subprocess.CompletedProcess[str]:
    text = typed(command)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KIMP__")}
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    home = {"XDG_CONFIG_HOME": str(directory / ".config"), "XDG_DATA_HOME": str(directory / ".data")}
    return subprocess.run(
        ["bash", "-c", "set -eo pipefail; " + text],
        cwd=directory,
        env=kept | home | {"PATH": programs, "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with what a reader of the documentation has at hand; copies, so that nothing here is written to."""
    directory = tmp_path_factory.mktemp("clone")
    for folder in ("config", "benchmarks"):
        if (ROOT / folder).is_dir():
            shutil.copytree(ROOT / folder, directory / folder)
    return directory


@pytest.fixture(scope="session")
def done() -> set[str]:
    """The commands that ran well in this session."""
    return set()


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_documented_command_runs(path: Path, clone: Path, done: set[str]) -> None:
    for command in commands(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")):
        if command.reason_not_to_run or typed(command) in done:
            continue
        result = run(command, clone)
        assert result.returncode == 0, (
            f"{command.document}:{command.line}: `{command.text}` ended with {result.returncode}\n"
            f"{result.stdout[-2000:]}\n{result.stderr[-2000:]}\n"
            "Mend the command or the program; if it cannot run in a test, add it to NOT_RUN with the reason."
        )
        done.add(typed(command))


# --- the reading of documents ----------------------------------------------------------------------------------------


def texts(markdown: str) -> list[str]:
    return [command.text for command in commands("x.md", markdown)]


def test_a_block_with_prompts_has_commands_and_their_output() -> None:
    assert texts("```console\n$ kimp version\nkimp 0.1.0\n$ kimp config show\n```\n") == [
        "kimp version",
        "kimp config show",
    ]


def test_a_block_without_prompts_is_all_commands() -> None:
    assert texts("```bash\n# first\nkimp version  # now\n\nkimp \\\n  config show\n```\n") == [
        "kimp version",
        "kimp config show",
    ]


def test_other_blocks_are_not_commands() -> None:
    assert texts("```python\nprint()\n```\n\n```\n$ rm -rf .\n```\n") == []


def test_a_command_knows_its_line() -> None:
    (command,) = commands("x.md", "# Title\n\n```sh\n\nkimp version\n```\n")
    assert command.line == 5


def test_a_block_inside_a_list_is_read_too() -> None:
    assert texts("1. First\n   ```sh\n   kimp version\n   ```\n") == ["kimp version"]


def test_every_exception_has_a_reason_and_takes_no_command_that_can_run() -> None:
    assert all(reason.strip() for reason in NOT_RUN.values())
    for text in (
        "uv run kimp demo",
        "kimp backtest --json",
        "uv run kimp config show",
        "kimp trade --for 10s",
        "kimp why",
    ):
        assert Command("x.md", 1, text).reason_not_to_run is None


def test_a_command_that_fails_is_noticed(tmp_path: Path) -> None:
    assert run(Command("x.md", 1, "uv run kimp no-such-command"), tmp_path).returncode == 2
    assert run(Command("x.md", 1, "false | cat"), tmp_path).returncode != 0
    assert run(Command("x.md", 1, "uv run kimp version"), tmp_path).returncode == 0


def test_the_recipes_parse() -> None:
    listing = subprocess.run(
        [Path(sys.executable).parent / "just", "--list"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for recipe in ("setup", "check", "test", "format", "generate", "lock", "backtest", "demo", "bench"):
        assert re.search(rf"^ +{recipe}\b", listing, re.MULTILINE)
