"""Which database to use: the one named, else that of the environment, else the embedded one if it runs."""

from tapehouse.config import DATABASE_URL, settings_from_environment
from tapehouse.errors import StoreUnreachable


def database_url(explicit: str | None = None) -> str:
    """The URL of the database to use.

    That is `explicit` if given, else TAPEHOUSE_DATABASE_URL, else the embedded database that runs
    on the data directory. Raises StoreUnreachable if there is none.
    """
    if explicit:
        return explicit
    settings = settings_from_environment()
    if settings.database_url:
        return settings.database_url
    # Only who uses the embedded database pays for importing it.
    from tapehouse import embedded

    status = embedded.status(settings.data_dir)
    if status.url is None:
        raise StoreUnreachable(
            f"No database: {DATABASE_URL} is not set and no embedded one runs in {settings.data_dir}. "
            "Start one with `tapehouse db up`, or pass a PostgreSQL URL."
        )
    return status.url
