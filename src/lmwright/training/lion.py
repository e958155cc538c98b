"""Lion: sign of an interpolated momentum (Chen et al. 2023, algorithm 2)."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class Lion(torch.optim.Optimizer):
    """W -= lr * (sign(b1 * m + (1 - b1) * g) + weight_decay * W), then m = b2 * m + (1 - b2) * g.

    Every entry moves by `lr` whatever its gradient: a learning rate 3 to 10 times smaller than
    AdamW's and a decay as much larger come out alike (section 5 of the paper).

    Args:
        params: parameters, or groups of them.
        lr: size of every entry's step.
        betas: share of the momentum in the update, and in what is remembered.
        weight_decay: decoupled, scaled by `lr`.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1.2e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            for parameter in parameters:
                if "momentum" not in self.state[parameter]:
                    self.state[parameter]["momentum"] = torch.zeros_like(parameter)
            gradients = [p.grad for p in parameters if p.grad is not None]
            moments = [self.state[p]["momentum"] for p in parameters]
            now, later = group["betas"]
            directions = torch._foreach_lerp(gradients, moments, now)
            torch._foreach_sign_(directions)
            if group["weight_decay"]:
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(parameters, directions, alpha=-group["lr"])
            torch._foreach_lerp_(moments, gradients, 1 - later)
