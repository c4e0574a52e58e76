"""Tasks one by one: as plain functions where Prefect adds nothing, on a server where retries are the point."""

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from prefect.logging import disable_run_logger

from tapehouse.errors import (
    BadPage,
    PermanentError,
    QualityError,
    RateLimited,
    RetryableError,
    StoreRefused,
    StoreUnreachable,
)
from tapehouse.exchange import open_exchange
from tapehouse.ingest import CandleRequest, IngestResult
from tapehouse.sandbox import Fault, Sandbox
from tapehouse.timeframe import timeframe, to_ms
from tasks import retrying
from tasks.derived import refresh_features, refresh_rollups
from tasks.extract import plan_series
from tasks.load import Attempts, check_database, ingest_chunk, sync_instruments
from tests.flows.services import PrefectServer

DAY: Final = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=5)


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (RetryableError(), 1 + retrying.RETRIES),
        (RateLimited(), 1 + retrying.RETRIES),
        (BadPage(), 1 + retrying.RETRIES),
        (StoreUnreachable(), 1 + retrying.RETRIES),
        (StoreRefused(), 1),
        (PermanentError(), 1),
        (QualityError(), 1),
        (KeyError("a bug of ours"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_only_faults_that_pass_are_tried_again(
    server: PrefectServer, monkeypatch: pytest.MonkeyPatch, error: Exception, attempts: int
) -> None:
    del server
    monkeypatch.setattr(retrying, "FIRST_DELAY_S", 0.0)
    made: list[int] = []

    @retrying.retried_task(name="flaky", run_name="flaky")
    async def flaky() -> None:
        made.append(len(made))
        raise error

    with pytest.raises(type(error)):
        await flaky()

    assert len(made) == attempts


@pytest.mark.usefixtures("settings")
async def test_a_chunk_that_fails_says_what_it_wrote(sandbox: Sandbox) -> None:
    day = (DAY, DAY + timedelta(days=1))
    request = CandleRequest("SOL/USDT:USDT", timeframe("1m"), *day)
    bad_from = DAY + timedelta(minutes=1000)
    sandbox.faults.add(Fault("negative_price", symbol=request.symbol, start_ms=to_ms(bad_from), end_ms=to_ms(day[1])))
    recorded: list[IngestResult] = []

    # Whether the good page before the bad one is part of the same batch is a matter of timing.
    with disable_run_logger():
        async with open_exchange("binanceusdm", base_url=sandbox.url) as exchange:
            series, plan = await plan_series.fn(exchange, request)
            with pytest.raises(QualityError, match=r"440 of 1?440 rows were rejected"):
                await ingest_chunk.fn(
                    exchange, series, plan.chunks[0], max_reject_share=0.1, attempts=Attempts(recorded.append)
                )

    done = recorded[-1]
    assert (done.fetched, done.inserted, done.rejected) == (1440, 1000, 440)


@pytest.mark.usefixtures("settings")
async def test_tasks_are_plain_functions_underneath(sandbox: Sandbox) -> None:
    async with open_exchange("kraken", base_url=sandbox.url) as exchange:
        with disable_run_logger():
            await check_database.fn()
            result = await sync_instruments.fn(exchange)
            again = await sync_instruments.fn(exchange)
            await refresh_rollups.fn()
            refreshed = await refresh_rollups.fn()
            await refresh_features.fn()
            computed = await refresh_features.fn()

    kraken = [market for market in sandbox.markets if market.exchange == "kraken"]
    assert result.listed == again.listed == len(kraken)
    assert again.new == ()
    # Days that have not ended stay noted, and other tests may have written today.
    assert all(end > datetime.now(UTC) for _, end in refreshed.candles)
    assert computed.ranges == ()


async def test_a_database_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPEHOUSE_DATABASE_URL", "postgresql://nobody:secret@127.0.0.1:1/nothing")

    with pytest.raises(StoreUnreachable, match=r"127\.0\.0\.1:1/nothing") as failed:
        await check_database.fn()

    assert "secret" not in str(failed.value)
