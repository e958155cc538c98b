"""Batches of labelled examples: what classifiers, taggers, readers and translators are fed.

On disk: plain .npy files that are mapped, not read.

metadata.json                     task, labels, vocab_size, ..., and counts per split
train/input_ids.npy               all ids, one example after the other
train/starts.npy                  where each begins
train/labels.npy ...              see `Examples`
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmwright.core.errors import LmwrightError
from lmwright.core.files import disk_errors, read_json, write_json
from lmwright.corpora.catalog import Task
from lmwright.tokens.packing import IGNORED

_ARRAYS = ("input_ids", "starts", "labels", "rows", "label_starts", "token_types", "places")
# Tasks with more than one label per example.
_FLAT = ("tagging", "translation", "summarization", "dialogue")


@dataclass
class ExampleBatch:
    """B examples of at most T tokens, padded on the right.

    Args:
        input_ids: (B, T) int64.
        attention_mask: (B, T) int64, 1 on tokens and 0 on padding.
        labels: what the task wants, int64 unless said:
            (B,) classes; (B,) float32 numbers to regress on; (B, T) tags, -100 where none counts;
            (B, 2) first and last token of an answer, both inclusive and both 0 (the first token)
            where there is none; (B, U) target tokens, -100 on padding.
        token_type_ids: (B, T) int64, 1 on the second sentence of a pair; None without pairs.
        decoder_input_ids: (B, U) int64, the targets shifted right behind the start token; None
            unless the task is sequence to sequence.
    """

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    token_type_ids: Tensor | None = None
    decoder_input_ids: Tensor | None = None

    def __len__(self) -> int:
        return len(self.input_ids)

    def slice(self, start: int, stop: int) -> "ExampleBatch":
        """Rows `start` to `stop` as views, without the columns that are padding in all of them."""
        rows = self._map(lambda tensor: tensor[start:stop])
        width = rows.input_ids.shape[1]
        columns = _last_used(rows.attention_mask != 0)
        # Spans are (B, 2): only in rows of two tokens do they look like tags, so those stay whole.
        if width > 2 and columns < width:
            rows._cut_inputs(width, columns)
        if rows.decoder_input_ids is not None:
            columns = _last_used(rows.labels != IGNORED)
            rows.labels = rows.labels[:, :columns]
            rows.decoder_input_ids = rows.decoder_input_ids[:, :columns]
        return rows

    def to(self, device: torch.device | str) -> "ExampleBatch":
        """The batch on `device`."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def token_count(self) -> int:
        """Tokens without padding, of sources and targets: what throughput is counted in."""
        count = int(self.attention_mask.sum())
        if self.decoder_input_ids is not None:
            count += int((self.labels != IGNORED).sum())
        return count

    def _cut_inputs(self, width: int, columns: int) -> None:
        tags = self.decoder_input_ids is None and self.labels.shape[1:] == (width,)
        self.input_ids = self.input_ids[:, :columns]
        self.attention_mask = self.attention_mask[:, :columns]
        if self.token_type_ids is not None:
            self.token_type_ids = self.token_type_ids[:, :columns]
        if tags:
            self.labels = self.labels[:, :columns]

    def _map(self, change: Callable[[Tensor], Tensor]) -> "ExampleBatch":
        values = (getattr(self, field.name) for field in fields(self))
        return ExampleBatch(*(None if value is None else change(value) for value in values))  # type: ignore[arg-type]


def _last_used(used: Tensor) -> int:
    """One more than the last column of (B, T) bool that any row uses; at least 1."""
    columns = used.any(dim=0).nonzero()
    return int(columns[-1]) + 1 if len(columns) else 1


