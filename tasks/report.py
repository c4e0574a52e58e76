"""What came of a run: the tables that people see in Prefect, and the error a run ends with if part of it failed.

The artifacts' keys are stable, so that each has a history over all runs.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final, Protocol, Self

from prefect import get_run_logger, task
from prefect.artifacts import acreate_table_artifact
from prefect.cache_policies import NO_CACHE

from tapehouse.errors import TapehouseError
from tapehouse.ingest import CandleRequest, IngestResult, Outcome
from tapehouse.ingest.progress import planned_candles
from tapehouse.ingest.sampling import SamplingOutcome
from tapehouse.ranges import TimeRange
from tapehouse.store.agreement import Agreement
from tapehouse.store.features import FeatureRefresh
from tapehouse.store.instruments import SyncResult
from tapehouse.store.rollups import BASE_TIMEFRAME, ROLLUPS, TRADE_CANDLES, RefreshResult

INGEST_KEY: Final = "ingest-ohlcv"
INGEST_TRADES_KEY: Final = "ingest-trades"
BACKFILL_KEY: Final = "backfill"
SAMPLING_KEY: Final = "ingest-order-books"
SYNC_KEY: Final = "sync-instruments"
REFRESH_KEY: Final = "refresh-rollups"
AGREEMENT_KEY: Final = "compare-candles"
# The first sync of an exchange brings thousands of new markets.
_MOST_NAMED: Final = 20

Row = dict[str, str | int | float | None]


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
class SeriesReport(Outcome):
    """What became of one series, as runs tell of it."""

    @property
    def name(self) -> str:
        """The series, as in `binance BTC/USDT 1m`."""
        return f"{self.exchange_id} {self.request}"

    @property
    def is_derived_from(self) -> bool:
        """Whether rollups or features are behind now: they are built from base candles and from trades."""
        is_base = not isinstance(self.request, CandleRequest) or self.request.timeframe == BASE_TIMEFRAME
        return is_base and self.result.inserted + self.result.changed > 0

    def row(self) -> Row:
        """The row of the run's table."""
        return {
            "exchange": self.exchange_id,
            "symbol": self.request.symbol,
            **self._planned(),
            "fetched": self.result.fetched,
            "inserted": self.result.inserted,
            "changed": self.result.changed,
            "unchanged": self.result.unchanged,
            "rejected": self.result.rejected,
            "refused": self.result.refused,
            "failed": self.result.failed,
            "revision": self.result.revision,
            "error": _said(self.error),
        }

    def _planned(self) -> Row:
        """How much was to be fetched: candles are counted, trades can't be."""
        if isinstance(self.request, CandleRequest):
            return {"timeframe": self.request.timeframe.name, "planned": planned_candles(self.request, self.plan)}
        return {"planned_hours": round(self.plan.seconds / 3600, 2) if self.plan else 0.0}


@dataclass(frozen=True, slots=True)
class SamplingReport:
    """What became of the sampling of one market."""

    exchange: str
    outcome: SamplingOutcome

    @classmethod
    def failed(cls, exchange: str, symbol: str, error: Exception) -> Self:
        """The report of a market whose exchange failed as a whole."""
        return cls(exchange, SamplingOutcome(symbol, error=error))

    @property
    def name(self) -> str:
        """The market, as in `kraken BTC/USD`."""
        return f"{self.exchange} {self.outcome.symbol}"

    @property
    def error(self) -> Exception | None:
        """Why it failed, if it did."""
        return self.outcome.error

    def row(self) -> Row:
        """The row of the run's table."""
        return {
            "exchange": self.exchange,
            "symbol": self.outcome.symbol,
            "ticks": self.outcome.ticks,
            "sampled": self.outcome.sampled,
            "missed": self.outcome.missed,
            "stored": self.outcome.inserted + self.outcome.changed,
            "rejected": self.outcome.rejected,
            "lateness_p50_ms": _tenths(self.outcome.lateness_percentile_ms(50)),
            "lateness_p99_ms": _tenths(self.outcome.lateness_percentile_ms(99)),
            "error": _said(self.outcome.error),
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
            "new": len(self.result.new) if self.result else None,
            **self._names(),
            "error": _said(self.error),
        }

    def _names(self) -> Row:
        """Which markets are new, gone and back, and what else the exchange changed about its markets."""
        found = self.result
        if found is None:
            return dict.fromkeys(("new_symbols", "delisted", "relisted", "changed"))
        return {
            "new_symbols": _first_of(found.new),
            "delisted": _first_of(found.delisted),
            "relisted": _first_of(found.relisted),
            "changed": _first_of(found.changed),
        }


