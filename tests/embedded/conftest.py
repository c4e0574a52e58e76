"""Fixtures of the embedded database's tests: connections to the session's server, tables of their own."""

from collections.abc import Callable, Generator
from contextlib import ExitStack
from itertools import count
from typing import Any, LiteralString, cast

import psycopg
import pytest

Connect = Callable[..., psycopg.Connection[tuple[Any, ...]]]

_numbers = count(1)


@pytest.fixture
def connect(embedded_url: str) -> Generator[Connect]:
    """Opens connections to the session's server and closes them after the test; autocommit unless told otherwise."""
    with ExitStack() as connections:

        def open_one(*, autocommit: bool = True, **options: Any) -> psycopg.Connection[tuple[Any, ...]]:
            connection = psycopg.connect(embedded_url, autocommit=autocommit, **options)
            connections.callback(connection.close)
            return connection

        yield open_one


@pytest.fixture
def table(connect: Connect) -> Generator[LiteralString]:
    """The name of a table (id int primary key, value int), dropped after the test."""
    name = cast("LiteralString", f"t{next(_numbers)}")
    connect().execute(f"CREATE TABLE {name} (id int PRIMARY KEY, value int)")
    yield name
    connect().execute(f"DROP TABLE {name}")
