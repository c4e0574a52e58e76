"""Repairs of several exchanges side by side, and the other exchanges that may fill their gaps.

What a repair of one exchange's gaps does is `tapehouse.ingest.repair`'s.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self, TypeAlias

from tapehouse.errors import InputError, TapehouseError
from tapehouse.exchange import Exchange
from tapehouse.ingest.repair import Repaired, repair_gaps, treatment_of
from tapehouse.ingest.substitution import Fallback
from tapehouse.ingest.venue import open_shared_exchange
from tapehouse.store.connection import Connection, connect
from tapehouse.store.gaps import Gap

OpenExchange: TypeAlias = Callable[[str], AbstractAsyncContextManager[Exchange]]


@dataclass(frozen=True, slots=True)
class FallbackName:
    """Another exchange whose candles may fill gaps, and its symbol where that is not the one of the gaps."""

    exchange_id: str
    symbol: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """What `kraken` or `kraken:BTC/USD` names; raises InputError for anything else."""
        exchange_id, _, symbol = text.strip().partition(":")
        if not exchange_id or text.strip().endswith(":"):
            raise InputError(f"{text!r} names no fallback: write kraken, or kraken:BTC/USD for another symbol.")
        return cls(exchange_id, symbol or None)


@dataclass(frozen=True, slots=True)
class ExchangeRepair:
    """What became of one exchange's gaps; where the repair ended early, `error` says why."""

    exchange_id: str
    repaired: tuple[Repaired, ...]
    error: Exception | None

    def failures(self) -> dict[str, Exception]:
        """What failed, by series or exchange; a gap that was filled from elsewhere all the same is no failure."""
        failures: dict[str, Exception] = {self.exchange_id: self.error} if self.error else {}
        for one in self.repaired:
            if one.error and one.left:
                failures.setdefault(str(one.gap.series), one.error)
        return failures


def repair_all(
    gaps: Sequence[Gap],
    *,
    causes: Collection[str] = (),
    fallbacks: Sequence[FallbackName],
    database_url: str,
    base_url: str | None,
    progress: Callable[[Repaired], None],
) -> list[ExchangeRepair]:
    """Repair gaps of any exchanges, side by side, as `repair_exchange` does; one that fails stops no other.

    Raises UnknownExchange, MissingExtra, and StoreError where the database can't be reached at all;
    KeyboardInterrupt once what was being written is committed.
    """

    def open_exchange(exchange_id: str) -> AbstractAsyncContextManager[Exchange]:
        return open_shared_exchange(exchange_id, database_url, base_url=base_url)

    with ExitStack() as stack:
        # Closed only after the event loop's threads have ended, since these write through them.
        by_exchange = due_by_exchange(gaps, causes=causes)
        connections = {exchange_id: stack.enter_context(connect(database_url)) for exchange_id in by_exchange}

        async def repair_side_by_side() -> list[ExchangeRepair]:
            # A task group, since it ends only when all of its tasks have: they use what is closed then.
            async with asyncio.TaskGroup() as group:
                repairs = [
                    group.create_task(
                        repair_exchange(
                            exchange_id,
                            connections[exchange_id],
                            its_gaps,
                            causes=causes,
                            fallbacks=fallbacks,
                            open_exchange=open_exchange,
                            progress=progress,
                        )
                    )
                    for exchange_id, its_gaps in by_exchange.items()
                ]
            return [repair.result() for repair in repairs]

        return asyncio.run(repair_side_by_side())


def due_by_exchange(gaps: Iterable[Gap], *, causes: Collection[str] = ()) -> dict[str, list[Gap]]:
    """All gaps of each exchange of which a repair of those causes can do something about any now."""
    by_exchange: dict[str, list[Gap]] = {}
    for gap in gaps:
        by_exchange.setdefault(gap.series.instrument.exchange, []).append(gap)
    now = datetime.now(UTC)
    return {
        exchange_id: its_gaps
        for exchange_id, its_gaps in by_exchange.items()
        if any(treatment_of(gap, now=now, causes=causes) in ("ask", "look_elsewhere") for gap in its_gaps)
    }


async def repair_exchange(
    exchange_id: str,
    connection: Connection,
    gaps: Sequence[Gap],
    *,
    causes: Collection[str] = (),
    fallbacks: Sequence[FallbackName] = (),
    open_exchange: OpenExchange,
    progress: Callable[[Repaired], None] | None = None,
) -> ExchangeRepair:
    """Open an exchange and those that may stand in for it, and repair its gaps as `repair_gaps` does.

    What is raised then, is in the answer, with what was repaired before.
    """
    done: list[Repaired] = []

    def note(repaired: Repaired) -> None:
        done.append(repaired)
        if progress:
            progress(repaired)

    try:
        async with AsyncExitStack() as stack:
            exchange = await stack.enter_async_context(open_exchange(exchange_id))
            others: list[Fallback] = []
            for name in fallbacks:
                if name.exchange_id != exchange_id:
                    other = await stack.enter_async_context(open_exchange(name.exchange_id))
                    others.append(Fallback(other, name.symbol))
                elif name.symbol is not None:
                    others.append(Fallback(exchange, name.symbol))
            await repair_gaps(exchange, connection, gaps, causes=causes, fallbacks=others, progress=note)
    except TapehouseError as error:
        return ExchangeRepair(exchange_id, tuple(done), error)
    return ExchangeRepair(exchange_id, tuple(done), None)
