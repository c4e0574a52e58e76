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
    select = (
        "select * from (values "
        + ", ".join(f"('{time.isoformat()}'::timestamptz, {', '.join(map(cast, rest))})" for time, *rest in ROWS)
        + ") rows"
    )
    return answer_of(store_url, select)


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


def answer_of(store_url: str, select: str) -> bytes:
    """What a server sends for a query."""
    statement = f"copy ({select}) to stdout (format binary)"
    with connect(store_url) as connection, connection.cursor().copy(statement.encode()) as copy:
        return b"".join(bytes(data) for data in copy)


def test_all_types_are_decoded(store_url: str):
    answer = answer_of(
        store_url,
        "select time, -n, n::int2, 'id' || n, array[n, 'NaN', 3]::float8[], array[4, 5, -n]::float8[] "
        "from (values ('2025-06-01 12:00+00'::timestamptz, 7::int8), ('1999-12-31 23:59+00', 8)) v (time, n)",
    )
    fields = [
        Field.integer("time"),
        Field.integer("number"),
        Field.smallint("side"),
        Field.text("id", 3),
        Field.float_arrays("levels", 2, 3),
    ]
    decoder = CopyDecoder(fields)
    decode(decoder, answer)
    assert decoder.times_us("time").tolist() == [
        to_us(datetime(2025, 6, 1, 12, tzinfo=UTC)),
        to_us(datetime(1999, 12, 31, 23, 59, tzinfo=UTC)),
    ]
    assert decoder.integers("number").tolist() == [-7, -8]
    assert decoder.smallints("side").tolist() == [7, 8]
    assert decoder.texts("id").tolist() == [b"id7", b"id8"]
    expected = [[[7, np.nan, 3], [4, 5, -7]], [[8, np.nan, 3], [4, 5, -8]]]
    np.testing.assert_array_equal(decoder.floats("levels"), expected)


@pytest.mark.parametrize(
    "select",
    [
        # A NULL, an array and a text of another length, a column too many, in the first of two rows.
        "select case when n > 1 then n end, array[1, 2]::float8[], 'ab' from generate_series(1, 2) n",
        "select n::int8, array_fill(1::float8, array[n]), 'ab' from generate_series(1, 2) n",
        "select n::int8, array[1, 2]::float8[], repeat('a', n) from generate_series(1, 2) n",
        "select n::int8, array[1, 2]::float8[], 'ab', n from generate_series(1, 2) n",
    ],
)
def test_an_answer_of_another_layout_is_refused(store_url: str, select: str):
    decoder = CopyDecoder([Field.integer("number"), Field.float_arrays("levels", 1, 2), Field.text("id", 2)])
    answer = answer_of(store_url, select)
    with pytest.raises(StoreError, match="not in the expected layout"):
        decode(decoder, answer)


def decode(decoder: CopyDecoder, answer: bytes) -> None:
    decoder.feed(answer)
    decoder.end_answer()
