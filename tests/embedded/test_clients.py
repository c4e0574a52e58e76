"""What ordinary clients do, done against the embedded server: psycopg in all its ways, and psql."""

import asyncio
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql
from psycopg_pool import AsyncConnectionPool, ConnectionPool

Connect = Callable[..., psycopg.Connection[tuple[Any, ...]]]


def test_connection_tells_that_it_is_the_embedded_engine(connect: Connect):
    info = connect(application_name="a test").info
    assert info.parameter_status("tapehouse.engine") == "pglite"
    assert info.parameter_status("application_name") == "a test"
    assert info.parameter_status("integer_datetimes") == "on"
    assert info.parameter_status("standard_conforming_strings") == "on"
    assert info.parameter_status("server_encoding") == "UTF8"
    assert info.timezone == UTC
    assert info.server_version // 10_000 == 17
    assert info.encoding == "utf-8"


def test_user_and_database_are_those_of_the_url(connect: Connect):
    row = connect().execute("SELECT current_user, current_database(), current_schema()").fetchone()
    assert row == ("tapehouse", "tapehouse", "public")


def test_client_that_would_rather_encrypt_connects_in_clear(connect: Connect):
    connection = connect(sslmode="prefer", gssencmode="prefer")
    assert connection.pgconn.ssl_in_use is False


def test_every_connection_has_a_backend_pid_of_its_own(connect: Connect):
    pids = {connect().info.backend_pid for _ in range(5)}
    assert len(pids) == 5


@pytest.mark.parametrize("binary", [False, True])
def test_values_come_back_as_they_were_sent(connect: Connect, binary: bool):
    values = [1, 2**40, 0.1, "ü ' \\ $1", b"\x00\xff", None, True, [1, 2, None]]
    query = "SELECT %s::int4, %s::int8, %s::float8, %s::text, %s::bytea, %s::text, %s::bool, %s::int4[]"
    assert connect().cursor(binary=binary).execute(query, values).fetchone() == tuple(values)


def test_several_statements_in_one_text(connect: Connect):
    cursor = connect().execute("SELECT 1; SELECT 2; SELECT 3")
    rows = [cursor.fetchone()]
    while cursor.nextset():
        rows.append(cursor.fetchone())
    assert rows == [(1,), (2,), (3,)]


def test_error_rolls_a_simple_text_back(connect: Connect, table: LiteralString):
    connection = connect()
    with pytest.raises(psycopg.errors.DivisionByZero):
        connection.execute(f"INSERT INTO {table} VALUES (1, 1); SELECT 1/0")
    assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_transaction_is_committed_or_rolled_back(connect: Connect, table: LiteralString):
    connection = connect(autocommit=False)
    connection.execute(f"INSERT INTO {table} VALUES (1, 1)")
    connection.rollback()
    connection.execute(f"INSERT INTO {table} VALUES (2, 2)")
    connection.commit()
    assert connect().execute(f"SELECT id FROM {table}").fetchall() == [(2,)]


def test_failed_transaction_refuses_all_but_rollback(connect: Connect):
    connection = connect(autocommit=False)
    with pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("SELECT * FROM no_such_table")
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        connection.execute("SELECT 1")
    connection.rollback()
    assert connection.execute("SELECT 1").fetchone() == (1,)


def test_savepoints(connect: Connect, table: LiteralString):
    connection = connect()
    with connection.transaction():
        connection.execute(f"INSERT INTO {table} VALUES (1, 1)")
        with pytest.raises(psycopg.errors.UniqueViolation), connection.transaction():
            connection.execute(f"INSERT INTO {table} VALUES (1, 2)")
        connection.execute(f"INSERT INTO {table} VALUES (2, 2)")
    assert connection.execute(f"SELECT id, value FROM {table} ORDER BY id").fetchall() == [(1, 1), (2, 2)]


def test_named_cursor_fetches_in_pieces(connect: Connect):
    connection = connect(autocommit=False)
    with connection.cursor("pieces") as cursor:
        cursor.itersize = 7
        cursor.execute("SELECT generate_series(1, 50)")
        assert sum(row[0] for row in cursor) == 1275


def test_rows_streamed_one_by_one(connect: Connect):
    rows = connect().cursor().stream("SELECT generate_series(1, 1000)")
    assert sum(row[0] for row in rows) == 500_500


