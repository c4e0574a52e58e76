"""The ledger of substitutes: ranges of a candle series whose rows are not its exchange's own, and where they came from.

`cut_substitutes` and `record_substitutes` run inside the transaction that writes the rows.
"""

from collections.abc import Sequence

from psycopg.types.range import TimestamptzRange

from tapehouse.ranges import Substitute, TimeRange
from tapehouse.store.connection import Connection, store_errors
from tapehouse.store.instruments import Series
from tapehouse.store.ledger import multirange
from tapehouse.store.sql import query


def read_substitutes(connection: Connection, series: Series, window: TimeRange) -> list[Substitute]:
    """Those that reach into the window, oldest first."""
    parameters = {"series_id": series.series_id, "window": TimestamptzRange(*window)}
    with store_errors():
        rows = connection.execute(query("read_substitutes"), parameters).fetchall()
    return [Substitute(during.lower, during.upper, source) for during, source in rows]


def record_substitutes(connection: Connection, series: Series, ranges: Sequence[TimeRange], source: str) -> None:
    """Note that the rows of those ranges came from that source."""
    parameters = {"series_id": series.series_id, "ranges": multirange(ranges), "source": source}
    connection.execute(query("upsert_substitutes"), parameters)


def cut_substitutes(connection: Connection, series: Series, ranges: Sequence[TimeRange]) -> None:
    """Note that the exchange has given its own rows for those ranges."""
    connection.execute(query("cut_substitutes"), {"series_id": series.series_id, "ranges": multirange(ranges)})
