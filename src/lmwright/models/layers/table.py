"""The table that gives each id its vector."""

import torch
from torch import nn


def embedding_table(rows: int, width: int) -> nn.Embedding:
    """(rows, width) vectors, drawn as torch draws them, or not at all on the meta device.

    There torch would draw them through its decompositions, whose import takes over a second: a
    third of the time in which a small model starts to be served.
    """
    weight = torch.empty(rows, width)
    if weight.is_meta:
        return nn.Embedding(rows, width, _weight=weight)
    return nn.Embedding(rows, width)
