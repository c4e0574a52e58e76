"""TimescaleDB on the embedded engine: the features the library builds on, through ordinary connections."""

import time
from collections.abc import Callable, Generator
from typing import Any, LiteralString

import psycopg
import pytest

Connect = Callable[..., psycopg.Connection[tuple[Any, ...]]]
Connection = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture
def connection(connect: Connect) -> Generator[Connection]:
    """A connection with a hypertable `tried_candle`: 3 days of minutes of two instruments, close is their number."""
    connection = connect()
    connection.execute("""
        CREATE TABLE tried_candle (
            instrument_id int NOT NULL, time timestamptz NOT NULL, close float8 NOT NULL,
            PRIMARY KEY (instrument_id, time)
        )""")
    connection.execute(
        "SELECT create_hypertable('tried_candle', by_range('time', interval '1 day'), create_default_indexes => false)"
    )
    connection.execute("""
        INSERT INTO tried_candle
        SELECT instrument_id, timestamptz '2025-01-01T00:00Z' + minute * interval '1 minute', minute
        FROM generate_series(1, 2) AS instrument_id, generate_series(0, 4319) AS minute""")
    yield connection
    connection.execute("DROP TABLE tried_candle CASCADE")


def test_hypertable_has_a_chunk_a_day(connection: Connection):
    assert connection.execute("SELECT count(*) FROM show_chunks('tried_candle')").fetchone() == (3,)


def test_unnest_upsert(connection: Connection):
    upsert = """
        INSERT INTO tried_candle SELECT 1, * FROM unnest(%s::timestamptz[], %s::float8[])
        ON CONFLICT (instrument_id, time) DO UPDATE SET close = excluded.close"""
    times = [row[0] for row in connection.execute("SELECT time FROM tried_candle WHERE instrument_id = 1 LIMIT 1000")]
    assert connection.execute(upsert, [times, [-1.0] * 1000]).rowcount == 1000
    assert connection.execute("SELECT count(*) FROM tried_candle WHERE close = -1").fetchone() == (1000,)


def test_compressed_chunks_take_upserts(connection: Connection):
    connection.execute("""
        ALTER TABLE tried_candle SET (timescaledb.compress, timescaledb.compress_segmentby = 'instrument_id',
                                timescaledb.compress_orderby = 'time')""")
    connection.execute("SELECT compress_chunk(chunk) FROM show_chunks('tried_candle') AS chunk")
    connection.execute("""
        INSERT INTO tried_candle VALUES (1, '2025-01-02T00:00Z', -1)
        ON CONFLICT (instrument_id, time) DO UPDATE SET close = excluded.close""")
    row = connection.execute("SELECT count(*), min(close) FROM tried_candle").fetchone()
    assert row == (8640, -1)
    compressed = (
        "SELECT count(*) FROM timescaledb_information.chunks WHERE is_compressed AND hypertable_name = 'tried_candle'"
    )
    assert connection.execute(compressed).fetchone() == (3,)


def test_continuous_aggregates_over_each_other(connection: Connection):
    rollups: list[tuple[LiteralString, LiteralString, LiteralString]] = [
        ("tried_candle_1h", "tried_candle", "1 hour"),
        ("tried_candle_1d", "tried_candle_1h", "1 day"),
    ]
    for name, source, width in rollups:
        connection.execute(f"""
            CREATE MATERIALIZED VIEW {name} WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
            SELECT instrument_id, time_bucket('{width}', time) AS time, last(close, time) AS close
            FROM {source} GROUP BY 1, 2 WITH NO DATA""")
        connection.execute(f"CALL refresh_continuous_aggregate('{name}', '2025-01-01', '2025-01-03')")
    rows = connection.execute(
        "SELECT time::text, close FROM tried_candle_1d WHERE instrument_id = 2 ORDER BY 1"
    ).fetchall()
    assert rows == [
        ("2025-01-01 00:00:00+00", 1439),
        ("2025-01-02 00:00:00+00", 2879),
        ("2025-01-03 00:00:00+00", 4319),
    ]


def test_policy_is_run_by_hand(connection: Connection):
    # The engine has no background workers, so nothing runs by itself.
    row = connection.execute("SELECT add_retention_policy('tried_candle', interval '1 day')").fetchone()
    assert row is not None
    assert connection.execute("SELECT count(*) FROM tried_candle").fetchone() == (8640,)
    connection.execute("CALL run_job(%s)", row)
    assert connection.execute("SELECT count(*) FROM tried_candle").fetchone() == (0,)


def test_write_ahead_log_is_kept_short(connection: Connection):
    redo = "SELECT redo_lsn FROM pg_control_checkpoint()"
    before = connection.execute(redo).fetchone()
    connection.execute("""
        SELECT count(pg_logical_emit_message(false, 'filler', message))
        FROM (SELECT repeat('0123456789', 100000) AS message) AS filler, generate_series(1, 150)""")
    deadline = time.monotonic() + 30
    while connection.execute(redo).fetchone() == before:
        assert time.monotonic() < deadline, "no checkpoint within 30 s of writing 150 MB"
        time.sleep(0.2)


def test_deeply_nested_calls_do_not_break_the_engine(connection: Connection):
    # With the stack as it is built, sixty calls overwrite the engine's variables.
    connection.execute("""
        CREATE FUNCTION depth(i int) RETURNS int LANGUAGE plpgsql
        AS 'BEGIN IF i = 0 THEN RETURN 0; END IF; RETURN 1 + depth(i - 1); END'""")
    assert connection.execute("SELECT depth(1000)").fetchone() == (1000,)
    connection.execute("DROP FUNCTION depth")
