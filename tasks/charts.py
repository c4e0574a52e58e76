"""The charts that people see in Prefect: pictures within the artifact, so that no file has to be served."""

import asyncio
import tempfile
from base64 import b64encode
from pathlib import Path
from typing import Final

from prefect import get_run_logger, task
from prefect.artifacts import acreate_image_artifact
from prefect.cache_policies import NO_CACHE

from tapehouse.coverage_chart.image import save_image
from tapehouse.query.timelines import read_lanes
from tasks.connections import open_database

COVERAGE_KEY: Final = "coverage"


@task(name="draw-coverage", cache_policy=NO_CACHE, persist_result=False)
async def publish_coverage(exchange: str | None, symbol: str | None) -> None:
    """Publish the chart of what is stored and what is missing, a lane a series."""
    picture = await asyncio.to_thread(_coverage, exchange, symbol)
    if picture is None:
        get_run_logger().info("Nothing is stored yet: no chart.")
        return
    url = f"data:image/png;base64,{b64encode(picture).decode()}"
    await acreate_image_artifact(
        url, key=COVERAGE_KEY, description="What is stored of each series, and what is missing."
    )


def _coverage(exchange: str | None, symbol: str | None) -> bytes | None:
    with open_database() as connection:
        lanes = read_lanes(connection, exchange, symbol, start=None, end=None)
    if lanes is None:
        return None
    title = " ".join(["Coverage", *(name for name in (exchange, symbol) if name)])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coverage.png"
        save_image(lanes, path, title=title)
        return path.read_bytes()
