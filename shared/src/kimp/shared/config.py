"""Finds each setting's value, and can say where it came from.

Later wins::

    built-in default < config/base.toml < config/<mode>.toml < KIMP__SECTION__KEY < command line

Nothing is guessed: an unknown key, a bad value or a secret in the wrong place is one sentence that names the file and
key (or the variable), never a default silently kept. An empty environment variable counts as not set, so that a copied
``.env.example`` changes nothing.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec

from kimp.shared.catalogue import PREFIX, Field, Key, catalogue, check_url, convert, default
from kimp.shared.errors import ConfigurationError
from kimp.shared.settings import MODES, SecretStr, Settings

FILE_SUFFIX = "_FILE"
DEFAULT_ORIGIN = "default"
COMMAND_LINE = "command line"


@dataclass(frozen=True, slots=True)
class Found:
    """A raw value and the place it was read from, as an operator would name that place."""

    value: Any
    origin: str


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings, the files they were read from, and each value's origin by (section, name)."""

    settings: Settings
    mode: str | None
    files: tuple[Path, ...]
    origins: Mapping[Key, str]

    @property
    def secrets(self) -> tuple[SecretStr, ...]:
        """Every secret that is set: what the log has to black out."""
        values = (getattr(getattr(self.settings, section), name) for section, name in catalogue())
        return tuple(value for value in values if isinstance(value, SecretStr) and value)


def load(
    mode: str | None = None,
    *,
    environ: Mapping[str, str],
    directory: Path | None = None,
    overrides: Iterable[str] = (),
) -> Configuration:
    """The resolved settings.

    Args:
        mode: ``paper``, ``testnet`` or ``live``; ``None`` for commands that do not trade reads the base file only.
        environ: the environment, usually ``os.environ``.
        directory: where the TOML files lie; by default the first of ``KIMP_CONFIG``, ``./config`` and the user's own.
        overrides: ``section.key=value`` from the command line.

    Raises:
        ConfigurationError: anything unknown, unreadable or out of bounds.
    """
    files = _files(mode, directory or find_directory(environ))
    found: dict[Key, Found] = _platform_default(environ)
    for path in files:
        found |= _from_file(path)
    found |= _from_environment(environ)
    found |= _from_command_line(overrides)
    origins = {key: found[key].origin if key in found else DEFAULT_ORIGIN for key in catalogue()}
    values = {
        key: convert(field, found[key].value, origins[key]) if key in found else default(field)
        for key, field in catalogue().items()
    }
    for key, field in catalogue().items():
        if field.is_url:
            check_url(field, values[key], origins[key], foreign_allowed=values["network", "allow_foreign_urls"])
    sections = {
        section.name: section.type(**{name: value for (of, name), value in values.items() if of == section.name})
        for section in msgspec.structs.fields(Settings)
    }
    return Configuration(Settings(**sections), mode, files, origins)


def find_directory(environ: Mapping[str, str]) -> Path | None:
    """Where the TOML files lie: ``KIMP_CONFIG``, else ``./config``, else the user's own; ``None`` if there are none."""
    if named := environ.get("KIMP_CONFIG"):
        if not Path(named).is_dir():
            raise ConfigurationError(
                f"KIMP_CONFIG names {named}, which is not a directory; create it or unset KIMP_CONFIG"
            )
        return Path(named)
    return next((path for path in (Path("config"), user_directory(environ)) if (path / "base.toml").is_file()), None)


