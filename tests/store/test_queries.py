"""Guards of the SQL files: each is understood by a migrated database and used in exactly one place."""

import re
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tapehouse.store.connection import Connection
from tapehouse.store.sql import query, sql_folder

ROOT = Path(__file__).parents[2]
QUERIES = sorted(file.name.removesuffix(".sql") for file in (sql_folder() / "queries").iterdir())

# What stands for the name of a table in a query.
TABLES = {"table": "ohlcv", "rollup": "candle_1h", "trade_rollup": "trade_candle_1m", "relations": "ohlcv"}
# Names that the server looks up when the statement runs.
NAMES = ("database", "schema", "owner", "role")


def numbered(text: str) -> bytes:
    """The statement with psycopg's placeholders as PostgreSQL's own."""
    names: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        return f"${names.setdefault(match[1] or f'{match.start()}', len(names) + 1)}"

    return re.sub(r"%(?:\((\w+)\))?s", number, text).encode()


def table_for(connection: Connection, field: str, query_name: str) -> tuple[str, ...]:
    """A table that can stand for the field: the candles, or what keeps the rows of a trade rollup."""
    if query_name != "widen_trade_candles":
        return (TABLES[field],)
    rollups = connection.execute(query("read_rollup_tables")).fetchall()
    return next(tuple(names) for is_of_trades, *names in rollups if is_of_trades)


def stand_in(connection: Connection, field: str, query_name: str) -> sql.Composable:
    """What can stand for the field: a table, a name, or a value."""
    if field in TABLES:
        return sql.Identifier(*table_for(connection, field, query_name))
    return sql.Identifier("public") if field in NAMES else sql.Literal(1)


@pytest.mark.parametrize("name", QUERIES)
def test_the_server_understands_the_query(connection: Connection, name: str):
    statement = query(name)
    fields = {
        field: stand_in(connection, field, name) for field in re.findall(r"\{([a-z_]+)\}", statement.as_string(None))
    }
    text = statement.format(**fields) if fields else statement
    result = connection.pgconn.prepare(b"", numbered(text.as_string(connection)))
    assert result.status == psycopg.pq.ExecStatus.COMMAND_OK, result.error_message.decode()


@pytest.mark.parametrize("name", QUERIES)
def test_the_query_says_what_it_does(name: str):
    assert re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", name)
    assert query(name).as_string(None).startswith("-- ")


@pytest.mark.parametrize("name", QUERIES)
def test_the_query_is_used_by_the_library(name: str):
    uses = [path for path in (ROOT / "tapehouse").rglob("*.py") if f'query("{name}")' in path.read_text()]
    assert uses
