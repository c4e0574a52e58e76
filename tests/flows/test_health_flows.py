"""The flows that check the storage and tell how the store is doing, on a real Prefect server."""

import time
from collections.abc import Generator
from datetime import UTC, datetime
from typing import Any

import pytest

from flows.check_health import check_health
from flows.check_storage import check_storage
from tapehouse.store.connection import connect
from tapehouse.timeframe import timeframe
from tests.flows.services import PrefectServer
from tests.status.conftest import DAY, HOUR, MINUTE, follow, make_series, new_store, write

pytestmark = pytest.mark.usefixtures("settings")


@pytest.fixture
def ailing(database_url: str, settings: None, monkeypatch: pytest.MonkeyPatch) -> Generator[str]:
    """A store, for the flows of this process, in which a series does not come any more; the name of the exchange."""
    del settings
    with new_store(database_url) as url:
        with connect(url) as connection:
            series = make_series(connection)
            end = timeframe("1m").floor(datetime.now(UTC)) - 2 * HOUR
            write(connection, series, (end - 40 * DAY, end - 39 * DAY), (end - 38 * DAY, end))
            follow(connection, series, every=MINUTE, last=2 * HOUR)
        monkeypatch.setenv("TAPEHOUSE_DATABASE_URL", url)
        yield series.instrument.exchange


def events(server: PrefectServer, resource: str) -> list[dict[str, Any]]:
    """The events of that resource that the server has stored, once it has."""
    for _ in range(100):
        found = server.post("/events/filter", {"filter": {"resource": {"id": [resource]}}})["events"]
        if found:
            return found
        time.sleep(0.2)
    return []


async def test_each_finding_is_told_in_the_table_and_as_an_event(server: PrefectServer, ailing: str) -> None:
    assert await check_health() == {"stale_data": 1, "gap": 1}

    table = server.latest_artifact("check-health")
    assert table["description"] == "2 findings need a person."
    assert [(row["kind"], row["subject"], row["severity"]) for row in table["data"]] == [
        ("stale_data", f"{ailing} BTC/USDT 1m", "critical"),
        ("gap", f"{ailing} BTC/USDT 1m", "warning"),
    ]
    (stale,) = events(server, f"tapehouse.stale_data.{ailing}-btc-usdt-1m")
    assert stale["event"] == "tapehouse.finding.stale_data"
    assert stale["resource"]["prefect.resource.name"] == f"{ailing} BTC/USDT 1m"
    assert stale["payload"] == table["data"][0]
    assert any(one["prefect.resource.role"] == "flow-run" for one in stale["related"])
    (gap,) = events(server, f"tapehouse.gap.{ailing}-btc-usdt-1m")
    assert gap["payload"]["message"].startswith(f"{ailing} BTC/USDT 1m lacks 1d from")


async def test_the_report_shows_all_of_the_status(server: PrefectServer, ailing: str) -> None:
    # More than is found by itself: the form's limits.
    assert await check_health(gap_s=2 * 86_400.0, stale_intervals=1000.0) == {}

    (artifact,) = server.post(
        "/artifacts/latest/filter", {"artifacts": {"key": {"any_": ["check-health-report"]}}, "limit": 1}
    )
    report = artifact["data"]
    assert "Nothing needs a person." in report
    assert f"| {ailing} BTC/USDT 1m | " in report
    for heading in ("Freshness", "Rollups and features", "Storage", "Retention", "Jobs"):
        assert f"## {heading}\n" in report
    assert "| policy_compression of trade |" in report


async def test_the_storage_is_kept_in_order(server: PrefectServer, ailing: str) -> None:
    await check_storage()

    artifact = server.latest_artifact("check-storage")
    assert artifact["description"].startswith("8 jobs run, 0 failed.")
    tables = {row["table"]: row for row in artifact["data"]}
    assert len(tables) == 12
    assert tables["ohlcv"]["compressed"] > 0
    assert tables["ohlcv"]["due"] == 0
    assert tables["ohlcv"]["saved"] > 0
