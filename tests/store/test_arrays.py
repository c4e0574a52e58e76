from datetime import UTC, datetime

import pytest

from tapehouse.store.arrays import BytesLoader, received_ranges
from tapehouse.store.connection import Connection
from tapehouse.timeframe import from_us

MULTIRANGES = [
    "{}",
    "{[1969-12-31 23:59:59.999999+00,1970-01-01 00:00+00)}",
    "{[2024-01-01 00:00+00,2024-01-01 00:01+00),[2024-01-02 12:30+00,2262-01-01 00:00+00)}",
    "{}",
]


def test_ranges_arrive_to_the_microsecond(connection: Connection):
    with connection.cursor() as cursor:
        cursor.adapters.register_loader("tstzmultirange", BytesLoader)
        cursor.execute("select unnest(%s::tstzmultirange[])", (MULTIRANGES,), binary=True)
        start_us, end_us, count = received_ranges([value for (value,) in cursor])
    assert count.tolist() == [0, 1, 2, 0]
    assert [(from_us(start), from_us(end)) for start, end in zip(start_us.tolist(), end_us.tolist(), strict=True)] == [
        (datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)),
        (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, 0, 1, tzinfo=UTC)),
        (datetime(2024, 1, 2, 12, 30, tzinfo=UTC), datetime(2262, 1, 1, tzinfo=UTC)),
    ]


def test_unbounded_ranges_are_not_mistaken_for_others(connection: Connection):
    with connection.cursor() as cursor:
        cursor.adapters.register_loader("tstzmultirange", BytesLoader)
        cursor.execute("select '{[2024-01-01 00:00+00,)}'::tstzmultirange", binary=True)
        with pytest.raises(ValueError, match="buffer size"):
            received_ranges([value for (value,) in cursor])
