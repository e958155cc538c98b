"""How much one API key may ask for: requests per minute, and requests at once."""

import math
import time
from collections.abc import Callable


class TokenBucket:
    """Requests per minute: an unused minute's worth may be spent at once, then it refills evenly.

    Args:
        per_minute: requests, and the size of the bucket.
        clock: seconds that only grow.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_minute / 60
        self._size = float(per_minute)
        self._left = self._size
        self._clock = clock
        self._filled = clock()

    def take(self) -> int:
        """Take one request out.

        Returns:
            0 if there was one, else the whole seconds after which there will be.
        """
        now = self._clock()
        self._left = min(self._size, self._left + (now - self._filled) * self._per_second)
        self._filled = now
        if self._left >= 1:
            self._left -= 1
            return 0
        return max(1, math.ceil((1 - self._left) / self._per_second))


class Allowance:
    """What one key has left.

    Args:
        name: of the key, in the log.
        per_minute: requests; None: as many as come.
        at_once: requests that are being answered; None: as many as come.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        name: str,
        per_minute: int | None = None,
        at_once: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._bucket = None if per_minute is None else TokenBucket(per_minute, clock)
        self._most = at_once
        self._open = 0

    def enter(self) -> int:
        """Begin a request; `leave` ends it.

        Returns:
            0 if it may go on, else the whole seconds after which to try again; then there is
            nothing to end.
        """
        # First, so that a request which is refused for want of room does not cost one.
        if self._most is not None and self._open >= self._most:
            return 1
        wait = 0 if self._bucket is None else self._bucket.take()
        if not wait:
            self._open += 1
        return wait

    def leave(self) -> None:
        """End a request."""
        self._open -= 1
