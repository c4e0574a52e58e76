"""Which files a path means: itself, or all those below a folder, in the order of their names."""

import os
from collections.abc import Iterator
from pathlib import Path

from tapehouse.errors import InputError
from tapehouse.files.checksums import CHECKSUM_SUFFIX
from tapehouse.files.content import reading
from tapehouse.files.label import BESIDE_SUFFIX


def find_data_files(path: Path) -> list[Path]:
    """The files to import; raises InputError where there is none, or a folder can't be read.

    Of a folder those are left out that are hidden, unfinished, or only tell something of another file.
    """
    with reading(path):
        if not path.exists():
            raise InputError(f"There is no {path}: name a file or a folder.")
        if path.is_file():
            return [path]
        if not path.is_dir():
            # Files are read twice, a pipe can be read once.
            raise InputError(f"{path} is neither a file nor a folder: store what it gives in a file first.")
        found = sorted(_below(path))
    if not found:
        raise InputError(f"There are no files below {path}.")
    return found


def _below(folder: Path) -> Iterator[Path]:
    # Links to folders are not followed, they may lead in a circle.
    for parent, folders, names in os.walk(folder, onerror=_fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(parent, name) for name in names if not name.startswith(".")):
            if path.is_file() and not _tells_of_another(path):
                yield path


def _fail(error: OSError) -> None:
    raise InputError(f"Can't read {error.filename}: {error.strerror}.") from error


def _tells_of_another(path: Path) -> bool:
    if path.name.endswith(CHECKSUM_SUFFIX):
        return True
    return path.name.endswith(BESIDE_SUFFIX) and path.with_name(path.name.removesuffix(BESIDE_SUFFIX)).exists()
