"""Labels: what an exported file says of its rows beside them, as JSON in its schema or in a file next to it.

Where a label is kept in each format is written and read here; what is done with it is the business of exporting
and importing.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from tapehouse.errors import InputError
from tapehouse.instrument import AmountUnit, Listing
from tapehouse.ranges import Substitute, TimeRange, subtract_ranges
from tapehouse.store.instruments import Dataset
from tapehouse.timeframe import Timeframe, aware_utc
from tapehouse.timeframe import timeframe as timeframe_named

# The key of the label in the metadata of a Parquet or Arrow schema.
SCHEMA_KEY: Final = b"tapehouse"
# The key of the number of rows that the file was finished with, behind these: the label is not that of a part of them.
ROWS_KEY: Final = b"tapehouse_rows"
# What is put behind the name of a CSV file, which has no room for a label, to name the file that holds it.
BESIDE_SUFFIX: Final = ".json"

_LAYOUT: Final = 1
# What of an instrument says which rows these are, and in which unit and scale.
_ROW_FACTS: Final = (
    "exchange",
    "symbol",
    "from_sandbox",
    "amount_unit",
    "trade_unit",
    "price_decimals",
    "amount_decimals",
)


@dataclass(frozen=True, slots=True)
class FileLabel:
    """What a file holds: which series, from when to when, and what of that is known.

    `listing` is the instrument as the store has it, with the decimals that its numbers need and without its raw
    metadata. `covered` is what of the window [start, end) was fetched, all of it, so that what is covered and has
    no row is known to be empty. `revision` is that of the series in the store that was first told of the instrument
    at `first_seen_at`: files of one store with the same label hold the same rows.
    """

    listing: Listing
    dataset: Dataset
    timeframe: Timeframe | None
    start: datetime
    end: datetime
    covered: tuple[TimeRange, ...]
    substituted: tuple[Substitute, ...]
    revision: int
    first_seen_at: datetime

    @property
    def amount_unit(self) -> AmountUnit:
        """What the volumes or amounts in the file count."""
        return self.listing.amount_unit if self.dataset == "ohlcv" else self.listing.trade_unit

    @property
    def name(self) -> str:
        """The name of the series, as the store gives it."""
        kind = self.timeframe or ("trades" if self.dataset == "trade" else "order books")
        return f"{self.listing.exchange} {self.listing.symbol} {kind}"

    @property
    def gaps(self) -> list[TimeRange]:
        """What of the window is not known."""
        return subtract_ranges([(self.start, self.end)], self.covered)

    def has_rows_of(self, other: "FileLabel") -> bool:
        """Whether both are of the same rows; what exchanges tell of an instrument otherwise changes by the day."""
        return _row_facts(self) == _row_facts(other)

    def can_join(self, other: "FileLabel") -> bool:
        """Whether rows of both may stand in one file: they are of one store, and their amounts count the same."""
        return (self.first_seen_at, self.amount_unit) == (other.first_seen_at, other.amount_unit)

    def to_json(self) -> str:
        """The label as one line of JSON; times in ISO 8601, UTC."""
        instrument = asdict(self.listing)
        del instrument["raw"]
        return json.dumps(
            {
                "layout": _LAYOUT,
                "exchange": self.listing.exchange,
                "symbol": self.listing.symbol,
                "dataset": self.dataset,
                "timeframe": self.timeframe.name if self.timeframe else None,
                "amount_unit": self.amount_unit,
                "from_sandbox": self.listing.from_sandbox,
                "start": self.start.isoformat(),
                "end": self.end.isoformat(),
                "covered": [[start.isoformat(), end.isoformat()] for start, end in self.covered],
                "substituted": [[one.start.isoformat(), one.end.isoformat(), one.source] for one in self.substituted],
                "revision": self.revision,
                "first_seen_at": self.first_seen_at.isoformat(),
                "instrument": instrument,
            }
        )


def label_of_parquet(file: Any) -> FileLabel | None:  # noqa: ANN401 -- pyarrow ships no types
    """The label in an open ParquetFile, if it is one of all of its rows; raises InputError for one of no sense."""
    return _schema_label(file.schema_arrow.metadata, file.metadata.metadata, rows=file.metadata.num_rows)


def label_of_arrow(file: Any) -> FileLabel | None:  # noqa: ANN401 -- pyarrow ships no types
    """The label in an open Arrow file, if it is one of all of its rows; raises InputError for one of no sense."""
    if SCHEMA_KEY not in (file.schema.metadata or {}) or not file.num_record_batches:
        return None
    behind = file.get_batch_with_custom_metadata(file.num_record_batches - 1)[1]
    return _schema_label(file.schema.metadata, dict(behind or {}), rows=rows_of_arrow(file))


def rows_of_arrow(file: Any) -> int:  # noqa: ANN401 -- pyarrow ships no types
    """How many rows an open Arrow file has."""
    return sum(file.get_batch(number).num_rows for number in range(file.num_record_batches))


def rows_told(rows: int) -> dict[bytes, bytes]:
    """What to write behind the rows of a file whose schema has a label."""
    return {ROWS_KEY: str(rows).encode()}


def read_label_beside(path: Path, *, sha256: str) -> FileLabel | None:
    """The label in the file beside that one, None where there is none or it was made for other content.

    `sha256` is that of the file itself, in hex. Raises InputError for a label that can't be understood.
    """
    beside = path.with_name(path.name + BESIDE_SUFFIX)
    try:
        text = beside.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"Can't read {beside}: {error.strerror or error}.") from error
    label = _label(text, str(beside))
    return label if json.loads(text).get("sha256") == sha256 else None


def label_beside(label: FileLabel, *, sha256: str) -> str:
    """What to write beside a file whose content has that sha256, in hex."""
    return json.dumps({**json.loads(label.to_json()), "sha256": sha256}, indent=2) + "\n"


def _schema_label(
    schema: Mapping[bytes, bytes] | None, behind: Mapping[bytes, bytes] | None, *, rows: int
) -> FileLabel | None:
    # Tables keep their schema when rows are taken out of them.
    text = (schema or {}).get(SCHEMA_KEY)
    if text is None or (behind or {}).get(ROWS_KEY) != rows_told(rows)[ROWS_KEY]:
        return None
    return _label(text, "The file's schema")


def _row_facts(label: FileLabel) -> dict[str, object]:
    return {
        **{field.name: getattr(label, field.name) for field in fields(label) if field.name != "listing"},
        **{name: getattr(label.listing, name) for name in _ROW_FACTS},
    }


def _label(text: bytes, where: str) -> FileLabel:
    try:
        return _from_json(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, InputError) as error:
        raise InputError(f"{where} has a label of tapehouse that can't be read: export the file again.") from error


def _from_json(label: Mapping[str, Any]) -> FileLabel:
    # Files of before lot_size was known do not tell it.
    instrument: dict[str, Any] = {"lot_size": None, **label["instrument"]}
    return FileLabel(
        listing=Listing(**instrument, raw={}),
        dataset=label["dataset"],
        timeframe=timeframe_named(label["timeframe"]) if label["timeframe"] else None,
        start=_time(label["start"]),
        end=_time(label["end"]),
        covered=tuple((_time(start), _time(end)) for start, end in label["covered"]),
        substituted=tuple(Substitute(_time(start), _time(end), source) for start, end, source in label["substituted"]),
        revision=label["revision"],
        first_seen_at=_time(label["first_seen_at"]),
    )


def _time(text: str) -> datetime:
    return aware_utc(datetime.fromisoformat(text))
