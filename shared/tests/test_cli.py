"""The command line as a shell sees it: stdout, stderr, exit codes, and how fast help is there."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from importlib.metadata import EntryPoint
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import typer
from msgspec import Struct

from kimp.shared import cli
from kimp.shared.errors import KimpError, NotRunning, TimedOut

HEAVY = ("numpy", "pyarrow", "pandas", "plotly", "structlog", "asyncio", "ccxt", "pydantic", "jinja2")
TELEGRAM = "123456789:AAF0abcdefghijklmnopqrstuvwxyz_-012"


def fine(name: str = "you") -> None:
    """Say hello."""
    typer.echo(f"hello {name}")


def absent() -> None:
    """Ask something that is not there."""
    raise NotRunning("no trader answers\n here; start it with: kimp trade")


def leaking() -> None:
    """Fail with a secret in the message."""
    raise TimedOut(f"no answer from https://bot.example/bot{TELEGRAM}/getMe")


def buggy() -> None:
    """Have a bug."""
    _ = {}["missing"]


def interrupted() -> None:
    """Be stopped by the operator."""
    raise KeyboardInterrupt


group = typer.Typer(help="A group of commands.", no_args_is_help=True)
group.command("one")(fine)
group.command("two")(absent)
single = typer.Typer()
single.command()(fine)

POINTS = {
    "fine": f"{__name__}:fine",
    "absent": f"{__name__}:absent",
    "leaking": f"{__name__}:leaking",
    "buggy": f"{__name__}:buggy",
    "interrupted": f"{__name__}:interrupted",
    "group": f"{__name__}:group",
    "single": f"{__name__}:single",
    "broken": "kimp_test_no_such_module:app",
}


@dataclass
class Ran:
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def kimp(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run kimp in this process, with the commands of this file for plug-ins."""
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or _this_module())
    install(monkeypatch, [EntryPoint(name, value, cli.GROUP) for name, value in POINTS.items()])
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("KIMP_DEBUG", raising=False)

    def run(*arguments: str) -> Ran:
        code = cli.main(arguments)
        return Ran(code, *capsys.readouterr())

    return run


def install(monkeypatch: pytest.MonkeyPatch, points: list[EntryPoint]) -> None:
    def installed(*, group: str) -> list[EntryPoint]:
        return [point for point in points if point.group == group]

    monkeypatch.setattr(cli, "entry_points", installed)


def _this_module() -> object:
    return type("ThisFile", (), {**globals()})


def test_a_command_prints_its_result(kimp: Run) -> None:
    assert kimp("fine", "--name", "won") == Ran(0, "hello won\n", "")


def test_an_app_of_one_command_is_that_command(kimp: Run) -> None:
    assert kimp("single").out == "hello you\n"


def test_an_app_of_several_is_a_group(kimp: Run) -> None:
    assert kimp("group", "one").out == "hello you\n"
    assert kimp("group", "two").code == 3


def test_an_error_is_one_line_and_its_exit_code(kimp: Run) -> None:
    ran = kimp("absent")
    assert ran == Ran(3, "", "error: no trader answers here; start it with: kimp trade\n")


def test_a_bug_is_one_line_too(kimp: Run) -> None:
    ran = kimp("buggy")
    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert "KeyError" in ran.err
    assert "KIMP_DEBUG=1" in ran.err


