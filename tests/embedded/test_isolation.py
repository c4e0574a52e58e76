"""Many clients over the one session inside: none sees another's transactions, settings, statements or crashes."""

import random
import socket
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, LiteralString

import psycopg
import pytest

Connect = Callable[..., psycopg.Connection[tuple[Any, ...]]]

ACCOUNTS = 10
OPENING_BALANCE = 1000


@pytest.fixture
def accounts(connect: Connect) -> Generator[None]:
    """A table of accounts, and one of the transfers that were confirmed to somebody."""
    connection = connect()
    connection.execute("CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL CHECK (balance >= 0))")
    connection.execute("CREATE TABLE transfer (id text PRIMARY KEY)")
    rows = [(i, OPENING_BALANCE) for i in range(ACCOUNTS)]
    connection.cursor().executemany("INSERT INTO account VALUES (%s, %s)", rows)
    yield
    connection.execute("DROP TABLE account, transfer")


def vanish(connection: psycopg.Connection[Any]) -> None:
    """Close the socket under a connection, as a killed process would."""
    sock = socket.socket(fileno=connection.fileno())
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    sock.shutdown(socket.SHUT_RDWR)
    sock.detach()
    connection.close()


def transfer(connection: psycopg.Connection[Any], rng: random.Random, transfer_id: str) -> None:
    """Move a random amount and record that it happened; may fail on the CHECK."""
    source, target = rng.sample(range(ACCOUNTS), 2)
    amount = rng.randint(1, 700)
    connection.execute("UPDATE account SET balance = balance - %s WHERE id = %s", [amount, source])
    connection.execute("INSERT INTO transfer VALUES (%s)", [transfer_id])
    connection.execute("UPDATE account SET balance = balance + %s WHERE id = %s", [amount, target])


def work(url: str, worker: int) -> tuple[set[str], set[str]]:
    """Transfers of one client; ids of the committed ones and of those that must not be there."""
    rng = random.Random(worker)
    committed: set[str] = set()
    undone: set[str] = set()
    connection = psycopg.connect(url)
    for step in range(25):
        transfer_id = f"{worker}-{step}"
        fate = rng.choice(["commit", "commit", "commit", "rollback", "error", "vanish"])
        try:
            transfer(connection, rng, transfer_id)
            if fate == "error":
                connection.execute("SELECT 1/0")
        except (psycopg.errors.CheckViolation, psycopg.errors.DivisionByZero):
            fate = "rollback"
        if fate == "commit":
            connection.commit()
            committed.add(transfer_id)
            continue
        undone.add(transfer_id)
        if fate == "rollback":
            connection.rollback()
        else:
            vanish(connection)
            connection = psycopg.connect(url)
    connection.close()
    return committed, undone


@pytest.mark.usefixtures("accounts")
def test_sixteen_clients_with_commits_rollbacks_errors_and_kills(embedded_url: str, connect: Connect):
    with ThreadPoolExecutor(16) as threads:
        results = list(threads.map(partial(work, embedded_url), range(16)))
    committed = set[str]().union(*(result[0] for result in results))
    undone = set[str]().union(*(result[1] for result in results))
    connection = connect()
    assert {row[0] for row in connection.execute("SELECT id FROM transfer")} == committed
    assert len(committed) > 50
    assert len(undone) > 50
    assert connection.execute("SELECT sum(balance) FROM account").fetchone() == (ACCOUNTS * OPENING_BALANCE,)


def test_uncommitted_rows_are_never_seen_by_others(connect: Connect, table: LiteralString):
    writer, reader = connect(autocommit=False), connect()
    writer.execute(f"INSERT INTO {table} VALUES (1, 1)")
    seen: list[Any] = []
    thread = threading.Thread(target=lambda: seen.append(reader.execute(f"SELECT count(*) FROM {table}").fetchone()))
    thread.start()
    writer.execute(f"INSERT INTO {table} VALUES (2, 2)")
    writer.rollback()
    thread.join()
    assert seen == [(0,)]


