"""Time lines of all stored series at once: what of each was fetched, is empty, missing, or came from elsewhere.

Ranges come from the ledgers, so that the number of rows does not matter. Only where candles are known to be
missing from what was fetched are rows looked at, step by step, and those of 1m candles in the rollups.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
from psycopg.sql import Identifier

from tapehouse.candle import Int64Array
from tapehouse.errors import InputError
from tapehouse.lanes import NOTHING, STATES, Lane, Lanes, Ranges, State, common_ranges, paint, ranges_without
from tapehouse.query.inventory import Inventory, read_inventory
from tapehouse.query.ledger import NO_TIMEFRAME_S
from tapehouse.query.plan import ROLLUPS
from tapehouse.store.arrays import BytesLoader, received_ranges
from tapehouse.store.connection import Connection, store_errors
from tapehouse.store.sql import query
from tapehouse.timeframe import Timeframe, from_us, timeframe_of_seconds, to_us

# In how many steps of the window stretches without a candle are looked for.
_STEPS: Final = 1000
_MINUTE_S: Final = 60
_NO_RANGES: Final[Ranges] = (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
_NOUNS: Final = {"trade": "trades", "order_book": "order books"}
_STATES_OF_CAUSES: Final[dict[str, State]] = {
    "rejected": "rejected",
    "failed": "failed",
    "beyond_exchange_history": "beyond",
    "more_than_a_page": "beyond",
}

# Ranges of a series by their kind, as read_range_marks.sql names them.
Marks = Mapping[str, Ranges]


def read_lanes(
    connection: Connection, exchange: str | None, symbol: str | None, *, start: datetime | None, end: datetime | None
) -> Lanes | None:
    """The time lines of the series of that exchange and symbol, or of all; None where nothing was ever wanted.

    Without bounds from the first to the last moment that was wanted or asked for. Raises InputError where the window
    that this gives is empty, and StoreError.
    """
    with store_errors(), connection.transaction():
        inventory = read_inventory(connection, exchange, symbol)
        marks = _read_marks(connection, exchange, symbol)
        tries = _read_tries(connection, exchange, symbol)
        found = list(_series(inventory, marks, tries))
        asked = [one.asked for one in found if one.asked]
        if not asked:
            return None
        window = (
            to_us(start) if start else min(first for first, _ in asked),
            to_us(end) if end else max(last for _, last in asked),
        )
        if window[0] >= window[1]:
            raise InputError(
                f"Nothing was fetched from {from_us(window[0]):%Y-%m-%d %H:%M} to {from_us(window[1]):%Y-%m-%d %H:%M} "
                "UTC: choose other bounds."
            )
        empty = _read_empty(connection, found, window)
    return Lanes(*window, tuple(_lane(one, window, empty.get(one.facts["series_id"], _NO_RANGES)) for one in found))


@dataclass(frozen=True, slots=True)
class _Try:
    """A range that was asked for in vain, and why."""

    start_us: int
    end_us: int
    cause: str


@dataclass(frozen=True, slots=True, eq=False)
class _Series:
    """A series: what read_stored_series.sql says of it, its ranges, and what could not be had, the latest last."""

    facts: Mapping[str, Any]
    covered: Ranges
    marks: Marks
    tries: Sequence[_Try]
    has_empty_bars: bool

    @property
    def asked(self) -> tuple[int, int] | None:
        """From when to when anything was wanted or asked for; what lies before the series begins does not count."""
        ranges = [(one.start_us, one.end_us) for one in self.tries]
        if self.facts["wanted_from"]:
            ranges.append((to_us(self.facts["wanted_from"]), to_us(self.facts["wanted_until"])))
        for start_us, end_us in (self.covered, self.marks.get("substituted", _NO_RANGES)):
            ranges += [(int(start_us[0]), int(end_us[-1]))] if len(start_us) else []
        if not ranges:
            return None
        first, last = min(first for first, _ in ranges), max(last for _, last in ranges)
        begins_at = self.facts["begins_at"]
        return (max(first, to_us(begins_at)) if begins_at and to_us(begins_at) < last else first), last

    @property
    def timeframe(self) -> Timeframe | None:
        """That of candles."""
        seconds = self.facts["timeframe_s"]
        return None if seconds == NO_TIMEFRAME_S else timeframe_of_seconds(seconds)


def _read_marks(connection: Connection, exchange: str | None, symbol: str | None) -> dict[int, Marks]:
    with connection.cursor() as cursor:
        cursor.adapters.register_loader("tstzmultirange", BytesLoader)
        cursor.execute(query("read_range_marks"), {"exchange": exchange, "symbol": symbol}, binary=True)
        rows = cursor.fetchall()
    marks: dict[int, dict[str, Ranges]] = defaultdict(dict)
    for series_id, kind, multirange in rows:
        start_us, end_us, _ = received_ranges([multirange])
        marks[series_id][kind] = (start_us, end_us)
    return dict(marks)


def _read_tries(connection: Connection, exchange: str | None, symbol: str | None) -> dict[int, list[_Try]]:
    tries: dict[int, list[_Try]] = defaultdict(list)
    asked = connection.execute(query("read_tries"), {"exchange": exchange, "symbol": symbol})
    for series_id, cause, start, end in asked:
        tries[series_id].append(_Try(to_us(start), to_us(end), cause))
    return dict(tries)


def _series(inventory: Inventory, marks: Mapping[int, Marks], tries: Mapping[int, Sequence[_Try]]) -> Iterator[_Series]:
    has_bars, bars, ends = inventory.has_bars(), inventory.bars(), np.cumsum(inventory.count)
    for number, facts in enumerate(inventory.series):
        here = slice(int(ends[number] - inventory.count[number]), int(ends[number]))
        yield _Series(
            facts=facts,
            covered=(inventory.start_us[here], inventory.end_us[here]),
            marks=marks.get(facts["series_id"], {}),
            tries=tries.get(facts["series_id"], ()),
            has_empty_bars=bool(has_bars[number] and bars[number] > facts["rows"]),
        )


def _read_empty(connection: Connection, found: list[_Series], window: tuple[int, int]) -> dict[int, Ranges]:
    """By series the steps in which no candle is stored."""
    empty: dict[int, Ranges] = {}
    by_timeframe: dict[Timeframe, list[_Series]] = defaultdict(list)
    for one in found:
        # Calendar months are no steps of one length, and few.
        if one.has_empty_bars and one.timeframe and not one.timeframe.is_monthly:
            by_timeframe[one.timeframe].append(one)
    for timeframe, some in by_timeframe.items():
        unit = _looked_at(timeframe, window)
        step_us = unit.seconds * 1_000_000 * max(1, (window[1] - window[0]) // (_STEPS * unit.seconds * 1_000_000))
        origin_us = to_us(unit.floor(from_us(window[0])))
        steps_us = np.arange(origin_us, window[1], step_us)
        filled = _read_filled(connection, timeframe, unit, some, (origin_us, int(steps_us[-1] + step_us)), step_us)
        for one in some:
            is_filled = np.isin(steps_us, filled.get(one.facts["instrument_id"], _NO_RANGES[0]))
            without = (steps_us[~is_filled], steps_us[~is_filled] + step_us)
            # A rollup that is behind may lack candles that are there.
            behind = one.marks.get("unrefreshed", _NO_RANGES) if unit != timeframe else _NO_RANGES
            empty[one.facts["series_id"]] = ranges_without(without, behind)
    return empty


def _looked_at(timeframe: Timeframe, window: tuple[int, int]) -> Timeframe:
    """The timeframe itself, or the longest rollup of it that is not longer than a step."""
    step_s = (window[1] - window[0]) // (_STEPS * 1_000_000)
    fitting = [rollup for rollup in ROLLUPS if rollup.seconds <= step_s]
    return max(fitting, default=timeframe) if timeframe.seconds == _MINUTE_S else timeframe


def _read_filled(
    connection: Connection,
    timeframe: Timeframe,
    unit: Timeframe,
    some: list[_Series],
    span: tuple[int, int],
    step_us: int,
) -> dict[int, Int64Array]:
    """By instrument the steps that hold a candle."""
    parameters = {
        "instrument_ids": [one.facts["instrument_id"] for one in some],
        "timeframe_s": timeframe.seconds,
        "start": from_us(span[0]),
        "end": from_us(span[1]),
        "step": timedelta(microseconds=step_us),
    }
    if unit == timeframe:
        statement = query("read_filled_steps")
    else:
        statement = query("read_filled_rollup_steps").format(rollup=Identifier(f"candle_{unit}"))
    # A plan kept for any times would have to look at all chunks.
    return dict(connection.execute(statement, parameters, prepare=False, binary=True).fetchall())


def _lane(one: _Series, window: tuple[int, int], empty: Ranges) -> Lane:
    facts, timeframe = one.facts, one.timeframe
    return Lane(
        exchange=facts["exchange"],
        name=f"{facts['symbol']} {timeframe or _NOUNS[facts['dataset']]}",
        rows=facts["rows"],
        from_sandbox=facts["from_sandbox"],
        parts=paint(window, _layers(one, window, empty)),
    )


def _layers(one: _Series, window: tuple[int, int], empty: Ranges) -> Iterator[tuple[State, Ranges]]:
    """What to paint over what was not asked for, one over the other."""
    covered = one.covered
    dropped_before = one.facts["dropped_before"]
    dropped_us = to_us(dropped_before) if dropped_before else window[0]
    if one.asked:
        yield "missing", _range(max(one.asked[0], dropped_us), one.asked[1])
        if one.facts["delisted_at"]:
            yield "outside", _range(to_us(one.facts["delisted_at"]), window[1])
    yield from _not_had(one.tries)
    yield "rows", covered
    yield "empty", common_ranges(covered, empty)
    yield "empty", common_ranges(covered, _lone_empty(one))
    yield "substituted", one.marks.get("substituted", _NO_RANGES)
    yield "dropped", common_ranges(covered, _range(window[0], dropped_us))
    if one.facts["begins_at"]:
        yield "outside", _range(window[0], to_us(one.facts["begins_at"]))


def _not_had(tries: Sequence[_Try]) -> Iterator[tuple[State, Ranges]]:
    """By state what could not be had, as the latest attempt says."""
    known = [one for one in tries if one.cause in _STATES_OF_CAUSES]
    bounds_us = np.unique(np.array([(one.start_us, one.end_us) for one in known], dtype=np.int64))
    firsts = np.searchsorted(bounds_us, [one.start_us for one in known]).tolist()
    lasts = np.searchsorted(bounds_us, [one.end_us for one in known]).tolist()
    place = np.full(len(bounds_us), NOTHING)
    for one, first, last in zip(known, firsts, lasts, strict=True):
        place[first:last] = STATES.index(_STATES_OF_CAUSES[one.cause])
    for state in sorted(set(_STATES_OF_CAUSES.values())):
        here = np.flatnonzero(place == STATES.index(state))
        yield state, (bounds_us[here], bounds_us[here + 1])


def _lone_empty(one: _Series) -> Ranges:
    """Single bars that the exchange answered for without a candle; of longer ranges some bars may have one."""
    bars = [
        (each.start_us, each.end_us)
        for each in one.tries
        if each.cause == "exchange_empty"
        and one.timeframe
        and one.timeframe.close(from_us(each.start_us)) >= from_us(each.end_us)
    ]
    start_us, end_us = np.array(sorted(bars), dtype=np.int64).reshape(-1, 2).T
    return start_us, end_us


def _range(start_us: int, end_us: int) -> Ranges:
    if start_us >= end_us:
        return _NO_RANGES
    return np.array([start_us]), np.array([end_us])
