"""Connections for reading: what happens to questions while the database is away, and in processes that are forked."""

import multiprocessing
from datetime import UTC, datetime, timedelta

import pytest

from tapehouse import MarketData
from tapehouse.errors import StoreUnreachable
from tapehouse.query import reader
from tests.query.conftest import Tape, in_units, random_bars
from tests.query.moments import write_bars
from tests.query.relay import Relay

START = datetime(2024, 1, 1, tzinfo=UTC)
# Forked processes take over what they ask.
_inherited: list[tuple[MarketData, Tape]] = []


def closes(market: MarketData, tape: Tape, first: int = 0) -> list[float]:
    start = START + timedelta(minutes=first)
    return market.candles(tape.exchange, tape.symbol, "1m", start, start + timedelta(minutes=30))["close"].tolist()


def test_while_the_database_is_away_every_question_is_told_so(
    quiet_url: str, tape: Tape, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reader, "_LONGEST_OUTAGE_S", 0.5)
    bars = random_bars(START, 60)
    write_bars(tape, bars)
    with Relay(quiet_url) as relay, MarketData.connect(relay.url) as market:
        expected = in_units(bars)["close"].tolist()
        assert closes(market, tape) == expected[:30]
        relay.go_away()
        # More often than there are connections, which are all lost.
        for _ in range(reader.MOST_CONNECTIONS + 2):
            with pytest.raises(StoreUnreachable, match="No database answers at"):
                closes(market, tape, first=1)
        with pytest.raises(StoreUnreachable, match="No database answers at"):
            market.health()
        relay.come_back()
        assert closes(market, tape, first=2) == expected[2:32]
        assert market.stats().reads.reconnections == 1


# Newer Pythons warn of what is tried here.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_has_connections_of_its_own(market: MarketData, tape: Tape):
    bars = random_bars(START, 60)
    write_bars(tape, bars)
    expected = in_units(bars)["close"].tolist()
    assert closes(market, tape) == expected[:30]
    _inherited.append((market, tape))
    try:
        with multiprocessing.get_context("fork").Pool(2) as processes:
            found = processes.map_async(_ask_as_child, range(20)).get(60)
        assert found == [expected[first : first + 30] for first in range(20)]
        assert closes(market, tape, first=30) == expected[30:]
        assert market.stats().reads.reconnections == 0
    finally:
        _inherited.clear()


def _ask_as_child(first: int) -> list[float]:
    return closes(*_inherited[0], first=first)
