"""How much of its prompts a step may read, so that running answers do not stall.

A single long prompt slows the answers beside it down by less than two, however few they are.
Whoever waits behind it for an answer's beginning has twice the claim to the processor of one who
waits for its next token: in that proportion prompts get time beside a step. So under load
prompts are read faster, more answers share a step, and everybody is served sooner
(docs/experiments.md has the measurement).
"""

# A chunk may cost this part of a step that only continues answers, also if nobody else waits; with
# it, such a step takes less than twice as long, also where the estimate is somewhat off.
SHARE = 0.7
# What one who waits behind another counts for, beside one whose answer goes on.
WEIGHT_OF_BEHIND = 2
# And at most so many such steps, however many wait: text that comes more slowly is not read along.
MOST_SHARE = 4.0
# Fewer tokens would make a long prompt wait for the sake of nothing: a pass has its fixed costs.
FEWEST_TOKENS = 16
# A chunk is at most so many times as large as any that was timed: small ones tell a token's time
# only roughly, for what one step takes longer than another is of the same size.
GROWTH = 2
# Weight of the newest measurement: three quarters of an estimate are from the last five steps.
NEWEST = 0.25
# Under load every step reads: after so many the next one only continues, to be timed. Otherwise
# chunks would for ever be measured by how long a step took when the server was still idle.
STALE_STEPS = 64


class Pace:
    """Running estimates of a step's time and of the time of a prompt's token.

    Steps that only continue answers are told apart by how many, in powers of two.
    """

    def __init__(self) -> None:
        self._step_seconds: dict[int, float] = {}
        self._ages: dict[int, int] = {}  # steps since each of these was timed
        # Both forget alike, so that their quotient is a mean in which large chunks count for more.
        self._seconds_beyond = 0.0
        self._tokens = 0.0
        self._largest = FEWEST_TOKENS // GROWTH

    def prompt_tokens(self, continued: int, waiting: int = 1) -> int | None:
        """Most tokens of prompts for a step.

        Args:
            continued: answers that the step continues.
            waiting: requests whose answer has not begun.

        Returns:
            How many; 0 where a step without any has to be timed first; None: no limit.
        """
        if not continued:
            return None
        kind = continued.bit_length()
        if self._ages.get(kind, STALE_STEPS) >= STALE_STEPS:
            return 0
        if not self._tokens:
            return FEWEST_TOKENS
        share = min(MOST_SHARE, max(SHARE, WEIGHT_OF_BEHIND * (waiting - 1) / continued))
        confirmed = GROWTH * self._largest
        each = self._seconds_beyond / self._tokens
        step = self._step_seconds[kind]
        affordable = int(min(confirmed, share * step / each)) if each > 0 else confirmed
        return max(FEWEST_TOKENS, affordable)

    def observe(self, continued: int, prompt_tokens: int, seconds: float) -> None:
        """Learn from a step.

        Args:
            continued: answers that got a token.
            prompt_tokens: read beside that.
            seconds: it took.
        """
        kind = continued.bit_length()
        if not prompt_tokens:
            before = self._step_seconds.get(kind, seconds)
            self._step_seconds[kind] = before + NEWEST * (seconds - before)
            self._ages[kind] = 0
            return
        if continued:
            self._ages[kind] = self._ages.get(kind, STALE_STEPS) + 1
        step = self._step_seconds.get(kind) if continued else 0.0
        if step is None or prompt_tokens < FEWEST_TOKENS:
            return  # the two costs cannot be told apart
        self._seconds_beyond += seconds - step - NEWEST * self._seconds_beyond
        self._tokens += prompt_tokens - NEWEST * self._tokens
        if continued:
            self._largest = max(self._largest, prompt_tokens)
