from datetime import UTC, datetime

import pytest

from tapehouse.files.places import partitions
from tapehouse.timeframe import timeframe


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "start", "end", "expected"),
    [
        ("1m", "2024-12-31T23:59", "2025-02-01", ["2024-12 2024-12-01 2025-01-01", "2025-01 2025-01-01 2025-02-01"]),
        ("12h", "2024-02-29", "2024-02-29T12:00", ["2024-02 2024-02-01 2024-03-01"]),
        ("1d", "2023-05-01", "2024-01-02", ["2023 2023-01-01 2024-01-01", "2024 2024-01-01 2025-01-01"]),
        ("1M", "2024-12-01", "2025-01-01", ["2024 2024-01-01 2025-01-01"]),
        # The week that opens on Monday, 30 December 2024, lies in that year's file, to its end.
        ("1w", "2024-12-30", "2025-01-06", ["2024 2024-01-01 2025-01-06"]),
        ("1w", "2025-01-01", "2025-01-13", ["2024 2024-01-01 2025-01-06", "2025 2025-01-06 2026-01-05"]),
        (
            None,
            "2025-01-31T23:00",
            "2025-02-02",
            ["2025-01-31 2025-01-31 2025-02-01", "2025-02-01 2025-02-01 2025-02-02"],
        ),
    ],
)
def test_files_tile_time_by_whole_candles(name: str | None, start: str, end: str, expected: list[str]):
    found = partitions(timeframe(name) if name else None, (day(start), day(end)))
    assert [f"{file} {first:%Y-%m-%d} {stop:%Y-%m-%d}" for file, (first, stop) in found] == expected