def test_debugging_shows_the_traceback(kimp: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIMP_DEBUG", "1")
    assert "Traceback" in kimp("buggy").err


@pytest.mark.parametrize("debug", ["0", "1"])
def test_no_credential_reaches_the_terminal(kimp: Run, monkeypatch: pytest.MonkeyPatch, debug: str) -> None:
    monkeypatch.setenv("KIMP_DEBUG", debug)
    ran = kimp("leaking")
    assert ran.code == 5
    assert TELEGRAM not in ran.err


def test_an_interrupt_is_130(kimp: Run) -> None:
    assert kimp("interrupted").code == 130


@pytest.mark.parametrize("words", [["fine", "--nmae", "x"], ["nothing"], ["group", "three"], ["fine", "extra"]])
def test_wrong_usage_is_2_and_on_stderr(kimp: Run, words: list[str]) -> None:
    ran = kimp(*words)
    assert (ran.code, ran.out) == (2, "")
    assert "Traceback" not in ran.err


def test_help_lists_every_command_and_warns_of_a_broken_one(kimp: Run) -> None:
    ran = kimp("--help")
    assert ran.code == 0
    assert all(name in ran.out for name in POINTS if name != "broken")
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("warning: the command 'broken' of kimp_test_no_such_module:app cannot be loaded")


def test_help_lists_commands_by_name(kimp: Run) -> None:
    listed = [line.split()[1] for line in kimp("--help").out.split("Commands")[1].splitlines() if line.startswith("│")]
    assert listed == sorted(listed, key=lambda name: (name in {"group"}, name))


def test_a_broken_command_is_an_error_only_when_asked_for(kimp: Run) -> None:
    assert kimp("fine").err == ""
    ran = kimp("broken")
    assert (ran.code, ran.out) == (1, "")
    assert "reinstall or remove" in ran.err


def test_a_foreign_package_cannot_replace_our_command(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = EntryPoint("trade", "kimp.order.cli:trade", cli.GROUP), EntryPoint("trade", "evil:trade", cli.GROUP)
    for points in ([ours, theirs], [theirs, ours]):
        install(monkeypatch, points)
        assert cli._plugins()["trade"] == ours


class Fact(Struct):
    premium: Decimal
    sharpe: float
    path: PurePosixPath


def test_facts_are_json_numbers_and_null() -> None:
    facts = {
        "fact": Fact(Decimal("0.0350"), float("nan"), PurePosixPath("a/b")),
        "undefined": [Decimal("NaN"), float("inf"), None],
        "array": np.array([1, 2]),
        "number": np.float64(0.5),
        1: True,
    }
    text = cli.to_json(facts)
    assert '"premium": 0.0350' in text
    assert json.loads(text) == {
        "fact": {"premium": 0.035, "sharpe": None, "path": "a/b"},
        "undefined": [None, None, None],
        "array": [1, 2],
        "number": 0.5,
        "1": True,
    }


def test_what_has_no_json_form_is_a_bug() -> None:
    with pytest.raises(TypeError, match="no JSON form"):
        cli.to_json({"x": object()})


# --- the installed command, as a process -----------------------------------------------------------------------------


def shell(*words: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KIMP_")}
    code = "import sys; from kimp.shared.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=kept | {"XDG_CONFIG_HOME": "nobody", "COLUMNS": "120"} | variables,
        timeout=60,
        check=False,
    )


def test_help_imports_nothing_heavy() -> None:
    """Help within half a second follows from this; seconds on a busy machine would prove nothing."""
    listing = "import sys; from kimp.shared.cli import main; main(['--help']); print(*sorted(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True, timeout=60)
    imported = set(ran.stdout.splitlines()[-1].split())
    assert imported.isdisjoint(HEAVY), imported & set(HEAVY)


def test_version_names_every_member() -> None:
    ran = shell("version", "--json")
    facts = json.loads(ran.stdout)
    assert ran.returncode == 0
    assert facts["versions"]["kimp-shared"]
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert "kimp-shared" in shell("version").stdout


def test_config_init_writes_once_and_never_over(tmp_path: Path) -> None:
    assert shell("config", "init", cwd=tmp_path).returncode == 0
    base = tmp_path / "config" / "base.toml"
    base.write_text("[capital]\nfraction = 0.5\n", encoding="utf-8")
    again = shell("config", "init", cwd=tmp_path)
    assert "left alone" in again.stdout
    assert base.read_text(encoding="utf-8") == "[capital]\nfraction = 0.5\n"
    facts = json.loads(shell("config", "show", "--json", cwd=tmp_path).stdout)
    assert facts["settings"]["capital"]["fraction"] == {"value": 0.5, "origin": "config/base.toml"}


def test_config_init_onto_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("", encoding="utf-8")
    ran = shell("config", "init", cwd=tmp_path)
    assert ran.returncode in (0, 4)
    assert "Traceback" not in ran.stderr


def test_config_show_shows_no_secret(tmp_path: Path) -> None:
    secret = "canary-of-binance"
    for words in (["config", "show"], ["config", "show", "--json"]):
        ran = shell(*words, cwd=tmp_path, KIMP__BINANCE__SECRET_KEY=secret)
        assert ran.returncode == 0
        assert secret not in ran.stdout + ran.stderr
        assert "KIMP__BINANCE__SECRET_KEY" in ran.stdout


def test_a_wrong_setting_is_exit_code_4(tmp_path: Path) -> None:
    ran = shell("config", "show", "--set", "capital.fracton=1", cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (4, "")
    assert ran.stderr == "error: unknown setting capital.fracton on the command line; did you mean capital.fraction?\n"


def test_colour_is_only_for_terminals_that_want_it(tmp_path: Path) -> None:
    assert "\x1b[" not in shell("config", "show", cwd=tmp_path).stdout
    assert "\x1b[" not in shell("config", "show", cwd=tmp_path, NO_COLOR="1").stdout


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    code = "import sys; from kimp.shared.cli import main; sys.exit(main(['config', 'show', '--json']))"
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as gone:
        ran = subprocess.run(
            [sys.executable, "-c", code], stdout=gone, stderr=subprocess.PIPE, cwd=tmp_path, check=False
        )
    assert ran.stderr == b""


def test_errors_are_kimp_errors_to_everyone() -> None:
    assert issubclass(NotRunning, KimpError)
