"""Who is told of what: our automations on a real Prefect server, and a webhook that listens on this machine."""

import asyncio
import json
import queue
import threading
from collections.abc import Generator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.events import emit_event
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

from flows.alerts import Expected, apply_automations, automations
from flows.deploy import put_webhook, tell_deployed
from tests.flows.services import PrefectServer

WITHIN_S: Final = 90.0
SOON: Final = timedelta(seconds=10)
NAME: Final = "asleep/never"


class Webhook:
    """A local address, and what was sent to it."""

    def __init__(self) -> None:
        received: queue.Queue[tuple[str, bytes]] = queue.Queue()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                received.put((self.headers["Content-Type"], self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- as http.server names it
                pass

        self._received = received
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    def next(self) -> dict[str, str]:
        kind, body = self._received.get(timeout=WITHIN_S)
        assert kind == "application/json"
        return json.loads(body)

    def all_until_now(self) -> list[dict[str, str]]:
        """What else was sent before a finding that is made now; Prefect works at two events at a time."""
        mark = uuid4().hex
        find("gap", mark, "The mark.")
        messages: list[dict[str, str]] = []
        while (message := self.next())["subject"] != mark:
            messages.append(message)
        return messages


def find(kind: str, subject: str, message: str) -> None:
    """Say that something was found, as check_health does."""
    emit_event(
        f"tapehouse.finding.{kind}",
        {"prefect.resource.id": f"tapehouse.{kind}.{subject}"},
        payload={"message": message, "severity": "warning"},
    )


@pytest.fixture(scope="module")
def deployment(server: PrefectServer) -> dict[str, Any]:
    """A deployment that never runs."""
    flow_id = server.post("/flows/", {"name": "asleep"})["id"]
    return server.post("/deployments/", {"name": "never", "flow_id": flow_id})


@pytest.fixture(scope="module")
def webhook(server: PrefectServer, deployment: dict[str, Any]) -> Generator[Webhook]:
    """Where our automations tell; those that wait for something do so for ten seconds."""
    broken_id = server.post("/flows/", {"name": "broken"})["id"]
    webhook = Webhook()
    thread = threading.Thread(target=webhook.server.serve_forever)
    thread.start()

    async def apply(url: str | None) -> None:
        async with get_client() as client:
            webhook_id = await put_webhook(client, url)
            expected = [Expected(UUID(deployment["id"]), NAME, SOON)]
            flow_ids = [UUID(deployment["flow_id"]), UUID(broken_id)]
            wanted = [_soon(one) for one in automations(flow_ids, expected, webhook_id)] if url else []
            await apply_automations(client, wanted)

    asyncio.run(apply(webhook.url))
    yield webhook
    asyncio.run(apply(None))
    webhook.server.shutdown()
    webhook.server.server_close()
    thread.join()


def _soon(automation: AutomationCore) -> AutomationCore:
    trigger = automation.trigger
    assert isinstance(trigger, EventTrigger)
    if trigger.posture == Posture.Proactive:
        return automation.model_copy(update={"trigger": trigger.model_copy(update={"within": SOON})})
    return automation


def test_a_finding_is_told_once_for_each_kind_and_subject(webhook: Webhook) -> None:
    said = 'binance "BTC/USDT" 1m: 3 gaps,\nthe largest of 2 h & more'
    find("stale_data", "binance BTC/USDT 1m", said)
    messages = [webhook.next()]
    for _ in range(2):
        find("stale_data", "binance BTC/USDT 1m", said)
    find("stale_data", "kraken BTC/USD 1m", "Stale.")
    find("gap", "binance BTC/USDT 1m", "A gap.")

    messages += [webhook.next() for _ in range(2)]

    assert sorted(messages, key=lambda one: one["text"]) == [
        {"text": "A gap.", "kind": "gap", "subject": "binance BTC/USDT 1m", "severity": "warning"},
        {"text": "Stale.", "kind": "stale_data", "subject": "kraken BTC/USD 1m", "severity": "warning"},
        {"text": said, "kind": "stale_data", "subject": "binance BTC/USDT 1m", "severity": "warning"},
    ]
    assert webhook.all_until_now() == []


async def test_a_flow_that_fails_is_told_once_an_hour(webhook: Webhook) -> None:
    @flow(name="broken", flow_run_name="the broken run")
    async def broken() -> None:
        raise ValueError("it said 'no'")

    @flow(name="somebody else's")
    async def not_ours() -> None:
        raise ValueError("no")

    for failing in (not_ours, broken):
        with pytest.raises(ValueError, match="no"):
            await failing()
    message = await asyncio.to_thread(webhook.next)
    with pytest.raises(ValueError, match="no"):
        await broken()

    assert await asyncio.to_thread(webhook.all_until_now) == []
    assert message["text"].startswith(
        "broken: run 'the broken run' failed. Flow run encountered an exception: ValueError: it said 'no' http://"
    )
    assert (message["kind"], message["subject"], message["severity"]) == ("run_failed", "broken", "error")


def test_a_run_that_is_missing_or_dead_is_told_once_and_the_dead_are_crashed(
    webhook: Webhook, server: PrefectServer, deployment: dict[str, Any]
) -> None:
    flow_id, deployment_id = deployment["flow_id"], deployment["id"]
    forsaken = server.post("/flow_runs/", {"flow_id": flow_id, "name": "forsaken", "state": {"type": "RUNNING"}})
    stuck = {"flow_id": flow_id, "deployment_id": deployment_id, "name": "stuck", "state": {"type": "PENDING"}}
    stuck = server.post("/flow_runs/", stuck)
    # It was killed before its first heartbeat.
    server.post(f"/flow_runs/{stuck['id']}/set_state", {"state": {"type": "RUNNING"}})
    emit_event(
        "prefect.flow-run.heartbeat",
        {"prefect.resource.id": f"prefect.flow-run.{forsaken['id']}"},
        related=[{"prefect.resource.id": f"prefect.flow.{flow_id}", "prefect.resource.role": "flow"}],
    )
    asyncio.run(tell_deployed([UUID(deployment_id)]))

    messages = [webhook.next() for _ in range(3)] + webhook.all_until_now()

    assert sorted((one["kind"], one["subject"], one["text"].partition(" http")[0]) for one in messages) == [
        ("run_failed", "asleep", "asleep: run 'forsaken' crashed. Its heartbeats stopped."),
        ("run_failed", "asleep", "asleep: run 'stuck' crashed. It gave no sign of life."),
        (
            "run_missing",
            NAME,
            f"No run of {NAME} has completed for 0 minutes: see whether a worker runs, and what its last runs say.",
        ),
    ]
    runs = server.post("/flow_runs/filter", {"flow_runs": {"id": {"any_": [forsaken["id"], stuck["id"]]}}})
    assert [run["state_type"] for run in runs] == ["CRASHED", "CRASHED"]
