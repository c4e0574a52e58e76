"""Places: where an export puts its files, and which time each of them holds.

What is in the files is `columns`, how they are written `formats`.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote

from tapehouse.instrument import Instrument
from tapehouse.ranges import TimeRange
from tapehouse.store.instruments import Series
from tapehouse.timeframe import Timeframe
from tapehouse.timeframe import timeframe as timeframe_named

_DAY: Final = timeframe_named("1d")
_MONTH: Final = timeframe_named("1M")
# What freqtrade replaces in the names of its files.
_REPLACED: Final = re.compile(r"[/ .@$+:]")


def partition_folder(root: Path, series: Series, timeframe: Timeframe | None) -> Path:
    """The folder of a series' Parquet files: its levels are named as Hive does, which most readers understand."""
    instrument = series.instrument
    levels = {"dataset": series.dataset, "exchange": instrument.exchange, "symbol": instrument.symbol}
    if timeframe is not None:
        levels["timeframe"] = _file_timeframe(timeframe)
    return root.joinpath(*(f"{name}={quote(value, safe='')}" for name, value in levels.items()))


def partitions(timeframe: Timeframe | None, span: TimeRange) -> Iterator[tuple[str, TimeRange]]:
    """The Parquet files that rows of a span lie in, by name without extension, each with all of its time.

    A file holds a month of candles, a year where they last a day or longer, and a day of trades; a candle belongs
    to the file in whose time it opens, and that time begins and ends with a candle.
    """
    start, end = span
    opened = _partition_of(timeframe, timeframe.floor(start) if timeframe else start)
    while opened < end:
        following = _following(timeframe, opened)
        first, stop = (timeframe.ceil(opened), timeframe.ceil(following)) if timeframe else (opened, following)
        if first < end:
            yield _partition_name(timeframe, opened), (first, stop)
        opened = following


def flat_file(root: Path, series: Series, timeframe: Timeframe | None, extension: str) -> Path:
    """Where freqtrade keeps a series: a folder an exchange, a file a series, derivatives in a folder of their own."""
    instrument = series.instrument
    name = f"{_REPLACED.sub('_', instrument.symbol)}-{_file_timeframe(timeframe) if timeframe else 'trades'}"
    folder = root / instrument.exchange
    if _is_derivative(instrument):
        folder /= "futures"
        name += "-futures" if timeframe else ""
    return folder / f"{name}.{extension}"


def _is_derivative(instrument: Instrument) -> bool:
    return instrument.kind != "spot"


def _file_timeframe(timeframe: Timeframe) -> str:
    # Some file systems tell no capitals from small letters: 1M would be 1m.
    return "1Mo" if timeframe.is_monthly else timeframe.name


def _has_years(timeframe: Timeframe) -> bool:
    return timeframe >= _DAY


def _partition_of(timeframe: Timeframe | None, time: datetime) -> datetime:
    """When the partition that holds the time begins, by the calendar."""
    if timeframe is None:
        return _DAY.floor(time)
    month = _MONTH.floor(time)
    return month.replace(month=1) if _has_years(timeframe) else month


def _following(timeframe: Timeframe | None, opened: datetime) -> datetime:
    if timeframe is None:
        return _DAY.close(opened)
    return _MONTH.shift(opened, 12 if _has_years(timeframe) else 1)


def _partition_name(timeframe: Timeframe | None, opened: datetime) -> str:
    if timeframe is None:
        return f"{opened:%Y-%m-%d}"
    return f"{opened:%Y}" if _has_years(timeframe) else f"{opened:%Y-%m}"
