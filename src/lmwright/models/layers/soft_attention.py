"""Attention as it began: a decoder's state asks, the encoder's states answer.

Additive: Bahdanau et al. 2014, section 3.1 and appendix A.1.2. Dot and general: Luong et al. 2015,
section 3.1.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Additive(nn.Module):
    """score(q, m) = v tanh(W q + U m).

    Args:
        query_size: D.
        memory_size: M.
    """

    def __init__(self, query_size: int, memory_size: int) -> None:
        super().__init__()
        self.query_proj = nn.Linear(query_size, query_size, bias=False)
        self.memory_proj = nn.Linear(memory_size, query_size)
        self.score_proj = nn.Linear(query_size, 1, bias=False)

    def keys(self, memory: Tensor) -> Tensor:
        """(B, S, M) -> (B, S, D): the share of the score that no query changes, computed once."""
        keys: Tensor = self.memory_proj(memory)
        return keys

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """(B, U, D), (B, S, D) -> (B, U, S)."""
        mixed = torch.tanh(self.query_proj(queries)[:, :, None] + keys[:, None])
        scores: Tensor = self.score_proj(mixed).squeeze(-1)
        return scores


class Multiplicative(nn.Module):
    """score(q, m) = q W m, or q m where there is no W.

    Args:
        query_size: D.
        memory_size: M.
        general: whether there is W; without it M must be D.
    """

    def __init__(self, query_size: int, memory_size: int, *, general: bool) -> None:
        super().__init__()
        self.memory_proj = nn.Linear(memory_size, query_size, bias=False) if general else None

    def keys(self, memory: Tensor) -> Tensor:
        """(B, S, M) -> (B, S, D): W m, computed once."""
        if self.memory_proj is None:
            return memory
        keys: Tensor = self.memory_proj(memory)
        return keys

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """(B, U, D), (B, S, D) -> (B, U, S)."""
        return queries @ keys.transpose(1, 2)


def look(scores: Tensor, memory: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The memory's weighted mean.

    Args:
        scores: (B, U, S).
        memory: (B, S, M).
        mask: (B, S) bool, True where a source token is real.

    Returns:
        Contexts (B, U, M) and weights (B, U, S), which sum to 1 over the real tokens.
    """
    # The lowest number and not -inf: a row that is all padding gets even weights, not NaN.
    hidden = torch.finfo(scores.dtype).min
    weights = F.softmax(scores.masked_fill(~mask[:, None], hidden), dim=-1)
    return weights @ memory, weights
