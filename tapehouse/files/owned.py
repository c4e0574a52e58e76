"""Files that lie where an export is to write: it replaces none but its own."""

from pathlib import Path

from tapehouse.errors import InputError
from tapehouse.files.label import FileLabel
from tapehouse.store.instruments import CandleSeries, TradeSeries


def require_own(path: Path, label: FileLabel | None, series: CandleSeries | TradeSeries, *, is_file: bool) -> None:
    """Raise InputError where the file, with that label, is none that an export of the series has written."""
    elsewhere = "name another file" if is_file else "export to another folder"
    if label is None:
        raise InputError(f"{path} was not exported by tapehouse, or was changed since: move it away, or {elsewhere}.")
    if label.name != str(series):
        raise InputError(f"{path} holds {label.name} and not {series}: {elsewhere}.")
    if label.listing.from_sandbox != series.instrument.from_sandbox:
        had, stored = ("invented", "real") if label.listing.from_sandbox else ("real", "invented")
        raise InputError(f"{path} holds {had} data and the database {stored}: {elsewhere}.")
