"""Import of sound files of every layout: what is stored, what they cover, and that once more changes nothing."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tapehouse.errors import BeyondRetention, InputError, MixedOrigins
from tapehouse.files.arrow import Array, pa, parquet
from tapehouse.files.importing import ImportResult, import_file
from tapehouse.files.markets import listing_of_symbol
from tapehouse.files.understanding import Options, Understanding, understand
from tapehouse.instrument import Listing
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import add_instrument, find_instrument, read_symbols
from tests.files.importing import (
    HEADER,
    START_MS,
    candle_line,
    candle_lines,
    coverage_of,
    gzipped,
    import_path,
    reasons_of,
    rows_of,
    text,
    trade_line,
    zipped,
)

START = datetime(2025, 1, 3, tzinfo=UTC)
DAY = timedelta(days=1)
KLINE_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
RECORDED = Path(__file__).parents[3] / "shared" / "data" / "klines"


def listing(exchange: str, symbol: str, **facts: Any) -> Listing:
    return replace(listing_of_symbol(exchange, symbol, "base"), **facts)


def understood(connection: Connection, path: Path, **told: Any) -> Understanding:
    return understand(path, Options(**told), known_symbols=lambda exchange: read_symbols(connection, exchange))


def kline(minute: int, *, per_ms: int = 1) -> str:
    opened = START_MS + minute * 60_000
    return f"{opened * per_ms},100.25,101.5,99.75,100.5,{minute + 1}.125,{(opened + 59_999) * per_ms},0,1,0.5,50.1,0"


def candles(minutes: list[int]) -> list[tuple[Any, ...]]:
    """What the store has of the candles of `candle_line` and `kline`."""
    return [(START + timedelta(minutes=n), 100.25, 101.5, 99.75, 100.5, n + 1.125) for n in minutes]


def trades(numbers: list[int], side: str = "buy") -> list[tuple[Any, ...]]:
    """What the store has of the trades of `trade_line`."""
    return [(START + timedelta(seconds=n), str(1000 + n), 100.25, 0.125, side) for n in numbers]


# Whatever the format


def as_csv(path: Path) -> None:
    path.write_bytes(text(HEADER, *candle_lines(range(5))))


def as_csv_in_gz(path: Path) -> None:
    path.write_bytes(gzipped(text(HEADER, *candle_lines(range(5)))))


def as_csv_in_zip(path: Path) -> None:
    path.write_bytes(zipped("any.csv", text(HEADER, *candle_lines(range(5)))))


def as_nameless_csv(path: Path) -> None:
    path.write_bytes(text(*candle_lines(range(5))))


def as_json_objects(path: Path) -> None:
    names = HEADER.split(",")
    rows = [dict(zip(names, line.split(","), strict=True)) for line in candle_lines(range(5))]
    path.write_text(json.dumps(rows))


def as_json_lists_in_gz(path: Path) -> None:
    path.write_bytes(
        gzipped(json.dumps([[float(cell) for cell in line.split(",")] for line in candle_lines(range(5))]).encode())
    )


def as_json_lines(path: Path) -> None:
    names = HEADER.split(",")
    rows = (dict(zip(names, map(float, line.split(",")), strict=True)) for line in candle_lines(range(5)))
    path.write_text("\n".join(map(json.dumps, rows)))


def frame() -> pd.DataFrame:
    rows = [[float(cell) for cell in line.split(",")] for line in candle_lines(range(5))]
    table = pd.DataFrame(rows, columns=pd.Index(HEADER.split(",")))
    return table.assign(time=pd.to_datetime(table["time"], unit="ms", utc=True))


def as_parquet(path: Path) -> None:
    frame().to_parquet(path)


def as_parquet_with_index(path: Path) -> None:
    frame().set_index("time").to_parquet(path)


def as_parquet_of_decimals(path: Path) -> None:
    table = pa.Table.from_pandas(frame())
    for number, name in enumerate(table.column_names[1:], 1):
        table = table.set_column(number, name, table.column(name).cast(pa.decimal128(20, 8)))
    parquet.write_table(table, path)


def as_feather(path: Path) -> None:
    frame().rename(columns={"time": "date"}).to_feather(path)


@pytest.mark.parametrize(
    "write",
    [
        as_csv,
        as_csv_in_gz,
        as_csv_in_zip,
        as_nameless_csv,
        as_json_objects,
        as_json_lists_in_gz,
        as_json_lines,
        as_parquet,
        as_parquet_with_index,
        as_parquet_of_decimals,
        as_feather,
    ],
)
def test_candles_are_read_from_every_format(
    connection: Connection, exchange: str, tmp_path: Path, write: Callable[[Path], None]
):
    write(tmp_path / "file")
    result = import_path(connection, tmp_path / "file", exchange=exchange, symbol="BTC/USDT")
    assert result == ImportResult(rows=5, inserted=5)
    assert rows_of(connection, exchange) == candles([0, 1, 2, 3, 4])
    assert coverage_of(connection, exchange) == [(START, START + timedelta(minutes=5))]


@pytest.mark.parametrize(
    ("times", "told"),
    [
        pytest.param([1735862400, 1735862460], {}, id="seconds"),
        pytest.param([1735862400.0, 1735862460.0], {}, id="seconds as floats"),
        pytest.param([1735862400000000, 1735862460000000], {}, id="microseconds"),
        pytest.param([1735862400000000000, 1735862460000000000], {}, id="nanoseconds"),
        pytest.param(["2025-01-03T00:00:00Z", "2025-01-03T00:01:00Z"], {}, id="ISO 8601"),
        pytest.param(["2025-01-03 02:00:00+02:00", "2025-01-03 02:01:00+02:00"], {}, id="another offset"),
        pytest.param(["2025-01-03 00:00:00 UTC", "2025-01-03 00:01:00 UTC"], {}, id="UTC as a word"),
        pytest.param(["2025-01-03 01:00", "2025-01-03 01:01"], {"time_zone": "Europe/Berlin"}, id="local times"),
        pytest.param(["2025-01-03 00:00", "2025-01-03 00:01"], {"time_zone": "UTC"}, id="times told to be UTC"),
    ],
)
def test_times_are_read_however_they_are_written(
    connection: Connection, exchange: str, tmp_path: Path, times: list[Any], told: dict[str, str]
):
    lines = [f"{time},100.25,101.5,99.75,100.5,{n + 1}.125" for n, time in enumerate(times)]
    (tmp_path / "a.csv").write_bytes(text(HEADER, *lines))
    import_path(connection, tmp_path / "a.csv", exchange=exchange, symbol="BTC/USDT", **told)
    assert rows_of(connection, exchange) == candles([0, 1])


@pytest.mark.parametrize(
    ("column", "told"),
    [
        pytest.param(
            pa.array([1735862400_000, 1735862460_000], pa.timestamp("ms", "Asia/Tokyo")), {}, id="with a zone"
        ),
        pytest.param(
            pa.array([1735866000_000_000, 1735866060_000_000], pa.timestamp("us")),
            {"time_zone": "Europe/Berlin"},
            id="without",
        ),
    ],
)
def test_timestamps_are_read_in_their_zone(
    connection: Connection, exchange: str, tmp_path: Path, column: Array, told: dict[str, str]
):
    values = {"open": 100.25, "high": 101.5, "low": 99.75, "close": 100.5}
    table = {"date": column, **{name: [value] * 2 for name, value in values.items()}, "volume": [1.125, 2.125]}
    parquet.write_table(pa.table(table), tmp_path / "a.parquet")
    import_path(connection, tmp_path / "a.parquet", exchange=exchange, symbol="BTC/USDT", **told)
    assert rows_of(connection, exchange) == candles([0, 1])


def test_days_are_utc_days(connection: Connection, exchange: str, tmp_path: Path):
    (tmp_path / "a.csv").write_bytes(text("date,o,h,l,c,v", "2025-01-03,1,2,1,2,3", "2025-01-04,1,2,1,2,3"))
    import_path(connection, tmp_path / "a.csv", exchange=exchange, symbol="BTC/USDT")
    assert [row[0] for row in rows_of(connection, exchange)] == [START, START + DAY]
    assert coverage_of(connection, exchange) == [(START, START + 2 * DAY)]


def test_prices_are_the_nearest_floats_of_their_decimals(connection: Connection, exchange: str, tmp_path: Path):
    prices = ["0.1", "0.30000000", "67432.01999999", "1e-8", "123456.789", "5.0E2"]
    lines = [f"{START_MS + n * 60_000},{price},{price},{price},{price},1" for n, price in enumerate(prices)]
    (tmp_path / "a.csv").write_bytes(text(HEADER, *lines))
    import_path(connection, tmp_path / "a.csv", exchange=exchange, symbol="BTC/USDT")
    assert [row[1] for row in rows_of(connection, exchange)] == [float(price) for price in prices]


def test_narrow_floats_are_taken_by_their_decimals(connection: Connection, exchange: str, tmp_path: Path):
    table = {name: pa.array([0.1], pa.float32()) for name in HEADER.split(",")[1:]}
    parquet.write_table(pa.table({"time": [START_MS], **table}), tmp_path / "a-1m.parquet")
    import_path(connection, tmp_path / "a-1m.parquet", exchange=exchange, symbol="BTC/USDT")
    assert rows_of(connection, exchange) == [(START, 0.1, 0.1, 0.1, 0.1, 0.1)]


# Coverage


def test_other_files_vouch_for_their_rows_alone(connection: Connection, exchange: str, tmp_path: Path):
    (tmp_path / "a.csv").write_bytes(text(HEADER, *candle_lines([0, 1, 5])))
    import_path(connection, tmp_path / "a.csv", exchange=exchange, symbol="BTC/USDT")
    minute = timedelta(minutes=1)
    assert coverage_of(connection, exchange) == [(START, START + 2 * minute), (START + 5 * minute, START + 6 * minute)]


def test_a_rejected_candle_leaves_a_hole(connection: Connection, exchange: str, tmp_path: Path):
    bad = candle_line(1).replace("99.75", "-1")
    (tmp_path / "a.csv").write_bytes(text(HEADER, candle_line(0), bad, candle_line(2)))
    assert import_path(connection, tmp_path / "a.csv", exchange=exchange, symbol="BTC/USDT").rejected == 1
    minute = timedelta(minutes=1)
    assert coverage_of(connection, exchange) == [(START, START + minute), (START + 2 * minute, START + 3 * minute)]
    causes = connection.execute(
        "select lower(during), cause from unavailable join series using (series_id) join instrument "
        "using (instrument_id) where exchange = %s",
        [exchange],
    ).fetchall()
    assert causes == [(START + minute, "rejected")]


def test_trades_cover_from_the_first_to_the_last(connection: Connection, exchange: str, tmp_path: Path):
    lines = [trade_line(n) for n in (0, 1, 7)]
    (tmp_path / "a.csv").write_bytes(text("timestamp,id,side,price,amount", *lines))
    import_path(connection, tmp_path / "a.csv", exchange=exchange, symbol="BTC/USDT")
    assert rows_of(connection, exchange, "trade_view") == trades([0, 1, 7])
    assert coverage_of(connection, exchange) == [(START, START + timedelta(seconds=7, milliseconds=1))]


# Binance's public data


@pytest.mark.parametrize(
    "content",
    [
        pytest.param([kline(0), kline(1), kline(5)], id="as it is, in ms"),
        pytest.param([kline(n, per_ms=1000) for n in (0, 1, 5)], id="in us"),
        pytest.param([KLINE_HEADER, kline(0), kline(1), kline(5)], id="with names"),
    ],
)
def test_a_binance_day_of_candles_vouches_for_all_of_it(
    connection: Connection, exchange: str, tmp_path: Path, content: list[str]
):
    path = tmp_path / "BTCUSDT-1m-2025-01-03.zip"
    path.write_bytes(zipped("BTCUSDT-1m-2025-01-03.csv", text(*content)))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(path.name + ".CHECKSUM").write_text(f"{digest}  {path.name}\n")
    file = understood(connection, path, exchange=exchange, symbol="BTC/USDT")
    assert (file.is_verified, file.layout.name) == (True, "Binance klines")
    import_file(connection, file, force=True)
    assert rows_of(connection, exchange) == candles([0, 1, 5])
    assert coverage_of(connection, exchange) == [(START, START + DAY)]


@pytest.mark.parametrize(
    ("period", "minutes"),
    [
        pytest.param("2025-01-03", [1440, 1441], id="the day after"),
        pytest.param("2025-01-03", [-1, 0], id="the last minute of the day before"),
        pytest.param("2025-01-03", [1439, 1440], id="the first minute of the day after"),
        pytest.param("2025-02", [0, 29 * 1440], id="the month before"),
    ],
)
def test_a_binance_file_holds_no_rows_of_another_time(
    connection: Connection, exchange: str, tmp_path: Path, period: str, minutes: list[int]
):
    path = tmp_path / f"BTCUSDT-1m-{period}.zip"
    path.write_bytes(zipped("a.csv", text(*map(kline, minutes))))
    with pytest.raises(InputError, match=r"its name says .*, its rows are from 2025-01-0"):
        import_path(connection, path, exchange=exchange, symbol="BTC/USDT")
    assert coverage_of(connection, exchange) == []


def test_a_binance_month_ends_with_its_last_minute(connection: Connection, exchange: str, tmp_path: Path):
    path = tmp_path / "BTCUSDT-1m-2025-01.zip"
    path.write_bytes(zipped("a.csv", text(kline(0), kline(29 * 1440 - 1))))
    assert import_path(connection, path, exchange=exchange, symbol="BTC/USDT").inserted == 2
    assert coverage_of(connection, exchange) == [(datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 2, 1, tzinfo=UTC))]


def test_a_binance_day_of_trades_ends_with_its_last_microsecond(connection: Connection, exchange: str, tmp_path: Path):
    path = tmp_path / "BTCUSDT-trades-2025-01-03.zip"
    times_us = [START_MS * 1000, (START_MS + 86_400_000) * 1000 - 1]
    lines = [f"{number},100.25,0.125,12.53,{time_us},True,True" for number, time_us in enumerate(times_us)]
    path.write_bytes(zipped("a.csv", text(*lines)))
    assert import_path(connection, path, exchange=exchange, symbol="BTC/USDT").inserted == 2
    assert coverage_of(connection, exchange) == [(START, START + DAY)]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        pytest.param("trades", "{id},100.25,0.125,12.53125,{us},{maker},True", id="spot trades"),
        pytest.param("trades", "{id},100.25,0.125,12.53,{ms},{maker}", id="futures trades"),
        pytest.param("aggTrades", "{id},100.25,0.125,1,2,{us},{maker},True", id="spot aggregated"),
        pytest.param("aggTrades", "{id},100.25,0.125,1,2,{ms},{maker}", id="futures aggregated"),
    ],
)
def test_binance_trades_are_those_of_its_api(
    connection: Connection, exchange: str, tmp_path: Path, name: str, line: str
):
    def row(number: int) -> str:
        time_ms = START_MS + number * 1000
        return line.format(id=1000 + number, ms=time_ms, us=time_ms * 1000 + 678, maker=str(number == 2))

    path = tmp_path / f"BTCUSDT-{name}-2025-01-03.zip"
    path.write_bytes(zipped("a.csv", text(*map(row, range(3)))))
    import_path(connection, path, exchange=exchange, symbol="BTC/USDT")
    assert rows_of(connection, exchange, "trade_view") == [*trades([0, 1]), *trades([2], "sell")]
    assert coverage_of(connection, exchange) == [(START, START + DAY)]


def test_a_market_is_found_among_the_stored_ones(connection: Connection, exchange: str, tmp_path: Path):
    for symbol in ("BTC/USDT", "BTC/USDT:USDT", "ETH/USDT"):
        add_instrument(connection, listing(exchange, symbol))
    for folders in ("data/spot", "data/futures/um"):
        (tmp_path / folders).mkdir(parents=True)
        (tmp_path / folders / "BTCUSDT-1m-2025-01-03.csv").write_bytes(text(kline(0), kline(1)))
    (tmp_path / "ETHUSDT-1m-2025-01-03.csv").write_bytes(text(kline(0), kline(1)))
    names = ("data/spot/BTCUSDT", "data/futures/um/BTCUSDT", "ETHUSDT")
    found = [understood(connection, tmp_path / f"{name}-1m-2025-01-03.csv", exchange=exchange).symbol for name in names]
    assert found == ["BTC/USDT", "BTC/USDT:USDT", "ETH/USDT"]
    (tmp_path / "BTCUSDT-1m-2025-01-03.csv").write_bytes(text(kline(0), kline(1)))
    with pytest.raises(InputError, match="may be BTC/USDT or BTC/USDT:USDT: say which with --symbol"):
        understood(connection, tmp_path / "BTCUSDT-1m-2025-01-03.csv", exchange=exchange)
    (tmp_path / "XRPUSDT-1m-2025-01-03.csv").write_bytes(text(kline(0), kline(1)))
    with pytest.raises(InputError, match=r"is XRPUSDT, the market of.*--symbol"):
        understood(connection, tmp_path / "XRPUSDT-1m-2025-01-03.csv", exchange=exchange)


# freqtrade and cryptofeed


@pytest.mark.parametrize(
    ("place", "symbol", "timeframe"),
    [
        ("user_data/data/kraken/BTC_USD-1m.feather", "BTC/USD", "1m"),
        ("user_data/data/binance/futures/BTC_USDT_USDT-1m-futures.feather", "BTC/USDT:USDT", "1m"),
    ],
)
def test_freqtrade_tells_all_by_its_names(
    connection: Connection, tmp_path: Path, place: str, symbol: str, timeframe: str
):
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    as_feather(path)
    file = understood(connection, path)
    assert (file.exchange, file.symbol, str(file.timeframe)) == (place.split("/")[2], symbol, timeframe)


def test_freqtrade_trades_are_read(connection: Connection, exchange: str, tmp_path: Path):
    columns = {
        "timestamp": [START_MS, START_MS + 1000],
        "id": ["1000", "1001"],
        "type": [None, None],
        "side": ["buy", "sell"],
        "price": [100.25, 100.25],
        "amount": [0.125, 0.125],
        "cost": [12.53125, 12.53125],
    }
    pd.DataFrame(columns).to_feather(tmp_path / "BTC_USDT-trades.feather")
    import_path(connection, tmp_path / "BTC_USDT-trades.feather", exchange=exchange)
    assert rows_of(connection, exchange, "trade_view") == [*trades([0]), *trades([1], "sell")]


@pytest.mark.parametrize(
    ("name", "symbol", "told"),
    [
        ("BTC-USDT", "BTC/USDT", {}),
        ("BTC-USDT-PERP", "BTC/USDT:USDT", {}),
        ("BTC-USD-PERP", "BTC/USD:BTC", {"amount_unit": "base"}),
    ],
)
def test_cryptofeed_trades_are_read(
    connection: Connection, exchange: str, tmp_path: Path, name: str, symbol: str, told: dict[str, str]
):
    lines = [
        f"{exchange.upper()},{name},{side},0.125,100.25,{1000 + n},{START_MS / 1000 + n}.123,{START_MS / 1000 + n}.2"
        for n, side in enumerate(("buy", "sell"))
    ]
    lines = [line.replace(".0.", ".") for line in lines]
    header = "exchange,symbol,side,amount,price,id,timestamp,receipt_timestamp"
    (tmp_path / "trades.csv").write_bytes(text(header, *lines))
    import_path(connection, tmp_path / "trades.csv", **told)
    later = timedelta(milliseconds=123)
    expected = [(time + later, *rest) for time, *rest in (*trades([0]), *trades([1], "sell"))]
    assert rows_of(connection, exchange, "trade_view") == expected
    assert find_instrument(connection, exchange, symbol).trade_unit == "base"


# What is stored already


def test_the_same_file_again_changes_nothing(connection: Connection, exchange: str, tmp_path: Path):
    (tmp_path / "a.csv").write_bytes(text(HEADER, *candle_lines(range(5)), candle_line(5).replace("99.75", "-1")))
    told = {"exchange": exchange, "symbol": "BTC/USDT"}
    first = import_path(connection, tmp_path / "a.csv", **told)
    before = state_of(connection, exchange)
    again = import_path(connection, tmp_path / "a.csv", **told)
    assert (first.inserted, first.rejected) == (5, 1)
    assert again == ImportResult(rows=6, unchanged=5, rejected=1)
    assert state_of(connection, exchange) == before


def state_of(connection: Connection, exchange: str) -> list[Any]:
    """All that readers can tell of the exchange: rows, coverage, revision, reasons of rejected rows."""
    revisions = connection.execute(
        "select revision from series join instrument using (instrument_id) where exchange = %s", [exchange]
    ).fetchall()
    rows = [rows_of(connection, exchange, view) for view in ("candle", "trade_view")]
    return [rows, coverage_of(connection, exchange), revisions, reasons_of(connection, exchange)]


def test_of_files_that_overlap_the_last_counts(connection: Connection, exchange: str, tmp_path: Path):
    told = {"exchange": exchange, "symbol": "BTC/USDT"}
    (tmp_path / "a.csv").write_bytes(text(HEADER, *candle_lines(range(4))))
    (tmp_path / "b.csv").write_bytes(text(HEADER, candle_line(3, close=101), *candle_lines([4, 5])))
    import_path(connection, tmp_path / "a.csv", **told)
    second = import_path(connection, tmp_path / "b.csv", **told)
    assert (second.inserted, second.changed, second.unchanged) == (2, 1, 0)
    assert [row[4] for row in rows_of(connection, exchange)] == [100.5, 100.5, 100.5, 101.0, 100.5, 100.5]


def long_table(rows: int) -> Array:
    """Candles of so many minutes of 2024."""
    times = (START_MS - 366 * 86_400_000 + 60_000 * np.arange(rows)) * 1000
    values = 100 + np.arange(rows) % 1000 / 4
    prices = {"open": values, "high": values + 1, "low": values - 1, "close": values, "volume": values}
    return pa.table({"time": pa.array(times, pa.timestamp("us", "UTC")), **prices})


def test_an_import_that_was_stopped_goes_on(connection: Connection, exchange: str, tmp_path: Path):
    path, rows = tmp_path / "a.parquet", 120_000
    parquet.write_table(long_table(rows), path)
    file = understood(connection, path, exchange=exchange, symbol="BTC/USDT")
    seen: list[int] = []

    def stop(result: ImportResult) -> None:
        seen.append(result.rows)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_file(connection, file, force=True, progress=stop)
    assert 0 < seen[0] < seen[1] < rows
    result = import_file(connection, file, force=True)
    assert (result.inserted, result.unchanged) == (rows - seen[1], seen[1])
    first = datetime(2024, 1, 3, tzinfo=UTC)
    assert coverage_of(connection, exchange) == [(first, first + timedelta(minutes=rows))]
    assert len(rows_of(connection, exchange)) == rows


def test_trades_a_little_out_of_order_are_put_in_order(connection: Connection, exchange: str, tmp_path: Path):
    count = 120_000
    numbers = np.arange(count)
    # Neighbours change places, batches' edges included; many share their time.
    numbers[: count // 2 * 2] = numbers.reshape(-1, 2)[:, ::-1].ravel()
    table = {
        "timestamp": START_MS + numbers // 3 * 1000,
        "id": numbers,
        "side": np.where(numbers % 2, "buy", "sell"),
        "price": 100 + numbers % 7,
        "amount": 1 + numbers % 5,
    }
    parquet.write_table(pa.table(table), tmp_path / "a.parquet")
    result = import_path(connection, tmp_path / "a.parquet", exchange=exchange, symbol="BTC/USDT")
    assert (result.rows, result.inserted, result.rejected) == (count, count, 0)
    stored = connection.execute(
        "select count(distinct trade_id), sum(price * (trade_id::bigint %% 11))::bigint "
        "from trade_view where exchange = %s",
        [exchange],
    ).fetchone()
    assert stored == (count, int(((100 + numbers % 7) * (numbers % 11)).sum()))
    assert coverage_of(connection, exchange) == [(START, START + timedelta(seconds=count // 3 - 1, milliseconds=1))]


def test_trades_with_other_ids_are_refused(connection: Connection, exchange: str, tmp_path: Path):
    told = {"exchange": exchange, "symbol": "BTC/USDT"}
    single = [f"{500 + n},100.25,0.125,12,{START_MS + n * 1000},True,True" for n in range(5)]
    summed = [f"{90 + n},100.25,0.25,1,2,{START_MS + n * 2000},True,True" for n in range(3)]
    (tmp_path / "BTCUSDT-aggTrades-2025-01-03.zip").write_bytes(zipped("a.csv", text(*summed)))
    (tmp_path / "BTCUSDT-trades-2025-01-03.zip").write_bytes(zipped("a.csv", text(*single)))
    import_path(connection, tmp_path / "BTCUSDT-aggTrades-2025-01-03.zip", **told)
    before = state_of(connection, exchange)
    with pytest.raises(InputError, match=r"with other ids.*count twice"):
        import_path(connection, tmp_path / "BTCUSDT-trades-2025-01-03.zip", **told)
    assert state_of(connection, exchange) == before


def test_real_rows_do_not_mix_with_the_sandbox(connection: Connection, exchange: str, tmp_path: Path):
    add_instrument(connection, listing(exchange, "BTC/USDT", from_sandbox=True))
    (tmp_path / "a.csv").write_bytes(text(HEADER, *candle_lines(range(5))))
    with pytest.raises(MixedOrigins):
        import_path(connection, tmp_path / "a.csv", exchange=exchange, symbol="BTC/USDT")
    lines = [f"{line},sandbox" for line in candle_lines(range(5))]
    (tmp_path / "b.csv").write_bytes(text(f"{HEADER},source", *lines))
    assert import_path(connection, tmp_path / "b.csv", exchange=exchange, symbol="BTC/USDT").inserted == 5


def test_amounts_of_another_unit_are_refused(connection: Connection, exchange: str, tmp_path: Path):
    add_instrument(connection, listing(exchange, "BTC/USDT:USDT", amount_unit="contract"))
    (tmp_path / "a.csv").write_bytes(text(HEADER, *candle_lines(range(5))))
    with pytest.raises(InputError, match=r"is stored in contract units, and a.csv counts base units"):
        import_path(connection, tmp_path / "a.csv", exchange=exchange, symbol="BTC/USDT:USDT", amount_unit="base")


def test_amounts_that_may_count_contracts_are_asked_for(connection: Connection, exchange: str, tmp_path: Path):
    symbol = "BTC/USDT:USDT"
    told = {"exchange": exchange, "symbol": symbol}
    add_instrument(connection, listing(exchange, symbol, amount_unit="contract", contract_size=0.01))
    (tmp_path / "a.csv").write_bytes(text(HEADER, *candle_lines(range(5))))
    with pytest.raises(InputError, match=r"of a.csv count contracts, as those of BTC/USDT:USDT .* --amount-unit"):
        import_path(connection, tmp_path / "a.csv", **told)
    assert import_path(connection, tmp_path / "a.csv", **told, amount_unit="contract").inserted == 5
    # Binance's own count what its API does.
    (tmp_path / "BTCUSDT-1m-2025-01-03.csv").write_bytes(text(kline(7)))
    assert import_path(connection, tmp_path / "BTCUSDT-1m-2025-01-03.csv", **told).inserted == 1


def test_amounts_of_contracts_of_one_coin_need_not_be_told(connection: Connection, exchange: str, tmp_path: Path):
    add_instrument(connection, listing(exchange, "BTC/USDT:USDT", amount_unit="contract", contract_size=1.0))
    (tmp_path / "a.csv").write_bytes(text(HEADER, *candle_lines(range(5))))
    assert import_path(connection, tmp_path / "a.csv", exchange=exchange, symbol="BTC/USDT:USDT").inserted == 5


def test_what_retention_would_drop_is_refused_unless_forced(connection: Connection, exchange: str, tmp_path: Path):
    old = [line.replace(str(START_MS), "1514937600000") for line in candle_lines([0])]  # in 2018
    (tmp_path / "a-1m.csv").write_bytes(text(HEADER, *old))
    file = understood(connection, tmp_path / "a-1m.csv", exchange=exchange, symbol="BTC/USDT")
    with pytest.raises(BeyondRetention, match="--force"):
        import_file(connection, file)
    assert rows_of(connection, exchange) == []
    assert import_file(connection, file, force=True).inserted == 1


# Recorded files


def recorded(name: str) -> Path:
    path = RECORDED / name
    if not path.exists():
        pytest.skip(f"no recorded data at {path}")
    return path


def stored_frame(connection: Connection, exchange: str) -> pd.DataFrame:
    columns = ["time", *HEADER.split(",")[1:]]
    return pd.DataFrame(rows_of(connection, exchange), columns=pd.Index(columns)).astype(
        {"time": "datetime64[us, UTC]"}
    )


def test_recorded_feather_is_as_pandas_reads_it(connection: Connection, exchange: str):
    path = recorded("binance_usdm_1m/BTC_USDT_USDT-1m-futures.feather")
    result = import_path(connection, path, exchange=exchange)
    expected = pd.read_feather(path).rename(columns={"date": "time"}).astype({"time": "datetime64[us, UTC]"})
    assert result == ImportResult(rows=43_199, inserted=43_199)
    pd.testing.assert_frame_equal(stored_frame(connection, exchange), expected, check_exact=True)


def test_recorded_csv_of_lean_is_as_pandas_reads_it(connection: Connection, exchange: str):
    path = recorded("coinbase_1m/btcusd_20180404_1m.csv.gz")
    import_path(connection, path, exchange=exchange, symbol="BTC/USD")
    names = HEADER.split(",")
    expected = pd.read_csv(path, names=names)
    floats = dict.fromkeys(names[1:], "float64")
    times = pd.Timestamp("2018-04-04", tz="UTC") + pd.to_timedelta(expected["time"], unit="ms")
    expected = expected.astype(floats).assign(time=times.astype("datetime64[us, UTC]"))
    assert len(expected) == 1007
    pd.testing.assert_frame_equal(stored_frame(connection, exchange), expected, check_exact=True)


def test_recorded_json_is_as_pandas_reads_it(connection: Connection, exchange: str):
    path = recorded("binance_spot_1m/BTCUSDT_2021-02-19_1week.json.gz")
    import_path(connection, path, exchange=exchange, symbol="BTC/USDT")
    frame = pd.read_json(path, dtype=False)
    expected = pd.DataFrame({name: frame[name].map(float) for name in HEADER.split(",")[1:]})
    expected.insert(
        0, "time", pd.to_datetime(frame["openTimeInMillis"], unit="ms", utc=True).astype("datetime64[us, UTC]")
    )
    assert len(expected) == 10_080
    pd.testing.assert_frame_equal(stored_frame(connection, exchange), expected, check_exact=True)
