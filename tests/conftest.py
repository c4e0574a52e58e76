"""Fixtures that more than one folder of tests uses."""

import os
from collections.abc import Generator

import hypothesis
import pytest

from tapehouse import embedded
from tapehouse.sandbox import Sandbox, generated_markets
from tapehouse.store.connection import connect
from tapehouse.store.migrate import migrate

# Examples that fail are found within a few dozen; slow machines are no failures.
hypothesis.settings.register_profile("tapehouse", max_examples=50, deadline=None)
hypothesis.settings.load_profile("tapehouse")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the campaigns: while one of them runs for minutes there is enough left to run beside it."""
    campaigns = {item.path for item in items if item.get_closest_marker("campaign")}
    items.sort(key=lambda item: item.path not in campaigns)


# Databases of this process alone, which tests of several files share.
_own_urls: list[str] = []


@pytest.fixture(scope="module", autouse=True)
def nothing_stale() -> None:
    """Nothing that other files' tests wrote waits for a refresh, which would take longer with each file."""
    for url in _own_urls:
        with connect(url) as connection:
            connection.execute("delete from stale_rollup")
            connection.execute("delete from stale_feature")


@pytest.fixture(scope="session")
def embedded_url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """The URL of an embedded database that lives as long as the test session."""
    with embedded.running(tmp_path_factory.mktemp("embedded")) as status:
        assert status.url is not None
        yield status.url


@pytest.fixture(scope="session")
def server_url(request: pytest.FixtureRequest) -> str:
    """The database of the store tests: TAPEHOUSE_TEST_URL if it is set, else the embedded one."""
    return os.environ.get("TAPEHOUSE_TEST_URL") or request.getfixturevalue("embedded_url")


@pytest.fixture(scope="session")
def store_url(server_url: str) -> str:
    """The same database, migrated; tests keep apart by instruments of their own."""
    with connect(server_url) as connection:
        migrate(connection)
    if "TAPEHOUSE_TEST_URL" not in os.environ:
        _own_urls.append(server_url)
    return server_url


@pytest.fixture(scope="session")
def shared_sandbox() -> Generator[Sandbox]:
    """A sandbox exchange that lives as long as the test session."""
    with Sandbox(generated_markets(seed=7)) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared_sandbox: Sandbox) -> Generator[Sandbox]:
    """The same exchange, sound again after the test."""
    yield shared_sandbox
    shared_sandbox.faults.clear()
    shared_sandbox.latency_ms = 0
