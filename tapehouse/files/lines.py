"""Lines of CSV: a table as text, with floats as the shortest decimals that give them back and times in ISO 8601, UTC.

Which columns there are is `columns`' business.
"""

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np

from tapehouse.files.arrow import Array, Rows, compute, pa

# A text that holds any of these is put in quotes.
_SPECIAL: Final = '[",\r\n]'
# Arrow writes a time as a date, a blank and the time of day.
_BLANK_AT: Final = 10
_UTC: Final = "+00:00"


def header(names: Sequence[str]) -> bytes:
    """The first line."""
    return (",".join(names) + "\n").encode()


def lines_of(rows: Rows, *, precision: Literal["s", "us"]) -> memoryview:
    """The rows, of which there are some, each as a line; times to the second or the microsecond."""
    *columns, last = (_texts(column.combine_chunks(), precision) for column in rows.itercolumns())
    lines = compute.binary_join_element_wise(*columns, compute.binary_join_element_wise(last, "\n", ""), ",")
    # Arrow keeps the texts of a column one behind the other, which makes them a file.
    _, offsets, texts = lines.buffers()
    return memoryview(texts)[: np.frombuffer(offsets, dtype=np.int32)[len(lines)]]


def _texts(column: Array, precision: Literal["s", "us"]) -> Array:
    if pa.types.is_timestamp(column.type):
        plain = column.cast(pa.timestamp(precision)).cast(pa.string())
        return compute.binary_join_element_wise(
            compute.binary_replace_slice(plain, _BLANK_AT, _BLANK_AT + 1, "T"), _UTC, ""
        )
    if pa.types.is_dictionary(column.type):
        return pa.DictionaryArray.from_arrays(column.indices, _quoted(column.dictionary)).cast(pa.string())
    return _quoted(column) if pa.types.is_string(column.type) else column.cast(pa.string())


def _quoted(texts: Array) -> Array:
    doubled = compute.replace_substring(texts, '"', '""')
    quoted = compute.binary_join_element_wise('"', doubled, '"', "")
    return compute.if_else(compute.match_substring_regex(texts, _SPECIAL), quoted, texts)
