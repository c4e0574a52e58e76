"""Which files a path means: itself, or all those below a folder, in the order of their names."""

from collections.abc import Iterator
from pathlib import Path

from tapehouse.errors import InputError
from tapehouse.files.checksums import CHECKSUM_SUFFIX
from tapehouse.files.label import BESIDE_SUFFIX


def find_data_files(path: Path) -> list[Path]:
    """The files to import; raises InputError where there is none.

    Of a folder those are left out that are hidden, unfinished, or only tell something of another file.
    """
    if not path.exists():
        raise InputError(f"There is no {path}: name a file or a folder.")
    if not path.is_dir():
        return [path]
    found = sorted(_below(path))
    if not found:
        raise InputError(f"There are no files below {path}.")
    return found


def _below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not is_hidden and not _tells_of_another(path):
            yield path


def _tells_of_another(path: Path) -> bool:
    if path.name.endswith(CHECKSUM_SUFFIX):
        return True
    return path.name.endswith(BESIDE_SUFFIX) and path.with_name(path.name.removesuffix(BESIDE_SUFFIX)).exists()
