"""What came of a run: the tables that people see in Prefect, and the error a run ends with if part of it failed.

The artifacts' keys are stable, so that each has a history over all runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from prefect import get_run_logger, task
from prefect.artifacts import acreate_table_artifact
from prefect.cache_policies import NO_CACHE

from tapehouse.errors import TapehouseError
from tapehouse.ingest import CandleIngest
from tapehouse.store.instruments import SyncResult
from tapehouse.store.rollups import BASE_TIMEFRAME, ROLLUPS, RefreshResult

INGEST_KEY: Final = "ingest-ohlcv"
SYNC_KEY: Final = "sync-instruments"
REFRESH_KEY: Final = "refresh-rollups"

Row = dict[str, str | int | None]


class Part(Protocol):
    """One of several things that a run does, of which each may fail without stopping the others."""

    @property
    def name(self) -> str:
        """What it is called in a message."""
        ...

    @property
    def error(self) -> Exception | None:
        """Why it failed, if it did."""
        ...


@dataclass(slots=True)
class SeriesReport:
    """What became of one series; filled in while it is ingested. `planned` counts candles to fetch."""

    exchange: str
    symbol: str
    timeframe: str
    planned: int = 0
    done: CandleIngest = field(default_factory=CandleIngest)
    error: Exception | None = None

    @property
    def name(self) -> str:
        """The series, as in `binance BTC/USDT 1m`."""
        return f"{self.exchange} {self.symbol} {self.timeframe}"

    @property
    def touches_rollups(self) -> bool:
        """Whether rollups are behind now: they are built from the base candles."""
        return self.timeframe == BASE_TIMEFRAME.name and self.done.inserted + self.done.changed > 0

    def add(self, done: CandleIngest) -> None:
        """Add what an attempt at a chunk did."""
        self.done += done

    def row(self) -> Row:
        """The row of the run's table."""
        return {
            "exchange": self.exchange,
            "symbol": self.symbol,
            "timeframe": self.timeframe,
            "planned": self.planned,
            "fetched": self.done.fetched,
            "inserted": self.done.inserted,
            "changed": self.done.changed,
            "unchanged": self.done.unchanged,
            "rejected": self.done.rejected,
            "refused": self.done.refused,
            "revision": self.done.revision,
            "error": _said(self.error),
        }


@dataclass(frozen=True, slots=True)
class ExchangeReport:
    """What became of one exchange's instruments; `result` or `error` is there."""

    exchange: str
    result: SyncResult | None = None
    error: Exception | None = None

    @property
    def name(self) -> str:
        """The exchange."""
        return self.exchange

    def row(self) -> Row:
        """The row of the run's table."""
        return {
            "exchange": self.exchange,
            "listed": self.result.listed if self.result else None,
            "new": self.result.new if self.result else None,
            "delisted": ", ".join(self.result.delisted) if self.result else None,
            "error": _said(self.error),
        }


@task(name="report-ingest", cache_policy=NO_CACHE, persist_result=False)
async def publish_ingest(reports: Sequence[SeriesReport]) -> None:
    """Publish the table of an ingest, a row a series."""
    total = sum((report.done for report in reports), CandleIngest())
    summary = (
        f"{_outcome(reports, 'series')} {total.fetched} candles fetched: {total.inserted} new, "
        f"{total.changed} changed, {total.unchanged} unchanged, {total.rejected} rejected."
    )
    await _publish(INGEST_KEY, [report.row() for report in reports], summary)


@task(name="report-sync", cache_policy=NO_CACHE, persist_result=False)
async def publish_sync(reports: Sequence[ExchangeReport]) -> None:
    """Publish the table of a sync of instruments, a row an exchange."""
    await _publish(SYNC_KEY, [report.row() for report in reports], _outcome(reports, "exchanges"))


@task(name="report-refresh", cache_policy=NO_CACHE, persist_result=False)
async def publish_refresh(result: RefreshResult) -> None:
    """Publish the table of a refresh of the rollups, a row a range of days."""
    levels = ", ".join(str(rollup) for rollup in ROLLUPS)
    rows: list[Row] = [
        {"from": str(start.date()), "to": str(end.date()), "rollups": levels} for start, end in result.days
    ]
    summary = f"{result.settled} notes of writes settled." if rows else "Nothing was behind."
    await _publish(REFRESH_KEY, rows, summary)


def raise_failures(parts: Sequence[Part]) -> None:
    """Raise one error that names all parts that failed, of their kind if they failed alike; else do nothing."""
    errors = {part.name: part.error for part in parts if part.error is not None}
    if not errors:
        return
    kinds = {type(error) for error in errors.values()}
    kind = kinds.pop() if len(kinds) == 1 else TapehouseError
    if not issubclass(kind, TapehouseError):
        kind = TapehouseError
    reasons = " | ".join(f"{name}: {_said(error)}" for name, error in errors.items())
    raise kind(f"{len(errors)} of {len(parts)} failed. {reasons}")


async def _publish(key: str, rows: list[Row], summary: str) -> None:
    get_run_logger().info(summary)
    await acreate_table_artifact(key=key, table=rows, description=summary)


def _outcome(parts: Sequence[Part], noun: str) -> str:
    failed = sum(part.error is not None for part in parts)
    return f"{len(parts)} {noun}, {failed} failed."


def _said(error: Exception | None) -> str | None:
    """An error in words; one that isn't ours says its kind too, since its text alone may say little."""
    if error is None or isinstance(error, TapehouseError):
        return str(error) if error else None
    return f"{type(error).__name__}: {error}"
