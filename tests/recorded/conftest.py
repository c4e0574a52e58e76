"""What all tests of recorded answers and sessions need: the recordings, and a server that replays answers."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from tests.recorded.background import markets_and_clocks
from tests.recorded.replay import replay_server
from tests.recorded.stage import Stage

RECORDED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def recorded_data() -> Path:
    """The folder of recorded market data."""
    if not RECORDED.is_dir():
        pytest.skip("needs the recorded market data in ../shared/data")
    return RECORDED


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(recorded_data: Path) -> AsyncGenerator[Stage]:
    """Exchanges that give recorded answers, in the event loop of the module's tests."""
    async with replay_server() as replay, AsyncExitStack() as stack:
        yield Stage(replay, markets_and_clocks(recorded_data), stack)
