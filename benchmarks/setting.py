"""The setting of a run: which database, how much work, what else is at hand."""

from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from tapehouse.errors import InputError
from tapehouse.store.connection import Connection, connect, is_embedded
from tapehouse.store.migrate import migrate

# What the names of all exchanges made up here begin with.
EXCHANGE_PREFIX: Final = "benchmark-"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much work a run does; what is written takes so little time that it needs more rounds than the rest."""

    rounds: int
    write_rounds: int
    written_rows: int
    batch_rows: int
    read_rows: int
    fetched_candles: int
    fetched_trading: timedelta
    history_candles: int
    books: int
    book_phases: int
    calls: int
    year_candles: int
    tick_seconds: int
    scheduled_series: int
    scheduled_deployments: int
    streamed_s: int


FULL: Final = Sizes(
    rounds=7,
    write_rounds=25,
    written_rows=50_000,
    batch_rows=10_000,
    read_rows=1_000_000,
    fetched_candles=43_000,
    fetched_trading=timedelta(days=4),
    history_candles=43_000,
    books=3600,
    book_phases=10,
    calls=500,
    year_candles=525_600,
    tick_seconds=7200,
    scheduled_series=50,
    scheduled_deployments=100,
    streamed_s=600,
)


@dataclass(frozen=True, slots=True)
class Setting:
    """What every benchmark is given.

    `psql` is the program, if there is one; `recordings` the folder of recordings; `environments` that of what
    `make compare` has made.
    """

    url: str
    sizes: Sizes
    psql: str | None
    recordings: Path
    environments: Path

    @contextmanager
    def emptied_database(self) -> Generator[Connection]:
        """A connection to the database, migrated, with nothing in it.

        Raises InputError where the database holds anything that was not made here.
        """
        with closing(connect(self.url)) as connection:
            migrate(connection)
            _refuse_foreign(connection)
            _empty(connection)
            yield connection

    @contextmanager
    def database_of_the_sandbox(self) -> Generator[Connection]:
        """The same for what has to keep the names of the sandbox's exchanges: nothing of them is left either."""
        with self.emptied_database() as connection:
            try:
                yield connection
            finally:
                _empty(connection)


def engine_of(connection: Connection) -> str:
    """The server in words: `embedded` or `native`, with its versions."""
    row = connection.execute(
        "select current_setting('server_version'), extversion from pg_extension where extname = 'timescaledb'"
    ).fetchone()
    postgresql, timescaledb = row or ("?", "?")
    kind = "embedded" if is_embedded(connection) else "native"
    return f"{kind} PostgreSQL {postgresql.split()[0]}, TimescaleDB {timescaledb}"


def _empty(connection: Connection) -> None:
    connection.execute(
        "truncate ohlcv, trade, order_book, order_book_1s, imbalance, series, coverage, unavailable, "
        "substitute, quarantine, stale_rollup, stale_feature, candle_agreement, archive, archiving, "
        "quality, listing_change, instrument"
    )


def _refuse_foreign(connection: Connection) -> None:
    row = connection.execute(
        "select exchange from instrument where not starts_with(exchange, %s) limit 1", [EXCHANGE_PREFIX]
    ).fetchone()
    if row is not None:
        raise InputError(
            f"This database holds instruments of {row[0]}, and a benchmark empties the database it uses: "
            "give it one of its own."
        )
