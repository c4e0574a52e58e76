"""Frames as CSV, JSON, Parquet and tables; all but the table are exact.

Frames are those of `tapehouse.query`: indexed by time in UTC (an order book by level), and what is to
be known of them in `attrs`.
"""

import importlib
import json
import math
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd
from pandas.api.types import is_float_dtype, is_numeric_dtype

from tapehouse.cli.output import Column, print_table
from tapehouse.errors import InputError, needs_extra

if TYPE_CHECKING:
    from typing import IO

Precision = Literal["m", "s", "ms", "us"]

# How json.dumps ends an indented object: the rows are put in before it, written one at a time.
_END: Final = "\n}"


def print_frame(frame: pd.DataFrame, *, rows: int) -> None:
    """Print the last rows as a table, each column of numbers with as many decimals as it needs."""
    shown = frame.tail(rows)
    titles = [
        _index_column(frame),
        *(Column(str(name), align="right" if is_numeric_dtype(shown[name]) else "left") for name in shown),
    ]
    print_table(titles, zip(_shown_index(shown), *(_shown_values(shown[name]) for name in shown), strict=True))


def print_csv(frame: pd.DataFrame) -> None:
    """Print CSV: floats as the shortest decimals that give them back, times in ISO 8601 UTC."""
    _write_csv(frame, sys.stdout)
    sys.stdout.flush()


def print_frame_json(frame: pd.DataFrame, noun: str) -> None:
    """Print one JSON document: what attrs say of the frame, then under that noun its rows, one a line."""
    _write_json(frame, noun, sys.stdout)
    sys.stdout.flush()


def save_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write the CSV of `print_csv` to a file; raises InputError where that can't be written."""
    save_whole(path, lambda part: _write_text(part, lambda file: _write_csv(frame, file)))


def save_json(frame: pd.DataFrame, path: Path, noun: str) -> None:
    """Write the JSON of `print_frame_json` to a file; raises InputError where that can't be written."""
    save_whole(path, lambda part: _write_text(part, lambda file: _write_json(frame, noun, file)))


def save_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write a Parquet file with the frame's own dtypes, index and attrs; `pandas.read_parquet` gives them back.

    Raises InputError where the file can't be written, MissingExtra without pyarrow.
    """
    with needs_extra("Parquet needs", "pyarrow", extra="parquet"):
        # pandas would say it in its own words.
        importlib.import_module("pyarrow")
    save_whole(path, lambda part: frame.to_parquet(part, engine="pyarrow"))


def save_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Write beside the file and rename, so that it is never seen half-written; raises InputError where it can't be."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(part)
        part.replace(path)
    except OSError as error:
        raise InputError(f"Can't write {path}: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            part.unlink()


def _write_csv(frame: pd.DataFrame, file: "IO[str]") -> None:
    frame.set_axis(_plain_index(frame)).to_csv(file, index_label=str(frame.index.name), lineterminator="\n")


def _write_json(frame: pd.DataFrame, noun: str, file: "IO[str]") -> None:
    names = [str(frame.index.name), *map(str, frame.columns)]
    values = zip(_plain_index(frame), *(_jsonable(frame[name]) for name in frame), strict=True)
    head = json.dumps(frame.attrs, indent=2)
    rows = (json.dumps(dict(zip(names, row, strict=True)), allow_nan=False) for row in values)
    file.write(f'{head[: -len(_END)]},\n  "{noun}": [')
    for number, row in enumerate(rows):
        file.write(f"{',' if number else ''}\n    {row}")
    file.write(f"\n  ]{_END}\n")


def _plain_index(frame: pd.DataFrame) -> list[Any]:
    """Times in ISO 8601 UTC, to the second or as precise as any of them needs; another index as it is."""
    if not isinstance(frame.index, pd.DatetimeIndex):
        return frame.index.tolist()
    precision = _precision(frame.index)
    return [f"{text}+00:00" for text in _time_texts(frame.index, "s" if precision == "m" else precision)]


def _jsonable(column: pd.Series) -> list[Any]:
    """The values, None where there is none."""
    return column.astype(object).where(column.notna(), None).tolist() if column.hasnans else column.tolist()


def _index_column(frame: pd.DataFrame) -> Column:
    if isinstance(frame.index, pd.DatetimeIndex):
        return Column("time (UTC)")
    return Column(str(frame.index.name), align="right")


def _shown_index(frame: pd.DataFrame) -> list[Any]:
    """Times as precise as any of them needs."""
    if not isinstance(frame.index, pd.DatetimeIndex):
        return frame.index.tolist()
    return [text.replace("T", " ") for text in _time_texts(frame.index, _precision(frame.index))]


def _time_texts(times: pd.DatetimeIndex, precision: Precision) -> list[str]:
    naive = times.tz_convert("UTC").tz_localize(None).to_numpy()
    return np.datetime_as_string(naive, unit=precision).tolist()


def _precision(times: pd.DatetimeIndex) -> Precision:
    """The coarsest unit in which all of them are whole."""
    if not times.microsecond.any():
        return "s" if times.second.any() else "m"
    return "us" if (times.microsecond % 1000).any() else "ms"


def _shown_values(column: pd.Series) -> list[str]:
    """Floats with the decimals that the column needs; ids and texts as they are, nothing where there is no value."""
    values = column.tolist()
    if not is_float_dtype(column):
        return [str(value) for value in values]
    decimals = max((_decimals(value) for value in values if not math.isnan(value)), default=0)
    return ["" if math.isnan(value) else f"{Decimal(repr(value)):,.{decimals}f}" for value in values]


def _decimals(value: float) -> int:
    """How many decimal places a number has."""
    return max(-int(Decimal(repr(value)).as_tuple().exponent), 0)


def _write_text(path: Path, write: "Callable[[IO[str]], None]") -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        write(file)
