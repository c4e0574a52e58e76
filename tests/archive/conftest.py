"""A schema of the archive's tests alone, since retention drops whole chunks, and what they do to it."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb

from tapehouse.archive.archiving import ArchiveResult, archive_due
from tapehouse.store.archive import ARCHIVED_DATASETS, switch_archiving
from tapehouse.store.connection import Connection, connect
from tapehouse.store.migrate import migrate
from tapehouse.store.retention import change_kept
from tests.query.conftest import Tape, make_instrument

DAY: Final = timedelta(days=1)
CHUNK: Final = timedelta(days=30)
TODAY: Final = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
# From here on 1m candles are kept: their chunks are counted from 1970.
KEPT_SINCE: Final = TODAY - 100 * DAY - (TODAY - 100 * DAY - datetime(1970, 1, 1, tzinfo=UTC)) % CHUNK
KEPT: Final = {"ohlcv": "100 days", "trade": "30 days", "order_book": "30 days"}


@pytest.fixture(scope="module")
def schema_url(server_url: str) -> Iterator[str]:
    """The tables in a schema of their own, whose retention is as KEPT says."""
    with own_schema(server_url) as url:
        with connect(url) as connection:
            change_kept(connection, KEPT)
        yield url


@contextmanager
def own_schema(server_url: str) -> Generator[str]:
    """The tables in a schema of their own, whose jobs a native server doesn't run by itself."""
    schema = f"archive_{uuid4().hex[:12]}"
    url = make_conninfo(server_url, options=f"-c search_path={schema},public")
    with connect(url) as connection:
        connection.execute(sql.SQL("create schema {}").format(sql.Identifier(schema)))
        migrate(connection, [])
        migrate(connection)
        connection.execute(
            "select alter_job(job_id, next_start => '2200-01-01') from timescaledb_information.jobs "
            "where proc_schema = current_schema() or hypertable_schema = current_schema()"
        )
    yield url
    with connect(server_url) as connection:
        connection.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(schema)))


@pytest.fixture
def connection(schema_url: str) -> Iterator[Connection]:
    """Tables with nothing in them, of which everything is archived before it is dropped."""
    with connect(schema_url) as connection:
        connection.execute("delete from archive")
        connection.execute("delete from retention")
        connection.execute("truncate ohlcv, trade, order_book")
        settle(connection)
        switch_archiving(connection, on=ARCHIVED_DATASETS)
        yield connection


@pytest.fixture
def tape(connection: Connection) -> Tape:
    return make_tape(connection)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def archived(connection: Connection, root: Path) -> Callable[[], list[ArchiveResult]]:
    """Archive what is due, all of which must be."""

    def archive() -> list[ArchiveResult]:
        results = archive_due(connection, root)
        assert [one.error for one in results if one.status != "archived"] == []
        return results

    return archive


def make_tape(connection: Connection) -> Tape:
    return make_instrument(connection, "BTC/USDT", exchange=f"exchange-{uuid4().hex[:12]}")


def settle(connection: Connection) -> None:
    """Take it that what is derived from all rows was computed."""
    connection.execute("delete from stale_rollup")
    connection.execute("delete from stale_feature")


def retain(connection: Connection) -> None:
    """Run the jobs as they are set up, after all that is derived was computed."""
    settle(connection)
    for job in ("retain_ohlcv", "retain_ticks"):
        ((job_id, config),) = connection.execute(
            "select job_id, config from timescaledb_information.jobs "
            "where proc_schema = current_schema() and proc_name = %s",
            (job,),
        ).fetchall()
        connection.execute(sql.SQL("call {}(%s, %s)").format(sql.Identifier(job)), (job_id, Jsonb(config)))


def compress(connection: Connection) -> None:
    """Compress all chunks of rows."""
    chunks = connection.execute(
        "select format('%I.%I', chunk_schema, chunk_name) from timescaledb_information.chunks "
        "where hypertable_schema = current_schema() and hypertable_name in ('ohlcv', 'trade', 'order_book')"
    ).fetchall()
    for (chunk,) in chunks:
        connection.execute("select compress_chunk(%s::regclass)", (chunk,))


def stored(connection: Connection, dataset: str) -> int:
    """How many rows are stored."""
    return connection.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(dataset))).fetchall()[0][0]
