"""What is stored, as tables: the instruments, and each series with what of it is covered.

All functions run in the transaction of the connection they are given.
"""

from typing import Any, Final

import pandas as pd
from psycopg.rows import class_row, dict_row

from tapehouse.instrument import Instrument
from tapehouse.query.frame import UTC_DTYPE, table
from tapehouse.query.ledger import NO_TIMEFRAME_S, utc_ranges
from tapehouse.query.plan import SECOND
from tapehouse.ranges import merge_ranges
from tapehouse.store.connection import Connection
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
    "dropped_before": UTC_DTYPE,
    "updated_at": UTC_DTYPE,
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
    "price_decimals": "int64",
    "amount_decimals": "int64",
    "active": "bool",
    "from_sandbox": "bool",
    "first_seen_at": UTC_DTYPE,
    "last_seen_at": UTC_DTYPE,
}


def read_instruments(connection: Connection, exchange: str | None) -> pd.DataFrame:
    """The answer of `MarketData.instruments`."""
    with connection.cursor(row_factory=class_row(Instrument)) as cursor:
        rows = cursor.execute(query("read_instruments"), {"exchange": exchange}).fetchall()
    return table([[getattr(one, name) for name in _INSTRUMENT_DTYPES] for one in rows], _INSTRUMENT_DTYPES)


def read_coverage(connection: Connection, exchange: str | None, symbol: str | None) -> pd.DataFrame:
    """The answer of `MarketData.coverage`."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query("read_stored_series"), {"exchange": exchange, "symbol": symbol}).fetchall()
    return table([_series_row(row) for row in rows], _SERIES_DTYPES)


def _series_row(row: dict[str, Any]) -> dict[str, Any]:
    covered, dropped_before = utc_ranges(row["covered"]), row["dropped_before"]
    has_bars = row["timeframe_s"] != NO_TIMEFRAME_S
    # What has no bars is counted in seconds.
    unit = timeframe_of_seconds(row["timeframe_s"]) if has_bars else SECOND
    kept = merge_ranges((max(start, dropped_before or start), end) for start, end in covered)
    count = sum(unit.count(*one) for one in kept)
    return row | {
        "timeframe": unit.name if has_bars else "",
        "start": covered[0][0] if covered else None,
        "end": covered[-1][1] if covered else None,
        "covered": count,
        "empty": count - row["rows"] if has_bars else 0,
        "gaps": max(0, len(covered) - 1),
    }
