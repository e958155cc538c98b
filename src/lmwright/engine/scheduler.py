"""Who runs: sequences join and leave between steps; all that run share one forward pass."""

import logging
from collections import deque
from collections.abc import Iterator
from collections.abc import Sequence as Items

from torch import Tensor

from lmwright.engine import sampling
from lmwright.engine.runner import Runner
from lmwright.engine.sequence import Event, Sequence

log = logging.getLogger(__name__)

# Tokens of one prefill pass, padding included: enough to keep two cores busy, and its activations
# stay in tens of megabytes whatever waits.
PREFILL_TOKENS = 4096
# A pass of its own costs about as much as this many padded tokens in a larger one.
PADDING_WORTH_A_PASS = 256
# With a full house, newcomers wait until this part of the places is free: a prefill pass for one
# prompt costs nearly as much as one for several.
PART_FREE_TO_ADMIT = 8


def prefill_groups(waiting: Items[Sequence]) -> Iterator[list[Sequence]]:
    """Prompts of like length together, so that little of a padded pass is padding."""
    group: list[Sequence] = []
    real = 0
    for sequence in sorted(waiting, key=lambda s: len(s.prompt_ids)):
        length = len(sequence.prompt_ids)  # the longest of the group so far
        padded = (len(group) + 1) * length
        wasteful = padded - (real + length) > (real + length) // 4 + PADDING_WORTH_A_PASS
        if group and (padded > PREFILL_TOKENS or wasteful):
            yield group
            group, real = [], 0
        group.append(sequence)
        real += length
    if group:
        yield group


class Scheduler:
    """Continuous batching over one runner.

    Args:
        runner: with an empty cache; its rows are `running`, in order.
        max_sequences: most sequences that run at once.
    """

    def __init__(self, runner: Runner, *, max_sequences: int) -> None:
        self.runner = runner
        self.max_sequences = max_sequences
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self._ended: list[Event] = []  # of requests withdrawn since the last step

    @property
    def has_work(self) -> bool:
        """Whether a step would do or report anything."""
        return bool(self.waiting or self.running or self._ended)

    def add(self, sequence: Sequence) -> None:
        """Queue a request; it joins in one of the next steps, first come, first served."""
        self.waiting.append(sequence)

    def abort(self, request_id: int) -> None:
        """Withdraw a request at once; the next step reports it. Unknown or finished: no effect."""
        for sequence in (*self.waiting, *self.running):
            if sequence.request_id == request_id:
                break
        else:
            return
        shown = sequence.finish("abort")
        if sequence in self.running:
            self._leave([self.running.index(sequence)])
        else:
            self.waiting.remove(sequence)
        self._ended.append(Event(request_id, shown, None, "abort"))

    def step(self) -> list[Event]:
        """Let waiting prompts join, then give every running sequence its next token."""
        events, self._ended = self._ended, []
        for group in prefill_groups(self._admit()):
            events += self._join(group)
        if self.running:
            tokens = [sequence.token_ids[-1] for sequence in self.running]
            events += self._take(self.runner.decode(tokens), 0)
        return events

    def check(self) -> None:
        """Raise AssertionError if an invariant is broken; for tests, after every operation."""
        self.runner.cache.check()
        lengths = [len(s.prompt_ids) + len(s.token_ids) - 1 for s in self.running]
        assert lengths == self.runner.cache.lengths, "rows and sequences differ"
        assert len(self.running) <= self.max_sequences, "too many run"
        assert all(s.finish_reason is None for s in (*self.running, *self.waiting)), "finished"

    def _admit(self) -> list[Sequence]:
        free = self.max_sequences - len(self.running)
        worthwhile = min(len(self.waiting), -(-self.max_sequences // PART_FREE_TO_ADMIT))
        if self.running and free < worthwhile:
            return []
        return [self.waiting.popleft() for _ in range(min(free, len(self.waiting)))]

    def _join(self, group: list[Sequence]) -> list[Event]:
        first = len(self.running)
        logits = self.runner.prefill([sequence.prompt_ids for sequence in group])
        self.running += group
        return self._take(logits, first)

    def _take(self, logits: Tensor, first: int) -> list[Event]:
        """Choose a token for each row from `first` on, hand it over, and let finished rows go."""
        sequences = self.running[first:]
        # The maximum is NaN if any is; a row of -inf alone has no distribution either.
        valid = logits.amax(dim=-1).isfinite()
        if not valid.all():
            logits = logits.masked_fill(~valid[:, None], 0.0)
        tokens, logprobs = sampling.choose(
            logits, [s.params for s in sequences], [s.random for s in sequences]
        )
        chosen = tokens.tolist()
        values = [None] * len(chosen) if logprobs is None else logprobs.tolist()
        events = [
            _hand_over(sequence, token, value if sequence.params.logprobs else None, ok)
            for sequence, token, value, ok in zip(
                sequences, chosen, values, valid.tolist(), strict=True
            )
        ]
        finished = [first + i for i, event in enumerate(events) if event.finish_reason]
        if finished:
            self.runner.cache.wipe([row for row in finished if self.running[row].error])
            self._leave(finished)
        return events

    def _leave(self, rows: list[int]) -> None:
        order = self.runner.cache.remove(rows)
        self.running = [self.running[row] for row in order]


def _hand_over(sequence: Sequence, token: int, logprob: float | None, valid: bool) -> Event:
    """Give a sequence its token; whatever goes wrong there ends that sequence alone."""
    if not valid:
        sequence.fail("the model's scores for the next token are not finite numbers")
        return Event(sequence.request_id, "", None, "error", error=sequence.error)
    try:
        shown = sequence.push(token, logprob)
    except Exception as error:  # the other requests of the batch must go on
        log.exception("request %d failed in its own processing", sequence.request_id)
        sequence.fail(f"{type(error).__name__}: {error}")
        return Event(sequence.request_id, "", None, "error", error=sequence.error)
    return Event(sequence.request_id, shown, token, sequence.finish_reason, logprob)
