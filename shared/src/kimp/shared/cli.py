"""The one ``kimp`` command, put together from whatever packages are installed.

A package adds a command by an entry point of the group ``kimp.commands``: a name, and a plain function or a Typer app.
``kimp collect …`` imports the module behind ``collect`` and no other, and these modules import what is heavy inside
their functions, so that help is there in half a second. A package that cannot be imported costs one warning line.

Results go to stdout, everything else to stderr. :func:`main` is where every error ends: one line and an exit code.
"""

import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from importlib.metadata import EntryPoint, entry_points
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import typer

from kimp.shared.errors import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_OK, KimpError
from kimp.shared.redaction import scrub

if TYPE_CHECKING:
    from rich.console import Console

GROUP = "kimp.commands"
HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``kimp`` with these arguments (default: the process's own) and give its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _application(words)(words, prog_name="kimp")
        code = EXIT_OK
    except SystemExit as end:  # how Typer ends, also on usage errors (2) and after --help (0)
        code = end.code if isinstance(end.code, int) else EXIT_OK if end.code is None else EXIT_ERROR
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except KimpError as error:
        code = _fail(error, str(error), error.exit_code)
    except Exception as error:  # a bug: still one line, and how to see more
        code = _fail(error, f"unexpected {type(error).__name__}: {error}; KIMP_DEBUG=1 shows where", EXIT_ERROR)
    return _flushed(code)


def console() -> "Console":
    """Where results for people go: stdout, coloured on a terminal, plain under ``NO_COLOR`` or in a pipe."""
    from rich.console import Console

    return Console(highlight=False)


def error_console() -> "Console":
    """Where progress, warnings and errors go: stderr, so that results can be piped."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def warn(sentence: str) -> None:
    """One yellow line on stderr."""
    _line(sentence, "yellow")


def print_json(facts: Any) -> None:
    """Facts as JSON on stdout: ``Decimal`` as numbers, what is not a finite number as ``null``, times as given."""
    sys.stdout.write(to_json(facts) + "\n")


def to_json(facts: Any) -> str:
    """What :func:`print_json` prints: indented, keys in the order given. Arrays, paths and structs are fine."""
    import msgspec

    plain = msgspec.to_builtins(facts, builtin_types=(Decimal,), str_keys=True, enc_hook=_plain)
    encoder = msgspec.json.Encoder(decimal_format="number")  # writes a float that is not finite as null by itself
    return msgspec.json.format(encoder.encode(_finite(plain)), indent=2).decode()


def _plain(value: Any) -> Any:
    """What the encoder does not know: paths by their text, numpy numbers and arrays by their content."""
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form; convert it first")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, Decimal) and not value.is_finite() else value


def _application(words: Sequence[str]) -> Callable[..., Any]:
    """The command line with only the plug-in that was asked for, or all of them to list or suggest from."""
    plugins = _plugins()
    root = typer.Typer(name="kimp", no_args_is_help=True, callback=_root, context_settings=HELP_OPTIONS)
    asked = next((word for word in words if not word.startswith("-")), None)
    if asked is not None and asked in plugins:
        _mount(root, asked, _load(plugins[asked]))
        return typer.main.get_command(root)
    for name, plugin in plugins.items():
        try:
            _mount(root, name, _load(plugin))
        except KimpError as error:
            warn(f"warning: {error}")
    return typer.main.get_command(root)


def _root() -> None:
    """김프(김치 프리미엄) 차익거래: 업비트 원화 현물과 바이낸스 USDT 무기한 선물. Kimchi-premium arbitrage."""


def _plugins() -> Mapping[str, EntryPoint]:
    """Installed commands by name. A foreign package cannot replace one of ours: its ``trade`` would get our money."""
    ours_last = sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value.startswith("kimp.")))
    return {point.name: point for point in ours_last}


def _load(plugin: EntryPoint) -> Any:
    try:
        return plugin.load()
    except Exception as error:  # whatever a broken package raises, the other commands must go on working
        package = plugin.dist.name if plugin.dist else plugin.value
        raise KimpError(
            f"the command {plugin.name!r} of {package} cannot be loaded ({type(error).__name__}: {error}); "
            "reinstall or remove that package"
        ) from error


def _mount(root: typer.Typer, name: str, target: Any) -> None:
    if not isinstance(target, typer.Typer):
        root.command(name)(target)
    elif target.registered_callback or target.registered_groups or len(target.registered_commands) != 1:
        root.add_typer(target, name=name)
    else:  # an app of one command is that command, not a group around it
        (only,) = target.registered_commands
        only.name = name
        root.registered_commands.append(only)


def _fail(error: Exception, sentence: str, code: int) -> int:
    if os.environ.get("KIMP_DEBUG") == "1":
        typer.echo(scrub("".join(traceback.format_exception(error))), err=True)
    _line(f"error: {sentence}", "red")
    return code


def _line(text: str, color: str) -> None:
    """Exactly one line, whatever the text; never with anything that looks like a credential."""
    color_wanted = False if os.environ.get("NO_COLOR") else None  # None: only when stderr is a terminal
    typer.secho(scrub(" ".join(text.split())), fg=color, err=True, color=color_wanted)


def _flushed(code: int) -> int:
    """Write out what is still buffered; a reader that went away (``kimp … | head``) is no error worth a word."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at its exit
    return code
