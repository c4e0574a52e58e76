"""Connections to the database, what they can do, and psycopg's errors in our words.

Every psycopg error that leaves tapehouse passes through `store_errors`. No message holds a
password.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
import psycopg.conninfo
from psycopg import IsolationLevel, errors
from psycopg.pq import TransactionStatus

from tapehouse.errors import NotMigrated, StoreError, StoreRefused, StoreUnreachable
from tapehouse.store.arrays import register_columns
from tapehouse.store.sql import query

# What the embedded database's front end announces when a client connects.
ENGINE_PARAMETER: Final = "tapehouse.engine"
EMBEDDED_ENGINE: Final = "pglite"

# A server that is gone without a word is noticed within a minute, not after the hours TCP would take.
CONNECT_OPTIONS: Final[dict[str, Any]] = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
    "fallback_application_name": "tapehouse",
}
_REFUSALS: Final = ("authentication failed", "no password supplied", "does not exist", "pg_hba.conf")

Connection = psycopg.Connection[tuple[Any, ...]]


def connect(url: str) -> Connection:
    """Open a connection in autocommit mode: transactions are explicit.

    Raises StoreUnreachable where nothing answers, StoreRefused for a wrong user, password or
    database name.
    """
    try:
        connection = psycopg.connect(url, autocommit=True, **CONNECT_OPTIONS)
    except psycopg.OperationalError as exc:
        # A traceback shows what an error comes from: not where that repeats a part of the password.
        raise _connect_error(url, exc) from (None if _splits_badly(url) else exc)
    except psycopg.ProgrammingError:
        # What is wrong with it is not repeated: that may be the password.
        raise StoreUnreachable(
            "That is no PostgreSQL URL: write postgresql://user:password@host:port/database, "
            "with special characters of the password as %40 and the like."
        ) from None
    if is_embedded(connection):
        # Its clients share one session, so statements are prepared without a name.
        connection.prepare_threshold = None
    register_columns(connection)
    try:
        with store_errors():
            # Ranges and times come back in the session's zone, and are compared and shown.
            connection.execute(query("use_utc"))
    except StoreError:
        connection.close()
        raise
    return connection


def is_embedded(connection: Connection) -> bool:
    """Whether the embedded database answers: it has neither COPY FROM nor background jobs."""
    return connection.info.parameter_status(ENGINE_PARAMETER) == EMBEDDED_ENGINE


@contextmanager
def snapshot(connection: Connection) -> Generator[None]:
    """Let all statements see one state of the database; within a transaction, that one's."""
    if connection.info.transaction_status != TransactionStatus.IDLE:
        yield
        return
    before = connection.isolation_level
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    try:
        with connection.transaction():
            yield
    finally:
        if not connection.closed:
            connection.isolation_level = before


def one_row(cursor: psycopg.Cursor[tuple[Any, ...]]) -> tuple[Any, ...]:
    """The row of a statement that always gives one; raises StoreError where what it names is gone."""
    row = cursor.fetchone()
    if row is None:
        raise StoreError("The series or instrument was removed meanwhile: run the command again.")
    return row


@contextmanager
def store_errors() -> Generator[None]:
    """Translate psycopg's errors into StoreError and its kinds."""
    try:
        yield
    except (errors.UndefinedTable, errors.UndefinedColumn, errors.UndefinedFunction) as exc:
        raise NotMigrated(
            f"The database lacks what this version of tapehouse needs ({_first_line(exc)}): run `tapehouse db migrate`."
        ) from exc
    except errors.InsufficientPrivilege as exc:
        raise StoreRefused(f"The database refused this: {_first_line(exc)}.") from exc
    except (errors.DiskFull, errors.OutOfMemory) as exc:
        raise StoreError(f"The database server ran out of room: {_first_line(exc)}.") from exc
    except psycopg.Error as exc:
        if is_lost(exc):
            raise StoreUnreachable(f"The connection to the database was lost: {_first_line(exc)}.") from exc
        raise StoreError(f"The database reported: {_first_line(exc)}.") from exc


def is_lost(exc: psycopg.Error) -> bool:
    """Whether the error means that the connection is gone."""
    # libpq's own errors have no SQLSTATE; class 08 is connection trouble, 57P01 to 57P03 a server that stops.
    state = exc.sqlstate
    return isinstance(exc, psycopg.OperationalError) and (state is None or state.startswith(("08", "57P0")))


def _connect_error(url: str, exc: psycopg.OperationalError) -> StoreError:
    if _splits_badly(url):
        return StoreUnreachable("That URL can't be told apart: write special characters of the password as %40, %2F...")
    text = _first_line(exc)
    if any(refusal in text for refusal in _REFUSALS):
        return StoreRefused(f"The database refused the connection: {text}. Check user, password and database name.")
    return StoreUnreachable(
        f"No database answers at {_address(url)}: {text}. Start one with `tapehouse db up`, or check the URL."
    )


def _address(url: str) -> str:
    parts = psycopg.conninfo.conninfo_to_dict(url)
    return f"{parts.get('host') or 'localhost'}:{parts.get('port') or 5432}/{parts.get('dbname') or ''}"


def _splits_badly(url: str) -> bool:
    """Whether a part of the password has ended up in what would be shown."""
    parts = psycopg.conninfo.conninfo_to_dict(url)
    port = str(parts.get("port") or "5432")
    return not port.isdigit() or any("@" in str(parts.get(name) or "") for name in ("host", "dbname"))


def _first_line(exc: BaseException) -> str:
    lines = str(exc).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(exc).__name__
