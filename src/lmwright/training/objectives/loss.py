"""One aggregation for every objective: sums and weights, and the chunked cross-entropy under it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmwright.models.layers.experts import auxiliary_losses

if TYPE_CHECKING:
    from lmwright.tokens.loader import TokenBatch

IGNORED = -100
"""A target that is not trained, as in PyTorch's `ignore_index`."""

CHUNK = 1024
"""Tokens whose logits exist at once: 8 MB in fp32 for 2,048 classes, which stays in the cache."""

GRAIN = 256
"""Tokens are padded to a multiple of this: every new shape would have its kernels generated anew
and kept, 0.6 GB of them after some hundred steps whose number of trained tokens differs."""

AUXILIARY = ("load_balance_loss", "router_z_loss")
"""Of what experts report: the losses; the rest is for the log."""


@dataclass
class LossSum:
    """What an objective returns: sums, never means, so that micro-batches and ranks just add up."""

    loss: Tensor
    """Scalar: the sum of the loss over what `weight` counts; carries the gradient."""
    weight: float
    """How much was summed: trained tokens, pairs, ... ; the loop divides by the global total."""
    metrics: Mapping[str, Tensor | float] = field(default_factory=dict)
    """More sums over the same weight, for the log."""


class Batch(Protocol):
    """What the loop needs of a batch: rows that can be counted and cut, and their tokens."""

    def __len__(self) -> int: ...

    def slice(self, start: int, stop: int) -> "Batch": ...

    def token_count(self) -> int: ...


class Objective:
    """A training goal: turns a batch into a `LossSum`.

    An objective may own modules that are trained beside the model (a value head): return them from
    `module()`. What it must remember across a kill goes into `state_dict`.
    """

    def loss(self, model: nn.Module, batch: Any) -> LossSum:
        """The summed loss of one micro-batch."""
        raise NotImplementedError

    def module(self) -> nn.Module | None:
        """Parameters of the objective's own, trained and saved with the model's."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """JSON-serialisable state."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave."""


@dataclass(frozen=True)
class _Rule:
    """How logits become a loss."""

    dtype: torch.dtype
    """Of the products."""
    label_smoothing: float
    soft_cap: float | None


