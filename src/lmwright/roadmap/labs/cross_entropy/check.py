"""What a cross-entropy in pieces must do, in the order in which it is learnt."""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from lmwright.roadmap.draw import Draw
from lmwright.roadmap.properties import Case, Property, Subject, Twist, call, gradients
from lmwright.roadmap.values import copied
from lmwright.training.objectives.loss import IGNORED, linear_cross_entropy

MEMORY_ROWS, MEMORY_CLASSES = 32_768, 32
MEMORY_SHARE = 0.35
"""Of the N x V numbers of all logits, what may be alive at once. Production: 0.26."""


def operands(draw: Draw, rows: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """hidden (N, D), weight (V, D), targets (N,); logits are about standard normal."""
    rows = rows or draw.size(4, 30)
    width, classes = draw.size(2, 8), draw.size(3, 12)
    hidden = draw.normal(rows, width)
    weight = draw.normal(classes, width) * width**-0.5
    return hidden, weight, draw.integers(0, classes - 1, rows)


def some_ignored(draw: Draw, targets: Tensor) -> Tensor:
    """Three targets of ten at -100, never the first two."""
    hidden = draw.booleans(0.3, len(targets))
    hidden[:2], hidden[-1] = False, True
    return torch.where(hidden, IGNORED, targets)


def plain(draw: Draw) -> Case:
    return Case(operands(draw))


def single(draw: Draw) -> Case:
    hidden, weight, _ = operands(draw, rows=1)
    return Case((hidden, weight, (hidden @ weight.T).argmin(1)), note="a single row")


def ignored(draw: Draw) -> Case:
    hidden, weight, targets = operands(draw)
    return Case((hidden, weight, some_ignored(draw, targets)), note="targets of -100")


def all_ignored(draw: Draw) -> Case:
    hidden, weight, targets = operands(draw)
    return Case((hidden, weight, torch.full_like(targets, IGNORED)), note="nothing is trained")


def biased(draw: Draw) -> Case:
    hidden, weight, targets = operands(draw)
    return Case((hidden, weight, targets, 2 * draw.normal(len(weight))))


def large(draw: Draw) -> Case:
    hidden, weight, _ = operands(draw)
    targets = (hidden @ weight.T).argmin(1)
    return Case((hidden * 1e4, weight, targets), note="logits of some ten thousand")


def learnt(draw: Draw) -> Case:
    hidden, weight, targets = operands(draw)
    bias = draw.normal(len(weight))
    return Case((hidden, weight, some_ignored(draw, targets), bias), tolerance=1e-4)


def many(draw: Draw) -> Case:
    hidden, weight, targets = operands(draw, rows=draw.size(1_030, 2_300))
    return Case((hidden, weight, some_ignored(draw, targets), draw.normal(len(weight))))


def smoothed(draw: Draw) -> Case:
    case = learnt(draw)
    return replace(case, kwargs={"label_smoothing": draw.uniform(0.05, 0.5)})


def capped(draw: Draw) -> Case:
    hidden, weight, targets, bias = learnt(draw).args
    smoothing = draw.choice([0.0, 0.0, draw.uniform(0.1, 0.3)])
    kwargs = {"soft_cap": draw.uniform(1.0, 4.0), "label_smoothing": smoothing}
    return Case((3 * hidden, weight, targets, bias), kwargs, tolerance=1e-4)


def halves(draw: Draw) -> Case:
    hidden, weight, targets = operands(draw)
    return Case((hidden.bfloat16(), weight.bfloat16(), targets), tolerance=0.1)


def enormous(draw: Draw) -> Case:
    hidden, weight = draw.normal(MEMORY_ROWS, 2), draw.normal(MEMORY_CLASSES, 2)
    targets = draw.integers(0, MEMORY_CLASSES - 1, MEMORY_ROWS)
    return Case((hidden, weight, targets), note="32,768 rows, 32 classes")


def value_and_gradients(subject: Subject, case: Case) -> Any:
    """The loss and its gradient by every argument that has one."""
    return call(subject, case), gradients(subject, case)


def frozen(subject: Subject, case: Case) -> Any:
    """The gradient by hidden where nothing else is trained, as with adapters."""
    hidden, *others = case.args
    return gradients(lambda hidden: subject(hidden, *copied(others)), Case((hidden,)))


def in_inference(subject: Subject, case: Case) -> Any:
    """The loss where nothing is recorded for a backward pass."""
    with torch.inference_mode():
        return subject(*copied(case.args), **copied(dict(case.kwargs)))


class _Living(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the numbers that are alive at once among all that are made inside."""

    def __init__(self, given: list[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = 0
        self._living: Any = WeakIdKeyDictionary()
        self._given: Any = WeakIdKeyDictionary({t.untyped_storage(): True for t in given})

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or the first call imports the compiler, for a second and a half

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage not in self._given:
                    self._living[storage] = storage.nbytes() // 4
        self.most = max(self.most, sum(self._living.values()))
        return result


def stays_small(subject: Subject, case: Case) -> Any:
    """The loss, and whether forward and backward keep less alive than the logits of all rows."""
    hidden, weight, targets = copied(case.args)
    hidden.requires_grad_(True)
    weight.requires_grad_(True)
    with torch.enable_grad(), _Living([hidden, weight, targets]) as living:
        loss = subject(hidden, weight, targets)
        torch.autograd.grad(loss, (hidden, weight))
    return loss.detach(), living.most <= MEMORY_SHARE * MEMORY_ROWS * MEMORY_CLASSES


def told(found: Any, case: Case) -> str | None:
    share = f"{MEMORY_SHARE:.0%} of the N x V numbers of all logits were alive at once"
    return None if found[1] else f"more than {share}: take 1,024 rows at a time"


PROPERTIES = (
    Property(
        "the loss is the sum over rows of -log softmax(hidden @ weight.T)[target]",
        plain,
        edges={"single row": single},
    ),
    Property("targets of -100 count nothing", ignored, edges={"all ignored": all_ignored}),
    Property("a bias is added to the logits", biased, observe=in_inference),
    Property("large logits overflow nothing", large),
    Property(
        "gradients reach hidden, weight and bias; ignored rows get none",
        learnt,
        observe=value_and_gradients,
    ),
    Property("the output layer may be frozen", learnt, cases=10, observe=frozen, tolerance=1e-4),
    Property(
        "pieces add up, the last and shorter one too",
        many,
        cases=8,
        observe=value_and_gradients,
        tolerance=1e-4,
    ),
    Property(
        "label smoothing: all V classes divide that share of the target's probability",
        smoothed,
        observe=value_and_gradients,
    ),
    Property(
        "a soft cap c bends each logit, bias included, to c * tanh(logit / c)",
        capped,
        observe=value_and_gradients,
    ),
    Property(
        "bfloat16 in: the loss in float32, gradients in bfloat16",
        halves,
        observe=value_and_gradients,
    ),
    Property(
        "never more than a small part of all logits exists at once",
        enormous,
        cases=2,
        observe=stays_small,
        holds=told,
        compare=False,
    ),
)


def with_z_loss(hidden: Tensor, weight: Tensor, targets: Tensor, share: float) -> Tensor:
    logits = (hidden @ weight.T).float()
    squares = logits.logsumexp(1).square()[targets != IGNORED].sum()
    return linear_cross_entropy(hidden, weight, targets) + share * squares


def weighted(hidden: Tensor, weight: Tensor, targets: Tensor, importance: Tensor) -> Tensor:
    logits = (hidden @ weight.T).float()
    losses = F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="none")
    return (losses * importance).sum()


def focal(hidden: Tensor, weight: Tensor, targets: Tensor, gamma: float) -> Tensor:
    logits = (hidden @ weight.T).float()
    losses = F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="none")
    return ((1 - torch.exp(-losses)) ** gamma * losses).sum()


def _with(draw: Draw, more: object) -> Case:
    case = ignored(draw)
    return replace(case, args=(*case.args, more), tolerance=1e-4)


TWISTS = {
    "z_loss": Twist(
        "linear_cross_entropy_with_z",
        "`linear_cross_entropy_with_z(hidden, weight, targets, share)`: to the loss, `share` (a "
        "float) times the square of each counted row's log-sum-exp of logits is added, so that the "
        "logits stay near probabilities (PaLM's z-loss).",
        with_z_loss,
        (
            Property(
                "each counted row adds share * logsumexp(logits)^2",
                lambda draw: _with(draw, draw.uniform(0.1, 1.0)),
                observe=value_and_gradients,
            ),
        ),
    ),
    "importance": Twist(
        "weighted_linear_cross_entropy",
        "`weighted_linear_cross_entropy(hidden, weight, targets, importance)`: the loss of row n "
        "counts `importance[n]` times, (N,) positive float32.",
        weighted,
        (
            Property(
                "every row counts as much as its importance",
                lambda draw: _weighed(draw),
                observe=value_and_gradients,
            ),
        ),
    ),
    "focal": Twist(
        "focal_linear_cross_entropy",
        "`focal_linear_cross_entropy(hidden, weight, targets, gamma)`: the loss of a row whose "
        "target has probability p counts (1 - p)^gamma times, `gamma` a float >= 0: what is known "
        "already teaches less (Lin et al. 2017, equation 4).",
        focal,
        (
            Property(
                "a row's loss counts (1 - p)^gamma times",
                lambda draw: _with(draw, draw.uniform(0.5, 3.0)),
            ),
        ),
    ),
}


def _weighed(draw: Draw) -> Case:
    case = ignored(draw)
    importance = 0.2 + draw.uniforms(len(case.args[0]))
    return replace(case, args=(*case.args, importance), tolerance=1e-4)
