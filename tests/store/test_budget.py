import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from uuid import uuid4

import pytest

from tapehouse.errors import NotMigrated, StoreUnreachable
from tapehouse.store.budget import RateBudget
from tapehouse.store.connection import Connection

MINUTE = timedelta(minutes=1)
# So much of a minute may pass in a test without its outcome being another.
SLACK_S = 20

MakeBudget = Callable[..., RateBudget]


@pytest.fixture
def exchange() -> str:
    """An exchange that no other test uses."""
    return f"exchange-{uuid4().hex[:12]}"


@pytest.fixture
def make_budget(store_url: str, exchange: str) -> Iterator[MakeBudget]:
    """Its budget, as each process has one of its own."""
    with ExitStack() as stack:

        def make(*, exchange: str = exchange, address: str = "") -> RateBudget:
            return stack.enter_context(closing(RateBudget(store_url, exchange, address)))

        yield make


def cut_off(budget: RateBudget) -> None:
    """Break the connection that the budget has open."""
    connection = budget._connection  # pyright: ignore[reportPrivateUsage] -- nobody else can break it
    assert connection is not None
    with socket.socket(fileno=os.dup(connection.fileno())) as way:
        way.shutdown(socket.SHUT_RDWR)


def test_slices_of_all_processes_follow_one_another(make_budget: MakeBudget):
    first, second = make_budget(), make_budget()
    begin_s = [budget.reserve(MINUTE)[0] for budget in (first, second, second, first)]
    for begins_s, expected_s in zip(begin_s, (0, 60, 120, 180), strict=True):
        assert expected_s - SLACK_S < begins_s <= expected_s


def test_whether_others_reserve_too_is_told(make_budget: MakeBudget):
    first, second = make_budget(), make_budget()
    told = [budget.reserve(MINUTE)[1] for budget in (first, first, second, first, first)]
    assert told == [False, False, True, True, False]


@pytest.mark.parametrize("other", [{"address": "127.0.0.1:8080"}, {"exchange": "another"}])
def test_other_exchanges_and_other_ways_to_one_have_budgets_of_their_own(
    make_budget: MakeBudget, other: dict[str, str]
):
    other = {name: f"{value}-{uuid4().hex[:6]}" for name, value in other.items()}
    make_budget().reserve(MINUTE)
    begins_s, is_sharing = make_budget(**other).reserve(MINUTE)
    assert begins_s <= 0
    assert not is_sharing


def test_time_that_passed_unreserved_is_lost(make_budget: MakeBudget):
    budget = make_budget()
    budget.reserve(timedelta(milliseconds=1))
    time.sleep(0.01)
    assert budget.reserve(MINUTE)[0] <= 0
    assert budget.reserve(MINUTE)[0] > 60 - SLACK_S


def test_nothing_is_to_be_had_while_the_exchange_wants_quiet(make_budget: MakeBudget):
    first, second = make_budget(), make_budget()
    first.defer(5 * MINUTE)
    # A shorter quiet ends none that is longer.
    second.defer(MINUTE)
    assert 300 - SLACK_S < second.reserve(MINUTE)[0] <= 300


def test_quiet_does_not_give_away_what_is_reserved(make_budget: MakeBudget):
    first, second = make_budget(), make_budget()
    first.reserve(5 * MINUTE)
    second.defer(MINUTE)
    assert 300 - SLACK_S < second.reserve(MINUTE)[0] <= 300


def test_a_clock_that_was_set_back_keeps_nobody_waiting(make_budget: MakeBudget, connection: Connection, exchange: str):
    budget = make_budget()
    budget.reserve(MINUTE)
    connection.execute("update rate_budget set free_at = free_at + interval '1 day' where exchange = %s", (exchange,))
    assert budget.reserve(MINUTE)[0] <= 0


def test_budgets_that_nobody_uses_go_and_others_stay(make_budget: MakeBudget, connection: Connection, exchange: str):
    past, used = make_budget(address="past"), make_budget(address="used")
    past.reserve(timedelta(microseconds=1))
    used.reserve(MINUTE)
    make_budget(address="new").reserve(MINUTE)
    kept = connection.execute("select address from rate_budget where exchange = %s order by 1", (exchange,)).fetchall()
    assert kept == [("new",), ("used",)]


def test_a_lost_connection_is_opened_again(make_budget: MakeBudget):
    budget = make_budget()
    budget.reserve(MINUTE)
    cut_off(budget)
    assert 60 - SLACK_S < budget.reserve(MINUTE)[0] <= 60
    cut_off(budget)
    budget.defer(5 * MINUTE)
    assert 300 - SLACK_S < budget.reserve(MINUTE)[0] <= 300


def test_a_database_that_is_gone_is_said():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"postgresql://nobody@127.0.0.1:{port}/nowhere"
    with (
        closing(RateBudget(url, "binance", "")) as budget,
        pytest.raises(StoreUnreachable, match="No database answers"),
    ):
        budget.reserve(MINUTE)


def test_a_database_without_budgets_is_said(store_url: str):
    separator = "&" if "?" in store_url else "?"
    url = f"{store_url}{separator}options=-csearch_path%3Dpg_catalog"
    with closing(RateBudget(url, "binance", "")) as budget, pytest.raises(NotMigrated, match="tapehouse db migrate"):
        budget.reserve(MINUTE)
