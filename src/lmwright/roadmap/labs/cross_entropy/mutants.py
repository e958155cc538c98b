"""Wrong cross-entropies, each with the idea that it misses."""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lmwright.roadmap.properties import Mutant
from lmwright.training.objectives.loss import CHUNK, IGNORED


def _row_losses(
    logits: Tensor, targets: Tensor, smoothing: float, soft_cap: float | None, wrong: str
) -> Tensor:
    """(N,) losses, 0 where a row is ignored."""
    counted = targets != IGNORED
    goal = targets.clamp_min(0)[:, None]
    if soft_cap is not None and wrong != "no cap":
        bent = torch.tanh(logits / soft_cap)
        if wrong == "straight through":
            bent = bent.detach() + (logits - logits.detach()) / soft_cap
        logits = bent if wrong == "cap only bends" else soft_cap * bent
    if wrong == "naive":
        log_total = logits.exp().sum(1, keepdim=True).log()
    else:
        log_total = logits.logsumexp(1, keepdim=True)
    chosen = logits.gather(1, goal)
    if wrong == "softmax alone":
        chosen = chosen.detach()
    losses = (log_total - chosen).squeeze(1)
    if smoothing and wrong != "no smoothing":
        classes = logits.shape[1]
        others = (log_total - logits).mean(1)
        if wrong == "smoothing among others":
            others = (others * classes - losses) / (classes - 1)
        losses = (1 - smoothing) * losses + smoothing * others
    if wrong == "counts ignored":
        return losses
    zero = losses - losses.detach() if wrong == "ignored rows learn" else losses.new_zeros(())
    return torch.where(counted, losses, zero)


def _loss(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None,
    label_smoothing: float,
    soft_cap: float | None,
    wrong: str,
) -> Tensor:
    """The loss in pieces, wrong in one place."""

    def piece(start: int, stop: int) -> Tensor:
        matrix = weight.detach() if wrong == "last piece alone" and stop < rows else weight
        logits = (hidden[start:stop] @ matrix.T).float()
        if bias is not None and wrong != "no bias":
            logits = logits + (bias.detach() if wrong == "bias never learns" else bias)
        goal = targets[start:stop]
        return _row_losses(logits, goal, label_smoothing, soft_cap, wrong).sum()

    rows = len(targets)
    size = rows if wrong == "all at once" else CHUNK
    whole = rows - rows % size if wrong == "whole pieces" and rows > size else rows
    total = torch.zeros(())
    for start in range(0, whole, size):
        stop = min(start + size, rows)
        # One of several pieces' logits are formed again in the backward pass. Where there is only
        # one that saves nothing, and its first use loads torch's compiler: two seconds.
        total = total + (
            piece(start, stop)
            if wrong == "all at once" or rows <= size
            else checkpoint(piece, start, stop, use_reentrant=False)
        )
    if wrong == "mean":
        total = total / (targets != IGNORED).sum()
    if wrong == "bits":
        total = total / torch.log(torch.tensor(2.0))
    return total.to(hidden.dtype) if wrong == "dtype" else total


class _Unscaled(torch.autograd.Function):
    """Hands on a gradient of 1 whatever comes from above."""

    @staticmethod
    def forward(ctx: object, total: Tensor) -> Tensor:
        return total.clone()

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> Tensor:
        return torch.ones_like(grads[0])


def _mutant(wrong: str, says: str) -> Mutant:
    def linear_cross_entropy(
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        bias: Tensor | None = None,
        *,
        label_smoothing: float = 0.0,
        soft_cap: float | None = None,
    ) -> Tensor:
        total = _loss(hidden, weight, targets, bias, label_smoothing, soft_cap, wrong)
        if wrong != "unscaled":
            return total
        unscaled: Tensor = _Unscaled.apply(total)  # type: ignore[no-untyped-call]
        return unscaled

    return Mutant(says, linear_cross_entropy)


MUTANTS = (
    _mutant("mean", "the mean over the rows that count, where the sum is asked for"),
    _mutant("bits", "cross-entropy in bits: the logarithm is the natural one"),
    _mutant("counts ignored", "a loss in which rows with target -100 count as class 0"),
    _mutant("no bias", "a loss that leaves the bias out"),
    _mutant(
        "naive",
        "a loss whose exponentials overflow: take each row's largest logit away first",
    ),
    _mutant(
        "softmax alone",
        "a loss whose gradient by the logits is the softmax, without the 1 taken away at the "
        "target",
    ),
    _mutant(
        "ignored rows learn",
        "a loss in which ignored rows have a gradient, though they add no loss",
    ),
    _mutant("bias never learns", "a loss from which no gradient reaches the bias"),
    _mutant(
        "unscaled",
        "a loss whose own backward pass does not multiply by the gradient that comes from above",
    ),
    _mutant("whole pieces", "a loss that forgets the rows behind the last whole piece"),
    _mutant(
        "last piece alone",
        "a loss in which only the last piece's gradient reaches the weight; they must add up",
    ),
    _mutant("no smoothing", "a loss without label smoothing"),
    _mutant(
        "smoothing among others",
        "a loss in which the other V - 1 classes divide the smoothed share; the target has a part "
        "too",
    ),
    _mutant("no cap", "a loss without the soft cap"),
    _mutant("cap only bends", "a soft cap without the factor c in front of tanh"),
    _mutant("straight through", "a soft cap whose own slope is missing from the gradient"),
    _mutant("dtype", "a loss in the inputs' dtype: it is summed and given in float32"),
    _mutant("all at once", "a loss that forms the logits of all rows at once"),
)
