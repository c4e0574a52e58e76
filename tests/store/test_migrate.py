import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from tapehouse.errors import MigrationError, NotMigrated
from tapehouse.store.connection import Connection, connect, store_errors
from tapehouse.store.migrate import Migration, migrate, pending_migrations, read_migrations, require_migrated


@pytest.fixture
def schema_url(server_url: str) -> Iterator[str]:
    """The URL of an empty schema."""
    schema = f"migrate_{uuid4().hex[:12]}"
    with connect(server_url) as connection:
        connection.execute(sql.SQL("create schema {}").format(sql.Identifier(schema)))
        separator = "&" if "?" in server_url else "?"
        yield f"{server_url}{separator}options=-csearch_path%3D{schema}%2Cpublic"
        _drop(connection, schema)


def _drop(connection: Connection, schema: str) -> None:
    # TimescaleDB's own jobs, which start with the tables, may be looking at them just now.
    for _ in range(10):
        with suppress(psycopg.errors.DeadlockDetected):
            connection.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(schema)))
            return


@pytest.fixture
def empty(schema_url: str) -> Iterator[Connection]:
    with connect(schema_url) as connection:
        # Its own ledger of migrations, so that the one of schema public is out of sight.
        migrate(connection, [])
        yield connection


def migration(number: int, text: str) -> Migration:
    return Migration(number, f"{number:04}_make_table", text)


FIRST = migration(1, "create table first (id integer); insert into first values (1)")
SECOND = migration(2, "create table second (id integer)")


def test_migrations_run_once_and_in_order(empty: Connection):
    assert pending_migrations(empty, [FIRST, SECOND]) == [FIRST, SECOND]
    assert migrate(empty, [FIRST]) == [FIRST]
    assert migrate(empty, [FIRST, SECOND]) == [SECOND]
    assert migrate(empty, [FIRST, SECOND]) == []
    assert empty.execute("select id from first").fetchall() == [(1,)]


def test_a_failing_migration_leaves_nothing_and_those_before_stay(empty: Connection):
    broken = migration(2, "create table second (id integer); select no_such_thing")
    with pytest.raises(MigrationError, match=r"0002_make_table failed.*no_such_thing"):
        migrate(empty, [FIRST, broken])
    assert empty.execute("select to_regclass('first') is not null, to_regclass('second')").fetchall() == [(True, None)]
    assert migrate(empty, [FIRST, SECOND]) == [SECOND]


@pytest.mark.parametrize(
    ("now_on_disk", "message"),
    [
        ([replace(FIRST, text="select 1"), SECOND], "0001_make_table was edited after it was applied"),
        ([SECOND], "The database has migration 0001_make_table.*update tapehouse"),
        ([FIRST, SECOND, migration(0, "select 1")], "comes before migration 0002"),
    ],
    ids=["edited", "from a newer tapehouse", "out of order"],
)
def test_migrations_that_do_not_fit_the_database_are_refused(
    empty: Connection, now_on_disk: list[Migration], message: str
):
    migrate(empty, [FIRST, SECOND])
    with pytest.raises(MigrationError, match=message):
        migrate(empty, now_on_disk)


def test_a_migration_may_run_outside_a_transaction(empty: Connection):
    outside = migration(2, "-- migrate: no-transaction\nvacuum first")
    assert migrate(empty, [FIRST, outside]) == [FIRST, outside]
    assert migrate(empty, [FIRST, outside]) == []


def test_concurrent_migrations_wait_for_each_other(schema_url: str):
    slow = migration(1, "create table first (id integer); select pg_sleep(0.3)")
    applied: list[list[Migration]] = []

    def run() -> None:
        with connect(schema_url) as own:
            applied.append(migrate(own, [slow]))

    runners = [threading.Thread(target=run) for _ in range(3)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    assert sorted(applied, key=len) == [[], [], [slow]]


def test_what_needs_the_tables_says_how_to_get_them(empty: Connection):
    with pytest.raises(NotMigrated, match="run `tapehouse db migrate`"):
        require_migrated(empty)


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    def write(*names: str) -> Path:
        for name in names:
            (tmp_path / name).write_text("select 1")
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("0001_make_one.sql", "0001_make_two.sql"), "Two migrations have the number 0001"),
        (("1_make_one.sql",), "1_make_one.sql is no migration"),
        (("0001_make_one.txt",), "name it NNNN_verb_noun.sql"),
    ],
)
def test_badly_named_files_are_refused(folder: Callable[..., Path], names: tuple[str, ...], message: str):
    with pytest.raises(MigrationError, match=message):
        read_migrations(folder(*names))


# An applied migration never changes: whoever edits one must put the change in a new file instead.
FROZEN = {
    "0001_create_ledgers": "89ef2e40381034e6",
    "0002_create_ohlcv": "22c9b82de6e5c3bb",
    "0003_create_rollups": "711b96804cc6399d",
    "0004_create_views": "51aa2570fc3556ef",
    "0005_create_trade": "0c8def5e6f7b6757",
    "0006_create_order_book": "f75ef7304c480787",
    "0007_create_features": "c8fc70c995cd0e14",
    "0008_create_trade_candles": "9405633a6185e136",
    "0009_create_agreement": "eb1506d98e9068ae",
    "0010_create_trade_views": "69dee4e93d86a65b",
    "0011_add_series_bounds": "80c9e91c5a343851",
    "0012_create_rate_budget": "faa0f7f479e70182",
    "0013_count_stored_rows": "a342323d231f5a75",
    "0014_remember_wanted": "1ee70941a985e4fe",
    "0015_notify_changes": "60b92e5fd8dfe242",
    "0016_create_upkeep_ledgers": "ce14e0cb8406bd88",
    "0017_create_archive": "549d43da68f590df",
    "0018_create_quality": "6790e9c01efd6612",
}


def test_applied_migrations_are_frozen():
    assert {migration.name: migration.checksum[:16] for migration in read_migrations()} == FROZEN


def test_the_schema_loads_into_any_schema(empty: Connection):
    names = [migration.name for migration in migrate(empty)]
    assert names == sorted(FROZEN)
    hypertables = empty.execute(
        "select hypertable_name from timescaledb_information.hypertables where hypertable_schema = current_schema()"
    ).fetchall()
    assert sorted(hypertables) == [("imbalance",), ("ohlcv",), ("order_book",), ("order_book_1s",), ("trade",)]


def test_a_missing_table_says_what_to_run(empty: Connection):
    with pytest.raises(NotMigrated, match=r"ohlcv_of_nowhere.*run `tapehouse db migrate`"), store_errors():
        empty.execute("select from ohlcv_of_nowhere")
