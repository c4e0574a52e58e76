"""Putting all of tapehouse on a Prefect server: `python -m flows.deploy`, as often as one likes.

What is there already is updated, never doubled. Which deployments there are is said in `prefect.yaml`, which
automations in `flows.alerts`.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import click
import httpx
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events import Event, RelatedResource, Resource, get_events_client
from prefect.server.schemas.schedules import SCHEDULE_TYPES
from prefect.settings import PREFECT_API_URL
from prefect.types import SecretDict
from pydantic import SecretStr, TypeAdapter

from flows.alerts import DEPLOYED_EVENT, Expected, apply_automations, automations
from flows.settings import ALERT_URL, WORK_POOL
from flows.shell import telling_errors
from tapehouse.errors import InputError, ServiceError

WEBHOOK: Final = "tapehouse-alerts"

_ROOT: Final = Path(__file__).parents[1]
_LOOKED_AHEAD: Final = 50
_SCHEDULE: Final = TypeAdapter[Any](SCHEDULE_TYPES)


async def deploy(alert_url: str | None) -> Sequence[str]:
    """Put work pool, deployments, webhook and automations on the server; gives the deployments' names.

    Raises InputError where no server is configured or the URL is none, ServiceError where the server can't be reached
    or refuses something.
    """
    if alert_url and urlsplit(alert_url).scheme not in ("http", "https"):
        raise InputError(f"{ALERT_URL} must be a URL that begins with http:// or https://.")
    api_url = PREFECT_API_URL.value()
    if not api_url:
        raise InputError("PREFECT_API_URL is not set: which server is it? For example http://127.0.0.1:4200/api.")
    try:
        async with get_client() as client:
            await client.create_work_pool(WorkPoolCreate(name=WORK_POOL, type="process"), overwrite=True)
            paused = [one.id for one in await client.read_deployments() if one.paused]
            await asyncio.to_thread(_deploy_flows)
            # Prefect's command would set going what people have paused.
            for deployment_id in paused:
                await client.pause_deployment(deployment_id)
            deployments = [one for one in await client.read_deployments() if one.work_pool_name == WORK_POOL]
            flows = {flow.id: flow.name for flow in await client.read_flows()}
            names = {one.id: f"{flows[one.flow_id]}/{one.name}" for one in deployments}
            expected = [one for one in [await _expected(one, names[one.id]) for one in deployments] if one]
            webhook_id = await put_webhook(client, alert_url)
            flow_ids = [one.flow_id for one in deployments]
            await apply_automations(client, automations(flow_ids, expected, webhook_id))
    except httpx.HTTPError as error:
        raise ServiceError(
            f"The Prefect server at {api_url} can't be used: {error or type(error).__name__}."
        ) from error
    await tell_deployed(list(names))
    return sorted(names.values())


def _deploy_flows() -> None:
    """What Prefect's own command does: it updates a deployment that is there under its name."""
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)  # noqa: S603 -- our own interpreter
    if done.returncode:
        raise ServiceError(f"`prefect deploy --all` failed:\n{done.stdout}{done.stderr}")


async def _expected(deployment: DeploymentResponse, name: str) -> Expected | None:
    """What is expected of a deployment; None without a schedule that is active."""
    intervals: list[timedelta] = []
    for one in deployment.schedules:
        if one.active and not deployment.paused:
            schedule = _SCHEDULE.validate_python(one.schedule.model_dump())
            times: list[datetime] = await schedule.get_dates(_LOOKED_AHEAD, start=datetime.now(UTC))
            intervals.append(max(later - earlier for earlier, later in pairwise(times)))
    return Expected.every(deployment.id, name, min(intervals)) if intervals else None


async def put_webhook(client: PrefectClient, alert_url: str | None) -> UUID | None:
    """The block of the webhook, made, updated or taken away."""
    if alert_url:
        block = Webhook(url=SecretStr(alert_url), headers=SecretDict({"Content-Type": "application/json"}))
        return await block.asave(WEBHOOK, overwrite=True, client=client)
    for document in await client.read_block_documents_by_type("webhook"):
        if document.name == WEBHOOK:
            await client.delete_block_document(document.id)
    return None


async def tell_deployed(deployment_ids: Sequence[UUID]) -> None:
    """Say that a completed run is expected of each from now on, also of one that never had any."""
    async with get_events_client() as events:
        for deployment_id in deployment_ids:
            deployment = {"prefect.resource.id": f"prefect.deployment.{deployment_id}"}
            related = RelatedResource({**deployment, "prefect.resource.role": "deployment"})
            resource = Resource({"prefect.resource.id": "tapehouse.deploy"})
            await events.emit(Event(event=DEPLOYED_EVENT, resource=resource, related=[related]))


@click.command()
def command() -> None:
    """Put all deployments, limits and automations on the Prefect server of PREFECT_API_URL; safe to repeat.

    Alerts are sent as JSON to the URL in TAPEHOUSE_ALERT_URL, and nowhere if it is not set.
    """
    with telling_errors():
        names = asyncio.run(deploy(os.environ.get(ALERT_URL) or None))
    click.echo(f"Deployed: {', '.join(names)}.")


if __name__ == "__main__":
    command()
