"""What keeps compression from saving more of a table."""

from typing import Final

from tapehouse.status.records import TableStatus

# TimescaleDB compresses up to 1,000 rows of a series together; what a batch costs besides is then forgotten.
_FULL_ENOUGH: Final = 250.0


def undermined_by(table: TableStatus) -> list[str]:
    """What undermines the compression of a table, in words; empty where nothing can be told, or nothing does."""
    found: list[str] = []
    if table.partly_compressed:
        found.append(f"{table.partly_compressed} chunks were written to since they were compressed")
    if 2 * table.small > table.compressed:
        found.append(f"{table.small} of {table.compressed} compressed chunks took less than 1 MB before")
    if table.rows_per_batch is not None and table.rows_per_batch < _FULL_ENOUGH:
        found.append(
            f"{table.rows_per_batch:.0f} rows are compressed together, of 1,000 at most: few rows of a series a chunk"
        )
    return found
