"""SQL as data: the numbered migrations and the named queries that lie in `sql/`.

No SQL is written in Python, apart from names of tables put into statements by psycopg.sql.
"""

from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import LiteralString, cast

import psycopg.sql


def sql_folder() -> Traversable:
    """The `sql` folder: inside the installed package, or beside it in a checkout."""
    installed = resources.files("tapehouse") / "sql"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "sql"


@cache
def query(name: str) -> psycopg.sql.SQL:
    """The statement in `sql/queries/<name>.sql`."""
    text = (sql_folder() / "queries" / f"{name}.sql").read_text(encoding="utf-8")
    # The files are part of this package and hold no input: what LiteralString guards against.
    return psycopg.sql.SQL(cast("LiteralString", text))
