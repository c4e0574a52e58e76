"""Import where a file holds less than it seems to: what is not known of it is not covered, and nothing is guessed."""

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest

from tapehouse.errors import InputError
from tapehouse.files.found import find_data_files
from tapehouse.files.json_values import json_values
from tapehouse.files.markets import find_symbols
from tapehouse.files.rows import portions_in_order
from tapehouse.files.tables import open_table
from tapehouse.files.understanding import Options, understand
from tapehouse.store.connection import Connection
from tests.files.importing import (
    HEADER,
    START_MS,
    candle_line,
    candle_lines,
    coverage_of,
    import_path,
    reasons_of,
    rows_of,
    text,
    trade_line,
    zipped,
)

START = datetime(2025, 1, 3, tzinfo=UTC)
DAY, MINUTE, SECOND = timedelta(days=1), timedelta(minutes=1), timedelta(seconds=1)
MILLISECOND = timedelta(milliseconds=1)
TRADES_HEADER = "timestamp,id,side,price,amount"
BTC = {"symbol": "BTC/USDT"}


def kline(minute: int, *, time: str | None = None) -> str:
    opened = START_MS + minute * 60_000
    return f"{opened if time is None else time},100.25,101.5,99.75,100.5,1.5,{opened + 59_999},0,1,0.5,50.1,0"


# Lines that are no rows


@pytest.mark.parametrize("bad", ["1735862,cut", kline(5, time="")], ids=["too few cells", "no time"])
def test_a_line_lost_from_a_binance_day_is_not_known_to_be_empty(
    connection: Connection, exchange: str, tmp_path: Path, bad: str
):
    path = tmp_path / "BTCUSDT-1m-2025-01-03.zip"
    path.write_bytes(zipped("a.csv", text(*map(kline, range(5)), bad, *map(kline, range(6, 1440)))))
    assert import_path(connection, path, exchange=exchange, **BTC).rejected == 1
    assert coverage_of(connection, exchange) == [(START, START + 5 * MINUTE), (START + 6 * MINUTE, START + DAY)]


@pytest.mark.parametrize("lost", [10, 49_999, 50_000, 75_000, 119_999])
def test_a_trade_lost_is_missed_where_it_was(connection: Connection, exchange: str, tmp_path: Path, lost: int):
    count = 120_000
    lines = [trade_line(number) for number in range(count)]
    lines[lost] = "1735"
    (tmp_path / "a.csv").write_bytes(text(TRADES_HEADER, *lines))
    import_path(connection, tmp_path / "a.csv", exchange=exchange, **BTC)
    assert reasons_of(connection, exchange) == {"not_a_row": 1}
    before, after = START + (lost - 1) * SECOND, START + (lost + 1) * SECOND + MILLISECOND
    end = START + (count - 1) * SECOND + MILLISECOND
    ranges = [(START, before), (after, end)] if lost < count - 1 else [(START, before)]
    assert coverage_of(connection, exchange) == ranges


def test_a_line_lost_between_trades_out_of_order_may_be_as_far(connection: Connection, exchange: str, tmp_path: Path):
    lines = [trade_line(number) for number in (0, 1, 4, 3, 2, 5, 6, 7, 8, 9)]
    (tmp_path / "a.csv").write_bytes(text(TRADES_HEADER, *lines[:7], "1735", *lines[7:]))
    import_path(connection, tmp_path / "a.csv", exchange=exchange, **BTC)
    # A row is two seconds behind another, so this one may be as far from its neighbours at 6 and 7 s.
    assert coverage_of(connection, exchange) == [(START, START + 4 * SECOND)]


def test_a_file_of_lines_that_are_no_rows_is_held_a_block_at_a_time(tmp_path: Path):
    lines = [*candle_lines(range(3)), *["cut" * 100] * 60_000, *candle_lines(range(3, 6))]
    (tmp_path / "a.csv").write_bytes(text(HEADER, *lines))
    table = open_table(tmp_path / "a.csv")
    sizes = [(len(batch.rows), len(batch.misshapen)) for batch in table.batches()]
    assert [sum(column) for column in zip(*sizes, strict=True)] == [6, 60_000]
    assert max(misshapen for _, misshapen in sizes) < 30_000


# JSON


def test_lists_of_json_may_be_far_apart():
    between = b" " * (1 << 20)
    assert list(json_values(BytesIO(b"[[1]]" + between + b"\n[[2]]" + between), "a.json")) == [[1], [2]]
    with pytest.raises(InputError, match="goes on with no list"):
        list(json_values(BytesIO(b"[[1]]" + between + b"x"), "a.json"))


def test_a_key_that_the_first_object_lacks_is_read(connection: Connection, exchange: str, tmp_path: Path):
    facts = {"price": 100.25, "amount": 0.125}
    rows = [{"timestamp": START_MS + number, "id": number, **facts, "side": "sell"} for number in range(3)]
    del rows[0]["side"]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    import_path(connection, tmp_path / "a.json", exchange=exchange, **BTC)
    assert [row[4] for row in rows_of(connection, exchange, "trade_view")] == ["unknown", "sell", "sell"]


# Times


def test_candles_that_were_open_when_the_file_was_written_are_rejected(
    connection: Connection, exchange: str, tmp_path: Path
):
    path = tmp_path / "a.csv"
    path.write_bytes(text(HEADER, *candle_lines(range(4))))
    written_s = START_MS / 1000 + 3 * 60 + 20
    os.utime(path, (written_s, written_s))
    import_path(connection, path, exchange=exchange, **BTC)
    assert [row[0] for row in rows_of(connection, exchange)] == [START, START + MINUTE, START + 2 * MINUTE]
    assert reasons_of(connection, exchange) == {"time_outside_window": 1}
    assert coverage_of(connection, exchange) == [(START, START + 3 * MINUTE)]


