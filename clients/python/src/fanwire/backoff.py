"""When to connect again."""

from __future__ import annotations

import random as random_module
from collections.abc import Callable

OVERLOADED = 1013


class Backoff:
    """Exponential back-off with full jitter: any delay from 0 to a ceiling that doubles with each attempt is equally likely."""

    def __init__(
        self, base_s: float = 0.25, max_s: float = 30.0, overload_base_s: float = 2.0, random: Callable[[], float] = random_module.random,
    ) -> None:
        self.base_s = base_s
        self.max_s = max_s
        self.overload_base_s = overload_base_s
        self.random = random
        self.attempt = 0

    def next(self, close_code: int | None = None) -> float:
        """Seconds until the next attempt, after a connection that ended with this close code."""
        base = self.overload_base_s if close_code == OVERLOADED else self.base_s
        # Beyond 64 doublings every ceiling is the largest one, and a float would overflow in the end.
        ceiling = min(self.max_s, base * 2.0 ** min(self.attempt, 64))
        self.attempt += 1
        return self.random() * ceiling

    def reset(self) -> None:
        """A connection lasted: the next failure is a first one."""
        self.attempt = 0
