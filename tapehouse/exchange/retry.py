"""How often and how patiently a failed request is made again; which faults pass is said in `translate`."""

import random
from dataclasses import dataclass

from tapehouse.errors import RateLimited, RetryableError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """At most `attempts` tries, with pauses that double from `base_s` up to `cap_s`, drawn at random below that.

    The random draw ("full jitter") keeps many clients from coming back at the same moment.
    """

    attempts: int = 6
    base_s: float = 0.5
    cap_s: float = 60.0

    def pause_s(self, failures: int, error: RetryableError) -> float:
        """How long to wait after that many failures; a Retry-After is waited for, up to `cap_s`."""
        longest_s = min(self.cap_s, self.base_s * 2 ** (failures - 1))
        pause_s = random.uniform(0, longest_s)  # noqa: S311 -- spreads load, protects nothing
        if isinstance(error, RateLimited) and error.retry_after_s is not None:
            pause_s += min(self.cap_s, error.retry_after_s)
        return pause_s