@pytest.mark.parametrize("name", ["closed", "is_closed", "x"])
def test_candles_that_the_file_says_were_open_are_rejected(
    connection: Connection, exchange: str, tmp_path: Path, name: str
):
    states = ["true", "false", "", "1", "0"]
    lines = [f"{candle_line(minute)},{state}" for minute, state in enumerate(states)]
    # One of them comes again when it has closed.
    (tmp_path / "a.csv").write_bytes(text(f"{HEADER},{name}", *lines, f"{candle_line(4)},true"))
    import_path(connection, tmp_path / "a.csv", exchange=exchange, **BTC)
    assert reasons_of(connection, exchange) == {"candle_not_closed": 2}
    assert coverage_of(connection, exchange) == [(START, START + MINUTE), (START + 2 * MINUTE, START + 5 * MINUTE)]


@pytest.mark.parametrize("ahead", [timedelta(days=2), timedelta(days=20_000)])
def test_trades_ahead_of_time_cover_nothing(connection: Connection, exchange: str, tmp_path: Path, ahead: timedelta):
    time_ms = int((datetime.now(UTC) + ahead).timestamp() * 1000)
    lines = [trade_line(0), trade_line(1), trade_line(50, time_ms=time_ms), trade_line(2), trade_line(3)]
    (tmp_path / "a.csv").write_bytes(text(TRADES_HEADER, *lines))
    import_path(connection, tmp_path / "a.csv", exchange=exchange, **BTC)
    assert len(rows_of(connection, exchange, "trade_view")) == 4
    assert len(reasons_of(connection, exchange)) == 1
    # The trade ahead stood between those of the first and the second second.
    assert coverage_of(connection, exchange) == [
        (START, START + SECOND),
        (START + 2 * SECOND + MILLISECOND, START + 3 * SECOND + MILLISECOND),
    ]


def test_a_day_that_is_not_over_is_not_vouched_for(connection: Connection, exchange: str, tmp_path: Path):
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    opened_ms = int(day.timestamp() * 1000) - 120_000
    path = tmp_path / f"BTCUSDT-1m-{day:%Y-%m}.zip"
    rows = [kline(0, time=str(opened_ms)), kline(0, time=str(opened_ms + 60_000))]
    path.write_bytes(zipped("a.csv", text(*rows)))
    import_path(connection, path, exchange=exchange, **BTC)
    assert coverage_of(connection, exchange) == [(day - 2 * MINUTE, day)]


def test_microseconds_within_a_millisecond_stay_in_one_batch(connection: Connection, exchange: str, tmp_path: Path):
    count = 60_000
    # A batch of 50,000 rows ends between two trades of one millisecond.
    times = [(START_MS + number // 8) * 1000 + number % 8 * 100 for number in range(count)]
    lines = [f"{time},{number},buy,100.25,0.125" for number, time in enumerate(times)]
    path = tmp_path / "a.csv"
    path.write_bytes(text(TRADES_HEADER, *lines))
    file = understand(path, Options(exchange=exchange, symbol="BTC/USDT"), known_symbols=lambda _: [])
    milliseconds = [set((portion.times_ms // 1).tolist()) for portion in portions_in_order(file)]
    assert len(milliseconds) > 1
    assert sum(map(len, milliseconds)) == count // 8


# Two files


def test_trades_of_one_millisecond_may_be_in_two_files(connection: Connection, exchange: str, tmp_path: Path):
    times_ms = [START_MS, START_MS + 5, START_MS + 5, START_MS + 9]
    lines = [trade_line(number, time_ms=time_ms) for number, time_ms in enumerate(times_ms)]
    (tmp_path / "a.csv").write_bytes(text(TRADES_HEADER, *lines[:2]))
    (tmp_path / "b.csv").write_bytes(text(TRADES_HEADER, *lines[2:]))
    for name in ("a.csv", "b.csv"):
        import_path(connection, tmp_path / name, exchange=exchange, **BTC)
    assert len(rows_of(connection, exchange, "trade_view")) == 4


# Markets and folders


@pytest.mark.parametrize(
    ("market", "found"),
    [
        ("BTCUSD_PERP", ["BTC/USD:BTC"]),
        ("BTCUSDT_250328", ["BTC/USDT:USDT-250328"]),
        ("BTCUSDT", ["BTC/USDT", "BTC/USDT:USDT"]),
        ("BTCUSDT_250627", []),
    ],
)
def test_contracts_of_binance_are_found_by_their_names(market: str, found: Sequence[str]):
    symbols = ["BTC/USD", "BTC/USD:BTC", "BTC/USDT", "BTC/USDT:USDT", "BTC/USDT:USDT-250328", "BTC/USD:BTC-250328"]
    assert find_symbols(market, symbols, is_derivative=None) == found


def test_links_that_lead_in_a_circle_are_not_followed(tmp_path: Path):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a.csv").write_bytes(text(HEADER, candle_line(0)))
    (tmp_path / "below" / "back").symlink_to(tmp_path)
    (tmp_path / "itself").symlink_to(tmp_path / "itself")
    assert find_data_files(tmp_path) == [tmp_path / "below" / "a.csv"]


def test_a_pipe_is_refused(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        find_data_files(tmp_path / "pipe")
