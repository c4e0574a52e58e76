"""Every error tapehouse raises on purpose, and the exit code the command line gives it.

Other libraries' errors are translated into these at one border each: ccxt's in
`tapehouse.exchange`, psycopg's in `tapehouse.store.connection`.

    TapehouseError
    ├── InputError                  exit 2   what was asked for makes no sense
    │   ├── NaiveDatetime
    │   ├── ReversedRange
    │   ├── UnknownTimeframe
    │   ├── UnknownExchange
    │   ├── UnknownSymbol
    │   ├── UnknownSeries
    │   └── MissingExtra
    ├── ExchangeError               exit 3   the exchange, or the way to it
    │   ├── RetryableError
    │   │   ├── RateLimited
    │   │   └── BadPage
    │   └── PermanentError
    ├── StoreError                  exit 4   the database
    │   ├── StoreUnreachable
    │   ├── StoreRefused
    │   ├── UnsuitableServer
    │   ├── NotMigrated
    │   ├── MigrationError
    │   ├── MixedOrigins
    │   ├── BeyondRetention
    │   └── ArchiveError
    ├── QualityError                exit 5   too many rejected rows in one batch
    ├── SubscriberTooSlow           exit 1   who listens to a stream does not keep up with it
    └── ServiceError                exit 6   a local service: embedded database, sandbox
"""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from typing import ClassVar


class TapehouseError(Exception):
    """Something went wrong in tapehouse."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class InputError(TapehouseError):
    """What was asked for makes no sense."""

    exit_code = 2


class NaiveDatetime(InputError):
    """A datetime without a time zone: write it with one, for example 2025-01-01T00:00:00+00:00."""


class ReversedRange(InputError):
    """The start of a range must be before its end."""


class UnknownTimeframe(InputError):
    """No such timeframe."""


class UnknownExchange(InputError):
    """ccxt knows no exchange of that name."""


class UnknownSymbol(InputError):
    """The exchange has no such symbol."""


class UnknownSeries(InputError):
    """Nothing of that series is stored."""


class MissingExtra(InputError):
    """An optional package is not installed."""


@contextmanager
def needs_extra(what: str, *modules: str, extra: str) -> Generator[None]:
    """Raise MissingExtra where an import in the block finds one of these modules missing.

    `what` begins the message, as in "Charts need"; `extra` is the one to install.
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        module = (missing.name or "").partition(".")[0]
        if module not in modules:
            raise
        raise MissingExtra(f"{what} {module}: run pip install 'tapehouse[{extra}]'.") from missing


class ExchangeError(TapehouseError):
    """The exchange could not be asked, or its answer could not be used.

    `window` is the part of a series' time line, half-open, that was given up on, where it was asked for one.
    """

    exit_code = 3
    window: tuple[datetime, datetime] | None = None


class RetryableError(ExchangeError):
    """A fault that usually passes: the network, a time-out, an overloaded exchange."""


class RateLimited(RetryableError):
    """The exchange asks for fewer requests; `retry_after_s` is what it asked for, if it said."""

    def __init__(self, message: str | None = None, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class BadPage(RetryableError):
    """An answer that came with status 200 and is not what was asked for."""


class PermanentError(ExchangeError):
    """A fault that asking again does not mend: a geo block, a wrong key, a request refused."""


class StoreError(TapehouseError):
    """The database could not do what was asked."""

    exit_code = 4


class StoreUnreachable(StoreError):
    """No database answers at that address."""


class StoreRefused(StoreError):
    """The database refused the user, the password or the right to do this."""


class UnsuitableServer(StoreError):
    """The server is not a TimescaleDB with its community features, version 2.23 or newer."""


class NotMigrated(StoreError):
    """The database lacks tapehouse's tables, or some of its migrations: run `tapehouse db migrate`."""


class MigrationError(StoreError):
    """The migrations on disk and those applied do not fit together."""


class MixedOrigins(StoreError):
    """Candles of the sandbox and of the real exchange don't go into one database."""


class BeyondRetention(StoreError):
    """Candles older than what retention has already dropped can't be written."""


class ArchiveError(StoreError):
    """A file of the archive is missing, or is not what was archived."""


class QualityError(TapehouseError):
    """More rows of a batch were rejected than is allowed; they are in quarantine."""

    exit_code = 5


class SubscriberTooSlow(TapehouseError):
    """Who listens to a stream does not keep up with it."""


class ServiceError(TapehouseError):
    """A local service (embedded database, sandbox exchange) could not be started or stopped."""

    exit_code = 6
