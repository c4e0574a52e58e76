"""Rows of candles as an exchange writes them, encoded in blocks and kept: a page is cut out of them.

What a row looks like is the dialect's business, what it holds the history's.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tapehouse.sandbox.bars import DAY_MS, Bars, Grid, fill
from tapehouse.sandbox.market import Market

_BLOCK_BARS: Final = 256
_BLOCK_SPAN_MS: Final = 16 * DAY_MS
# About 40 kB each.
_MOST_BLOCKS: Final = 2048

Encode = Callable[[Market, Grid, Bars], list[str]]


@dataclass(frozen=True, slots=True)
class _Block:
    times_ms: list[int]
    rows: list[str]


class Pages:
    """The encoded rows of all markets of one exchange; blocks whose time has passed are kept, the oldest used go."""

    def __init__(self, encode: Encode, *, fills_empty: bool) -> None:
        self._encode = encode
        self._fills_empty = fills_empty
        self._blocks: OrderedDict[tuple[str, Grid, int], _Block] = OrderedDict()

    def rows(self, market: Market, grid: Grid, start_ms: int, end_ms: int, *, most: int, now_ms: int) -> list[str]:
        """The first `most` rows that open in [start_ms, end_ms), as they stand at `now_ms`."""
        span_ms = _span_ms(grid)
        start_ms = max(start_ms, grid.floor(market.history.first_ms))
        end_ms = min(end_ms, now_ms + 1)
        if market.history.end_ms is not None:
            end_ms = min(end_ms, market.history.end_ms)
        rows: list[str] = []
        block_ms = Grid(span_ms, grid.origin_ms).floor(start_ms)
        while block_ms < end_ms and len(rows) < most:
            block = self._block(market, grid, block_ms, now_ms)
            first, stop = bisect_left(block.times_ms, start_ms), bisect_left(block.times_ms, end_ms)
            rows += block.rows[first:stop]
            block_ms += span_ms
        return rows[:most]

    def last_rows(self, market: Market, grid: Grid, end_ms: int, *, most: int, now_ms: int) -> list[str]:
        """The last `most` rows that open before `end_ms`, as they stand at `now_ms`."""
        end_ms = min(end_ms, now_ms + 1)
        if market.history.end_ms is not None:
            end_ms = min(end_ms, market.history.end_ms)
        start_ms = grid.ceil(end_ms) - most * grid.length_ms
        rows = self.rows(market, grid, start_ms, end_ms, most=most, now_ms=now_ms)
        return rows[-most:]

    def _block(self, market: Market, grid: Grid, block_ms: int, now_ms: int) -> _Block:
        key = (market.symbol, grid, block_ms)
        if (block := self._blocks.get(key)) is not None:
            self._blocks.move_to_end(key)
            return block
        block = self._encoded(market, grid, block_ms, now_ms)
        if block_ms + _span_ms(grid) <= now_ms:
            self._blocks[key] = block
            if len(self._blocks) > _MOST_BLOCKS:
                self._blocks.popitem(last=False)
        return block

    def _encoded(self, market: Market, grid: Grid, block_ms: int, now_ms: int) -> _Block:
        history = market.history
        end_ms = block_ms + _span_ms(grid)
        bars = history.bars(grid, block_ms, end_ms, now_ms=now_ms)
        if self._fills_empty:
            stop_ms = min(end_ms, grid.floor(now_ms) + grid.length_ms)
            if history.end_ms is not None:
                stop_ms = min(stop_ms, grid.ceil(history.end_ms))
            bars = fill(bars, grid, block_ms, stop_ms, previous_close=history.last_close(block_ms))
        return _Block(bars.open_ms.tolist(), self._encode(market, grid, bars))


def _span_ms(grid: Grid) -> int:
    """How much time a block of that grid covers: long bars are dear to build, so few of them share a block."""
    return grid.length_ms * max(1, min(_BLOCK_BARS, _BLOCK_SPAN_MS // grid.length_ms))
