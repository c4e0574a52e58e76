"""Verifying: whether the files of the archive are there, and are what was archived."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tapehouse.files.checksums import sha256_of
from tapehouse.store.archive import RecordedFile, forget_file, list_archive
from tapehouse.store.connection import Connection

State = Literal["sound", "missing", "changed"]


@dataclass(frozen=True, slots=True)
class VerifiedFile:
    """A file of the archive and what it was found to be."""

    file: RecordedFile
    state: State


def verify_archive(connection: Connection, root: Path, *, only_stored: bool = False) -> Iterator[VerifiedFile]:
    """Each file that the ledger knows, after it was read; with `only_stored`, of those whose rows are stored, too.

    One of these that is not sound counts no longer: the next archiving writes it anew, over one that has changed only
    where that still tells that it is of this database. Raises InputError for a file that can't be read.
    """
    for file in list_archive(connection, only_stored=only_stored):
        state = _state(root / file.path, file.sha256)
        if state != "sound":
            forget_file(connection, file)
        yield VerifiedFile(file, state)


def _state(path: Path, sha256: str) -> State:
    if not path.exists():
        return "missing"
    return "sound" if sha256_of(path) == sha256 else "changed"
