from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapehouse.errors import StoreError
from tapehouse.query.decode import CopyDecoder, Field
from tapehouse.store.connection import connect
from tapehouse.timeframe import to_us

FIELDS = [Field.integer("time"), Field.floats("values", 5)]
ROWS = [
    (datetime(1999, 12, 31, 23, 59, tzinfo=UTC), 1.0, 4.0, 0.5, 2.0, 0.0),
    (datetime(2000, 1, 1, tzinfo=UTC), 0.1, 1e300, -1e-300, 2.0**53, 7.0),
    (datetime(2025, 6, 1, 12, 30, 0, 1, tzinfo=UTC), -0.0, 1.0, 2.0, 3.0, 4.0),
]


@pytest.fixture(scope="session")
def answer(store_url: str) -> bytes:
    """What a server sends for those rows."""
    statement = (
        "copy (select * from (values "
        + ", ".join(f"('{time.isoformat()}'::timestamptz, {', '.join(map(cast, rest))})" for time, *rest in ROWS)
        + ") rows) to stdout (format binary)"
    )
    with connect(store_url) as connection, connection.cursor().copy(statement) as copy:  # pyright: ignore[reportArgumentType, reportCallIssue] -- composed of our constants
        return b"".join(bytes(data) for data in copy)


def cast(value: Any) -> str:
    return f"'{value!r}'::float8"


@given(cuts=st.lists(st.integers(0, 243), max_size=8))
def test_any_cut_of_an_answer_decodes_to_the_same_rows(answer: bytes, cuts: list[int]):
    decoder = CopyDecoder(FIELDS, 1)
    bounds = [0, *sorted(cuts), len(answer)]
    for start, stop in pairwise(bounds):
        decoder.feed(memoryview(answer)[start:stop])
    decoder.end_answer()
    assert decoder.times_us("time").tolist() == [to_us(time) for time, *_ in ROWS]
    np.testing.assert_array_equal(decoder.floats("values").T, [rest for _, *rest in ROWS])


def test_answers_are_joined_and_may_exceed_what_was_expected(answer: bytes):
    decoder = CopyDecoder(FIELDS, 2)
    for _ in range(5):
        decoder.feed(answer)
        decoder.end_answer()
    assert decoder.times_us("time").tolist() == [to_us(time) for time, *_ in ROWS] * 5


def test_an_answer_without_rows_is_empty(answer: bytes):
    decoder = CopyDecoder(FIELDS, 0)
    decoder.feed(answer[:19] + answer[-2:])
    decoder.end_answer()
    assert decoder.floats("values").shape == (5, 0)


@pytest.mark.parametrize("kept", [0, 10, 19, 60, 93, 240])
def test_an_answer_cut_short_is_refused(answer: bytes, kept: int):
    decoder = CopyDecoder(FIELDS, 3)
    decoder.feed(answer[:kept])
    with pytest.raises(StoreError, match="cut short"):
        decoder.end_answer()
