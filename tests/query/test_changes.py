"""Changes are heard, or it is known that they are not: then no answer from memory is given unverified."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tapehouse import MarketData
from tests.query.conftest import Tape, in_units, random_bars
from tests.query.moments import write_bars
from tests.query.relay import Relay

START = datetime(2024, 1, 1, tzinfo=UTC)
END = START + timedelta(hours=1)
HEARD = "select pg_notify('tapehouse_change', %s)"


def closes(market: MarketData, tape: Tape) -> list[float]:
    return market.candles(tape.exchange, tape.symbol, "1m", START, END)["close"].tolist()


def wait_until(is_so: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < until_s
        time.sleep(0.02)


def listen(market: MarketData, tape: Tape) -> None:
    """The first answer makes it listen, of the second one something is kept."""
    write_bars(tape, random_bars(START, 60))
    closes(market, tape)
    wait_until(lambda: market.health().is_listening)
    closes(market, tape)


@pytest.mark.parametrize("payload", ["9" * 5000, "x", "", "-1"])
def test_a_word_that_names_no_instrument_is_taken_for_a_change_of_all(market: MarketData, tape: Tape, payload: str):
    listen(market, tape)
    verified = market.stats().cache.verified
    tape.connection.execute(HEARD, (payload,))

    def is_verified() -> bool:
        closes(market, tape)
        return market.stats().cache.verified > verified

    wait_until(is_verified)
    # The thread lives on, and hears what comes after.
    bars = random_bars(START, 60, seed=5)
    write_bars(tape, bars)
    wait_until(lambda: closes(market, tape) == in_units(bars)["close"].tolist())
    assert market.health().is_listening


def test_others_who_try_whether_they_hear_change_nothing(market: MarketData, tape: Tape, quiet_url: str):
    listen(market, tape)
    with MarketData.connect(quiet_url) as another:
        listen(another, tape)
    closes(market, tape)
    before = market.stats().cache
    tape.connection.execute(HEARD, ("?somebody",))
    time.sleep(0.2)
    for _ in range(10):
        closes(market, tape)
    after = market.stats().cache
    assert (after.hits, after.verified, after.misses) == (before.hits + 10, before.verified, before.misses)


def test_through_a_pooler_that_passes_no_notifications_on_every_answer_is_verified(quiet_url: str, tape: Tape):
    write_bars(tape, random_bars(START, 60))
    with Relay(quiet_url, drops_notifications=True) as relay, MarketData.connect(relay.url) as market:
        for _ in range(3):
            closes(market, tape)
            time.sleep(0.3)
        bars = random_bars(START, 60, seed=5)
        write_bars(tape, bars)
        assert closes(market, tape) == in_units(bars)["close"].tolist()
        stats = market.stats().cache
        assert not market.health().is_listening
        assert (stats.hits, stats.verified > 0) == (0, True)


def test_a_connection_that_falls_mute_is_not_believed_for_long(quiet_url: str, tape: Tape):
    with Relay(quiet_url) as relay:
        market = MarketData.connect(relay.url)
        listen(market, tape)
        changes = market._changes  # pyright: ignore[reportPrivateUsage] -- its health asks the mute database too
        assert changes.is_listening
        relay.is_mute = True
        wait_until(lambda: not changes.is_listening)
        closing_at_s = time.monotonic()
        market.close()
        # Not for ever, which is how long the answer is waited for.
        assert time.monotonic() - closing_at_s < 60


def test_a_bar_that_closed_while_an_answer_was_read_is_in_no_answer_up_to_before(market: MarketData, tape: Tape):
    write_bars(tape, random_bars(datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=1), 120))
    name = tape.exchange, tape.symbol
    market.candles(*name, "1m", datetime.now(UTC) - timedelta(minutes=30))
    # What it knows of the server's clock may be late, here by more than a bar.
    clock = market._clock  # pyright: ignore[reportPrivateUsage] -- nothing public makes it late
    assert clock._base  # pyright: ignore[reportPrivateUsage]
    clock._base -= timedelta(minutes=2)  # pyright: ignore[reportPrivateUsage]
    late = clock.now()
    assert late
    start = late - timedelta(minutes=30)
    market.candles(*name, "1m", start)
    found = market.candles(*name, "1m", start, late)
    assert found.index[-1] <= late - timedelta(minutes=1)
