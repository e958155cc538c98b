"""Batches mixed from several sources in fixed numbers of rows."""

from collections.abc import Iterator
from typing import Any

import torch

from lmwright.tokens.loader import Loader, TokenBatch


class Mixed:
    """Each batch joins one batch of every loader; rows of all have one length."""

    def __init__(self, loaders: list[Loader]) -> None:
        self.loaders = loaders

    def __iter__(self) -> Iterator[TokenBatch]:
        sources = [iter(loader) for loader in self.loaders]
        while True:
            yield join([next(source) for source in sources])

    def state_dict(self) -> dict[str, Any]:
        """Every loader's position."""
        return {"loaders": [loader.state_dict() for loader in self.loaders]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put every loader back to its position."""
        for loader, saved in zip(self.loaders, state["loaders"], strict=True):
            loader.load_state_dict(saved)


def join(batches: list[TokenBatch]) -> TokenBatch:
    """One batch of all the rows of `batches`, in order."""
    return TokenBatch(
        input_ids=torch.cat([b.input_ids for b in batches]),
        targets=torch.cat([b.targets for b in batches]),
        document_ids=torch.cat([b.document_ids for b in batches]),
        position_ids=torch.cat([b.position_ids for b in batches]),
    )
