"""From the checks that rows failed to rejects with named reasons.

The checks are in `schema`; where rejects are kept is the store's business.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, cast

import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from tapehouse.candle import Int64Array, Reject
from tapehouse.timeframe import from_us
from tapehouse.validate.conversion import NOT_A_TIME, Lines, storable

NOT_A_ROW: Final = "not_a_row"


def reasons_by_line(schema: pa.DataFrameSchema, frame: pd.DataFrame) -> dict[int, list[str]]:
    """The names of the checks failed, for each line of the frame that failed any."""
    reasons: dict[int, list[str]] = {}
    try:
        schema.validate(frame, lazy=True, inplace=True)
    except SchemaErrors as errors:
        failures = cast("pd.DataFrame", errors.failure_cases)
        # A check of whole rows is reported once for each of their columns.
        once = failures[["check_number", "check", "index"]].drop_duplicates()
        for name, line in zip(once["check"], once["index"], strict=True):
            reasons.setdefault(int(line), []).append(str(name))
    return reasons


def rejects_of(
    lines: Lines, raws: Sequence[object], times_us: Int64Array, reasons: Mapping[int, Sequence[str]]
) -> tuple[Reject, ...]:
    """The rejects in the order received: rows without the shape wanted, and lines with reasons.

    `raws` holds what to keep of each line.
    """
    rejects = {position: Reject(None, (NOT_A_ROW,), storable(row)) for position, row in lines.misshapen.items()}
    for line, names in reasons.items():
        rejects[int(lines.positions[line])] = reject_of(raws[line], int(times_us[line]), names)
    return tuple(rejects[position] for position in sorted(rejects))


def rejects_by_line(
    raw_of: Callable[[int], object], times_us: Int64Array, reasons: Mapping[int, Sequence[str]]
) -> tuple[Reject, ...]:
    """The rejects of lines with reasons, in the order received; `raw_of` gives what to keep of a line."""
    return tuple(reject_of(raw_of(line), int(times_us[line]), reasons[line]) for line in sorted(reasons))


def reject_of(raw: object, time_us: int, reasons: Sequence[str]) -> Reject:
    """One reject, its raw value as it can be stored; `time_us` may be NOT_A_TIME."""
    time = None if time_us == NOT_A_TIME else from_us(time_us)
    return Reject(time, tuple(reasons), storable(raw))
