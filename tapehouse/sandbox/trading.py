"""Recorded trading: what Binance's streams told of a market's trades and its order book, served again.

A directory of recordings holds l2_trades/binance_spot/<base>usdt_YYYYMMDD.gz: lines of a receive time and a message,
which is of `@trade`, of `@depth@100ms` or, once, an answer of /api/v3/depth; other messages are left alone.
"""

import gzip
import json
import time
from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Final

import numpy as np

from tapehouse.candle import Float64Array, Int64Array
from tapehouse.errors import InputError
from tapehouse.sandbox.bars import DAY_MS
from tapehouse.sandbox.booktape import BookTape
from tapehouse.sandbox.market import Market
from tapehouse.sandbox.tape import BookChange, Trades
from tapehouse.sandbox.taped import TapedHistory, spread_over_milliseconds
from tapehouse.sandbox.ticks import announced_decimals, decimals_needed, most_decimals, whole

_FOLDER: Final = "l2_trades"
_QUOTE: Final = "USDT"


def recorded_trading(
    directory: Path, *, shift_to_now: bool = False, now_ms: int | None = None, without: Container[str] = ()
) -> list[Market]:
    """The markets of Binance whose trading is recorded in `l2_trades` below the directory, or in the directory itself.

    Trades stand at the time of the trade, with the recorded ids; the book is the recorded snapshot, from the first
    recorded moment on, with every change after it, each from its event time on. `shift_to_now` moves all by the
    same number of whole days, so that the latest ends within the day before `now_ms` (by default this moment).
    Markets whose symbol is in `without` are left out. Raises InputError where a change of a book is missing.
    """
    folder = directory if directory.name == _FOLDER else directory / _FOLDER
    files = groupby(
        sorted(folder.glob(f"binance_spot/*{_QUOTE.lower()}_*.gz")), key=lambda path: path.name.split("_")[0]
    )
    recordings = [_read(symbol, list(paths)) for name, paths in files if (symbol := _symbol(name)) not in without]
    shift_ms = 0
    if shift_to_now and recordings:
        now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        shift_ms = (now_ms - max(recording.last_ms for recording in recordings)) // DAY_MS * DAY_MS
    begins_ms = min((recording.first_ms for recording in recordings), default=0)
    return [_market(recording, begins_ms, shift_ms) for recording in recordings]


@dataclass(frozen=True, slots=True, eq=False)
class _BookMessage:
    """A whole book or a change to one, with the first and last of the update ids in it; levels as read."""

    time_ms: int
    first_update: int
    last_update: int
    bids: Float64Array
    asks: Float64Array


@dataclass(slots=True)
class _Recording:
    """The messages about one market, in the order they came."""

    symbol: str
    trades: list[tuple[int, int, float, float, bool]] = field(default_factory=list[tuple[int, int, float, float, bool]])
    snapshot: _BookMessage | None = None
    changes: list[_BookMessage] = field(default_factory=list[_BookMessage])

    @property
    def first_ms(self) -> int:
        """When the first of it happened."""
        return min(self.trades[0][1], *(change.time_ms for change in self.changes[:1]))

    @property
    def last_ms(self) -> int:
        """When the last of it happened."""
        return max(self.trades[-1][1], *(change.time_ms for change in self.changes[-1:]))


def _symbol(name: str) -> str:
    return f"{name.upper().removesuffix(_QUOTE)}/{_QUOTE}"


def _read(symbol: str, paths: Sequence[Path]) -> _Recording:
    recording = _Recording(symbol)
    for path in paths:
        with gzip.open(path) as lines:
            for line in lines:
                _note(recording, line)
    return recording


def _note(recording: _Recording, line: bytes) -> None:
    if b"@bookTicker" in line:
        return
    message = json.loads(line.partition(b" ")[2])
    if b"@trade" in line:
        data = message["data"]
        recording.trades.append((data["t"], data["T"], float(data["p"]), float(data["q"]), not data["m"]))
    elif b"@depth" in line:
        data = message["data"]
        recording.changes.append(_BookMessage(data["E"], data["U"], data["u"], _levels(data["b"]), _levels(data["a"])))
    elif b"lastUpdateId" in line:
        last = message["lastUpdateId"]
        recording.snapshot = _BookMessage(0, last, last, _levels(message["bids"]), _levels(message["asks"]))


def _levels(levels: list[list[str]]) -> Float64Array:
    return np.array(levels, dtype=np.float64).reshape(-1, 2)


def _market(recording: _Recording, begins_ms: int, shift_ms: int) -> Market:
    name = f"binance {recording.symbol}"
    messages = _book_messages(recording, begins_ms, name)
    columns = [np.array(column) for column in zip(*recording.trades, strict=True)]
    trade_id, times_ms, price, amount, bought = columns
    levels = np.concatenate([side for message in messages for side in (message.bids, message.asks)])
    price_needs = decimals_needed(np.concatenate([price, levels[:, 0]]), name)
    amount_needs = decimals_needed(np.concatenate([amount, levels[:, 1]]), name)
    needs = most_decimals(price_needs), most_decimals(amount_needs)
    trades = Trades(
        trade_id,
        spread_over_milliseconds(times_ms + shift_ms),
        whole(price, needs[0]),
        whole(amount, needs[1]),
        bought.astype(np.int64),
    )
    books = BookTape(
        [_change(message, shift_ms, *needs, is_whole=number == 0) for number, message in enumerate(messages)]
    )
    return Market(
        "binance",
        recording.symbol,
        announced_decimals(price_needs),
        announced_decimals(amount_needs),
        active=True,
        history=TapedHistory(trades, books, price_decimals=needs[0], amount_decimals=needs[1]),
    )


def _book_messages(recording: _Recording, begins_ms: int, name: str) -> list[_BookMessage]:
    """The snapshot and the changes that belong after it, by Binance's rule for keeping a local order book.

    The snapshot tells no time: it stands at the beginning, so that there is a book as soon as there are trades.
    """
    snapshot = recording.snapshot
    if snapshot is None:
        raise InputError(f"The recording of {name} has no order book to begin with: add the file that holds it.")
    changes = [change for change in recording.changes if change.last_update > snapshot.last_update]
    last_update = snapshot.last_update
    for change in changes:
        if change.first_update > last_update + 1:
            raise InputError(f"The recording of {name} lacks the changes of its book after update {last_update}.")
        last_update = change.last_update
    return [replace(snapshot, time_ms=begins_ms), *changes] if changes else []


def _change(
    message: _BookMessage, shift_ms: int, price_decimals: int, amount_decimals: int, *, is_whole: bool
) -> BookChange:
    sides: list[Int64Array] = []
    for side in (message.bids, message.asks):
        sides += [whole(side[:, 0], price_decimals), whole(side[:, 1], amount_decimals)]
    return BookChange(message.time_ms + shift_ms, message.first_update, message.last_update, is_whole, *sides)
