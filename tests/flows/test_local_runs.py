"""What becomes of runs whose worker was killed, on a real Prefect server and with real processes."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack
from datetime import UTC, datetime
from fcntl import LOCK_EX, LOCK_SH, flock
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
from click.testing import CliRunner

from flows.local import runs
from flows.local.__main__ import main
from flows.local.daemon import Daemon
from flows.local.runs import crash_dead_runs, end_runs, skip_missed_runs, worker_polls
from flows.local.stack import Stack
from tapehouse.errors import ServiceError
from tests.flows.services import PrefectServer

POOL: Final = "local-runs"
_DUE_WITHIN_S: Final = 60.0

AtWork = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def at_work() -> Generator[AtWork]:
    """Starts a process that works at a run, as far as its environment says."""
    with ExitStack() as stack:

        def start(home: Path, *, run_id: str | None = None) -> "subprocess.Popen[bytes]":
            marks = {"PREFECT_HOME": str(home), "PREFECT__FLOW_RUN_ID": run_id or str(uuid4())}
            command = [sys.executable, "-c", "import time; time.sleep(600)"]
            process = stack.enter_context(subprocess.Popen(command, env={**os.environ, **marks}))
            stack.callback(process.kill)
            return process

        yield start


@pytest.fixture(scope="module")
def deployment(server: PrefectServer) -> dict[str, Any]:
    """A deployment on a pool that no worker looks at."""
    server.post("/work_pools/", {"name": POOL, "type": "process"})
    flow_id = server.post("/flows/", {"name": "left-alone"})["id"]
    return server.post("/deployments/", {"name": "never", "flow_id": flow_id, "work_pool_name": POOL})


def test_what_a_killed_worker_left_is_ended_without_a_server(tmp_path: Path, at_work: AtWork) -> None:
    left, of_others = at_work(tmp_path / "ours"), at_work(tmp_path / "others")

    end_runs(tmp_path / "ours")

    left.wait(timeout=10)
    assert of_others.poll() is None


def test_a_run_is_dead_whose_process_is_gone(
    server: PrefectServer, deployment: dict[str, Any], tmp_path: Path, at_work: AtWork
) -> None:
    alive, dead = (
        server.post(f"/deployments/{deployment['id']}/create_flow_run", {"state": {"type": "RUNNING"}}) for _ in "12"
    )
    at_work(tmp_path, run_id=alive["id"])

    assert crash_dead_runs(server.api_url, POOL) == 1

    states = {one["id"]: one["state_type"] for one in server.post("/flow_runs/filter", {})}
    assert (states[alive["id"]], states[dead["id"]]) == ("RUNNING", "CRASHED")


def test_of_many_missed_runs_the_last_is_left(
    server: PrefectServer, deployment: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that there are more than one look finds.
    monkeypatch.setattr(runs, "_AT_MOST", 2)
    schedule = {"schedule": {"interval": 1}, "active": True}
    server.post(f"/deployments/{deployment['id']}", {"schedules": [schedule]}, method="PATCH")
    deadline = time.monotonic() + _DUE_WITHIN_S
    while len(_due(server)) < 5 and time.monotonic() < deadline:
        time.sleep(0.5)
    before = _due(server)

    skip_missed_runs(server.api_url, POOL)

    left = _due(server)
    assert len(before) >= 5
    assert left
    assert not set(before[1:]) & set(left)


def _due(server: PrefectServer) -> list[str]:
    """The runs of the pool that are due, the newest first."""
    asked = {
        "state": {"type": {"any_": ["SCHEDULED"]}},
        "expected_start_time": {"before_": datetime.now(UTC).isoformat()},
    }
    pool = {"name": {"any_": [POOL]}}
    body = {"flow_runs": asked, "work_pools": pool, "sort": "EXPECTED_START_TIME_DESC"}
    return [run["id"] for run in server.post("/flow_runs/filter", body)]


def test_a_server_that_is_gone_is_named() -> None:
    gone = "http://127.0.0.1:1/api"
    for asked in (crash_dead_runs, skip_missed_runs):
        with pytest.raises(ServiceError, match=f"The Prefect server at {gone} does not do as it is asked"):
            asked(gone, POOL)
    assert not worker_polls(gone, POOL, since=datetime.now(UTC))


def test_who_asks_whether_it_runs_is_not_taken_for_it(tmp_path: Path) -> None:
    daemon = Daemon("Nobody", tmp_path)
    with (tmp_path / "nobody.lock").open("a") as lock:
        # As another process does that asks at this moment.
        flock(lock, LOCK_SH)
        asked_beside = daemon.is_running()
        flock(lock, LOCK_EX)
        held = daemon.is_running()

    assert (asked_beside, held) == (False, True)


def test_a_port_that_there_is_not_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    refused = CliRunner().invoke(main, ["--home", str(tmp_path / "home"), "up", "--port", "80000"])

    assert refused.exit_code == 2
    assert "80000 is not in the range" in refused.output
    assert not (tmp_path / "home").exists()


def test_what_runs_on_another_port_is_told(tmp_path: Path) -> None:
    server = Daemon("Prefect server", tmp_path)
    server.start(["-c", "import time; time.sleep(600)"], os.environ, port=4300)
    try:
        told = Stack(tmp_path).runs_elsewhere(port=4200, exchange_port=8321)
        again = Stack(tmp_path).runs_elsewhere(port=4300, exchange_port=8321)
    finally:
        server.stop()

    assert told == ["The Prefect server runs on port 4300 already, and stays there: `make down` first, to take 4200."]
    assert again == []
