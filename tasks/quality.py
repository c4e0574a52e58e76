"""The tasks that report how good stored data is, and what people see of it in Prefect: a table and a chart."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from prefect import task
from prefect.artifacts import acreate_markdown_artifact
from prefect.cache_policies import NO_CACHE

from tapehouse import quality
from tapehouse.quality import ReportedDay, Thresholds, read_quality, score_lines
from tapehouse.quality.chart import BLOCKS
from tapehouse.store.instruments import Dataset
from tapehouse.timeframe import Timeframe
from tasks.connections import open_database
from tasks.report import Row, publish_table
from tasks.retrying import retried_task

QUALITY_KEY: Final = "report-quality"
QUALITY_CHART_KEY: Final = "quality-scores"

# Prefect keeps every version of a table: the worst days are in it.
_MOST_ROWS: Final = 1000
_MOST_NAMED: Final = 5
_CHART_DAYS: Final = timedelta(days=30)


@retried_task(name="report-quality", run_name="report quality from {start:%Y-%m-%d}")
async def report_quality(
    exchange: str | None,
    symbol: str | None,
    dataset: Dataset | None,
    timeframe: Timeframe | None,
    start: datetime,
    end: datetime | None,
    thresholds: Thresholds,
) -> list[ReportedDay]:
    """Judge whole UTC days of the series that fit what is given, and keep the outcome; up to now without an end."""
    with open_database() as connection:
        report = partial(
            quality.report_quality,
            connection,
            exchange=exchange,
            symbol=symbol,
            dataset=dataset,
            timeframe=timeframe,
            start=start,
            thresholds=thresholds,
        )
        return await asyncio.to_thread(report, end=end or datetime.now(UTC))


@task(name="publish-quality", cache_policy=NO_CACHE, persist_result=False)
async def publish_quality(found: Sequence[ReportedDay]) -> None:
    """Publish the table of a report, a row a series and day, the worst first."""
    worst_first = sorted(found, key=lambda one: one.quality.score)
    imperfect = sum(one.quality.score < 100 for one in found)
    said = f"{len(found)} days of series, {imperfect} of them with findings."
    await publish_table(QUALITY_KEY, [_row(one) for one in worst_first[:_MOST_ROWS]], said)


@retried_task(name="publish-quality-chart", run_name="publish quality chart")
async def publish_quality_chart(exchange: str | None, symbol: str | None) -> None:
    """Publish the scores of the last 30 days as a chart, a line a series, a block a day."""
    now = datetime.now(UTC)
    with open_database() as connection:
        days = read_quality(connection, exchange=exchange, symbol=symbol, start=now - _CHART_DAYS, end=now)
    legend = ", ".join(f"{block} from {least:g}" for least, block in BLOCKS)
    chart = "\n".join(score_lines(days)) or "No report yet."
    await acreate_markdown_artifact(
        key=QUALITY_CHART_KEY,
        markdown=f"```\n{chart}\n```\n\nA block a day: {legend}, · no report. The latest score is behind.",
        description="Quality scores of the last 30 days",
    )


def _row(day: ReportedDay) -> Row:
    one = day.quality
    findings = [f"{found.kind} {found.start:%H:%M:%S} {found.detail}" for found in one.findings[:_MOST_NAMED]]
    more = len(one.findings) - _MOST_NAMED
    return {
        "series": one.name,
        "day": f"{one.day:%Y-%m-%d}",
        "score": one.score,
        "since_yesterday": day.changes_text,
        "known_percent": round(100 * one.completeness, 2),
        "rows": one.rows,
        "gaps": one.gaps,
        "rejected": one.rejected,
        "compared": one.compared,
        "differing": one.differing,
        "stale": one.stale,
        "outliers": one.outliers,
        "crossed": one.crossed,
        "findings": "; ".join([*findings, *([f"and {more} more"] if more > 0 else [])]),
    }
