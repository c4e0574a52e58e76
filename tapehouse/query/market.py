"""MarketData: what a user holds to read what is stored.

Questions are put and described here; each noun's answer is worked out in its own module next door.
"""

from datetime import datetime
from typing import Literal, Self

import pandas as pd

from tapehouse.errors import InputError
from tapehouse.query.books import read_book, read_books
from tapehouse.query.candles import read_candles, read_trade_candles
from tapehouse.query.features import read_book_features, read_imbalances
from tapehouse.query.fill import Fill
from tapehouse.query.gaps import read_gaps
from tapehouse.query.question import ask, ask_at, checked_depth, checked_time
from tapehouse.query.reader import Reader
from tapehouse.query.stored import read_coverage, read_instruments
from tapehouse.query.trades import read_trades
from tapehouse.store.address import database_url
from tapehouse.timeframe import timeframe as timeframe_named


class MarketData:
    """Stored market data as DataFrames; one object serves any number of threads.

    with MarketData.connect() as market:
        candles = market.candles("binance", "BTC/USDT", "1h", start, end)
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    @classmethod
    def connect(cls, url: str | None = None) -> Self:
        """Connect to a PostgreSQL URL, else to that of TAPEHOUSE_DATABASE_URL, else to the running embedded database.

        Raises StoreUnreachable where nothing answers, StoreRefused for a wrong user, password or
        database name.
        """
        return cls(Reader.connect(database_url(url)))

    def close(self) -> None:
        """Close all connections."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def candles(
        self,
        exchange: str,
        symbol: str,
        timeframe: str,
        start: datetime,
        end: datetime | None = None,
        *,
        source: Literal["trades"] | None = None,
        fill: Fill | None = None,
    ) -> pd.DataFrame:
        """The candles that open at or after `start` and have closed by `end`, and by now in any case.

        The index, named time, holds open times (datetime64[us, UTC]); the columns open, high,
        low, close and volume are float64: prices in quote units, volume in `attrs["amount_unit"]`.
        A bar without trades that the exchange leaves out has no row here either.

        Candles are native (as the exchange gave them) where these are complete, else built from
        1m candles: from the rollups, or anew where a rollup is behind. A built bar is given only
        if every minute under it was fetched. All of an answer comes from one snapshot.

        With `source="trades"` they are built from trades, in any timeframe: from the rollups of 1 s
        and 1 min, or anew where a rollup is behind, and only if trades were fetched for all of the bar.
        Then there are the columns trades (int64): how many; bought and sold (float64): of the volume what
        takers bought and what they sold, less than all of it where an exchange does not say.

        With `fill="empty"` bars that were fetched and have no candle are given too, with `fill="all"` also those that
        are not known: all four prices are the close of the last candle before, from before `start` if need be, and
        what counts or adds up is 0; bars before the first candle there is are left out. The column filled (bool) says
        which rows are such, and attrs["candles_filled"] how many. They are made at reading and never stored.

        `attrs` is plain JSON; times are ISO 8601 in UTC, ranges [start, end) in lists of at most
        50, `shortened` naming those that were cut:

        - exchange, symbol, timeframe, amount_unit ("base" or "contract"), start, end, as_of;
          from_sandbox: whether they came from the sandbox and not from the exchange;
        - source: "native", "rollup", "resampled", "rollup+resampled" or "trades"; read_from: the tables;
        - revision: that of the series read (native, 1m or trades), which grows when anything changes that a
          reader could already have seen; compare it with that of the same source only;
        - candles_expected = rows that are not filled + candles_empty (fetched, and the exchange had no candle)
          + candles_missing (not known);
        - covered and gaps: what of the window was fetched and what was not; empty: where the
          empty bars are; incomplete: bars left out because only part of them was fetched;
        - repaired: ranges [start, end, source] of the series read whose candles are not the exchange's own: built
          from "trades" or from "1m" candles, or those of the exchange and symbol named;
        - dropped_before: the time before which retention has dropped the candles asked for.

        Raises NaiveDatetime, ReversedRange, UnknownTimeframe, UnknownSymbol, or UnknownSeries
        where nothing is stored that could give that timeframe; and StoreError.
        """
        if source not in (None, "trades"):
            raise InputError(f'{source!r} is no source: pass "trades", or none for the exchange\'s own candles.')
        if fill not in (None, "empty", "all"):
            raise InputError(f'{fill!r} fills no bars: pass "empty" or "all", or None to leave them out.')
        wanted, question = timeframe_named(timeframe), ask(exchange, symbol, start, end)
        read = read_trade_candles if source == "trades" else read_candles
        return self._reader.read(lambda connection: read(connection, question, wanted, fill=fill))

    def trades(self, exchange: str, symbol: str, start: datetime, end: datetime | None = None) -> pd.DataFrame:
        """The trades from `start` up to `end`, exclusive, and up to now in any case.

        Sorted by time and, within one time, by id. The index, named time, holds their times
        (datetime64[us, UTC]); the columns are

        - trade_id: the exchange's ids, int64 where all of the series are whole numbers, else str;
        - price, amount (float64): in quote units and in `attrs["amount_unit"]`;
        - side (categorical): what the taker did, "buy", "sell" or "unknown".

        `attrs` as of `candles`: exchange, symbol, amount_unit, from_sandbox, start, end, as_of, revision,
        covered and gaps, shortened, dropped_before.

        Raises NaiveDatetime, ReversedRange, UnknownSymbol, or UnknownSeries where no trades are
        stored; and StoreError.
        """
        question = ask(exchange, symbol, start, end)
        return self._reader.read(lambda connection: read_trades(connection, question))

    def order_book(self, exchange: str, symbol: str, at: datetime | None = None, *, depth: int = 20) -> pd.DataFrame:
        """The last snapshot of the order book at that time or before, by default the last one now.

        Time is the exchange's, as of trades and candles: a snapshot counts from when it says that the book was so,
        though it may have been received later. `attrs["received_at"]` says when that was.

        One row a level, at most `depth`, the best first; the index, named level, counts from 1. The columns
        bid_price, bid_amount, ask_price and ask_amount are float64, in quote units and in
        `attrs["amount_unit"]`, and NaN where that side has fewer levels. Without such a snapshot there is no row.

        `attrs` as of `candles`: exchange, symbol, amount_unit, from_sandbox, as_of, revision; and at: the time
        asked for; time: when the book was so, by the exchange's clock, which may be long before; received_at:
        when it was received, by ours; nonce: the exchange's number of that state, None where it has none.

        Raises InputError for a depth outside 1 to 5,000, NaiveDatetime, UnknownSymbol, or UnknownSeries where no
        order books are stored; and StoreError.
        """
        question, levels = ask_at(exchange, symbol, at), checked_depth(depth)
        return self._reader.read(lambda connection: read_book(connection, question, depth=levels))

    def order_books(
        self, exchange: str, symbol: str, start: datetime, end: datetime | None = None, *, depth: int = 20
    ) -> pd.DataFrame:
        """The snapshots of the order book from `start` up to `end`, exclusive, and up to now in any case.

        One row a snapshot, the index, named time, as of `trades`: when the book was so by the exchange's clock,
        by which snapshots are chosen; the columns are

        - received_at (datetime64[us, UTC]): when it was received, by ours, for those who want to choose by that;
          nonce (Int64): the exchange's number of that state, missing where it has none;
        - bid_price_1 to bid_price_<depth>, then bid_amount_1..., ask_price_1... and ask_amount_1...
          (float64): the levels, best first, in quote units and in `attrs["amount_unit"]`; NaN where a snapshot
          has fewer.

        `attrs` and errors as of `trades`; and InputError for a depth outside 1 to 5,000.
        """
        question, levels = ask(exchange, symbol, start, end), checked_depth(depth)
        return self._reader.read(lambda connection: read_books(connection, question, depth=levels))

    def order_book_features(
        self, exchange: str, symbol: str, start: datetime, end: datetime | None = None
    ) -> pd.DataFrame:
        """What the order book was like second by second: a row for each second that had a snapshot, of its last.

        Seconds of the exchange's clock, whenever their snapshots were received, that begin at or after `start` and
        have ended by `end`, and by now in any case; the index, named time, holds where they begin. All columns are
        float64: bid_price, bid_amount, ask_price,
        ask_amount; mid, spread, microprice; bid_amount_5 and _20, ask_amount_5 and _20: summed over so many
        levels; bid_depth_5bp, ask_depth_5bp and imbalance_5bp: within so many basis points of mid, likewise for
        10, 25 and 50. `tapehouse.features.book` has the formulas.

        `attrs` and errors as of `order_books`; and stale: the seconds left out because snapshots were written
        since they were computed. `tapehouse refresh` brings them up to date. What retention has dropped of the
        snapshots stays covered here, for the features of it are kept.
        """
        question = ask(exchange, symbol, start, end)
        return self._reader.read(lambda connection: read_book_features(connection, question))

    def imbalances(self, exchange: str, symbol: str, start: datetime, end: datetime | None = None) -> pd.DataFrame:
        """Imbalances of order book and trades: a row for each second that had a snapshot or a trade.

        Seconds, index and what is stale as of `order_book_features`. The columns are float64, from -1 (only
        asks, only sold) to 1: book_imbalance_1s, _5s, _15s and _60s, trade_imbalance_1s, _5s, _15s and _60s, of
        windows so long that end with the second. They are NaN where the window has no snapshot, or no trade
        whose side is known, and where trades were not fetched for all of it. `tapehouse.features.imbalance` has
        the formulas.

        `attrs` as of `order_book_features`, but revision, covered, gaps, shortened and dropped_before under
        order_book and under trade, which are None where nothing of that kind is stored. Errors as of `trades`;
        UnknownSeries where neither is stored.
        """
        question = ask(exchange, symbol, start, end)
        return self._reader.read(lambda connection: read_imbalances(connection, question))

    def instruments(self, exchange: str | None = None) -> pd.DataFrame:
        """The stored instruments, of one exchange or of all, delisted ones included (active is False).

        One row an instrument, sorted by exchange and symbol; what is not known is missing (NaN):

        - exchange, symbol, base, quote, settle, kind (str): as ccxt writes them;
        - contract_size (float64): base units a contract; amount_unit, trade_unit (str): "base" or
          "contract", what candles' volumes count, and what amounts of trades and order books do;
        - tick_size (float64): in quote units; price_decimals, amount_decimals (int64): the decimal
          places kept;
        - active (bool): whether it still trades; from_sandbox (bool): whether the sandbox listed it;
        - first_seen_at, last_seen_at (datetime64[us, UTC]).
        """
        return self._reader.read(lambda connection: read_instruments(connection, exchange))

    def gaps(
        self,
        exchange: str | None = None,
        symbol: str | None = None,
        *,
        dataset: Literal["ohlcv", "trade"] | None = None,
        timeframe: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> pd.DataFrame:
        """Where series of candles and trades have no usable rows, and why; order books are sampled and never fetched.

        Of each series from the first to the last moment that was ever to be fetched, or between `start` and `end`
        where given, up to now. What retention has dropped is no gap. One row a gap, sorted by exchange, symbol,
        series and time, none touching another of the same cause:

        - exchange, symbol, dataset ("ohlcv" or "trade"), timeframe (str; empty but for candles);
        - start, end (datetime64[us, UTC]): from when to when, end exclusive;
        - cause (str): never_asked, exchange_empty (fetched, and the exchange had no candle), failed (asked for and
          given up on), rejected (what came is in quarantine), before_listing, after_delisting,
          beyond_exchange_history, or more_than_a_page (more trades at one time than the exchange gives);
        - bars (Int64): how many candles are missing; missing for trades;
        - attempts (int64): how often it was asked for in vain; next_try_at (datetime64[us, UTC]): before which
          `tapehouse repair` does not ask for it again, NaT if it would now.

        Raises NaiveDatetime, ReversedRange, UnknownTimeframe and StoreError.
        """
        bounds = [None if time is None else checked_time(time) for time in (start, end)]
        wanted = None if timeframe is None else timeframe_named(timeframe)
        return self._reader.read(
            lambda connection: read_gaps(
                connection,
                exchange=exchange,
                symbol=symbol,
                dataset=dataset,
                timeframe=wanted,
                start=bounds[0],
                end=bounds[1],
            )
        )

    def coverage(self, exchange: str | None = None, symbol: str | None = None) -> pd.DataFrame:
        """What is stored of each series.

        One row a series, sorted by exchange and symbol; candles by length, then trades, then order books:

        - exchange, symbol, dataset ("ohlcv", "trade" or "order_book"), timeframe (str; empty but for
          candles);
        - start, end (datetime64[us, UTC]): the bounds of what was fetched, end exclusive; NaT where
          nothing was;
        - covered (int64): the bars fetched, of trades and order books the seconds; rows (int64): the
          candles, trades or snapshots stored; empty (int64): the bars fetched that have no candle, 0 for
          trades and order books; gaps (int64): the holes between start and end, and
          what was to be fetched besides;
        - rejected (int64): the rows in quarantine; revision (int64): as in `candles`;
        - amount_unit (str): "base" or "contract", what the amounts in it count; from_sandbox (bool): whether it came
          from the sandbox;
        - begins_at (datetime64[us, UTC]): before it the exchange has nothing of the series; NaT while nobody searched;
        - dropped_before (datetime64[us, UTC]): where retention has taken rows away; covered and
          empty count from there;
        - updated_at (datetime64[us, UTC]), age_s (float64): when it was last fetched or imported, and how many
          seconds ago that was, by the server's clock.

        It takes milliseconds however much is stored: rows are counted as they are written, not here.
        """
        return self._reader.read(lambda connection: read_coverage(connection, exchange, symbol))
