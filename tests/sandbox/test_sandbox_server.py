"""The server around the dialects: start and stop, the control endpoint, the command in the foreground."""

import json
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from typing import Any

import pytest

from tapehouse.errors import ServiceError
from tapehouse.sandbox import Fault, Sandbox, generated_markets

TIME_PATH = "api.binance.com/api/v3/time"


def ask(url: str, path: str, *, method: str = "GET", body: object = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/{path}", data=data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as refused:
        with refused as response:
            return response.code, json.load(response)


def test_control_tells_the_markets_and_what_was_asked(sandbox: Sandbox) -> None:
    ask(sandbox.url, TIME_PATH)

    _, markets = ask(sandbox.url, "_control/markets")
    _, requests = ask(sandbox.url, "_control/requests")
    _, status = ask(sandbox.url, "_control/status")

    assert {
        "exchange": "binance",
        "symbol": "RELIC/USDT",
        "listed": True,
        "active": False,
        "price_decimals": 3,
        "amount_decimals": 2,
        "first_ms": markets[6]["first_ms"],
        "end_ms": 1_743_408_000_000,
    } in markets
    assert requests[-1]["host"] == "api.binance.com"
    assert requests[-1]["path"] == "/api/v3/time"
    assert requests[-1]["status"] == 200
    assert status == {"markets": len(markets), "requests": len(sandbox.requests), "faults": []}


def test_control_puts_faults_in_force_and_lifts_them(sandbox: Sandbox) -> None:
    _, added = ask(
        sandbox.url, "_control/faults", method="POST", body={"kind": "clock_skew", "skew_ms": 5000, "path": "time"}
    )
    _, skewed = ask(sandbox.url, TIME_PATH)
    _, status = ask(sandbox.url, "_control/status")
    _, lifted = ask(sandbox.url, "_control/faults", method="DELETE")
    _, right = ask(sandbox.url, TIME_PATH)

    assert added["faults"][0]["struck"] == 0
    assert skewed["serverTime"] == right["serverTime"] + 5000
    assert status["faults"][0]["struck"] == 1
    assert lifted["faults"] == []


@pytest.mark.parametrize(
    "body",
    [{"kind": "sunspot"}, {"kind": "hang", "colour": "red"}, {"count": 1}, {"kind": "drop", "count": "3"}, [], "hang"],
)
def test_control_refuses_what_is_no_fault(sandbox: Sandbox, body: object) -> None:
    status, answer = ask(sandbox.url, "_control/faults", method="POST", body=body)

    assert status == 400
    assert answer["error"]


def test_control_changes_what_an_exchange_lists() -> None:
    with Sandbox(generated_markets(seed=7)) as sandbox:
        listing = f"{sandbox.url}/api.binance.com/api/v3/exchangeInfo"

        def change(**body: object) -> Any:
            status, answer = ask(sandbox.url, "_control/markets", method="POST", body={"exchange": "binance", **body})
            assert status == 200, answer
            with urllib.request.urlopen(listing, timeout=10) as response:
                return {one["symbol"]: one for one in json.load(response)["symbols"]}

        assert "ETHBTC" not in change(symbol="ETH/BTC", listed=False)
        refused, _ = ask(sandbox.url, "api.binance.com/api/v3/klines?symbol=ETHBTC&interval=1m")
        assert refused == 400
        assert change(symbol="ETH/BTC", listed=True)["ETHBTC"]["status"] == "TRADING"
        assert change(symbol="ETH/BTC", active=False)["ETHBTC"]["status"] == "BREAK"
        filters = change(symbol="SOL/USDT", price_decimals=4, amount_decimals=1)["SOLUSDT"]["filters"]
        assert (filters[0]["tickSize"], filters[1]["stepSize"]) == ("0.00010000", "0.10000000")


@pytest.mark.parametrize(
    "body",
    [
        {"exchange": "binance"},
        {"exchange": "binance", "symbol": "NO/SUCH", "active": False},
        {"exchange": "binance", "symbol": "ETH/BTC", "active": 0},
        {"exchange": "binance", "symbol": "ETH/BTC", "price_decimals": True},
        {"exchange": "binance", "symbol": "ETH/BTC", "colour": "red"},
        [],
    ],
)
def test_control_refuses_what_is_no_change_of_a_market(sandbox: Sandbox, body: object) -> None:
    status, answer = ask(sandbox.url, "_control/markets", method="POST", body=body)

    assert status == 400
    assert answer["error"]


def test_an_unknown_host_is_not_found(sandbox: Sandbox) -> None:
    status, answer = ask(sandbox.url, "api.example.com/anything")

    assert status == 404
    assert "api.kraken.com" in answer["error"]


def test_a_port_in_use_is_told_in_a_sentence(sandbox: Sandbox) -> None:
    port = int(sandbox.url.rpartition(":")[2])

    with pytest.raises(ServiceError, match=f"can't listen on port {port}"):
        Sandbox([], port=port).start()


def test_closing_ends_a_request_that_hangs() -> None:
    with Sandbox(generated_markets(seed=7)) as sandbox:
        sandbox.faults.add(Fault("hang"))
        failed: list[Exception] = []

        def hang() -> None:
            try:
                urllib.request.urlopen(f"{sandbox.url}/{TIME_PATH}", timeout=60)
            except OSError as error:
                failed.append(error)

        client = threading.Thread(target=hang)
        client.start()
        while not ask(sandbox.url, "_control/status")[1]["faults"][0]["struck"]:
            pass
    client.join(timeout=30)

    assert len(failed) == 1


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_it_is_told_to_stop(stop: signal.Signals) -> None:
    command = [sys.executable, "-m", "tapehouse", "sandbox", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = next(word for word in process.stdout.readline().split() if word.startswith("http://"))
        status, _ = ask(url, TIME_PATH)
        process.send_signal(stop)
        process.wait(timeout=20)

        assert status == 200
        assert process.returncode == 0
        assert process.stderr.read() == ""


def test_the_command_serves_another_time() -> None:
    command = [sys.executable, "-m", "tapehouse", "sandbox", "--port", "0", "--from", "2026-05-05T12:00:00Z"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = next(word for word in process.stdout.readline().split() if word.startswith("http://"))
        clock = process.stdout.readline()
        _, answer = ask(url, TIME_PATH)
        process.terminate()

    assert "stands at 2026-05-05 12:00:00 UTC" in clock
    assert answer == {"serverTime": 1_777_982_400_000}


def test_the_command_refuses_a_speed_that_makes_no_sense() -> None:
    command = [sys.executable, "-m", "tapehouse", "sandbox", "--port", "0", "--speed", "2000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: A speed of 2000 makes no sense: give one from 1 to 1000.\n"
