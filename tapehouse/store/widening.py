"""Widening: giving an instrument more decimals when a value comes that needs them.

All stored numbers of the instrument, those derived from its data included, are multiplied by a
power of ten in one transaction, and the revisions of all its series grow, so no reader sees two
scales at once.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from psycopg import sql

from tapehouse.candle import Float64Array, Int64Array
from tapehouse.store.connection import Connection, one_row
from tapehouse.store.sql import query
from tapehouse.store.ticks import MAX_TICKS, Scale, decimals_needed, most_decimals

# Widening leaves room for values so many times as large as those seen, and for the rollups' sums.
_HEADROOM: Final = 100.0
_MOST_PLAIN_TICKS: Final = 1e15


@dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """The prices and amounts of a batch, in ordinary units, each with the number of the row it is in."""

    prices: Float64Array
    price_rows: Int64Array
    amounts: Float64Array
    amount_rows: Int64Array


@dataclass(frozen=True, slots=True)
class _Largest:
    """The largest price and amount that an instrument has stored, in ordinary units."""

    price: float
    amount: float


_NOTHING: Final = _Largest(0, 0)


def make_room(connection: Connection, instrument_id: int, rows: int, numbers: Numbers) -> npt.NDArray[np.bool_]:
    """Widen the instrument's scale until a batch of that many rows fits, in one transaction.

    Returns which rows now fit; the others fit no scale because they, or what is stored, would
    need 2^53 ticks or more.
    """
    with connection.transaction():
        old = _lock_scale(connection, instrument_id)
        new, prices_fit, amounts_fit = _choose_scale(numbers, old, _NOTHING)
        if new != old:
            # What is stored takes long to look through, and can only make the choice narrower.
            largest = _read_largest(connection, instrument_id)
            new, prices_fit, amounts_fit = _choose_scale(numbers, old, largest)
        if new != old:
            _widen(connection, instrument_id, old, new)
    keep = np.ones(rows, dtype=np.bool_)
    keep[numbers.price_rows[~prices_fit]] = False
    keep[numbers.amount_rows[~amounts_fit]] = False
    return keep


def _choose_scale(
    numbers: Numbers, old: Scale, largest: _Largest
) -> tuple[Scale, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """The scale that holds most of the numbers, and which prices and amounts it holds."""
    price_decimals, prices_fit = _choose_decimals(numbers.prices, old.price_decimals, largest.price)
    amount_decimals, amounts_fit = _choose_decimals(numbers.amounts, old.amount_decimals, largest.amount)
    return Scale(price_decimals, amount_decimals), prices_fit, amounts_fit


def _choose_decimals(values: Float64Array, decimals: int, largest: float) -> tuple[int, npt.NDArray[np.bool_]]:
    """The fewest decimals that hold the values beside what is stored up to `largest`, and which values they hold."""
    # A value already past 2^53 ticks at today's scale fits no wider one, and must not narrow the choice.
    possible = values * 10.0**decimals < MAX_TICKS
    ceiling = most_decimals(_HEADROOM * max(largest, float(values[possible].max(initial=0.0))))
    needed = decimals_needed(values, decimals)
    # Exchanges send 15 digits at most; a value with more is the noise of somebody's float sum.
    is_plain = values * 10.0**needed < _MOST_PLAIN_TICKS
    held = possible & ((needed <= decimals) | ((needed <= ceiling) & is_plain))
    return int(needed[held].max(initial=decimals)), held


def _lock_scale(connection: Connection, instrument_id: int) -> Scale:
    return Scale(*one_row(connection.execute(query("lock_instrument"), {"instrument_id": instrument_id})))


def _read_largest(connection: Connection, instrument_id: int) -> _Largest:
    return _Largest(*one_row(connection.execute(query("read_largest"), {"instrument_id": instrument_id})))


def _widen(connection: Connection, instrument_id: int, old: Scale, new: Scale) -> None:
    factors = {
        "instrument_id": instrument_id,
        "price_factor": 10.0 ** (new.price_decimals - old.price_decimals),
        "amount_factor": 10.0 ** (new.amount_decimals - old.amount_decimals),
    }
    # A rollup's rows lie in a hypertable of its own, which can be updated where the view can't.
    rollups = connection.execute(query("read_rollup_tables")).fetchall()
    for _, *names in rollups:
        # A refresh that runs meanwhile would write rows at the old scale beside these.
        connection.execute(query("lock_rollup").format(table=sql.Identifier(*names)))
    connection.execute(query("allow_decompression"))
    connection.execute(query("widen_candles").format(table=sql.Identifier("ohlcv")), factors)
    for is_of_trades, *names in rollups:
        statement = query("widen_trade_candles") if is_of_trades else query("widen_candles")
        connection.execute(statement.format(table=sql.Identifier(*names)), factors)
    connection.execute(query("widen_trades"), factors)
    connection.execute(query("widen_books"), factors)
    connection.execute(query("widen_book_features"), factors)
    scale = {"price_decimals": new.price_decimals, "amount_decimals": new.amount_decimals}
    connection.execute(query("widen_instrument"), {"instrument_id": instrument_id, **scale})
