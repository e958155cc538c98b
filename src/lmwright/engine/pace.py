"""How much of a prompt a step may read, so that running answers do not stall."""

# A chunk may cost this part of a step that only continues answers; with it, such a step takes less
# than twice as long, also where the estimate is somewhat off.
SHARE = 0.7
# Fewer tokens would make a long prompt wait for the sake of nothing: a pass has its fixed costs.
FEWEST_TOKENS = 16
# A chunk is at most so many times as large as any that was timed: small ones tell a token's time
# only roughly, for what one step takes longer than another is of the same size.
GROWTH = 2
# Weight of the newest measurement: three quarters of an estimate are from the last five steps.
NEWEST = 0.25


class Pace:
    """Running estimates of a step's time and of the time of a prompt's token.

    Steps that only continue answers are told apart by how many, in powers of two.
    """

    def __init__(self) -> None:
        self._step_seconds: dict[int, float] = {}
        # Both forget alike, so that their quotient is a mean in which large chunks count for more.
        self._seconds_beyond = 0.0
        self._tokens = 0.0
        self._largest = FEWEST_TOKENS // GROWTH

    def prompt_tokens(self, continued: int) -> int | None:
        """Most tokens of prompts for a step that continues so many answers; None: no limit."""
        if not continued:
            return None
        step = self._step(continued)
        if step is None or not self._tokens:
            return FEWEST_TOKENS
        confirmed = GROWTH * self._largest
        each = self._seconds_beyond / self._tokens
        affordable = int(min(confirmed, SHARE * step / each)) if each > 0 else confirmed
        return max(FEWEST_TOKENS, affordable)

    def observe(self, continued: int, prompt_tokens: int, seconds: float) -> None:
        """Learn from a step.

        Args:
            continued: answers that got a token.
            prompt_tokens: read beside that.
            seconds: it took.
        """
        if not prompt_tokens:
            kind = continued.bit_length()
            before = self._step_seconds.get(kind, seconds)
            self._step_seconds[kind] = before + NEWEST * (seconds - before)
            return
        step = self._step(continued) if continued else 0.0
        if step is None or prompt_tokens < FEWEST_TOKENS:
            return  # the two costs cannot be told apart
        self._seconds_beyond += seconds - step - NEWEST * self._seconds_beyond
        self._tokens += prompt_tokens - NEWEST * self._tokens
        if continued:
            self._largest = max(self._largest, prompt_tokens)

    def _step(self, continued: int) -> float | None:
        """Seconds of a step that continues so many answers, as the nearest kind that was seen."""
        kinds = self._step_seconds
        if not kinds:
            return None
        wanted = continued.bit_length()
        return kinds[min(kinds, key=lambda kind: (abs(kind - wanted), kind))]