def test_transaction_of_a_vanished_client_is_rolled_back(connect: Connect, table: LiteralString):
    client = connect(autocommit=False)
    client.execute(f"INSERT INTO {table} VALUES (1, 1)")
    vanish(client)
    assert connect().execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_client_that_vanishes_in_mid_pipeline_leaves_the_engine_usable(connect: Connect, table: LiteralString):
    client = connect()
    client.pgconn.enter_pipeline_mode()
    client.pgconn.send_query_params(f"INSERT INTO {table} VALUES (1, 1)".encode(), None)
    client.pgconn.send_query_params(b"SELECT 1/0", None)
    client.pgconn.send_flush_request()
    client.pgconn.flush()
    assert client.pgconn.get_result() is not None
    vanish(client)
    assert connect().execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_client_that_vanishes_during_a_statement_does_not_hold_the_others_up(connect: Connect):
    client = connect()
    client.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 100000000000)")
    vanish(client)
    assert connect().execute("SELECT 1").fetchone() == (1,)


def test_client_idle_in_a_transaction_is_let_go(connect: Connect, table: LiteralString):
    idler = connect(autocommit=False, options="-c idle_in_transaction_session_timeout=300")
    idler.execute(f"INSERT INTO {table} VALUES (1, 1)")
    assert connect().execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
        idler.execute("SELECT 1")
    assert idler.closed


def test_queue_is_fair(connect: Connect, table: LiteralString):
    greedy, patient = connect(), connect()
    done = threading.Event()

    def take_all_the_time() -> None:
        while not done.is_set():
            greedy.execute("SELECT 1")

    thread = threading.Thread(target=take_all_the_time)
    thread.start()
    try:
        for i in range(20):
            patient.execute(f"INSERT INTO {table} VALUES (%s, 1)", [i])
    finally:
        done.set()
        thread.join()
    assert patient.execute(f"SELECT count(*) FROM {table}").fetchone() == (20,)


def test_settings_of_one_client_are_not_anothers(connect: Connect):
    one, other = connect(), connect()
    one.execute("SET timezone = 'Asia/Tokyo'; SET search_path = pg_catalog; SET work_mem = '8MB'")
    assert other.execute("SHOW timezone").fetchone() == ("UTC",)
    assert other.execute("SHOW search_path").fetchone() == ('"$user", public',)
    assert one.execute("SHOW timezone").fetchone() == ("Asia/Tokyo",)
    assert one.execute("SHOW search_path").fetchone() == ("pg_catalog",)
    assert one.execute("SHOW work_mem").fetchone() == ("8MB",)
    assert one.info.parameter_status("TimeZone") == "Asia/Tokyo"
    assert other.info.parameter_status("TimeZone") == "UTC"
    one.execute("RESET ALL")
    assert one.execute("SHOW timezone").fetchone() == ("UTC",)


@pytest.mark.parametrize(
    "statement", ["SET timezone = 'Asia/Tokyo'", "SELECT set_config('timezone', 'Asia/Tokyo', false)"]
)
def test_setting_of_a_rolled_back_transaction_is_gone(connect: Connect, statement: LiteralString):
    client = connect(autocommit=False)
    client.execute(statement)
    client.rollback()
    client.execute(statement)
    client.commit()
    connect().execute("SELECT 1")
    assert client.execute("SHOW timezone").fetchone() == ("Asia/Tokyo",)
    client.rollback()
    client.execute("SET timezone = 'Europe/Rome'")
    client.rollback()
    connect().execute("SELECT 1")
    assert client.execute("SHOW timezone").fetchone() == ("Asia/Tokyo",)


