"""Technical indicators on candles, each value the same whatever the length of the window that it is read in.

Those with a memory (EMA, RSI, ATR, MACD) never forget where they began. So that a value depends on its bar alone,
bars are taken in blocks of an absolute grid, and each block is computed from a warm-up of fixed length before it. OBV
and VWAP sum up since midnight UTC. Where not all of these bars are known, there is no value.
Formulas are those of TA-Lib, but the volume-weighted average price, which it has not.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from tapehouse.candle import Float64Array, Int64Array
from tapehouse.errors import InputError
from tapehouse.ranges import TimeRange
from tapehouse.timeframe import EPOCH, Timeframe, to_us

_BLOCK_BARS: Final = 256
_LEAST_WARM_UP_BARS: Final = 256
# After so many times its length an average has forgotten all but 1e-13 of what was before: of EMAs the weight of a bar
# is 2 / (length + 1), of Wilder's averages (RSI, ATR) it is 1 / length.
_LENGTHS_TO_FORGET: Final = 16
_WILDER_S_LENGTHS: Final = 32
_DAY_US: Final = 86_400_000_000
_LONGEST: Final = 1000

Kind = Literal["ema", "rsi", "macd", "bbands", "atr", "obv", "vwap"]
# How many numbers follow each name, and the least that TA-Lib takes for each.
_LEAST: Final[Mapping[str, tuple[int, ...]]] = {
    "ema": (1,),
    "rsi": (2,),
    "macd": (2, 2, 1),
    "bbands": (2, 1),
    "atr": (1,),
    "obv": (),
    "vwap": (),
}
_NAME: Final = re.compile(r"([a-z]+)((?:_[1-9][0-9]*)*)")
_EXAMPLES: Final = "ema_20, rsi_14, macd_12_26_9, bbands_20_2, atr_14, obv, vwap"


@dataclass(frozen=True, slots=True)
class Indicator:
    """An indicator by its name: a kind, and the lengths in bars (of `bbands` a length and a width in deviations)."""

    kind: Kind
    numbers: tuple[int, ...]

    @property
    def name(self) -> str:
        """The name, as users write it."""
        return "_".join([self.kind, *map(str, self.numbers)])

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of its columns."""
        if self.kind == "macd":
            return self.name, f"{self.name}_signal", f"{self.name}_histogram"
        if self.kind == "bbands":
            return f"{self.name}_upper", f"{self.name}_middle", f"{self.name}_lower"
        return (self.name,)

    def since(self, timeframe: Timeframe, opened: datetime) -> datetime:
        """The first bar that the value of the bar that opened then depends on."""
        if self._is_of_the_day:
            return opened.replace(hour=0, minute=0, second=0, microsecond=0)
        block = _BLOCK_BARS * timeframe.length
        return opened - (opened - EPOCH) % block - self._warm_up_bars * timeframe.length

    def values(
        self, timeframe: Timeframe, time_us: Int64Array, candles: Float64Array, known: Sequence[TimeRange]
    ) -> Float64Array:
        """Its columns, shape (columns, n), for candles of shape (5, n): open, high, low, close, volume.

        `time_us` is when they open, sorted; `known` is the time of which all candles there are are among them, oldest
        first and apart. Values are NaN unless all the time since the first bar that they depend on is known.
        """
        values = np.full((len(self.columns), len(time_us)), np.nan)
        if not len(time_us):
            return values
        bar_us = timeframe.seconds * 1_000_000
        block_us = _DAY_US if self._is_of_the_day else _BLOCK_BARS * bar_us
        warm_up_us = 0 if self._is_of_the_day else self._warm_up_bars * bar_us
        blocks = time_us // block_us
        starts: Int64Array = np.flatnonzero(np.diff(blocks, prepend=blocks[0] - 1))
        firsts: list[int] = np.searchsorted(time_us, blocks[starts] * block_us - warm_up_us).tolist()
        for first, (start, stop) in zip(firsts, pairwise([*starts.tolist(), len(blocks)]), strict=True):
            computed = self._compute(np.ascontiguousarray(candles[:, first:stop]))
            values[:, start:stop] = computed[:, start - first :]
        values[:, ~_lies_in(known, blocks * block_us - warm_up_us, time_us + bar_us)] = np.nan
        return values

    @property
    def _is_of_the_day(self) -> bool:
        """Whether it sums up since midnight UTC, when the trading day of these markets begins."""
        return self.kind in ("obv", "vwap")

    @property
    def _warm_up_bars(self) -> int:
        lengths = self.numbers[:1] if self.kind == "bbands" else self.numbers
        to_forget = _WILDER_S_LENGTHS if self.kind in ("rsi", "atr") else _LENGTHS_TO_FORGET
        return max(_LEAST_WARM_UP_BARS, to_forget * max(lengths, default=1))

    def _compute(self, candles: Float64Array) -> Float64Array:
        return np.atleast_2d(np.asarray(self._columns_of(*candles), dtype=np.float64))

    def _columns_of(
        self, _: Float64Array, high: Float64Array, low: Float64Array, close: Float64Array, volume: Float64Array
    ) -> Any:  # noqa: ANN401 -- an array, or some
        # Imported late: it is of no use to who asks for no indicators. It has no types.
        talib: Any = import_module("talib")
        match self.kind:
            case "ema":
                return talib.EMA(close, *self.numbers)
            case "rsi":
                return talib.RSI(close, *self.numbers)
            case "macd":
                return talib.MACD(close, *self.numbers)
            case "bbands":
                length, width = self.numbers
                return talib.BBANDS(close, length, float(width), float(width))
            case "atr":
                return talib.ATR(high, low, close, *self.numbers)
            case "obv":
                return talib.OBV(close, volume)
            case "vwap":
                return _volume_weighted_average(high, low, close, volume)


