"""The flow that streams, where it can't; how it is cancelled is tried with a worker, beside the deployments."""

import pytest
from click.testing import CliRunner

from flows.markets import Markets
from flows.stream import command, stream
from tapehouse.errors import InputError, ServiceError, UnknownExchange
from tasks import slots
from tasks.slots import only_run, slot_name
from tests.flows.services import PrefectServer

pytestmark = pytest.mark.usefixtures("settings")


async def test_an_exchange_is_streamed_by_one_run_at_a_time(
    server: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    del server
    monkeypatch.setattr(slots, "WAIT_S", 1.0)

    async with only_run([slot_name("binance", "stream")]):
        with pytest.raises(ServiceError, match=r"^Another run is at binance stream: cancel it"):
            await stream([Markets(exchange="binance", symbols=["ETH/BTC"])])


async def test_an_exchange_that_cannot_be_streamed_fails_the_run(server: PrefectServer) -> None:
    del server
    with pytest.raises(UnknownExchange):
        await stream([Markets(exchange="nosuch", symbols=["BTC/USDT"])])


async def test_a_length_of_time_that_makes_no_sense_is_refused(server: PrefectServer) -> None:
    del server
    with pytest.raises(InputError):
        await stream(every="1 second")


def test_a_command_line_that_makes_no_sense_is_refused() -> None:
    refused = CliRunner().invoke(command, ["binance"])

    assert refused.exit_code == 2
    assert "Name symbols of binance too" in refused.output
