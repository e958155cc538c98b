"""Muon (Jordan et al. 2024): momentum whose every update is made orthogonal."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

# Polar Express (Amsel et al. 2025, algorithm 1, the authors' list for singular values >= 1e-3):
# each step is the best odd quintic for what the last one left, so five steps do what Newton-Schulz
# with fixed coefficients needs more for.
_POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
)

# All but the last step are made 1 % safer, as the authors do: rounding in bf16 may push singular
# values above 1, where the polynomials of later steps grow fast.
_SAFETY = 1.01
POLAR_EXPRESS = (
    *((a / _SAFETY, b / _SAFETY**3, c / _SAFETY**5) for a, b, c in _POLAR_EXPRESS[:-1]),
    _POLAR_EXPRESS[-1],
)


def orthogonalize(matrices: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The nearest semi-orthogonal matrix of each: U V^T of its singular value decomposition.

    Args:
        matrices: (N, R, C).
        dtype: of the products; bf16 is precise enough, and faster on some processors only.

    Returns:
        (N, R, C) in the input's dtype; singular values that were above 0.02 of the Frobenius norm
        come out within 0.85..1.15.
    """
    x = matrices.to(dtype)
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    # The coefficients hold for a spectral norm of at most 1.
    x = x / (x.norm(dim=(1, 2), keepdim=True) * _SAFETY + 1e-7)
    for a, b, c in POLAR_EXPRESS:
        gram = x @ x.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised (Jordan et al. 2024, "Muon").

    W -= lr * sqrt(max(1, R / C)) * orthogonalize(g + momentum * m), with m = momentum * m + g,
    and decoupled weight decay. Matrices of one shape are orthogonalised in one batch.

    Args:
        params: matrices (R, C), or stacks of them (E, R, C) as the experts of one layer are kept.
        lr: the spectral norm of an update.
        momentum: of the Nesterov kind.
        weight_decay: decoupled, scaled by `lr`.
        dtype: of the products, see `orthogonalize`.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.shape].append(parameter)
            for parameters in by_shape.values():
                self._update(parameters, group)

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
        for parameter in parameters:
            if "momentum" not in self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        moments = [self.state[p]["momentum"] for p in parameters]
        torch._foreach_mul_(moments, group["momentum"])
        torch._foreach_add_(moments, gradients)
        looked_ahead = torch._foreach_add(gradients, moments, alpha=group["momentum"])
        stack = torch.stack(list(looked_ahead))
        rows, columns = stack.shape[-2:]
        directions = orthogonalize(stack.reshape(-1, rows, columns), self.dtype).view_as(stack)
        size = group["lr"] * max(1.0, rows / columns) ** 0.5
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, list(directions.unbind()), alpha=-size)