def test_role_of_one_client_is_not_anothers(connect: Connect):
    one, other = connect(), connect()
    other.execute("CREATE ROLE reader")
    try:
        one.execute("SET ROLE reader")
        assert other.execute("SELECT current_user").fetchone() == ("tapehouse",)
        assert one.execute("SELECT current_user, session_user").fetchone() == ("reader", "tapehouse")
        one.execute("RESET ROLE")
        assert one.execute("SELECT current_user").fetchone() == ("tapehouse",)
    finally:
        other.execute("DROP ROLE reader")


def test_options_of_the_connection_are_settings(connect: Connect):
    client = connect(options=r"-c timezone=Asia/Tokyo --search_path=pg_catalog,\ public")
    other = connect()
    assert client.info.parameter_status("TimeZone") == "Asia/Tokyo"
    assert other.execute("SHOW timezone").fetchone() == ("UTC",)
    assert client.execute("SHOW timezone").fetchone() == ("Asia/Tokyo",)
    assert client.execute("SHOW search_path").fetchone() == ("pg_catalog, public",)


def test_wrong_option_is_refused_at_the_door(connect: Connect):
    with pytest.raises(psycopg.OperationalError, match="no_such_setting"):
        connect(options="-c no_such_setting=1")
    assert connect().execute("SELECT 1").fetchone() == (1,)


def test_discard_all_takes_back_what_the_client_did(connect: Connect):
    client = connect()
    client.execute("SET timezone = 'Asia/Tokyo'")
    client.execute("PREPARE answer AS SELECT 42")
    client.execute("LISTEN somewhere")
    client.execute("DISCARD ALL")
    assert client.execute("SHOW timezone").fetchone() == ("UTC",)
    with pytest.raises(psycopg.errors.InvalidSqlStatementName):
        client.execute("EXECUTE answer")
    client.execute("NOTIFY somewhere")
    assert list(client.notifies(timeout=0.1)) == []


def test_temporary_table_goes_with_its_client(connect: Connect):
    client = connect()
    client.execute("CREATE TEMP TABLE scratch (a int)")
    client.close()
    with pytest.raises(psycopg.errors.UndefinedTable):
        connect().execute("SELECT * FROM scratch")


def test_notifications_reach_the_clients_that_listen(connect: Connect):
    listener, deaf, sender = connect(), connect(), connect(autocommit=False)
    listener.execute('LISTEN news; LISTEN "Other News"')
    deaf.execute("LISTEN something")
    sender.execute("NOTIFY news, 'one'")
    sender.execute("""SELECT pg_notify('Other News', 'zwei ü')""")
    sender.commit()
    sender.execute("NOTIFY news, 'never'")
    sender.rollback()
    received = list(listener.notifies(timeout=5, stop_after=2))
    assert [(notify.channel, notify.payload) for notify in received] == [("news", "one"), ("Other News", "zwei ü")]
    assert {notify.pid for notify in received} == {sender.info.backend_pid}
    assert list(deaf.notifies(timeout=0.1)) == []


def test_unlisten_of_one_client_is_not_anothers(connect: Connect):
    one, other = connect(), connect()
    for client in (one, other):
        client.execute("LISTEN news")
    one.execute("UNLISTEN *")
    connect().execute("NOTIFY news, 'x'")
    assert [notify.payload for notify in other.notifies(timeout=5, stop_after=1)] == ["x"]
    assert list(one.notifies(timeout=0.1)) == []


def test_client_hears_itself(connect: Connect):
    client = connect()
    client.execute("LISTEN news")
    client.execute("NOTIFY news, 'me'")
    assert [notify.payload for notify in client.notifies(timeout=5, stop_after=1)] == ["me"]


def test_running_statement_is_cancelled(connect: Connect):
    client = connect()
    timer = threading.Timer(0.3, client.cancel_safe)
    timer.start()
    with pytest.raises(psycopg.errors.QueryCanceled):
        client.execute("SELECT count(*) FROM generate_series(1, 100000000000)")
    timer.join()
    assert client.execute("SELECT 1").fetchone() == (1,)


