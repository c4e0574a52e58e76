"""The deployments of prefect.yaml on a real Prefect server: put there as a user does, run by a real worker."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from tapehouse.moments import duration
from tapehouse.store.connection import Connection
from tests.flows.services import PrefectServer, background

_RUN_WITHIN_S: Final = 110.0


def deploy(server: PrefectServer, alert_url: str = "") -> None:
    done = server.python("-m", "flows.deploy", TAPEHOUSE_ALERT_URL=alert_url)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def deployed(server: PrefectServer) -> dict[str, dict[str, Any]]:
    """The server's deployments after `make deploy`, by flow and name."""
    deploy(server, "http://127.0.0.1:1/alerts")
    return deployments(server)


def deployments(server: PrefectServer) -> dict[str, dict[str, Any]]:
    flows = {flow["id"]: flow["name"] for flow in server.post("/flows/filter", {})}
    found = [one for one in server.post("/deployments/filter", {}) if one["work_pool_name"] == "tapehouse"]
    return {f"{flows[one['flow_id']]}/{one['name']}": one for one in found}


def automations(server: PrefectServer) -> dict[str, dict[str, Any]]:
    found = server.post("/automations/filter", {})
    assert len({one["name"] for one in found}) == len(found)
    return {one["name"].removeprefix("tapehouse: "): one for one in found}


def test_every_flow_is_deployed_with_its_schedules(deployed: dict[str, dict[str, Any]]) -> None:
    schedules = {
        name: [one["schedule"]["cron"] for one in sorted(deployment["schedules"], key=lambda one: one["slug"])]
        for name, deployment in deployed.items()
    }
    assert schedules == {
        "ingest-ohlcv/minutes": ["* * * * *"],
        "ingest-ohlcv/days": ["5 0 * * *", "5 12 * * *"],
        "ingest-trades/every-two-minutes": ["*/2 * * * *"],
        "ingest-order-books/quarter-hours": ["*/15 * * * *"],
        "archive/daily": ["20 1 * * *"],
        "compare-candles/daily": ["30 0 * * *"],
        "report-quality/daily": ["50 0 * * *"],
        "backfill/on-request": [],
        "stream/on-request": [],
        "repair-gaps/hourly": ["40 * * * *"],
        "find-gaps/daily": ["45 0 * * *"],
        "sync-instruments/daily": ["0 0 * * *"],
        "refresh-rollups/quarter-hours": ["7,22,37,52 * * * *"],
        "check-storage/hourly": ["25 * * * *"],
        "check-health/every-five-minutes": ["*/5 * * * *"],
    }


def test_what_only_the_owner_may_do_has_a_queue_of_its_own(deployed: dict[str, dict[str, Any]]) -> None:
    of_owner = {name.partition("/")[0] for name, one in deployed.items() if one["work_queue_name"] == "maintenance"}

    assert of_owner == {"refresh-rollups", "archive", "check-storage", "check-health"}


def test_what_has_a_schedule_is_missed_when_it_does_not_run(
    server: PrefectServer, deployed: dict[str, dict[str, Any]]
) -> None:
    waiting_s = {
        name.removeprefix("no run of "): one["trigger"]["within"]
        for name, one in automations(server).items()
        if name.startswith("no run of ")
    }

    assert set(waiting_s) == {name for name, one in deployed.items() if one["schedules"]}
    # Two intervals and five minutes.
    assert waiting_s["ingest-ohlcv/minutes"] == 7 * 60
    assert waiting_s["refresh-rollups/quarter-hours"] == 35 * 60
    assert waiting_s["sync-instruments/daily"] == 48 * 3600 + 5 * 60


