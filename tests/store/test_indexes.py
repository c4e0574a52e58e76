"""Every index serves a query: docs/indexes.md names one for each, whose plan on tables as they get must use it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, LiteralString, cast
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.types.range import TimestamptzRange

from tapehouse.store.connection import Connection, connect
from tapehouse.store.migrate import migrate
from tapehouse.store.server import ensure_timescaledb
from tapehouse.store.sql import query

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "indexes.md"
START: Final = datetime(2025, 3, 1, tzinfo=UTC)
NOON: Final = START + timedelta(days=1, hours=12)
WINDOW: Final = TimestamptzRange(NOON, NOON + timedelta(hours=1))

# Markets, series, and ledgers of some months; candles, trades, order books and features in several chunks each.
_ROWS: Final = """
insert into instrument
    (exchange, symbol, base, quote, kind, amount_unit, price_decimals, amount_decimals, active, from_sandbox, raw)
select 'exchange-' || n % 5, 'M' || n || '/USDT', 'M' || n, 'USDT', 'spot', 'base', 2, 3, true, false,
    json_build_object('info', repeat('x', 900))
from generate_series(1, 250) n;

insert into series (instrument_id, dataset, timeframe_s)
select instrument_id, dataset, timeframe_s
from instrument
cross join (values ('ohlcv', 60), ('ohlcv', 3600), ('trade', 0), ('order_book', 0)) as s (dataset, timeframe_s);

insert into coverage (series_id, covered)
select series_id, tstzmultirange(tstzrange('2025-03-01+00', '2025-05-01+00')) from series;

insert into unavailable (series_id, during, cause, next_try_at)
select series_id, tstzrange(at, at + interval '1 hour'), 'failed', at
from series cross join generate_series(timestamptz '2025-03-01+00', '2025-03-02+00', interval '8 hours') at;

insert into substitute (series_id, during, source)
select series_id, tstzrange(at, at + interval '1 hour'), 'trades'
from series cross join generate_series(timestamptz '2025-03-01+00', '2025-03-02+00', interval '8 hours') at;

insert into quarantine (series_id, time, reasons, raw, raw_md5)
select series_id, at, '{high_below_low}', '{}', md5(series_id::text || at::text)::uuid
from series cross join generate_series(timestamptz '2025-03-01+00', '2025-03-20+00', interval '9 days') at;

insert into stale_rollup (instrument_id, during, dataset)
select instrument_id, tstzrange(at, at + interval '1 minute'), 'ohlcv'
from instrument cross join generate_series(timestamptz '2025-03-01+00', '2025-03-02+00', interval '2 hours') at;

insert into stale_feature (instrument_id, dataset, during)
select instrument_id, 'trade', tstzrange(at, at + interval '1 minute')
from instrument cross join generate_series(timestamptz '2025-03-01+00', '2025-03-02+00', interval '2 hours') at;

insert into candle_agreement
select instrument_id, day, 1440, 0, 0, 0, 0, 0, 1440, 0, 0, 0, 0
from instrument cross join generate_series(timestamptz '2025-03-01+00', '2025-03-20+00', interval '2 days') day;

insert into ohlcv
select n, 60, at, 1, 1, 1, 1, 1
from generate_series(1, 25) n
cross join generate_series(timestamptz '2025-03-01+00', '2025-05-01+00', interval '3 hours') at;

insert into trade
select n, at, 1, 1, 1, 1
from generate_series(1, 8) n
cross join generate_series(timestamptz '2025-03-01+00', '2025-03-04+00', interval '10 minutes') at;

insert into order_book
select n, at, at, null, levels, levels, levels, levels
from generate_series(1, 8) n
cross join (values (array_fill(1::float8, '{20}'))) as book (levels)
cross join generate_series(timestamptz '2025-03-01+00', '2025-03-04+00', interval '10 minutes') at;

insert into order_book_1s
select n, at, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1
from generate_series(1, 8) n
cross join generate_series(timestamptz '2025-03-01+00', '2025-03-14+00', interval '1 hour') at;

