"""The bytes of a file: what kind it is, told by its content and not by its name, opened without its wrapping.

What the bytes say is read in `tables`. A zip or gz that is damaged or cut short is refused in plain words here.
"""

import gzip
import io
import zipfile
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Literal

from tapehouse.errors import InputError

Form = Literal["CSV", "JSON", "Parquet", "Arrow"]
Wrapping = Literal["zip", "gz"]

# So much of a file is looked at to tell what it is.
HEAD_BYTES: Final = 1 << 16
_BINARY_FORMS: Final[dict[bytes, Form]] = {b"PAR1": "Parquet", b"ARROW1": "Arrow"}
_ZIP: Final = b"PK"
_GZIP: Final = b"\x1f\x8b"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
# What a Mac's zip adds beside each file.
_FORKS: Final = "__MACOSX/"


@dataclass(frozen=True, slots=True)
class Content:
    """A file and how its content is come by; `head` is the beginning of it, unwrapped."""

    path: Path
    form: Form
    wrapping: Wrapping | None
    head: bytes

    def __str__(self) -> str:
        return f"{self.form} in {self.wrapping}" if self.wrapping else self.form

    def open(self) -> IO[bytes]:
        """The content from its beginning on, unwrapped, without a byte order mark."""
        file = _unwrapped(self.path, self.wrapping)
        if self.head.startswith(_BYTE_ORDER_MARK):
            file.read(len(_BYTE_ORDER_MARK))
        return file


def look_into(path: Path) -> Content:
    """What kind of file it is; raises InputError where it is of none that can be read, or damaged."""
    with reading(path):
        with path.open("rb") as file:
            magic = file.read(len(b"ARROW1"))
        if not magic:
            raise InputError(f"{path.name} is empty (0 bytes): get it again.")
        for beginning, form in _BINARY_FORMS.items():
            if magic.startswith(beginning):
                return Content(path, form, None, b"")
        wrapping = _wrapping(magic)
        with _unwrapped(path, wrapping) as file:
            head = file.read(HEAD_BYTES)
    if not head:
        raise InputError(f"{path.name} holds an empty file: get it again.")
    return Content(path, _text_form(path, head), wrapping, head)


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Raise InputError where the file can't be read, or is damaged."""
    try:
        yield
    except (EOFError, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile) as error:
        raise InputError(f"{path.name} is damaged or cut short ({_one_line(error)}): get it again.") from error
    except NotImplementedError as error:
        raise InputError(f"{path.name} can't be unpacked here ({_one_line(error)}): unpack it first.") from error
    except OSError as error:
        raise InputError(f"Can't read {path}: {error.strerror or _one_line(error)}.") from error


def _wrapping(magic: bytes) -> Wrapping | None:
    if magic.startswith(_ZIP):
        return "zip"
    return "gz" if magic.startswith(_GZIP) else None


def _unwrapped(path: Path, wrapping: Wrapping | None) -> IO[bytes]:
    if wrapping == "zip":
        return _only_member(path)
    return io.BufferedReader(gzip.open(path)) if wrapping == "gz" else path.open("rb")


def _only_member(path: Path) -> IO[bytes]:
    archive = zipfile.ZipFile(path)
    members = [one for one in archive.infolist() if not one.is_dir() and not one.filename.startswith(_FORKS)]
    if len(members) != 1:
        archive.close()
        raise InputError(
            f"{path.name} holds {len(members)} files, and one is expected: unpack it and import the folder."
        )
    if members[0].flag_bits & 1:
        archive.close()
        raise InputError(f"{path.name} is encrypted: unpack it first.")
    member = archive.open(members[0])
    # The archive stays open as long as its member is, which holds on to it.
    archive.close()
    return member


def _text_form(path: Path, head: bytes) -> Form:
    text = head.removeprefix(_BYTE_ORDER_MARK).lstrip()
    if text.startswith((b"[", b"{")):
        return "JSON"
    if b"\x00" in head or not _is_utf8(head):
        raise InputError(
            f"{path.name} is none of the files that can be imported: CSV, JSON, Parquet, Arrow (feather), or one of "
            "the first two in a zip or gz, in UTF-8."
        )
    return "CSV"


def _is_utf8(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # The head may end within a character.
        return error.start >= len(head) - 3 and len(head) == HEAD_BYTES
    return True


def _one_line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__).rstrip(".")
