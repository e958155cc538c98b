"""AdamW from its equations (Kingma and Ba 2015; Loshchilov and Hutter 2019, algorithm 2).

Slow, to be read: training uses torch's fused optimiser, to which this one is equal. Its state has
the names and types of torch's, so that one checkpoint serves both.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def adamw_step(
    parameter: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    step: int,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """One update of one parameter; nothing is written into.

    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * g^2
    p = p - lr * weight_decay * p - lr * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)

    Args:
        parameter: p, any shape.
        gradient: g, of that shape.
        first: m, running mean of the gradient; zeros before the first step.
        second: v, running mean of its square; zeros before the first step.
        step: t, the number of this step, from 1.
        lr: learning rate.
        betas: b1 and b2, shares of m and v that are kept.
        eps: added to the root, so that nothing is divided by zero.
        weight_decay: share of the parameter itself that `lr` takes away (decoupled: it never
            passes through m and v).

    Returns:
        parameter, first and second after the step.
    """
    kept_first, kept_second = betas
    first = torch.lerp(first, gradient, 1 - kept_first)
    second = torch.lerp(second, gradient.square(), 1 - kept_second)
    # Both began at zero and are too small at first, by just these factors.
    mean = first / (1 - kept_first**step)
    size = (second / (1 - kept_second**step)).sqrt()
    decayed = parameter * (1 - lr * weight_decay)
    return decayed - lr * mean / (size + eps), first, second


class AdamW(torch.optim.Optimizer):
    """`adamw_step` on every parameter that has a gradient.

    Args:
        params: parameters, or groups of them.
        lr, betas, eps, weight_decay: see `adamw_step`; defaults are torch's.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, settings)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            settings = {name: group[name] for name in ("lr", "betas", "eps", "weight_decay")}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, settings)

    def _update(self, parameter: Tensor, settings: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())  # a tensor, as torch has it
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        assert parameter.grad is not None
        updated = adamw_step(
            parameter.detach(),
            parameter.grad,
            state["exp_avg"],
            state["exp_avg_sq"],
            int(state["step"]),
            **settings,
        )
        targets = (parameter, state["exp_avg"], state["exp_avg_sq"])
        for target, value in zip(targets, updated, strict=True):
            target.copy_(value)
