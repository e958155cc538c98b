"""RMSNorm with its sum of squares as a dot product of each vector with itself."""

import torch
from torch import Tensor

REPLACES = "lmwright.models.layers.norms:rms_norm"


def rms_norm(x: Tensor, weight: Tensor, eps: float, plus_one: bool = False) -> Tensor:
    kind = torch.float64 if x.dtype == torch.float64 else torch.float32
    vectors = x.to(kind)
    mean_square = torch.einsum("...d,...d->...", vectors, vectors) / vectors.shape[-1]
    scale = 1 / (mean_square + eps).sqrt()
    gain = 1 + weight.to(kind) if plus_one else weight.to(kind)
    return (vectors * scale.unsqueeze(-1) * gain).to(x.dtype)
