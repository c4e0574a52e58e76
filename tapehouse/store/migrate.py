"""The migration runner: numbered SQL files, applied once each, in order, and never edited.

A file is one transaction unless its first line is `-- migrate: no-transaction`; such a file
holds a single statement. What a migration says is `sql/migrations`' business.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Final, LiteralString, cast

import psycopg.sql

from tapehouse.errors import MigrationError, NotMigrated
from tapehouse.store.connection import Connection, store_errors
from tapehouse.store.locks import advisory_lock
from tapehouse.store.server import ensure_timescaledb
from tapehouse.store.sql import query, sql_folder

_FILE_NAME: Final = re.compile(r"(\d{4})_[a-z0-9]+(?:_[a-z0-9]+)+\.sql")
_NO_TRANSACTION: Final = "-- migrate: no-transaction"
# Any constant does, as long as every tapehouse uses the same: "tape" in ASCII.
_LOCK_KEY: Final = 0x74617065
_LOCK_WAIT_S: Final = 60.0
_LOCK_BUSY: Final = "Another migration has been running for a minute: try again later."


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file; `checksum` is the SHA-256 of its text."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """The SHA-256 of the file's text, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def in_transaction(self) -> bool:
        """Whether the file runs in a transaction of its own."""
        return not self.text.startswith(_NO_TRANSACTION)


def read_migrations(folder: Traversable | None = None) -> list[Migration]:
    """The migrations on disk in order; raises MigrationError for a bad name or a number twice."""
    folder = folder or sql_folder() / "migrations"
    migrations: dict[int, Migration] = {}
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        match = _FILE_NAME.fullmatch(file.name)
        if match is None:
            raise MigrationError(f"{file.name} is no migration: name it NNNN_verb_noun.sql.")
        number = int(match[1])
        if number in migrations:
            raise MigrationError(f"Two migrations have the number {number:04}: renumber {file.name}.")
        migrations[number] = Migration(number, file.name.removesuffix(".sql"), file.read_text(encoding="utf-8"))
    return list(migrations.values())


def migrate(connection: Connection, migrations: Sequence[Migration] | None = None) -> list[Migration]:
    """Apply what is pending, in order, and return it; concurrent callers wait for each other.

    Raises UnsuitableServer before anything is changed, and MigrationError for a migration that
    was edited after it was applied, comes before one already applied, or fails.
    """
    migrations = read_migrations() if migrations is None else migrations
    ensure_timescaledb(connection)
    with store_errors(), advisory_lock(connection, _LOCK_KEY, wait_s=_LOCK_WAIT_S, busy=_LOCK_BUSY):
        connection.execute(query("create_schema_migration"))
        pending = _pending(connection, migrations)
        return [migration for migration in pending if _apply(connection, migration)]


def pending_migrations(connection: Connection, migrations: Sequence[Migration] | None = None) -> list[Migration]:
    """What `migrate` would apply; the same MigrationErrors."""
    migrations = read_migrations() if migrations is None else migrations
    try:
        with store_errors():
            return _pending(connection, migrations)
    except NotMigrated:
        return list(migrations)


def require_migrated(connection: Connection) -> None:
    """Raise NotMigrated if a migration is pending."""
    if pending := pending_migrations(connection):
        raise NotMigrated(
            f"The database lacks {len(pending)} migration(s), the first {pending[0].name}: run `tapehouse db migrate`."
        )


def _pending(connection: Connection, migrations: Sequence[Migration]) -> list[Migration]:
    applied = {number: (name, checksum) for number, name, checksum in connection.execute(query("read_migrations"))}
    known = {migration.number for migration in migrations}
    if missing := sorted(applied.keys() - known):
        raise MigrationError(
            f"The database has migration {applied[missing[0]][0]}, which this version of tapehouse does not know: "
            "update tapehouse."
        )
    newest = max(applied, default=0)
    pending: list[Migration] = []
    for migration in migrations:
        if migration.number not in applied:
            if migration.number < newest:
                raise MigrationError(
                    f"{migration.name} comes before migration {newest:04}, which is already applied: renumber it."
                )
            pending.append(migration)
        elif applied[migration.number][1] != migration.checksum:
            raise MigrationError(
                f"{migration.name} was edited after it was applied: restore it and put the change in a new file."
            )
    return pending


def _apply(connection: Connection, migration: Migration) -> bool:
    # Migrations are files of this package, as the queries are: what LiteralString guards against.
    statement = psycopg.sql.SQL(cast("LiteralString", migration.text))
    try:
        if migration.in_transaction:
            with connection.transaction():
                if not (claimed := _claim(connection, migration)):
                    return False
                connection.execute(statement)
        else:
            connection.execute(statement)
            claimed = _claim(connection, migration)
    except psycopg.errors.InsufficientPrivilege:
        raise
    except psycopg.DatabaseError as exc:
        raise MigrationError(f"Migration {migration.name} failed and was rolled back: {exc}") from exc
    return claimed


def _claim(connection: Connection, migration: Migration) -> bool:
    """Note the migration as applied; False where another process was quicker, and has committed."""
    record = {"number": migration.number, "name": migration.name, "checksum": migration.checksum}
    return connection.execute(query("insert_migration"), record).fetchone() is not None
