"""The commands every installation has: ``kimp version`` and ``kimp config``."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kimp.shared.cli import console, print_json
from kimp.shared.errors import ConfigurationError

if TYPE_CHECKING:
    from kimp.shared.config import Configuration

MEMBERS = ("kimp-shared", "kimp-storage", "kimp-order", "kimp-research", "kimp-portfolio")

Json = Annotated[bool, typer.Option("--json", help="Print facts as JSON. 결과를 JSON으로 출력합니다.")]

config = typer.Typer(
    help="설정 파일을 만들고 적용된 설정을 봅니다. Write and show the configuration.", no_args_is_help=True
)


def version(as_json: Json = False) -> None:
    """설치된 버전을 봅니다. Show the installed versions."""
    import platform
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    found: dict[str, str | None] = {}
    for member in MEMBERS:
        try:
            found[member] = version_of(member)
        except PackageNotFoundError:  # each member also works without those above it
            found[member] = None
    if as_json:
        print_json({"versions": found, "python": platform.python_version()})
        return
    for name, number in [*found.items(), ("python", platform.python_version())]:
        console().print(f"{name:<16}{number or '설치되지 않음 (not installed)'}")


@config.command()
def init(
    path: Annotated[Path, typer.Option(help="만들 위치. Directory to write to.")] = Path("config"),
) -> None:
    """설정 파일을 만듭니다. Write base.toml and one file for each mode; a file that is there already stays as it is."""
    from kimp.shared.config_files import files

    for name, content in files().items():
        target = path / name
        try:
            path.mkdir(parents=True, exist_ok=True)
            with target.open("x", encoding="utf-8") as file:
                file.write(content)
        except FileExistsError:
            console().print(f"{target}: 이미 있어 그대로 둡니다 (exists, left alone)", soft_wrap=True)
        except OSError as error:
            raise ConfigurationError(f"{target} cannot be written: {error.strerror}; choose another --path") from error
        else:
            console().print(f"{target}: 만들었습니다 (written)", soft_wrap=True)


@config.command()
def show(
    mode: Annotated[str, typer.Option(help="paper, testnet 또는 live.")] = "paper",
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """적용된 설정과 각 값의 출처를 봅니다. Show every resolved value and where it came from, without secrets."""
    from kimp.shared.config import load

    found = load(mode, environ=os.environ, overrides=assignments or ())
    if as_json:
        print_json({"mode": mode, "files": found.files, "settings": _facts(found)})
    else:
        _print_table(found)


def _facts(found: "Configuration") -> dict[str, dict[str, dict[str, object]]]:
    from kimp.shared.settings import SecretStr

    facts: dict[str, dict[str, dict[str, object]]] = {}
    for (section, name), origin in found.origins.items():
        value = getattr(getattr(found.settings, section), name)
        shown = (str(value) or None) if isinstance(value, SecretStr) else value
        facts.setdefault(section, {})[name] = {"value": shown, "origin": origin}
    return facts


def _print_table(found: "Configuration") -> None:
    from rich.table import Table

    table = Table("설정 (setting)", "값 (value)", "출처 (origin)", title=f"mode: {found.mode}", title_justify="left")
    for section, entries in _facts(found).items():
        for name, fact in entries.items():
            value = fact["value"]
            shown = str(value).lower() if isinstance(value, bool) else "-" if value is None else str(value)
            table.add_row(f"{section}.{name}", shown, str(fact["origin"]))
    out = console()
    out.print(table)
    if not found.files:
        out.print("설정 파일 없음: 기본값입니다. No files found, these are defaults; write some with: kimp config init")
