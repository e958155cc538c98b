"""Mixture of experts: each token passes through k of E feed-forward layers.

Shazeer et al. 2017 (Outrageously Large Neural Networks, section 2), in the form that transformers
use since GShard (Lepikhin et al. 2020, section 2.2): Switch Transformers (k = 1), GLaM (every
other layer), Mixtral (k = 2, no expert refuses a token), the shared experts of DeepSeekMoE (Dai et
al. 2024, section 3.2), and the gate that Qwen2-MoE puts before them.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmwright.models.config import TransformerConfig
from lmwright.models.layers.feed_forward import FeedForward
from lmwright.models.layers.grouped import activate, grouped_feed_forward
from lmwright.models.layers.routing import (
    Dispatch,
    Routing,
    demand,
    dispatch,
    load_balance_loss,
    route,
    router_z_loss,
)


class Experts(nn.Module):
    """sum_i w_i expert_i(x) over a token's k experts, and the shared expert where there is one.

    A token that all of its experts refuse gets 0 from them: the residual stream carries it past.

    Args:
        config: the model's shape, with `config.experts`.
    """

    statistics: dict[str, Tensor]
    """Of the last forward pass, if that was in training; see `auxiliary_losses`."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        assert config.experts is not None
        self.settings = config.experts
        self.activation = config.activation
        number, hidden = self.settings.num_experts, config.hidden_size
        inner = self.settings.intermediate_size
        self.router = nn.Linear(hidden, number, bias=False)
        self.gate_proj: nn.Parameter | None = None
        if config.gated:
            self.gate_proj = nn.Parameter(torch.empty(number, inner, hidden))
        self.up_proj = nn.Parameter(torch.empty(number, inner, hidden))
        self.down_proj = nn.Parameter(torch.empty(number, hidden, inner))
        self.shared: FeedForward | None = None
        if self.settings.shared_intermediate_size is not None:
            self.shared = FeedForward(config, self.settings.shared_intermediate_size)
        self.shared_gate: nn.Linear | None = None
        if self.settings.shared_gate:
            self.shared_gate = nn.Linear(hidden, 1, bias=False)
        self.statistics = {}
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the experts' weights as `nn.Linear` draws its own."""
        for weight in (self.gate_proj, self.up_proj, self.down_proj):
            if weight is not None:
                nn.init.uniform_(weight, -(weight.shape[-1] ** -0.5), weight.shape[-1] ** -0.5)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (B, T, D) to (B, T, D), each token on its own, but for a capacity.

        Args:
            x: (B, T, D).
            mask: (B, T) bool, False where a token is padding: no expert sees it, and no statistic
                or capacity counts it.
        """
        tokens = x.reshape(-1, x.shape[-1])
        real = None if mask is None else mask.reshape(-1)
        settings = self.settings
        routing = route(
            self.router_logits(tokens),
            settings.num_experts_per_tok,
            settings.normalize_weights,
            settings.capacity_factor,
            real,
        )
        if settings.rounded_weights:
            routing = routing._replace(weights=routing.weights.to(tokens.dtype))
        plan = dispatch(routing.experts, settings.num_experts, routing.taken)
        self.statistics = self._statistics(routing, plan, real) if self.training else {}
        # Where every token goes to every expert there is nothing to sort.
        every = settings.num_experts_per_tok == settings.num_experts
        output = (self.dense if every else self.grouped)(tokens, routing, plan)
        if self.shared is not None:
            shared = self.shared(tokens)
            if self.shared_gate is not None:
                shared = self.shared_gate(tokens).sigmoid() * shared
            output = output + shared
        return output.view(x.shape)

    def router_logits(self, tokens: Tensor) -> Tensor:
        """(N, E) of tokens (N, D), in float32, computed in the precision of the router's weights.

        Trained weights are float32, and so is the routing, whatever autocast says: rounded to
        bfloat16, near ties would send tokens elsewhere (Switch Transformers, 2.4). A model held in
        bfloat16 chooses as its publishers' code does.
        """
        weight = self.router.weight
        with torch.autocast(tokens.device.type, enabled=False):
            logits = F.linear(tokens.to(weight.dtype), weight)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def dense(self, tokens: Tensor, routing: Routing, plan: Dispatch) -> Tensor:
        """Every expert on every token, weighed by 0 where it was not chosen: the definition.

        E / k times the work of `grouped`, whose result it shares.

        Args:
            tokens: (N, D).
            routing: what the router said of them.
            plan: who takes them.

        Returns:
            (N, D).
        """
        taken = plan.rows < plan.ends[-1]  # (k, N)
        factors = torch.zeros_like(routing.probabilities, dtype=routing.weights.dtype)
        factors = factors.scatter(1, routing.experts, routing.weights * taken.t())  # (N, E)
        tokens, inward, down = self._operands(tokens)
        before = [torch.einsum("nd,eid->nei", tokens, weight) for weight in inward]
        output = torch.einsum("nei,edi->ned", activate(before, self.activation), down)
        return (output * factors[:, :, None]).sum(1).to(tokens.dtype)

    def grouped(self, tokens: Tensor, routing: Routing, plan: Dispatch) -> Tensor:
        """Each expert on the tokens that it takes; same arguments and result as `dense`."""
        tokens, inward, down = self._operands(tokens)
        choices, number = plan.rows.shape
        rows = _take(tokens, plan.order % number, plan.rows)
        output = grouped_feed_forward(rows, plan.ends, inward, down, self.activation)
        chosen = _take(output, plan.rows.view(-1), plan.order[None])
        weighted = chosen.view(choices, number, -1) * routing.weights.t()[:, :, None]
        return _sum(weighted).to(tokens.dtype)

    def _operands(self, tokens: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """Tokens, [gate and] up, and down, in the type that `nn.Linear` would multiply them in."""
        dtype, device = tokens.dtype, tokens.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        inward = [w.to(dtype) for w in (self.gate_proj, self.up_proj) if w is not None]
        return tokens.to(dtype), inward, self.down_proj.to(dtype)

    def _statistics(
        self, routing: Routing, plan: Dispatch, real: Tensor | None
    ) -> dict[str, Tensor]:
        settings = self.settings
        wanted = demand(routing.experts, settings.num_experts, real)
        total = wanted.sum()
        balance = load_balance_loss(routing.probabilities, wanted, real)
        return {
            "load_balance_loss": settings.load_balance_coefficient * balance,
            "router_z_loss": settings.z_coefficient * router_z_loss(routing.logits, real),
            "dropped_assignments": (total - plan.ends[-1]) / total.clamp(min=1),
            "expert_load_max": settings.num_experts * wanted.amax() / total.clamp(min=1),
        }

    def __getstate__(self) -> dict[str, Any]:
        # The graph that statistics hang on cannot be copied, and nobody wants it in a file.
        return self.__dict__ | {"statistics": {}}

    def extra_repr(self) -> str:
        number, hidden, inner = self.down_proj.shape
        return f"{number} x ({hidden}, {inner}), k={self.settings.num_experts_per_tok}"


def _take(rows: Tensor, index: Tensor, back: Tensor) -> Tensor:
    """rows[index] whose gradient, too, is taken, not scattered: repeatable and parallel.

    Args:
        rows: (M, D).
        index: (N,), each row as often as any other.
        back: (N / M, M), where each row went.
    """
    taken: Tensor = _Take.apply(rows, index, back)  # type: ignore[no-untyped-call]
    return taken


class _Take(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return rows[index]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (back,) = ctx.saved_tensors
        return _sum(grad[back]), None, None


def _sum(parts: Tensor) -> Tensor:
    """parts.sum(0) of (k, N, D), one after another.

    The library's own takes twice as long, and in bfloat16 ten times (2 x 1,024 x 512, Zen 5).
    """
    total, *others = parts.unbind()
    for other in others:
        total = total + other
    return total


def auxiliary_losses(model: nn.Module) -> dict[str, Tensor]:
    """What the experts of all layers have to say about the model's last forward pass in training.

    Args:
        model: any module; only its `Experts` are asked.

    Returns:
        Scalars; {} without experts, or after a pass in evaluation. To be added to the loss, times
        their coefficients and summed over layers: `load_balance_loss`, `router_z_loss`. To be
        watched, without a gradient: `dropped_assignments`, the share of all assignments that
        found their expert full; `expert_load_max`, the number of assignments that the most wanted
        expert of all was wanted for, in units of the mean (1: even, E / k: k experts get all).
    """
    layers = [m.statistics for m in model.modules() if isinstance(m, Experts) and m.statistics]
    if not layers:
        return {}
    stacked = {name: torch.stack([layer[name] for layer in layers]) for name in layers[0]}
    return {
        "load_balance_loss": stacked["load_balance_loss"].sum(),
        "router_z_loss": stacked["router_z_loss"].sum(),
        "dropped_assignments": stacked["dropped_assignments"].mean(),
        "expert_load_max": stacked["expert_load_max"].amax(),
    }
