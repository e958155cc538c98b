"""Encoded examples as batches of like lengths, in an order that is a function of (seed, position).

Each epoch shuffles the examples, sorts them by length within pools of neighbours, cuts the pools
into batches of about the same number of tokens, padding included, and shuffles the batches. So
little is padded, every step costs about the same, and a resumed loader goes on to the bit.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lmwright.core.errors import LmwrightError
from lmwright.tokens.examples import ExampleBatch, Examples

POOL = 64
"""Batches sorted together: at 64 padding is a few per cent, and neighbours are still strangers."""


def in_order(examples: Examples, *, batch_rows: int = 64) -> Iterator[ExampleBatch]:
    """Every example once, in order; the last batch may be smaller. For evaluation."""
    for start in range(0, len(examples), batch_rows):
        yield examples.batch(range(start, min(start + batch_rows, len(examples))))


class ExampleLoader:
    """Endless batches of shuffled examples.

    Args:
        examples: what to read, at least one.
        batch_tokens: tokens of a batch at most, padding and targets included; an example that is
            longer makes a batch of its own.
        seed: decides every epoch's order.
        rank, world_size: which of `world_size` neighbouring batches this process reads.

    Raises:
        LmwrightError: if there are no examples.
    """

    def __init__(
        self,
        examples: Examples,
        *,
        batch_tokens: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if len(examples) == 0:
            raise LmwrightError("there are no examples to train on", hint="is the dataset empty?")
        assert batch_tokens > 0
        assert 0 <= rank < world_size
        self.examples = examples
        self.batch_tokens = batch_tokens
        self.seed = seed
        self._rank, self._world_size = rank, world_size
        self._lengths, self._targets = examples.lengths, examples.target_lengths
        self._epoch, self._place = 0, 0  # the next batch that any rank takes
        self._batches: list[NDArray[np.int64]] = self._batches_of(0)

    @property
    def epochs(self) -> float:
        """How often the examples have been seen, over all ranks."""
        return self._epoch + self._place / len(self._batches)

    @property
    def batches_per_epoch(self) -> int:
        """Batches that show every example once; epochs differ by a few."""
        return len(self._batches)

    @property
    def row_length(self) -> int:
        """Tokens of the longest example, target included: what memory is planned for."""
        return int((self._lengths + self._targets).max())

    @property
    def most_rows(self) -> int:
        """Rows that a batch can have: of the shortest examples."""
        shortest = int((self._lengths + self._targets).min())
        return min(len(self.examples), max(1, self.batch_tokens // max(1, shortest)))

    def typical(self) -> ExampleBatch:
        """A batch whose examples are longer than those of two thirds of the batches.

        What the machine is measured on: long examples cost a little more per token, and a first
        batch, taken by chance, may have the shortest.
        """
        lengths = [int(self._lengths[batch].max()) for batch in self._batches]
        return self.examples.batch(self._batches[int(np.argsort(lengths)[2 * len(lengths) // 3])])

    def __iter__(self) -> Iterator[ExampleBatch]:
        return self

    def __next__(self) -> ExampleBatch:
        for number in range(self._world_size):
            if self._place == len(self._batches):
                self._epoch, self._place = self._epoch + 1, 0
                self._batches = self._batches_of(self._epoch)
            if number == self._rank:
                chosen = self._batches[self._place]
            self._place += 1
        return self.examples.batch(chosen)

    def state_dict(self) -> dict[str, int]:
        """Where the loader stands, and what its order depends on."""
        return {"epoch": self._epoch, "place": self._place, **self._order()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where another loader of the same examples stood.

        Raises:
            LmwrightError: if the state belongs to other examples, batches or another seed.
        """
        for name, mine in self._order().items():
            if state.get(name) != mine:
                raise LmwrightError(
                    f"the checkpoint's data order has {name} {state.get(name)}, this run {mine}",
                    hint="the data or the seed changed: start the step anew",
                )
        if state["epoch"] != self._epoch:
            self._batches = self._batches_of(state["epoch"])
        self._epoch, self._place = state["epoch"], state["place"]

    def _order(self) -> dict[str, int]:
        return {
            "seed": self.seed,
            "examples": len(self.examples),
            "batch_tokens": self.batch_tokens,
        }

    def _batches_of(self, epoch: int) -> list[NDArray[np.int64]]:
        """The examples of every batch of an epoch, in its order."""
        generator = np.random.default_rng((self.seed, epoch))
        order = generator.permutation(len(self.examples))
        costs = self._lengths + self._targets
        pool = max(1, int(POOL * self.batch_tokens / max(1.0, costs.mean())))
        batches: list[NDArray[np.int64]] = []
        for start in range(0, len(order), pool):
            part = order[start : start + pool]
            batches += self._cut(part[np.argsort(costs[part], kind="stable")])
        return [batches[i] for i in generator.permutation(len(batches))]

    def _cut(self, indices: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Neighbours in `indices` as batches of at most `batch_tokens`, padding included."""
        batches = []
        begin = source = target = 0
        for place, index in enumerate(indices):
            source = max(source, int(self._lengths[index]))
            target = max(target, int(self._targets[index]))
            if place > begin and (place + 1 - begin) * (source + target) > self.batch_tokens:
                batches.append(indices[begin:place])
                begin = place
                source, target = int(self._lengths[index]), int(self._targets[index])
        batches.append(indices[begin:])
        return batches
