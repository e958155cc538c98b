"""Packed rows as batches, in an order that is a function of (seed, position) alone.

The rows of epoch 0, 1, 2, ..., each shuffled by (seed, epoch), form one endless line. A loader is
a place in this line; ranks take neighbouring stretches of it. So a resumed loader goes on exactly
where it was, and any number of ranks together reads what one process would.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmwright.core.errors import LmwrightError
from lmwright.tokens.packing import IGNORED, PackedRows


@dataclass
class TokenBatch:
    """B rows of T tokens.

    Args:
        input_ids: (B, T) int64.
        targets: (B, T) int64, the next token; -100 where none is trained.
        document_ids: (B, T) int32, 0 on padding, documents of a row count from 1.
        position_ids: (B, T) int64, from 0 in every document.
    """

    input_ids: Tensor
    targets: Tensor
    document_ids: Tensor
    position_ids: Tensor

    def __len__(self) -> int:
        return len(self.input_ids)

    def slice(self, start: int, stop: int) -> "TokenBatch":
        """Rows `start` to `stop`, as views."""
        return self._map(lambda tensor: tensor[start:stop])

    def to(self, device: torch.device | str) -> "TokenBatch":
        """The batch on `device`."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def token_count(self) -> int:
        """Positions that hold a token: what throughput is counted in."""
        return int((self.document_ids != 0).sum())

    def trained_tokens(self) -> int:
        """Positions with a target."""
        return int((self.targets != IGNORED).sum())

    def _map(self, change: Any) -> "TokenBatch":
        return TokenBatch(*(change(getattr(self, field.name)) for field in fields(self)))


def batch(rows: PackedRows, indices: NDArray[np.int64] | slice) -> TokenBatch:
    """The chosen rows, copied into tensors.

    Args:
        rows: packed rows of T tokens.
        indices: which rows, in the order wanted.
    """
    document_ids = np.asarray(rows.document_ids[indices])
    return TokenBatch(
        input_ids=torch.from_numpy(rows.input_ids[indices].astype(np.int64)),
        targets=torch.from_numpy(rows.targets[indices].astype(np.int64)),
        document_ids=torch.from_numpy(document_ids.astype(np.int32)),
        position_ids=torch.from_numpy(positions(document_ids)),
    )


def positions(document_ids: NDArray[Any]) -> NDArray[np.int64]:
    """(B, T) place of each token within its document, from 0.

    Args:
        document_ids: (B, T), constant within a document and different in neighbouring ones.
    """
    place = np.broadcast_to(np.arange(document_ids.shape[1]), document_ids.shape)
    starts = np.zeros(document_ids.shape, np.int64)
    changes = document_ids[:, 1:] != document_ids[:, :-1]
    starts[:, 1:] = np.where(changes, place[:, 1:], 0)
    return place - np.maximum.accumulate(starts, axis=1)


def in_order(rows: PackedRows, *, batch_rows: int) -> Iterator[TokenBatch]:
    """Every row once, in file order; the last batch may be smaller. For evaluation."""
    for start in range(0, len(rows), batch_rows):
        yield batch(rows, slice(start, start + batch_rows))


class Loader:
    """Endless batches of shuffled rows.

    Args:
        rows: what to read, at least one row.
        batch_rows: B, rows of a batch on this rank.
        seed: decides every epoch's order.
        rank, world_size: which part of the line this process reads.

    Raises:
        LmwrightError: if there are no rows.
    """

    def __init__(
        self, rows: PackedRows, *, batch_rows: int, seed: int, rank: int = 0, world_size: int = 1
    ) -> None:
        if len(rows) == 0:
            raise LmwrightError("there are no rows to train on", hint="is the corpus empty?")
        assert batch_rows > 0
        assert 0 <= rank < world_size
        self.rows = rows
        self.batch_rows = batch_rows
        self.seed = seed
        self._rank, self._world_size = rank, world_size
        self._position = 0  # rows that all ranks together have taken from the line
        self._epoch, self._order = -1, np.zeros(0, np.int64)

    @property
    def epochs(self) -> float:
        """How often the rows have been seen, over all ranks."""
        return self._position / len(self.rows)

    def __iter__(self) -> Iterator[TokenBatch]:
        return self

    def __next__(self) -> TokenBatch:
        start = self._position + self._rank * self.batch_rows
        indices = self._line(start, start + self.batch_rows)
        self._position += self.batch_rows * self._world_size
        return batch(self.rows, indices)

    def state_dict(self) -> dict[str, int]:
        """Where the loader stands, and what its order depends on."""
        return {"position": self._position, "seed": self.seed, "rows": len(self.rows)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where another loader of the same rows stood, whatever its ranks and batch size.

        Raises:
            LmwrightError: if the state belongs to other rows or another seed.
        """
        for name, mine in (("seed", self.seed), ("rows", len(self.rows))):
            if state.get(name) != mine:
                raise LmwrightError(
                    f"the checkpoint's data order has {name} {state.get(name)}, this run {mine}",
                    hint="the data or the seed changed: start the step anew",
                )
        self._position = state["position"]

    def _line(self, start: int, stop: int) -> NDArray[np.int64]:
        """Rows at places `start` to `stop` of the endless line."""
        parts = []
        while start < stop:
            epoch, place = divmod(start, len(self.rows))
            part = self._permutation(epoch)[place : place + stop - start]
            parts.append(part)
            start += len(part)
        return np.concatenate(parts)

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        if epoch != self._epoch:
            generator = np.random.default_rng((self.seed, epoch))
            self._epoch, self._order = epoch, generator.permutation(len(self.rows))
        return self._order
