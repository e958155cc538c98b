"""Documents into rows of equal length, with little padding and no document lost."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmwright.core.errors import LmwrightError
from lmwright.tokens.best_fit import best_fit

IGNORED = -100
"""Target of a position that is not trained (the field's custom, PyTorch's `ignore_index`)."""


@dataclass(frozen=True)
class TokenDocument:
    """The ids of one document or conversation.

    Args:
        ids: (L,) token ids.
        mask: (L,) True where the token is to be predicted; None trains every token.
    """

    ids: Sequence[int] | NDArray[np.uint32]
    mask: Sequence[bool] | NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class PackedRows:
    """N rows of T tokens; arrays in memory or mapped from files.

    Args:
        input_ids: (N, T) unsigned ids; padding holds the pad token.
        targets: (N, T) int32, the next token of the same document; `IGNORED` where that token is
            not trained, and on padding.
        document_ids: (N, T) unsigned; 0 on padding, documents of a row count from 1.
    """

    input_ids: NDArray[np.unsignedinteger]
    targets: NDArray[np.int32]
    document_ids: NDArray[np.unsignedinteger]

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def row_length(self) -> int:
        """T, in tokens."""
        return int(self.input_ids.shape[1])

    def tokens(self) -> int:
        """Tokens without padding."""
        return int(np.count_nonzero(self.document_ids))

    def trained_tokens(self) -> int:
        """Positions with a target."""
        return int(np.count_nonzero(self.targets != IGNORED))

    def fill(self) -> float:
        """Share of the positions that hold a token; 1 for no rows."""
        return self.tokens() / self.document_ids.size if self.document_ids.size else 1.0


def pack(documents: Iterable[TokenDocument], row_length: int, *, pad_token_id: int) -> PackedRows:
    """Pack documents into rows, cutting those that are longer than a row.

    The last token of a cut-off part keeps the next part's first token as its target, so every
    token after a document's first is trained once, wherever the cuts fall.

    Args:
        documents: empty ones are passed over.
        row_length: T.
        pad_token_id: fills what is left of a row.

    Raises:
        LmwrightError: if `row_length` is below 2, which leaves nothing to predict.
    """
    if row_length < 2:
        raise LmwrightError(f"rows of {row_length} tokens leave nothing to predict")
    ids, targets, lengths = _flatten(documents)
    starts, sizes = _cut(lengths, row_length)
    bins = best_fit(sizes.tolist(), row_length)
    return _place(ids, targets, starts, sizes, bins, row_length, pad_token_id)


def _flatten(
    documents: Iterable[TokenDocument],
) -> tuple[NDArray[np.uint32], NDArray[np.int32], NDArray[np.int64]]:
    """All ids in one line, the target of each, and the length of every document."""
    # Each begins with an empty array, so that no documents make one of the right dtype too.
    all_ids: list[NDArray[np.uint32]] = [np.zeros(0, np.uint32)]
    all_targets: list[NDArray[np.int32]] = [np.zeros(0, np.int32)]
    for document in documents:
        if len(document.ids) == 0:
            continue
        ids = np.asarray(document.ids, np.uint32)
        targets = np.full(len(ids), IGNORED, np.int32)
        targets[:-1] = ids[1:]
        if document.mask is not None:
            assert len(document.mask) == len(ids), "a mask has one value per token"
            targets[:-1][~np.asarray(document.mask, np.bool_)[1:]] = IGNORED
        all_ids.append(ids)
        all_targets.append(targets)
    lengths = np.array([len(ids) for ids in all_ids[1:]], np.int64)
    return np.concatenate(all_ids), np.concatenate(all_targets), lengths


def _cut(
    lengths: NDArray[np.int64], row_length: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Start, in the line of all ids, and size of every part that is at most a row long."""
    parts = -(-lengths // row_length)
    document = np.repeat(np.arange(len(lengths)), parts)
    first_part = np.repeat(np.cumsum(parts) - parts, parts)
    offset = (np.arange(len(document)) - first_part) * row_length
    starts = (np.cumsum(lengths) - lengths)[document] + offset
    return starts, np.minimum(lengths[document] - offset, row_length)


def _place(
    ids: NDArray[np.uint32],
    targets: NDArray[np.int32],
    starts: NDArray[np.int64],
    sizes: NDArray[np.int64],
    bins: Sequence[Sequence[int]],
    row_length: int,
    pad_token_id: int,
) -> PackedRows:
    """Copy the parts into their rows, all at once."""
    largest = int(ids.max(initial=pad_token_id))
    shape = (len(bins), row_length)
    # Two bytes hold every id of a small vocabulary, and halve what training reads.
    input_ids = np.full(shape, pad_token_id, np.uint16 if largest < 2**16 else np.uint32)
    row_targets = np.full(shape, IGNORED, np.int32)
    document_ids = np.zeros(shape, np.uint16 if row_length < 2**16 else np.uint32)

    order = np.array([part for row in bins for part in row], np.int64)
    per_row = np.array([len(row) for row in bins], np.int64)
    row = np.repeat(np.arange(len(bins)), per_row)
    place = np.arange(len(order)) - np.repeat(np.cumsum(per_row) - per_row, per_row)
    size = sizes[order]
    before = np.cumsum(size) - size  # tokens placed before each part, over all rows
    first_of_row = np.repeat(np.cumsum(per_row) - per_row, per_row)
    destination = row * row_length + before - before[first_of_row]

    within = np.arange(int(size.sum())) - np.repeat(before, size)
    source, target = np.repeat(starts[order], size) + within, np.repeat(destination, size) + within
    input_ids.ravel()[target] = ids[source]
    row_targets.ravel()[target] = targets[source]
    document_ids.ravel()[target] = np.repeat(place + 1, size)
    return PackedRows(input_ids, row_targets, document_ids)
