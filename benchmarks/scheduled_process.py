"""What the benchmarks of schedules run in a process of its own, where Prefect finds its server in the environment.

`python -m benchmarks.scheduled_process WAY SERIES` ingests a week of so many series, by the `flow` or by the `library`
alone, and prints the seconds; `python -m benchmarks.scheduled_process tasks MOST` runs each deployment that has a
schedule, at most so many, twice, and prints how many flow runs and task runs an hour their schedules come to when
nothing is behind.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import yaml
from prefect import State
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.server.schemas.schedules import CronSchedule

from flows.ingest_ohlcv import CandleMarkets, ingest_ohlcv
from tapehouse.config import settings_from_environment
from tapehouse.ingest import CandleRequest, Outcome, ingest_batch
from tapehouse.store.connection import connect
from tapehouse.store.features import refresh_features
from tapehouse.store.rollups import refresh_rollups
from tapehouse.timeframe import timeframe

EXCHANGE_ID: Final = "binance"
# What the flow fetches by itself.
_SINCE: Final = timedelta(days=7)
_DEPLOYMENTS: Final = Path(__file__).parents[1] / "prefect.yaml"
# What it takes until the server has stored the last task run of a flow run, as one sees by its count.
_STABLE_S: Final = 4.0
_DATES: Final = 300


class _Unwatched:
    """Who wants to hear nothing."""

    def started(self, outcome: Outcome) -> None: ...
    def progressed(self, outcome: Outcome) -> None: ...
    def ended(self, outcome: Outcome) -> None: ...


def by_flow(symbols: Sequence[str]) -> None:
    """Ingest through the flow, with its tasks, artifacts and states."""
    asyncio.run(ingest_ohlcv([CandleMarkets(exchange=EXCHANGE_ID, symbols=list(symbols))], since=f"{_SINCE.days}d"))


def by_library(symbols: Sequence[str]) -> None:
    """Do the same by the functions that the flow's tasks wrap."""
    settings = settings_from_environment()
    assert settings.database_url is not None
    start = datetime.now(UTC) - _SINCE
    requests = [CandleRequest(symbol, timeframe("1m"), start) for symbol in symbols]
    url, exchange_url = settings.database_url, settings.exchange_url
    outcomes = ingest_batch(EXCHANGE_ID, requests, database_url=url, base_url=exchange_url, watcher=_Unwatched())
    assert all(one.error is None for one in outcomes)
    with connect(url) as connection:
        refresh_rollups(connection)
        refresh_features(connection)


async def runs_an_hour(most: int) -> tuple[float, float]:
    """How many flow runs and task runs an hour the schedules of `prefect.yaml` come to."""
    flow_runs = task_runs = 0.0
    deployments = yaml.safe_load(_DEPLOYMENTS.read_text())["deployments"]
    for deployment in [one for one in deployments if one.get("schedules")][:most]:
        rate = sum([await _an_hour(schedule["cron"]) for schedule in deployment["schedules"]])
        flow_runs += rate
        task_runs += rate * await _tasks_of(deployment)
    return flow_runs, task_runs


async def _an_hour(cron: str) -> float:
    times: Sequence[datetime] = await CronSchedule(cron=cron, timezone="UTC").get_dates(_DATES, start=datetime.now(UTC))
    return (len(times) - 1) * 3600 / (times[-1].timestamp() - times[0].timestamp())


async def _tasks_of(deployment: dict[str, Any]) -> int:
    """The task runs of a flow run of the deployment that follows another one."""
    module, _, name = deployment["entrypoint"].rpartition(".")
    run = getattr(import_module(module), name)
    parameters: dict[str, Any] = deployment.get("parameters", {})
    # Sampling has as many tasks whatever it lasts.
    parameters |= {"lasting": "5s"} if "lasting" in parameters else {}
    await run(**parameters, return_state=True)
    state: State[Any] = await run(**parameters, return_state=True)
    assert state.state_details.flow_run_id is not None
    return await _counted(state.state_details.flow_run_id)


async def _counted(flow_run_id: UUID) -> int:
    async with get_client() as client:
        asked = {"flow_runs": FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])).model_dump(mode="json")}
        count, since_s = -1, time.monotonic()
        while time.monotonic() - since_s < _STABLE_S:
            now: int = (await client._client.post("/task_runs/count", json=asked)).json()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] -- Prefect's client has no count of task runs
            if now != count:
                count, since_s = now, time.monotonic()
            await asyncio.sleep(0.5)
    return count


def main() -> None:
    """Do what the arguments say."""
    if sys.argv[1] == "tasks":
        print(*asyncio.run(runs_an_hour(int(sys.argv[2]))))
        return
    symbols = [f"EXTRA{number:03d}/USDT" for number in range(1, int(sys.argv[2]) + 1)]
    ingest = {"flow": by_flow, "library": by_library}[sys.argv[1]]
    started_s = time.perf_counter()
    ingest(symbols)
    print(time.perf_counter() - started_s)


if __name__ == "__main__":
    main()
