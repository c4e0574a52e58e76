"""What a dialect is asked and what it answers: plain answers, and pages of rows that faults can damage."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

JSON_TYPE: Final = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to an exchange: its host, the path below it, the query, and the exchange's clock."""

    host: str
    method: str
    path: str
    query: Mapping[str, str]
    now_ms: int


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


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a row of candles keeps its values, and the unit of its time in milliseconds."""

    time: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    time_unit_ms: int


@dataclass(frozen=True, slots=True)
class Page:
    """A response with rows of candles, each a JSON array, between `head` and `tail`."""

    rows: list[str]
    layout: Layout
    head: str = "["
    tail: str = "]"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def answer(self) -> Answer:
        """The response with its rows written out."""
        return Answer((self.head + ",".join(self.rows) + self.tail).encode(), headers=self.headers)


def json_answer(value: object, *, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Answer:
    """A response that holds the value as JSON."""
    return Answer(json.dumps(value, separators=(",", ":")).encode(), status, headers=headers or {})
