"""Three roles on a real server: the owner of the tables, one that ingests and one that reads, each as its own user.

On the embedded database, which has one user, they are roles that a connection acts as from its start.
"""

from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, LiteralString, cast
from uuid import uuid4

import pandas as pd
import psycopg
import pytest
from pandas.testing import assert_frame_equal
from psycopg.conninfo import make_conninfo
from psycopg.errors import InsufficientPrivilege
from psycopg.sql import SQL, Identifier, Literal

from tapehouse import MarketData
from tapehouse.candle import CandleBatch, Reject
from tapehouse.errors import InputError, StoreRefused
from tapehouse.store.agreement import compare_candles
from tapehouse.store.candles import write_candles
from tapehouse.store.connection import Connection, connect, is_embedded
from tapehouse.store.delete import delete_rows
from tapehouse.store.features import refresh_features
from tapehouse.store.instruments import CandleSeries, ensure_candle_series, ensure_trade_series, find_instrument
from tapehouse.store.migrate import migrate
from tapehouse.store.roles import Granted, grant
from tapehouse.store.rollups import refresh_rollups
from tapehouse.store.server import ensure_timescaledb
from tapehouse.timeframe import timeframe
from tests.query.conftest import Snapshot, Tape, make_instrument, random_trades
from tests.store.conftest import candles

START: Final = datetime(2025, 5, 5, tzinfo=UTC)
MINUTES: Final = 1440
EXCHANGE: Final = "an-exchange"
SYMBOL: Final = "BTC/USDT"
HYPERTABLES: Final = ("ohlcv", "trade", "order_book", "order_book_1s", "imbalance")


@dataclass(frozen=True)
class Roles:
    """The URLs of the owner, of who ingests and of who reads, and of the server's administrator."""

    admin: str
    owner: str
    ingest: str
    reader: str
    names: tuple[str, str, str]


@pytest.fixture(scope="module")
def roles(server_url: str) -> Generator[Roles]:
    """Tables in a schema of a plain role's own, with nothing granted."""
    suffix = uuid4().hex[:8]
    owner, ingest, reader = names = tuple(f"{name}_{suffix}" for name in ("owner", "ingest", "reader"))
    with connect(server_url) as admin:
        ensure_timescaledb(admin)
        try:
            for name in names:
                admin.execute(SQL("create role {} login password {}").format(Identifier(name), Literal(name)))
        except InsufficientPrivilege:
            pytest.skip("the server's user may not create roles")
        admin.execute(SQL("create schema {} authorization {}").format(Identifier(f"s_{suffix}"), Identifier(owner)))
        embedded = is_embedded(admin)

        def url(role: str) -> str:
            path = f"-c search_path=s_{suffix},public"
            if embedded:
                return make_conninfo(server_url, options=f"-c role={role} {path}")
            return make_conninfo(server_url, user=role, password=role, options=path)

        with connect(url(owner)) as connection:
            migrate(connection, [])
            migrate(connection)
        yield Roles(server_url, url(owner), url(ingest), url(reader), (owner, ingest, reader))
        admin.execute(SQL("drop schema {} cascade").format(Identifier(f"s_{suffix}")))
        for name in names:
            admin.execute(SQL("drop owned by {}").format(Identifier(name)))
            admin.execute(SQL("drop role {}").format(Identifier(name)))


@pytest.fixture(scope="module")
def granted(roles: Roles) -> tuple[Granted, Granted]:
    with connect(roles.owner) as owner:
        return grant(owner, roles.names[1], "ingest"), grant(owner, roles.names[2], "reader")


@pytest.fixture
def owner(roles: Roles, granted: object) -> Generator[Connection]:
    with connect(roles.owner) as connection:
        yield connection


@pytest.fixture
def ingest(roles: Roles, granted: object) -> Generator[Connection]:
    with connect(roles.ingest) as connection:
        yield connection


@pytest.fixture
def reader(roles: Roles, granted: object) -> Generator[Connection]:
    with connect(roles.reader) as connection:
        yield connection


@pytest.fixture
def tape(ingest: Connection) -> Tape:
    """A market of which everything is stored, written by who ingests: candles, trades, order books, features."""
    tape = make_instrument(ingest, SYMBOL, exchange=f"{EXCHANGE}-{uuid4().hex[:8]}")
    write(tape, candles(START, [100.0 + minute for minute in range(MINUTES)]))
    trades = random_trades(START, 400, span=timedelta(minutes=45))
    tape.write_trades(trades, (START, START + timedelta(minutes=45)))
    books = [
        Snapshot(START + timedelta(seconds=second), [(99.0, 1.0), (98.0, second)], [(101.0, 2.0)])
        for second in range(1, 30)
    ]
    tape.write_books(books, (START, START + timedelta(seconds=30)))
    refresh_features(ingest)
    return tape


