"""What a stream in this process has received and the database may not have yet.

A stream tells a `LiveTape` what it receives; readers in the same process lay that over what they have read. Nothing
here knows exchanges, the database or DataFrames.
"""

from tapehouse.live.records import LiveBook, LiveCandle, LiveTrade
from tapehouse.live.tape import LiveTape

__all__ = ["LiveBook", "LiveCandle", "LiveTape", "LiveTrade"]
