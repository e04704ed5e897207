"""The log goes to stderr, as text for people or JSON for machines, and never with a secret in it.

Everything passes one handler at the root logger: our own lines, those of libraries, and exceptions with their causes.
:func:`configure` is called once, by the command that runs; library code only ever asks for :func:`get`.
"""

import logging
import os
import sys
from collections.abc import Iterable, MutableMapping
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from kimp.shared.redaction import Redactor
from kimp.shared.settings import Log, SecretStr

_ALREADY_SAFE = frozenset({"timestamp", "level"})


def get(name: str) -> structlog.stdlib.BoundLogger:
    """A logger; call it with a past-tense event and facts as keywords: ``log.info("feed lost", feed="upbit")``."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def configure(log: Log, secrets: Iterable[SecretStr] = (), stream: TextIO | None = None) -> None:
    """Send all logging of this process to ``stream`` (default stderr), with ``secrets`` blacked out."""
    target = stream or sys.stderr
    redactor = Redactor(secret.get_secret_value() for secret in secrets)
    handler = logging.StreamHandler(target)
    handler.setFormatter(_RedactingFormatter(redactor, log.format, target))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(log.level.upper())
    logging.captureWarnings(True)
    structlog.configure(
        processors=[*_common(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # a logger made before configure() must obey it too
    )


def _common() -> list[Processor]:
    return [
        structlog.stdlib.filter_by_level,
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


class _RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """Renders a record and redacts it twice: its values before, so that escaping hides nothing, and the line after."""

    def __init__(self, redactor: Redactor, form: Literal["console", "json"], stream: TextIO) -> None:
        def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
            return _redact_event(redactor, event)

        self._redactor = redactor
        super().__init__(
            # what libraries log has not passed our own chain, which starts with a filter the standard library has done
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *_common()[2:]],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.StackInfoRenderer(),
                structlog.processors.format_exc_info,
                redact,
                _renderer(form, stream),
            ],
        )

    def format(self, record: logging.LogRecord) -> str:
        return self._redactor.text(super().format(record))


def _redact_event(redactor: Redactor, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    safe = {key: event[key] for key in event if key in _ALREADY_SAFE}
    redacted: dict[str, Any] = redactor.value({key: event[key] for key in event if key not in _ALREADY_SAFE})
    return safe | redacted


def _renderer(form: Literal["console", "json"], stream: TextIO) -> Processor:
    if form == "json":
        return structlog.processors.JSONRenderer(ensure_ascii=False)
    colors = stream.isatty() and not os.environ.get("NO_COLOR")
    return structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