def series_of(tape: Tape) -> CandleSeries:
    instrument = find_instrument(tape.connection, tape.exchange, tape.symbol)
    return ensure_candle_series(tape.connection, instrument, timeframe("1m"))


def write(tape: Tape, batch: CandleBatch, *rejects: Reject) -> None:
    window = [(START, START + timedelta(minutes=MINUTES))]
    write_candles(tape.connection, series_of(tape), batch, asked=window, covered=window, rejected=rejects)


def answers(url: str, tape: Tape) -> dict[str, pd.DataFrame]:
    """All that MarketData tells of the market."""
    end = START + timedelta(minutes=MINUTES)
    with MarketData.connect(url) as market:
        moment = market.get_inference_data(SYMBOL, timestamp=START + timedelta(minutes=20), exchange=tape.exchange)
        return {
            **{
                timeframe: market.candles(tape.exchange, SYMBOL, timeframe, START - timedelta(days=1), end)
                for timeframe in ("1m", "5m", "15m", "1h", "4h", "1d")
            },
            "of trades": market.candles(
                tape.exchange, SYMBOL, "1m", START, START + timedelta(minutes=45), source="trades"
            ),
            "trades": market.trades(tape.exchange, SYMBOL, START, end),
            "book": market.order_book(tape.exchange, SYMBOL, START + timedelta(seconds=10)),
            "books": market.order_books(tape.exchange, SYMBOL, START, end),
            "features": market.order_book_features(tape.exchange, SYMBOL, START, end),
            "imbalances": market.imbalances(tape.exchange, SYMBOL, START, end),
            "instruments": market.instruments(tape.exchange),
            "coverage": market.coverage(tape.exchange).drop(columns="age_s"),
            "gaps": market.gaps(tape.exchange),
            "asof": market.asof([end], (tape.exchange, SYMBOL, "5m")),
            "moment": moment.ohlcv_1m,
            "moment's trades": moment.trades,
        }


def is_view(connection: Connection, name: str) -> bool:
    return (
        connection.execute("select from pg_class where relname = %s and relkind = 'v'", (name,)).fetchone() is not None
    )


def relations(connection: Connection) -> list[tuple[str, str, str]]:
    """Every table and view that holds or shows something of the schema, those behind it included, and a column."""
    return connection.execute(
        """
        with behind as (
            select materialization_hypertable_schema as schema, materialization_hypertable_name as name
            from timescaledb_information.continuous_aggregates
            where view_schema = current_schema()
        )
        select n.nspname::text, c.relname::text, a.attname::text
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        join pg_attribute a on a.attrelid = c.oid and a.attnum = c.relnatts
        where c.relkind in ('r', 'v')
            and (
                n.nspname = current_schema()
                or (n.nspname, c.relname) in (select schema, name from behind)
                or (n.nspname, c.relname) in (
                    select chunk_schema, chunk_name
                    from timescaledb_information.chunks
                    where hypertable_schema = current_schema()
                        or (hypertable_schema, hypertable_name) in (select schema, name from behind)
                )
            )
        order by 1, 2
        """
    ).fetchall()  # pyright: ignore[reportReturnType]


def failure(connection: Connection, statement: str, *names: str) -> type[psycopg.Error] | None:
    """How the role fails at that; None, and all of it undone, where it may do it."""
    text = SQL(cast("LiteralString", statement)).format(*map(Identifier, names))
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(text)
    except psycopg.Error as error:
        return type(error)
    return None


def test_a_reader_gets_every_answer_that_the_owner_gets(roles: Roles, owner: Connection, tape: Tape):
    as_written = answers(roles.reader, tape)
    refresh_rollups(owner)
    compress(owner)

    for how, of_reader in {"as written": as_written, "compressed": answers(roles.reader, tape)}.items():
        for name, expected in answers(roles.owner, tape).items():
            assert not expected.empty or name == "gaps", name
            assert_frame_equal(of_reader[name], expected, obj=f"{name}, {how}")


