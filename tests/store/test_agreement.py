from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from tapehouse.candle import CandleBatch
from tapehouse.instrument import Instrument
from tapehouse.store.agreement import Agreement, compare_candles, read_agreement
from tapehouse.store.candles import write_candles
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import ensure_candle_series, ensure_trade_series
from tapehouse.store.trades import write_trades
from tapehouse.timeframe import timeframe, to_us
from tests.store.conftest import InstrumentFactory
from tests.store.test_write_trades import Row, trades

START = datetime(2025, 5, 1, tzinfo=UTC)
# Minute after START, open, high, low, close, volume.
Candle = tuple[int, float, float, float, float, float]


def at(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


def write(
    connection: Connection,
    instrument: Instrument,
    candles: list[Candle],
    rows: list[Row],
    *,
    minutes: tuple[float, float] = (0, 10),
    traded: tuple[float, float] = (0, 10),
) -> None:
    table = np.array(candles, dtype=np.float64).reshape(-1, 6)
    batch = CandleBatch(to_us(START) + 60_000_000 * table[:, 0].astype(np.int64), *table[:, 1:].T)
    window = [(at(minutes[0]), at(minutes[1]))]
    series = ensure_candle_series(connection, instrument, timeframe("1m"))
    write_candles(connection, series, batch, asked=window, covered=window)
    window = [(at(traded[0]), at(traded[1]))]
    write_trades(connection, ensure_trade_series(connection, instrument), trades(*rows), asked=window, covered=window)


def compare(connection: Connection, instrument: Instrument) -> list[Agreement]:
    return compare_candles(connection, exchange=instrument.exchange, start=START, end=at(1))


def test_candles_that_follow_from_the_trades_agree(connection: Connection, make_instrument: InstrumentFactory):
    instrument = make_instrument()
    candles: list[Candle] = [(0, 10.0, 12.0, 9.0, 11.0, 3.5), (1, 11.0, 11.0, 11.0, 11.0, 0.0)]
    rows: list[Row] = [(0, 1, 10.0, 1.0, 1), (5, 2, 12.0, 1.0, 1), (5, 3, 9.0, 1.0, -1), (59_999, 4, 11.0, 0.5, 1)]
    write(connection, instrument, candles, rows)
    (found,) = compare(connection, instrument)
    assert (found.day, found.minutes, found.differing, found.volumes_compared) == (START, 10, 0, 1)
    assert found.largest_price_gap == 0
    assert read_agreement(connection, exchange=instrument.exchange) == [found]


def test_candles_from_elsewhere_are_not_compared(connection: Connection, make_instrument: InstrumentFactory):
    instrument = make_instrument()
    write(connection, instrument, [(0, 10.0, 10.0, 10.0, 10.0, 1.0)], [(0, 1, 10.0, 1.0, 1)], minutes=(0, 1))
    built = CandleBatch(np.array([to_us(at(1))]), *(np.array([20.0]) for _ in range(5)))
    window = [(at(1), at(2))]
    series = ensure_candle_series(connection, instrument, timeframe("1m"))
    write_candles(connection, series, built, asked=window, covered=window, substituted_from="kraken BTC/USD")
    (found,) = compare(connection, instrument)
    assert (found.minutes, found.differing) == (1, 0)


def test_every_difference_is_counted_where_it_is(connection: Connection, make_instrument: InstrumentFactory):
    instrument = make_instrument()
    candles: list[Candle] = [
        (0, 10.0, 12.5, 9.0, 11.0, 3.5),  # high differs by 0.5 of 12.5
        (1, 11.0, 11.0, 11.0, 11.0, 1.0),  # no trade at all
        (3, 10.0, 10.0, 10.0, 10.0, 0.5),  # volume differs
        (4, 10.5, 10.5, 10.0, 10.0, 2.0),  # open and high differ
    ]
    rows: list[Row] = [
        (0, 1, 10.0, 1.0, 1),
        (5, 2, 12.0, 1.0, 1),
        (5, 3, 9.0, 1.0, -1),
        (59_999, 4, 11.0, 0.5, 1),
        (120_000, 5, 10.0, 1.0, 1),  # no candle at all
        (180_000, 6, 10.0, 1.0, 1),
        (240_000, 7, 10.0, 2.0, 1),
    ]
    write(connection, instrument, candles, rows)
    (found,) = compare(connection, instrument)
    assert (found.minutes, found.differing) == (10, 5)
    assert (found.open_differs, found.high_differs, found.low_differs, found.close_differs) == (1, 2, 0, 0)
    assert (found.volumes_compared, found.volume_differs) == (3, 1)
    assert (found.without_candle, found.without_trades) == (1, 1)
    assert found.largest_price_gap == 0.5 / 10.5


def test_only_whole_minutes_that_both_cover_are_compared(connection: Connection, make_instrument: InstrumentFactory):
    instrument = make_instrument()
    candles: list[Candle] = [(minute, 1.0, 1.0, 1.0, 1.0, 1.0) for minute in range(10)]
    rows: list[Row] = [(60_000 * minute + 40_000, minute, 1.0, 1.0, 1) for minute in range(2, 8)]
    write(connection, instrument, candles, rows, traded=(2.5, 7.75))
    (found,) = compare(connection, instrument)
    assert (found.minutes, found.differing) == (4, 0)


@pytest.mark.parametrize(("dataset", "timeframe_s"), [("ohlcv", 60), ("trade", 0)])
def test_minutes_that_retention_dropped_are_not_compared(
    connection: Connection, make_instrument: InstrumentFactory, dataset: str, timeframe_s: int
):
    instrument = make_instrument()
    candles: list[Candle] = [(minute, 1.0, 1.0, 1.0, 1.0, 1.0) for minute in range(10)]
    rows: list[Row] = [(60_000 * minute, minute, 1.0, 1.0, 1) for minute in range(4, 10)]
    write(connection, instrument, candles, rows)
    connection.execute("insert into retention values (%s, %s, %s)", (dataset, timeframe_s, at(4)))
    try:
        (found,) = compare(connection, instrument)
    finally:
        connection.execute("delete from retention where dataset = %s and timeframe_s = %s", (dataset, timeframe_s))
    assert (found.minutes, found.differing) == (6, 0)


def test_each_day_is_compared_for_itself_and_again(connection: Connection, make_instrument: InstrumentFactory):
    instrument = make_instrument()
    around = (1430.0, 1450.0)
    candles: list[Candle] = [(minute, 1.0, 1.0, 1.0, 1.0, 1.0) for minute in range(1430, 1450)]
    rows: list[Row] = [(60_000 * minute, minute, 1.0, 1.0, 1) for minute in range(1430, 1445)]
    write(connection, instrument, candles, rows, minutes=around, traded=around)
    found = compare_candles(connection, exchange=instrument.exchange, start=START, end=at(1441))
    assert [(one.day, one.minutes, one.differing) for one in found] == [
        (START + timedelta(days=1), 10, 5),
        (START, 10, 0),
    ]
    more: list[Row] = [(60_000 * minute, minute, 1.0, 1.0, 1) for minute in range(1445, 1450)]
    write(connection, instrument, [], more, minutes=around, traded=around)
    again = compare_candles(connection, exchange=instrument.exchange, start=START, end=at(1441))
    assert [one.differing for one in again] == [0, 0]


def test_volumes_in_contracts_are_converted_where_that_is_possible(
    connection: Connection, make_instrument: InstrumentFactory
):
    rows: list[Row] = [(0, 1, 10.0, 3.0, 1), (5, 2, 10.0, 4.0, 1)]
    linear = make_instrument(trade_unit="contract", settle="USDT", contract_size=0.01)
    write(connection, linear, [(0, 10.0, 10.0, 10.0, 10.0, 0.07)], rows)
    (found,) = compare(connection, linear)
    assert (found.volumes_compared, found.volume_differs, found.differing) == (1, 0, 0)
    inverse = make_instrument(trade_unit="contract", settle="BTC", contract_size=100.0)
    write(connection, inverse, [(0, 10.0, 10.0, 10.0, 10.0, 70.0)], rows)
    (found,) = compare(connection, inverse)
    assert (found.volumes_compared, found.differing) == (0, 0)


@pytest.mark.parametrize(
    ("contract_size", "volume", "differing"),
    [
        # Exchanges round what contracts come to: 2.048 of them to 0.6 lots, and to half a lot.
        (0.6 / 2048, 0.001, 0),
        (0.5 / 2048, 0.001, 1),
        (1.5 / 2048, 0.001, 1),
    ],
)
def test_volumes_agree_that_are_less_than_half_a_lot_apart(
    connection: Connection, make_instrument: InstrumentFactory, contract_size: float, volume: float, differing: int
):
    linear = make_instrument(trade_unit="contract", settle="USDT", contract_size=contract_size)
    write(connection, linear, [(0, 10.0, 10.0, 10.0, 10.0, volume)], [(0, 1, 10.0, 2.048, 1)])
    (found,) = compare(connection, linear)
    assert (found.volumes_compared, found.volume_differs) == (1, differing)
