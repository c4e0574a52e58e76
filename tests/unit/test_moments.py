from datetime import UTC, datetime, timedelta

import pytest

from tapehouse.errors import InputError, NaiveDatetime
from tapehouse.moments import duration, moment

NOW = datetime(2025, 3, 1, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30m", datetime(2025, 3, 1, 12, 0, tzinfo=UTC)),
        ("12h", datetime(2025, 3, 1, 0, 30, tzinfo=UTC)),
        # 2025 has no 29th of February.
        ("7d", datetime(2025, 2, 22, 12, 30, tzinfo=UTC)),
        ("2w", datetime(2025, 2, 15, 12, 30, tzinfo=UTC)),
        ("0d", NOW),
        ("2025-05-01", datetime(2025, 5, 1, tzinfo=UTC)),
        ("2025-05-01T12:30Z", datetime(2025, 5, 1, 12, 30, tzinfo=UTC)),
        ("2025-05-01T12:30:15.5+02:00", datetime(2025, 5, 1, 10, 30, 15, 500_000, tzinfo=UTC)),
        ("2025-05-01 00:00-05:00", datetime(2025, 5, 1, 5, tzinfo=UTC)),
    ],
)
def test_moments_are_read_in_utc(text: str, expected: datetime) -> None:
    assert moment(text, now=NOW) == expected
    assert moment(text, now=NOW).utcoffset() == expected.utcoffset()


@pytest.mark.parametrize("text", ["", "7", "d", "-7d", "1.5h", "7 days", "7y", "2025-13-01", "1746057600000", "now"])
def test_other_texts_are_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(InputError, match=r"is no time: write 30m, 12h, 7d or 2w for that long ago, 2025-05-01"):
        moment(text, now=NOW)


def test_a_time_of_day_without_a_zone_is_refused() -> None:
    with pytest.raises(NaiveDatetime, match="2025-05-01T12:30 has no time zone: write 2025-05-01T12:30Z for UTC"):
        moment("2025-05-01T12:30", now=NOW)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("1s", timedelta(seconds=1)),
        ("5m", timedelta(minutes=5)),
        ("1h", timedelta(hours=1)),
        ("14m30s", timedelta(minutes=14, seconds=30)),
        ("1h2m3s4ms", timedelta(hours=1, minutes=2, seconds=3, milliseconds=4)),
        ("0s", timedelta()),
    ],
)
def test_lengths_of_time_are_read(text: str, expected: timedelta) -> None:
    assert duration(text) == expected


@pytest.mark.parametrize("text", ["", "5", "m", "-5m", "1.5s", "5 m", "1d", "5m30", "1S", "1234567s"])
def test_other_lengths_are_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(InputError, match=r"is no length of time: write 500ms, 1s, 5m, 1h or 4m30s\."):
        duration(text)
