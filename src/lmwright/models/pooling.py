"""One vector for a sequence out of those of its tokens."""

import torch
from torch import Tensor

from lmwright.core.errors import LmwrightError
from lmwright.models.config import TransformerConfig


def pool(
    hidden: Tensor, input_ids: Tensor, attention_mask: Tensor | None, config: TransformerConfig
) -> Tensor:
    """One of (or the mean over) the positions of a sequence, by the head's `pooling`.

    Args:
        hidden: (B, T, C).
        input_ids: (B, T).
        attention_mask: (B, T), 0 where a token is padding; None: nothing is.
        config: its head and its special tokens.

    Returns:
        (B, C).

    Raises:
        LmwrightError: if the end-of-sequence token speaks for a sequence that has none.
    """
    assert config.head is not None
    pooling = config.head.pooling
    if pooling == "first":
        return hidden[:, 0]
    if pooling == "mean":
        if attention_mask is None:
            return hidden.mean(dim=1)
        weights = attention_mask.to(hidden.dtype)[:, :, None]
        return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
    place = torch.arange(input_ids.shape[1], device=input_ids.device)
    if pooling == "eos":
        ends = config.eos_token_id
        assert ends is not None, "a head that pools at the end token needs an eos_token_id"
        counted = torch.isin(input_ids, torch.tensor(ends, device=input_ids.device))
        if not bool(counted.any(dim=1).all()):
            raise LmwrightError(
                "a row of input_ids has no end-of-sequence token, which speaks for the sequence",
                hint=f"end every sequence with the token {ends}",
            )
    elif config.pad_token_id is not None:
        counted = input_ids != config.pad_token_id  # the reference's rule, mask or not
    elif attention_mask is not None:
        counted = attention_mask.bool()
    else:
        counted = torch.ones_like(input_ids, dtype=torch.bool)
    last = (place * counted).amax(dim=1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last]
