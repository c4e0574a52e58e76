"""The files of a capture: when they are cut, what outlives a kill, and what they never hold."""

import gzip
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import randbytes
from typing import Final

import pytest

from tapehouse.errors import InputError, ServiceError
from tapehouse.exchange.wire import HttpAnswer
from tapehouse.stream import StreamRequest, capture
from tapehouse.stream.capture import Capture
from tapehouse.stream.captured import Event, captured_streams

REQUEST: Final = StreamRequest("binance", ["BTC/USDT"], ["trade"], depth=5)
# Keeps messages until it is killed, and says when what it was told by then must be on disk.
KEEPER: Final = """
import sys, time
from pathlib import Path
from tapehouse.stream import StreamRequest
from tapehouse.stream.capture import Capture

kept = Capture(Path(sys.argv[1]), StreamRequest("binance", ["BTC/USDT"], ["trade"], depth=5))
kept.opened(1, "wss://stream.example.com/ws")
for number in range(1000):
    kept.received(1, f"message {number}")
time.sleep(2.5)
print("flushed", flush=True)
while True:
    kept.received(1, "more")
    time.sleep(0.001)
"""
# Keeps more than it is allowed to write.
CRAMPED: Final = """
import asyncio, random, resource, sys
from pathlib import Path
from tapehouse.errors import ServiceError
from tapehouse.stream import StreamRequest
from tapehouse.stream.capture import Capture

kept = Capture(Path(sys.argv[1]), StreamRequest("binance", ["BTC/USDT"], ["trade"], depth=5))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
kept.opened(1, "wss://stream.example.com/ws")
for number in range(50_000):
    kept.received(1, random.randbytes(20).hex())
try:
    asyncio.run(kept.watch())
except ServiceError as error:
    print(error)
kept.close()
"""


def messages(folder: Path) -> Iterator[Event]:
    for stream in captured_streams(folder):
        yield from (event for event in stream.events() if event.kind == "received")


def test_what_is_read_is_what_was_told(tmp_path: Path):
    with closing(Capture(tmp_path, REQUEST)) as kept:
        kept.opened(7, "wss://stream.example.com:9443/ws")
        kept.sent(7, '{"id":1}')
        kept.received(7, '{"price":"1.5","name":"\u00e9"}')
        kept.closed(7)
        kept.closed(7)
        kept.answered(
            HttpAnswer("GET", "https://example.com/a?b=1", None, 200, {"A": "b", "Set-Cookie": "c"}, "[1]", True, False)
        )

    (stream,) = captured_streams(tmp_path)
    told = list(stream.events())

    assert stream.request == REQUEST
    address = "stream.example.com:9443/ws"
    assert [(one.kind, one.link, one.address, one.text) for one in told] == [
        ("opened", 7, address, ""),
        ("sent", 7, address, '{"id":1}'),
        ("received", 7, address, '{"price":"1.5","name":"\u00e9"}'),
        ("closed", 7, address, ""),
        ("answered", 0, "example.com/a?b=1", "[1]"),
    ]
    assert (told[4].method, told[4].sent, told[4].status, told[4].headers) == ("GET", None, 200, {"A": "b"})
    assert (told[4].of_streams, told[4].tells_time) == (True, False)
    assert [one.at for one in told] == sorted(one.at for one in told)


def test_a_gateways_password_is_not_kept(tmp_path: Path):
    with closing(Capture(tmp_path, REQUEST, base_url="https://user:secret@gateway.example.com/to")) as kept:
        kept.opened(1, "wss://gateway.example.com/to/stream.example.com/ws")
        kept.answered(
            HttpAnswer("GET", "https://gateway.example.com/to/example.com/a", None, 200, {}, "[]", False, False)
        )

    (path,) = tmp_path.iterdir()
    text = gzip.decompress(path.read_bytes()).decode()
    assert "secret" not in text
    assert [event.address for event in captured_streams(tmp_path)[0].events()] == [
        "stream.example.com/ws",
        "example.com/a",
    ]


def test_a_file_is_closed_when_it_is_large_or_its_hour_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    hour = 1
    monkeypatch.setattr(capture, "_hour_now", lambda: hour)
    monkeypatch.setattr(capture, "_MOST_BYTES", 10_000)

    def wait_until_a_file_has(least_bytes: int) -> None:
        while max(path.stat().st_size for path in tmp_path.iterdir()) < least_bytes:
            time.sleep(0.05)

    with closing(Capture(tmp_path, REQUEST)) as kept:
        kept.opened(1, "wss://stream.example.com/ws")
        wait_until_a_file_has(1)
        hour = 2
        # Enough to be more than a file may hold, packed or not.
        for number in range(2000):
            kept.received(1, f"{number} {randbytes(20).hex()}")
        wait_until_a_file_has(10_000)
        kept.received(1, "2000 more")

    names = sorted(path.name for path in tmp_path.iterdir())
    assert [name.rpartition("-")[2] for name in names] == [f"0000{number}.jsonl.gz" for number in (1, 2, 3)]
    assert [event.text.split()[0] for event in messages(tmp_path)] == [str(number) for number in range(2001)]


def test_what_was_flushed_outlives_a_kill(tmp_path: Path):
    with subprocess.Popen([sys.executable, "-c", KEEPER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "flushed\n"
        process.kill()

    texts = [event.text for event in messages(tmp_path)]
    assert texts[:1000] == [f"message {number}" for number in range(1000)]
    assert set(texts[1000:]) <= {"more"}


def test_a_file_that_is_cut_off_is_read_up_to_there(tmp_path: Path):
    with closing(Capture(tmp_path, REQUEST)) as kept:
        kept.opened(1, "wss://stream.example.com/ws")
        for number in range(5000):
            kept.received(1, f"message {number}")
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    texts = [event.text for event in messages(tmp_path)]

    assert 0 < len(texts) < 5000
    assert texts == [f"message {number}" for number in range(len(texts))]


def test_a_full_disk_is_one_clear_error(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", CRAMPED, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )

    assert "can't be written (File too large): make room, or stream without --capture." in done.stdout
    assert done.stdout.count("\n") == 1
    # What fitted in is there.
    assert len(list(messages(tmp_path))) > 100


def test_a_folder_that_takes_nothing_is_refused(tmp_path: Path):
    (tmp_path / "file").touch()

    with pytest.raises(ServiceError, match=r"^Nothing can be kept in .*file/below \(Not a directory\): choose another"):
        Capture(tmp_path / "file" / "below", REQUEST)


@pytest.mark.parametrize(
    "content",
    [b"no gzip", gzip.compress(b"no json\n"), gzip.compress(b'{"kind":"other"}\n')],
    # Compressed bytes hold the time.
    ids=["no gzip", "no json", "other json"],
)
def test_a_file_of_something_else_is_named(tmp_path: Path, content: bytes):
    (tmp_path / "binance-20260101T000000.000000Z-00001.jsonl.gz").write_bytes(content)

    with pytest.raises(InputError, match=r"00001\.jsonl\.gz is no capture, or damaged"):
        captured_streams(tmp_path)
