"""Candle frames as CSV, JSON, Parquet and tables; all but the table are exact.

Frames are those of `tapehouse.query`: indexed by open time in UTC, float64 columns, and what
is to be known of them in `attrs`.
"""

import importlib
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from tapehouse.cli.output import Column, print_table
from tapehouse.errors import InputError, needs_extra

if TYPE_CHECKING:
    from typing import IO

# How json.dumps ends an indented object: the candles are put in before it, written one at a time.
_END: Final = "\n}"


def print_frame(frame: pd.DataFrame, *, rows: int) -> None:
    """Print the last rows as a table, each column with as many decimals as it needs."""
    shown = frame.tail(rows)
    columns = [[_with_decimals(value, most) for value in values] for values, most in map(_decimals, _columns(shown))]
    times = [time.to_pydatetime() for time in shown.index]
    titles = [Column("time (UTC)"), *(Column(str(name), align="right") for name in frame.columns)]
    print_table(titles, zip(times, *columns, strict=True))


def print_csv(frame: pd.DataFrame) -> None:
    """Print CSV: floats as the shortest decimals that give them back, times in ISO 8601 UTC."""
    _write_csv(frame, sys.stdout)
    sys.stdout.flush()


def print_frame_json(frame: pd.DataFrame) -> None:
    """Print one JSON document: what attrs say of the frame, then the candles, one a line."""
    _write_json(frame, sys.stdout)
    sys.stdout.flush()


def save_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write the CSV of `print_csv` to a file; raises InputError where that can't be written."""
    _save(path, lambda part: _write_text(part, lambda file: _write_csv(frame, file)))


def save_json(frame: pd.DataFrame, path: Path) -> None:
    """Write the JSON of `print_frame_json` to a file; raises InputError where that can't be written."""
    _save(path, lambda part: _write_text(part, lambda file: _write_json(frame, file)))


def save_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write a Parquet file with the frame's own dtypes, index and attrs; `pandas.read_parquet` gives them back.

    Raises InputError where the file can't be written, MissingExtra without pyarrow.
    """
    with needs_extra("Parquet needs", "pyarrow", extra="parquet"):
        # pandas would say it in its own words.
        importlib.import_module("pyarrow")
    _save(path, lambda part: frame.to_parquet(part, engine="pyarrow"))


def _write_csv(frame: pd.DataFrame, file: "IO[str]") -> None:
    frame.set_axis(_iso_times(frame)).to_csv(file, index_label="time", lineterminator="\n")


def _write_json(frame: pd.DataFrame, file: "IO[str]") -> None:
    names = ["time", *map(str, frame.columns)]
    values = zip(_iso_times(frame), *(frame[name].tolist() for name in frame.columns), strict=True)
    head = json.dumps(frame.attrs, indent=2)
    candles = (json.dumps(dict(zip(names, row, strict=True)), allow_nan=False) for row in values)
    file.write(head[: -len(_END)] + ',\n  "candles": [')
    for number, candle in enumerate(candles):
        file.write(f"{',' if number else ''}\n    {candle}")
    file.write(f"\n  ]{_END}\n")


def _iso_times(frame: pd.DataFrame) -> list[str]:
    times = pd.DatetimeIndex(frame.index).tz_convert("UTC").tz_localize(None).to_numpy()
    return [f"{text}+00:00" for text in np.datetime_as_string(times, unit="s").tolist()]


def _columns(frame: pd.DataFrame) -> list[list[float]]:
    return [frame[name].tolist() for name in frame.columns]


def _decimals(values: list[float]) -> tuple[list[float], int]:
    """The values and the most decimal places that any of them has."""
    exponents = (Decimal(repr(value)).as_tuple().exponent for value in values)
    return values, max((-int(exponent) for exponent in exponents), default=0)


def _with_decimals(value: float, decimals: int) -> str:
    return f"{Decimal(repr(value)):,.{max(decimals, 0)}f}"


def _write_text(path: Path, write: "Callable[[IO[str]], None]") -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        write(file)


def _save(path: Path, write: Callable[[Path], None]) -> None:
    """Write beside the file and rename, so that it is never seen half-written."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(part)
        part.replace(path)
    except OSError as error:
        raise InputError(f"Can't write {path}: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            part.unlink()