class _LinearCrossEntropy(torch.autograd.Function):
    """Cross-entropy of `hidden @ weight.T`; the gradient is formed while a chunk's logits exist."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, rule: _Rule
    ) -> Tensor:
        rows, matrix = hidden.to(rule.dtype), weight.to(rule.dtype)
        sum_dtype = torch.promote_types(rule.dtype, torch.float32)
        total = torch.zeros((), dtype=sum_dtype, device=hidden.device)
        needs_gradient = any(ctx.needs_input_grad[:3])
        grad_rows = grad_matrix = grad_bias = None
        if needs_gradient:
            grad_rows = torch.empty_like(rows)
            grad_matrix = torch.zeros_like(matrix, dtype=sum_dtype)
            grad_bias = None if bias is None else torch.zeros_like(bias, dtype=sum_dtype)
        for start in range(0, len(targets), CHUNK):
            chunk, goal = rows[start : start + CHUNK], targets[start : start + CHUNK, None]
            part, grad_logits = _cross_entropy(
                _logits(chunk, matrix, bias, sum_dtype), goal, rule, needs_gradient
            )
            total += part
            if grad_rows is None or grad_matrix is None or grad_logits is None:
                continue
            if grad_bias is not None:
                grad_bias += grad_logits.sum(0)
            grad_logits = grad_logits.to(rule.dtype)
            torch.mm(grad_logits, matrix, out=grad_rows[start : start + CHUNK])
            grad_matrix += grad_logits.T @ chunk
        if needs_gradient:
            ctx.save_for_backward(grad_rows, grad_matrix, grad_bias)
        ctx.dtypes = (hidden.dtype, weight.dtype, None if bias is None else bias.dtype)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (upstream,) = grads
        found = zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        scaled = (None if g is None else (g * upstream).to(dtype) for g, dtype in found)
        return (*scaled, None, None)


def _logits(chunk: Tensor, matrix: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    logits = (chunk @ matrix.T).to(dtype)
    return logits if bias is None else logits.add_(bias)


def _cross_entropy(
    logits: Tensor, goal: Tensor, rule: _Rule, needs_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """Summed loss of (N, V) logits for (N, 1) classes, and its gradient by the logits."""
    counted = (goal != IGNORED).to(logits.dtype)
    goal = goal.clamp_min(0)
    slope = None
    if rule.soft_cap is not None:
        bent = (logits / rule.soft_cap).tanh_()
        logits = rule.soft_cap * bent
        slope = 1.0 - bent.square()
    log_p = F.log_softmax(logits, dim=-1)
    del logits  # the caller keeps none either: one chunk of this size fits into the cache, not two
    smoothed = rule.label_smoothing
    loss = -(log_p.gather(1, goal) * counted).sum()
    if smoothed:
        loss = (1.0 - smoothed) * loss - smoothed * (log_p.mean(1, keepdim=True) * counted).sum()
    if not needs_gradient:
        return loss, None
    # d loss / d logits = softmax - (smoothed) one_hot
    gradient = log_p.exp_()
    gradient.scatter_add_(1, goal, torch.full_like(goal, smoothed - 1.0, dtype=gradient.dtype))
    if smoothed:
        gradient -= smoothed / gradient.shape[1]
    if slope is not None:
        gradient *= slope
    return loss, gradient.mul_(counted)


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None = None,
    *,
    label_smoothing: float = 0.0,
    soft_cap: float | None = None,
) -> Tensor:
    """Summed cross-entropy of a linear layer's logits, never holding more than a chunk of them.

    Args:
        hidden: (N, D) final hidden states.
        weight: (V, D) output embedding.
        targets: (N,) int64 classes; `IGNORED` ones count nothing.
        bias: (V,) of the output; None: none.
        label_smoothing: share of a target's probability that all V classes divide among them
            (Szegedy et al. 2016, section 7); 0..1.
        soft_cap: logits are bent into (-soft_cap, soft_cap) by tanh; None: not.

    Returns:
        Scalar in fp32 (fp64 for fp64 input): sum over N of -log softmax(hidden @ weight.T)[target].
        Its gradient is in the inputs' dtypes; under autocast the products are in autocast's dtype.
    """
    device = hidden.device.type
    autocast = torch.is_autocast_enabled(device)
    dtype = torch.get_autocast_dtype(device) if autocast else hidden.dtype
    with torch.autocast(device, enabled=False):
        total: Tensor = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
            hidden, weight, bias, targets, _Rule(dtype, label_smoothing, soft_cap)
        )
        return total


def trained_rows(hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, int]:
    """The states that have a target: only they go through the output matrix.

    Args:
        hidden: (B, T, D) final hidden states.
        targets: (B, T) int64, `IGNORED` where nothing is trained.

    Returns:
        (N, D) states, (N,) targets, and the number of them that count; the rest is padding to a
        multiple of `GRAIN`, without a target.
    """
    flat = targets.reshape(-1)
    kept = (flat != IGNORED).nonzero().squeeze(1)
    padding = -len(kept) % GRAIN
    chosen = F.pad(flat.index_select(0, kept), (0, padding), value=IGNORED)
    rows = hidden.reshape(-1, hidden.shape[-1]).index_select(0, F.pad(kept, (0, padding)))
    return rows, chosen, len(kept)


def next_token_loss(model: Any, batch: "TokenBatch", targets: Tensor | None = None) -> LossSum:
    """Cross-entropy over the batch's trained targets: the body of `causal_lm` and of `sft`.

    Args:
        model: a decoder.
        batch: rows with `targets` of -100 where nothing is trained.
        targets: (B, T) int64 in place of the batch's own.

    Returns:
        Sum of nats over trained tokens, and their number.
    """
    hidden = model.hidden_states(
        batch.input_ids, position_ids=batch.position_ids, document_ids=batch.document_ids
    )
    # Two thirds of a chat's tokens have no target.
    rows, chosen, trained = trained_rows(hidden, batch.targets if targets is None else targets)
    return output_loss(model, rows, chosen, trained)


def output_loss(
    model: Any, rows: Tensor, targets: Tensor, trained: int, label_smoothing: float = 0.0
) -> LossSum:
    """Cross-entropy through a model's output layer, with its experts' own losses in training.

    Args:
        model: with `output_weight`, and perhaps `output_bias`.
        rows: (N, D) final hidden states.
        targets: (N,) int64 classes; `IGNORED` ones count nothing.
        trained: how many of them count; the weight of the result.
        label_smoothing: see `linear_cross_entropy`.
    """
    loss = linear_cross_entropy(
        rows,
        model.output_weight,
        targets,
        getattr(model, "output_bias", None),
        label_smoothing=label_smoothing,
        soft_cap=getattr(model.config, "final_logit_soft_cap", None),
    )
    return with_auxiliary(model, LossSum(loss, float(trained)))


def with_auxiliary(model: nn.Module, result: LossSum) -> LossSum:
    """Add what a mixture of experts is trained on beside the task, and report it.

    The experts' losses are means over the tokens of one forward pass, so they count once for every
    token of the weight. Load balance is judged within a micro-batch: it alone is not the same
    however a batch is cut. In evaluation there is nothing to add.
    """
    found = auxiliary_losses(model)
    if not found:
        return result
    added = sum(found[name] for name in AUXILIARY)
    metrics = {name: value.detach() * result.weight for name, value in found.items()}
    return LossSum(
        result.loss + added * result.weight, result.weight, {**result.metrics, **metrics}
    )
