"""Gaps of many series at once, told from their covered ranges; why they are there tells `tapehouse.store.gaps`."""

from dataclasses import dataclass

import numpy as np

from tapehouse.candle import Int64Array


@dataclass(frozen=True, slots=True, eq=False)
class Gaps:
    """How many gaps each of some series has, and from when to when the longest is; both 0 where there is none."""

    count: Int64Array
    longest_start_us: Int64Array
    longest_end_us: Int64Array


def gaps_between(
    start_us: Int64Array, end_us: Int64Array, count: Int64Array, *, first_us: Int64Array, stop_us: Int64Array
) -> Gaps:
    """What ranges leave open of [first, stop), of each series one window; of equally long gaps the first is longest.

    The ranges are those of the first series, in order, then of the second and so on; `count` says how many each has.
    All times are in microseconds since 1970 UTC. A series whose window is empty has no gaps.
    """
    series = len(count)
    # A gap before each range, and one behind the last.
    owner = np.repeat(np.arange(series), count + 1)
    foremost = np.cumsum(count + 1) - (count + 1)
    is_foremost, is_last = (np.zeros(len(owner), dtype=np.bool_) for _ in range(2))
    is_foremost[foremost] = True
    is_last[foremost + count] = True
    starts_us, ends_us = first_us[owner], stop_us[owner]
    starts_us[~is_foremost] = np.maximum(starts_us[~is_foremost], end_us)
    ends_us[~is_last] = np.minimum(ends_us[~is_last], start_us)
    length_us = np.maximum(ends_us - starts_us, 0)
    longest_us = np.maximum.reduceat(length_us, foremost) if series else length_us
    candidates = np.flatnonzero((length_us > 0) & (length_us == longest_us[owner]))
    owners, places = np.unique(owner[candidates], return_index=True)
    found = Gaps(np.bincount(owner[length_us > 0], minlength=series), *(np.zeros((2, series), dtype=np.int64)))
    found.longest_start_us[owners] = starts_us[candidates[places]]
    found.longest_end_us[owners] = ends_us[candidates[places]]
    return found