def test_pipeline_runs_its_statements_in_order(connect: Connect, table: LiteralString):
    connection = connect()
    with connection.pipeline() as pipeline:
        for i in range(50):
            connection.execute(f"INSERT INTO {table} VALUES (%s, %s)", [i, i])
        pipeline.sync()
        cursor = connection.execute(f"SELECT sum(value) FROM {table}")
    assert cursor.fetchone() == (1225,)


def test_pipeline_skips_to_the_sync_after_an_error(connect: Connect, table: LiteralString):
    connection = connect()
    with pytest.raises(psycopg.errors.UniqueViolation), connection.pipeline():  # noqa: PT012 -- it raises at its end
        connection.execute(f"INSERT INTO {table} VALUES (1, 1)")
        connection.execute(f"INSERT INTO {table} VALUES (1, 2)")
        connection.execute(f"INSERT INTO {table} VALUES (3, 3)")
    connection.execute(f"INSERT INTO {table} VALUES (4, 4)")
    assert connection.execute(f"SELECT id FROM {table}").fetchall() == [(4,)]


def test_flush_gives_answers_before_the_sync(connect: Connect):
    pgconn = connect().pgconn
    pgconn.enter_pipeline_mode()
    pgconn.send_query_params(b"SELECT 1", None)
    pgconn.send_flush_request()
    pgconn.flush()
    result = pgconn.get_result()
    assert result is not None
    assert result.get_value(0, 0) == b"1"
    assert pgconn.get_result() is None
    pgconn.send_query_params(b"SELECT 2", None)
    pgconn.pipeline_sync()
    pgconn.flush()
    result = pgconn.get_result()
    assert result is not None
    assert result.get_value(0, 0) == b"2"


def test_executemany(connect: Connect, table: LiteralString):
    connection = connect()
    connection.cursor().executemany(f"INSERT INTO {table} VALUES (%s, %s)", [(i, 2 * i) for i in range(500)])
    assert connection.execute(f"SELECT count(*), sum(value) FROM {table}").fetchone() == (500, 249_500)


@pytest.mark.parametrize("prepare_threshold", [0, 5, None])
def test_prepared_statements_of_several_clients_do_not_meet(connect: Connect, prepare_threshold: int | None):
    # psycopg names them _pg3_0, _pg3_1... in every connection.
    clients = [connect(prepare_threshold=prepare_threshold) for _ in range(4)]
    for turn in range(8):
        for number, client in enumerate(clients):
            statement = sql.SQL("SELECT %s::int + {}").format(sql.Literal(number))
            assert client.execute(statement, [turn]).fetchone() == (turn + number,)


def test_deallocate_all_takes_only_the_own_statements(connect: Connect):
    one, other = connect(), connect()
    for client in (one, other):
        client.execute("PREPARE answer AS SELECT 42")
    one.execute("DEALLOCATE ALL")
    with pytest.raises(psycopg.errors.InvalidSqlStatementName):
        one.execute("EXECUTE answer")
    assert other.execute("EXECUTE answer").fetchone() == (42,)
    other.execute('DEALLOCATE "answer"')
    with pytest.raises(psycopg.errors.InvalidSqlStatementName):
        other.execute("EXECUTE answer")


def test_prepared_statements_go_with_their_client(connect: Connect):
    watcher = connect()
    before = watcher.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
    client = connect(prepare_threshold=0)
    client.execute("SELECT %s::int", [1])
    client.execute("PREPARE another AS SELECT 1")
    client.close()
    # The server notices the end of a connection a moment later, before it serves whoever connects next.
    connect()
    assert watcher.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == before


def test_unnamed_statement_outlives_another_clients_turn(connect: Connect):
    one, other = connect().pgconn, connect().pgconn
    assert one.prepare(b"", b"SELECT 'one'").error_message == b""
    assert other.prepare(b"", b"SELECT 'other'").error_message == b""
    assert one.exec_prepared(b"", []).get_value(0, 0) == b"one"
    assert one.describe_prepared(b"").nfields == 1
    assert other.exec_prepared(b"", []).get_value(0, 0) == b"other"


@pytest.mark.parametrize("copy_format", ["text", "binary"])
def test_copy_out(connect: Connect, copy_format: LiteralString):
    statement = f"COPY (SELECT g, g * 1.5::float8 FROM generate_series(1, 20000) AS g) TO STDOUT (FORMAT {copy_format})"
    with connect().cursor().copy(statement) as copy:
        copy.set_types(["int4", "float8"])
        rows = list(copy.rows())
    assert len(rows) == 20_000
    assert sum(float(row[1]) for row in rows) == 300_015_000


