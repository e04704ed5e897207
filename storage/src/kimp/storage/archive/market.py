"""Everything a backtest reads, from a directory of recorded files.

>>> read_market(Path("market"), start=None, end=None)          # doctest: +SKIP
"""

from pathlib import Path

from kimp.shared.domain.history import MarketData
from kimp.shared.domain.time import DAY, MINUTE, Nanos
from kimp.shared.errors import ConfigurationError, DataError
from kimp.storage.archive.layout import files_by_stem
from kimp.storage.archive.observations import read_fixing, read_funding, read_tether
from kimp.storage.archive.selection import Choice, choose
from kimp.storage.archive.tables import moment


def read_market(
    directory: Path,
    *,
    start: Nanos | None,
    end: Nanos | None,
    base: str = "BTC",
    interval: Nanos | None = None,
    fx: str = "ecb",
) -> MarketData:
    """Both legs of the pair, exchange rate and funding over ``[start, end)``, as they were recorded.

    Args:
        directory: laid out as docs/DATA_LAYOUT.md says.
        start, end: nanoseconds UTC; ``None`` is where the recording of both legs begins or ends.
        base: the coin.
        interval: bar length in nanoseconds; ``None`` takes the finest that covers the range (the rule:
            ``archive.selection``).
        fx: ``ecb`` or ``investing``, the source of USD/KRW.

    Bars that nobody traded in are absent. ``usdkrw``, ``usdtkrw`` and ``funding`` also hold the last value before
    ``start``, which is in force there. ``sources`` names files, resampling, and what was not recorded.

    Raises:
        ConfigurationError: no such directory, source or series.
        DataError: crossed dates, a range that is not covered, or a row that cannot be true.
    """
    _check_request(start, end, interval)
    files = files_by_stem(directory)
    return _loaded(files, choose(files, base, interval, start, end), base, fx)


def _loaded(files: dict[str, list[Path]], choice: Choice, base: str, fx: str) -> MarketData:
    korea, abroad = (leg.read(choice.span, choice.interval) for leg in (choice.korea, choice.abroad))
    since, until = choice.span
    if not len(korea) or not len(abroad):
        raise DataError(
            f"There is no whole bar of both legs from {moment(since)} to {moment(until)}; ask for a longer range."
        )
    usdkrw, valid_for, fx_source = read_fixing(files, fx, since, until)
    funding, funding_source = read_funding(files, base, since, until)
    tether = read_tether(files, since, until)
    return MarketData(
        base=base,
        interval=choice.interval,
        start=since,
        end=until,
        korea=korea,
        abroad=abroad,
        usdkrw=usdkrw,
        usdkrw_valid_for=valid_for,
        usdtkrw=tether[0] if tether else None,
        funding=funding,
        sources={
            "korea": choice.korea.described(choice.interval),
            "abroad": choice.abroad.described(choice.interval),
            "usdkrw": fx_source,
            "usdtkrw": tether[1] if tether else "not recorded",
            "funding": funding_source,
        },
    )


def _check_request(start: Nanos | None, end: Nanos | None, interval: Nanos | None) -> None:
    if start is not None and end is not None and start >= end:
        raise DataError(
            f"The range starts at {moment(start)} and ends at {moment(end)}; the start must come before the end."
        )
    if interval is not None and (interval < MINUTE or interval % MINUTE or DAY % interval):
        raise ConfigurationError(
            f"Bars of {interval / MINUTE:g} minutes do not divide a day; choose 1, 5, 60 or another divisor of a day."
        )
