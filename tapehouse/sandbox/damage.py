"""What row faults do to pages: of candles, of trades, of the levels of an order book.

Which requests a fault strikes is `tapehouse.sandbox.faults`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Protocol

from tapehouse.sandbox.answer import BookPage, Key, Layout, LevelLayout, Page, TradeLayout
from tapehouse.sandbox.bars import DAY_MS
from tapehouse.sandbox.faults import Fault, FaultKind

_FUTURE_MS: Final = 10_000 * DAY_MS
_PAST_MS: Final = -DAY_MS // 4
_MISALIGNED_MS: Final = 7_000
_SPIKE: Final = Decimal("1.1")


class Row(Protocol):
    """A JSON array or object."""

    def __getitem__(self, key: Key, /) -> object: ...
    def __setitem__(self, key: Key, value: object, /) -> None: ...


def strikes(page: Page | BookPage, fault: Fault) -> bool:
    """Whether the page has something that the fault can strike."""
    if isinstance(page, BookPage):
        return _strikes_book(page, fault)
    changes = _CANDLE_CHANGES if isinstance(page.layout, Layout) else _TRADE_CHANGES
    is_known = fault.kind in changes or fault.kind in _PAGE_CHANGES
    if fault.kind == "frozen_price":
        is_known = isinstance(page.layout, Layout)
    return is_known and bool(_chosen_rows(page, fault))


def damage(page: Page | BookPage, fault: Fault) -> Page | BookPage:
    """The page as it looks after a row fault that strikes it."""
    if isinstance(page, BookPage):
        return _damaged_book(page, fault)
    chosen = _chosen_rows(page, fault)
    if fault.kind == "frozen_price":
        return replace(page, rows=_frozen(page, chosen))
    if (change := _PAGE_CHANGES.get(fault.kind)) is not None:
        return replace(page, rows=change(page.rows, chosen))
    rows = list(page.rows)
    for index in chosen:
        row: Row = json.loads(rows[index])
        if isinstance(page.layout, Layout):
            _CANDLE_CHANGES[fault.kind](row, page.layout)
        else:
            _TRADE_CHANGES[fault.kind](row, page.layout)
        rows[index] = _written(row)
    return replace(page, rows=rows)


def _chosen_rows(page: Page, fault: Fault) -> list[int]:
    """The indices of the rows that the fault would strike."""
    count = len(page.rows)
    if fault.start_ms is not None or fault.end_ms is not None:
        start_ms, end_ms = fault.start_ms or 0, fault.end_ms or 2**63
        return [index for index, row in enumerate(page.rows) if start_ms <= _time_ms(row, page.layout) < end_ms]
    struck = min(fault.rows, count)
    # Exchanges correct their newest rows; all else strikes the middle of a page.
    first = count - struck if fault.kind in ("corrected_rows", "short_page") else (count - struck) // 2
    return list(range(first, first + struck))


def _time_ms(text: str, layout: Layout | TradeLayout) -> int:
    row: Row = json.loads(text)
    if layout.time_unit_ms is None:
        return int(datetime.fromisoformat(str(row[layout.time])).timestamp() * 1000)
    return int(_decimal(row[layout.time]) * layout.time_unit_ms)


def _without(rows: list[str], chosen: list[int]) -> list[str]:
    return [row for index, row in enumerate(rows) if index not in set(chosen)]


def _twice(rows: list[str], chosen: list[int]) -> list[str]:
    return [copy for index, row in enumerate(rows) for copy in [row] * (1 + (index in set(chosen)))]


def _moved_to_front(rows: list[str], chosen: list[int]) -> list[str]:
    return [rows[index] for index in chosen] + _without(rows, chosen)


def _strikes_book(page: BookPage, fault: Fault) -> bool:
    if fault.start_ms is not None or fault.end_ms is not None:
        return False
    if fault.kind == "unsorted_book":
        return len(page.bids) > 1 and len(page.asks) > 1
    return fault.kind in _BOOK_FAULTS and bool(page.bids) and bool(page.asks)


def _damaged_book(page: BookPage, fault: Fault) -> BookPage:
    match fault.kind:
        case "crossed_book":
            return _crossed(page)
        case "empty_book":
            return replace(page, bids=[], asks=[])
        case "one_sided_book":
            return replace(page, asks=[])
        case "unsorted_book":
            return replace(page, bids=page.bids[::-1], asks=page.asks[::-1])
        case kind:
            struck = [_changed_level(level, page.layout, kind) for level in page.bids[: fault.rows]]
            return replace(page, bids=struck + page.bids[fault.rows :])


def _crossed(page: BookPage) -> BookPage:
    """The book with the prices of the best bid and the best ask exchanged; each side stays in order."""
    bid: Row = json.loads(page.bids[0])
    ask: Row = json.loads(page.asks[0])
    price = page.layout.price
    bid[price], ask[price] = ask[price], bid[price]
    return replace(page, bids=[_written(bid), *page.bids[1:]], asks=[_written(ask), *page.asks[1:]])


def _changed_level(level: str, layout: LevelLayout, kind: FaultKind) -> str:
    row: Row = json.loads(level)
    _VALUE_CHANGES[kind](row, layout.amount if kind == "negative_volume" else layout.price)
    return _written(row)


def _negative(row: Row, key: Key) -> None:
    row[key] = _like(row[key], -_decimal(row[key]))


def _below_zero(row: Row, key: Key) -> None:
    row[key] = _like(row[key], -1 - _decimal(row[key]))


def _zero(row: Row, key: Key) -> None:
    row[key] = _like(row[key], Decimal(0))


def _nan(row: Row, key: Key) -> None:
    row[key] = "NaN"


def _null(row: Row, key: Key) -> None:
    row[key] = None


def _text(row: Row, key: Key) -> None:
    row[key] = "n/a"


def _left_out(row: Row, key: Key) -> None:
    """Without the value; an array keeps its length."""
    if isinstance(row, dict):
        del row[key]
    else:
        row[key] = None


def _high_below_low(row: Row, layout: Layout) -> None:
    row[layout.high] = _like(row[layout.high], _decimal(row[layout.low]) / 2)


def _misaligned_time(row: Row, layout: Layout) -> None:
    _move_time(row, layout, _MISALIGNED_MS)


def _move_time(row: Row, layout: Layout | TradeLayout, by_ms: int) -> None:
    time = row[layout.time]
    if layout.time_unit_ms is None:
        later = datetime.fromisoformat(str(time)) + timedelta(milliseconds=by_ms)
        row[layout.time] = later.isoformat().replace("+00:00", "Z")
    else:
        row[layout.time] = _like(time, _decimal(time) + by_ms // layout.time_unit_ms)


def _corrected_candle(row: Row, layout: Layout) -> None:
    """One unit more traded, the last of it at the high: another candle, and a possible one."""
    row[layout.close] = row[layout.high]
    row[layout.volume] = _like(row[layout.volume], _decimal(row[layout.volume]) + 1)


def _corrected_trade(row: Row, layout: TradeLayout) -> None:
    """One unit more traded, by the same trade."""
    row[layout.amount] = _like(row[layout.amount], _decimal(row[layout.amount]) + 1)


def _price_spike(row: Row, layout: Layout) -> None:
    """A high a tenth above the true one, and nothing else: a possible candle, with a price that nobody paid."""
    high = _decimal(row[layout.high])
    # With no more decimals than the true one has.
    row[layout.high] = _like(row[layout.high], (high * _SPIKE).quantize(high.normalize()))


def _frozen(page: Page, chosen: list[int]) -> list[str]:
    """The chosen candles as if the price had stood still since the one before them, and nobody had traded."""
    layout = page.layout
    assert isinstance(layout, Layout)
    rows = list(page.rows)
    # Some exchanges give the newest first.
    in_time = sorted(range(len(rows)), key=lambda index: _time_ms(rows[index], layout))
    first = in_time.index(min(chosen, key=in_time.index))
    before: Row = json.loads(rows[in_time[max(first - 1, 0)]])
    for index in chosen:
        row: Row = json.loads(rows[index])
        for key in (layout.open, layout.high, layout.low, layout.close):
            row[key] = before[layout.close]
        row[layout.volume] = _like(row[layout.volume], Decimal(0))
        rows[index] = _written(row)
    return rows


def _decimal(value: object) -> Decimal:
    return Decimal(str(value))


def _like(original: object, value: Decimal) -> object:
    """The value written as the original was: as text, as a whole number, or as any number."""
    if isinstance(original, str):
        return str(value)
    return int(value) if isinstance(original, int) and value == value.to_integral_value() else float(value)


def _written(row: Row) -> str:
    return json.dumps(row, separators=(",", ":"))


_PAGE_CHANGES: Final[Mapping[FaultKind, Callable[[list[str], list[int]], list[str]]]] = {
    "short_page": _without,
    "missing_rows": _without,
    "duplicate_rows": _twice,
    "unordered_rows": _moved_to_front,
}
_VALUE_CHANGES: Final[Mapping[FaultKind, Callable[[Row, Key], None]]] = {
    "negative_price": _negative,
    "zero_price": _zero,
    "nan_price": _nan,
    "null_price": _null,
    "text_price": _text,
    "negative_volume": _below_zero,
}
_CANDLE_CHANGES: Final[Mapping[FaultKind, Callable[[Row, Layout], None]]] = {
    "corrected_rows": _corrected_candle,
    "price_spike": _price_spike,
    "negative_price": lambda row, layout: _negative(row, layout.low),
    "zero_price": lambda row, layout: _zero(row, layout.low),
    "high_below_low": _high_below_low,
    "negative_volume": lambda row, layout: _below_zero(row, layout.volume),
    "nan_price": lambda row, layout: _nan(row, layout.close),
    "null_price": lambda row, layout: _null(row, layout.close),
    "text_price": lambda row, layout: _text(row, layout.close),
    "misaligned_time": _misaligned_time,
    "future_time": lambda row, layout: _move_time(row, layout, _FUTURE_MS),
}
_TRADE_CHANGES: Final[Mapping[FaultKind, Callable[[Row, TradeLayout], None]]] = {
    "corrected_rows": _corrected_trade,
    "negative_price": lambda row, layout: _negative(row, layout.price),
    "zero_price": lambda row, layout: _zero(row, layout.price),
    "negative_volume": lambda row, layout: _below_zero(row, layout.amount),
    "nan_price": lambda row, layout: _nan(row, layout.price),
    "null_price": lambda row, layout: _null(row, layout.price),
    "text_price": lambda row, layout: _text(row, layout.price),
    "future_time": lambda row, layout: _move_time(row, layout, _FUTURE_MS),
    "past_time": lambda row, layout: _move_time(row, layout, _PAST_MS),
    "missing_id": lambda row, layout: _left_out(row, layout.id),
    "unknown_side": lambda row, layout: _left_out(row, layout.side),
}
_BOOK_FAULTS: Final = frozenset({"crossed_book", "empty_book", "one_sided_book", "unsorted_book"} | set(_VALUE_CHANGES))
