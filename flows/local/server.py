"""Prefect's server and its pages as a background process, with the settings that tapehouse runs it with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx

from flows.local.daemon import Daemon
from flows.settings import SERVER

HOST: Final = "127.0.0.1"
# The first start makes a database, and machines may be busy.
START_S: Final = 180.0


def prefect_environment(home: Path, port: int) -> dict[str, str]:
    """The settings with which the server runs, and with which programs find it; it keeps its files in that folder."""
    return {
        **SERVER,
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://{HOST}:{port}/api",
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


def start_server(server: Daemon, environment: Mapping[str, str], port: int) -> None:
    """Start the server if it doesn't run, and wait for it; raises ServiceError if it doesn't come up."""
    if not server.is_running():
        # One process, unlike `prefect server start`: nothing outlives it when it is killed.
        app = ["prefect.server.api.server:create_app", "--factory"]
        listening = ["--host", HOST, "--port", str(port), "--log-level", "warning"]
        server.start(["-m", "uvicorn", *app, *listening], environment, port=port)
    server.await_ready(lambda: answers(f"http://{HOST}:{server.port}/api/health"), within_s=START_S)


def answers(url: str) -> bool:
    """Whether something answers there, and well."""
    try:
        return httpx.get(url, timeout=10).is_success
    except httpx.HTTPError:
        return False
