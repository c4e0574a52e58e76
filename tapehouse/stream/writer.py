"""The write of parcels into the store: as an ingest by requests writes them, checked and with what they cover."""

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import cast

import psycopg

from tapehouse.book import BookSample
from tapehouse.exchange import CandlePage, TradePage
from tapehouse.ingest.candles import write_candle_pages
from tapehouse.ingest.pages import Pages
from tapehouse.ingest.sampling import write_samples
from tapehouse.ingest.trades import write_trade_pages
from tapehouse.ranges import Unavailable, merge_ranges
from tapehouse.store.batch import WriteResult
from tapehouse.store.connection import Connection, connect
from tapehouse.store.instruments import BookSeries, CandleSeries, TradeSeries
from tapehouse.stream.parcel import Parcel


class Writer:
    """Writes parcels over a connection of its own, which is opened again where it was lost; for one thread."""

    def __init__(self, database_url: str, *, depth: int) -> None:
        self._database_url = database_url
        self._depth = depth
        self._connection: Connection | None = None

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    def interrupt(self) -> None:
        """Have a write that hangs in its thread fail, as if the server were gone; callable from another one."""
        with suppress(OSError, psycopg.Error):
            if self._connection is not None:
                # A request to cancel would have to wait for the same server.
                with socket.socket(fileno=os.dup(self._connection.fileno())) as ours:
                    ours.shutdown(socket.SHUT_RDWR)

    def write(self, parcel: Parcel) -> WriteResult:
        """Write a parcel in one transaction; raises StoreError, and then nothing of it is written."""
        connection = self._connected()
        match parcel.series:
            case TradeSeries() as series:
                lacking = [Unavailable(start, end, "failed") for start, end in merge_ranges(parcel.unproven)]
                page = TradePage(list(parcel.rows), list(parcel.windows), lacking)
                return write_trade_pages(connection, series, Pages([page]))
            case CandleSeries() as series:
                page = CandlePage(list(parcel.rows), list(parcel.windows), [])
                return write_candle_pages(connection, series, Pages([page]))
            case BookSeries() as series:
                samples = list(zip(cast("Sequence[BookSample]", parcel.rows), parcel.windows, strict=True))
                return write_samples(connection, series, samples, depth=self._depth)

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._database_url)
        return self._connection
