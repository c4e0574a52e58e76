"""A migrated embedded database and a sandbox exchange of the command line's own, and ways to run it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tapehouse import embedded
from tapehouse.cli import main
from tapehouse.sandbox import Sandbox, generated_markets
from tapehouse.store.connection import connect
from tapehouse.store.migrate import migrate

Cli = Callable[..., Result]
Program = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def cli_data_dir(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    data_dir = tmp_path_factory.mktemp("cli") / "data"
    with embedded.running(data_dir) as status:
        assert status.url is not None
        with connect(status.url) as connection:
            migrate(connection)
        yield data_dir


@pytest.fixture(scope="session")
def shared_sandbox() -> Generator[Sandbox]:
    with Sandbox(generated_markets(seed=7)) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared_sandbox: Sandbox) -> Generator[Sandbox]:
    yield shared_sandbox
    shared_sandbox.faults.clear()


@pytest.fixture
def environment(cli_data_dir: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user's shell would hold: a data folder with a running database, and an exchange."""
    monkeypatch.delenv("TAPEHOUSE_DATABASE_URL", raising=False)
    monkeypatch.setenv("TAPEHOUSE_DATA_DIR", str(cli_data_dir))
    monkeypatch.setenv("TAPEHOUSE_EXCHANGE_URL", sandbox.url)


@pytest.fixture
def cli(environment: None) -> Cli:
    """Run a command in this process."""

    def run(*arguments: str, **options: Any) -> Result:
        return CliRunner().invoke(main, arguments, **options)

    return run


@pytest.fixture
def program(environment: None) -> Program:
    """Run a command as a program of its own."""

    def run(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "tapehouse", *arguments],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def json_of(result: Result) -> Any:
    """The one JSON document on stdout."""
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)
