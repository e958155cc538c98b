"""Rows with padding, on either side or between, as sequences without."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lmwright.core.errors import LmwrightError


@dataclass(frozen=True)
class Sequences:
    """N sequences of at most L tokens that stand somewhere in B rows of T positions."""

    index: Tensor | None
    """(N, L) int64, place of each token in the B * T positions; None: the rows are the sequences,
    every position counts or what does not stands at the right."""
    lengths: Tensor
    """(N,) int64, tokens of each sequence; 0 where a row is all padding."""
    shape: tuple[int, int]
    """B and T."""
    full: bool
    """Whether all sequences have L tokens."""

    @property
    def longest(self) -> int:
        """L."""
        return self.shape[1] if self.index is None else self.index.shape[1]

    def valid(self) -> Tensor:
        """(N, L) bool, True where a sequence has a token."""
        position = torch.arange(self.longest, device=self.lengths.device)
        return position < self.lengths[:, None]

    def gather(self, rows: Tensor) -> Tensor:
        """(B, T, ...) -> (N, L, ...), the tokens at the left, anything behind a sequence's end."""
        if self.index is None:
            return rows
        return rows.flatten(0, 1)[self.index]

    def scatter(self, sequences: Tensor, fill: float = 0.0) -> Tensor:
        """(N, L, ...) -> (B, T, ...), `fill` where a row has no token."""
        if self.index is None and self.full:
            return sequences
        valid = self.valid()
        if self.index is None:
            shape = valid.shape + (1,) * (sequences.ndim - 2)
            return torch.where(valid.view(shape), sequences, fill)
        rows = sequences.new_full((self.shape[0] * self.shape[1], *sequences.shape[2:]), fill)
        rows = rows.index_copy(0, self.index[valid], sequences[valid])
        return rows.view(*self.shape, *sequences.shape[2:])


def of_rows(input_ids: Tensor, attention_mask: Tensor | None = None) -> Sequences:
    """One sequence for each row: its positions that are not padding.

    Args:
        input_ids: (B, T) integers.
        attention_mask: (B, T), 0 where a position is padding; None: none is.

    Raises:
        LmwrightError: if the shapes do not fit.
    """
    rows, width = check_ids(input_ids, attention_mask)
    lengths = torch.full((rows,), width, dtype=torch.long, device=input_ids.device)
    if attention_mask is None or bool(attention_mask.all()):
        return Sequences(None, lengths, (rows, width), full=True)
    real = attention_mask.bool()
    lengths = real.sum(1)
    if bool((real == (torch.arange(width, device=real.device) < lengths[:, None])).all()):
        return Sequences(None, lengths, (rows, width), full=False)
    place = torch.arange(rows * width, device=real.device).view(rows, width)
    return _gathered(place[real], real.nonzero()[:, 0], rows, (rows, width))


def of_documents(input_ids: Tensor, document_ids: Tensor) -> Sequences:
    """One sequence for each document of packed rows.

    Args:
        input_ids: (B, T) integers.
        document_ids: (B, T), 0 on padding, constant within a document and different in neighbours.

    Raises:
        LmwrightError: if the shapes do not fit.
    """
    rows, width = check_ids(input_ids, document_ids)
    real = document_ids != 0
    starts = torch.ones_like(real)
    starts[:, 1:] = document_ids[:, 1:] != document_ids[:, :-1]
    document = (starts & real).flatten().cumsum(0).view(rows, width) - 1
    place = torch.arange(rows * width, device=real.device).view(rows, width)
    count = int((starts & real).sum())
    return _gathered(place[real], document[real], count, (rows, width))


def check_ids(input_ids: Tensor, mask: Tensor | None, name: str = "input_ids") -> tuple[int, int]:
    """B and T of token ids whose shape, and that of their mask, are as they must be."""
    if input_ids.ndim != 2 or input_ids.is_floating_point():
        raise LmwrightError(
            f"{name} must be integers of shape (rows, tokens); they are "
            f"{str(input_ids.dtype).removeprefix('torch.')} of shape {tuple(input_ids.shape)}"
        )
    if input_ids.numel() == 0:
        raise LmwrightError(f"{name} of shape {tuple(input_ids.shape)} holds no tokens")
    if mask is not None and mask.shape != input_ids.shape:
        raise LmwrightError(
            f"the mask has shape {tuple(mask.shape)}, {name} {tuple(input_ids.shape)}"
        )
    return input_ids.shape[0], input_ids.shape[1]


def _gathered(place: Tensor, sequence: Tensor, count: int, shape: tuple[int, int]) -> Sequences:
    """Sequences of the tokens at `place` (M,), each of which belongs to `sequence` (M,)."""
    lengths = torch.bincount(sequence, minlength=count)
    longest = int(lengths.max()) if count else 0
    first = lengths.cumsum(0) - lengths
    position = torch.arange(len(place), device=place.device) - first[sequence]
    # At least one position, so that nothing downstream meets an empty dimension.
    index = place.new_zeros(count, max(longest, 1))
    index[sequence, position] = place
    return Sequences(index, lengths, shape, full=bool((lengths == index.shape[1]).all()))
