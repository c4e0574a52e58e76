"""What goes into files, when it counts, and that retention waits for it."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tapehouse import MarketData
from tapehouse.archive.archiving import ArchiveResult, archive_due
from tapehouse.archive.draft import ArchiveDraft
from tapehouse.archive.verifying import verify_archive
from tapehouse.errors import ArchiveError, InputError
from tapehouse.files.arrow import parquet
from tapehouse.store.archive import (
    begin_archive,
    list_archive,
    list_unarchived,
    record_archive,
    switch_archiving,
)
from tapehouse.store.connection import Connection, connect
from tapehouse.store.delete import delete_rows
from tapehouse.store.instruments import find_instrument, find_series
from tapehouse.store.retention import change_kept
from tapehouse.timeframe import timeframe
from tests.archive.conftest import DAY, KEPT, KEPT_SINCE, TODAY, compress, make_tape, retain, settle, stored
from tests.query.conftest import Tape, random_bars, random_books, random_trades
from tests.query.moments import write_bars

Archiving = Callable[[], list[ArchiveResult]]
DATASETS = ("ohlcv", "trade", "order_book")
# In the chunk that the next run of retention drops.
FIRST = {"ohlcv": KEPT_SINCE - DAY, "trade": TODAY - 31 * DAY, "order_book": TODAY - 31 * DAY}
HOUR = timedelta(hours=1)


def write(tape: Tape, dataset: str, start: datetime, *, seed: int = 0) -> None:
    """An hour of a dataset, in sixty rows."""
    match dataset:
        case "ohlcv":
            write_bars(tape, random_bars(start, 60, seed=seed))
        case "trade":
            tape.write_trades(random_trades(start, 60, span=HOUR, seed=seed), (start, start + HOUR))
        case _:
            times = [start + number * timedelta(minutes=1) for number in range(60)]
            tape.write_books(random_books(times, seed=seed), (start, start + HOUR))


def change_a_row(_: Connection, tape: Tape, dataset: str) -> None:
    """Write another value in place of one, so that there are as many rows as before."""
    match dataset:
        case "ohlcv":
            write_bars(tape, random_bars(FIRST[dataset], 1, seed=99))
        case "trade":
            corrected = random_trades(FIRST[dataset], 60, span=HOUR)[:1]
            tape.write_trades(corrected.assign(price=corrected["price"] + 1), (FIRST[dataset], FIRST[dataset] + HOUR))
        case _:
            tape.write_books(random_books([FIRST[dataset]], seed=99), (FIRST[dataset], FIRST[dataset] + HOUR))


def delete_a_row(connection: Connection, tape: Tape, dataset: str) -> None:
    instrument = find_instrument(connection, tape.exchange, tape.symbol)
    series = find_series(connection, instrument, dataset, timeframe("1m") if dataset == "ohlcv" else None)  # pyright: ignore[reportArgumentType] -- of the three
    delete_rows(connection, series, FIRST[dataset], FIRST[dataset] + timedelta(minutes=1))


def due_of(connection: Connection, tape: Tape) -> list[tuple[str, datetime, int]]:
    """What of a market is due: dataset, from when on, how many rows."""
    return [
        (one.series.dataset, one.window[0], one.rows)
        for one in list_unarchived(connection)
        if one.series.instrument.exchange == tape.exchange
    ]


@pytest.mark.parametrize("is_compressed", [False, True], ids=["rows", "compressed"])
@pytest.mark.parametrize("dataset", DATASETS)
def test_retention_waits_for_the_archive(
    connection: Connection, tape: Tape, archived: Archiving, dataset: str, is_compressed: bool
):
    other = make_tape(connection)
    write(tape, dataset, FIRST[dataset])
    archived()
    # Of the same chunk, after the first was archived.
    write(other, dataset, FIRST[dataset])
    if is_compressed:
        compress(connection)

    retain(connection)
    assert stored(connection, dataset) == 120
    assert connection.execute("select from retention where dataset = %s", (dataset,)).fetchall() == []

    assert [one.series.instrument.exchange for one in archived()] == [other.exchange]
    retain(connection)
    assert stored(connection, dataset) == 0


def test_nothing_waits_where_archiving_is_off(connection: Connection, tape: Tape, root: Path):
    for dataset in DATASETS:
        write(tape, dataset, FIRST[dataset])
    switch_archiving(connection, off=["trade", "order_book"])
    assert [one.series.dataset for one in list_unarchived(connection)] == ["ohlcv"]

    retain(connection)

    assert [stored(connection, dataset) for dataset in DATASETS] == [60, 0, 0]
    assert not root.exists()


def test_only_what_expires_within_two_days_is_archived(connection: Connection, tape: Tape, archived: Archiving):
    for days in (29, 28, 27):
        write(tape, "trade", TODAY - days * DAY)

    # That of the 28th day before today ends within three days of being too old.
    assert [result.window[0] for result in archived()] == [TODAY - 29 * DAY]
    change_kept(connection, {"trade": None})
    write(tape, "trade", TODAY - 40 * DAY)
    assert archived() == []
    change_kept(connection, KEPT)


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("change", [change_a_row, delete_a_row], ids=["written", "deleted"])
def test_a_file_counts_no_longer_once_rows_of_its_time_change(
    connection: Connection, tape: Tape, archived: Archiving, schema_url: str, root: Path, dataset: str, change: Any
):
    write(tape, dataset, FIRST[dataset])
    (first,) = archived()
    change(connection, tape, dataset)
    left = stored(connection, dataset)
    with MarketData.connect(schema_url, cache_mb=0) as market:
        before = read(market, tape, dataset)

    retain(connection)
    assert stored(connection, dataset) == left
    (again,) = archived()
    retain(connection)

    assert (again.path, again.rows) == (first.path, left)
    assert stored(connection, dataset) == 0
    with MarketData.connect(schema_url, archive=root) as market:
        pd.testing.assert_frame_equal(read(market, tape, dataset), before, check_exact=True)


def read(market: MarketData, tape: Tape, dataset: str) -> pd.DataFrame:
    start, end = FIRST[dataset], FIRST[dataset] + DAY
    match dataset:
        case "ohlcv":
            return market.candles(tape.exchange, tape.symbol, "1m", start, end)
        case "trade":
            return market.trades(tape.exchange, tape.symbol, start, end)
        case _:
            return market.order_books(tape.exchange, tape.symbol, start, end)


def test_what_is_dropped_while_it_is_listed_is_not_due(connection: Connection, tape: Tape, schema_url: str):
    write(tape, "trade", FIRST["trade"])
    with connect(schema_url) as other, ThreadPoolExecutor() as threads:
        with other.transaction():
            other.execute("select drop_chunks('trade', older_than => %s)", (FIRST["trade"] + DAY,))
            listed = threads.submit(list_unarchived, connection)
            # Until it waits for that; the embedded database lets nobody in before, so there it does not.
            for _ in range(50):
                if other.execute("select from pg_locks where not granted").fetchall():
                    break
                time.sleep(0.02)
        assert listed.result() == []


def test_writes_elsewhere_leave_a_file_as_it_is(connection: Connection, tape: Tape, archived: Archiving):
    for dataset in DATASETS:
        write(tape, dataset, FIRST[dataset])
    archived()
    for dataset in DATASETS:
        write(tape, dataset, TODAY - 2 * DAY)
        write(make_tape(connection), dataset, TODAY - 2 * DAY)

    assert list_unarchived(connection) == []
    assert len(list_archive(connection)) == 3


def test_rows_that_change_while_they_are_archived_are_not_recorded(connection: Connection, tape: Tape):
    write(tape, "trade", FIRST["trade"])
    ((series, window),) = [(one.series, one.window) for one in list_unarchived(connection)]

    begin_archive(connection, series, window)
    change_a_row(connection, tape, "trade")

    assert not record_archive(connection, series, window, path="a", rows=60, sha256="b")
    assert due_of(connection, tape) == [("trade", TODAY - 31 * DAY, 60)]


@pytest.mark.parametrize("dataset", DATASETS)
def test_what_was_written_otherwise_than_it_is_stored_does_not_count(
    connection: Connection, tape: Tape, root: Path, monkeypatch: pytest.MonkeyPatch, dataset: str
):
    write(tape, dataset, FIRST[dataset])
    whole = ArchiveDraft.write

    def lossy(self: ArchiveDraft, table: Any) -> None:
        # A disk that writes the first row twice, and not the last one.
        whole(self, table.take([0, *range(len(table) - 1)]))

    monkeypatch.setattr(ArchiveDraft, "write", lossy)
    (result,) = archive_due(connection, root)

    assert result.status == "failed"
    assert isinstance(result.error, ArchiveError)
    assert "is not what is stored" in str(result.error)
    assert list_archive(connection) == []
    assert [path for path in root.rglob("*") if path.is_file()] == []
    retain(connection)
    assert stored(connection, dataset) == 60


def test_the_same_rows_give_the_same_file(connection: Connection, tape: Tape, root: Path, archived: Archiving):
    for dataset in DATASETS:
        write(tape, dataset, FIRST[dataset])
    paths = [root / one.path for one in archived()]
    before = [path.read_bytes() for path in paths]
    connection.execute("delete from archive")

    archived()

    assert [path.read_bytes() for path in paths] == before


def test_files_are_read_by_anyone(connection: Connection, tape: Tape, root: Path, archived: Archiving):
    write(tape, "trade", FIRST["trade"])
    (result,) = archived()

    day = FIRST["trade"]
    assert result.path == (
        f"dataset=trade/exchange={tape.exchange}/symbol=BTC%2FUSDT/{day:%Y-%m-%d}_{day + DAY:%Y-%m-%d}.parquet"
    )
    frame = parquet.read_table(root / result.path, partitioning=None).to_pandas().set_index("time")
    expected = random_trades(day, 60, span=HOUR)
    pd.testing.assert_frame_equal(
        frame[["trade_id", "price", "amount"]], expected[["trade_id", "price", "amount"]], check_freq=False
    )


def test_files_of_dropped_rows_stay_where_chunks_become_longer(
    connection: Connection, tape: Tape, root: Path, schema_url: str, archived: Archiving
):
    # Chunks of a week begin with one of 1970: the second day of this one is dropped before its third is stored.
    monday = FIRST["trade"] - timedelta(days=(FIRST["trade"] - datetime(1970, 1, 1, tzinfo=UTC)).days % 7 + 7)
    write(tape, "trade", monday + DAY)
    archived()
    retain(connection)
    connection.execute("update retention set dropped_before = %s where dataset = 'trade'", (monday + 2 * DAY,))
    connection.execute("select set_chunk_time_interval('trade', interval '7 days')")
    write(tape, "trade", monday + 2 * DAY, seed=1)
    with MarketData.connect(schema_url, archive=root) as market:
        before = market.trades(tape.exchange, tape.symbol, monday, monday + 3 * DAY)

    archived()
    retain(connection)
    connection.execute("select set_chunk_time_interval('trade', interval '1 day')")

    assert stored(connection, "trade") == 0
    with MarketData.connect(schema_url, archive=root) as market:
        after = market.trades(tape.exchange, tape.symbol, monday, monday + 3 * DAY)
    assert len(after) == 120
    pd.testing.assert_frame_equal(after, before, check_exact=True)


def test_a_file_of_something_else_is_left_alone(connection: Connection, tape: Tape, root: Path, archived: Archiving):
    write(tape, "trade", FIRST["trade"])
    (result,) = archived()
    path = root / result.path
    connection.execute("delete from archive")
    # As the file of another database whose instrument is of another time.
    connection.execute(
        "update instrument set first_seen_at = first_seen_at - interval '1 day' where exchange = %s", (tape.exchange,)
    )
    content = path.read_bytes()

    (refused,) = archive_due(connection, root)

    assert isinstance(refused.error, InputError)
    assert str(path) in str(refused.error)
    assert path.read_bytes() == content
    assert list_archive(connection) == []


def test_a_file_that_is_lost_before_its_rows_are_is_written_anew(
    connection: Connection, tape: Tape, root: Path, archived: Archiving
):
    for dataset in DATASETS:
        write(tape, dataset, FIRST[dataset])
    lost, broken, sound = (root / one.path for one in archived())
    lost.unlink()
    broken.write_bytes(broken.read_bytes()[:-1])

    states = {root / one.file.path: one.state for one in verify_archive(connection, root)}
    assert states == {lost: "missing", broken: "changed", sound: "sound"}
    broken.unlink()
    assert {root / one.path for one in archived()} == {lost, broken}
    assert [one.state for one in verify_archive(connection, root)] == ["sound"] * 3


def test_a_check_of_another_folder_forgets_nothing(
    connection: Connection, tape: Tape, root: Path, archived: Archiving, tmp_path: Path
):
    write(tape, "trade", FIRST["trade"])
    archived()
    (tmp_path / "another").mkdir()

    assert [one.state for one in verify_archive(connection, tmp_path / "another")] == ["missing"]
    with pytest.raises(InputError, match="nowhere: it is no folder"):
        list(verify_archive(connection, tmp_path / "nowhere"))

    assert [one.state for one in verify_archive(connection, root)] == ["sound"]


def test_a_lost_file_of_dropped_rows_is_told_and_kept_in_mind(
    connection: Connection, tape: Tape, root: Path, archived: Archiving
):
    write(tape, "trade", FIRST["trade"])
    (result,) = archived()
    retain(connection)
    (root / result.path).unlink()

    assert [one.state for one in verify_archive(connection, root)] == ["missing"]
    assert archived() == []
    assert [one.path for one in list_archive(connection)] == [result.path]


KILLED = """
import sys
from pathlib import Path
from tapehouse.archive.archiving import archive_due
from tapehouse.store.connection import connect

