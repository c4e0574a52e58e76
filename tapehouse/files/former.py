"""Former rows: what the Parquet file of an earlier export knows and the database does not any more.

Retention drops and people delete; an export takes nothing out of a file, so these rows move into its successor.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from tapehouse.candle import PRICE_COLUMNS, VALUE_COLUMNS
from tapehouse.files.arrow import Rows, compute, pa, parquet
from tapehouse.files.columns import Piece
from tapehouse.files.label import FileLabel
from tapehouse.query.trades import SIDES
from tapehouse.ranges import Substitute, TimeRange, merge_ranges

# Each of SIDES as it is stored.
_STORED_SIDES: Final = np.array([1, -1, 0], dtype=np.int16)


def with_former(label: FileLabel, old: FileLabel, lost: list[TimeRange]) -> FileLabel:
    """The label of a file that holds the rows of `label` and, in the lost ranges, those of the old file."""
    former = (
        Substitute(max(one.start, start), min(one.end, end), one.source)
        for one in old.substituted
        for start, end in lost
        if one.start < end and start < one.end
    )
    covered = merge_ranges([*label.covered, *lost])
    return replace(
        label,
        start=covered[0][0],
        end=covered[-1][1],
        covered=tuple(covered),
        substituted=tuple(sorted([*label.substituted, *former], key=lambda one: one.start)),
    )


def former_rows(path: Path, label: FileLabel, span: TimeRange, *, has_texts: bool) -> Iterator[Piece]:
    """The file's rows of that span in their order, as they would come from the database with that label's decimals."""
    with parquet.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            rows = _rows_in(file.read_row_group(number), span)
            if len(rows):
                yield _piece(rows, label, has_texts=has_texts)


def _rows_in(rows: Rows, span: TimeRange) -> Rows:
    time = rows["time"]
    start, end = (pa.scalar(bound, time.type) for bound in span)
    return rows.filter(compute.and_(compute.greater_equal(time, start), compute.less(time, end)))


def _piece(rows: Rows, label: FileLabel, *, has_texts: bool) -> Piece:
    time_us = rows["time"].cast(pa.int64()).to_numpy().copy()
    price, amount = 10.0**label.listing.price_decimals, 10.0**label.listing.amount_decimals
    names = VALUE_COLUMNS if label.dataset == "ohlcv" else ("price", "amount")
    values = np.array(
        [np.rint(rows[name].to_numpy() * (price if name in (*PRICE_COLUMNS, "price") else amount)) for name in names]
    )
    if label.dataset == "ohlcv":
        return Piece(time_us, values, None, None)
    ids = rows["trade_id"]
    trade_id = np.array(ids.cast(pa.binary()).to_pylist()) if has_texts else ids.to_numpy()
    side = compute.index_in(rows["side"].cast(pa.string()), pa.array(list(SIDES.categories)))
    return Piece(time_us, values, trade_id, _STORED_SIDES[side.to_numpy()])
