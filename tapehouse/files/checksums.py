"""Checksums: the SHA-256 of a file, and whether it is the one that the file beside it, or a label, tells."""

import hashlib
from pathlib import Path
from typing import Final

from tapehouse.errors import InputError
from tapehouse.files.content import reading

# Binance puts one beside each file of its public data, in the form that sha256sum writes.
CHECKSUM_SUFFIX: Final = ".CHECKSUM"


def sha256_of(path: Path) -> str:
    """The SHA-256 of the file's content, in hex."""
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify_checksum(path: Path) -> bool:
    """Whether there is a checksum beside the file; raises InputError where it is that of other content."""
    beside = path.with_name(path.name + CHECKSUM_SUFFIX)
    if not beside.exists():
        return False
    with reading(beside):
        told = beside.read_text(errors="replace").split()
    if not told or told[0].lower() != sha256_of(path):
        raise InputError(f"{path.name} is not what {beside.name} tells of it: get both again.")
    return True
