"""The server's clock as answers tell it: never ahead of the server, and only back where that was put back."""

from datetime import UTC, datetime, timedelta
from time import monotonic

import pytest

from tapehouse.query.clock import Clock

SERVER = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def told(clock: Clock) -> datetime:
    now = clock.now()
    assert now is not None
    return now


def close_to(expected: datetime) -> object:
    return pytest.approx(expected.timestamp(), abs=0.5)


def test_before_anything_was_told_it_does_not_know():
    assert Clock().now() is None


def test_a_long_read_does_not_put_the_time_back():
    clock = Clock()
    clock.note(SERVER, monotonic())
    # The server said it eight seconds ago, soon after it was asked, and it arrives now.
    clock.note(SERVER - 8 * SECOND, monotonic() - 9)
    assert told(clock).timestamp() == close_to(SERVER)


def test_an_answer_that_came_sooner_makes_it_more_exact():
    clock = Clock()
    clock.note(SERVER - 8 * SECOND, monotonic() - 9)
    assert told(clock).timestamp() == close_to(SERVER - 8 * SECOND)
    clock.note(SERVER, monotonic())
    assert told(clock).timestamp() == close_to(SERVER)


@pytest.mark.parametrize("hours", [-1, 1])
def test_it_follows_a_clock_that_was_put_back_or_forward(hours: int):
    clock = Clock()
    clock.note(SERVER, monotonic())
    clock.note(SERVER + timedelta(hours=hours), monotonic())
    assert told(clock).timestamp() == close_to(SERVER + timedelta(hours=hours))


def test_it_is_never_ahead_of_the_server():
    clock = Clock()
    for late_s in (3.0, 0.5, 7.0):
        # So long an answer is under way, half of it before the server looks at its clock.
        server_now = SERVER + timedelta(seconds=monotonic())
        clock.note(server_now - timedelta(seconds=late_s / 2), monotonic() - late_s)
        assert told(clock) <= SERVER + timedelta(seconds=monotonic())
