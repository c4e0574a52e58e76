"""What help texts and the README tell people to type, typed."""

import re
import shlex
from collections.abc import Generator
from pathlib import Path
from typing import Final

import click
import pytest
from click.testing import Result

from tapehouse import embedded
from tapehouse.cli import main
from tapehouse.store.connection import connect
from tapehouse.store.migrate import migrate
from tests.cli.conftest import Cli

_README: Final = Path(__file__).parents[2] / "README.md"
# These start and stop things, or serve until they are stopped: other tests do that.
_NOT_TYPED: Final = ("db", "sandbox", "metrics")
# Their other exit code says that something needs a person, as the gaps do that examples leave.
_MAY_FIND: Final = ("status",)


def _examples(group: click.Group) -> list[str]:
    """The examples of all commands below their help, in the order of the commands."""
    found: list[str] = []
    for name, command in group.commands.items():
        if name in _NOT_TYPED:
            continue
        found += _examples(command) if isinstance(command, click.Group) else _lines(command.epilog or "")
    return found


def _lines(text: str) -> list[str]:
    return re.findall(r"^ *(tapehouse .*)$", text, re.MULTILINE)


def _typed(line: str) -> list[str]:
    """The arguments of a line as the shell would pass them, up to a pipe; what takes long is cut short."""
    line = line.replace("--end 2025-06-01", "--end 2025-05-02")
    line = re.sub(r"--for \S+", "--for 1s", re.sub(r"--every \S+", "--every 500ms", line))
    if line.startswith("tapehouse stream") and "--for" not in line:
        line = line.replace("tapehouse stream", "tapehouse stream --for 1s")
    # The examples before it leave more than a year of 1m candles to be fetched.
    line = line.replace("tapehouse repair", "tapehouse repair --start 2025-05-01 --end 2025-05-03")
    arguments = shlex.split(line.partition("|")[0].partition(">")[0], comments=True)
    return arguments[1:]


def _runs(result: Result, line: str) -> bool:
    return result.exit_code == 0 or (result.exit_code == 1 and line.split()[1] in _MAY_FIND)


@pytest.fixture(autouse=True)
def own_database(environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """A new database, since all of this is about the last hours; and a folder for the files that are written."""
    del environment  # It names the database of the other tests first.
    with embedded.running(tmp_path / "data") as status:
        with connect(status.url or "") as connection:
            migrate(connection)
        monkeypatch.setenv("TAPEHOUSE_DATA_DIR", str(tmp_path / "data"))
        monkeypatch.chdir(tmp_path)
        yield


# A busy machine takes minutes for all of them.
@pytest.mark.timeout(900)
def test_every_example_of_the_help_runs(cli: Cli) -> None:
    examples = _examples(main)

    failed = {line: result.output for line in examples if not _runs(result := cli(*_typed(line)), line)}

    assert len(examples) > 30
    assert failed == {}


def test_every_command_of_the_readme_runs(cli: Cli) -> None:
    commands = [line for line in _lines(_README.read_text()) if line.split()[1] not in _NOT_TYPED]

    failed = {line: result.output for line in commands if not _runs(result := cli(*_typed(line)), line)}

    assert {"ingest", "trades", "order-book", "imbalances", "compare"} <= {line.split()[1] for line in commands}
    assert failed == {}
