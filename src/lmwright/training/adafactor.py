"""Adafactor: second moments of rows and columns in place of entries (Shazeer & Stern 2018).

PyTorch's own leaves the paper in two places that change small gradients: it adds no constant to
the squares (algorithm 4, line 6) and decays weights by the rate before it is scaled.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class Adafactor(torch.optim.Optimizer):
    """W -= rate * U / max(1, RMS(U) / clip), with U = g / sqrt(V): algorithms 4 and 5, no momentum.

    V = R C / mean(R) keeps one number per row and one per column of a matrix; of vectors it keeps
    all. b2 = 1 - t^decay_rate forgets nothing at first (section 7.2). Decay is decoupled, scaled
    by the rate.

    Args:
        params: parameters, or groups of them.
        lr: the relative rate rho_t, or with `relative_step` the most that it may be.
        decay_rate: exponent of the second moment's memory, below 0.
        clip: largest RMS of an update (section 6).
        epsilon: added to squared gradients; smallest scale of a parameter.
        weight_decay: decoupled.
        scale_by_parameter: rate = max(epsilon[1], RMS(W)) * rho_t, section 8; otherwise rho_t.
        relative_step: rho_t = min(lr, 1 / sqrt(t)), the paper's own schedule.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-2,
        *,
        decay_rate: float = -0.8,
        clip: float = 1.0,
        epsilon: tuple[float, float] = (1e-30, 1e-3),
        weight_decay: float = 0.0,
        scale_by_parameter: bool = True,
        relative_step: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "decay_rate": decay_rate,
            "clip": clip,
            "epsilon": epsilon,
            "weight_decay": weight_decay,
            "scale_by_parameter": scale_by_parameter,
            "relative_step": relative_step,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state.update(_fresh_state(parameter))
        state["step"] += 1
        time = float(state["step"])
        memory = 1.0 - time ** group["decay_rate"]
        update = gradient * _inverse_root(state, gradient.square() + group["epsilon"][0], memory)
        update /= (_rms(update) / group["clip"]).clamp_min(1.0)
        rate = min(group["lr"], time**-0.5) if group["relative_step"] else group["lr"]
        if group["scale_by_parameter"]:
            rate = _rms(parameter).clamp_min(group["epsilon"][1]) * rate
        if group["weight_decay"]:
            parameter.mul_(1 - rate * group["weight_decay"])
        parameter.sub_(update * rate)


def _fresh_state(parameter: Tensor) -> dict[str, Tensor]:
    """Second moments of a matrix's rows and columns, or of a vector's entries; all zero."""
    step = torch.zeros(())
    if parameter.ndim < 2:
        return {"step": step, "entries": torch.zeros_like(parameter)}
    rows = torch.zeros_like(parameter[..., 0])
    return {"step": step, "rows": rows, "columns": torch.zeros_like(parameter[..., 0, :])}


def _inverse_root(state: dict[str, Tensor], squares: Tensor, memory: float) -> Tensor:
    """1 / sqrt(V) of the parameter's shape, after `squares` were taken into the second moment."""
    if "entries" in state:
        return state["entries"].lerp_(squares, 1.0 - memory).rsqrt()
    rows = state["rows"].lerp_(squares.mean(-1), 1.0 - memory)
    columns = state["columns"].lerp_(squares.mean(-2), 1.0 - memory)
    # Two roots, not one of the product: squares of small gradients would underflow.
    shares = (rows / rows.mean(-1, keepdim=True)).rsqrt()
    return shares[..., None] * columns.rsqrt()[..., None, :]


def _rms(x: Tensor) -> Tensor:
    return x.square().mean().sqrt()