with connect(sys.argv[1]) as connection:
    archive_due(connection, Path(sys.argv[2]), progress=lambda result: print(result.path, flush=True))
"""


def test_archiving_that_is_killed_goes_on_where_it_was(
    connection: Connection, schema_url: str, root: Path, archived: Archiving
):
    rng = random.Random(3)
    tapes = [make_tape(connection) for _ in range(2)]
    for tape in tapes:
        for days in range(31, 34):
            for dataset in ("trade", "order_book"):
                write(tape, dataset, TODAY - days * DAY)
    settle(connection)
    seen: set[int] = set()
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, schema_url, str(root)], stdout=subprocess.PIPE, env={**os.environ}, text=True
        )
        assert process.stdout is not None
        # It is killed at work: after some files, and a moment more.
        for _ in range(rng.randint(1, 4)):
            process.stdout.readline()
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        states = [one.state for one in verify_archive(connection, root)]
        assert set(states) <= {"sound"}
        seen.add(len(states))
        retain(connection)

    archived()
    retain(connection)

    assert len(seen - {0, 12}) >= 1
    assert [one.state for one in verify_archive(connection, root)] == ["sound"] * 12
    assert (stored(connection, "trade"), stored(connection, "order_book")) == (0, 0)
    assert [path for path in root.rglob("*") if path.name.endswith(".part")] == []
    with MarketData.connect(schema_url, archive=root) as market:
        for tape in tapes:
            for days in range(31, 34):
                start = TODAY - days * DAY
                pd.testing.assert_frame_equal(
                    market.trades(tape.exchange, tape.symbol, start, start + DAY),
                    random_trades(start, 60, span=HOUR),
                    check_exact=True,
                    check_freq=False,
                )
