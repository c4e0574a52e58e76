"""What all DataFrames share: an index of times, and columns of the documented dtypes."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd

from tapehouse.candle import Int64Array

UTC_DTYPE: Final = "datetime64[us, UTC]"


def time_index(time_us: Int64Array) -> pd.DatetimeIndex:
    """An index named time of those microseconds since 1970 UTC; takes over their memory."""
    return pd.DatetimeIndex(time_us.view("datetime64[us]"), name="time").tz_localize("UTC")


def table(
    values: Sequence[Sequence[object]] | Mapping[str, Sequence[object] | np.ndarray], dtypes: Mapping[str, str]
) -> pd.DataFrame:
    """Rows, or columns by their names, as columns of those dtypes, which values that are missing would not give."""
    frame = pd.DataFrame(values, columns=pd.Index(dtypes))
    for name in (name for name, dtype in dtypes.items() if dtype == UTC_DTYPE):
        frame[name] = pd.to_datetime(frame[name], utc=True)
    return frame.astype(dtypes)
