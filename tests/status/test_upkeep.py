"""Compression and retention where the server runs no jobs, what is left alone where it does, and jobs that fail."""

import time
from datetime import UTC, datetime, timedelta
from typing import LiteralString

import numpy as np
import psycopg
import pytest

from tapehouse.errors import StoreError
from tapehouse.status import Limits, StorageCheck, check_storage, find_storage_problems, read_status, upkeep
from tapehouse.store import rollups
from tapehouse.store.connection import Connection, connect, is_embedded
from tapehouse.store.instruments import ensure_trade_series
from tapehouse.store.retention import change_kept, read_kept
from tapehouse.store.trades import write_trades
from tapehouse.timeframe import timeframe, to_us
from tapehouse.trade import TradeBatch
from tests.status.conftest import DAY, HOUR, make_instrument, make_series, write

TODAY = timeframe("1d").floor(datetime.now(UTC))
LATER = ("retain_ticks", "retain_features")
LIMITS = Limits(disk_free_share=0.0, disk_days=0.0)


@pytest.fixture
def unattended(empty: Connection) -> Connection:
    """A store whose server runs no jobs by itself."""
    if not is_embedded(empty):
        pytest.skip("this server runs its jobs by itself")
    return empty


@pytest.fixture
def attended(empty: Connection) -> Connection:
    """A store whose server runs its jobs by itself, and has run all of them."""
    if is_embedded(empty):
        pytest.skip("the embedded database runs no jobs by itself")
    deadline_s = time.monotonic() + 60
    # But for those that begin hours after the others.
    while any(job.succeeded_at is None and job.procedure not in LATER for job in read_status(empty).jobs):
        assert time.monotonic() < deadline_s, "the server's jobs do not run"
        time.sleep(0.2)
    return empty


def names(check: StorageCheck) -> list[str]:
    return [run.job.name for run in check.runs]


def chunks(connection: Connection, table: str) -> list[tuple[datetime, bool]]:
    """Where the table's chunks start, and whether they are compressed."""
    return connection.execute(
        "select range_start, is_compressed from timescaledb_information.chunks "
        "where hypertable_schema = current_schema() and hypertable_name = %s order by 1",
        [table],
    ).fetchall()


def write_trades_at(connection: Connection, *times: datetime) -> None:
    series = ensure_trade_series(connection, make_instrument(connection))
    times_us = np.array([to_us(time) for time in times])
    ones = np.ones(len(times))
    batch = TradeBatch(times_us, times_us, np.full(len(times), ""), ones, ones, ones.astype(np.int16))
    window = [(times[0], times[-1] + timedelta(seconds=1))]
    write_trades(connection, series, batch, asked=window, covered=window)


def test_all_jobs_are_run_once_and_not_again_before_their_time(unattended: Connection):
    # But for those that begin hours after the others.
    first, again = check_storage(unattended), check_storage(unattended)

    assert names(first) == [
        "retain_ohlcv",
        "policy_compression of imbalance",
        "policy_compression of ohlcv",
        "policy_compression of order_book",
        "policy_compression of order_book_1s",
        "policy_compression of trade",
        "compress_rollups of 6 rollups",
        "compress_rollups of trade_candle_1s",
    ]
    assert {run.error for run in first.runs} == {None}
    assert names(again) == []
    ran = [job for job in again.status.jobs if job.procedure not in LATER]
    for job in ran:
        assert job.succeeded_at is not None
        assert job.due_at is not None
        # A day, or half of one, from when it began.
        assert 0 <= job.every_s - (job.due_at - job.succeeded_at).total_seconds() < 60
    unattended.execute("update job_run set started_at = started_at - interval '13 hours'")
    assert {run.job.procedure for run in check_storage(unattended).runs} == {"policy_compression"}


def test_retention_is_due_when_its_job_is(unattended: Connection):
    due = {job.procedure: job.due_at for job in check_storage(unattended).status.jobs}

    kept = {one.dataset: one.next_run_at for one in read_kept(unattended)}

    assert kept["ohlcv"] == due["retain_ohlcv"]
    assert kept["trade"] == kept["order_book"] == due["retain_ticks"]


def test_old_chunks_are_compressed_and_young_ones_left(unattended: Connection):
    write_trades_at(unattended, TODAY - 3 * DAY, TODAY - 2 * DAY, TODAY - DAY, TODAY)
    expected = [(TODAY - days * DAY, days >= 2) for days in (3, 2, 1, 0)]

    check = check_storage(unattended)

    assert chunks(unattended, "trade") == expected
    table = next(one for one in check.status.tables if one.name == "trade")
    assert (table.chunks, table.compressed, table.due) == (4, 2, 0)
    # What comes late is compressed by the next check, though its job is not due yet.
    write_trades_at(unattended, TODAY - 9 * DAY)
    assert names(check_storage(unattended)) == ["policy_compression of trade"]
    assert chunks(unattended, "trade") == [(TODAY - 9 * DAY, True), *expected]