def test_deploying_again_changes_what_changed_and_doubles_nothing(
    server: PrefectServer, deployed: dict[str, dict[str, Any]]
) -> None:
    before = automations(server)
    for name in ("tapehouse: no run of a flow of last year", "somebody else's"):
        trigger = {"type": "event", "expect": ["none"], "posture": "Reactive", "threshold": 1, "within": 0}
        server.post("/automations/", {"name": name, "trigger": trigger, "actions": [{"type": "do-nothing"}]})

    paused_id = deployed["compare-candles/daily"]["id"]
    server.post(f"/deployments/{paused_id}", {"paused": True}, method="PATCH")
    of_last_year = {"slug": "of-last-year", "active": True, "schedule": {"cron": "0 3 1 1 *"}}
    server.post(f"/deployments/{deployed['ingest-ohlcv/days']['id']}/schedules", [of_last_year])
    of_people = {"concurrency_limit": 7, "description": "Ours."}
    server.post("/work_pools/tapehouse", of_people, method="PATCH")

    deploy(server)

    after = automations(server)
    assert [name for name, one in deployments(server).items() if one["paused"]] == ["compare-candles/daily"]
    assert {name: one["id"] for name, one in deployments(server).items()} == {
        name: one["id"] for name, one in deployed.items()
    }
    assert set(after) == {*before, "somebody else's"} - {"no run of compare-candles/daily"}
    assert all(after[name]["id"] == one["id"] for name, one in before.items() if name in after)
    # What is equal was not touched; without an address nobody is called any more.
    unchanged = "a run without heartbeats is crashed"
    assert after[unchanged]["updated"] == before[unchanged]["updated"]
    called = ("a finding of check_health", "a run failed", "no run of ingest-ohlcv/minutes")
    assert [before[name]["actions"][0]["type"] for name in called] == ["call-webhook"] * 3
    assert [after[name]["actions"][0]["type"] for name in called] == ["do-nothing"] * 3
    assert server.post("/block_documents/filter", {}) == []
    schedules = deployments(server)["ingest-ohlcv/days"]["schedules"]
    assert {one["slug"] for one in schedules} == {"after-midnight", "midday"}
    pool = server.post("/work_pools/tapehouse", {}, method="GET")
    assert {name: pool[name] for name in of_people} == of_people


def test_deploying_says_what_is_missing(server: PrefectServer) -> None:
    nowhere = server.python("-m", "flows.deploy", PREFECT_API_URL="")
    gone = server.python("-m", "flows.deploy", PREFECT_API_URL="http://127.0.0.1:1/api")
    wrong = server.python("-m", "flows.deploy", TAPEHOUSE_ALERT_URL="hooks.example.com")

    assert (nowhere.returncode, gone.returncode, wrong.returncode) == (2, 6, 2)
    assert "Error: PREFECT_API_URL is not set" in nowhere.stderr
    assert "Error: The Prefect server at http://127.0.0.1:1/api can't be used" in gone.stderr
    assert "Error: TAPEHOUSE_ALERT_URL must be a URL" in wrong.stderr


