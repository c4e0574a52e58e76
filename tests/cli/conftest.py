"""A migrated embedded database and a sandbox exchange of the command line's own, and two ways to run it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner, Result
from psycopg.conninfo import make_conninfo

from tapehouse import embedded
from tapehouse.cli import main
from tapehouse.sandbox import Sandbox
from tapehouse.store.connection import connect
from tapehouse.store.migrate import migrate

Cli = Callable[..., Result]
Program = Callable[..., "subprocess.Popen[str]"]
_PROGRAM: Final = Path(sys.executable).with_name("tapehouse")


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Generator[embedded.EmbeddedStatus]:
    with embedded.running(tmp_path_factory.mktemp("cli") / "data") as status:
        with connect(status.url or "") as connection:
            migrate(connection)
        yield status


@pytest.fixture(scope="session")
def empty_url(database: embedded.EmbeddedStatus) -> str:
    """Tables in which nothing is stored, in a schema of their own."""
    url = make_conninfo(database.url or "", options="-c search_path=nothing_stored,public")
    with connect(url) as connection:
        connection.execute("create schema nothing_stored")
        migrate(connection, [])
        migrate(connection)
    return url


@pytest.fixture(autouse=True)
def environment(database: embedded.EmbeddedStatus, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user's shell would hold: a data folder with a running database, and an exchange."""
    monkeypatch.delenv("TAPEHOUSE_DATABASE_URL", raising=False)
    monkeypatch.setenv("TAPEHOUSE_DATA_DIR", str(database.data_dir))
    monkeypatch.setenv("TAPEHOUSE_EXCHANGE_URL", sandbox.url)


@pytest.fixture
def cli() -> Cli:
    """Run a command in this process."""

    def run(*arguments: str, **options: Any) -> Result:
        return CliRunner().invoke(main, arguments, **options)

    return run


@pytest.fixture
def program() -> Generator[Program]:
    """Start a command as a program of its own, with pipes for stdout and stderr."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **options: Any) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [_PROGRAM, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            # A shell that runs the tests in the background lets them and their children ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            **options,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
