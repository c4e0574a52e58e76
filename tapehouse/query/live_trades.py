"""Trades of a slice and, behind or between them, those of a stream that the slice lacks; more can be put behind.

All in whole ticks and lots, and in the order of the store: by time, then by id, numbers before texts.
"""

from typing import Any, Final

import numpy as np

from tapehouse.candle import Int64Array
from tapehouse.query.slices import Trades
from tapehouse.trade import StrArray, TradeBatch

_LEAST_ROOM: Final = 1024
_NO_TRADES: Final = Trades(
    np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0), np.empty(0), np.empty(0, dtype=np.int16)
)
_BEYOND_NUMBERS: Final = 2**63


class LiveTrades:
    """The trades of both; what was handed out never changes.

    `new_us` are the times of the first and the last one that the slice lacks, None without any.
    """

    def __init__(self, stored: Trades | None, live: TradeBatch) -> None:
        stored = _NO_TRADES if stored is None else stored
        has_texts = stored.ids.dtype != np.int64 or bool((live.id_text != "").any())
        new, merged = _merged(stored, live, has_texts=has_texts)
        self.new_us = (int(new.time_us[0]), int(new.time_us[-1])) if len(new) else None
        self._columns: dict[str, Any] = {}
        self._rows = len(merged.time_us)
        self._last_us = int(merged.time_us[-1]) if self._rows else -1
        self._keep(merged)

    def append(self, live: TradeBatch) -> bool:
        """Put trades behind these, in their order; whether that could be done, which later ones need."""
        if not len(live):
            return True
        ids: Int64Array | StrArray = self._columns["ids"]
        first_us = int(live.time_us[0])
        # Within one time it depends on the ids, of which there are too many kinds.
        is_behind = first_us > self._last_us or (
            first_us == self._last_us and ids.dtype == np.int64 and bool(live.trade_id[0] > ids[self._rows - 1])
        )
        if not is_behind or (ids.dtype == np.int64 and bool((live.id_text != "").any())):
            return False
        added = Trades(
            live.time_us,
            live.trade_id if ids.dtype == np.int64 else _texts(live),
            live.price,
            live.amount,
            live.side,
        )
        if self._rows + len(live) > len(ids) or added.ids.dtype.itemsize > ids.dtype.itemsize:
            trades = self.trades
            self._keep(Trades(*(np.concatenate([getattr(trades, name), getattr(added, name)]) for name in _NAMES)))
        else:
            for name in _NAMES:
                self._columns[name][self._rows : self._rows + len(live)] = getattr(added, name)
        self._rows += len(live)
        self._last_us = int(live.time_us[-1])
        self.new_us = (self.new_us[0] if self.new_us else first_us, self._last_us)
        return True

    @property
    def trades(self) -> Trades:
        """All of them, which share memory with these."""
        return Trades(*(self._columns[name][: self._rows] for name in _NAMES))

    def _keep(self, trades: Trades) -> None:
        room = max(_LEAST_ROOM, len(trades.time_us) // 4)
        for name in _NAMES:
            column: Any = getattr(trades, name)
            kind: Any = column.dtype
            self._columns[name] = np.concatenate([column, np.zeros(room, dtype=kind)])


_NAMES: Final = tuple(Trades.__dataclass_fields__)


def _merged(stored: Trades, live: TradeBatch, *, has_texts: bool) -> tuple[TradeBatch, Trades]:
    """The live trades that are not stored, and both together."""
    # Only among these can any be stored.
    begin = np.searchsorted(stored.time_us, live.time_us[:1])
    near = slice(int(begin[0]) if len(begin) else len(stored.time_us), None)
    near_id, near_text = id_keys(stored.ids[near])
    rows = len(stored.time_us[near])
    time_us = np.concatenate([stored.time_us[near], live.time_us])
    trade_id, id_text = np.concatenate([near_id, live.trade_id]), np.concatenate([near_text, live.id_text])
    # By key, a stored one before the live one of the same key.
    order = np.lexsort((id_text, trade_id, time_us))
    here, after = order[:-1], order[1:]
    is_same = (
        (time_us[here] == time_us[after]) & (trade_id[here] == trade_id[after]) & (id_text[here] == id_text[after])
    )
    is_known = np.zeros(len(order), dtype=np.bool_)
    is_known[after[is_same]] = True
    new = live.take(~is_known[rows:])
    order = order[~is_known[order]]
    ids = (stored.ids.astype(np.str_), _texts(live)) if has_texts else (stored.ids, live.trade_id)

    def both(old: Any, fresh: Any) -> Any:  # noqa: ANN401 -- columns are of several kinds
        return np.concatenate([old[: near.start], np.concatenate([old[near], fresh])[order]])

    return new, Trades(
        both(stored.time_us, live.time_us),
        both(*ids),
        both(stored.price, live.price),
        both(stored.amount, live.amount),
        both(stored.side, live.side),
    )


def _texts(live: TradeBatch) -> StrArray:
    # Numbers are written as the store writes them.
    return np.where(live.id_text == "", live.trade_id.astype(np.str_), live.id_text)


def id_keys(ids: Int64Array | StrArray) -> tuple[Int64Array, StrArray]:
    """The ids as `TradeBatch` keeps them: numbers, and beside them texts of those that are none."""
    if np.issubdtype(ids.dtype, np.integer):
        return ids.astype(np.int64, copy=False), np.zeros(len(ids), dtype="<U1")
    texts: list[str] = ids.tolist()
    is_number = [_is_number(one) for one in texts]
    numbers = [int(one) if number else 0 for one, number in zip(texts, is_number, strict=True)]
    return np.array(numbers, dtype=np.int64), np.where(is_number, "", ids.astype(np.str_))


def _is_number(text: str) -> bool:
    plain = text.isascii() and text.isdecimal() and (text == "0" or not text.startswith("0"))
    return plain and int(text) < _BEYOND_NUMBERS
