"""Metrics as Prometheus reads them, beside what the database says."""

import urllib.request
from collections.abc import Iterator
from typing import Any, LiteralString

import pytest
from prometheus_client.parser import text_string_to_metric_families
from psycopg.conninfo import make_conninfo

from tapehouse.errors import ServiceError
from tapehouse.metrics import MetricsServer, StatusCollector
from tapehouse.store.connection import Connection, connect
from tapehouse.store.migrate import migrate

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(url: str) -> Samples:
    """Every sample of a scrape by its name, without the prefix, and its labels."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        text = answer.read().decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    found = {(one.name.removeprefix("tapehouse_"), frozenset(one.labels.items())): one.value for one in samples}
    assert len(found) == len(samples)
    return found


def labelled(**labels: str) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def metrics_url(sound_url: str, told: list[str]) -> Iterator[str]:
    """The metrics of a store that nothing is wrong with, read anew for every scrape."""
    with MetricsServer(StatusCollector(sound_url, fresh_s=0, tell=told.append), host="127.0.0.1", port=0) as server:
        yield server.url


def test_a_scrape_says_what_the_database_does(metrics_url: str, sound_url: str, told: list[str]) -> None:
    found = scrape(metrics_url)
    with connect(sound_url) as connection:
        rows, until, size = one(
            connection,
            "select count(*), extract(epoch from max(time)) + 60, pg_database_size(current_database()) from ohlcv",
        )
        chunks = one(
            connection,
            "select count(*), count(*) filter (where is_compressed) from timescaledb_information.chunks "
            "where hypertable_schema = current_schema() and hypertable_name = 'ohlcv'",
        )
        jobs = one(
            connection,
            "select count(*) from timescaledb_information.jobs "
            "where coalesce(hypertable_schema, proc_schema) = current_schema()",
        )
        now = one(connection, "select extract(epoch from now())")
    ((exchange, symbol),) = {
        (dict(labels)["exchange"], dict(labels)["symbol"]) for name, labels in found if name == "series_rows"
    }
    series = labelled(exchange=exchange, symbol=symbol, dataset="ohlcv", timeframe="1m")

    assert found["up", labelled()] == 1
    assert found["series_rows", series] == rows
    assert found["series_covered_until_timestamp_seconds", series] == float(until)
    lag_s = found["status_timestamp_seconds", labelled()] - float(until)
    assert found["series_lag_seconds", series] == pytest.approx(lag_s)
    assert 0 < float(now[0]) - found["status_timestamp_seconds", labelled()] < 60
    assert found["series_gaps", series] == 0
    ohlcv = labelled(table="ohlcv")
    assert (found["table_chunks", ohlcv], found["table_compressed_chunks", ohlcv]) == chunks
    assert found["database_bytes", labelled()] == pytest.approx(size, rel=0.1)
    assert len([labels for name, labels in found if name == "job_failures"]) == jobs[0]
    assert len([labels for name, labels in found if name == "rollup_stale_notes"]) >= 7
    assert not [labels for name, labels in found if name == "findings"]
    assert told == []


def test_however_often_it_is_scraped_the_database_is_read_rarely(sound_url: str, told: list[str]) -> None:
    with MetricsServer(StatusCollector(sound_url, fresh_s=3600, tell=told.append), host="127.0.0.1", port=0) as server:
        first, second = scrape(server.url), scrape(server.url)

    assert first == second


def test_a_store_that_cannot_be_read_is_down_until_it_can(server_url: str, told: list[str]) -> None:
    url = make_conninfo(server_url, options="-c search_path=metrics_later,public")
    with (
        connect(server_url) as connection,
        MetricsServer(StatusCollector(url, fresh_s=0, tell=told.append), host="127.0.0.1", port=0) as server,
    ):
        connection.execute("create schema metrics_later")
        # Found before any other store's.
        connection.execute("create table metrics_later.series ()")
        try:
            missing, still_missing = scrape(server.url), scrape(server.url)
            with connect(url) as later:
                later.execute("drop table series")
                migrate(later, [])
                migrate(later)
            there = scrape(server.url)
        finally:
            connection.execute("drop schema metrics_later cascade")

    assert {name for name, _ in missing} == {"up", "status_read_seconds"}
    assert [found["up", labelled()] for found in (missing, still_missing, there)] == [0, 0, 1]
    assert len(told) == 2
    assert "run `tapehouse db migrate`" in told[0]
    assert told[1] == "The database answers again."


def test_what_needs_a_person_is_counted(empty: Connection, server_url: str, told: list[str]) -> None:
    empty.execute(
        "select delete_job(job_id) from timescaledb_information.jobs "
        "where proc_schema = current_schema() and proc_name in ('retain_ohlcv', 'retain_ticks')"
    )
    (schema,) = one(empty, "select current_schema()")
    url = make_conninfo(server_url, options=f"-c search_path={schema},public")
    with MetricsServer(StatusCollector(url, fresh_s=0, tell=told.append), host="127.0.0.1", port=0) as server:
        found = scrape(server.url)

    assert found["findings", labelled(kind="storage_job_missing", severity="critical")] == 2


def test_a_port_in_use_is_told_in_a_sentence(metrics_url: str, sound_url: str) -> None:
    port = int(metrics_url.rpartition(":")[2].partition("/")[0])

    with pytest.raises(ServiceError, match=rf"Can't listen on port {port} of 127\.0\.0\.1"):
        MetricsServer(StatusCollector(sound_url, fresh_s=0, tell=print), host="127.0.0.1", port=port)


def one(connection: Connection, statement: LiteralString) -> tuple[Any, ...]:
    (row,) = connection.execute(statement).fetchall()
    return row
