"""What kind of database server this is, and whether tapehouse can live on it."""

import re
from typing import Final

import psycopg
from psycopg import errors

from tapehouse.errors import UnsuitableServer
from tapehouse.store.connection import Connection, is_lost, store_errors
from tapehouse.store.sql import query

OLDEST_TIMESCALEDB: Final = (2, 23)


def ensure_timescaledb(connection: Connection) -> str:
    """Create the extension if it is missing and return its version.

    Raises UnsuitableServer where there is no TimescaleDB, an Apache-only one (continuous
    aggregates and compression are community features) or one older than 2.23.
    """
    found = _read_extension(connection)
    if found is None:
        _create_extension(connection)
        found = _read_extension(connection)
    if found is None:
        raise UnsuitableServer
    version, licence = found
    if _major_minor(version) < OLDEST_TIMESCALEDB:
        raise UnsuitableServer(
            f"This server has TimescaleDB {version}; tapehouse needs 2.23 or newer: update the extension "
            "(ALTER EXTENSION timescaledb UPDATE)."
        )
    if licence != "timescale":
        raise UnsuitableServer(
            f"This server's TimescaleDB {version} is the Apache-only edition, which lacks continuous aggregates and "
            "compression: install the community edition (image timescale/timescaledb, or packages without -oss), "
            "with timescaledb.license = 'timescale'."
        )
    return version


def timescaledb_version(connection: Connection) -> str | None:
    """The version of the TimescaleDB extension in this database, None without it."""
    found = _read_extension(connection)
    return found[0] if found else None


def _read_extension(connection: Connection) -> tuple[str, str | None] | None:
    with store_errors():
        return connection.execute(query("read_extension")).fetchone()


def _create_extension(connection: Connection) -> None:
    with store_errors():
        try:
            connection.execute(query("create_extension"))
        except errors.InsufficientPrivilege as exc:
            raise UnsuitableServer(
                "This database has no TimescaleDB extension and this user may not create it: "
                "let a superuser run CREATE EXTENSION timescaledb in it."
            ) from exc
        except psycopg.DatabaseError as exc:
            if is_lost(exc):
                raise
            raise UnsuitableServer(
                f"This server has no usable TimescaleDB ({str(exc).strip().splitlines()[0]}): "
                "install its community edition, 2.23 or newer, and preload it."
            ) from exc


def _major_minor(version: str) -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else (0, 0)
