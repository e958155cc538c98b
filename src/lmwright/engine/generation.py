"""Step by step: plan a pass, run it, choose tokens, hand them over."""

import logging
import time
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor

from lmwright.core.errors import LmwrightError
from lmwright.engine import sampling, speculation
from lmwright.engine.batch import Runner
from lmwright.engine.blocks import BlockPool
from lmwright.engine.layout import Rows, lay_out
from lmwright.engine.pace import Pace
from lmwright.engine.sampling import Choice
from lmwright.engine.scheduler import Portion, Scheduler
from lmwright.engine.sequence import Event, Sequence
from lmwright.engine.speculation import Proposer
from lmwright.engine.stats import EngineStats

log = logging.getLogger(__name__)

# Drafts of a sequence in one pass, usually. Beyond a few, each is hardly ever reached.
MOST_DRAFTS = 4


class Generation:
    """Sequences on their way through one runner.

    Args:
        runner: whose blocks are this generation's alone.
        max_sequences: most sequences that run at once.
        max_batch_tokens: most tokens of one pass.
        prefix_caching: whether a prompt's known beginning is taken from the cache; only for weights
            that do not change.
        proposer: guesses tokens for the model to check.
        most_drafts: most tokens that it guesses for a sequence in one pass.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        max_sequences: int,
        max_batch_tokens: int,
        prefix_caching: bool,
        proposer: Proposer | None = None,
        most_drafts: int = MOST_DRAFTS,
    ) -> None:
        self.runner = runner
        self.scheduler = Scheduler(
            BlockPool(runner.num_blocks, runner.block_size),
            max_sequences=max_sequences,
            max_batch_tokens=max_batch_tokens,
            prefix_caching=prefix_caching,
        )
        self._proposer = proposer
        self._most_drafts = most_drafts
        self._pace = Pace()
        self._ended: list[Event] = []  # of requests withdrawn since the last step
        self._drafts = self._draft_tokens = self._accepted_tokens = 0
        self._prompt_tokens = self._generation_tokens = 0

    @property
    def has_work(self) -> bool:
        """Whether a step would do or report anything."""
        return bool(self.scheduler.waiting or self.scheduler.running or self._ended)

    def add(self, sequence: Sequence) -> None:
        """Queue a request; it joins in one of the next steps."""
        self._prompt_tokens += len(sequence.prompt_ids)
        self.scheduler.add(sequence)

    def abort(self, request_id: int, *, report: bool = True) -> None:
        """Withdraw a request at once. Unknown or finished: no effect.

        Args:
            request_id: which.
            report: whether the next step says so.
        """
        sequence = self.scheduler.find(request_id)
        if sequence is None:
            return
        shown = sequence.finish("abort")
        self.scheduler.remove(sequence)
        if report:
            self._ended.append(Event(request_id, shown, None, "abort"))

    def step(self, *, paced: bool) -> list[Event]:
        """One pass: the next tokens of answers, and prompts as far as there is room.

        Args:
            paced: whether prompts are read in chunks so small that running answers do not stall.
        """
        events, self._ended = self._ended, []
        self._propose()
        portions = self.scheduler.plan(self._paced()) if paced else self.scheduler.plan()
        if not portions:
            return events
        continued = sum(p.sequence.remaining == 1 for p in portions)
        read = sum(p.tokens for p in portions if p.sequence.remaining > 1)
        started = time.monotonic()
        for portion in portions:
            if portion.sequence.joined is None:
                portion.sequence.joined = started
        batch, rows = lay_out(portions)
        logits = self.runner.forward(batch)
        with _one_thread() if self.runner.own_threads else nullcontext():
            events += self._take(portions, rows, logits)
        self._pace.observe(continued, read, time.monotonic() - started)
        return events

    def stats(self) -> EngineStats:
        """Counts so far."""
        scheduler = self.scheduler
        return EngineStats(
            running=len(scheduler.running),
            waiting=len(scheduler.waiting),
            kv_blocks_total=scheduler.pool.num_blocks,
            kv_blocks_used=scheduler.pool.used,
            prefix_queries_tokens=scheduler.prefix_queries,
            prefix_hit_tokens=scheduler.prefix_hits,
            preemptions=scheduler.preemptions,
            drafts=self._drafts,
            draft_tokens=self._draft_tokens,
            accepted_tokens=self._accepted_tokens,
            prompt_tokens=self._prompt_tokens,
            generation_tokens=self._generation_tokens,
        )

    def _paced(self) -> Callable[[int], int | None]:
        """Most tokens of prompts, by how many answers a pass continues."""
        reading = sum(sequence.remaining > 1 for sequence in self.scheduler.running)
        return partial(self._pace.prompt_tokens, waiting=reading + len(self.scheduler.waiting))

    def _propose(self) -> None:
        """Give sequences that are being continued drafts, never more than they may still write."""
        if self._proposer is None:
            return
        going = [s for s in self.scheduler.running if s.remaining == 1 and s.token_ids]
        if not going:
            return
        proposed = self._proposer.propose([s.ids for s in going], self._most_drafts)
        for sequence, drafts in zip(going, proposed, strict=True):
            sequence.drafts = drafts[: sequence.limit - len(sequence.token_ids) - 1]

    def _take(self, portions: Items[Portion], rows: Items[Rows], logits: Tensor) -> list[Event]:
        """Choose the next tokens, hand them over, and let finished sequences go."""
        pairs = list(zip(portions, rows, strict=True))
        places, sound = sampling.look(logits)
        healthy = [all(sound[own.scored]) and all(sound[own.chosen]) for _, own in pairs]
        choosing = [pair for pair, ok in zip(pairs, healthy, strict=True) if ok and pair[0].chooses]
        chosen = choose_next(choosing, logits, places)
        events: list[Event] = []
        for (portion, own), ok in zip(pairs, healthy, strict=True):
            sequence = portion.sequence
            if not ok:
                events.append(_failed(sequence, "the model's scores are not finite numbers"))
            else:
                if own.scored.stop > own.scored.start:
                    _score_prompt(portion, logits[own.scored])
                if portion.chooses:
                    events += self._hand_over(portion, chosen[sequence])
            self.scheduler.commit(portion)
            if sequence.finish_reason is not None:
                self.scheduler.remove(sequence, forget=sequence.error is not None)
        return events

    def _hand_over(self, portion: Portion, choices: list[Choice] | Exception) -> list[Event]:
        """Give a sequence its tokens; whatever goes wrong there ends that sequence alone."""
        sequence = portion.sequence
        events: list[Event] = []
        try:
            if isinstance(choices, Exception):
                raise choices
            if not sequence.limit:  # only the prompt was to be scored
                events.append(_event(sequence, sequence.finish("length"), None))
            for choice in choices:
                shown = sequence.push(choice.token_id, choice.logprob, choice.top)
                self._generation_tokens += 1
                # Drafts are checked one after the other: the state has seen them.
                if sequence.finish_reason is None and not portion.drafts:
                    sequence.state.advance(choice.token_id)
                events.append(_event(sequence, shown, choice))
                if sequence.finish_reason is not None:
                    break
        except Exception as error:  # the other requests of the batch must go on
            log.exception("request %d failed in its own processing", sequence.request_id)
            events.append(_failed(sequence, _told(error)))
        if portion.drafts:
            self._drafts += 1
            self._draft_tokens += portion.drafts
            self._accepted_tokens += max(0, len(events) - 1)
        return events


def choose_next(
    pairs: Items[tuple[Portion, Rows]], logits: Tensor, places: Items[int]
) -> dict[Sequence, list[Choice] | Exception]:
    """The next tokens of each sequence, or what went wrong with it alone.

    Args:
        pairs: portions that choose, and where their logits are.
        logits: (L, V) of the pass.
        places: (L,) of each row's highest.
    """
    chosen: dict[Sequence, list[Choice] | Exception] = {}
    plain: list[tuple[Sequence, int]] = []
    for portion, own in pairs:
        sequence = portion.sequence
        if portion.drafts:
            drafts = sequence.drafts[: portion.drafts]
            try:
                chosen[sequence] = speculation.accept(logits[own.chosen], drafts, sequence.state)
            except Exception as error:  # noqa: BLE001  told by whoever hands over
                chosen[sequence] = error
        elif sequence.limit:
            plain.append((sequence, own.chosen.start))
        else:
            chosen[sequence] = []
    return chosen | _choose_together(plain, logits, places)


def _choose_together(
    plain: list[tuple[Sequence, int]], logits: Tensor, places: Items[int]
) -> dict[Sequence, list[Choice] | Exception]:
    """One token for each sequence from its row of the logits."""
    if not plain:
        return {}
    rows = [row for _, row in plain]
    own = logits if rows == list(range(logits.shape[0])) else logits[rows]
    try:
        states = [sequence.state for sequence, _ in plain]
        choices = sampling.choose(own, states, [places[row] for row in rows])
    except Exception as error:  # noqa: BLE001  told by whoever hands over
        if len(plain) == 1:
            return {plain[0][0]: error}
        # One of them must be to blame; the others get their tokens, if not those of their seeds.
        result: dict[Sequence, list[Choice] | Exception] = {}
        for pair in plain:
            result |= _choose_together([pair], logits, places)
        return result
    return {sequence: [choice] for (sequence, _), choice in zip(plain, choices, strict=True)}


@contextmanager
def _one_thread() -> Iterator[None]:
    """PyTorch works on this thread alone.

    Its other threads go on waiting actively for about a millisecond after each operation that they
    take part in, on cores that the runner's own need (16 sequences: a step 12.3 -> 11.6 ms).
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _score_prompt(portion: Portion, logits: Tensor) -> None:
    """Note how likely the model found the prompt's tokens, as far as these logits tell."""
    sequence, first = portion.sequence, len(portion.sequence.prompt_logprobs) + 1
    tokens = sequence.prompt_ids[first : first + len(logits)]
    scores = sampling.score(logits, tokens, sequence.params.top_logprobs)
    sequence.prompt_logprobs += [(s.token_id, s.logprob or 0.0, s.top) for s in scores]


def _event(sequence: Sequence, shown: str, choice: Choice | None) -> Event:
    first = len(sequence.token_ids) == (choice is not None)
    scored = tuple(sequence.prompt_logprobs)
    return Event(
        sequence.request_id,
        shown,
        None if choice is None else choice.token_id,
        sequence.finish_reason,
        None if choice is None else choice.logprob,
        top=() if choice is None else choice.top,
        prompt_logprobs=scored if first and sequence.params.prompt_logprobs else None,
        joined=sequence.joined if first else None,
    )


def _failed(sequence: Sequence, error: str) -> Event:
    sequence.fail(error)
    return Event(sequence.request_id, "", None, "error", error=error)


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, LmwrightError) else f"{type(error).__name__}: {error}"
