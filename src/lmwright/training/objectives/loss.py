"""One aggregation for every objective: sums and weights, and the chunked cross-entropy under it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from lmwright.tokens.loader import TokenBatch

IGNORED = -100
"""A target that is not trained, as in PyTorch's `ignore_index`."""

CHUNK = 1024
"""Tokens whose logits exist at once: 8 MB in fp32 for 2,048 classes, which stays in the cache."""

GRAIN = 256
"""Tokens are padded to a multiple of this: every new shape would have its kernels generated anew
and kept, 0.6 GB of them after some hundred steps whose number of trained tokens differs."""


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


class _LinearCrossEntropy(torch.autograd.Function):
    """Cross-entropy of `hidden @ weight.T`; the gradient is formed while a chunk's logits exist."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, compute_dtype: torch.dtype
    ) -> Tensor:
        rows, matrix = hidden.to(compute_dtype), weight.to(compute_dtype)
        sum_dtype = torch.promote_types(compute_dtype, torch.float32)
        total = torch.zeros((), dtype=sum_dtype, device=hidden.device)
        needs_gradient = any(ctx.needs_input_grad[:2])
        grad_rows = torch.empty_like(rows) if needs_gradient else None
        grad_matrix = torch.zeros_like(matrix, dtype=sum_dtype) if needs_gradient else None
        for start in range(0, len(targets), CHUNK):
            chunk, goal = rows[start : start + CHUNK], targets[start : start + CHUNK, None]
            counted = (goal != IGNORED).to(sum_dtype)
            goal = goal.clamp_min(0)
            log_p = F.log_softmax((chunk @ matrix.T).to(sum_dtype), dim=-1)
            total -= (log_p.gather(1, goal) * counted).sum()
            if grad_rows is None or grad_matrix is None:
                continue
            # d loss / d logits = softmax - one_hot
            grad_logits = log_p.exp_()
            grad_logits.scatter_add_(1, goal, torch.full_like(goal, -1, dtype=sum_dtype))
            grad_logits = grad_logits.mul_(counted).to(compute_dtype)
            torch.mm(grad_logits, matrix, out=grad_rows[start : start + CHUNK])
            grad_matrix += grad_logits.T @ chunk
        if needs_gradient:
            ctx.save_for_backward(grad_rows, grad_matrix)
        ctx.dtypes = (hidden.dtype, weight.dtype)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (upstream,) = grads
        grad_rows, grad_matrix = ctx.saved_tensors
        hidden_dtype, weight_dtype = ctx.dtypes
        return (
            (grad_rows * upstream).to(hidden_dtype),
            (grad_matrix * upstream).to(weight_dtype),
            None,
            None,
        )


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Summed cross-entropy of next-token logits, never holding more than a chunk of them.

    Args:
        hidden: (N, D) final hidden states.
        weight: (V, D) output embedding.
        targets: (N,) int64 classes; `IGNORED` ones count nothing.

    Returns:
        Scalar in fp32 (fp64 for fp64 input): sum over N of -log softmax(hidden @ weight.T)[target].
        Its gradient is in the inputs' dtypes; under autocast the products are in autocast's dtype.
    """
    device = hidden.device.type
    autocast = torch.is_autocast_enabled(device)
    compute_dtype = torch.get_autocast_dtype(device) if autocast else hidden.dtype
    with torch.autocast(device, enabled=False):
        total: Tensor = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
            hidden, weight, targets, compute_dtype
        )
        return total


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
    # Only rows with a target go through the output matrix: two thirds of a chat's tokens have none.
    flat = (batch.targets if targets is None else targets).reshape(-1)
    kept = (flat != IGNORED).nonzero().squeeze(1)
    trained = len(kept)
    padding = -trained % GRAIN
    targets = F.pad(flat.index_select(0, kept), (0, padding), value=IGNORED)
    rows = hidden.reshape(-1, hidden.shape[-1]).index_select(0, F.pad(kept, (0, padding)))
    loss = linear_cross_entropy(rows, model.output_weight, targets)
    return LossSum(loss=loss, weight=float(trained))
