"""Packed rows taken apart into one row for each document, and put together again."""

import torch
from torch import Tensor


class Documents:
    """Where the documents of packed rows lie.

    Args:
        document_ids: (B, T) integers, 0 where a token is padding; a run of equal ids is a document.
        attention_mask: (B, T), 0 where a token is padding too; None: as `document_ids` says.
    """

    def __init__(self, document_ids: Tensor, attention_mask: Tensor | None = None) -> None:
        if attention_mask is not None:
            document_ids = document_ids * (attention_mask != 0)
        self.real = document_ids != 0
        begins = self.real.clone()
        begins[:, 1:] &= document_ids[:, 1:] != document_ids[:, :-1]
        columns = torch.arange(document_ids.shape[1], device=document_ids.device)
        start = torch.where(begins, columns, 0).cummax(dim=1).values
        # Row and column of every real token in the rows of single documents.
        self.row = (begins.flatten().cumsum(0) - 1)[self.real.flatten()]
        self.column = (columns - start)[self.real]
        rows = int(begins.sum())
        width = int(self.column.max()) + 1 if rows else 0
        self.shape = (rows, width)
        self.mask = self.row.new_zeros(self.shape)
        """(N, L) int64: 1 where a token stands, 0 where its document has ended."""
        self.mask[self.row, self.column] = 1

    def apart(self, values: Tensor) -> Tensor:
        """(B, T, ...) -> (N, L, ...): N documents, each from column 0, zeros after its end."""
        result = values.new_zeros(self.shape + values.shape[2:])
        result[self.row, self.column] = values[self.real]
        return result

    def together(self, values: Tensor) -> Tensor:
        """(N, L, ...) -> (B, T, ...): every token's value where it lay, zeros on padding."""
        result = values.new_zeros(self.real.shape + values.shape[2:])
        result[self.real] = values[self.row, self.column]
        return result
