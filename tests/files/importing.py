"""What the tests of import share: rows to put into files, files made of them, and what the store has of them then."""

import gzip
import io
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tapehouse.files.importing import ImportResult, import_file
from tapehouse.files.understanding import Options, understand
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import read_symbols

MINUTE_MS = 60_000
# 2025-01-03 00:00 UTC, a Friday.
START_MS = 1_735_862_400_000
HEADER = "time,open,high,low,close,volume"

Import = Callable[..., ImportResult]


def candle_line(minute: int, *, unit_ms: float = 1, close: float = 100.5) -> str:
    """A sound 1m candle so many minutes after the start; its time in that unit."""
    return f"{int((START_MS + minute * MINUTE_MS) / unit_ms)},100.25,101.5,99.75,{close},{minute + 1}.125"


def candle_lines(minutes: Iterable[int]) -> list[str]:
    return [candle_line(minute) for minute in minutes]


def trade_line(number: int, *, time_ms: int | None = None, side: str = "buy", amount: str = "0.125") -> str:
    """A sound trade, one a second."""
    return f"{START_MS + number * 1000 if time_ms is None else time_ms},{1000 + number},{side},100.25,{amount}"


def text(*lines: str, end: str = "\n") -> bytes:
    return end.join([*lines, ""]).encode()


def zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def gzipped(content: bytes) -> bytes:
    return gzip.compress(content)


def import_path(connection: Connection, path: Path, **told: Any) -> ImportResult:
    """Import a file as the command does; what is older than retention keeps is no matter here."""
    understood = understand(path, Options(**told), known_symbols=lambda exchange: read_symbols(connection, exchange))
    return import_file(connection, understood, force=True)


def rows_of(connection: Connection, exchange: str, view: str = "candle") -> list[tuple[Any, ...]]:
    """All that is stored of the exchange, in ordinary numbers."""
    columns = "time, open, high, low, close, volume" if view == "candle" else "time, trade_id, price, amount, side"
    statement = f"select {columns} from {view} where exchange = %s order by 1, 2"  # type: ignore[operator]
    return connection.execute(statement, [exchange]).fetchall()  # pyright: ignore[reportCallIssue, reportArgumentType]


def reasons_of(connection: Connection, exchange: str) -> Counter[str]:
    """How many quarantined rows of the exchange have each reason."""
    rows = connection.execute(
        """
        select unnest(q.reasons)
        from quarantine q
        join series using (series_id)
        join instrument using (instrument_id)
        where exchange = %s
        """,
        [exchange],
    )
    return Counter(reason for (reason,) in rows)


def coverage_of(connection: Connection, exchange: str) -> Sequence[tuple[Any, Any]]:
    """The covered ranges of the one series of the exchange."""
    rows = connection.execute(
        """
        select lower(r), upper(r)
        from coverage
        join series using (series_id)
        join instrument using (instrument_id)
        cross join unnest(covered) as r
        where exchange = %s
        order by 1
        """,
        [exchange],
    )
    return rows.fetchall()
