"""What is stored, as tables: the instruments, and each series with what of it is covered.

All functions run in the transaction of the connection they are given.
"""

from typing import Final

import numpy as np
from psycopg.rows import class_row

from tapehouse.instrument import Instrument
from tapehouse.query.frame import UTC_DTYPE, MarketFrame, table
from tapehouse.query.inventory import read_inventory
from tapehouse.query.ledger import NO_TIMEFRAME_S
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import require_instruments
from tapehouse.store.sql import query
from tapehouse.timeframe import timeframe_of_seconds

_SERIES_DTYPES: Final = {
    "exchange": "str",
    "symbol": "str",
    "dataset": "str",
    "timeframe": "str",
    "start": UTC_DTYPE,
    "end": UTC_DTYPE,
    "covered": "int64",
    "rows": "int64",
    "empty": "int64",
    "gaps": "int64",
    "rejected": "int64",
    "revision": "int64",
    "amount_unit": "str",
    "from_sandbox": "bool",
    "begins_at": UTC_DTYPE,
    "dropped_before": UTC_DTYPE,
    "updated_at": UTC_DTYPE,
    "age_s": "float64",
}
_INSTRUMENT_DTYPES: Final = {
    "exchange": "str",
    "symbol": "str",
    "base": "str",
    "quote": "str",
    "settle": "str",
    "kind": "str",
    "contract_size": "float64",
    "amount_unit": "str",
    "trade_unit": "str",
    "tick_size": "float64",
    "lot_size": "float64",
    "price_decimals": "int64",
    "amount_decimals": "int64",
    "active": "bool",
    "from_sandbox": "bool",
    "first_seen_at": UTC_DTYPE,
    "last_seen_at": UTC_DTYPE,
}


def read_instruments(connection: Connection, exchange: str | None) -> MarketFrame:
    """The answer of `MarketData.instruments`; raises UnknownSymbol."""
    with connection.cursor(row_factory=class_row(Instrument)) as cursor:
        rows = cursor.execute(query("read_instruments"), {"exchange": exchange}).fetchall()
    if not rows:
        require_instruments(connection, exchange, None)
    return table([[getattr(one, name) for name in _INSTRUMENT_DTYPES] for one in rows], _INSTRUMENT_DTYPES)


def read_coverage(connection: Connection, exchange: str | None, symbol: str | None) -> MarketFrame:
    """The answer of `MarketData.coverage`; raises UnknownSymbol."""
    inventory = read_inventory(connection, exchange, symbol)
    if not inventory.series:
        require_instruments(connection, exchange, symbol)
    (start_us, end_us), bars = inventory.bounds(), inventory.bars()
    worked_out = {
        "timeframe": [_timeframe_name(seconds) for seconds in inventory.column("timeframe_s")],
        "start": start_us.view("datetime64[us]"),
        "end": end_us.view("datetime64[us]"),
        "covered": bars,
        "empty": np.where(inventory.has_bars(), bars - np.array(inventory.column("rows"), dtype=np.int64), 0),
        "gaps": inventory.gaps(),
    }
    as_stored = {name: inventory.column(name) for name in _SERIES_DTYPES if name not in worked_out}
    return table(as_stored | worked_out, _SERIES_DTYPES)


def _timeframe_name(timeframe_s: int) -> str:
    return "" if timeframe_s == NO_TIMEFRAME_S else timeframe_of_seconds(timeframe_s).name
