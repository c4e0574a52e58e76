"""A database, a sandbox exchange and a Prefect server of this folder's own, each for the whole session."""

import os
from collections.abc import AsyncGenerator, Generator
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from tapehouse import embedded
from tapehouse.sandbox import Sandbox, generated_markets
from tapehouse.store.connection import Connection, connect
from tapehouse.store.migrate import migrate
from tests.flows.services import PrefectServer, prefect_server


@pytest.fixture(scope="session")
def shared_sandbox() -> Generator[Sandbox]:
    with Sandbox(generated_markets(seed=7)) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared_sandbox: Sandbox) -> Generator[Sandbox]:
    yield shared_sandbox
    shared_sandbox.faults.clear()


@pytest.fixture(scope="session")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with embedded.running(tmp_path_factory.mktemp("flows-database")) as status:
        assert status.url is not None
        with connect(status.url) as connection:
            migrate(connection)
        yield status.url


@pytest.fixture
def database(database_url: str) -> Generator[Connection]:
    with connect(database_url) as connection:
        yield connection


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, database_url: str, sandbox: Sandbox) -> None:
    """This process' environment names the folder's database and exchange."""
    monkeypatch.setenv("TAPEHOUSE_DATABASE_URL", database_url)
    monkeypatch.setenv("TAPEHOUSE_EXCHANGE_URL", sandbox.url)


@pytest.fixture(scope="session")
def server(
    tmp_path_factory: pytest.TempPathFactory, database_url: str, shared_sandbox: Sandbox
) -> Generator[PrefectServer]:
    """A real Prefect server, which the flows called in this process use too."""
    home = tmp_path_factory.mktemp("prefect")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "TAPEHOUSE_"))}
    urls = {"TAPEHOUSE_DATABASE_URL": database_url, "TAPEHOUSE_EXCHANGE_URL": shared_sandbox.url}
    with (
        prefect_server(home, inherited | urls) as server,
        temporary_settings({PREFECT_API_URL: server.api_url, PREFECT_HOME: home}),
    ):
        yield server