def test_waiting_statement_is_cancelled(connect: Connect, table: LiteralString):
    holder, waiter = connect(autocommit=False), connect()
    holder.execute("SELECT 1")
    timer = threading.Timer(0.3, waiter.cancel_safe)
    timer.start()
    with pytest.raises(psycopg.errors.QueryCanceled):
        waiter.execute(f"INSERT INTO {table} VALUES (1, 1)")
    timer.join()
    holder.commit()
    assert waiter.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_cancel_with_a_wrong_key_does_nothing(connect: Connect):
    client = connect()
    with socket.create_connection((client.info.host, client.info.port)) as sock:
        body = (80877102).to_bytes(4, "big") + client.info.backend_pid.to_bytes(4, "big") + b"\x00\x00\x00\x01"
        client.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 1000000)")
        sock.sendall((16).to_bytes(4, "big") + body)
        assert sock.recv(1) == b""
    result = client.pgconn.get_result()
    assert result is not None
    assert result.get_value(0, 0) == b"1000000"


def test_statement_timeout_is_kept(connect: Connect):
    client = connect(options="-c statement_timeout=200")
    with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
        client.execute("SELECT count(*) FROM generate_series(1, 100000000000)")
    client.execute("SET statement_timeout = 0")
    assert client.execute("SELECT count(*) FROM generate_series(1, 1000000)").fetchone() == (1_000_000,)


@pytest.mark.parametrize("key", ["7", "-9223372036854775808", "3, 4"])
def test_advisory_lock_of_a_session_excludes_other_clients(connect: Connect, key: LiteralString):
    one, other = connect(), connect()
    take, give = f"SELECT pg_try_advisory_lock({key})", f"SELECT pg_catalog.pg_advisory_unlock({key})"
    assert one.execute(take).fetchone() == (True,)
    assert one.execute(take).fetchone() == (True,)
    assert other.execute(take).fetchone() == (False,)
    assert other.execute(give).fetchone() == (False,)
    assert one.execute(give).fetchone() == (True,)
    assert other.execute(take).fetchone() == (False,)
    assert one.execute(give).fetchone() == (True,)
    assert other.execute(take).fetchone() == (True,)
    with pytest.raises(psycopg.errors.LockNotAvailable):
        one.execute(f"SELECT pg_advisory_lock({key})")


def test_advisory_lock_outlives_a_rollback_and_goes_with_its_client(connect: Connect):
    one, other = connect(autocommit=False), connect(prepare_threshold=0)
    assert one.execute("SELECT pg_try_advisory_lock(%s)", [11]).fetchone() == (True,)
    one.rollback()
    take = "SELECT pg_try_advisory_xact_lock(%s)"
    assert other.execute(take, [11]).fetchone() == (False,)
    one.close()
    assert connect().execute(take, [11]).fetchone() == (True,)
    assert other.execute(take, [11]).fetchone() == (True,)


def test_wrong_password_is_refused(embedded_url: str):
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(embedded_url, password="wrong")


def test_other_database_and_user_are_refused(embedded_url: str):
    with pytest.raises(psycopg.OperationalError, match='database "other" does not exist'):
        psycopg.connect(embedded_url, dbname="other")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(embedded_url, user="postgres")


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00\x00\x00\x01", b"\x7f\xff\xff\xff\x00\x03\x00\x00", b""]
)
def test_garbage_is_shown_the_door(embedded_url: str, connect: Connect, garbage: bytes):
    info = connect().info
    with socket.create_connection((info.host, info.port), timeout=5) as sock:
        sock.sendall(garbage)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1000) == b""
    assert connect().execute("SELECT 1").fetchone() == (1,)


def test_slow_reader_does_not_lose_rows(connect: Connect):
    client = connect()
    with client.cursor().copy("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 50000)) TO STDOUT") as copy:
        read_bytes = 0
        for number, block in enumerate(copy):
            read_bytes += len(block)
            if number < 5:
                time.sleep(0.05)
    assert read_bytes == 50_000 * 1001