@task(name="report-ingest", cache_policy=NO_CACHE, persist_result=False)
async def publish_ingest(key: str, reports: Sequence[SeriesReport]) -> None:
    """Publish the table of an ingest, a row a series, under that key."""
    total = sum((report.result for report in reports), IngestResult())
    summary = (
        f"{_outcome(reports, 'series')} {total.fetched} rows fetched: {total.inserted} new, "
        f"{total.changed} changed, {total.unchanged} unchanged, {total.rejected} rejected."
    )
    await publish_table(key, [report.row() for report in reports], summary)


@task(name="report-sampling", cache_policy=NO_CACHE, persist_result=False)
async def publish_sampling(reports: Sequence[SamplingReport]) -> None:
    """Publish the table of a sampling, a row a market."""
    outcomes = [report.outcome for report in reports]
    summary = (
        f"{_outcome(reports, 'markets')} {sum(one.sampled for one in outcomes)} snapshots sampled, "
        f"{sum(one.missed for one in outcomes)} missed, {sum(one.rejected for one in outcomes)} rejected."
    )
    await publish_table(SAMPLING_KEY, [report.row() for report in reports], summary)


@task(name="report-sync", cache_policy=NO_CACHE, persist_result=False)
async def publish_sync(reports: Sequence[ExchangeReport]) -> None:
    """Publish the table of a sync of instruments, a row an exchange."""
    results = [report.result for report in reports if report.result]
    counts = {
        "new": sum(len(one.new) for one in results),
        "delisted": sum(len(one.delisted) for one in results),
        "relisted": sum(len(one.relisted) for one in results),
        "changes of precision or units": sum(len(one.changed) for one in results),
    }
    told = ", ".join(f"{count} {what}" for what, count in counts.items())
    await publish_table(SYNC_KEY, [report.row() for report in reports], f"{_outcome(reports, 'exchanges')} {told}.")


@task(name="report-refresh", cache_policy=NO_CACHE, persist_result=False)
async def publish_refresh(rollups: RefreshResult, features: FeatureRefresh) -> None:
    """Publish the table of a refresh of all that is derived, a row a range."""
    rows = [
        *_refreshed(f"candles {', '.join(map(str, ROLLUPS))}", rollups.candles),
        *_refreshed(f"trade candles {', '.join(map(str, TRADE_CANDLES))}", rollups.trade_candles),
        *_refreshed("features", features.ranges),
    ]
    settled = rollups.settled + features.settled
    told = f"{settled} notes of writes settled." if rows else "Nothing was behind."
    if rollups.left_to:
        told = f"Rollups are left to {rollups.left_to}, who owns them. {told if rows else ''}".rstrip()
    await publish_table(REFRESH_KEY, rows, told)


@task(name="report-agreement", cache_policy=NO_CACHE, persist_result=False)
async def publish_agreement(found: Sequence[Agreement]) -> None:
    """Publish the table of a comparison of candles with trades, a row a market and day."""
    minutes, differing = sum(one.minutes for one in found), sum(one.differing for one in found)
    rows: list[Row] = [{**asdict(one), "day": str(one.day.date()), "checked_at": str(one.checked_at)} for one in found]
    await publish_table(AGREEMENT_KEY, rows, f"{minutes} minutes compared, of which {differing} differ.")


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


async def publish_table(key: str, rows: list[Row], summary: str) -> None:
    """Publish a table under that key, with its summary, which the run's log says too."""
    get_run_logger().info(summary)
    await acreate_table_artifact(key=key, table=rows, description=summary)


def _refreshed(what: str, ranges: Sequence[TimeRange]) -> list[Row]:
    return [
        {"refreshed": what, "from": f"{start:%Y-%m-%d %H:%M:%S}", "to": f"{end:%Y-%m-%d %H:%M:%S}"}
        for start, end in ranges
    ]


def _first_of(told: Sequence[object]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(told) - _MOST_NAMED} more" if len(told) > _MOST_NAMED else ""
    return f"{', '.join(map(str, told[:_MOST_NAMED]))}{more}"


def _tenths(number: float | None) -> float | None:
    return None if number is None else round(number, 1)


def _outcome(parts: Sequence[Part], noun: str) -> str:
    failed = sum(part.error is not None for part in parts)
    return f"{len(parts)} {noun}, {failed} failed."


def _said(error: Exception | None) -> str | None:
    """An error in words; one that isn't ours says its kind too, since its text alone may say little."""
    if error is None or isinstance(error, TapehouseError):
        return str(error) if error else None
    return f"{type(error).__name__}: {error}"