@dataclass
class Examples:
    """N encoded examples, flat and mapped from files; nothing is read until it is used.

    Args:
        task: as in `corpora.catalog.Task`.
        pad_token_id: what fills short rows.
        input_ids: (tokens,) the ids of all examples, one after the other.
        starts: (N + 1,) int64 where each example begins; the last entry is the number of tokens.
        labels: (N,) classes or numbers; (N, 2) spans; (tokens,) tags beside the ids; (targets,)
            target ids of sequence to sequence.
        label_starts: (N + 1,) where each example's targets begin; sequence to sequence only.
        token_types: (tokens,) uint8, or None without pairs.
        rows: (N,) the row of the dataset that each example was made from.
        places: (tokens, 2) int32: for span answers the characters of the context that a token
            covers, (-1, -1) outside it; for tags the number of the word that a token begins, -1
            elsewhere, in the first column; None for other tasks.
        decoder_start_token_id: first input of a decoder.
    """

    task: Task
    pad_token_id: int
    input_ids: NDArray[Any]
    starts: NDArray[np.int64]
    labels: NDArray[Any]
    rows: NDArray[np.int64]
    label_starts: NDArray[np.int64] | None = None
    token_types: NDArray[np.uint8] | None = None
    places: NDArray[np.int32] | None = None
    decoder_start_token_id: int | None = None

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,) tokens of each example, without targets."""
        return np.diff(self.starts)

    @property
    def target_lengths(self) -> NDArray[np.int64]:
        """(N,) target tokens of each example; 0 where the task has none."""
        if self.label_starts is None:
            return np.zeros(len(self), np.int64)
        return np.diff(self.label_starts)

    def word_labels(self) -> list[list[int]]:
        """Of a tagging task, for each example the tags of its words, in order."""
        rows = (self._tokens(self.labels, i) for i in range(len(self)))
        return [row[row != IGNORED].tolist() for row in rows]

    def spread(self, most: int) -> "Examples":
        """At most `most` examples, evenly spread over all."""
        if len(self) <= most:
            return self
        return self.take(np.arange(most) * len(self) // most)

    def take(self, indices: NDArray[np.int64]) -> "Examples":
        """The chosen examples, copied, in the order given."""
        flat = np.concatenate([np.arange(self.starts[i], self.starts[i + 1]) for i in indices])
        starts = np.concatenate([[0], np.cumsum(self.lengths[indices])])
        labels, label_starts = self.labels[indices] if self.task not in _FLAT else None, None
        if self.task == "tagging":
            labels = self.labels[flat]
        elif self.label_starts is not None:
            begins = self.label_starts
            labels = np.concatenate([self.labels[begins[i] : begins[i + 1]] for i in indices])
            label_starts = np.concatenate([[0], np.cumsum(self.target_lengths[indices])])
        assert labels is not None
        return replace(
            self,
            input_ids=self.input_ids[flat],
            starts=starts,
            labels=labels,
            rows=self.rows[indices],
            label_starts=label_starts,
            token_types=None if self.token_types is None else self.token_types[flat],
            places=None if self.places is None else self.places[flat],
        )

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> ExampleBatch:
        """The chosen examples, padded on the right to the longest of them."""
        ids = [self._tokens(self.input_ids, i) for i in indices]
        types = self.token_types
        decoder_input_ids = None
        if self.label_starts is not None:
            starts, flat = self.label_starts, self.labels
            targets = [flat[starts[i] : starts[i + 1]] for i in indices]
            labels = _padded(targets, IGNORED)
            decoder_input_ids = shifted_right(labels, self._start(), self.pad_token_id)
        elif self.task == "tagging":
            labels = _padded([self._tokens(self.labels, i) for i in indices], IGNORED)
        else:
            labels = torch.from_numpy(np.array(self.labels[np.asarray(indices)]))
            labels = labels.float() if self.task == "regression" else labels.long()
        return ExampleBatch(
            input_ids=_padded(ids, self.pad_token_id),
            attention_mask=_padded([np.ones(len(row), np.int64) for row in ids], 0),
            labels=labels,
            token_type_ids=None
            if types is None
            else _padded([self._tokens(types, i) for i in indices], 0),
            decoder_input_ids=decoder_input_ids,
        )

    def _tokens(self, flat: NDArray[Any], index: int) -> NDArray[Any]:
        return flat[self.starts[index] : self.starts[index + 1]]

    def _start(self) -> int:
        assert self.decoder_start_token_id is not None
        return self.decoder_start_token_id


def shifted_right(labels: Tensor, start_token_id: int, pad_token_id: int) -> Tensor:
    """(B, U) decoder inputs: the start token, then every target but the last.

    Args:
        labels: (B, U) int64 targets, -100 on padding.
        start_token_id: what a decoder is started with.
        pad_token_id: takes the place of -100.
    """
    shifted = torch.full_like(labels, start_token_id)
    shifted[:, 1:] = labels[:, :-1].masked_fill(labels[:, :-1] == IGNORED, pad_token_id)
    return shifted


def _padded(rows: Sequence[NDArray[Any]], filler: int) -> Tensor:
    """(B, longest) int64, short rows filled on the right."""
    width = max((len(row) for row in rows), default=0)
    table = np.full((len(rows), max(1, width)), filler, np.int64)
    for place, row in enumerate(rows):
        table[place, : len(row)] = row
    return torch.from_numpy(table)


def write(
    splits: Mapping[str, Examples], folder: Path, *, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Write encoded splits as .npy files below `folder`, with a metadata.json.

    Args:
        splits: at least one.
        folder: where to; its parent's step publishes it when it is whole.
        extra: more metadata: `labels`, `vocab_size`, ...

    Returns:
        the metadata that was written.
    """
    first = next(iter(splits.values()))
    metadata: dict[str, Any] = {
        "task": first.task,
        "pad_token_id": first.pad_token_id,
        "decoder_start_token_id": first.decoder_start_token_id,
        **extra,
        "splits": {},
    }
    for name, examples in splits.items():
        with disk_errors(folder / name):
            (folder / name).mkdir(parents=True, exist_ok=True)
            for array in _ARRAYS:
                values = getattr(examples, array)
                if values is not None:
                    np.save(folder / name / f"{array}.npy", values)
        metadata["splits"][name] = {
            "examples": len(examples),
            "tokens": int(examples.starts[-1]),
            "target_tokens": int(examples.target_lengths.sum()),
            "longest": int(examples.lengths.max(initial=0)),
            "longest_target": int(examples.target_lengths.max(initial=0)),
        }
    write_json(folder / "metadata.json", metadata)
    return metadata


