"""Everything that a status may find, planted for real, each found and nothing else; nothing found where all is well."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import LiteralString

import numpy as np
import pytest

from tapehouse.candle import CandleBatch, Reject
from tapehouse.ranges import Unavailable
from tapehouse.status import DiskStatus, Finding, Limits, find_problems, find_storage_problems, read_status
from tapehouse.store.candles import write_candles
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import ensure_trade_series
from tapehouse.store.ledger import record_asked, record_wanted
from tapehouse.timeframe import timeframe, to_us
from tests.status.conftest import DAY, HOUR, MINUTE, follow, make_instrument, make_series, write

OLD = datetime(2023, 5, 1, tzinfo=UTC)
DELETE: LiteralString = "select delete_job(%s)"
PAUSE: LiteralString = "select alter_job(%s, scheduled => false)"
# The disk of this machine is nobody's business here.
LIMITS = Limits(disk_free_share=0.0, disk_days=0.0)


def found(connection: Connection, limits: Limits = LIMITS) -> list[Finding]:
    return find_problems(read_status(connection), limits)


def now() -> datetime:
    return timeframe("1m").floor(datetime.now(UTC))


def test_nothing_is_found_where_all_is_well(sound: Connection):
    assert found(sound) == []


def test_nothing_is_found_where_nothing_is_stored(empty: Connection):
    assert found(empty) == []


def test_a_series_that_is_followed_and_lags_is_stale(sound: Connection):
    series = make_series(sound)
    until = now() - 2 * HOUR
    write(sound, series, (until - HOUR, until))
    follow(sound, series, every=MINUTE, last=2 * HOUR)

    (stale,) = found(sound)

    assert (stale.kind, stale.severity) == ("stale_data", "critical")
    assert stale.subject == f"{series.instrument.exchange} BTC/USDT 1m"
    assert f"{stale.subject} ends 2h" in stale.message
    assert "(120 intervals), usual are at most 2m" in stale.message or "(121 intervals)" in stale.message


@pytest.mark.parametrize(
    ("timeframe_name", "every", "lag", "is_stale"),
    [
        # Ten minutes at least.
        ("1m", MINUTE, 9 * MINUTE, False),
        ("1m", MINUTE, 12 * MINUTE, True),
        # Three of its own intervals.
        ("1h", 5 * MINUTE, 2.9 * HOUR, False),
        ("1h", 5 * MINUTE, 3.1 * HOUR, True),
        # Three of the times between two runs.
        ("5m", HOUR, 2.9 * HOUR, False),
        ("5m", HOUR, 3.1 * HOUR, True),
        ("1d", 12 * HOUR, 2.9 * DAY, False),
        ("1d", 12 * HOUR, 3.1 * DAY, True),
    ],
)
def test_how_much_lag_is_too_much(
    sound: Connection, timeframe_name: str, every: timedelta, lag: timedelta, is_stale: bool
):
    series = make_series(sound, timeframe_name)
    until = datetime.now(UTC) - lag
    window = [(until - 10 * series.timeframe.length, until)]
    record_wanted(sound, series, window[0])
    write_candles(sound, series, candles_of(np.array([])), asked=window, covered=window)
    follow(sound, series, every=every, last=every)

    assert [one.kind for one in found(sound)] == ["stale_data"] * is_stale


def test_a_run_that_is_tried_again_does_not_make_the_next_one_late(sound: Connection):
    series = make_series(sound)
    until = now() - 50 * MINUTE
    write(sound, series, (until - HOUR, until))
    follow(sound, series, every=HOUR)
    # Thrice, as tasks are.
    for _ in range(3):
        record_asked(sound, series)

    assert found(sound) == []


def test_runs_that_come_more_often_are_expected_so_soon(sound: Connection):
    series = make_series(sound)
    until = now() - 50 * MINUTE
    write(sound, series, (until - HOUR, until))
    follow(sound, series, every=HOUR)
    # An hour of every minute.
    for _ in range(60):
        sound.execute("update series set asked_at = asked_at - %s, asked_before = asked_before - %s", [MINUTE, MINUTE])
        record_asked(sound, series)

    assert [one.kind for one in found(sound)] == ["stale_data"]


def test_a_series_of_which_nothing_came_is_stale(sound: Connection):
    series = ensure_trade_series(sound, make_instrument(sound))
    record_asked(sound, series)
    record_asked(sound, series)

    (stale,) = found(sound)

    assert stale.kind == "stale_data"
    assert stale.message.startswith(f"Nothing of {series.instrument.exchange} BTC/USDT trade has come")


def test_what_nobody_follows_is_not_stale(sound: Connection):
    once, given_up, delisted = (make_series(sound) for _ in range(3))
    until = now() - 8 * DAY
    for series in (once, given_up, delisted):
        write(sound, series, (until - HOUR, until))
    record_asked(sound, once)
    follow(sound, given_up, every=MINUTE, last=8 * DAY)
    follow(sound, delisted, every=MINUTE, last=HOUR)
    sound.execute("update instrument set active = false where instrument_id = %s", [delisted.instrument.instrument_id])

    assert found(sound) == []


def test_a_gap_of_an_hour_is_found_and_the_longest_is_named(sound: Connection):
    series = make_series(sound)
    end = now() - DAY
    write(sound, series, (end - 10 * HOUR, end - 8 * HOUR), (end - 6 * HOUR, end - HOUR), (end - 59 * MINUTE, end))

    (gap,) = found(sound)

    assert (gap.kind, gap.severity) == ("gap", "warning")
    assert f"lacks 2h from {end - 8 * HOUR:%Y-%m-%d %H:%M} UTC on, and has 1 more gap" in gap.message


def test_a_gap_that_is_shorter_is_none_for_a_person(sound: Connection):
    series = make_series(sound)
    end = now() - DAY
    write(sound, series, (end - 3 * HOUR, end - 2 * HOUR), (end - 61 * MINUTE, end))

    assert found(sound) == []


def test_what_can_not_be_had_is_no_gap(sound: Connection):
    series = make_series(sound)
    end = now() - DAY
    write(sound, series, (end - 10 * HOUR, end - 8 * HOUR), (end - 2 * HOUR, end))
    lost = Unavailable(end - 8 * HOUR, end - 2 * HOUR, "beyond_exchange_history")
    write_candles(sound, series, candles_of(np.array([])), asked=[], covered=[], refused=[lost])

    assert found(sound) == []


@pytest.mark.parametrize(("rejected", "age", "is_found"), [(20, HOUR, True), (9, HOUR, False), (20, 2 * DAY, False)])
def test_many_rejected_rows_of_the_last_day_are_found(sound: Connection, rejected: int, age: timedelta, is_found: bool):
    series = make_series(sound)
    end = now()
    write(sound, series, (end - 3 * DAY, end))
    rejects = [Reject(end - age - n * MINUTE, ("high_below_low",), [n]) for n in range(rejected)]
    window = [(end - age - HOUR, end - age + MINUTE)]
    write_candles(sound, series, candles_of(np.array([])), asked=window, covered=[], rejected=rejects)

    findings = found(sound)

    assert [one.kind for one in findings] == ["quarantine_rate"] * is_found
    if is_found:
        assert "20 rows of the last 24 hours (1.4%) were rejected" in findings[0].message


def test_rejected_rows_of_times_to_come_are_of_the_day_they_came(sound: Connection):
    series = make_series(sound)
    end = now()
    write(sound, series, (end - 3 * DAY, end))
    rejects = [Reject(end + 1000 * DAY, ("time_outside_window",), [number]) for number in range(20)]
    write_candles(sound, series, candles_of(np.array([])), asked=[], covered=[], rejected=rejects)
    assert [one.kind for one in found(sound)] == ["quarantine_rate"]

    sound.execute("update quarantine set first_seen_at = first_seen_at - interval '25 hours'")

    assert found(sound) == []


def test_rollups_that_wait_are_found(sound: Connection):
    series = make_series(sound)
    write(sound, series, (OLD, OLD + HOUR))
    assert found(sound) == []
    sound.execute("update stale_rollup set noted_at = now() - interval '2 hours' where upper(during) < %s", [OLD + DAY])

    findings = found(sound)

    assert {one.kind for one in findings} == {"rollup_behind"}
    assert [one.subject for one in findings] == [f"candle_{name}" for name in ("5m", "15m", "1h", "4h", "1d")]
    assert "has waited 2h for a refresh from 2023-05-01 00:00 UTC on" in findings[0].message


@pytest.mark.parametrize(
    ("change", "subject"),
    [
        (DELETE, "policy_compression of trade"),
        (PAUSE, "policy_compression of order_book_1s"),
        (DELETE, "retain_ticks"),
        (PAUSE, "retain_ohlcv"),
        (DELETE, "retain_features"),
    ],
)
def test_a_job_that_is_missing_is_found(sound: Connection, change: LiteralString, subject: str):
    job = next(one for one in read_status(sound).jobs if one.name == subject)
    sound.execute(change, [job.job_id])

    (missing,) = found(sound)

    assert (missing.kind, missing.subject, missing.severity) == ("storage_job_missing", subject, "critical")


def test_each_rollup_that_no_job_compresses_is_found(sound: Connection):
    job = next(one for one in read_status(sound).jobs if one.name == "compress_rollups of 6 rollups")
    sound.execute(
        "select alter_job(job_id, config => jsonb_set(config, '{views}', (config -> 'views') - 'candle_1h')) "
        "from timescaledb_information.jobs where job_id = %s",
        [job.job_id],
    )

    assert [one.subject for one in found(sound)] == ["compress_rollups of candle_1h"]


def test_what_is_kept_for_good_lacks_no_job(sound: Connection):
    from tapehouse.store.retention import change_kept

    change_kept(sound, {"ohlcv": None, "trade": None, "order_book_1s": None, "imbalance": None})

    assert found(sound) == []


def test_compression_that_saves_little_is_found(sound: Connection):
    """Numbers that have nothing in common, in enough rows that what a chunk costs by itself does not count."""
    series = make_series(sound)
    random = np.random.default_rng(7)
    batch = candles_of(np.rint(random.random((5, 40_000)) * 1e14) / 100)
    window = [(OLD, OLD + 40_000 * MINUTE)]
    write_candles(sound, series, batch, asked=window, covered=window)
    sound.execute("select compress_chunk(c) from show_chunks('ohlcv', older_than => %s) as c", [OLD + 60 * DAY])
    limits = Limits(compression_enough_bytes=2**20, disk_free_share=0.0, disk_days=0.0)

    (poor,) = found(sound, limits)

    assert (poor.kind, poor.subject) == ("compression_poor", "ohlcv")
    assert "less than 80%: its values differ too much from row to row" in poor.message
    assert found(sound) == []  # By itself, so little tells nothing.


def test_chunks_that_wait_to_be_compressed_are_found(empty: Connection):
    write(empty, make_series(empty), (OLD, OLD + HOUR))
    assert found(empty) == []

    waiting, _ = found(empty, Limits(overdue_s=0.0, disk_free_share=0.0, disk_days=0.0))

    assert (waiting.kind, waiting.subject) == ("compression_overdue", "ohlcv")


def test_rows_that_should_be_gone_are_found(empty: Connection):
    write(empty, make_series(empty), (OLD, OLD + HOUR))
    empty.execute("select compress_chunk(c) from show_chunks('ohlcv') as c")
    assert found(empty) == []

    (overdue,) = found(empty, Limits(overdue_s=0.0, disk_free_share=0.0, disk_days=0.0))

    assert (overdue.kind, overdue.subject) == ("retention_overdue", "ohlcv")
    # Its rollups are behind, so retention must wait.
    assert (
        "1 chunk of ohlcv, which is kept for 2 years, should be gone: what is derived from it is behind"
        in overdue.message
    )


def test_a_disk_that_is_nearly_full_is_found(sound: Connection, tmp_path: Path):
    total, _, free = shutil.disk_usage(tmp_path)
    status = replace(read_status(sound), disk=DiskStatus("/data", total, free))

    (low,) = find_problems(status, Limits(disk_free_share=1.0, disk_days=0.0))

    assert (low.kind, low.severity, low.subject) == ("disk_low", "critical", "/data")
    assert find_storage_problems(status, Limits(disk_free_share=0.0, disk_days=1e12)) == [low]
    assert find_problems(status, Limits(disk_free_share=free / total / 2, disk_days=0.0)) == []


def candles_of(values: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> CandleBatch:
    """1m candles from OLD on of five rows of numbers that mean nothing; or none."""
    columns = values if values.size else np.zeros((5, 0))
    return CandleBatch(to_us(OLD) + 60_000_000 * np.arange(columns.shape[1]), *columns)


_: Callable[..., object] = follow
