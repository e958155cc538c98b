"""Wrong dropouts and batch norms, each with the idea that it misses."""

import torch
from torch import Tensor

from lmwright.core.errors import LmwrightError
from lmwright.roadmap.properties import Mutant


def _drop(x: Tensor, uniforms: Tensor | None, share: float, wrong: str) -> Tensor:
    """Dropout, wrong in one place."""
    if uniforms is None:
        return x * (1 - share) if wrong == "scaled in use" else x
    if wrong == "whole rows":
        uniforms = uniforms.reshape(len(uniforms), -1)[:, :1].expand(len(uniforms), x[0].numel())
        uniforms = uniforms.reshape(x.shape)
    if wrong == "share kept":
        share = 1 - share
    kept = uniforms >= share
    if wrong == "the others":
        kept = ~kept
    factor = 1.0 if wrong in ("not scaled", "scaled in use") else 1 / (1 - share)
    if wrong == "shrunk":
        factor = 1 - share
    if wrong == "over share":
        factor = 1 / max(share, 1e-6)
    result = torch.where(kept, x * factor, 0.0)
    if wrong == "straight through":
        return result.detach() + (x - x.detach())
    if wrong == "gradient not scaled":
        through = torch.where(kept, x, 0.0)
        return result.detach() + (through - through.detach())
    return result


def _normalize(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    eps: float,
    wrong: str,
) -> Tensor:
    if wrong == "no eps":
        root = variance.sqrt()
    elif wrong == "eps outside":
        root = variance.sqrt() + eps
    elif wrong == "no root":
        root = variance + eps
    else:
        root = (variance + eps).sqrt()
    y = (x - mean) / root
    if wrong == "bias first":
        return (y + bias) * weight
    return y if wrong == "nothing learnt" else y * weight + bias


def _statistics(rows: Tensor, wrong: str) -> tuple[Tensor, Tensor]:
    if wrong == "over features":
        mean, variance = rows.mean(1), rows.var(1, correction=0)
        # Anything of the right shape: over the wrong dimension there are N of them, not C.
        return mean.mean().expand(rows.shape[1]), variance.mean().expand(rows.shape[1])
    variance = rows.var(0, correction=1 if wrong == "N - 1 here" else 0)
    return rows.mean(0), variance


def _norm(
    x: Tensor,
    given: tuple[Tensor, Tensor, Tensor, Tensor],
    momentum: float,
    eps: float,
    training: bool,
    wrong: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch normalisation, wrong in one place."""
    weight, bias, running_mean, running_var = given
    rows = x if wrong == "half statistics" else x.float()
    old = running_mean, running_var
    if training and len(x) < 2 and wrong != "one row":
        raise LmwrightError("one row")
    if training or wrong in ("batch in use", "moves in use"):
        mean, variance = _statistics(rows, wrong)
        if wrong == "no graph":
            mean, variance = mean.detach(), variance.detach()
        if training or wrong == "moves in use":
            unbiased = variance * (len(x) / max(1, len(x) - 1))
            if wrong in ("N remembered", "N - 1 here"):
                unbiased = variance
            share = 1 - momentum if wrong == "momentum turned" else momentum
            new = (mean, variance.sqrt() if wrong == "deviation" else unbiased)
            pairs = zip(old, new, strict=True)
            running_mean, running_var = ((1 - share) * o + share * n for o, n in pairs)
            if wrong != "attached":
                running_mean, running_var = running_mean.detach(), running_var.detach()
            if wrong == "never moves":
                running_mean, running_var = old
    if not training and wrong != "batch in use":
        mean, variance = old
    if wrong == "running in training":
        mean, variance = running_mean, running_var
    y = _normalize(rows, weight, bias, mean, variance, eps, wrong)
    return (y if wrong == "float32 out" else y.to(x.dtype)), running_mean, running_var


def _mutant(wrong: str, says: str) -> Mutant:
    class Regularizer:
        def __init__(self, *, share: float = 0.0, momentum: float = 0.1, eps: float = 1e-5) -> None:
            self.share, self.momentum, self.eps = share, momentum, eps

        def dropout(self, x: Tensor, uniforms: Tensor | None) -> Tensor:
            return _drop(x, uniforms, self.share, wrong)

        def batch_norm(
            self,
            x: Tensor,
            weight: Tensor,
            bias: Tensor,
            running_mean: Tensor,
            running_var: Tensor,
            *,
            training: bool,
        ) -> tuple[Tensor, Tensor, Tensor]:
            given = (weight, bias, running_mean, running_var)
            return _norm(x, given, self.momentum, self.eps, training, wrong)

    return Mutant(says, Regularizer)


MUTANTS = (
    _mutant("not scaled", "dropout that does not scale what it keeps"),
    _mutant(
        "scaled in use",
        "the first paper's dropout, which scales in use; the inverted one does so in training "
        "alone",
    ),
    _mutant("shrunk", "dropout that multiplies by 1 - share where it must divide"),
    _mutant("over share", "dropout that divides by the share, not by what is kept, 1 - share"),
    _mutant("share kept", "dropout that keeps the share instead of dropping it"),
    _mutant("the others", "dropout that zeroes what it must keep"),
    _mutant("whole rows", "dropout that drops whole rows by their first number"),
    _mutant(
        "straight through",
        "dropout whose gradient does not pass through the same mask as the values",
    ),
    _mutant("gradient not scaled", "dropout whose gradient is masked, but not scaled"),
    _mutant("over features", "statistics over each row's features, not over each column's rows"),
    _mutant("no eps", "batch norm without eps"),
    _mutant("eps outside", "batch norm with eps outside the root"),
    _mutant("no root", "batch norm that divides by the variance, not by its root"),
    _mutant("nothing learnt", "batch norm without weight and bias"),
    _mutant("bias first", "batch norm that adds the bias before it multiplies by the weight"),
    _mutant(
        "N - 1 here", "batch norm that normalises by the variance over N - 1: that is for memory"
    ),
    _mutant(
        "running in training", "batch norm that normalises by the running statistics in training"
    ),
    _mutant("N remembered", "batch norm that remembers the variance over N, not over N - 1"),
    _mutant("deviation", "batch norm that remembers the standard deviation, not the variance"),
    _mutant("momentum turned", "batch norm whose momentum is the share of the old, not of the new"),
    _mutant("never moves", "batch norm whose running statistics never move"),
    _mutant("batch in use", "batch norm that normalises by the batch's own statistics in use"),
    _mutant("moves in use", "batch norm whose running statistics move in use"),
    _mutant("one row", "batch norm that trains on a single row"),
    _mutant("no graph", "batch norm that takes the batch's mean and variance for constants"),
    _mutant("attached", "running statistics that keep the graph of their batches"),
    _mutant("half statistics", "batch norm whose statistics are in bfloat16"),
    _mutant("float32 out", "batch norm that gives float32 for bfloat16"),
)
