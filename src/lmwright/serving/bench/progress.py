"""How a load test goes, for whoever watches: one line that renews itself, or one now and then."""

import sys

from lmwright.serving.bench.load import Progress

_QUIET_SECONDS = 10  # between lines where nobody watches


def printed() -> Progress:
    """Progress on standard error: renewed in place on a terminal, else a line every 10 seconds."""
    terminal, said = sys.stderr.isatty(), 0.0

    def say(seconds: float, running: int, finished: int, failed: int) -> None:
        nonlocal said
        line = f"{seconds:4.0f} s: {running} running, {finished} finished, {failed} failed"
        if terminal:
            # The cursor goes back, so that whatever is printed next takes the line's place.
            print(f"{line}\x1b[K", end="\r", file=sys.stderr, flush=True)
        elif seconds - said >= _QUIET_SECONDS:
            said = seconds
            print(line, file=sys.stderr, flush=True)

    return say