def test_what_is_older_than_it_is_kept_goes_once_it_is_rolled_up(unattended: Connection):
    series = make_series(unattended)
    old = TODAY - 200 * DAY
    write(unattended, series, (old, old + HOUR), (TODAY - HOUR, TODAY))
    write_trades_at(unattended, TODAY - 100 * DAY, TODAY - 80 * DAY)
    change_kept(unattended, {"ohlcv": "100 days"})

    check = check_storage(unattended)

    assert names(check)[:2] == ["retain_ohlcv", "retain_ticks"]
    assert chunks(unattended, "trade") == [(TODAY - 80 * DAY, True)]
    counted = unattended.execute("select count(*), min(time) from ohlcv").fetchall()
    assert counted == [(60, TODAY - HOUR)]
    # Its rollup was filled before, and stays.
    rolled = unattended.execute("select sum(minutes) from candle_1h where time < %s", [TODAY - 100 * DAY]).fetchall()
    assert rolled == [(60,)]
    kept = {one.dataset: one for one in read_kept(unattended)}
    dropped, kept_since = kept["ohlcv"].dropped_before, kept["ohlcv"].kept_since
    assert dropped is not None
    assert kept_since is not None
    assert old < dropped <= kept_since
    assert [one.overdue for one in check.status.retention] == [0] * 5
    assert find_storage_problems(check.status, LIMITS) == []


def test_nothing_goes_that_is_not_rolled_up(unattended: Connection, monkeypatch: pytest.MonkeyPatch):
    write_trades_at(unattended, TODAY - 100 * DAY)
    monkeypatch.setattr(rollups, "refresh_rollups", print)

    check = check_storage(unattended)

    assert "retain_ticks" in names(check)
    assert [start for start, _ in chunks(unattended, "trade")] == [TODAY - 100 * DAY]
    retention = next(one for one in check.status.retention if one.dataset == "trade")
    assert (retention.overdue, retention.held_from) == (1, TODAY - 100 * DAY)
    (held,) = find_storage_problems(check.status, Limits(overdue_s=0.0, disk_free_share=0.0, disk_days=0.0))
    assert "what is derived from it is behind, so run `tapehouse refresh`" in held.message


def replace_job(connection: Connection, body: LiteralString) -> None:
    """Let retain_ohlcv do something else."""
    connection.execute(
        "create or replace procedure retain_ohlcv(job_id integer, config jsonb) language plpgsql "
        f"as $$ begin {body}; end $$"
    )


def test_a_job_that_fails_stops_no_other_and_is_tried_again(unattended: Connection):
    replace_job(unattended, "raise exception 'out of luck'")
    assert len(names(check_storage(unattended))) == 8
    # Failures are due again after five minutes.
    unattended.execute("update job_run set started_at = started_at - interval '6 minutes'")

    check = check_storage(unattended)

    assert [(run.job.name, run.error) for run in check.runs] == [("retain_ohlcv", "out of luck")]
    (failing,) = find_storage_problems(check.status, LIMITS)
    assert (failing.kind, failing.subject) == ("storage_job_failing", "retain_ohlcv")
    assert failing.message.endswith("failed, 2 times in a row: out of luck.")
    replace_job(unattended, "null")
    unattended.execute("update job_run set started_at = started_at - interval '6 minutes'")
    assert find_storage_problems(check_storage(unattended).status, LIMITS) == []


def test_paused_jobs_are_not_run(unattended: Connection):
    unattended.execute(
        "select alter_job(job_id, scheduled => false) from timescaledb_information.jobs "
        "where hypertable_schema = current_schema()"
    )

    assert {run.job.procedure for run in check_storage(unattended).runs} == {"retain_ohlcv", "compress_rollups"}


def test_two_checks_are_not_made_at_a_time(empty: Connection, server_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(upkeep, "_LOCK_WAIT_S", 0.3)
    told: list[str] = []
    with connect(empty.info.dsn + f" password={empty.info.password}") as other:
        other.execute("select pg_advisory_lock(%s)", [0x6B656570])
        with pytest.raises(StoreError, match="Another check of the storage has been running"):
            check_storage(empty, progress=told.append)
    assert told == []
    check_storage(empty, progress=told.append)


def test_a_server_that_runs_its_jobs_is_left_to_it(attended: Connection):
    check = check_storage(attended)

    assert check.runs == ()
    assert check.status.database.runs_jobs
    assert find_storage_problems(check.status, LIMITS) == []


def test_what_a_server_has_left_undone_is_run(attended: Connection, server_url: str):
    job = next(one for one in read_status(attended).jobs if one.name == "policy_compression of trade")
    try:
        attended.execute("select _timescaledb_functions.stop_background_workers()")
    except psycopg.errors.InsufficientPrivilege:
        pytest.skip("only a superuser may stop background workers")
    try:
        attended.execute("select alter_job(%s, next_start => now() - interval '30 minutes')", [job.job_id])
        assert check_storage(attended).runs == ()
        attended.execute("select alter_job(%s, next_start => now() - interval '25 hours')", [job.job_id])
        (late,) = find_storage_problems(read_status(attended), LIMITS)
        assert (late.kind, late.subject) == ("storage_job_failing", "policy_compression of trade")
        assert "is due for 1d 1h and was not run" in late.message

        check = check_storage(attended)

        assert names(check) == ["policy_compression of trade"]
        assert find_storage_problems(check.status, LIMITS) == []
        assert check_storage(attended).runs == ()
    finally:
        attended.execute("select _timescaledb_functions.start_background_workers()")


def test_a_job_of_the_server_that_fails_is_found(attended: Connection):
    job = next(one for one in read_status(attended).jobs if one.name == "retain_ohlcv")
    replace_job(attended, "raise exception 'out of luck'")
    attended.execute("select alter_job(%s, next_start => now())", [job.job_id])
    deadline_s = time.monotonic() + 60
    while not (found := find_storage_problems(read_status(attended), LIMITS)):
        assert time.monotonic() < deadline_s, "the server does not run the job"
        time.sleep(0.2)

    assert (found[0].kind, found[0].subject) == ("storage_job_failing", "retain_ohlcv")
    assert "in a row: out of luck" in found[0].message
