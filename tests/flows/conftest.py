"""A database, a sandbox exchange and a Prefect server of this folder's own, each for the whole session."""

import gc
import os
import warnings
from collections.abc import Generator

import pytest
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogHandler
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW, temporary_settings

from tapehouse import embedded
from tapehouse.sandbox import Sandbox
from tapehouse.store.connection import Connection, connect
from tapehouse.store.migrate import migrate
from tests.flows.services import PrefectServer, free_port, prefect_server


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
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, database_url: str, shared_sandbox: Sandbox
) -> Generator[PrefectServer]:
    """A real Prefect server, which the flows called in this process use too."""
    home, port = tmp_path_factory.mktemp("prefect"), free_port()
    _ignore_open_sockets(request.config, port)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "TAPEHOUSE_"))}
    urls = {"TAPEHOUSE_DATABASE_URL": database_url, "TAPEHOUSE_EXCHANGE_URL": shared_sandbox.url}
    with (
        prefect_server(home, port, inherited | urls) as server,
        temporary_settings(
            {
                PREFECT_API_URL: server.api_url,
                PREFECT_HOME: home,
                # Tasks called outside a flow have no run to which the server could add their log lines.
                PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW: "ignore",
            }
        ),
    ):
        yield server
        APILogHandler().flush()
        EventsWorker.drain_all()
        # What Prefect leaves open goes now, while its warnings are ignored.
        gc.collect()


def _ignore_open_sockets(config: pytest.Config, port: int) -> None:
    """Prefect's client leaves its connections to the server to the garbage collector, which warns of them."""
    message = rf"unclosed <socket\.socket .*'127\.0\.0\.1', {port}"
    warnings.filterwarnings("ignore", message, ResourceWarning)
    config.addinivalue_line("filterwarnings", f"ignore:{message}:ResourceWarning")