def test_copy_out_in_the_extended_protocol(connect: Connect):
    pgconn = connect().pgconn
    pgconn.send_query_params(b"COPY (SELECT 'one' UNION ALL SELECT 'two') TO STDOUT", None)
    result = pgconn.get_result()
    assert result is not None
    assert result.status == psycopg.pq.ExecStatus.COPY_OUT
    assert [bytes(pgconn.get_copy_data(0)[1]) for _ in range(2)] == [b"one\n", b"two\n"]
    assert pgconn.get_copy_data(0)[0] == -1


def test_copy_out_left_early_leaves_the_engine_usable(connect: Connect):
    connection = connect()
    connection.pgconn.send_query(b"COPY (SELECT generate_series(1, 3000000)) TO STDOUT")
    connection.close()
    assert connect().execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize(
    "statement",
    [
        "COPY {} FROM STDIN",
        "copy {} (id, value) from stdin (format binary)",
        "/* a /* nested */ comment */ COPY -- FROM\n {} FROM /**/ STDIN",
        "COPY {} FROM STDOUT",
        'COPY "{}"("id") FROM STDIN',
        "SELECT ';'; COPY {} FROM STDIN; SELECT 2",
        "SELECT $a$ ; $a$, E'\\'; ' ;COPY {} FROM STDIN",
    ],
)
def test_copy_in_is_refused_and_the_engine_lives(connect: Connect, table: LiteralString, statement: LiteralString):
    connection = connect()
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="no COPY FROM STDIN"):
        connection.execute(statement.format(table))
    with pytest.raises(psycopg.errors.FeatureNotSupported), connection.cursor().copy(f"COPY {table} FROM STDIN"):
        pass
    assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 'COPY t FROM STDIN'",
        "SELECT $$COPY t FROM STDIN$$",
        "SELECT 1 -- ; COPY t FROM STDIN",
        "SELECT 1 /* ; COPY t FROM STDIN */",
        'SELECT 1 AS "; COPY t FROM STDIN"',
        "COPY (SELECT 'FROM STDIN') TO STDOUT",
    ],
)
def test_what_only_looks_like_copy_in_runs(connect: Connect, statement: LiteralString):
    result = connect().pgconn.exec_(statement.encode())
    assert result.error_message == b""


def test_copy_in_is_refused_in_the_extended_protocol_and_fails_the_transaction(connect: Connect, table: LiteralString):
    pgconn = connect().pgconn
    pgconn.exec_(b"BEGIN")
    result = pgconn.exec_params(f"COPY {table} FROM STDIN".encode(), None)
    assert result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"0A000"
    assert pgconn.transaction_status == psycopg.pq.TransactionStatus.INERROR
    pgconn.exec_(b"ROLLBACK")


def test_pool_serves_more_threads_than_connections(embedded_url: str, table: LiteralString):
    pool = ConnectionPool(embedded_url, min_size=3, max_size=3, open=False)

    def insert(number: int) -> None:
        with pool.connection() as connection:
            connection.execute(f"INSERT INTO {table} VALUES (%s, %s)", [number, number])

    with pool, ThreadPoolExecutor(8) as threads:
        list(threads.map(insert, range(60)))
        with pool.connection() as connection:
            assert connection.execute(f"SELECT count(*), sum(value) FROM {table}").fetchone() == (60, 1770)


async def test_async_connections_and_pool(embedded_url: str, table: LiteralString):
    async def insert(pool: AsyncConnectionPool[Any], number: int) -> None:
        async with pool.connection() as connection, connection.pipeline():
            await connection.execute(f"INSERT INTO {table} VALUES (%s, 1)", [number])
            await connection.execute(f"UPDATE {table} SET value = 2 WHERE id = %s", [number])

    async with AsyncConnectionPool(embedded_url, min_size=2, max_size=4, open=False) as pool:
        await asyncio.gather(*(insert(pool, number) for number in range(40)))
        async with pool.connection() as connection:
            cursor = await connection.execute(f"SELECT count(*), sum(value) FROM {table}")
            assert await cursor.fetchone() == (40, 80)


@pytest.mark.skipif(shutil.which("psql") is None, reason="psql is not installed")
def test_psql(embedded_url: str):
    commands = "SELECT 6 * 7 AS answer;\n\\d no_such_table\nSELECT :'x';\n\\copy (SELECT 1, 2) TO STDOUT CSV\n"
    done = subprocess.run(
        ["psql", embedded_url, "-X", "-A", "-t", "-v", "x=given"],
        input=commands,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == ["42", "given", "1,2"]
    assert "Did not find any relation" in done.stderr
