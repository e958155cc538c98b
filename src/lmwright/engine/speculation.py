"""Several tokens a pass: a cheap guess at what follows, and the model's word on each of its tokens.

Speculative decoding: Leviathan et al. 2023; guesses from the text itself: Saxena 2023, prompt
lookup decoding.
"""

from array import array
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from lmwright.core.errors import LmwrightError
from lmwright.engine import sampling
from lmwright.engine.batch import Batch, Runner
from lmwright.engine.sampling import Choice, SamplingState

# New tokens of one pass of a draft model. What does not fit is read at the next call, and the
# sequence gets no drafts until then: a long prompt must not stall the others.
TOKENS_PER_PASS = 2048


class Proposer(Protocol):
    """Guesses how sequences go on; a wrong guess costs time and nothing else."""

    def propose(self, sequence_ids: Items[Items[int]], most: int) -> list[list[int]]:
        """Draft tokens for each sequence.

        Args:
            sequence_ids: each one's prompt and answer so far; the caller's, to be left alone.
            most: draft tokens for each at most.

        Returns:
            For each sequence 0 to `most` token ids.
        """
        ...


def accept(logits: Tensor, drafts: Items[int], state: SamplingState) -> list[Choice]:
    """The next tokens of a sequence: drafts as far as they are right, and one token more.

    Each token is drawn exactly as without drafts, and a draft is right if it is the token drawn.
    For drafts that were not drawn at random themselves this is the rule of Leviathan et al. 2023
    (section 2.3), a draft x being accepted with probability p(x) and replaced by a draw from p
    without x otherwise; and because a token takes one number of the request's stream either way,
    a seed gives the same text with any drafts and with none.

    Args:
        logits: (K + 1, V), of what follows the sequence and each of its drafts.
        drafts: K token ids.
        state: the sequence's; it is advanced by every token that is returned.

    Returns:
        1 to K + 1 tokens; none follows one that ends the answer.

    Raises:
        LmwrightError: if nothing can follow one of them under the constraint.
    """
    assert len(logits) == len(drafts) + 1, f"{len(logits)} rows for {len(drafts)} drafts"
    choices: list[Choice] = []
    for place in range(len(logits)):
        choices += sampling.choose(logits[place : place + 1], [state])
        token = choices[-1].token_id
        state.advance(token)
        if token in state.end_ids or [token] != list(drafts[place : place + 1]):
            break
    return choices


class NgramProposer:
    """What followed the sequence's last tokens when they stood there before.

    Args:
        longest: tokens to look for at first, then fewer.
        shortest: fewest to look for; one alone recurs by chance.

    Raises:
        LmwrightError: unless 1 <= shortest <= longest.
    """

    def __init__(self, longest: int = 4, shortest: int = 2) -> None:
        if not 1 <= shortest <= longest:
            raise LmwrightError(
                f"shortest {shortest}, longest {longest}: 1 <= shortest <= longest must hold"
            )
        self.longest = longest
        self.shortest = shortest

    def propose(self, sequence_ids: Items[Items[int]], most: int) -> list[list[int]]:
        """See `Proposer`."""
        return [self._continuation(ids, most) for ids in sequence_ids]

    def _continuation(self, ids: Items[int], most: int) -> list[int]:
        # Bytes, because they are searched in C: text of thousands of tokens at every step.
        text = array("q", ids).tobytes()
        for length in range(min(self.longest, len(ids) - 1), self.shortest - 1, -1):
            after = _recurrence(text, length, array("q").itemsize)
            if after is not None:
                known = list(ids[after:])
                # A text that repeats itself goes on to: the drafts continue into themselves.
                return [known[place % len(known)] for place in range(most)]
        return []


def _recurrence(text: bytes, length: int, size: int) -> int | None:
    """Place behind the latest earlier occurrence of the last `length` items of `size` bytes."""
    pattern, end = text[-length * size :], len(text) - size
    while (start := text.rfind(pattern, 0, end)) >= 0:
        if start % size == 0:
            return start // size + length
        end = start + len(pattern) - 1  # between two items: look on, further left
    return None


@dataclass(eq=False)
class _Reading:
    """A sequence as far as the draft model has read it."""

    ids: list[int] = field(default_factory=list)
    """Tokens whose keys and values lie in `blocks`."""
    blocks: list[int] = field(default_factory=list)


