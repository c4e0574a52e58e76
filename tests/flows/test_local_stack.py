"""What `make up` starts: seen in a browser, killed in the middle of its work, stopped without a trace."""

import json
import logging
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import psutil
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tapehouse import embedded
from tapehouse.store.connection import connect
from tests.flows.services import ROOT, PrefectServer, free_port

pytestmark = pytest.mark.timeout(900)

SCREENSHOTS: Final = ROOT / ".tapehouse" / "screenshots"
_MARK: Final = "LOCAL_STACK_TEST"
_SHOWN_MS: Final = 60_000
_UP_WITHIN_S: Final = 400
# The bar for a schedule that fires by itself, and for all to be fresh after a crash: twice its interval.
_TWO_INTERVALS_S: Final = 120
# The newest candle that has closed opened less than two minutes ago; it is fetched and stored within seconds.
_FRESH_MINUTES: Final = 2.5
_PARTS: Final = ("everything", "worker", "Prefect server", "embedded TimescaleDB", "sandbox exchange")
_KILLED: Final = _PARTS if os.environ.get("TAPEHOUSE_CAMPAIGN") == "full" else _PARTS[:1]
_SERIES: Final = {("binance", "BTC/USDT"), ("binance", "ETH/USDT"), ("kraken", "BTC/USD"), ("kraken", "ETH/USD")}


@dataclass(frozen=True, slots=True)
class Local:
    """A local stack of the tests' own."""

    home: Path
    port: int
    exchange_port: int
    environment: dict[str, str]

    @property
    def prefect(self) -> PrefectServer:
        return PrefectServer(f"http://127.0.0.1:{self.port}/api", self.environment)

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "flows.local", "--home", str(self.home), *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=_UP_WITHIN_S,
            check=False,
        )

    def up(self) -> str:
        done = self.run("up", "--port", str(self.port), "--exchange-port", str(self.exchange_port))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def pids(self) -> dict[str, int]:
        return {one["name"]: one["pid"] for one in json.loads(self.run("status", "--json").stdout)}

    def processes(self) -> list[psutil.Process]:
        """All that were started by the tests' commands and live: children inherit their mark."""
        return [one for one in psutil.process_iter() if _environment_of(one).get(_MARK) == self.environment[_MARK]]

    def minutes_behind(self) -> dict[tuple[str, str], float]:
        """How long ago the newest stored candle of each market opened."""
        url = embedded.status(self.home / "database").url
        assert url is not None
        with connect(url) as connection:
            newest = connection.execute(
                "select exchange, symbol, max(time) from candle where timeframe_s = 60 group by exchange, symbol"
            ).fetchall()
        now = datetime.now(UTC)
        return {(exchange, symbol): (now - time) / timedelta(minutes=1) for exchange, symbol, time in newest}

    def runs(self, *states: str) -> list[dict[str, Any]]:
        return self.prefect.post("/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": list(states)}}}})


def _environment_of(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


def await_that(holds: Callable[[], bool], *, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"Not within {within_s:.0f} s."
        time.sleep(0.5)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Generator[Local]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "TAPEHOUSE_"))}
    environment = {**inherited, _MARK: uuid4().hex}
    local = Local(tmp_path_factory.mktemp("local"), free_port(), free_port(), environment)
    try:
        said = local.up()
        assert f"http://127.0.0.1:{local.port}" in said
        # All that is started by itself here are candles: the others would do so at times that are not ours.
        for deployment in local.prefect.post("/deployments/filter", {}):
            if deployment["name"] != "minutes":
                local.prefect.post(f"/deployments/{deployment['id']}", {"paused": True}, method="PATCH")
        yield local
    finally:
        for process in local.processes():
            process.kill()