def read_metadata(folder: Path) -> dict[str, Any]:
    """What `write` noted: task, labels, vocab_size, ...; per split examples, tokens, longest.

    Raises:
        LmwrightError: if the file is missing or is of another kind.
    """
    metadata = read_json(Path(folder) / "metadata.json")
    if not isinstance(metadata, dict) or not {"task", "splits"} <= metadata.keys():
        raise LmwrightError(f"{folder} is not a folder of encoded examples")
    return metadata


def open(folder: Path, split: str) -> Examples:
    """Map one split of a folder that `write` wrote.

    Raises:
        LmwrightError: if there is no such split, or a file is missing or truncated.
    """
    metadata = read_metadata(folder)
    if split not in metadata["splits"]:
        raise LmwrightError(f"{folder} has no split {split!r}")
    arrays = {name: _map(Path(folder) / split / f"{name}.npy") for name in _ARRAYS}
    for name in ("input_ids", "starts", "labels", "rows"):
        if arrays[name] is None:
            raise LmwrightError(f"{Path(folder) / split / name}.npy does not exist")
    examples = Examples(
        task=metadata["task"],
        pad_token_id=metadata["pad_token_id"],
        decoder_start_token_id=metadata["decoder_start_token_id"],
        **arrays,  # type: ignore[arg-type]
    )
    told = metadata["splits"][split]
    if (len(examples), len(examples.input_ids)) != (told["examples"], told["tokens"]):
        raise LmwrightError(f"{Path(folder) / split} does not hold what its metadata.json says")
    return examples


def _map(file: Path) -> NDArray[Any] | None:
    if not file.exists():
        return None
    try:
        array: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise LmwrightError(f"{file} is damaged or truncated: {error}") from error
    return array