class DraftModelProposer:
    """What a smaller model of the same vocabulary would write, greedily.

    It has blocks of its own. A draft that was not accepted is forgotten by reading over it: the
    next call finds how far the sequence still is what was read.

    Args:
        runner: of the draft model; its blocks are for this proposer alone.
        context_length: positions that the draft model has; longer sequences get no drafts.
    """

    def __init__(self, runner: Runner, context_length: int) -> None:
        self.runner = runner
        self.context_length = context_length
        self._free = list(range(runner.num_blocks))
        self._readings: list[_Reading] = []

    def propose(self, sequence_ids: Items[Items[int]], most: int) -> list[list[int]]:
        """See `Proposer`."""
        drafts: list[list[int]] = [[] for _ in sequence_ids]
        readings = self._recall(sequence_ids)
        going: dict[int, Items[int]] = {}  # place of a sequence -> tokens to read next
        room = TOKENS_PER_PASS
        for place, (ids, reading) in enumerate(zip(sequence_ids, readings, strict=True)):
            new = list(ids[len(reading.ids) :])[:room] if len(ids) < self.context_length else []
            if most and new and self._reserve(reading, len(reading.ids) + len(new)):
                going[place] = new
                room -= len(new)
        while going:
            following = self._read([readings[place] for place in going], list(going.values()))
            pairs, going = list(zip(going, following, strict=True)), {}
            for place, token in pairs:
                reading, known = readings[place], len(sequence_ids[place]) + len(drafts[place])
                if len(reading.ids) < known:  # the prompt is not read whole yet
                    continue
                drafts[place].append(token)
                more = len(drafts[place]) < most and known + 1 < self.context_length
                if more and self._reserve(reading, known + 1):
                    going[place] = [token]
        return drafts

    def _recall(self, sequence_ids: Items[Items[int]]) -> list[_Reading]:
        """What was read of each sequence, cut back to what it still has, its last token aside.

        Sequences that are not named any more are forgotten.
        """
        left, found = list(self._readings), []
        for ids in sequence_ids:
            reading = _Reading()
            for candidate in left:
                shared = _shared(candidate.ids, ids)
                # Of sequences with the same beginning any serves: what differs is read again.
                if 2 * shared > len(candidate.ids):
                    reading = candidate
                    left.remove(reading)
                    # The last token is read again, if need be: what follows it is asked for.
                    del reading.ids[min(shared, len(ids) - 1) :]
                    break
            found.append(reading)
        for reading in left:
            self._free += reading.blocks
        self._readings = found
        return found

    def _reserve(self, reading: _Reading, length: int) -> bool:
        """Whether there are blocks for so many tokens of a sequence."""
        wanted = -(-length // self.runner.block_size) - len(reading.blocks)
        if wanted > len(self._free):
            return False
        for _ in range(wanted):
            reading.blocks.append(self._free.pop())
        return True

    def _read(self, readings: list[_Reading], new: list[Items[int]]) -> list[int]:
        """Read new tokens of each sequence; the likeliest token after each one's last."""
        counts = torch.tensor([len(tokens) for tokens in new])
        starts = torch.cat((counts.new_zeros(1), counts.cumsum(0)))
        before = [len(reading.ids) for reading in readings]
        width = max(len(reading.blocks) for reading in readings)
        tables = torch.zeros(len(readings), width, dtype=torch.int32)
        for row, reading in enumerate(readings):
            tables[row, : len(reading.blocks)] = torch.tensor(reading.blocks, dtype=torch.int32)
        positions = [
            torch.arange(first, first + len(tokens))
            for first, tokens in zip(before, new, strict=True)
        ]
        batch = Batch(
            token_ids=torch.tensor([token for tokens in new for token in tokens]),
            positions=torch.cat(positions),
            query_starts=starts.int(),
            context_lengths=(torch.tensor(before) + counts).int(),
            block_tables=tables,
            logit_rows=starts[1:] - 1,
        )
        following: list[int] = self.runner.forward(batch).argmax(dim=-1).tolist()
        for reading, tokens in zip(readings, new, strict=True):
            reading.ids += tokens
        return following


def _shared(first: Items[int], second: Items[int]) -> int:
    """Length of the longest common beginning."""
    length = min(len(first), len(second))
    if list(first[:length]) == list(second[:length]):  # usual, and compared in C
        return length
    return next(place for place in range(length) if first[place] != second[place])
