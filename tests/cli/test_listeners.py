"""Whatever listens does so on this machine alone."""

from typing import Final

import psutil

from tapehouse import embedded
from tests.cli.conftest import Program

LOOPBACK: Final = {"127.0.0.1"}


def listeners(pid: int) -> set[str]:
    """The addresses at which a process and those that it started wait for connections."""
    process = psutil.Process(pid)
    return {
        connection.laddr.ip
        for one in (process, *process.children(recursive=True))
        for connection in one.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN or not connection.raddr
    }


def test_the_embedded_database_listens_on_this_machine_alone(database: embedded.EmbeddedStatus) -> None:
    assert database.pid is not None
    assert listeners(database.pid) == LOOPBACK


def test_the_sandbox_listens_on_this_machine_alone(program: Program) -> None:
    sandbox = program("sandbox", "--port", "0")
    assert sandbox.stdout is not None
    assert "http://127.0.0.1:" in sandbox.stdout.readline()

    assert listeners(sandbox.pid) == LOOPBACK
