"""A background for writing: drafts are written in a thread of their own, a few pieces behind the reader."""

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from tapehouse.errors import InputError
from tapehouse.files.arrow import Rows
from tapehouse.files.columns import Piece
from tapehouse.files.formats import Draft

# So many pieces wait at most; then the reader does, and with it the database.
_MOST_WAITING: Final = 3


class BackgroundWriter:
    """Writes drafts in the order it is told; leaving it waits until all are finished, or discards what is not.

    What goes wrong is raised by whatever is called next, as InputError where a file can't be written.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tapehouse-export")
        self._waiting: deque[Future[None]] = deque()
        self._unfinished: list[Draft] = []
        self._has_failed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        try:
            if error is None:
                self._settle()
        finally:
            self._has_failed = True
            self._thread.shutdown()
            for draft in self._unfinished:
                draft.discard()

    def begin(self, draft: Draft) -> None:
        """Take over a draft."""
        self._unfinished.append(draft)

    def write(self, draft: Draft, piece: Piece | Rows) -> None:
        """Add the piece to the draft; waits where too many wait already."""
        self._do(draft.path, lambda: draft.write(piece))

    def finish(self, draft: Draft) -> None:
        """Give the file its name after all that was written to it."""
        self._do(draft.path, lambda: self._finish(draft))

    def discard(self, draft: Draft) -> None:
        """Leave nothing of the draft."""
        self._settle()
        self._unfinished.remove(draft)
        draft.discard()

    def _finish(self, draft: Draft) -> None:
        draft.finish()
        self._unfinished.remove(draft)

    def _do(self, path: Path, work: Callable[[], None]) -> None:
        while len(self._waiting) >= _MOST_WAITING:
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(self._try, path, work))

    def _try(self, path: Path, work: Callable[[], None]) -> None:
        # After a failure nothing is finished: half of what it holds may be missing.
        if self._has_failed:
            return
        try:
            with writing(path):
                work()
        except BaseException:
            self._has_failed = True
            raise

    def _settle(self) -> None:
        while self._waiting:
            self._waiting.popleft().result()


@contextmanager
def writing(path: Path) -> Generator[None]:
    """Raise InputError where the file can't be written."""
    try:
        yield
    except OSError as error:
        raise InputError(f"Can't write {path}: {error.strerror or error}.") from error
