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
TABLES = {"table": "ohlcv", "rollup": "candle_1h"}


def numbered(text: str) -> bytes:
    """The statement with psycopg's placeholders as PostgreSQL's own."""
    names: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        return f"${names.setdefault(match[1] or f'{match.start()}', len(names) + 1)}"

    return re.sub(r"%(?:\((\w+)\))?s", number, text).encode()


@pytest.mark.parametrize("name", QUERIES)
def test_the_server_understands_the_query(connection: Connection, name: str):
    statement = query(name)
    names = re.findall(r"\{([a-z_]+)\}", statement.as_string(None))
    fields = {name: sql.Identifier(TABLES[name]) if name in TABLES else sql.Literal(1) for name in names}
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
