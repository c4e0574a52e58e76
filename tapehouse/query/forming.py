"""Candles with the one that has not closed yet as the last."""

import numpy as np
import pandas as pd

from tapehouse.candle import VALUE_COLUMNS
from tapehouse.query.frame import MarketFrame, time_index
from tapehouse.query.records import OHLCVCandle
from tapehouse.timeframe import to_us


def with_forming(frame: MarketFrame, forming: OHLCVCandle | None) -> MarketFrame:
    """The candles with a column that says which is forming, and that candle as the last one."""
    attrs, frame.attrs = frame.attrs, {}
    frame["forming"] = False
    if forming:
        columns = {name: [getattr(forming, name)] for name in VALUE_COLUMNS} | {"forming": [True]}
        row = pd.DataFrame(columns, index=time_index(np.array([to_us(forming.time)])))
        blank = {name: False for name in frame.columns if name == "filled"}
        both = pd.concat([frame, row.assign(**blank)[list(frame.columns)]])
        frame = MarketFrame(both)
    frame.attrs = attrs
    return frame
