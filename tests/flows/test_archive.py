"""The flow that archives what expires, on a real Prefect server."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.archive import archive
from tapehouse.errors import InputError
from tapehouse.store.archive import ARCHIVED_DATASETS, switch_archiving
from tapehouse.store.connection import Connection
from tests.flows.services import PrefectServer
from tests.query.conftest import make_instrument, random_trades

pytestmark = pytest.mark.usefixtures("settings")

OLD = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=200)


@pytest.fixture
def expiring(database: Connection) -> Iterator[None]:
    """Trades that retention drops next, of a dataset that is archived first."""
    tape = make_instrument(database, "BTC/USDT", exchange="an-old-exchange")
    tape.write_trades(random_trades(OLD, 100, span=timedelta(hours=1)), (OLD, OLD + timedelta(hours=1)))
    switch_archiving(database, on=["trade"])
    yield
    switch_archiving(database, off=ARCHIVED_DATASETS)
    database.execute("delete from trade where instrument_id = %s", (tape.instrument_id,))


async def test_archiving_that_is_off_does_nothing(server: PrefectServer) -> None:
    assert await archive() == {}

    assert server.latest_artifact("archive")["description"] == "There was nothing to archive."


async def test_what_expires_is_archived_once_and_told(
    server: PrefectServer, expiring: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="TAPEHOUSE_ARCHIVE"):
        await archive()
    monkeypatch.setenv("TAPEHOUSE_ARCHIVE", str(tmp_path))

    assert await archive() == {"archived": 1}

    (row,) = server.latest_artifact("archive")["data"]
    assert (row["series"], row["rows"], row["status"]) == ("an-old-exchange BTC/USDT trades", 100, "archived")
    assert (tmp_path / row["file"]).stat().st_size == row["bytes"]
    assert await archive() == {}