def test_no_deployment_runs_twice_at_a_time(deployed: dict[str, dict[str, Any]]) -> None:
    for deployment in deployed.values():
        assert deployment["global_concurrency_limit"]["limit"] == 1
        assert deployment["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"


def test_every_field_of_the_forms_is_described_and_none_must_be_filled_in(deployed: dict[str, dict[str, Any]]) -> None:
    for name, deployment in deployed.items():
        form = deployment["parameter_openapi_schema"]
        assert not form.get("required"), name
        models = form.get("definitions", {}).values()
        for field in [*form["properties"].values(), *(one for model in models for one in model["properties"].values())]:
            assert field.get("description"), f"{name}: {field['title']}"


def test_the_ingest_form_offers_choices_lists_and_bounds(deployed: dict[str, dict[str, Any]]) -> None:
    form = deployed["ingest-ohlcv/minutes"]["parameter_openapi_schema"]
    fields = form["properties"]

    assert list(fields) == ["markets", "timeframe", "since", "until", "max_reject_share"]
    assert fields["markets"]["items"] == {"$ref": "#/definitions/CandleMarkets"}
    assert form["definitions"]["CandleMarkets"]["properties"]["symbols"]["minItems"] == 1
    assert {"1m", "1h", "1d", "1w", "1M"} <= set(fields["timeframe"]["enum"])
    assert (fields["max_reject_share"]["minimum"], fields["max_reject_share"]["maximum"]) == (0, 1)


def test_the_sampling_form_offers_markets_and_bounds(deployed: dict[str, dict[str, Any]]) -> None:
    fields = deployed["ingest-order-books/quarter-hours"]["parameter_openapi_schema"]["properties"]

    assert list(fields) == ["markets", "depth", "every", "lasting"]
    assert fields["markets"]["items"] == {"$ref": "#/definitions/Markets"}
    assert (fields["depth"]["minimum"], fields["depth"]["maximum"]) == (1, 1000)


def test_a_sampling_ends_before_the_next_is_due(deployed: dict[str, dict[str, Any]]) -> None:
    deployment = deployed["ingest-order-books/quarter-hours"]

    assert duration(deployment["parameters"]["lasting"]) < timedelta(minutes=15)


def test_a_schedule_fires_by_itself_and_its_run_completes(
    server: PrefectServer, deployed: dict[str, dict[str, Any]], database: Connection, tmp_path: Path
) -> None:
    deployment = deployed["ingest-ohlcv/minutes"]
    deployment_id, started_at = deployment["id"], datetime.now(UTC)
    # The same deployment, only more often, and with a window that is soon fetched.
    often = {"slug": "every-minute", "schedule": {"interval": 10}, "active": True}
    change = {"schedules": [often], "parameters": deployment["parameters"] | {"since": "2h"}}
    server.post(f"/deployments/{deployment_id}", change, method="PATCH")

    log = tmp_path / "worker.log"
    with background(["-m", "prefect", "worker", "start", "--pool", "tapehouse"], server.environment, log):
        run = _await_completed(server, deployment_id, log)
        server.post(f"/deployments/{deployment_id}", {"paused": True}, method="PATCH")
        _await_quiet(server, deployment_id)

    assert run["auto_scheduled"]
    assert run["name"] == "1m binance BTC/USDT, binance ETH/USDT and 2 more"
    artifacts = server.post("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}})
    assert "ingest-ohlcv" in {artifact["key"] for artifact in artifacts}
    newest = database.execute(
        "select exchange, symbol, max(time) from candle where timeframe_s = 60 group by exchange, symbol"
    ).fetchall()
    just_now = {(exchange, symbol) for exchange, symbol, time in newest if time > started_at - timedelta(minutes=3)}
    assert just_now == {("binance", "BTC/USDT"), ("binance", "ETH/USDT"), ("kraken", "BTC/USD"), ("kraken", "ETH/USD")}


def test_a_stream_that_is_cancelled_on_the_servers_pages_has_written_all_that_came(
    server: PrefectServer, deployed: dict[str, dict[str, Any]], database: Connection, tmp_path: Path
) -> None:
    deployment_id = deployed["stream/on-request"]["id"]
    markets = [{"exchange": "binance", "symbols": ["ETH/BTC"]}]
    asked = {"markets": markets, "datasets": ["order_book"], "every": "500ms"}
    run_id = server.post(f"/deployments/{deployment_id}/create_flow_run", {"parameters": asked})["id"]

    def stored() -> int:
        query = "select count(*) from order_book join instrument using (instrument_id) where symbol = 'ETH/BTC'"
        return (database.execute(query).fetchone() or (0,))[0]

    before = stored()
    log, environment = tmp_path / "worker.log", {**server.environment, "TAPEHOUSE_DATA_DIR": str(tmp_path)}
    with background(["-m", "prefect", "worker", "start", "--pool", "tapehouse"], environment, log):
        _await(lambda: stored() > before)
        server.post(f"/flow_runs/{run_id}/set_state", {"state": {"type": "CANCELLING"}})
        _await(lambda: bool(_runs(server, deployment_id, "CANCELLED", "CRASHED")))

    said = server.post("/logs/filter", {"logs": {"flow_run_id": {"any_": [run_id]}}, "sort": "TIMESTAMP_ASC"})
    counts = [line["message"] for line in said if " received, " in line["message"]][-1]
    written = stored() - before
    assert counts.startswith(f"binance: {written} received, {written} stored, 0 waiting, ")
    assert list((tmp_path / "spill").iterdir()) == []


def _await(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _RUN_WITHIN_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def _await_completed(server: PrefectServer, deployment_id: str, log: Path) -> dict[str, Any]:
    deadline = time.monotonic() + _RUN_WITHIN_S
    while time.monotonic() < deadline:
        runs = _runs(server, deployment_id, "COMPLETED", "FAILED", "CRASHED")
        if runs:
            assert runs[0]["state_type"] == "COMPLETED", log.read_text()
            return runs[0]
        time.sleep(0.5)
    pytest.fail(f"No scheduled run ended within {_RUN_WITHIN_S:.0f} s: {log.read_text()}")


def _await_quiet(server: PrefectServer, deployment_id: str) -> None:
    deadline = time.monotonic() + _RUN_WITHIN_S
    while _runs(server, deployment_id, "PENDING", "RUNNING") and time.monotonic() < deadline:
        time.sleep(0.5)


def _runs(server: PrefectServer, deployment_id: str, *states: str) -> list[dict[str, Any]]:
    return server.post(
        "/flow_runs/filter",
        {
            "flow_runs": {"deployment_id": {"any_": [deployment_id]}, "state": {"type": {"any_": list(states)}}},
            "sort": "START_TIME_ASC",
        },
    )
