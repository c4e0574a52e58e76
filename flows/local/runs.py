"""Runs of flows whose process is gone or that were missed, and the end of processes whose worker is gone.

A worker that is killed leaves its runs as they are: shown as running, in the place that the next one needs. On
one machine it can be told which of them live; elsewhere the heartbeats of `flows.alerts` do, a little later.
"""

from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import psutil

from tapehouse.errors import ServiceError

_RUN_ID: Final = "PREFECT__FLOW_RUN_ID"
_HOME: Final = "PREFECT_HOME"
_STOP_S: Final = 10.0
_AT_MOST: Final = 200


def crash_dead_runs(api_url: str, work_pool: str) -> int:
    """Mark as crashed the runs of the pool that no process of this machine works at any more; how many there were."""
    alive = {environment[_RUN_ID] for environment, _ in _at_work()}
    with _prefect(api_url) as api:
        dead = [run["id"] for run in _unfinished(api, work_pool) if run["id"] not in alive]
        for run_id in dead:
            state = {"type": "CRASHED", "message": "Its process is gone: it ended with its worker."}
            api.post(f"/flow_runs/{run_id}/set_state", json={"state": state, "force": True}).raise_for_status()
    return len(dead)


def skip_missed_runs(api_url: str, work_pool: str) -> int:
    """Take away what was to run while nothing did, but for the last of each deployment; gives how many there were."""
    skipped = 0
    due = {"state": {"type": {"any_": ["SCHEDULED"]}}, "expected_start_time": {"before_": _now()}}
    with _prefect(api_url) as api:
        while missed := _missed(_runs(api, work_pool, due)):
            for run_id in missed:
                api.delete(f"/flow_runs/{run_id}").raise_for_status()
            skipped += len(missed)
    return skipped


def worker_polls(api_url: str, work_pool: str, *, since: datetime) -> bool:
    """Whether a worker has asked for runs of the pool since then, as far as the server answers."""
    try:
        answer = httpx.post(f"{api_url}/work_pools/{work_pool}/workers/filter", json={}, timeout=30).raise_for_status()
    except httpx.HTTPError:
        return False
    workers: list[dict[str, Any]] = answer.json()
    return any(datetime.fromisoformat(one["last_heartbeat_time"]) > since for one in workers)


def end_runs(prefect_home: Path) -> None:
    """End the processes that work at runs of a worker with that home, as a killed one leaves behind; asks no server."""
    processes = [process for environment, process in _at_work() if environment.get(_HOME) == str(prefect_home)]
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, still_there = psutil.wait_procs(processes, timeout=_STOP_S)
    for process in still_there:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(still_there, timeout=_STOP_S)


@contextmanager
def _prefect(api_url: str) -> Generator[httpx.Client]:
    try:
        with httpx.Client(base_url=api_url, timeout=30) as api:
            yield api
    except httpx.HTTPError as error:
        raise ServiceError(f"The Prefect server at {api_url} does not do as it is asked: {error}.") from error


def _unfinished(api: httpx.Client, work_pool: str) -> list[dict[str, Any]]:
    return _runs(api, work_pool, {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}})


def _runs(api: httpx.Client, work_pool: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
    pool = {"name": {"any_": [work_pool]}}
    body = {"flow_runs": asked, "work_pools": pool, "sort": "EXPECTED_START_TIME_DESC", "limit": _AT_MOST}
    return api.post("/flow_runs/filter", json=body).raise_for_status().json()


def _missed(due: list[dict[str, Any]]) -> list[str]:
    """Of runs that are due, the newest first: those that their schedule has made another one after."""
    kept: set[str | None] = set()
    missed: list[str] = []
    for run in due:
        if run["auto_scheduled"] and run["deployment_id"] in kept:
            missed.append(run["id"])
        kept.add(run["deployment_id"])
    return missed


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _at_work() -> list[tuple[dict[str, str], psutil.Process]]:
    """The processes of this machine that work at runs, with their environments, which say so."""
    found: list[tuple[dict[str, str], psutil.Process]] = []
    for process in psutil.process_iter():
        # Of other users' processes, and of those that are ending, it can't be read.
        with suppress(psutil.Error):
            environment = process.environ()
            if _RUN_ID in environment:
                found.append((environment, process))
    return found
