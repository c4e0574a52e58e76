"""Whatever listens does so on this machine alone."""

import re
import signal
import urllib.request
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


def test_metrics_are_served_on_this_machine_alone_until_they_are_stopped(
    program: Program, database: embedded.EmbeddedStatus
) -> None:
    metrics = program("metrics", "--port", "0", "--url", database.url or "")
    assert metrics.stderr is not None
    url = re.findall(r"http://127.0.0.1:\d+/metrics", metrics.stderr.readline())[0]
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert b"tapehouse_up 1.0" in answer.read()

    assert listeners(metrics.pid) == LOOPBACK
    metrics.send_signal(signal.SIGINT)
    assert metrics.wait(30) == 0
