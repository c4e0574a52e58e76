"""MarketData: what a user holds to read what is stored.

Questions are checked here and errors worded; planning, reading and frames are next door.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final, Self, TypeVar

import pandas as pd
from psycopg import IsolationLevel
from psycopg_pool import ConnectionPool, PoolTimeout

from tapehouse.errors import InputError, StoreError, StoreUnreachable, UnknownSeries
from tapehouse.query.frame import Question, candle_frame, instruments_frame, series_frame
from tapehouse.query.ledger import Ledger, read_instruments, read_ledger, read_stored_series
from tapehouse.query.plan import Plan, closed_window, plan_candles
from tapehouse.query.rows import read_planned
from tapehouse.store.address import database_url
from tapehouse.store.connection import CONNECT_TIMEOUT_S, Connection, connect, is_embedded, store_errors
from tapehouse.store.sql import query
from tapehouse.timeframe import Timeframe, aware_range, aware_utc
from tapehouse.timeframe import timeframe as timeframe_named

# Reads that run at the same time; further threads wait their turn.
_MOST_CONNECTIONS: Final = 8
_LONGEST_TURN_S: Final = 60.0

T = TypeVar("T")


class MarketData:
    """Stored market data as DataFrames; one object serves any number of threads.

    with MarketData.connect() as market:
        candles = market.candles("binance", "BTC/USDT", "1h", start, end)
    """

    def __init__(self, url: str, pool: ConnectionPool[Connection]) -> None:
        self._url = url
        self._pool = pool

    @classmethod
    def connect(cls, url: str | None = None) -> Self:
        """Connect to a PostgreSQL URL, else to that of TAPEHOUSE_DATABASE_URL, else to the running embedded database.

        Raises StoreUnreachable where nothing answers, StoreRefused for a wrong user, password or
        database name.
        """
        url = database_url(url)
        # The pool only says that it waited in vain; this says why.
        connect(url).close()
        return cls(url, _open_pool(url))

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def candles(
        self, exchange: str, symbol: str, timeframe: str, start: datetime, end: datetime | None = None
    ) -> pd.DataFrame:
        """The candles that open at or after `start` and have closed by `end`, and by now in any case.

        The index, named time, holds open times (datetime64[us, UTC]); the columns open, high,
        low, close and volume are float64: prices in quote units, volume in `attrs["amount_unit"]`.
        A bar without trades that the exchange leaves out has no row here either.

        Candles are native (as the exchange gave them) where these are complete, else built from
        1m candles: from the rollups, or anew where a rollup is behind. A built bar is given only
        if every minute under it was fetched. All of an answer comes from one snapshot.

        `attrs` is plain JSON; times are ISO 8601 in UTC, ranges [start, end) in lists of at most
        50, `shortened` naming those that were cut:

        - exchange, symbol, timeframe, amount_unit ("base" or "contract"), start, end, as_of;
          from_sandbox: whether they came from the sandbox and not from the exchange;
        - source: "native", "rollup", "resampled" or "rollup+resampled"; read_from: the tables;
        - revision: that of the series read (native or 1m), which grows when anything changes that a
          reader could already have seen; compare it with that of the same source only;
        - candles_expected = rows + candles_empty (fetched, and the exchange had no candle)
          + candles_missing (not known);
        - covered and gaps: what of the window was fetched and what was not; empty: where the
          empty bars are; incomplete: bars left out because only part of them was fetched;
        - dropped_before: the time before which retention has dropped the candles asked for.

        Raises NaiveDatetime, ReversedRange, UnknownTimeframe, UnknownSymbol, or UnknownSeries
        where nothing is stored that could give that timeframe; and StoreError.
        """
        wanted = timeframe_named(timeframe)
        start, end = _checked_window(start, end)
        return self._read(lambda connection: _candles(connection, exchange, symbol, wanted, start, end))

    def instruments(self, exchange: str | None = None) -> pd.DataFrame:
        """The stored instruments, of one exchange or of all, delisted ones included (active is False).

        One row an instrument, sorted by exchange and symbol; what is not known is missing (NaN):

        - exchange, symbol, base, quote, settle, kind (str): as ccxt writes them;
        - contract_size (float64): base units a contract; amount_unit (str): "base" or "contract";
        - tick_size (float64): in quote units; price_decimals, amount_decimals (int64): the decimal
          places kept;
        - active (bool): whether it still trades; from_sandbox (bool): whether the sandbox listed it;
        - first_seen_at, last_seen_at (datetime64[us, UTC]).
        """
        return self._read(lambda connection: instruments_frame(read_instruments(connection, exchange)))

    def coverage(self, exchange: str | None = None, symbol: str | None = None) -> pd.DataFrame:
        """What is stored of each series.

        One row a series, sorted by exchange, symbol and length:

        - exchange, symbol, dataset, timeframe (str);
        - start, end (datetime64[us, UTC]): the bounds of what was fetched, end exclusive; NaT where
          nothing was;
        - covered (int64): the bars fetched, of which rows (int64) hold a candle and empty (int64)
          none; gaps (int64): the holes between start and end;
        - rejected (int64): the rows in quarantine; revision (int64): as in `candles`;
        - amount_unit (str): "base" or "contract";
        - dropped_before (datetime64[us, UTC]): where retention has taken candles away; covered and
          empty count from there;
        - updated_at (datetime64[us, UTC]): when the coverage last changed.
        """
        return self._read(lambda connection: series_frame(read_stored_series(connection, exchange, symbol)))

    def _read(self, work: Callable[[Connection], T]) -> T:
        if self._pool.closed:
            raise StoreUnreachable("This MarketData is closed: connect a new one.")
        try:
            return self._try(work)
        except StoreUnreachable:
            # The server may have been restarted, which idle connections notice only when used.
            connect(self._url).close()
            with store_errors():
                self._pool.check()
            return self._try(work)

    def _try(self, work: Callable[[Connection], T]) -> T:
        try:
            with store_errors(), self._pool.connection() as connection:
                return work(connection)
        except StoreUnreachable as exc:
            if isinstance(exc.__cause__, PoolTimeout):
                raise StoreError(
                    f"All {_MOST_CONNECTIONS} connections were busy for {_LONGEST_TURN_S:.0f} s: "
                    "read less at a time, or from fewer threads."
                ) from exc
            raise


def _candles(
    connection: Connection, exchange: str, symbol: str, timeframe: Timeframe, start: datetime, end: datetime | None
) -> pd.DataFrame:
    ledger = read_ledger(connection, exchange, symbol, timeframe, start=start, end=end)
    end = min(end or ledger.as_of, ledger.as_of)
    plan = _plan(ledger, timeframe, start, end)
    if plan is None:
        raise _unknown_series(connection, exchange, symbol, timeframe)
    candles = read_planned(connection, ledger.instrument_id, plan)
    question = Question(
        exchange=exchange,
        symbol=symbol,
        amount_unit=ledger.amount_unit,
        from_sandbox=ledger.from_sandbox,
        start=start,
        end=end,
        as_of=ledger.as_of,
    )
    return candle_frame(question, plan, candles, ledger.scale)


def _plan(ledger: Ledger, timeframe: Timeframe, start: datetime, end: datetime) -> Plan | None:
    window = closed_window(timeframe, start, end, ledger.as_of)
    return plan_candles(timeframe, window, native=ledger.native, minutes=ledger.minutes, stale=ledger.stale)


def _unknown_series(connection: Connection, exchange: str, symbol: str, timeframe: Timeframe) -> UnknownSeries:
    stored = [series.timeframe.name for series in read_stored_series(connection, exchange, symbol)]
    what = f"only {', '.join(stored)} candles" if stored else "no candles"
    return UnknownSeries(
        f"{exchange} {symbol} has {what} stored, which can't give {timeframe}: "
        f"run `tapehouse ingest ohlcv --exchange {exchange} --symbol {symbol} --timeframe {timeframe} --since 7d`."
    )


def _checked_window(start: datetime, end: datetime | None) -> tuple[datetime, datetime | None]:
    start = _checked_time(start)
    return (start, None) if end is None else aware_range(start, _checked_time(end))


def _checked_time(time: datetime) -> datetime:
    if isinstance(time, pd.Timestamp):
        # PostgreSQL counts microseconds; nanoseconds are cut off.
        time = time.to_pydatetime(warn=False)
    if not isinstance(time, datetime):  # pyright: ignore[reportUnnecessaryIsInstance] -- notebooks are not type-checked
        raise InputError(f"{time!r} is no datetime: pass pd.Timestamp({str(time)!r}, tz='UTC').")
    return aware_utc(time)


def _open_pool(url: str) -> ConnectionPool[Connection]:
    return ConnectionPool(
        url,
        connection_class=Connection,
        kwargs={"connect_timeout": CONNECT_TIMEOUT_S, "fallback_application_name": "tapehouse"},
        configure=_prepare_reader,
        min_size=1,
        max_size=_MOST_CONNECTIONS,
        timeout=_LONGEST_TURN_S,
        open=True,
    )


def _prepare_reader(connection: Connection) -> None:
    """Make every transaction of the connection one read-only snapshot.

    All of an answer must come from one, because a writer may widen an instrument's scale, and
    with it every stored number, at any time.
    """
    connection.execute(query("use_utc"))
    connection.commit()
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    if is_embedded(connection):
        # Its clients share one session, so statements are prepared without a name.
        connection.prepare_threshold = None
