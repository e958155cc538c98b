"""Batches of labelled examples: what classifiers, taggers, readers and translators are fed."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from lmwright.tokens.packing import IGNORED


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
