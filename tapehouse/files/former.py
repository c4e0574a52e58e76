"""Former rows: what the Parquet file of an earlier export knows and the database does not any more.

Retention drops and people delete; an export takes nothing out of a file, so these rows move into its successor as
they are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tapehouse.files.arrow import Rows, compute, pa, parquet
from tapehouse.files.label import FileLabel
from tapehouse.ranges import Substitute, TimeRange, intersect_ranges, merge_ranges


def with_former(label: FileLabel, old: FileLabel, lost: Sequence[TimeRange]) -> FileLabel:
    """The label of a file that holds the rows of `label` and, in the lost ranges, those of the old file."""
    former = (
        Substitute(start, end, one.source)
        for one in old.substituted
        for start, end in intersect_ranges([(one.start, one.end)], lost)
    )
    covered = merge_ranges([*label.covered, *lost])
    return replace(
        label,
        start=covered[0][0],
        end=covered[-1][1],
        covered=tuple(covered),
        substituted=tuple(sorted([*label.substituted, *former], key=lambda one: one.start)),
    )


def former_rows(path: Path, span: TimeRange) -> Iterator[Rows]:
    """The file's rows of that span in their order, as tables."""
    with parquet.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            rows = file.read_row_group(number)
            start, end = (pa.scalar(bound, rows["time"].type) for bound in span)
            inside = compute.and_(compute.greater_equal(rows["time"], start), compute.less(rows["time"], end))
            if len(rows := rows.filter(inside)):
                yield rows
