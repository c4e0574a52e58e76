"""Putting all of tapehouse on a Prefect server: `python -m flows.deploy`, as often as one likes.

What is there already is updated, never doubled. Which deployments there are is said in `prefect.yaml`, which
automations in `flows.alerts`.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import click
import httpx
import yaml
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events import Event, RelatedResource, Resource, get_events_client
from prefect.exceptions import ObjectAlreadyExists
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
            await _ensure_work_pool(client)
            await _deploy_flows(client)
            await _drop_schedules(client)
            deployments = await _read_deployments(client)
            flows = {one.flow_id: (await client.read_flow(one.flow_id)).name for one in deployments}
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


async def _ensure_work_pool(client: PrefectClient) -> None:
    """Make the work pool if it is missing; one that is there is people's, with its limit, pause and template."""
    with suppress(ObjectAlreadyExists):
        await client.create_work_pool(WorkPoolCreate(name=WORK_POOL, type="process"))


async def _deploy_flows(client: PrefectClient) -> None:
    """What Prefect's own command does: it updates a deployment that is there under its name."""
    paused = [one.id for one in await _read_deployments(client) if one.paused]
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    run = partial(subprocess.run, command, cwd=_ROOT, capture_output=True, text=True, check=False)
    try:
        done = await asyncio.to_thread(run)
    finally:
        # It would set going what people have paused.
        for deployment_id in paused:
            await client.pause_deployment(deployment_id)
    if done.returncode:
        raise ServiceError(f"`prefect deploy --all` failed:\n{done.stdout}{done.stderr}")


async def _drop_schedules(client: PrefectClient) -> None:
    """Take away the schedules that prefect.yaml has no more, which Prefect's command leaves."""
    defined = _defined()
    for deployment in await _read_deployments(client):
        for schedule in deployment.schedules:
            if schedule.slug not in defined[deployment.entrypoint, deployment.name]:
                await client.delete_deployment_schedule(deployment.id, schedule.id)


async def _read_deployments(client: PrefectClient) -> list[DeploymentResponse]:
    """The deployments of prefect.yaml that are on the server, on whichever work pool."""
    defined = _defined()
    named = DeploymentFilter(name=DeploymentFilterName(any_=sorted({name for _, name in defined})))
    found = await client.read_deployments(deployment_filter=named)
    return [one for one in found if (one.entrypoint, one.name) in defined]


def _defined() -> dict[tuple[str | None, str], set[str | None]]:
    """The deployments of prefect.yaml by entry point and name: the slugs of their schedules."""
    deployments = yaml.safe_load((_ROOT / "prefect.yaml").read_text())["deployments"]
    return {
        (one["entrypoint"], one["name"]): {schedule.get("slug") for schedule in one.get("schedules", ())}
        for one in deployments
    }


async def _expected(deployment: DeploymentResponse, name: str) -> Expected | None:
    """What is expected of a deployment; None without a schedule that is active."""
    intervals: list[timedelta] = []
    for one in deployment.schedules:
        if one.active and not deployment.paused:
            schedule = _SCHEDULE.validate_python(one.schedule.model_dump())
            times: list[datetime] = await schedule.get_dates(_LOOKED_AHEAD, start=datetime.now(UTC))
            intervals += sorted(later - earlier for earlier, later in pairwise(times))[-1:]
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
