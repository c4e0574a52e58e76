"""The volume that a database's files are on, where that can be looked at from here."""

import os
import shutil
from pathlib import Path
from typing import Final

from tapehouse import embedded
from tapehouse.config import settings_from_environment
from tapehouse.status.records import DiskStatus
from tapehouse.store.connection import Connection, is_embedded

_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost", "")


def read_disk(connection: Connection, data_directory: str | None) -> DiskStatus | None:
    """The volume of the embedded database's folder, or of the `data_directory` that a server here told of.

    None where the server is elsewhere, or this user may not look into its folder.
    """
    folder = _embedded_folder(connection) if is_embedded(connection) else _server_folder(connection, data_directory)
    if folder is None:
        return None
    usage = shutil.disk_usage(folder)
    return DiskStatus(str(folder), usage.total, usage.free)


def _embedded_folder(connection: Connection) -> Path | None:
    running = embedded.status(settings_from_environment().data_dir)
    return running.data_dir if running.port == connection.info.port else None


def _server_folder(connection: Connection, data_directory: str | None) -> Path | None:
    host = connection.info.host
    if data_directory is None or not (host in _LOOPBACK or host.startswith("/")):
        return None
    # A path alone proves nothing: behind a forwarded port it may be a container's. Only who can see into the folder
    # can tell.
    return Path(data_directory) if os.path.exists(f"{data_directory}/PG_VERSION") else None  # noqa: PTH110 -- Path.exists raises where it may not look