insert into imbalance (instrument_id, time, book_imbalance_1s)
select n, at, 1
from generate_series(1, 8) n
cross join generate_series(timestamptz '2025-03-01+00', '2025-03-14+00', interval '1 hour') at;
"""


@pytest.fixture(scope="module")
def filled(server_url: str) -> Iterator[Connection]:
    """Migrated tables in a schema of their own, full and analyzed; their rollups are refreshed."""
    schema = sql.Identifier(name := f"indexes_{uuid4().hex[:8]}")
    with connect(server_url) as admin:
        ensure_timescaledb(admin)
        admin.execute(sql.SQL("create schema {}").format(schema))
        separator = "&" if "?" in server_url else "?"
        with connect(f"{server_url}{separator}options=-csearch_path%3D{name}%2Cpublic") as connection:
            migrate(connection, [])
            migrate(connection)
            for table in ("series", "coverage", "substitute", "stale_rollup", "stale_feature"):
                # Nobody listens here.
                connection.execute(sql.SQL("alter table {} disable trigger user").format(sql.Identifier(table)))
            connection.execute(cast("LiteralString", _ROWS))
            for rollup in ("candle_5m", "candle_15m", "candle_1h", "candle_4h", "candle_1d"):
                refresh(connection, rollup, timedelta(days=60))
            for rollup in ("trade_candle_1s", "trade_candle_1m"):
                refresh(connection, rollup, timedelta(days=3))
            connection.execute("analyze")
            yield connection
        admin.execute(sql.SQL("drop schema {} cascade").format(schema))


@dataclass(frozen=True)
class Row:
    """A row of the document: an index, the query that needs it, and how the query's plan uses it."""

    index: str
    query: str
    use: str


def documented() -> list[Row]:
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| ([^|]+) \|", DOCUMENT.read_text(), re.MULTILINE)
    return [Row(index, name, use) for index, name, use in rows]


DOCUMENTED: Final = documented()

INSTRUMENT: Final = {"instrument_id": 4}
SERIES: Final = {"series_id": 200}
SECONDS: Final = {**INSTRUMENT, "start": NOON, "end": NOON + timedelta(hours=1)}
# What a query of the document is asked with; of the ids of notes any do.
PARAMETERS: Final[Mapping[str, Mapping[str, object]]] = {
    "share_instrument": INSTRUMENT,
    "read_instrument": {"exchange": "exchange-4", "symbol": "M4/USDT"},
    "read_begin": SERIES,
    "find_series": {**INSTRUMENT, "dataset": "ohlcv", "timeframe_s": 60},
    "read_covered_until": {**SERIES, "before": NOON},
    "read_unavailable": {**SERIES, "window": WINDOW},
    "read_substitutes": {**SERIES, "window": WINDOW},
    "insert_quarantine": {**SERIES, "times": [NOON], "reasons": ["high_below_low"], "raws": ["{}"]},
    "read_series_status": {},
    "settle_stale_rollups": {"stale_ids": [7, 8, 9], "refreshed": WINDOW},
    "settle_stale_features": {"stale_ids": [7, 8, 9], "until": NOON},
    "read_stale_features": INSTRUMENT,
    "read_series": {
        "exchange": "exchange-4",
        "symbol": "M4/USDT",
        "datasets": ["ohlcv"],
        "timeframes_s": [60],
        "starts": [START],
        "end": NOON,
        "substitutes_at_most": 10,
    },
    "reserve_slice": {"exchange": "kraken", "address": "", "length": timedelta(seconds=1), "holder": uuid4()},
    "insert_migration": {"number": 9999, "name": "x", "checksum": "y"},
    "record_job_run": {
        "job_id": 1000,
        "started_at": NOON,
        "error": None,
    },
    "insert_archiving": {"datasets": ["trade"]},
    "begin_archive": {**SERIES, "during": WINDOW},
    "upsert_quality": {
        **SERIES,
        **dict.fromkeys(("expected", "known", "rows", "gaps", "rejected", "compared", "differing", "judged"), 1),
        **dict.fromkeys(("stale", "outliers", "crossed", "cadence_s", "longest_s", "score"), 1),
        "day": START,
        "findings": "[]",
    },
    "delist_instruments": {"exchange": "exchange-4", "symbols": []},
    "delete_agreement": {**INSTRUMENT, "start": START, "end": NOON},
    "read_candle_arrays": {**SECONDS, "timeframe_s": 60},
    "copy_trades": SECONDS,
    "read_book_at": {**INSTRUMENT, "at": NOON, "depth": 20},
    "read_book_seconds": SECONDS,
    "read_imbalance_arrays": SECONDS,
    "copy_rollup": {**INSTRUMENT, "start": START, "end": START + timedelta(days=30)},
    "copy_trade_rollup": {**INSTRUMENT, "start": START, "end": START + timedelta(days=2)},
}


def refresh(connection: Connection, rollup: str, length: timedelta) -> None:
    connection.execute(
        "call refresh_continuous_aggregate(%s, %s::timestamptz, %s::timestamptz, options => %s::jsonb)",
        (rollup, START, START + length, '{"buckets_per_batch": 1000000}'),
    )


