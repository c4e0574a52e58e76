"""Request limits: how an exchange counts what it is asked, and what it says when that is too much.

Each kind follows one exchange's published rule; what a refusal looks like is the dialect's business.
"""

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

_BAN_AFTER_REFUSALS: Final = 20
_BAN_S: Final = 120


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request too many: try again after `retry_after_s`; `banned` once 429 has been ignored."""

    retry_after_s: int
    banned: bool = False


class WeightPerMinute:
    """Binance's rule: weights are added up in each minute of the clock, and 429 ignored becomes a ban."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._minute = 0
        self._refused = 0
        self._banned_until_s = 0.0

    def admit(self, weight: int, now_s: float) -> Refusal | None:
        """Count a request; give a refusal where it is one too many."""
        if now_s < self._banned_until_s:
            return Refusal(math.ceil(self._banned_until_s - now_s), banned=True)
        if (minute := int(now_s // 60)) != self._minute:
            self._minute, self.used, self._refused = minute, 0, 0
        self.used += weight
        if self.used <= self.limit:
            return None
        self._refused += 1
        if self._refused > _BAN_AFTER_REFUSALS:
            self._banned_until_s = now_s + _BAN_S
            return Refusal(_BAN_S, banned=True)
        return Refusal(math.ceil(60 * (minute + 1) - now_s))


class DecayingCounter:
    """Kraken's and Coinbase's rule: each request adds one to a counter that falls steadily; it may not pass a limit."""

    def __init__(self, limit: int, *, per_s: float) -> None:
        self._limit = limit
        self._per_s = per_s
        self._count = 0.0
        self._seen_s = 0.0

    def admit(self, now_s: float) -> Refusal | None:
        """Count a request; give a refusal where it is one too many."""
        self._count = max(0.0, self._count - (now_s - self._seen_s) * self._per_s)
        self._seen_s = now_s
        if self._count + 1 > self._limit:
            return Refusal(math.ceil((self._count + 1 - self._limit) / self._per_s))
        self._count += 1
        return None


class RollingWindow:
    """OKX's, Bybit's and Coinbase Advanced's rule: at most so many requests in any stretch of `window_s`.

    With `ban_s` one request too many shuts the client out for that long; else refused requests do not count.
    """

    def __init__(self, limit: int, *, window_s: float, ban_s: float = 0.0) -> None:
        self._limit = limit
        self._window_s = window_s
        self._ban_s = ban_s
        self._banned_until_s = 0.0
        self._seen_s: deque[float] = deque()

    def admit(self, now_s: float) -> Refusal | None:
        """Count a request; give a refusal where it is one too many."""
        if now_s < self._banned_until_s:
            return Refusal(math.ceil(self._banned_until_s - now_s), banned=True)
        while self._seen_s and self._seen_s[0] <= now_s - self._window_s:
            self._seen_s.popleft()
        if len(self._seen_s) < self._limit:
            self._seen_s.append(now_s)
            return None
        if self._ban_s:
            self._banned_until_s = now_s + self._ban_s
            return Refusal(math.ceil(self._ban_s), banned=True)
        return Refusal(math.ceil(self._seen_s[0] + self._window_s - now_s))