def test_a_reader_writes_nothing(owner: Connection, ingest: Connection, reader: Connection, tape: Tape):
    refresh_rollups(owner)
    tables = relations(owner)
    outcomes = {
        (name, statement): failure(reader, statement, schema, name)
        for schema, name, column in tables
        for statement in (
            f"update {{}}.{{}} set {column} = {column} where false",
            "delete from {}.{} where false",
            "insert into {}.{} default values",
            "truncate {}.{}",
            "drop table {}.{} cascade",
            "alter table {}.{} add column note text",
        )
    }

    assert len(tables) > 50
    assert [what for what, error in outcomes.items() if error is None] == []
    views = {name for _, name, _ in tables if is_view(owner, name)}
    # Of a view, PostgreSQL says first that it is no table; TimescaleDB lets nobody truncate what holds a rollup's rows.
    refusals = {error for (name, _), error in outcomes.items() if name not in views}
    assert refusals == {InsufficientPrivilege, psycopg.errors.FeatureNotSupported}
    assert failure(reader, "create table mine (id integer)") == InsufficientPrivilege
    assert failure(reader, "create view mine as select 1") == InsufficientPrivilege
    tape.mark_stale(START, START + timedelta(minutes=1))
    ingest.execute(
        "insert into stale_feature values (default, %s, 'trade', tstzrange(%s, %s))",
        (tape.instrument_id, START, START + timedelta(minutes=1)),
    )
    series = series_of(tape)
    with pytest.raises(StoreRefused, match="The database refused this: permission denied"):
        refresh_features(reader)
    with pytest.raises(StoreRefused, match="The database refused this: permission denied"):
        delete_rows(reader, series)


def test_who_ingests_writes_into_compressed_chunks_widens_and_deletes(
    roles: Roles, owner: Connection, ingest: Connection, tape: Tape
):
    refresh_rollups(owner)
    compress(owner)
    closes = [100.0 + minute for minute in range(MINUTES)]
    # A price of more decimals than the market has, in the place of one that is stored.
    closes[7] = 107.00005
    write(tape, candles(START, closes), Reject(None, ("high_below_low",), {"row": 1}))
    tape.write_trades(
        random_trades(START, 500, span=timedelta(minutes=45), seed=8), (START, START + timedelta(minutes=MINUTES))
    )
    refresh_features(ingest)
    (agreement,) = compare_candles(ingest, exchange=tape.exchange, start=START, end=START + timedelta(minutes=1))
    instrument = find_instrument(ingest, tape.exchange, SYMBOL)
    deleted = delete_rows(ingest, ensure_trade_series(ingest, instrument), START, START + timedelta(minutes=10))

    found = answers(roles.reader, tape)
    assert found["1m"]["close"].tolist() == closes
    assert found["5m"]["close"].tolist() == closes[4::5]
    assert deleted is not None
    assert deleted.rows > 0
    assert found["trades"].index.min() >= START + timedelta(minutes=10)
    assert agreement.minutes > 0
    # Rollups that nobody has refreshed since are multiplied with the rest.
    (stored,) = owner.execute(
        "select close / power(10, price_decimals) from candle_5m join instrument using (instrument_id) "
        "where instrument_id = %s order by time limit 1",
        (tape.instrument_id,),
    ).fetchall()
    assert stored == (104.0,)


@pytest.mark.parametrize(
    "statement",
    [
        "drop table ohlcv cascade",
        "drop materialized view candle_1d",
        "drop view candle",
        "truncate trade",
        "alter table ohlcv add column note text",
        "alter table ohlcv rename to other",
        "alter materialized view candle_5m set (timescaledb.materialized_only = true)",
        "drop index stale_rollup_instrument_id_idx",
        "drop trigger notify_change on series",
        "create table mine (id integer)",
        "create index on series (dataset)",
        "select drop_chunks('ohlcv', older_than => now())",
        "select drop_chunks('candle_5m', older_than => now())",
        "select remove_compression_policy('ohlcv')",
        "select set_chunk_time_interval('ohlcv', interval '1 day')",
        "select remove_retention_policy('imbalance')",
        "select add_retention_policy('trade', drop_after => interval '1 day')",
        "select alter_job(job_id, scheduled => false) from timescaledb_information.jobs where job_id >= 1000",
        "insert into schema_migration values (9999, 'x', 'y')",
        "delete from schema_migration",
        "insert into retention values ('trade', 0, now())",
    ],
)
def test_who_ingests_changes_no_table_and_drops_nothing(ingest: Connection, tape: Tape, statement: str):
    del tape  # There is something to be dropped.
    assert failure(ingest, statement) == InsufficientPrivilege


