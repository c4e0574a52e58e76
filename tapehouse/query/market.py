"""MarketData: what a user holds to read what is stored.

Questions are put and described here; each noun's answer is worked out in its own module next door.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import tee
from pathlib import Path
from time import perf_counter
from typing import Literal, Self
from weakref import finalize

from tapehouse.errors import InputError
from tapehouse.indicators import DEFAULT_INDICATORS
from tapehouse.live import LiveTape
from tapehouse.query.answers import Answers
from tapehouse.query.archived import Archive
from tapehouse.query.asof import AsofSeries, asof_series, asof_times, checked_tolerance, join_asof
from tapehouse.query.books import look_up_books, read_book, read_books
from tapehouse.query.cache import Cache
from tapehouse.query.candles import (
    Reading,
    look_up_candles,
    read_archived_candles,
    read_candles,
    read_trade_candles,
)
from tapehouse.query.changes import Changes
from tapehouse.query.clock import Clock
from tapehouse.query.features import IMBALANCE_REACH, look_up_imbalances, read_book_features, read_imbalances
from tapehouse.query.few_candles import read_candles_at_once
from tapehouse.query.fill import Fill
from tapehouse.query.forming import with_forming
from tapehouse.query.frame import MarketFrame
from tapehouse.query.gaps import read_gaps
from tapehouse.query.guesses import Guesses
from tapehouse.query.health import Health, MarketStats
from tapehouse.query.inference import InferenceDataFrame
from tapehouse.query.ledger import Ledger, read_ledger
from tapehouse.query.moments import Moments, happened
from tapehouse.query.options import checked_cache_mb, checked_hot_window, checked_url
from tapehouse.query.plan import closed_window
from tapehouse.query.question import (
    Question,
    ask,
    ask_at,
    check_market,
    check_selection,
    checked_depth,
    checked_time,
    checked_timeframe,
    each_time,
)
from tapehouse.query.reader import Reader
from tapehouse.query.spec import forming_spec, moment_spec
from tapehouse.query.stored import read_coverage, read_instruments
from tapehouse.query.subscribing import Subscribed, subscribed_series
from tapehouse.query.trades import look_up_trades, read_trades
from tapehouse.store.address import database_url
from tapehouse.store.connection import Connection, one_row
from tapehouse.store.sql import query


class MarketData:
    """Stored market data as DataFrames; one object serves any number of threads.

    with MarketData.connect() as market:
        candles = market.candles("binance", "BTC/USDT", "1h", start, end)

    Each frame has `to_arrow()` and `to_polars()`. Clocks differ: what is asked for up to a minute ahead of the
    database's clock is answered as of now, and what lies further ahead raises InputError.

    `live` is what streams in this process have received: `get_inference_data` shows it before it is stored.
    """

    live: LiveTape

    def __init__(
        self, url: str, reader: Reader, archive: Archive | None, *, cache_mb: float, hot_window: timedelta
    ) -> None:
        self._reader, self._archive, self._clock = reader, archive, Clock()
        self._changes = Changes(url, self._clock)
        self._cache = Cache(self._changes, most_bytes=int(cache_mb * 1_000_000))
        self._answers = Answers(reader, self._cache, self._changes, self._clock)
        self._guesses, self.live = Guesses(), LiveTape()
        self._moments = Moments(reader, self._cache, self._changes, self._clock, self._guesses, self.live, hot_window)
        # Also of who forgets to: threads and connections end with it.
        self._end = finalize(self, _close, self._moments, self._changes, reader)

    @classmethod
    def connect(
        cls,
        url: str | None = None,
        *,
        archive: Path | str | None = None,
        cache_mb: float = 256,
        hot_window: timedelta = timedelta(minutes=5),
    ) -> Self:
        """Connect to a PostgreSQL URL, else to that of TAPEHOUSE_DATABASE_URL, else to the running embedded database.

        `archive` is the folder of the archive, else that of TAPEHOUSE_ARCHIVE, if there is one: what retention has
        dropped of candles, trades and order books is read from there. Moments and single order books are of the
        database alone.

        Answers are kept in memory, at most `cache_mb` megabytes of them, 0 for none, and never given out once they
        may have changed: a thread listens to what the database says of changes. Of instruments that
        `get_inference_data` is asked about, every moment of the `hot_window` until now, at most a day, is kept at hand.

        Raises InputError for options that make no sense, StoreUnreachable where nothing answers, StoreRefused for a
        wrong user, password or database name.
        """
        address, archived = database_url(checked_url(url)), Archive.configured(archive)
        cache_mb, hot_window = checked_cache_mb(cache_mb), checked_hot_window(hot_window)
        return cls(address, Reader.connect(address), archived, cache_mb=cache_mb, hot_window=hot_window)

    def close(self) -> None:
        """Close all connections, and end what runs in the background."""
        self._end()

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
        include_forming: bool = False,
    ) -> MarketFrame:
        """The candles that open at or after `start` and have closed by `end`, and by now in any case.

        The index, named time, holds open times (datetime64[us, UTC]); the columns open, high,
        low, close and volume are float64: prices in quote units, volume in `attrs["amount_unit"]`.
        A bar without trades that the exchange leaves out has no row here either.

        Candles are native (as the exchange gave them) where these are complete, else built from
        1m candles: from the rollups, or anew where a rollup is behind; never from other native ones, as 4h from 1h.
        A built bar is given only if every minute under it was fetched. All of an answer comes from one snapshot.

        With `source="trades"` they are built from trades, in any timeframe: from the rollups of 1 s
        and 1 min, or anew where a rollup is behind, and only if trades were fetched for all of the bar.
        Then there are the columns trades (int64): how many; bought and sold (float64): of the volume what
        takers bought and what they sold, less than all of it where an exchange does not say.

        With `fill="empty"` bars that were fetched and have no candle are given too, with `fill="all"` also those that
        are not known: all four prices are the close of the last candle before, from before `start` if need be, and
        what counts or adds up is 0; bars before the first candle there is are left out. The column filled (bool) says
        which rows are such, and attrs["candles_filled"] how many. They are made at reading and never stored.

        With `include_forming` the last row may be the candle that was open at `end`, or is now, made of the 1m candles
        that had closed by then, and of trades after them where these are stored. The column forming (bool) says so. It
        comes from a snapshot of its own, of the same moment, and is left out if it opened before `start`.

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
        - archived: ranges whose candles, or the 1m candles they are built from, come from files of the archive;
        - dropped_before: the time before which retention has dropped the candles asked for, if not all are archived
          in the folder given; what of gaps lies before it was dropped, or can't be fetched any more.

        Raises NaiveDatetime, ReversedRange, InputError for a start that has not come yet, UnknownTimeframe,
        UnknownSymbol, or UnknownSeries where nothing is stored that could give that timeframe; and StoreError,
        ArchiveError where a file is missing.
        """
        if source not in (None, "trades"):
            raise InputError(f'{source!r} is no source: pass "trades", or none for the exchange\'s own candles.')
        if fill not in (None, "empty", "all"):
            raise InputError(f'{fill!r} fills no bars: pass "empty" or "all", or None to leave them out.')
        if include_forming and source:
            raise InputError("A forming candle is made of candles and trades both: leave source out.")
        wanted, question = checked_timeframe(timeframe), self._ask(exchange, symbol, start, end)
        if include_forming:
            # Both of one moment, so that no bar closes in between.
            is_past = question.end is not None and question.end <= self._moments.now()
            moment = question.end if is_past else None
            prepared, at = self._moments.prepared(exchange, symbol, forming_spec(wanted), moment)
            forming = prepared.forming(wanted, at)
            until = at if question.start < at else end
            closed = self.candles(exchange, symbol, timeframe, start, until, fill=fill)
            return with_forming(closed, forming if forming and forming.time >= question.start else None)
        if source == "trades":
            read, look = partial(read_trade_candles, fill=fill), look_up_trades
        elif fill:
            read, look = partial(read_candles, fill=fill, archive=self._archive), look_up_candles
        else:
            read, look = self._candle_reading(), partial(look_up_candles, archive=self._archive)
        return self._answers.get(
            question,
            lambda connection: read(connection, question, wanted),
            # What is filled in may come from before the window.
            look=None if fill else lambda connection: look(connection, question, wanted),
            window_at=lambda now: closed_window(wanted, question.start, question.end or now, now),
            key=("candles", exchange, symbol, wanted, source, fill),
        )

    def trades(self, exchange: str, symbol: str, start: datetime, end: datetime | None = None) -> MarketFrame:
        """The trades from `start` up to `end`, exclusive, and up to now in any case.

        Sorted by time and, within one time, by id. The index, named time, holds their times
        (datetime64[us, UTC]); the columns are

        - trade_id: the exchange's ids, int64 where all of the series are whole numbers, else str;
        - price, amount (float64): in quote units and in `attrs["amount_unit"]`;
        - side (categorical): what the taker did, "buy", "sell" or "unknown".

        `attrs` as of `candles`: exchange, symbol, amount_unit, from_sandbox, start, end, as_of, revision,
        covered and gaps, shortened, archived, dropped_before.

        Raises NaiveDatetime, ReversedRange, InputError for a start that has not come yet, UnknownSymbol, or
        UnknownSeries where no trades are stored; and StoreError.
        """
        question = self._ask(exchange, symbol, start, end)
        read, look = partial(read_trades, archive=self._archive), partial(look_up_trades, archive=self._archive)
        return self._past("trades", question, read, look)

    def order_book(self, exchange: str, symbol: str, at: datetime | None = None, *, depth: int = 20) -> MarketFrame:
        """The last snapshot of the order book at that time or before, by default the last one now.

        Time is the exchange's, as of trades and candles: a snapshot counts from when it says that the book was so,
        though it may have been received later. `attrs["received_at"]` says when that was.

        One row a level, at most `depth`, the best first; the index, named level, counts from 1. The columns
        bid_price, bid_amount, ask_price and ask_amount are float64, in quote units and in
        `attrs["amount_unit"]`, and NaN where that side has fewer levels. Without such a snapshot there is no row.

        `attrs` as of `candles`: exchange, symbol, amount_unit, from_sandbox, as_of, revision; and at: the time
        asked for; time: when the book was so, by the exchange's clock, which may be long before; received_at:
        when it was received, by ours; nonce: the exchange's number of that state, None where it has none.

        Raises InputError for a depth outside 1 to 5,000 or a time that has not come yet, NaiveDatetime,
        UnknownSymbol, or UnknownSeries where no order books are stored; and StoreError.
        """
        question, levels = ask_at(exchange, symbol, at), checked_depth(depth)
        if at is not None:
            self._require_begun(question.start)
        return self._reader.read(lambda connection: read_book(connection, question, depth=levels))

    def order_books(
        self, exchange: str, symbol: str, start: datetime, end: datetime | None = None, *, depth: int = 20
    ) -> MarketFrame:
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
        question, levels = self._ask(exchange, symbol, start, end), checked_depth(depth)
        read, look = (
            partial(read_books, depth=levels, archive=self._archive),
            partial(look_up_books, archive=self._archive),
        )
        return self._past("order_books", question, read, look, levels)

    def order_book_features(
        self, exchange: str, symbol: str, start: datetime, end: datetime | None = None
    ) -> MarketFrame:
        """What the order book was like second by second: a row for each second that had a snapshot, of its last.

        Seconds of the exchange's clock, whenever their snapshots were received, that begin at or after `start` and
        have ended by `end`, and by now in any case; the index, named time, holds where they begin. All columns are
        float64: bid_price, bid_amount, ask_price,
        ask_amount; mid, spread, microprice; bid_amount_5 and _20, ask_amount_5 and _20: summed over so many
        levels; bid_depth_5bp, ask_depth_5bp and imbalance_5bp: within so many basis points of mid, likewise for
        10, 25 and 50. `tapehouse.features.book` has the formulas.

        `attrs` and errors as of `order_books`; and stale: the seconds left out because snapshots were written
        since they were computed. `tapehouse refresh` brings them up to date. What retention has dropped of the
        snapshots stays covered here for as long as the features of it are kept; dropped_before is that of the features.
        """
        question = self._ask(exchange, symbol, start, end)
        return self._past("order_book_features", question, read_book_features, look_up_books)

    def imbalances(self, exchange: str, symbol: str, start: datetime, end: datetime | None = None) -> MarketFrame:
        """Imbalances of order book and trades: a row for each second that had a snapshot or a trade.

        Order books are written every five seconds while they are sampled; features and imbalances of what was written
        since are there after the next refresh, at the end of a sampling, by the flow or by `tapehouse refresh`.

        Seconds, index and what is stale as of `order_book_features`. The columns are float64, from -1 (only
        asks, only sold) to 1: book_imbalance_1s, _5s, _15s and _60s, trade_imbalance_1s, _5s, _15s and _60s, of
        windows so long that end with the second. They are NaN where the window has no snapshot, or no trade
        whose side is known, and where trades were not fetched for all of it. `tapehouse.features.imbalance` has
        the formulas.

        `attrs` as of `order_book_features`, but revision, covered, gaps, shortened and dropped_before under
        order_book and under trade, which are None where nothing of that kind is stored. Errors as of `trades`;
        UnknownSeries where neither is stored.
        """
        question = self._ask(exchange, symbol, start, end)
        return self._past("imbalances", question, read_imbalances, look_up_imbalances, reach=IMBALANCE_REACH)

    def instruments(self, exchange: str | None = None) -> MarketFrame:
        """The stored instruments, of one exchange or of all, delisted ones included (active is False).

        One row an instrument, sorted by exchange and symbol; what is not known is missing (NaN):

        - exchange, symbol, base, quote, settle, kind (str): as ccxt writes them;
        - contract_size (float64): base units a contract; amount_unit, trade_unit (str): "base" or
          "contract", what candles' volumes count, and what amounts of trades and order books do;
        - tick_size (float64): in quote units; lot_size (float64): in the units of trades; both as the exchange
          announces them; price_decimals, amount_decimals (int64): the decimal places kept;
        - active (bool): whether it still trades; from_sandbox (bool): whether the sandbox listed it;
        - first_seen_at, last_seen_at (datetime64[us, UTC]).

        Raises UnknownSymbol for an exchange of which nothing is stored; and StoreError.
        """
        check_selection(exchange)
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
    ) -> MarketFrame:
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

        Raises InputError for a dataset that has no gaps, NaiveDatetime, ReversedRange, UnknownTimeframe, UnknownSymbol
        for an exchange or a symbol of which nothing is stored; and StoreError.
        """
        if dataset not in (None, "ohlcv", "trade"):
            raise InputError(f'{dataset!r} is no dataset that has gaps: pass "ohlcv" or "trade", or None for both.')
        if dataset == "trade" and timeframe is not None:
            raise InputError("Trades have no timeframe: leave one of the two out.")
        check_selection(exchange, symbol)
        bounds = [None if time is None else checked_time(time) for time in (start, end)]
        wanted = None if timeframe is None else checked_timeframe(timeframe)
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

    def coverage(self, exchange: str | None = None, symbol: str | None = None) -> MarketFrame:
        """What is stored of each series, and of those that were to be fetched.

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

        It takes milliseconds however much is stored: rows are counted as they are written, not here. Raises
        UnknownSymbol for an exchange or a symbol of which nothing is stored; and StoreError.
        """
        check_selection(exchange, symbol)
        return self._reader.read(lambda connection: read_coverage(connection, exchange, symbol))

    def get_inference_data(
        self,
        symbol: str,
        *,
        exchange: str,
        timestamp: datetime | None = None,
        context_window_minutes: float = 5,
        depth: int = 20,
        indicators: Sequence[str] = DEFAULT_INDICATORS,
        as_known: bool = False,
        include_forming: bool = False,
    ) -> InferenceDataFrame:
        """All that was known of an instrument at a moment, by default now, and nothing that came later.

        Candles of 1s, 1m, 5m, 15m, 1h, 4h and 1d that had closed, the last trades, order book (at most `depth` levels
        a side) and imbalances of the context window, and indicators of the 1m candles. Of each timeframe there are
        as many bars as fit in the context window, and at least 60. `InferenceDataFrame` says what each is.

        A timestamp up to a minute ahead is answered as now, and `InferenceDataFrame.timestamp` says when that was.
        A candle counts once open + timeframe <= timestamp; a trade before timestamp; an order book and an
        imbalance by the exchange's clock. With `as_known` an order book, and imbalances that it is in, count only if
        it had been received by then; of candles and trades it is not stored when they were received. With
        `include_forming` each timeframe's last row may be the candle that was open, as `candles` makes it.

        `indicators` are names as ema_20, rsi_14, macd_12_26_9, bbands_20_2, atr_14, obv or vwap; `tapehouse.indicators`
        defines them. Their values do not depend on the context window.

        Everything comes from one snapshot of the database, in one round trip, or from memory where nothing has changed.
        Beside a stream in this process (`live`) moments of the hot window also have what it has received and the
        database does not have yet: trades, order books and closed candles, and what is built of them. Then what others
        change in the database shows within two seconds.

        Raises InputError for a timestamp more than a minute ahead, a context window outside 1 second to 1 day, a depth
        outside 1 to 5,000 or a name that no indicator has; NaiveDatetime, UnknownSymbol, or UnknownSeries where
        nothing is stored of the instrument; and StoreError.
        """
        spec = moment_spec(
            context_window_minutes, depth, indicators, as_known=as_known, include_forming=include_forming
        )
        check_market(exchange, symbol)
        return self._moments.get(exchange, symbol, spec, None if timestamp is None else checked_time(timestamp))

    def iter_inference_data(
        self,
        symbol: str,
        timestamps: Iterable[datetime],
        *,
        exchange: str,
        context_window_minutes: float = 5,
        depth: int = 20,
        indicators: Sequence[str] = DEFAULT_INDICATORS,
        as_known: bool = False,
        include_forming: bool = False,
    ) -> Iterator[tuple[datetime, InferenceDataFrame]]:
        """What `get_inference_data` gives for each of many moments, in their order: (timestamp as given, data).

        Made for labelling and training: moments that lie within two hours of each other and follow one another are
        read together, and memory does not grow with their number. Options and errors as of `get_inference_data`.
        """
        spec = moment_spec(
            context_window_minutes, depth, indicators, as_known=as_known, include_forming=include_forming
        )
        check_market(exchange, symbol)
        asked, read = tee(each_time(timestamps))
        found = self._moments.iterate(exchange, symbol, spec, (checked_time(one) for one in read))
        # One by one: what is asked for may have no end.
        return ((timestamp, data) for timestamp, (_, data) in zip(asked, found, strict=False))

    def asof(
        self,
        times: Iterable[datetime],
        *series: tuple[str, str, str],
        tolerance: timedelta | None = None,
    ) -> MarketFrame:
        """Candles of several series side by side, a row a time: of each the last one that had closed by then.

        Each series is (exchange, symbol, timeframe). The index, named time, holds the times in their order; the
        columns are pairs of the series' name ("binance BTC/USDT 1h") and open, high, low, close, volume (float64) or
        close_time (datetime64[us, UTC]); `to_arrow` and `to_polars` name them in one, as "binance BTC/USDT 1h open".
        A candle counts until the next one would close, or for as long as `tolerance` after its own close, inclusive:
        with timedelta(0) only one that closes at that very time. Without one there are NaN and NaT. attrs["series"]
        holds by their names what `candles` says of each.

        Raises InputError for no times, no series, one that is named twice, a negative tolerance or a time that has not
        come yet; and as `candles`.
        """
        wanted, moments, tolerance = asof_series(series), asof_times(times), checked_tolerance(tolerance)
        first, last = min(moments), happened(max(moments), self._moments.now())

        def read(one: AsofSeries) -> MarketFrame:
            return self.candles(one.exchange, one.symbol, one.timeframe.name, one.since(first, tolerance), last)

        return join_asof(moments, [(one, read(one)) for one in wanted], tolerance)

    def stats(self) -> MarketStats:
        """What the cache in memory has done and holds, and how long the database took for what was read."""
        return MarketStats(self._cache.stats(), self._reader.stats())

    def health(self) -> Health:
        """Whether the database answers, how quickly, and whether its changes are heard; asks it once.

        Not whether what is stored is up to date, which `coverage` tells.

        Raises StoreError where it does not answer.
        """
        started_s = perf_counter()
        postgresql, timescaledb, now = self._reader.read(
            lambda connection: one_row(connection.execute(query("read_health"))), patience_s=0
        )
        return Health(
            latency_ms=1000 * (perf_counter() - started_s),
            postgresql=postgresql,
            timescaledb=timescaledb,
            server_time=now.astimezone(UTC),
            is_listening=self._changes.is_listening,
        )

    def _subscribed(
        self,
        exchange: str,
        symbol: str,
        datasets: Sequence[str],
        timeframes: Sequence[str],
        *,
        depth: int,
        include_forming: bool,
    ) -> Subscribed:
        """What `AsyncMarketData.subscribe` listens to; raises InputError."""
        check_market(exchange, symbol)
        kinds = subscribed_series(datasets, timeframes, checked_depth(depth))
        reads: dict[str, Callable[..., MarketFrame]] = {
            "trade": partial(self.trades, exchange, symbol),
            "order_book": partial(self.order_books, exchange, symbol, depth=depth),
        }

        def find() -> tuple[int, datetime]:
            now = self._moments.now()
            question = ask(exchange, symbol, now, None)
            return self._reader.read(lambda one: read_ledger(one, question, "trade").instrument_id), now

        return Subscribed(
            self.live.market(exchange, symbol),
            self._changes,
            {
                name: (kind, partial(self.candles, exchange, symbol, name[1]) if name[1] else reads[name[0]])
                for name, kind in kinds.items()
            },
            find,
            with_forming=include_forming,
        )

    def _ask(self, exchange: str, symbol: str, start: datetime, end: datetime | None) -> Question:
        """The question about a range that has begun; raises as `ask` does, and InputError for one that has not."""
        question = ask(exchange, symbol, start, end)
        self._require_begun(question.start)
        return question

    def _require_begun(self, time: datetime) -> None:
        # The server is only asked what time it is where that may matter.
        if time > (self._clock.now() or datetime.now(UTC)):
            happened(time, self._moments.now())

    def _candle_reading(self) -> Reading:
        """The quickest way to candles that are not to be filled up."""
        at_once = partial(read_candles_at_once, guesses=self._guesses)
        return partial(read_archived_candles, archive=self._archive, otherwise=at_once) if self._archive else at_once

    def _past(
        self,
        noun: str,
        question: Question,
        read: Callable[[Connection, Question], tuple[MarketFrame, Ledger]],
        look: Callable[[Connection, Question], Ledger],
        *options: Hashable,
        reach: timedelta = timedelta(0),
    ) -> MarketFrame:
        """The answer to a question about ticks, which is kept if all of it is past."""
        window = (question.start - reach, question.end) if question.end else None
        return self._answers.get(
            question,
            lambda connection: read(connection, question),
            look=lambda connection: look(connection, question),
            window_at=lambda now: window if window and window[1] <= now else None,
            key=(noun, question, *options),
        )


def _close(moments: Moments, changes: Changes, reader: Reader) -> None:
    moments.close()
    changes.close()
    reader.close()
