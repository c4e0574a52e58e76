"""What goes to an exchange and comes from it, as it is on the wire: told of to who wants to keep it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer, and what was asked: `sent` is the request's body, if it had one.

    `of_streams` says that a streaming class asked, which goes on differently after it; `tells_time` that it was asked
    what time it is.
    """

    method: str
    url: str
    sent: str | None
    status: int
    headers: Mapping[str, str]
    body: str
    of_streams: bool
    tells_time: bool


class Wire(Protocol):
    """Told of each connection by its number and address, of its messages, and of each answer to a request."""

    def opened(self, link: int, url: str) -> None:
        """A WebSocket stands."""
        ...

    def sent(self, link: int, text: str) -> None:
        """A message is about to be sent."""
        ...

    def received(self, link: int, text: str) -> None:
        """A message has come, and is about to be read."""
        ...

    def closed(self, link: int) -> None:
        """A WebSocket is lost, or given up because of what came; not told of where all is closed at the end."""
        ...

    def answered(self, answer: HttpAnswer) -> None:
        """A request was answered, and the answer is about to be read."""
        ...
