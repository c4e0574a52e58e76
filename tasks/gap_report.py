"""What came of looking for gaps and of repairing them: the tables that people see in Prefect."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from prefect import task
from prefect.cache_policies import NO_CACHE

from tapehouse.ingest import ExchangeRepair, Repaired
from tapehouse.store.gaps import Gap
from tasks.report import Row, publish_table

FIND_GAPS_KEY: Final = "find-gaps"
REPAIR_GAPS_KEY: Final = "repair-gaps"

# A table of tens of thousands of rows serves nobody, and Prefect keeps every version of it.
_MOST_ROWS: Final = 1000


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What became of the gaps of one series; or of an exchange whose repair ended early."""

    name: str
    repaired: tuple[Repaired, ...]
    error: Exception | None

    @property
    def is_written(self) -> bool:
        """Whether anything was filled, so that rollups or features may be behind now."""
        return any(one.sources for one in self.repaired)


def repair_reports(repair: ExchangeRepair) -> list[RepairReport]:
    """A report for each series of an exchange that was tried, and for the exchange if it failed."""
    by_series: dict[str, list[Repaired]] = {}
    for one in repair.repaired:
        by_series.setdefault(str(one.gap.series), []).append(one)
    failures = repair.failures()
    reports = [RepairReport(name, tuple(of_it), failures.get(name)) for name, of_it in by_series.items()]
    return reports + ([RepairReport(repair.exchange_id, (), repair.error)] if repair.error else [])


@task(name="report-gaps", cache_policy=NO_CACHE, persist_result=False)
async def publish_gaps(found: Sequence[Gap]) -> None:
    """Publish the table of all gaps, a row a gap."""
    causes = Counter(gap.cause for gap in found)
    summary = ", ".join(f"{count} {cause}" for cause, count in causes.most_common())
    rows = [
        {**_place(gap), "cause": gap.cause, "attempts": gap.attempts, "next_try": _said(gap.next_try_at)}
        for gap in found[:_MOST_ROWS]
    ]
    await publish_table(FIND_GAPS_KEY, rows, f"{len(found)} gaps: {summary}." if found else "No gaps.")


@task(name="report-repair", cache_policy=NO_CACHE, persist_result=False)
async def publish_repair(reports: Sequence[RepairReport]) -> None:
    """Publish the table of a repair, a row a gap that was tried."""
    tried = [one for report in reports for one in report.repaired]
    outcomes = Counter(one.outcome for one in tried)
    summary = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
    failed = sum(report.error is not None for report in reports)
    rows = [
        {
            **_place(one.gap),
            "cause": one.gap.cause,
            "outcome": one.outcome,
            "filled_from": ", ".join(one.sources),
            "left": ", ".join(dict.fromkeys(gap.cause for gap in one.left)),
            "next_try": _said(max((gap.next_try_at for gap in one.left if gap.next_try_at), default=None)),
            "error": str(one.error) if one.error else None,
        }
        for one in tried[:_MOST_ROWS]
    ]
    said = f"{len(tried)} gaps tried: {summary}; {failed} series or exchanges failed."
    await publish_table(REPAIR_GAPS_KEY, rows, said if tried else "Nothing was due.")


def _place(gap: Gap) -> Row:
    instrument = gap.series.instrument
    return {
        "exchange": instrument.exchange,
        "symbol": instrument.symbol,
        "dataset": gap.series.dataset,
        "timeframe": gap.series.timeframe_name,
        "from": _said(gap.start),
        "to": _said(gap.end),
        "bars": gap.bars,
    }


def _said(time: datetime | None) -> str | None:
    return f"{time:%Y-%m-%d %H:%M:%S}" if time else None
