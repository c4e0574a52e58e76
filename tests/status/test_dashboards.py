"""Grafana's dashboards: each query of a panel runs on the real database, each metric is in a real scrape."""

import json
import re
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, LiteralString, cast

import pytest
import yaml
from psycopg import sql

from tapehouse.candle import Reject
from tapehouse.metrics import MetricsServer, StatusCollector
from tapehouse.store.agreement import compare_candles
from tapehouse.store.candles import write_candles
from tapehouse.store.connection import Connection, connect
from tapehouse.store.features import refresh_features
from tapehouse.store.instruments import ensure_candle_series, find_instrument
from tapehouse.store.rollups import refresh_rollups
from tapehouse.timeframe import timeframe
from tests.query.conftest import Tape, make_instrument, random_books, random_trades
from tests.status.conftest import new_store
from tests.store.conftest import candles

GRAFANA: Final = Path(__file__).parents[2] / "deployments" / "grafana"
DASHBOARDS: Final[dict[str, dict[str, Any]]] = {
    path.stem: json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))
}
PANELS: Final = [(name, panel) for name, dashboard in DASHBOARDS.items() for panel in dashboard["panels"]]
START: Final = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=2)
DAY: Final = timedelta(days=1)


def targets(kind: str) -> list[Any]:
    """The queries of panels to one kind of source, each by its dashboard and panel."""
    return [
        pytest.param(panel, target, id=f"{name}: {panel['title']}")
        for name, panel in PANELS
        for target in panel["targets"]
        if target["datasource"]["type"] == kind
    ]


@pytest.fixture(scope="module")
def url(server_url: str) -> Iterator[str]:
    with new_store(server_url) as url:
        yield url


@pytest.fixture(scope="module")
def tape(url: str) -> Iterator[Tape]:
    """A market with a day of everything, one rejected row, and what is derived."""
    with connect(url) as connection:
        tape = make_instrument(connection, "BTC/USDT", exchange="O'Exchange")
        instrument = find_instrument(connection, tape.exchange, tape.symbol)
        series = ensure_candle_series(connection, instrument, timeframe("1m"))
        write_candles(
            connection,
            series,
            candles(START, [100.0 + minute for minute in range(1440)]),
            asked=[(START, START + DAY)],
            covered=[(START, START + DAY)],
            rejected=[Reject(None, ("high_below_low",), {"row": 1})],
        )
        tape.write_trades(random_trades(START, 500, span=timedelta(hours=1)), (START, START + timedelta(hours=1)))
        tape.write_books(
            random_books(START + timedelta(seconds=5 * number) for number in range(20)),
            (START, START + timedelta(minutes=2)),
        )
        refresh_rollups(connection)
        refresh_features(connection)
        compare_candles(connection, start=START, end=START + timedelta(hours=1))
        yield tape


def as_grafana_sends_it(text: str, tape: Tape) -> sql.SQL:
    """The query with Grafana's macros and variables replaced, as its PostgreSQL source does."""
    start, end = START - timedelta(hours=1), START + 3 * DAY
    text = re.sub(r"\$__timeFilter\(([\w.]+)\)", rf"\1 between '{start.isoformat()}' and '{end.isoformat()}'", text)
    text = re.sub(r"\$__timeGroup\((\w+), ?\$__interval\)", r"time_bucket('60s', \1)", text)
    variables = {
        "${exchange:sqlstring}": "'O''Exchange'",
        "${symbol:sqlstring}": f"'{tape.symbol}'",
        "$candles": "candle_15m_view",
    }
    for variable, value in variables.items():
        text = text.replace(variable, value)
    assert "$" not in text
    return sql.SQL(cast("LiteralString", text))


def columns(connection: Connection, text: sql.SQL) -> dict[str, list[object]]:
    cursor = connection.execute(text)
    names = [column.name for column in cursor.description or ()]
    return dict(zip(names, map(list, zip(*cursor.fetchall(), strict=True)), strict=False))


@pytest.mark.parametrize(("panel", "target"), targets("grafana-postgresql-datasource"))
def test_a_panel_shows_what_is_stored(tape: Tape, panel: Mapping[str, Any], target: Mapping[str, Any]) -> None:
    found = columns(tape.connection, as_grafana_sends_it(target["rawSql"], tape))

    assert all(found.values()), "no rows"
    assert len(found) > 1
    if panel["type"] in ("timeseries", "candlestick"):
        times = cast("list[datetime]", found.pop("time"))
        assert times == sorted(times)
        assert all(isinstance(value, int | float) or value is None for values in found.values() for value in values)
    if panel["type"] == "candlestick":
        assert set(found) == {"open", "high", "low", "close", "volume"}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboards_variables_offer_what_is_stored(tape: Tape, name: str) -> None:
    for variable in DASHBOARDS[name]["templating"]["list"]:
        if variable["type"] == "query":
            (offered,) = columns(tape.connection, as_grafana_sends_it(variable["query"], tape)).values()
            assert offered in ([tape.exchange], [tape.symbol])
        else:
            for view in variable["query"].split(","):
                assert tape.connection.execute("select to_regclass(%s) is not null", (view,)).fetchone() == (True,)


@pytest.fixture(scope="module")
def scraped(url: str, tape: Tape) -> dict[str, set[str]]:
    """The labels of each metric that a scrape tells of."""
    with (
        MetricsServer(StatusCollector(url, fresh_s=0, tell=print), host="127.0.0.1", port=0) as server,
        urllib.request.urlopen(server.url, timeout=30) as answer,
    ):
        text = answer.read().decode()
    names = re.findall(r"^# TYPE (\w+) gauge", text, re.MULTILINE)
    return {
        name: {label for labels in re.findall(rf"^{name}{{(.*)}}", text, re.MULTILINE) for label in _labels(labels)}
        for name in names
    }


def _labels(text: str) -> list[str]:
    return re.findall(r'(\w+)="', text)


@pytest.mark.parametrize(("panel", "target"), targets("prometheus"))
def test_a_panel_asks_for_metrics_that_there_are(
    scraped: Mapping[str, set[str]], panel: Mapping[str, Any], target: Mapping[str, Any]
) -> None:
    metrics = set(re.findall(r"\btapehouse_\w+", target["expr"]))

    assert metrics
    assert metrics <= set(scraped), panel["title"]
    for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
        # Where there is no sample, nobody can tell.
        assert all(label in scraped[name] for name in metrics if scraped[name])


def test_dashboards_fit_together_and_their_sources_are_provisioned() -> None:
    sources = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "tapehouse.yaml").read_text())["datasources"]
    types = {one["uid"]: one["type"] for one in sources}

    assert len({dashboard["uid"] for dashboard in DASHBOARDS.values()}) == len(DASHBOARDS) == 2
    for dashboard in DASHBOARDS.values():
        panels = dashboard["panels"]
        assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
        taken = [cell for panel in panels for cell in _cells(panel["gridPos"])]
        assert len(taken) == len(set(taken))
        for panel in panels:
            for target in panel["targets"]:
                assert types[target["datasource"]["uid"]] == target["datasource"]["type"]


def _cells(place: Mapping[str, int]) -> Iterator[tuple[int, int]]:
    """The cells of the grid, 24 wide, that a panel takes."""
    assert place["x"] + place["w"] <= 24
    return (
        (x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])
    )
