"""Reading the last hour of 1m candles of a year, as a bot does every minute."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from benchmarks.figure import Figure
from benchmarks.reading import ask_until_remembered
from benchmarks.recent import write_year
from benchmarks.rounds import percentile_s, take_rounds
from benchmarks.setting import Setting
from tapehouse import MarketData
from tapehouse.instrument import Instrument
from tapehouse.store.connection import Connection

_HOUR: Final = timedelta(hours=1)


def latest_60_cold_p99_ms(setting: Setting) -> Figure:
    """The slowest call in a hundred, nothing kept in memory."""
    with setting.emptied_database() as connection, MarketData.connect(setting.url, cache_mb=0) as market:
        instrument = write_year(connection, setting.sizes)
        rounds = take_rounds(
            setting.sizes.rounds,
            lambda: percentile_s(99, lambda _: read_latest(market, instrument), range(setting.sizes.calls)),
            lambda: percentile_s(99, _bare_select(connection, instrument), range(setting.sizes.calls)),
        )
    return rounds.as_cost(
        "latest_60_cold_p99_ms", "ms", scale=1000, baseline="psycopg: select of the same rows, prepared, to tuples"
    )


def latest_60_cached_p50_us(setting: Setting) -> Figure:
    """The usual call, the answer kept in memory until the next candle closes."""
    with setting.emptied_database() as connection:
        instrument = write_year(connection, setting.sizes)
        with MarketData.connect(setting.url) as market, MarketData.connect(setting.url, cache_mb=0) as uncached:
            ask_until_remembered(market, lambda: read_latest(market, instrument))
            rounds = take_rounds(
                setting.sizes.rounds,
                lambda: percentile_s(50, lambda _: read_latest(market, instrument), range(setting.sizes.calls)),
                lambda: percentile_s(50, lambda _: read_latest(uncached, instrument), range(setting.sizes.calls)),
            )
    return rounds.as_cost("latest_60_cached_p50_us", "µs", scale=1e6, baseline="the same with cache_mb=0")


def read_latest(market: MarketData, instrument: Instrument) -> None:
    """Read the closed 1m candles of the last hour."""
    start = datetime.now(UTC) - _HOUR
    assert len(market.candles(instrument.exchange, instrument.symbol, "1m", start))


def _bare_select(connection: Connection, instrument: Instrument) -> Callable[[int], object]:
    cursor = connection.cursor(binary=True)

    def select(_: int) -> object:
        return cursor.execute(
            "select time, open, high, low, close, volume from ohlcv "
            "where instrument_id = %s and timeframe_s = 60 and time >= %s order by time",
            [instrument.instrument_id, datetime.now(UTC) - _HOUR],
            prepare=True,
        ).fetchall()

    return select