def indexes(connection: Connection) -> set[str]:
    """The indexes of the schema; those behind a rollup by its name and what they are on."""
    rows = connection.execute(
        """
        select coalesce(a.view_name || regexp_replace(pg_get_indexdef(i.oid), '^.* USING btree', ''), i.relname)
        from pg_index x
        join pg_class i on i.oid = x.indexrelid
        join pg_class t on t.oid = x.indrelid
        join pg_namespace n on n.oid = t.relnamespace
        left join timescaledb_information.continuous_aggregates a
            on a.materialization_hypertable_schema = n.nspname and a.materialization_hypertable_name = t.relname
        where n.nspname = current_schema() or a.view_schema = current_schema()
        """
    )
    return {name.replace('"', "") for (name,) in rows}


def plan(connection: Connection, row: Row) -> list[dict[str, Any]]:
    """The nodes of the plan of a row's query."""
    parameters = PARAMETERS[row.query]
    statement = query(row.query)
    text = statement.as_string(None)
    if fields := set(re.findall(r"\{(\w+)\}", text)):
        rollup = sql.Identifier(row.index.partition(" ")[0])
        statement = statement.format(
            **{field: sql.Literal(parameters[field]) if field in parameters else rollup for field in fields}
        )
    # A plan is of what is copied.
    copied = re.search(r"^copy \((.*)\) to stdout", statement.as_string(connection), re.MULTILINE | re.DOTALL)
    explained = sql.SQL("explain (format json) {}").format(
        sql.SQL(cast("LiteralString", copied[1])) if copied else statement
    )
    cursor = psycopg.ClientCursor(connection)
    with connection.transaction(force_rollback=True):
        ((found,),) = cursor.execute(explained, None if copied else parameters).fetchall()
    return list(nodes(found))


def nodes(tree: object) -> Iterator[dict[str, Any]]:
    """All nodes of a plan; plans of common table expressions are among them."""
    if isinstance(tree, list):
        for below in cast("list[object]", tree):
            yield from nodes(below)
    elif isinstance(tree, dict):
        node = cast("dict[str, Any]", tree)
        if "Node Type" in node:
            yield node
        for below in node.values():
            yield from nodes(below)


def index_of(connection: Connection, row: Row) -> str:
    """The end of the name that the index has on a table and on its chunks."""
    view, _, columns = row.index.partition(" ")
    if not columns:
        return row.index
    ((name,),) = connection.execute(
        "select materialization_hypertable_name from timescaledb_information.continuous_aggregates "
        "where view_schema = current_schema() and view_name = %s",
        (view,),
    ).fetchall()
    return f"{name}_instrument_id_time_idx" if "instrument_id" in columns else f"{name}_time_idx"


def uses(node: Mapping[str, Any], index: str) -> str | None:
    """How a node of a plan uses an index, if it does; those of chunks are named after it, and cut after 63 bytes."""
    if any(is_named_after(name, index) for name in node.get("Conflict Arbiter Indexes", ())):
        return "conflict target"
    return str(node["Node Type"]).lower() if is_named_after(str(node.get("Index Name", "-")), index) else None


def is_named_after(name: str, index: str) -> bool:
    return index.startswith(re.sub(r"^(.*_chunk_|(\d+_)+)", "", name))


def test_every_index_is_documented_with_a_query_and_none_that_does_not_exist(filled: Connection):
    assert indexes(filled) == {row.index for row in DOCUMENTED}
    assert len(DOCUMENTED) >= 15


@pytest.mark.parametrize("row", DOCUMENTED, ids=lambda row: row.index)
def test_the_plan_of_its_query_uses_the_index(filled: Connection, row: Row):
    index = index_of(filled, row)
    if row.query.startswith("retain_"):
        assert "on conflict (dataset, timeframe_s)" in body_of(filled, row.query)
        return
    found = plan_of_refresh(filled, index) if row.query == "refresh_rollup" else plan(filled, row)

    assert {use for node in found if (use := uses(node, index))} & set(row.use.split(" or ")), found


def body_of(connection: Connection, procedure: str) -> str:
    """The text of a procedure: of what it runs inside the server there is no plan to be had."""
    ((text,),) = connection.execute(
        "select prosrc from pg_proc where proname = %s and pronamespace = current_schema()::regnamespace", (procedure,)
    ).fetchall()
    return text


def plan_of_refresh(connection: Connection, index: str) -> list[dict[str, Any]]:
    """The plan of what a refresh does inside of TimescaleDB to the rows of a rollup that it writes anew."""
    table = sql.Identifier("_timescaledb_internal", index.removesuffix("_time_idx"))
    ((found,),) = (
        psycopg.ClientCursor(connection)
        .execute(
            sql.SQL("explain (format json) delete from {} where time >= %s and time < %s").format(table),
            (NOON, NOON + timedelta(hours=1)),
        )
        .fetchall()
    )
    return list(nodes(found))
