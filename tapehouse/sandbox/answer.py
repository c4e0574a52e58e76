"""What a dialect is asked and what it answers: plain answers, and pages of rows or levels that faults can damage."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

JSON_TYPE: Final = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to an exchange: its host, the path below it, the query, and the exchange's clock.

    `page_rows` caps every page of trades, where given.
    """

    host: str
    method: str
    path: str
    query: Mapping[str, str]
    now_ms: int
    page_rows: int | None = None

    def at_most(self, limit: int) -> int:
        """How many trades a page holds where `limit` were asked for and allowed."""
        return limit if self.page_rows is None else min(limit, self.page_rows)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response of an exchange."""

    body: bytes
    status: int = HTTPStatus.OK
    content_type: str = JSON_TYPE
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


class Refused(Exception):
    """The request is answered with `answer`, an error of the exchange."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.body.decode())
        self.answer = answer


# Where a value stands: in a row that is a JSON array, or in one that is an object.
Key = int | str


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a row of candles keeps its values, and the unit of its time in milliseconds."""

    time: Key
    open: Key
    high: Key
    low: Key
    close: Key
    volume: Key
    time_unit_ms: int


@dataclass(frozen=True, slots=True)
class TradeLayout:
    """Where a row of trades keeps its values, and the unit of its time in milliseconds: None for ISO 8601."""

    time: Key
    id: Key
    side: Key
    price: Key
    amount: Key
    time_unit_ms: int | None


@dataclass(frozen=True, slots=True)
class LevelLayout:
    """Where a level of an order book keeps its values."""

    price: Key
    amount: Key


@dataclass(frozen=True, slots=True)
class Page:
    """A response with rows of candles or trades, each a JSON array or object, between `head` and `tail`."""

    rows: list[str]
    layout: Layout | TradeLayout
    head: str = "["
    tail: str = "]"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def answer(self) -> Answer:
        """The response with its rows written out."""
        return Answer((self.head + ",".join(self.rows) + self.tail).encode(), headers=self.headers)


@dataclass(frozen=True, slots=True)
class BookPage:
    """A response with an order book: levels, each a JSON array or object, best first, around `between`."""

    bids: list[str]
    asks: list[str]
    layout: LevelLayout
    head: str
    between: str
    tail: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def answer(self) -> Answer:
        """The response with its levels written out."""
        body = self.head + ",".join(self.bids) + self.between + ",".join(self.asks) + self.tail
        return Answer(body.encode(), headers=self.headers)


Reply = Answer | Page | BookPage


def json_answer(value: object, *, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Answer:
    """A response that holds the value as JSON."""
    return Answer(json.dumps(value, separators=(",", ":")).encode(), status, headers=headers or {})