def _lies_in(known: Sequence[TimeRange], starts_us: Int64Array, ends_us: Int64Array) -> npt.NDArray[np.bool_]:
    """Whether each span lies in one of the ranges, which are sorted and apart."""
    bounds = np.array([(to_us(start), to_us(end)) for start, end in known], dtype=np.int64).reshape(-1, 2)
    place = np.searchsorted(bounds[:, 0], starts_us, side="right") - 1
    if not len(bounds):
        return place >= 0
    return (place >= 0) & (ends_us <= bounds[place, 1])


def _volume_weighted_average(
    high: Float64Array, low: Float64Array, close: Float64Array, volume: Float64Array
) -> Float64Array:
    """Of typical prices, (high + low + close) / 3, since the first bar; NaN before anything was traded."""
    with np.errstate(invalid="ignore"):
        return np.cumsum((high + low + close) / 3 * volume) / np.cumsum(volume)


def indicator(name: str) -> Indicator:
    """The indicator of that name: a kind and its lengths, as in ema_20, rsi_14 or macd_12_26_9.

    Raises InputError for a name that none has.
    """
    match = _NAME.fullmatch(name)
    if match is None or match[1] not in _LEAST:
        raise InputError(f"No indicator {name!r}: write {_EXAMPLES}.")
    numbers = tuple(int(one) for one in match[2].split("_")[1:])
    least = _LEAST[match[1]]
    if len(numbers) != len(least):
        raise InputError(f"No indicator {name!r}: write it like {_example(match[1])}.")
    if not all(low <= one <= _LONGEST for low, one in zip(least, numbers, strict=True)):
        bounds = ", ".join(f"{low} to {_LONGEST}" for low in least)
        raise InputError(f"No indicator {name!r}: {match[1]} takes numbers of {bounds}.")
    return Indicator(match[1], numbers)  # pyright: ignore[reportArgumentType] -- one of _LEAST


def _example(kind: str) -> str:
    """How one of that kind is written."""
    example = next(one for one in _EXAMPLES.split(", ") if one.startswith(kind))
    return f"{example}, with numbers of at most {_LONGEST}" if _LEAST[kind] else f"{example}, without numbers"


DEFAULT_INDICATORS: Final = ("ema_20", "rsi_14", "macd_12_26_9", "bbands_20_2", "atr_14", "obv", "vwap")
