"""The schedule that a run belongs to: when the next run of the same deployment is due."""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.runtime import deployment

_WAITING: Final = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))


async def next_run_due(after: datetime) -> datetime | None:
    """When, after that time, the next run of this run's deployment is due; None where there is no such run."""
    deployment_id = deployment.id
    if deployment_id is None:
        return None
    async with get_client() as client:
        runs = await client.read_flow_runs(
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[UUID(deployment_id)])),
            flow_run_filter=FlowRunFilter(
                state=_WAITING, expected_start_time=FlowRunFilterExpectedStartTime.model_validate({"after_": after})
            ),
            sort=FlowRunSort.EXPECTED_START_TIME_ASC,
            limit=1,
        )
    due = runs[0].expected_start_time if runs else None
    # Prefect's times are of a class whose differences are none of timedelta.
    return datetime.fromtimestamp(due.timestamp(), UTC) if due else None