@pytest.fixture(scope="module")
def page(local: Local) -> Generator[Page]:
    """A page of a browser without a screen, on a stack that has begun its work."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium here: `make browser` installs it on Debian")
    await_that(lambda: bool(local.runs("COMPLETED")), within_s=_TWO_INTERVALS_S)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        # As root, Chromium starts without its sandbox only; it sees nothing but our own server.
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1400, "height": 1200}, base_url=f"http://127.0.0.1:{local.port}")
        page.set_default_timeout(_SHOWN_MS)
        expect.set_options(timeout=_SHOWN_MS)
        yield page
        chromium.close()
    logging.getLogger(__name__).info("Screenshots are in %s", SCREENSHOTS)


def keep(page: Page, name: str) -> None:
    """Keep a screenshot of what was shown."""
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def test_a_port_that_is_taken_is_named(local: Local, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        other = Local(tmp_path / "other", free_port(), port, local.environment)
        done = other.run("up", "--port", str(other.port), "--exchange-port", str(port))

    assert done.returncode == 6
    assert f"Error: Port {port}, for the sandbox exchange, can't be used" in done.stderr
    assert f"make up EXCHANGE_PORT={port + 1}" in done.stderr
    assert not any(other.pids().values())


def test_a_schedule_fires_by_itself_within_two_minutes(local: Local) -> None:
    await_that(lambda: set(local.minutes_behind()) == _SERIES, within_s=_TWO_INTERVALS_S)

    assert all(run["auto_scheduled"] for run in local.runs("RUNNING", "COMPLETED"))


def test_all_flows_are_on_the_page_of_deployments(local: Local, page: Page) -> None:
    deployments = local.prefect.post("/deployments/filter", {})
    flows = {flow["id"]: flow["name"] for flow in local.prefect.post("/flows/filter", {})}

    page.goto("/deployments?limit=100")
    expect(page.get_by_text(f"{len(deployments)} Deployments")).to_be_visible()
    for deployment in deployments:
        row = page.get_by_role("row").filter(has_text=flows[deployment["flow_id"]]).filter(has_text=deployment["name"])
        expect(row).to_be_visible()
        expect(row).to_contain_text("Ready")
    keep(page, "deployments")


def test_a_run_from_the_form_completes_and_shows_its_table_and_chart(local: Local, page: Page) -> None:
    await_that(lambda: set(local.minutes_behind()) == _SERIES, within_s=_TWO_INTERVALS_S)
    deployment = local.prefect.post("/deployments/name/find-gaps/daily", {}, method="GET")

    page.goto(f"/deployments/deployment/{deployment['id']}/run")
    for name, value in (("exchange", "kraken"), ("symbol", "ETH/USD")):
        field = page.locator(".schema-form-property").filter(has_text=f"{name} (Optional)")
        expect(field).to_contain_text("Only series of this")
        field.get_by_role("button", name="str", exact=True).click()
        field.get_by_role("textbox").fill(value)
    keep(page, "form")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_text("scheduled to start now").first).to_be_visible()
    of_it = {"deployment_id": {"any_": [deployment["id"]]}}
    [run] = [one for one in local.prefect.post("/flow_runs/filter", {"flow_runs": of_it}) if not one["auto_scheduled"]]
    page.goto(f"/runs/flow-run/{run['id']}")
    expect(page.get_by_text("Completed", exact=True).first).to_be_visible()
    expect(page.get_by_text("find gaps kraken ETH/USD").first).to_be_visible()
    page.locator("#artifacts").click()
    table, chart = (page.locator(".artifact-card").filter(has_text=key) for key in ("find-gaps", "coverage"))
    expect(chart).to_be_visible()
    keep(page, "run")
    table.click()
    for cell in ("kraken", "ETH/USD", "beyond_exchange_history"):
        expect(page.locator("td").filter(has_text=cell).first).to_be_visible()
    keep(page, "table")
    page.go_back()
    page.locator("#artifacts").click()
    chart.click()
    picture = page.locator("img[src^='data:image/png']")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") > 1000
    keep(page, "chart")


@pytest.mark.campaign
@pytest.mark.parametrize("killed", _KILLED)
def test_killed_in_the_middle_of_a_run_all_is_fresh_again_within_two_intervals(local: Local, killed: str) -> None:
    await_that(lambda: any(run["name"].startswith("1m ") for run in local.runs("RUNNING")), within_s=_TWO_INTERVALS_S)
    at_work = {run["id"] for run in local.runs("RUNNING")}
    before = local.pids()
    for process in local.processes() if killed == "everything" else [psutil.Process(before[killed])]:
        process.send_signal(signal.SIGKILL)
    gone = set(before) if killed == "everything" else {killed}
    await_that(lambda: {name for name, pid in local.pids().items() if not pid} == gone, within_s=30)
    assert local.run("status").returncode == 1

    local.up()

    assert local.run("status").returncode == 0
    assert {name for name, pid in local.pids().items() if pid != before[name]} == gone
    await_that(
        lambda: max(local.minutes_behind().values(), default=math.inf) < _FRESH_MINUTES, within_s=_TWO_INTERVALS_S
    )
    # A run that lost its server is dead once no heartbeat has come for two minutes.
    patience_s = _TWO_INTERVALS_S if killed == "everything" else 2 * _TWO_INTERVALS_S
    unfinished = ("RUNNING", "PENDING", "CANCELLING")
    await_that(lambda: not at_work & {run["id"] for run in local.runs(*unfinished)}, within_s=patience_s)


def test_up_again_starts_nothing_that_runs(local: Local) -> None:
    before = local.pids()

    local.up()

    assert local.pids() == before


def test_down_stops_all_that_was_started(local: Local) -> None:
    done = local.run("down")

    assert done.returncode == 0, done.stderr
    assert local.processes() == []
    assert not any(local.pids().values())
    assert local.run("down").returncode == 0
