"""No two runs work at one dataset of one exchange at once, on a real Prefect server."""

import asyncio
from typing import Final

import pytest
from prefect import flow

from tasks import slots
from tasks.slots import only_run, slot_name
from tests.flows.services import PrefectServer

CANDLES: Final = slot_name("somewhere", "ohlcv")


async def test_who_needs_a_place_waits_until_it_is_free(server: PrefectServer) -> None:
    holds, may_end = asyncio.Event(), asyncio.Event()
    places: list[str] = []

    @flow(name="holding", persist_result=False)
    async def holding() -> None:
        async with only_run([CANDLES]):
            holds.set()
            await may_end.wait()
            places.append("first")

    @flow(name="waiting", persist_result=False)
    async def waiting() -> None:
        # Of history there is another one, which is free.
        async with only_run([slot_name("somewhere", "ohlcv", of_history=True)]):
            asyncio.get_running_loop().call_later(2, may_end.set)
        async with only_run([CANDLES, slot_name("somewhere", "trade")]):
            places.append("second")

    async with asyncio.TaskGroup() as group:
        group.create_task(holding())
        await holds.wait()
        group.create_task(waiting())

    assert places == ["first", "second"]
    limit = server.post("/v2/concurrency_limits/somewhere%20ohlcv", {}, method="GET")
    assert (limit["limit"], limit["active_slots"]) == (1, 0)


async def test_who_has_waited_long_goes_on_without(
    server: PrefectServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    del server
    monkeypatch.setattr(slots, "WAIT_S", 0.2)

    @flow(name="holding-twice", persist_result=False)
    async def holding_twice() -> None:
        async with only_run([CANDLES]), only_run([CANDLES]):
            pass

    await holding_twice()

    assert "Another run has been working at somewhere ohlcv" in caplog.text
