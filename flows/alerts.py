"""The automations of a Prefect server that runs tapehouse: who is told of what, and when a run counts as dead.

What a finding is, and when there is one, is decided where it is found; `flows.deploy` puts these on the server.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ActionTypes, CallWebhook, ChangeFlowRunState, DoNothing
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

# All of ours begin like this; what does so and is none of those wanted is taken away.
PREFIX: Final = "tapehouse: "
# Deploying says so of each deployment: from then on a completed run is expected.
DEPLOYED_EVENT: Final = "tapehouse.deployed"
FINDING_EVENTS: Final = "tapehouse.finding.*"

# What is still so after that time is told of once more.
FINDING_AGAIN: Final = timedelta(days=1)
FAILURE_AGAIN: Final = timedelta(hours=1)
# Four heartbeats, and longer than a Prefect server takes to restart: a run that lives is not to be called dead.
DEAD_AFTER: Final = timedelta(seconds=120)
# A process takes seconds to start, on a busy machine half a minute; its first heartbeat comes at once.
NOT_BEGUN_AFTER: Final = timedelta(minutes=3)
# What a run may be late and take, besides the time until the next one is due.
_GRACE: Final = timedelta(minutes=5)

_ENDED: Final = frozenset(f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Crashed", "Cancelled"))
_HEARTBEAT: Final = "prefect.flow-run.heartbeat"
_PENDING: Final = "prefect.flow-run.Pending"
_EVERY_RUN: Final[dict[str, str | list[str]]] = {"prefect.resource.id": "prefect.flow-run.*"}

# `text` is what Slack, Mattermost and their like show; the rest is for programs. tojson escapes and quotes.
_PAYLOAD: Final = """\
{%% set text %%}%s{%% endset -%%}
{"text": {{ text | string | tojson }}, "kind": %s, "subject": %s, "severity": %s}"""


@dataclass(frozen=True, slots=True)
class Expected:
    """A deployment with a schedule: a run of it is to complete at least once in `within`."""

    deployment_id: UUID
    name: str
    within: timedelta

    @classmethod
    def every(cls, deployment_id: UUID, name: str, interval: timedelta) -> "Expected":
        """What is expected of a deployment that runs at this interval: one run may be left out."""
        return cls(deployment_id, name, 2 * interval + _GRACE)


def automations(
    flow_ids: Iterable[UUID], expected: Iterable[Expected], webhook_id: UUID | None
) -> list[AutomationCore]:
    """All automations, about runs of these flows: other runs on the server are not ours to judge.

    Without a webhook they still fire, which the UI's feed of events shows.
    """
    flows = _related("flow", sorted({f"prefect.flow.{flow_id}" for flow_id in flow_ids}))
    return [
        _finding(webhook_id),
        _failure(flows, webhook_id),
        *(_missing(one, webhook_id) for one in expected),
        _dead("a run without heartbeats is crashed", "Its heartbeats stopped.", flows, _HEARTBEAT, DEAD_AFTER),
        _dead("a run that never begins is crashed", "It gave no sign of life.", flows, _PENDING, NOT_BEGUN_AFTER),
    ]


async def apply_automations(client: PrefectClient, wanted: Sequence[AutomationCore]) -> None:
    """Make the server's automations of ours those wanted, one of each name; what is equal already is left alone.

    An automation that is updated forgets what it has told of, and tells again.
    """
    by_name = {one.name: one for one in await client.read_automations(limit=200) if one.name.startswith(PREFIX)}
    for automation in wanted:
        known = by_name.pop(automation.name, None)
        if known is None:
            await client.create_automation(automation)
        elif _content(known) != _content(automation):
            # All of it: of an update, Prefect's client sends only what was set by name.
            whole = AutomationCore.model_validate({**_content(automation), "enabled": known.enabled})
            await client.update_automation(known.id, whole)
    for one in by_name.values():
        await client.delete_automation(one.id)


def _content(automation: AutomationCore) -> dict[str, object]:
    """All that makes an automation what it is; whether it is switched on is left to people."""
    return AutomationCore(**automation.model_dump()).model_dump(exclude={"enabled", "owner_resource"})


def _finding(webhook_id: UUID | None) -> AutomationCore:
    return AutomationCore(
        name=f"{PREFIX}a finding of check_health",
        description="Tells of what was found wrong with the data or the storage: once a day for each kind and subject.",
        trigger=EventTrigger(expect={FINDING_EVENTS}, for_each={"prefect.resource.id"}, within=FINDING_AGAIN),
        actions=[
            _tell(
                webhook_id,
                "{{ event.payload.message }}",
                kind="event.event.removeprefix('tapehouse.finding.')",
                subject="event.resource.id.removeprefix('tapehouse.').partition('.')[2]",
                severity="event.payload.severity",
            )
        ],
    )


def _related(role: str, resource_ids: list[str]) -> dict[str, str | list[str]]:
    return {"prefect.resource.role": role, "prefect.resource.id": resource_ids}


def _failure(flows: dict[str, str | list[str]], webhook_id: UUID | None) -> AutomationCore:
    return AutomationCore(
        name=f"{PREFIX}a run failed",
        description="Tells of runs that failed or crashed: once an hour for each flow and deployment.",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed"},
            match=_EVERY_RUN,
            match_related=flows,
            for_each={"related:flow:prefect.resource.id", "related:deployment:prefect.resource.id"},
            within=FAILURE_AGAIN,
        ),
        actions=[
            _tell(
                webhook_id,
                "{{ flow.name }}: run '{{ flow_run.name }}' {{ flow_run.state.name | lower }}. "
                "{{ flow_run.state.message }} {{ flow_run | ui_url }}",
                kind="'run_failed'",
                subject="flow.name",
            )
        ],
    )


def _missing(expected: Expected, webhook_id: UUID | None) -> AutomationCore:
    minutes = expected.within.total_seconds() / 60
    return AutomationCore(
        name=f"{PREFIX}no run of {expected.name}",
        description=f"Tells, once, when no run of {expected.name} has completed for {minutes:.0f} minutes.",
        trigger=EventTrigger(
            posture=Posture.Proactive,
            after={"prefect.flow-run.Completed", DEPLOYED_EVENT},
            expect={"prefect.flow-run.Completed"},
            match_related=_related("deployment", [f"prefect.deployment.{expected.deployment_id}"]),
            # Without, Prefect begins to wait anew by itself, and would tell again each time.
            for_each={"related:deployment:prefect.resource.id"},
            within=expected.within,
        ),
        actions=[
            _tell(
                webhook_id,
                f"No run of {expected.name} has completed for {minutes:.0f} minutes: see whether a worker runs, and "
                "what its last runs say.",
                kind="'run_missing'",
                subject=f"'{expected.name}'",
            )
        ],
    )


def _dead(name: str, reason: str, flows: dict[str, str | list[str]], after: str, within: timedelta) -> AutomationCore:
    """A run of which nothing more is heard ends, so that the next one may begin."""
    return AutomationCore(
        name=f"{PREFIX}{name}",
        description=f"{within.total_seconds():.0f} s after a run was last heard of, so that it doesn't stay for ever.",
        trigger=EventTrigger(
            posture=Posture.Proactive,
            after={after},
            # That it runs is no sign: it may have been killed before the first heartbeat was sent.
            expect={_HEARTBEAT, *_ENDED},
            match=_EVERY_RUN,
            match_related=flows,
            for_each={"prefect.resource.id"},
            within=within,
        ),
        actions=[ChangeFlowRunState(name="Crashed", state=StateType.CRASHED, message=reason, force=False)],
    )


def _tell(webhook_id: UUID | None, text: str, *, kind: str, subject: str, severity: str = "'error'") -> ActionTypes:
    """The call of the webhook; `text` is a template, the others are expressions of its language."""
    if webhook_id is None:
        return DoNothing()
    fields = [f"{{{{ ({expression}) | string | tojson }}}}" for expression in (kind, subject, severity)]
    return CallWebhook(block_document_id=webhook_id, payload=_PAYLOAD % (text, *fields))