def test_rollups_are_left_to_their_owner_and_answers_are_right_meanwhile(
    roles: Roles, owner: Connection, ingest: Connection, tape: Tape
):
    result = refresh_rollups(ingest)
    before = answers(roles.reader, tape)
    refresh_rollups(owner)

    assert (result.ranges, result.settled, result.left_to) == ([], 0, roles.names[0])
    assert before["5m"].attrs["source"] == "resampled"
    after = answers(roles.reader, tape)
    assert after["5m"].attrs["source"] == "rollup"
    for timeframe_name in ("5m", "15m", "1h"):
        assert_frame_equal(before[timeframe_name], after[timeframe_name], check_like=True)


def test_who_ingests_refreshes_rollups_where_it_may_become_the_owner(
    roles: Roles, owner: Connection, ingest: Connection, tape: Tape
):
    owner_name, ingest_name, _ = map(Identifier, roles.names)
    with connect(roles.admin) as admin:
        admin.execute(SQL("grant {} to {} with inherit false, set true").format(owner_name, ingest_name))
        try:
            result = refresh_rollups(ingest)
            told = grant(owner, roles.names[1], "ingest")
            acts_as = ingest.execute("select current_user").fetchone()
            still = failure(ingest, "drop table ohlcv cascade")
        finally:
            admin.execute(SQL("revoke {} from {}").format(owner_name, ingest_name))

    assert result.left_to is None
    assert result.ranges
    assert told.refreshes
    assert acts_as == (roles.names[1],)
    assert still == InsufficientPrivilege
    assert answers(roles.reader, tape)["5m"].attrs["source"] == "rollup"


def test_what_comes_later_is_granted_with_it(owner: Connection, ingest: Connection, reader: Connection):
    owner.execute("create table later (id integer)")
    owner.execute(
        "create materialized view later_2m with (timescaledb.continuous) as "
        "select instrument_id, time_bucket(interval '2 minutes', time) as time, max(high) as high "
        "from ohlcv group by 1, 2 with no data"
    )
    ((schema, name),) = owner.execute(
        "select materialization_hypertable_schema, materialization_hypertable_name "
        "from timescaledb_information.continuous_aggregates "
        "where view_schema = current_schema() and view_name = 'later_2m'"
    ).fetchall()
    try:
        ingest.execute("insert into later values (1)")
        assert reader.execute("select * from later").fetchall() == [(1,)]
        assert reader.execute("select * from later_2m limit 0").fetchall() == []
        assert reader.execute(SQL("select * from {} limit 0").format(Identifier(schema, name))).fetchall() == []
        assert failure(reader, "insert into later values (2)") == InsufficientPrivilege
    finally:
        owner.execute("drop materialized view later_2m")
        owner.execute("drop table later")


def test_another_purpose_takes_the_place_of_the_one_before(roles: Roles, owner: Connection, ingest: Connection):
    reads = grant(owner, roles.names[1], "reader")
    try:
        assert failure(ingest, "delete from series where false") == InsufficientPrivilege
        assert ingest.execute("select count(*) from ohlcv").fetchone() is not None
    finally:
        writes = grant(owner, roles.names[1], "ingest")

    assert (reads.reads, reads.writes) == (writes.reads, 0)
    assert failure(ingest, "delete from series where false") is None


def test_grants_are_refused_in_a_line_that_says_what_to_do(roles: Roles, owner: Connection, reader: Connection):
    with pytest.raises(InputError, match="CREATE ROLE nobody LOGIN"):
        grant(owner, "nobody", "reader")
    with pytest.raises(InputError, match=f"{roles.names[0]} owns the tables"):
        grant(owner, roles.names[0], "ingest")
    with pytest.raises(StoreRefused, match=f"Only {roles.names[0]}, who owns the tables"):
        grant(reader, roles.names[2], "ingest")


def compress(owner: Connection) -> None:
    """Compress all there is, rollups included."""
    owner.execute(
        """
        select compress_chunk(format('%I.%I', chunk_schema, chunk_name)::regclass, if_not_compressed => true)
        from timescaledb_information.chunks
        where hypertable_schema = current_schema()
            or (hypertable_schema, hypertable_name) in (
                select materialization_hypertable_schema, materialization_hypertable_name
                from timescaledb_information.continuous_aggregates
                where view_schema = current_schema()
            )
        """
    )
