"""`tapehouse archive`: switching it, what it shows and writes, and how it fails."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tapehouse.embedded import EmbeddedStatus
from tapehouse.store.archive import ARCHIVED_DATASETS, switch_archiving
from tapehouse.store.connection import Connection, connect
from tests.cli.conftest import Cli
from tests.query.conftest import Tape, make_instrument, random_trades
from tests.status.conftest import new_store

DAY = timedelta(days=1)
OLD = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - 200 * DAY


@pytest.fixture(scope="module")
def own_url(database: EmbeddedStatus) -> Iterator[str]:
    """A store in which no other test leaves anything that is due."""
    with new_store(database.url or "") as url:
        yield url


@pytest.fixture
def connection(own_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    monkeypatch.setenv("TAPEHOUSE_DATABASE_URL", own_url)
    with connect(own_url) as connection:
        yield connection
        switch_archiving(connection, off=ARCHIVED_DATASETS)
        connection.execute("delete from archive")


@pytest.fixture
def tape(connection: Connection, request: pytest.FixtureRequest) -> Iterator[Tape]:
    """Two days of trades that retention drops next."""
    tape = make_instrument(connection, "BTC/USDT", exchange=f"exchange-{request.node.name}")
    tape.write_trades(random_trades(OLD, 200, span=2 * DAY), (OLD, OLD + 2 * DAY))
    yield tape
    connection.execute("delete from trade where instrument_id = %s", (tape.instrument_id,))


def test_archiving_is_switched_on_and_off_by_dataset(cli: Cli, connection: Connection) -> None:
    on = json.loads(cli("archive", "--on", "trade", "--on", "order_book", "--json").stdout)
    assert on == {"archived": ["trade", "order_book"]}
    off = cli("archive", "--off", "order_book").stdout.splitlines()
    assert [line.split() for line in off[2:]] == [["ohlcv", "no"], ["trade", "yes"], ["order_book", "no"]]


def test_a_dry_run_shows_what_is_due_and_writes_nothing(cli: Cli, tape: Tape, tmp_path: Path) -> None:
    cli("archive", "--on", "trade")

    found = json.loads(cli("archive", "--dry-run", "--json").stdout)["files"]
    shown = cli("archive", "--dry-run", "--dir", str(tmp_path / "archive"))

    assert [(one["exchange"], one["dataset"], one["start"]) for one in found] == [
        (tape.exchange, "trade", OLD.isoformat()),
        (tape.exchange, "trade", (OLD + DAY).isoformat()),
    ]
    assert sum(one["rows"] for one in found) == 200
    assert shown.stdout.count(tape.exchange) == 2
    assert not (tmp_path / "archive").exists()


def test_files_are_written_verified_and_missed(
    cli: Cli, tape: Tape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("archive", "--on", "trade")
    monkeypatch.setenv("TAPEHOUSE_ARCHIVE", str(tmp_path))

    written = json.loads(cli("archive", "--json").stdout)

    paths = [tmp_path / one["path"] for one in written["files"]]
    assert [path.stat().st_size for path in paths] == [one["bytes"] for one in written["files"]]
    assert {one["status"] for one in written["files"]} == {"archived"}
    assert "nothing to archive" in cli("archive").stderr
    assert cli("archive", "--verify").stdout == "2 files, 200 rows: all sound.\n"

    paths[0].unlink()
    missed = cli("archive", "--verify")
    assert missed.exit_code == 4
    assert str(paths[0].relative_to(tmp_path)) in missed.stdout
    assert missed.stderr.startswith("Error: 1 of 2 files of the archive")
    assert [one["start"] for one in json.loads(cli("archive", "--json").stdout)["files"]] == [OLD.isoformat()]
    assert paths[0].exists()


def test_a_file_that_can_not_be_written_fails_by_itself(cli: Cli, tape: Tape, tmp_path: Path) -> None:
    cli("archive", "--on", "trade")
    folder = json.loads(cli("archive", "--dir", str(tmp_path), "--json").stdout)["files"]
    foreign = tmp_path / folder[0]["path"]
    foreign.write_bytes(b"not Parquet")

    failed = cli("archive", "--dir", str(tmp_path))

    assert failed.exit_code == 2
    assert str(foreign) in failed.stderr
    assert foreign.read_bytes() == b"not Parquet"


@pytest.mark.parametrize("has_due", [False, True])
def test_a_folder_that_can_not_be_written_is_one_error(
    cli: Cli, connection: Connection, tmp_path: Path, request: pytest.FixtureRequest, has_due: bool
) -> None:
    cli("archive", "--on", "trade")
    if has_due:
        request.getfixturevalue("tape")
    (tmp_path / "plain").write_bytes(b"no folder")

    failed = cli("archive", "--dir", str(tmp_path / "plain" / "archive"))
    unread = cli("archive", "--dir", str(tmp_path / "nowhere"), "--verify")

    assert (failed.exit_code, unread.exit_code) == (2, 2)
    assert failed.stderr == f"Error: Can't write {tmp_path / 'plain' / 'archive'}: File exists.\n"
    assert unread.stderr == f"Error: There is no archive at {tmp_path / 'nowhere'}: it is no folder.\n"


def test_what_makes_no_sense_is_refused(cli: Cli, connection: Connection) -> None:
    for arguments, message in (
        (("--on", "trade", "--off", "all"), "both switched on and off"),
        (("--on", "trade", "--verify"), "choose one"),
        (("--on", "trade", "--dir", "dropped"), "leave --dir out"),
        ((), "TAPEHOUSE_ARCHIVE"),
    ):
        refused = cli("archive", *arguments)
        assert refused.exit_code == 2
        assert message in refused.stderr
    assert "switches it on" in cli("archive", "--dry-run").stderr
