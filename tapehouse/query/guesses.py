"""Guesses: what the ledger is expected to say, so that rows can be asked for in the same round trip as the ledger.

A guess is an earlier ledger of the same series. It only decides what is read; answers rest on the ledger that comes
with the rows, and where that needs other rows, these are read too.
"""

import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, TypeAlias

from tapehouse.query.bars import RollupStatements, rollup_statements
from tapehouse.query.ledger import Ledger
from tapehouse.query.plan import SeriesState
from tapehouse.ranges import TimeRange
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import Dataset
from tapehouse.timeframe import EPOCH

# Later than any row; PostgreSQL and Python can both still add to it.
FOREVER: Final = datetime(9000, 1, 1, tzinfo=UTC)
_ALL_TIME: Final = (EPOCH, FOREVER)
_MOST_KEPT: Final = 1000
# More pieces than that are not worth a guess, and would take memory for nothing.
_MOST_STALE: Final = 100

SeriesKey: TypeAlias = tuple[Dataset, int]


class Guesses:
    """The latest ledgers by what was asked, those used last; any number of threads may use it at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ledgers: OrderedDict[Hashable, Ledger] = OrderedDict()
        self._rollups: RollupStatements = {}

    def rollups(self, connection: Connection) -> RollupStatements:
        """The statements that read rollups; their tables are looked up once."""
        self._rollups = self._rollups or rollup_statements(connection)
        return self._rollups

    def get(self, key: Hashable) -> Ledger | None:
        """The latest ledger under a key, if there was one."""
        return self._ledgers.get(key)

    def keep(self, key: Hashable, ledger: Ledger) -> None:
        """Keep what matters of a ledger for the next question."""
        series = {
            key: replace(state, covered=(), stale_features=(), substitutes=()) for key, state in ledger.series.items()
        }
        with self._lock:
            self._ledgers.pop(key, None)
            if all(len(state.stale_rollups) <= _MOST_STALE for state in series.values()):
                self._ledgers[key] = replace(ledger, series=series)
            while len(self._ledgers) > _MOST_KEPT:
                self._ledgers.popitem(last=False)


def guess(ledger: Ledger, starts: Mapping[SeriesKey, datetime], last: datetime) -> Ledger:
    """What the ledger can be expected to say of its series from their starts to `last`.

    As if everything had been fetched: no more than what is planned so can be needed. What was behind at the ledger's
    end is taken to be so ever since, as is the day under way.
    """

    def expected(key: SeriesKey, state: SeriesState) -> SeriesState:
        stale = (_stretched(one, ledger.end, starts.get(key, EPOCH), last) for one in state.stale_rollups)
        return replace(state, covered=(_ALL_TIME,), stale_rollups=tuple(one for one in stale if one[0] < one[1]))

    return replace(ledger, series={key: expected(key, state) for key, state in ledger.series.items()})


def differing(ledger: Ledger, guessed: Ledger) -> set[SeriesKey]:
    """The series whose rows may be needed otherwise than guessed: where the same is behind, less is covered."""
    return {
        key
        for key in ledger.series.keys() | guessed.series.keys()
        if _planned_by(ledger.series.get(key)) != _planned_by(guessed.series.get(key))
    }


def _planned_by(state: SeriesState | None) -> object:
    return state and (state.stale_rollups, state.dropped_before, state.id_bytes)


def _stretched(stale: TimeRange, known_until: datetime, start: datetime, last: datetime) -> TimeRange:
    return max(stale[0], start), last if stale[1] >= known_until else min(stale[1], last)
