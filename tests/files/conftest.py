"""Fixtures of the tests of files: a migrated database, an exchange of the test's own, and what to export from it."""

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from tapehouse.query.reader import Reader
from tapehouse.store.connection import Connection, connect
from tests.files.exported import Shelf, made_listing, put_on_shelf


@pytest.fixture
def connection(store_url: str) -> Iterator[Connection]:
    with connect(store_url) as connection:
        yield connection


@pytest.fixture
def exchange() -> str:
    return f"exchange-{uuid4().hex[:12]}"


@pytest.fixture
def reader(store_url: str) -> Iterator[Reader]:
    reader = Reader.connect(store_url)
    yield reader
    reader.close()


@pytest.fixture
def make_shelf(connection: Connection, reader: Reader) -> Callable[..., Shelf]:
    def make(**listing: str | bool) -> Shelf:
        return put_on_shelf(connection, reader, made_listing(f"exchange-{uuid4().hex[:12]}", **listing))  # pyright: ignore[reportArgumentType] -- keywords

    return make


@pytest.fixture
def shelf(make_shelf: Callable[..., Shelf]) -> Shelf:
    return make_shelf()