def user_directory(environ: Mapping[str, str]) -> Path:
    """The user's own configuration directory; the same on every system, because one answer is easier to give."""
    return Path(environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "kimp"


def _files(mode: str | None, directory: Path | None) -> tuple[Path, ...]:
    if mode is not None and mode not in MODES:
        raise ConfigurationError(f"there is no mode {mode!r}{_nearest(mode, MODES)}; the modes are {', '.join(MODES)}")
    if directory is None:
        if mode in (None, "paper"):  # defaults are complete for paper; real venues are wired by a file, on purpose
            return ()
        raise ConfigurationError(
            f"mode {mode} needs config/{mode}.toml, and no config directory was found; write one with: kimp config init"
        )
    files = [directory / "base.toml"] + ([directory / f"{mode}.toml"] if mode else [])
    for path in files:
        if not path.is_file():
            raise ConfigurationError(f"{path} does not exist; write it with: kimp config init")
    return tuple(files)


def _platform_default(environ: Mapping[str, str]) -> dict[Key, Found]:
    home = environ.get("XDG_DATA_HOME")
    return {("data", "directory"): Found(str(Path(home) / "kimp"), "XDG_DATA_HOME")} if home else {}


def _from_file(path: Path) -> dict[Key, Found]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from error  # the parser names line and column
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    found: dict[Key, Found] = {}
    for section, entries in content.items():
        _expect_section(section, f"in {path}")
        if not isinstance(entries, dict):
            raise ConfigurationError(
                f"{section} in {path} is a value, but it is a section: write [{section}] above its keys"
            )
        for name, value in entries.items():
            field = _expect_field(section, name, f"in {path}", f"{section}.{name}")
            if field.is_secret:
                raise ConfigurationError(
                    f"{section}.{name} stands in {path}, but secrets do not belong in files that get "
                    f"committed; set {field.variable} or {field.variable}{FILE_SUFFIX}"
                )
            found[section, name] = Found(value, str(path))
    return found


def _from_environment(environ: Mapping[str, str]) -> dict[Key, Found]:
    found: dict[Key, Found] = {}
    for variable, text in sorted(environ.items()):
        if not variable.startswith(PREFIX):
            continue
        section, _, name = variable[len(PREFIX) :].lower().partition("__")
        is_path = variable.endswith(FILE_SUFFIX) and (section, name) not in catalogue()
        if is_path:
            name = name.removesuffix(FILE_SUFFIX.lower())
        _expect_section(section, "of the environment", variable)
        field = _expect_field(section, name, "in the environment", variable)
        if is_path and not field.is_secret:
            raise ConfigurationError(f"{variable} is set, but only secrets are read from a file; set {field.variable}")
        if not text:
            continue
        if (section, name) in found:
            raise ConfigurationError(
                f"{field.variable} and {field.variable}{FILE_SUFFIX} are both set; unset one of them"
            )
        found[section, name] = Found(_read_secret(variable, text) if is_path else text, variable)
    return found


def _from_command_line(overrides: Iterable[str]) -> dict[Key, Found]:
    found: dict[Key, Found] = {}
    for override in overrides:
        dotted, equals, text = override.partition("=")
        section, dot, name = dotted.strip().partition(".")
        if not equals or not dot:
            raise ConfigurationError(f"{override!r} on the command line is not of the form section.key=value")
        _expect_section(section, "on the command line")
        field = _expect_field(section, name, "on the command line", dotted.strip())
        if field.is_secret:
            raise ConfigurationError(
                f"{dotted} is a secret, and everyone on this machine can read a command line; "
                f"set {field.variable} or {field.variable}{FILE_SUFFIX}"
            )
        found[section, name] = Found(text, COMMAND_LINE)
    return found


def _read_secret(variable: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{variable} names {path}, which cannot be read: {error}") from error


def _expect_section(section: str, where: str, shown: str | None = None) -> None:
    known = [field.name for field in msgspec.structs.fields(Settings)]
    if section not in known:
        raise ConfigurationError(
            f"unknown section {shown or f'[{section}]'} {where}{_nearest(section, known)}; "
            "all settings: docs/configuration.md"
        )


def _expect_field(section: str, name: str, where: str, shown: str) -> Field:
    if (section, name) in catalogue():
        return catalogue()[section, name]
    names = [key[1] for key in catalogue() if key[0] == section]
    nearest = next(iter(get_close_matches(name, names, n=1, cutoff=0.5)), None)
    if nearest is None:
        hint = f"; [{section}] has {', '.join(names)}"
    elif shown.startswith(PREFIX):
        hint = f"; did you mean {catalogue()[section, nearest].variable}?"
    else:
        hint = f"; did you mean {section}.{nearest}?"
    raise ConfigurationError(f"unknown setting {shown} {where}{hint}")


def _nearest(word: str, known: Iterable[str]) -> str:
    close = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f", did you mean {close[0]}?" if close else ""
