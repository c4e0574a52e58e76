"""What a stream in this process receives: how soon an answer has it, while it is written as well."""

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Final

import numpy as np

from benchmarks.figure import Figure
from benchmarks.reading import ask_until_remembered
from benchmarks.recent import write_ticks, write_year
from benchmarks.rounds import percentile_s, take_rounds, time_s
from benchmarks.setting import Setting
from tapehouse import InferenceDataFrame, MarketData
from tapehouse.instrument import Instrument
from tapehouse.live import LiveTrade
from tapehouse.store.connection import Connection, connect
from tapehouse.store.instruments import TradeSeries, ensure_trade_series
from tapehouse.store.trades import write_trades
from tapehouse.timeframe import from_us
from tapehouse.trade import TRADE_SPAN_US, TradeBatch

_PER_SECOND: Final = 1000
_FLUSHED_ROWS: Final = 100
# 10,000 of them in a context of five minutes.
_STORED_PER_SECOND: Final = 34
_WRITTEN_CALLS: Final = 20


def stream_to_cache_lag_p99_us(setting: Setting) -> Figure:
    """From `LiveTape.trade` until an answer of `get_inference_data` has that trade, of 1,000 trades a second."""
    with setting.emptied_database() as connection:
        instrument = write_year(connection, setting.sizes)
        write_ticks(connection, instrument, setting.sizes, trades_per_second=_STORED_PER_SECOND)
        series, ids = ensure_trade_series(connection, instrument), count(10**9)
        with MarketData.connect(setting.url) as market:
            market.live.opened(instrument.exchange, instrument.symbol, "trade")

            def receive(trade: LiveTrade) -> None:
                market.live.trade(instrument.exchange, instrument.symbol, trade)
                _find(market, instrument, trade)

            def written_p99_s() -> float:
                # It would go on reading in the background while the other is measured.
                with MarketData.connect(setting.url) as beside:
                    ask_until_remembered(beside, lambda: _ask(beside, instrument))

                    def store(trade: LiveTrade) -> None:
                        _write(connection, series, [trade])
                        _find(beside, instrument, trade)

                    return percentile_s(99, lambda _: store(_trade(next(ids))), range(_WRITTEN_CALLS))

            ask_until_remembered(market, lambda: _ask(market, instrument))
            rounds = take_rounds(
                setting.sizes.rounds, lambda: _fed_p99_s(receive, ids, setting, series, market), written_p99_s
            )
    baseline = "write_trades of it, until get_inference_data has it"
    return rounds.as_cost("stream_to_cache_lag_p99_us", "µs", scale=1e6, baseline=baseline)


def _fed_p99_s(
    receive: Callable[[LiveTrade], None], ids: Iterator[int], setting: Setting, series: TradeSeries, market: MarketData
) -> float:
    """The seconds within which that share of trades is found, that come at an even pace and are flushed as well."""
    taken_s: list[float] = []
    started_s = time.perf_counter()
    with _flushing(setting.url, series, market) as flush:
        waiting: list[LiveTrade] = []
        for number in range(4 * setting.sizes.calls):
            time.sleep(max(0.0, started_s + number / _PER_SECOND - time.perf_counter()))
            trade = _trade(next(ids))
            taken_s.append(time_s(lambda one=trade: receive(one)))
            waiting.append(trade)
            if len(waiting) == _FLUSHED_ROWS:
                flush(waiting)
                waiting = []
        flush(waiting)
    return float(np.percentile(taken_s, 99))


@contextmanager
def _flushing(url: str, series: TradeSeries, market: MarketData) -> Generator[Callable[[list[LiveTrade]], None]]:
    """Writes what it is given in another thread, one batch after the other."""
    batches: queue.SimpleQueue[list[LiveTrade]] = queue.SimpleQueue()
    instrument = series.instrument

    def work() -> None:
        with connect(url) as connection:
            while batch := batches.get():
                _write(connection, series, batch)
                market.live.stored(instrument.exchange, instrument.symbol, "trade", None, batch[-1].time_us)

    writer = threading.Thread(target=work)
    writer.start()
    try:
        yield batches.put
    finally:
        batches.put([])
        writer.join()


def _trade(number: int) -> LiveTrade:
    """A trade of now; numbers grow with time."""
    return LiveTrade(time.time_ns() // 1_000_000 * 1000, number, "", 60_000.01, 0.001, 1)


def _ask(market: MarketData, instrument: Instrument) -> InferenceDataFrame:
    return market.get_inference_data(instrument.symbol, exchange=instrument.exchange)


def _find(market: MarketData, instrument: Instrument, trade: LiveTrade) -> None:
    """Ask until an answer has the trade."""
    while True:
        latest = _ask(market, instrument).latest_trade
        if latest is not None and latest.trade_id == trade.trade_id:
            return


def _write(connection: Connection, series: TradeSeries, trades: Sequence[LiveTrade]) -> None:
    if not trades:
        return
    columns = {name: [getattr(one, name) for one in trades] for name in LiveTrade.__dataclass_fields__}
    batch = TradeBatch(
        np.array(columns["time_us"], dtype=np.int64),
        np.array(columns["trade_id"], dtype=np.int64),
        np.array(columns["id_text"], dtype=np.str_),
        np.array(columns["price"]),
        np.array(columns["amount"]),
        np.array(columns["side"], dtype=np.int16),
    )
    # The next ones may be of the same millisecond.
    covered = [(from_us(trades[0].time_us), from_us(trades[-1].time_us + TRADE_SPAN_US))]
    write_trades(connection, series, batch, asked=covered, covered=covered)
