"""AsyncMarketData: `MarketData` for asyncio.

Written by `make generate` from `market`: change that one.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Literal, Self

from tapehouse.indicators import DEFAULT_INDICATORS
from tapehouse.query.awaited import Awaited, Opening
from tapehouse.query.fill import Fill
from tapehouse.query.frame import MarketFrame
from tapehouse.query.health import Health, MarketStats
from tapehouse.query.inference import InferenceDataFrame
from tapehouse.query.market import MarketData


class AsyncMarketData(Awaited):
    """Stored market data as DataFrames, the same as `MarketData` gives; one object serves any number of tasks.

    async with AsyncMarketData.connect() as market:
        candles = await market.candles("binance", "BTC/USDT", "1h", start, end)

    What is in memory is given at once. What has to be read is read in threads, as many at a time as there are
    connections. A task that is cancelled disturbs no other.
    """

    @classmethod
    def connect(
        cls,
        url: str | None = None,
        *,
        archive: Path | str | None = None,
        cache_mb: float = 256,
        hot_window: timedelta = timedelta(minutes=5),
    ) -> Opening[Self]:
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
        return Opening(cls, partial(MarketData.connect, url, archive=archive, cache_mb=cache_mb, hot_window=hot_window))

    async def candles(
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
        return await self._run(
            self._market.candles,
            exchange,
            symbol,
            timeframe,
            start,
            end,
            source=source,
            fill=fill,
            include_forming=include_forming,
        )

    async def trades(self, exchange: str, symbol: str, start: datetime, end: datetime | None = None) -> MarketFrame:
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
        return await self._run(self._market.trades, exchange, symbol, start, end)

    async def order_book(
        self, exchange: str, symbol: str, at: datetime | None = None, *, depth: int = 20
    ) -> MarketFrame:
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
        return await self._run(self._market.order_book, exchange, symbol, at, depth=depth)

    async def order_books(
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
        return await self._run(self._market.order_books, exchange, symbol, start, end, depth=depth)

    async def order_book_features(
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
        return await self._run(self._market.order_book_features, exchange, symbol, start, end)

    async def imbalances(self, exchange: str, symbol: str, start: datetime, end: datetime | None = None) -> MarketFrame:
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
        return await self._run(self._market.imbalances, exchange, symbol, start, end)

    async def instruments(self, exchange: str | None = None) -> MarketFrame:
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
        return await self._run(self._market.instruments, exchange)

    async def gaps(
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
        return await self._run(
            self._market.gaps, exchange, symbol, dataset=dataset, timeframe=timeframe, start=start, end=end
        )

    async def coverage(self, exchange: str | None = None, symbol: str | None = None) -> MarketFrame:
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
        return await self._run(self._market.coverage, exchange, symbol)

    async def get_inference_data(
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
        return await self._run(
            self._market.get_inference_data,
            symbol,
            exchange=exchange,
            timestamp=timestamp,
            context_window_minutes=context_window_minutes,
            depth=depth,
            indicators=indicators,
            as_known=as_known,
            include_forming=include_forming,
        )

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
    ) -> AsyncIterator[tuple[datetime, InferenceDataFrame]]:
        """What `get_inference_data` gives for each of many moments, in their order: (timestamp as given, data).

        Made for labelling and training: moments that lie within two hours of each other and follow one another are
        read together, and memory does not grow with their number. Options and errors as of `get_inference_data`.
        """
        return self._iterate(
            self._market.iter_inference_data(
                symbol,
                timestamps,
                exchange=exchange,
                context_window_minutes=context_window_minutes,
                depth=depth,
                indicators=indicators,
                as_known=as_known,
                include_forming=include_forming,
            )
        )

    async def asof(
        self, times: Iterable[datetime], *series: tuple[str, str, str], tolerance: timedelta | None = None
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
        return await self._in_thread(partial(self._market.asof, times, *series, tolerance=tolerance))

    async def stats(self) -> MarketStats:
        """What the cache in memory has done and holds, and how long the database took for what was read."""
        return await self._run(self._market.stats)

    async def health(self) -> Health:
        """Whether the database answers, how quickly, and whether its changes are heard; asks it once.

        Not whether what is stored is up to date, which `coverage` tells.

        Raises StoreError where it does not answer.
        """
        return await self._run(self._market.health)
