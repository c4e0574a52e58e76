"""Prefect's processes as the tests start them: each ends with the block that started it, stopped by its own id."""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from flows.settings import SERVER

ROOT: Final = Path(__file__).parents[2]
_START_S: Final = 180
_STOP_S: Final = 20.0
_HEARD_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class PrefectServer:
    """A Prefect server on this machine, and the environment in which `prefect` finds it."""

    api_url: str
    environment: Mapping[str, str]

    def python(self, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        """Run Python with these arguments in the checkout, against this server and with these settings besides."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**self.environment, **settings},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def post(self, path: str, body: Mapping[str, Any] | Sequence[Any], *, method: str = "POST") -> Any:
        """What the server's API answers."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.api_url}{path}", json.dumps(body).encode(), headers, method=method)
        for pause_s in (0.5, 1, 2, 4):
            try:
                return _json_answer(request)
            except urllib.error.HTTPError as error:
                # What the server says while another of its services writes to its SQLite.
                if error.code != 503:
                    raise
                error.close()
                time.sleep(pause_s)
        return _json_answer(request)

    def task_runs(self, prefix: str, *, count: int) -> set[str]:
        """Names of the task runs that begin like that, of which the server hears by events: a moment after they end."""
        deadline = time.monotonic() + _HEARD_S
        while True:
            runs = self.post("/task_runs/filter", {"task_runs": {"name": {"like_": prefix}}})
            if len(runs) >= count or time.monotonic() > deadline:
                return {run["name"] for run in runs}
            time.sleep(0.2)

    def latest_artifact(self, key: str) -> dict[str, Any]:
        """The artifact of that key that was published last; its table, progress or picture is under `data`."""
        artifacts = self.post("/artifacts/filter", {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC"})
        data = artifacts[0]["data"]
        return artifacts[0] | {"data": json.loads(data) if isinstance(data, str) and data.startswith("[") else data}


@contextmanager
def background(arguments: list[str], environment: Mapping[str, str], log: Path) -> Generator["subprocess.Popen[bytes]"]:
    """A Python process that runs while the block does; what it says is in the log."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield process
        finally:
            _stop(process)


@contextmanager
def prefect_server(home: Path, port: int, environment: Mapping[str, str]) -> Generator[PrefectServer]:
    """A server with a new database in `home`; `environment` is added to that of its processes."""
    api_url = f"http://127.0.0.1:{port}/api"
    settings = {
        **environment,
        **SERVER,
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": api_url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
        "PREFECT_UI_ENABLED": "false",
    }
    log = home / "server.log"
    command = ["-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with background(command, settings, log) as process:
        deadline = time.monotonic() + _START_S
        while not _answers(f"{api_url}/health"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield PrefectServer(api_url, settings)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End a process, and what it started if that outlives it."""
    try:
        family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    except psutil.NoSuchProcess:
        family = []
    process.terminate()
    _, still_there = psutil.wait_procs(family, timeout=_STOP_S)
    for member in still_there:
        member.kill()
    process.wait()


def _json_answer(request: urllib.request.Request) -> Any:
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def free_port() -> int:
    """A port on which nobody listens at the moment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
