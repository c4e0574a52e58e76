"""What row faults do to a page of candles.

Which requests a fault strikes is `tapehouse.sandbox.faults`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Final

from tapehouse.sandbox.answer import Layout, Page
from tapehouse.sandbox.bars import DAY_MS
from tapehouse.sandbox.faults import Fault, FaultKind

Row = list[object]


def chosen_rows(page: Page, fault: Fault) -> list[int]:
    """The indices of the rows that the fault would strike."""
    count = len(page.rows)
    if fault.start_ms is not None or fault.end_ms is not None:
        start_ms, end_ms = fault.start_ms or 0, fault.end_ms or 2**63
        return [index for index, row in enumerate(page.rows) if start_ms <= _time_ms(row, page.layout) < end_ms]
    struck = min(fault.rows, count)
    # Exchanges correct their newest rows; all else strikes the middle of a page.
    first = count - struck if fault.kind in ("corrected_rows", "short_page") else (count - struck) // 2
    return list(range(first, first + struck))


def damage(page: Page, fault: Fault) -> Page:
    """The page as it looks after the row fault."""
    chosen = chosen_rows(page, fault)
    if (change := _PAGE_CHANGES.get(fault.kind)) is not None:
        return replace(page, rows=change(page.rows, chosen))
    spoil = _ROW_CHANGES[fault.kind]
    rows = list(page.rows)
    for index in chosen:
        row: Row = json.loads(rows[index])
        spoil(row, page.layout)
        rows[index] = json.dumps(row, separators=(",", ":"))
    return replace(page, rows=rows)


def _time_ms(row: str, layout: Layout) -> int:
    values: Row = json.loads(row)
    return int(str(values[layout.time])) * layout.time_unit_ms


def _without(rows: list[str], chosen: list[int]) -> list[str]:
    return [row for index, row in enumerate(rows) if index not in set(chosen)]


def _twice(rows: list[str], chosen: list[int]) -> list[str]:
    return [copy for index, row in enumerate(rows) for copy in [row] * (1 + (index in set(chosen)))]


def _moved_to_front(rows: list[str], chosen: list[int]) -> list[str]:
    return [rows[index] for index in chosen] + _without(rows, chosen)


def _negative_price(row: Row, layout: Layout) -> None:
    row[layout.low] = _like(row[layout.low], -_decimal(row[layout.low]))


def _zero_price(row: Row, layout: Layout) -> None:
    row[layout.low] = _like(row[layout.low], Decimal(0))


def _high_below_low(row: Row, layout: Layout) -> None:
    row[layout.high] = _like(row[layout.high], _decimal(row[layout.low]) / 2)


def _negative_volume(row: Row, layout: Layout) -> None:
    row[layout.volume] = _like(row[layout.volume], -1 - _decimal(row[layout.volume]))


def _nan_price(row: Row, layout: Layout) -> None:
    row[layout.close] = "NaN"


def _null_price(row: Row, layout: Layout) -> None:
    row[layout.close] = None


def _text_price(row: Row, layout: Layout) -> None:
    row[layout.close] = "n/a"


def _misaligned_time(row: Row, layout: Layout) -> None:
    row[layout.time] = int(str(row[layout.time])) + 7_000 // layout.time_unit_ms


def _future_time(row: Row, layout: Layout) -> None:
    row[layout.time] = int(str(row[layout.time])) + 10_000 * DAY_MS // layout.time_unit_ms


def _corrected(row: Row, layout: Layout) -> None:
    """One unit more traded, the last of it at the high: another candle, and a possible one."""
    row[layout.close] = row[layout.high]
    row[layout.volume] = _like(row[layout.volume], _decimal(row[layout.volume]) + 1)


def _decimal(value: object) -> Decimal:
    return Decimal(str(value))


def _like(original: object, value: Decimal) -> object:
    """The value written as the original was: as text, or as a number."""
    return str(value) if isinstance(original, str) else float(value)


_PAGE_CHANGES: Final[Mapping[FaultKind, Callable[[list[str], list[int]], list[str]]]] = {
    "short_page": _without,
    "missing_rows": _without,
    "duplicate_rows": _twice,
    "unordered_rows": _moved_to_front,
}
_ROW_CHANGES: Final[Mapping[FaultKind, Callable[[Row, Layout], None]]] = {
    "corrected_rows": _corrected,
    "negative_price": _negative_price,
    "zero_price": _zero_price,
    "high_below_low": _high_below_low,
    "negative_volume": _negative_volume,
    "nan_price": _nan_price,
    "null_price": _null_price,
    "text_price": _text_price,
    "misaligned_time": _misaligned_time,
    "future_time": _future_time,
}
