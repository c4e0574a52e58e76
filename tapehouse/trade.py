"""Batches of trades: what validation hands to the store.

The columns are plain numpy arrays of one length, so that nothing on the way from a page to
the database is a Python object a row.
"""

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import numpy.typing as npt

from tapehouse.candle import Float64Array, Int64Array

Int16Array = npt.NDArray[np.int16]
StrArray = npt.NDArray[np.str_]

BOUGHT: Final = 1
SOLD: Final = -1
UNKNOWN_SIDE: Final = 0
# Exchanges tell the times of trades in milliseconds, so a trade stands for one.
TRADE_SPAN_US: Final = 1000


@dataclass(frozen=True, slots=True, eq=False)
class TradeBatch:
    """Validated trades of one instrument, sorted by (time_us, trade_id, id_text), no such key twice.

    `time_us` is in microseconds since 1970 UTC. `trade_id` is the exchange's id where that is a whole number
    below 2^63, written plainly; else it is 0 and `id_text` holds the id, which is "" otherwise. `price` is in
    quote units, `amount` in the instrument's trade unit, both float64 and finite. `side` is the taker's:
    1 bought, -1 sold, 0 unknown.
    """

    time_us: Int64Array
    trade_id: Int64Array
    id_text: StrArray
    price: Float64Array
    amount: Float64Array
    side: Int16Array

    def __len__(self) -> int:
        return len(self.time_us)

    def take(self, lines: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> "TradeBatch":
        """The trades at those lines, or for which a mask is true."""
        return TradeBatch(*(getattr(self, field.name)[lines] for field in fields(self)))
