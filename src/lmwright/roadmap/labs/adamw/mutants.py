"""Wrong steps of AdamW, each with the idea that it misses."""

import math

from torch import Tensor

from lmwright.roadmap.properties import Mutant


def _means(
    gradient: Tensor, first: Tensor, second: Tensor, betas: tuple[float, float], wrong: str
) -> tuple[Tensor, Tensor]:
    kept_first, kept_second = betas[::-1] if wrong == "betas swapped" else betas
    square = gradient.abs() if wrong == "size, not square" else gradient**2
    share_first = 1.0 if wrong == "sum" else 1 - kept_first
    if wrong == "new share":
        kept_first, kept_second = 1 - kept_first, 1 - kept_second
        share_first = 1 - kept_first
    first = kept_first * first + share_first * gradient
    return first, kept_second * second + (1 - kept_second) * square


def _update(
    first: Tensor,
    second: Tensor,
    step: int,
    betas: tuple[float, float],
    eps: float,
    wrong: str,
) -> Tensor:
    if wrong == "betas swapped":
        betas = betas[::-1]
    counted = step - 1 if wrong == "steps from 0" else step
    # By the step before it is 0 / 0 at first; a person who hits that begins at 1e-8.
    of_first = max(1 - betas[0] ** counted, 1e-8)
    of_second = max(1 - betas[1] ** counted, 1e-8)
    if wrong == "one correction":
        of_second = of_first
    if wrong in ("no correction", "second alone"):
        of_first = 1.0
    if wrong in ("no correction", "first alone"):
        of_second = 1.0
    mean = first / of_first
    if wrong == "eps under the root":
        return mean / (second / of_second + eps).sqrt()
    if wrong == "eps before correction":
        return mean * math.sqrt(of_second) / (second.sqrt() + eps)
    if wrong == "no root":
        return mean / (second / of_second + eps)
    if wrong == "no eps":
        return mean / (second / of_second).sqrt()
    if wrong == "no division":
        return mean
    return mean / ((second / of_second).sqrt() + eps)


def _mutant(wrong: str, says: str) -> Mutant:
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
        given = (first, second)
        if wrong == "coupled":
            gradient = gradient + weight_decay * parameter
        if wrong == "stale means":
            update = _update(first, second, step, betas, eps, wrong)
            first, second = _means(gradient, first, second, betas, wrong)
        else:
            first, second = _means(gradient, first, second, betas, wrong)
            update = _update(first, second, step, betas, eps, wrong)
        if wrong == "uphill":
            update = -update
        decay = weight_decay if wrong == "decay without lr" else lr * weight_decay
        if wrong in ("coupled", "no decay"):
            decay = 0.0
        if wrong == "decay afterwards":
            after = (parameter - lr * update) * (1 - decay)
        else:
            after = parameter * (1 - decay) - lr * update
        if wrong == "corrected kept":
            first, second = first / (1 - betas[0] ** step), second / (1 - betas[1] ** step)
        if wrong == "means forgotten":
            return after, *given
        if wrong == "float32 out":
            return after.float(), first.float(), second.float()
        return after, first, second

    return Mutant(says, adamw_step)


MUTANTS = (
    _mutant("uphill", "a step in the direction of the gradient: it must go against it"),
    _mutant("no correction", "Adam without bias correction"),
    _mutant("first alone", "Adam that corrects its first mean alone"),
    _mutant("second alone", "Adam that corrects its second mean alone"),
    _mutant(
        "one correction",
        "Adam that corrects both means by 1 - b1^t: the second has its own, 1 - b2^t",
    ),
    _mutant("steps from 0", "Adam that counts its steps from 0: the first is number 1"),
    _mutant("betas swapped", "Adam with its betas swapped"),
    _mutant("new share", "Adam whose betas are the share of what is new, not of what is kept"),
    _mutant("sum", "Adam whose first mean is a sum: the gradient comes in with 1 - b1"),
    _mutant("size, not square", "Adam whose second mean is of |g|, not of g^2"),
    _mutant("no root", "Adam that divides by the second mean, not by its root"),
    _mutant("no division", "momentum: the mean is not divided by the root of the second"),
    _mutant("no eps", "Adam without eps: an entry without gradient becomes 0 / 0"),
    _mutant("stale means", "Adam that steps by the means of the step before"),
    _mutant("corrected kept", "Adam that keeps the corrected means: they would be corrected twice"),
    _mutant(
        "means forgotten", "Adam that hands back the means that it was given, not the new ones"
    ),
    _mutant("eps under the root", "Adam with eps under the root"),
    _mutant(
        "eps before correction",
        "Adam that adds eps before the second mean is corrected, as the paper's shortcut does",
    ),
    _mutant(
        "coupled",
        "Adam with L2 in the gradient: the decay passes through the means; AdamW's does not",
    ),
    _mutant("no decay", "Adam without weight decay"),
    _mutant("decay without lr", "a decay that is not multiplied by lr"),
    _mutant("decay afterwards", "a decay of the parameter after the step: it is of the one before"),
    _mutant("float32 out", "a step that gives float32 whatever the parameter's dtype"),
)
