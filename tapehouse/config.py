"""Settings: where the database, the exchanges and the local data folder are.

Everything comes from the environment or from the caller; nothing is read from files, and
nothing is connected to here.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import platformdirs

from tapehouse.errors import InputError

DATABASE_URL: Final = "TAPEHOUSE_DATABASE_URL"
EXCHANGE_URL: Final = "TAPEHOUSE_EXCHANGE_URL"
DATA_DIR: Final = "TAPEHOUSE_DATA_DIR"
ARCHIVE: Final = "TAPEHOUSE_ARCHIVE"

# The sandbox says in every answer that it is no real exchange, wherever it is reached through.
SANDBOX_HEADER: Final = "X-Tapehouse-Sandbox"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where things are.

    `database_url` is a PostgreSQL URL, or None for the embedded database in `data_dir`;
    `exchange_url`, where given, is what every exchange's requests are routed through
    (a gateway or the sandbox); `archive` is the folder of the archive, where there is one.
    """

    database_url: str | None
    exchange_url: str | None
    data_dir: Path
    archive: Path | None


def settings_from_environment() -> Settings:
    """Read the settings from TAPEHOUSE_DATABASE_URL, _EXCHANGE_URL, _DATA_DIR and _ARCHIVE."""
    data_dir, archive = os.environ.get(DATA_DIR), os.environ.get(ARCHIVE)
    return Settings(
        database_url=os.environ.get(DATABASE_URL) or None,
        exchange_url=os.environ.get(EXCHANGE_URL) or None,
        data_dir=Path(data_dir) if data_dir else platformdirs.user_data_path("tapehouse"),
        archive=Path(archive) if archive else None,
    )


def archive_folder(explicit: Path | None = None) -> Path:
    """The folder of the archive: the one named, else that of the environment; raises InputError if there is none."""
    folder = explicit or settings_from_environment().archive
    if folder is None:
        raise InputError(f"Where is the archive? Set {ARCHIVE} to its folder, or name it with --dir.")
    return folder
