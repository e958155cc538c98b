"""RMSNorm (Zhang and Sennrich 2019, Root Mean Square Layer Normalization, equation 4)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """Divide by the root mean square over the last dimension, then scale by a learned weight.

    Args:
        size: length of the last dimension.
        eps: added to the mean square before the root.
    """

    def __init__(self, size: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (..., size) -> (..., size) in the dtype of `x`."""
        # The sum of squares overflows or loses digits in half precision: statistics are fp32. The
        # weight comes after rounding back, where published models were trained to have it.
        normalized = F.rms_norm(x.float(), self.weight.shape, eps=self.eps).to(x.dtype)
        return (normalized * self.weight).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, eps={self.eps}"
