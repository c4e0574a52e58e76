"""Verifying: whether the files of the archive are there, and are what was archived."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tapehouse.errors import InputError
from tapehouse.files.checksums import sha256_of
from tapehouse.store.archive import RecordedFile, list_archive
from tapehouse.store.connection import Connection

State = Literal["sound", "missing", "changed"]


@dataclass(frozen=True, slots=True)
class VerifiedFile:
    """A file of the archive and what it was found to be."""

    file: RecordedFile
    state: State


def verify_archive(connection: Connection, root: Path, *, only_stored: bool = False) -> Iterator[VerifiedFile]:
    """Each file that the ledger knows, after it was read; with `only_stored`, of those whose rows are stored, too.

    Changes nothing. Raises InputError where there is no such folder, and for a file that can't be read.
    """
    if not root.is_dir():
        raise InputError(f"There is no archive at {root}: it is no folder.")
    for file in list_archive(connection, only_stored=only_stored):
        yield VerifiedFile(file, _state(root / file.path, file.sha256))


def _state(path: Path, sha256: str) -> State:
    if not path.exists():
        return "missing"
    return "sound" if sha256_of(path) == sha256 else "changed"
