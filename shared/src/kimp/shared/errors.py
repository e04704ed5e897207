"""Everything that can go wrong in a way worth explaining, as one tree:

    KimpError                   1   something kimp can explain
    ├── UnitMismatch            1   won added to dollars; also a TypeError
    ├── NotRunning              3   the trader, database or bot that was asked is not there
    ├── ConfigurationError      4   a setting or credential is missing, unknown or wrong
    ├── TimedOut                5   no answer within the time allowed
    ├── DataError               6   market data is missing, broken or contradicts itself
    └── ValidationFailed        6   a gate, an invariant or a check of results said no

The number is the exit code of the `kimp` command. ``str(error)`` is one sentence that says what happened, where, and
what to do about it; the command line prints it as it stands, so write it for the person who has to act on it at three
in the morning.

Expected trouble on the trading path (a rejected order, a lost feed) is not here: it is data, an event like any other.
"""

from typing import ClassVar

EXIT_OK = 0
EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_NOT_RUNNING = 3
EXIT_CONFIGURATION = 4
EXIT_TIMEOUT = 5
EXIT_FAILED = 6
EXIT_INTERRUPTED = 130  # 128 + SIGINT, what every shell expects of an interrupted command


class KimpError(Exception):
    """Something went wrong that kimp can explain in one sentence: what, where, what to do."""

    exit_code: ClassVar[int] = EXIT_ERROR


class UnitMismatch(KimpError, TypeError):
    """Numbers of different units met: won added to dollars, or rates that do not chain.

    A ``TypeError`` as well, because that is what it is to any code that has never heard of kimp.
    """


class NotRunning(KimpError):
    """The process that was asked is not there: no trader, database, stop switch or bot answered."""

    exit_code = EXIT_NOT_RUNNING


class ConfigurationError(KimpError):
    """A setting or a credential is missing, unknown or wrong; names the file and key, or the variable."""

    exit_code = EXIT_CONFIGURATION


class TimedOut(KimpError):
    """No answer came within the time allowed. Never raised for an order: an order without an answer is ``Unknown``."""

    exit_code = EXIT_TIMEOUT


class DataError(KimpError):
    """Market data is missing, malformed or contradicts itself; names the series and the time."""

    exit_code = EXIT_FAILED


class ValidationFailed(KimpError):
    """A gate, an invariant or a check of results said no; says which one and by how much."""

    exit_code = EXIT_FAILED
