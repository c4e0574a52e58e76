from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tapehouse.candle import Reject
from tapehouse.errors import NaiveDatetime
from tapehouse.ranges import Unavailable

AWARE = datetime(2025, 1, 1, tzinfo=UTC)
NAIVE = AWARE.replace(tzinfo=None)
HOUR = timedelta(hours=1)
RECORDS: dict[str, Callable[[], object]] = {
    "start": lambda: Unavailable(NAIVE, AWARE + HOUR, "rejected"),
    "end": lambda: Unavailable(AWARE, NAIVE + HOUR, "rejected"),
    "time": lambda: Reject(NAIVE, ("volume_negative",), []),
}


@pytest.mark.parametrize("naive", RECORDS)
def test_records_refuse_times_without_a_zone(naive: str):
    with pytest.raises(NaiveDatetime, match="has no time zone"):
        RECORDS[naive]()


def test_a_reject_may_have_no_time():
    assert Reject(None, ("not_a_row",), "soon").time is None
