"""split_trades against a slow reference in plain Python that shares no code with it."""

from dataclasses import dataclass, field
from math import inf, isfinite, nan
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from tapehouse.timeframe import from_ms, to_us
from tapehouse.validate import TradeSplit, split_trades

FIRST_MS = 1_735_689_600_000
COUNT_MS = 12  # a window of so few milliseconds that they can be looked at one by one
SIDES = {"buy": 1, "sell": -1, None: 0}
Key = tuple[float, int, str]
Rows = list[Any]


@dataclass
class Expected:
    good: dict[Key, tuple[float, float, int]] = field(default_factory=dict[Key, tuple[float, float, int]])
    rejected: list[tuple[float | None, set[str]]] = field(default_factory=list[tuple[float | None, set[str]]])
    open_ms: set[int] = field(default_factory=set[int])


def reference(rows: Rows) -> Expected:
    expected = Expected()
    judged = [judge(row) for row in rows]
    good_ms = [cells[0] if not faults else None for cells, faults in judged]
    good_ids = {cells[1] for cells, faults in judged if not faults}
    for position, (cells, faults) in enumerate(judged):
        time_ms, trade_id, *values = cells
        if not faults:
            number, text = cast("tuple[int, str]", trade_id)
            expected.good[time_ms, number, text] = cast("tuple[float, float, int]", tuple(values))
            continue
        expected.rejected.append((time_ms, faults))
        if trade_id is not None and trade_id in good_ids:
            continue
        if time_ms is not None:
            expected.open_ms.add(int(time_ms // 1))
        else:
            expected.open_ms |= between(good_ms[:position], good_ms[position + 1 :])
    expected.open_ms &= set(range(FIRST_MS, FIRST_MS + COUNT_MS))
    return expected


def judge(row: Any) -> tuple[Any, set[str]]:
    """(time or None, id or None, price, amount, side), and the names of what is wrong."""
    if not isinstance(row, tuple) or len(cast("tuple[Any, ...]", row)) != 6:
        return (None, None, nan, nan, 0), {"not_a_row"}
    time, trade_id, side, price, amount, _ = cast("tuple[Any, ...]", row)
    key, time_fault = identity(trade_id), fault_of_time(number(time))
    faults = {time_fault, key if isinstance(key, str) else ""}
    for name, value in (("price", number(price)), ("amount", number(amount))):
        faults |= {"" if isfinite(value) else f"{name}_not_finite", f"{name}_not_positive" if value <= 0 else ""}
    known_side = [code for name, code in SIDES.items() if type(name) is type(side) and name == side]
    faults |= set() if known_side else {"side_not_buy_or_sell"}
    tells_time = time_fault in ("", "time_outside_window")
    cells = (
        number(time) if tells_time else None,
        None if isinstance(key, str) else key,
        number(price),
        number(amount),
        *known_side,
    )
    return cells, faults - {""}


def fault_of_time(time_ms: float) -> str:
    if time_ms != time_ms:
        return "time_missing"
    if not 946_684_800_000 <= time_ms < 4_102_444_800_000:
        return "time_not_believable"
    return "" if FIRST_MS <= time_ms < FIRST_MS + COUNT_MS else "time_outside_window"


def number(cell: Any) -> float:
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        return nan
    try:
        return float(cell)
    except ValueError:
        return nan


def identity(cell: Any) -> tuple[int, str] | str:
    """The number and the text of an id, or what is wrong with it."""
    if isinstance(cell, bool) or not isinstance(cell, int | str) or cell == "":
        return "id_missing"
    text = str(cell)
    if text[-1] == " " or len(text) > 128 or any(ord(letter) == 0 or 0xD800 <= ord(letter) < 0xE000 for letter in text):
        return "id_not_storable"
    is_plain = all(letter in "0123456789" for letter in text) and (text == "0" or not text.startswith("0"))
    return (int(text), "") if is_plain and int(text) <= 9_223_372_036_854_775_807 else (0, text)


def between(before: list[float | None], after: list[float | None]) -> set[int]:
    """The milliseconds that a row may belong to which stood between those."""
    everything = set(range(FIRST_MS, FIRST_MS + COUNT_MS))
    earlier = [int(ms // 1) for ms in before if ms is not None]
    later = [int(ms // 1) for ms in after if ms is not None]
    exact = [ms for ms in (*before, *after) if ms is not None]
    if len(set(exact)) < 2:
        return everything
    if exact == sorted(exact):
        low, high = max(earlier, default=FIRST_MS), min(later, default=FIRST_MS + COUNT_MS)
    elif exact == sorted(exact, reverse=True):
        low, high = max(later, default=FIRST_MS), min(earlier, default=FIRST_MS + COUNT_MS)
    else:
        return everything
    return set(range(low, high + 1))


def milliseconds_left_out(outcome: TradeSplit) -> set[int]:
    """Those not covered; a window that begins or ends within a millisecond would not come out whole."""
    left = set(range(FIRST_MS, FIRST_MS + COUNT_MS))
    for start, end in outcome.covered:
        assert (to_us(start) % 1000, to_us(end) % 1000) == (0, 0)
        assert left >= set(range(to_us(start) // 1000, to_us(end) // 1000)), "windows overlap or leave the window"
        left -= set(range(to_us(start) // 1000, to_us(end) // 1000))
    return left


MOMENTS: Rows = [FIRST_MS + ms for ms in range(COUNT_MS)]
ODD_TIMES: Rows = [
    FIRST_MS - 1,
    FIRST_MS + COUNT_MS,
    FIRST_MS + 0.5,
    str(FIRST_MS + 3),
    FIRST_MS // 1000,
    None,
    "soon",
    True,
    nan,
    inf,
    10**30,
]
IDS: Rows = ["1", "2", 2, "3", "0", "4", "007", "a", "b", "9223372036854775807", "9223372036854775808", "日本"]
ODD_IDS: Rows = [None, "", True, 1.0, [], {}, "x" * 129, "\x00", "a\ud800", "a ", " ", -1, 10**150]
VALUES: Rows = [1, 2.5, "0.25", 1e-8]
ODD_VALUES: Rows = [0, -1, None, "abc", "", nan, inf, -inf, True, [], {}]
ODD_SIDES: Rows = ["BUY", "", 0, 1, [], {}, True]
JUNK: Rows = [None, "<html>", [], (), (1, 2), {}, [FIRST_MS, "1", "buy", 1, 1, {}], (None,) * 6, (None,) * 7]


def mostly(usual: Rows, odd: Rows) -> st.SearchStrategy[Any]:
    return st.integers(0, 15).flatmap(lambda drawn: st.sampled_from(usual if drawn else odd))


some_row = st.tuples(
    mostly(MOMENTS, ODD_TIMES),
    mostly(IDS, ODD_IDS),
    mostly(["buy", "sell", None], ODD_SIDES),
    mostly(VALUES, ODD_VALUES),
    mostly(VALUES, ODD_VALUES),
    st.just("info"),
)


def in_order(rows: Rows, order: str) -> Rows:
    """The rows by time, those that tell none where they were; or as they came."""
    told = sorted((row for row in rows if isinstance(row[0], int) and row[0] in MOMENTS), key=lambda row: row[0])
    if order == "as drawn":
        return rows
    placed = iter(told if order == "oldest first" else reversed(told))
    return [next(placed) if isinstance(row[0], int) and row[0] in MOMENTS else row for row in rows]


@st.composite
def pages(draw: st.DrawFn) -> Rows:
    rows = draw(st.lists(some_row, max_size=10))
    ordered = in_order(rows, draw(st.sampled_from(["oldest first", "newest first", "as drawn"])))
    for junk in draw(st.lists(st.sampled_from(JUNK), max_size=2)):
        ordered.insert(draw(st.integers(0, len(ordered))), junk)
    return ordered


@settings(max_examples=150)
@given(pages())
def test_the_split_is_that_of_a_slow_reference(rows: Rows):
    expected = reference(rows)
    outcome = split_trades(rows, start=from_ms(FIRST_MS), end=from_ms(FIRST_MS + COUNT_MS))
    good = outcome.good
    times_ms = [time_us / 1000 for time_us in good.time_us.tolist()]
    keys = list(zip(times_ms, good.trade_id.tolist(), good.id_text.tolist(), strict=True))
    values = zip(good.price.tolist(), good.amount.tolist(), good.side.tolist(), strict=True)
    assert keys == sorted(expected.good)
    assert dict(zip(keys, values, strict=True)) == expected.good
    rejected = [
        (None if reject.time is None else to_us(reject.time) / 1000, set(reject.reasons)) for reject in outcome.rejected
    ]
    assert rejected == expected.rejected
    assert milliseconds_left_out(outcome) == expected.open_ms
