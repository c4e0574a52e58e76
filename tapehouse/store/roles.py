"""Who may do what in the database: its owner, roles that ingest, roles that read; and acting as the owner for a while.

Roles are made by who administers the server, not here: a password would have to pass through.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

from psycopg import sql

from tapehouse.errors import InputError, NotMigrated, StoreRefused
from tapehouse.store.connection import Connection, one_row, store_errors
from tapehouse.store.sql import query

Purpose = Literal["ingest", "reader"]

_OWNER_ONLY: Final = "{role} owns the tables of this database, so it may do all of this already: name another role."
_UNKNOWN: Final = "This server has no role {role}: let its administrator run CREATE ROLE {role} LOGIN, then \\password."


@dataclass(frozen=True, slots=True)
class Owner:
    """The role that owns the tables, and whether this session has its rights or may become it."""

    name: str
    schema: str
    database: str
    is_ours: bool
    may_become: bool

    @property
    def may_act(self) -> bool:
        """Whether this session can do what only the owner may."""
        return self.is_ours or self.may_become


@dataclass(frozen=True, slots=True)
class Granted:
    """What a role may do: read so many relations, write so many; refresh rollups only where it may become the owner."""

    role: str
    purpose: Purpose
    reads: int
    writes: int
    refreshes: bool


def read_owner(connection: Connection) -> Owner:
    """Who owns the tables; raises NotMigrated where there are none."""
    with store_errors():
        row = connection.execute(query("read_owner")).fetchone()
    if row is None:
        raise NotMigrated
    return Owner(*row)


def require_owner(connection: Connection, to: str) -> None:
    """Raise StoreRefused where this session can't do what only the owner of the tables may; `to` says what."""
    _require(read_owner(connection), to)


def grant(connection: Connection, role: str, purpose: Purpose) -> Granted:
    """Let a role do what its purpose needs, in all there is and in what migrations add, and nothing else.

    Raises InputError where there is no such role, StoreRefused for who doesn't own the tables.
    """
    owner = read_owner(connection)
    if role == owner.name:
        raise InputError(_OWNER_ONLY.format(role=role))
    _require(owner, "let others use them")
    with store_errors(), acting_as(connection, owner), connection.transaction():
        found = connection.execute(query("find_role"), {"role": role, "other": owner.name}).fetchone()
        if found is None:
            raise InputError(_UNKNOWN.format(role=role))
        relations = connection.execute(query("list_relations")).fetchall()
        read = [name for name, _ in relations]
        written = [name for name, is_written in relations if is_written and purpose == "ingest"]
        _grant(connection, owner, role, read, written)
    return Granted(role, purpose, len(read), len(written), refreshes=found[0] and purpose == "ingest")


@contextmanager
def acting_as(connection: Connection, owner: Owner) -> Generator[None]:
    """Be the owner of the tables for the block, where one has not its rights anyway."""
    if owner.is_ours:
        yield
        return
    (before,) = one_row(connection.execute(query("read_role")))
    connection.execute(query("set_role"), {"role": owner.name})
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute(query("set_role"), {"role": before})


def _require(owner: Owner, to: str) -> None:
    if not owner.may_act:
        raise StoreRefused(f"Only {owner.name}, who owns the tables of this database, may {to}.")


def _grant(connection: Connection, owner: Owner, role: str, read: Sequence[str], written: Sequence[str]) -> None:
    nothing: Sequence[str] = ()
    statements = [
        (query("grant_database"), nothing),
        (query("grant_schema"), nothing),
        # So that what it was allowed for another purpose, or by an earlier version, goes.
        (query("revoke_relations"), read),
        (query("revoke_future"), nothing),
        (query("grant_reading"), read),
        (query("grant_future_reading"), nothing),
    ]
    if written:
        statements += [(query("grant_writing"), written), (query("grant_future_writing"), nothing)]
    for statement, relations in statements:
        connection.execute(
            statement.format(
                database=sql.Identifier(owner.database),
                schema=sql.Identifier(owner.schema),
                owner=sql.Identifier(owner.name),
                role=sql.Identifier(role),
                relations=sql.SQL(", ").join(sql.Identifier(owner.schema, relation) for relation in relations),
            )
        )
