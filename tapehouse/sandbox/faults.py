"""Faults: what can go wrong at an exchange, when, and for which requests.

What a fault does to rows and levels is `tapehouse.sandbox.damage`.
"""

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, fields
from typing import Final, Literal, cast, get_args

from tapehouse.errors import InputError
from tapehouse.sandbox.answer import Ask
from tapehouse.sandbox.market import Market

ResponseFault = Literal["status", "hang", "drop", "html", "broken_json", "empty_body", "clock_skew"]
RowFault = Literal[
    "short_page",
    "missing_rows",
    "duplicate_rows",
    "unordered_rows",
    "corrected_rows",
    "negative_price",
    "zero_price",
    "high_below_low",
    "negative_volume",
    "nan_price",
    "null_price",
    "text_price",
    "price_spike",
    "frozen_price",
    "misaligned_time",
    "future_time",
    "past_time",
    "missing_id",
    "unknown_side",
    "crossed_book",
    "empty_book",
    "one_sided_book",
    "unsorted_book",
]
StreamFault = Literal["ws_drop", "ws_stall", "ws_gap", "ws_checksum", "ws_duplicate"]
FaultKind = Literal[ResponseFault, RowFault, StreamFault]
RESPONSE_FAULTS: Final = frozenset(get_args(ResponseFault))
ROW_FAULTS: Final = frozenset(get_args(RowFault))
STREAM_FAULTS: Final = frozenset(get_args(StreamFault))
# Of the options that are no whole numbers.
_OPTION_TYPES: Final[dict[str, type | tuple[type, ...]]] = {
    "kind": str,
    "host": str,
    "path": str,
    "symbol": str,
    "probability": (int, float),
    "stall_s": (int, float),
}
_KINDS: Final = RESPONSE_FAULTS | ROW_FAULTS | STREAM_FAULTS


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong.

    It strikes requests whose host is `host`, whose path contains `path` and whose market is
    `symbol` (as ccxt writes it), each where given: the first `count` of them, or for good; each
    with `probability`, drawn from `seed`, the request and how often it was made, so that the
    same requests meet the same faults in whatever order they come.

    `status` and `retry_after_s` belong to kind `status`, `skew_ms` to `clock_skew`. Row faults
    strike the rows whose time is in [start_ms, end_ms) where given, else `rows` of each page: of
    candles, trades or levels of a book, whichever can have that fault. A book has no rows in time.

    Faults of streams strike messages about markets, each as if it were a request whose path is the name of its
    stream, and whose time is in [start_ms, end_ms) where given. `ws_drop` cuts the connection in its place,
    `ws_stall` falls silent before it for `stall_s` of our time, pings unanswered; `ws_gap` leaves it out, of a
    book only; `ws_checksum` spoils its checksum, where it has one; `ws_duplicate` sends it twice.
    """

    kind: FaultKind
    host: str | None = None
    path: str | None = None
    symbol: str | None = None
    count: int | None = None
    probability: float = 1.0
    seed: int = 0
    status: int = 500
    retry_after_s: int | None = None
    skew_ms: int = 0
    rows: int = 1
    start_ms: int | None = None
    end_ms: int | None = None
    stall_s: float = 10.0

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise InputError(f"No fault {self.kind!r}: use one of {', '.join(sorted(_KINDS))}.")
        if not 0 <= self.probability <= 1:
            raise InputError(f"A probability of {self.probability} makes no sense: give one from 0 to 1.")

    def concerns(self, ask: Ask, market: Market | None) -> bool:
        """Whether the request is one that the fault may strike."""
        return (
            (self.host is None or self.host == ask.host)
            and (self.path is None or self.path in ask.path)
            and (self.symbol is None or (market is not None and market.symbol == self.symbol))
        )


def fault_from_json(value: object) -> Fault:
    """The fault that a JSON object describes; raises InputError where it is none."""
    if not isinstance(value, dict) or "kind" not in value:
        raise InputError("A fault is a JSON object with at least a kind.")
    options = cast("dict[str, object]", value)
    names = {field.name for field in fields(Fault)}
    for name, option in options.items():
        if name not in names:
            raise InputError(f"A fault has no {name}: use {', '.join(sorted(names))}.")
        if not isinstance(option, _OPTION_TYPES.get(name, int)):
            raise InputError(f"A fault can't have {option!r} as its {name}.")
    return Fault(**options)  # pyright: ignore[reportArgumentType] -- each has just been checked


class Faults:
    """The faults in force; may be changed from any thread while the sandbox answers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active: list[_Active] = []

    def add(self, fault: Fault) -> None:
        """Put a fault in force, beside those that already are."""
        with self._lock:
            self._active.append(_Active(fault))

    def clear(self) -> None:
        """Lift all faults."""
        with self._lock:
            self._active.clear()

    def has_any_of(self, kinds: Collection[FaultKind]) -> bool:
        """Whether a fault of one of these kinds is in force."""
        with self._lock:
            return any(active.fault.kind in kinds for active in self._active)

    def striking(self, ask: Ask, market: Market | None, fits: Callable[[Fault], bool]) -> list[Fault]:
        """The faults that fit and strike this request, which counts for each of them."""
        with self._lock:
            return [active.fault for active in self._active if fits(active.fault) and active.strikes(ask, market)]

    def as_json(self) -> list[dict[str, object]]:
        """The faults in force, and how often each has struck."""
        with self._lock:
            return [{**asdict(active.fault), "struck": active.struck} for active in self._active]


class _Active:
    """A fault in force and what it has done."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.struck = 0
        self._asked: Counter[str] = Counter()

    def strikes(self, ask: Ask, market: Market | None) -> bool:
        """Whether it strikes this request, which counts."""
        fault = self.fault
        if not fault.concerns(ask, market) or (fault.count is not None and self.struck >= fault.count):
            return False
        if fault.probability < 1 and not self._draw(ask) < fault.probability:
            return False
        self.struck += 1
        return True

    def _draw(self, ask: Ask) -> float:
        """A number in [0, 1) made of the seed, the request and how often it was made."""
        request = f"{ask.host}{ask.path}?{sorted(ask.query.items())}"
        self._asked[request] += 1
        text = f"{self.fault.seed}|{self.fault.kind}|{request}|{self._asked[request]}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) / 2**64
