"""The optimisers by name, and which of a model's weights each takes and decays."""

from typing import Any

import torch
from torch import nn

from lmwright.core import parts
from lmwright.models.layers.experts import Experts
from lmwright.training import adamw
from lmwright.training.adafactor import Adafactor
from lmwright.training.commands import OptimizerName
from lmwright.training.lion import Lion
from lmwright.training.muon import Muon


class Optimizers:
    """The optimisers of one run, stepped together; the schedule scales their learning rates."""

    def __init__(self, members: list[torch.optim.Optimizer]) -> None:
        self.members = members
        for member in members:
            for group in member.param_groups:
                group["base_lr"] = group["lr"]

    def set_factor(self, factor: float) -> None:
        """Multiply every group's own learning rate by the schedule's `factor`."""
        for member in self.members:
            for group in member.param_groups:
                group["lr"] = group["base_lr"] * factor

    def step(self) -> None:
        """One update of everything."""
        for member in self.members:
            member.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for member in self.members:
            member.zero_grad(set_to_none=True)


def matrices_and_rest(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Split trainable parameters into weights of linear layers, which Muon suits, and the rest.

    The experts of a layer are one stack of such weights. Embeddings (also as a tied or untied
    output layer), norms and biases are the rest: their rows or entries are separate things that
    want separate step sizes.
    """
    stacks = {id(p) for m in module.modules() if isinstance(m, Experts) for p in m.parameters()}
    embeddings = set[int]()
    for part in module.modules():
        if isinstance(part, nn.Embedding):
            embeddings.add(id(part.weight))
        elif (output := getattr(part, "output_weight", None)) is not None:
            embeddings.add(id(output))
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for parameter in module.parameters():
        if parameter.requires_grad:
            shaped = parameter.ndim == 2 or (parameter.ndim == 3 and id(parameter) in stacks)
            is_matrix = shaped and id(parameter) not in embeddings
            (matrices if is_matrix else rest).append(parameter)
    return matrices, rest


def build(
    model: nn.Module,
    extra: nn.Module | None,
    *,
    name: OptimizerName,
    learning_rate: float,
    matrix_learning_rate: float,
    weight_decay: float,
    matrix_dtype: torch.dtype = torch.float32,
    momentum: float | None = None,
    nesterov: bool = False,
    betas: tuple[float, float] | None = None,
) -> Optimizers:
    """The optimisers for `model` and an objective's own module.

    Args:
        model: what is trained.
        extra: an objective's own module, or None.
        name: "muon" goes with AdamW for what is no matrix; every other takes all.
        learning_rate: of all but Muon.
        matrix_learning_rate: Muon's.
        weight_decay: on matrices and embeddings, never on norms and biases.
        matrix_dtype: of Muon's products.
        momentum: of sgd (None: 0.9), rmsprop (None: 0), muon (None: 0.95).
        nesterov: of sgd.
        betas: of adam, adamw, and muon's AdamW (None: 0.9, 0.95), of lion (None: 0.9, 0.99).
    """
    matrices, rest = matrices_and_rest(model)
    if extra is not None:
        rest += [p for p in extra.parameters() if p.requires_grad]
    members: list[torch.optim.Optimizer] = []
    if name == "muon" and matrices:
        members.append(
            Muon(
                matrices,
                matrix_learning_rate,
                0.95 if momentum is None else momentum,
                weight_decay=weight_decay,
                dtype=matrix_dtype,
            )
        )
    else:
        rest = matrices + rest
    groups = decay_groups(rest, weight_decay)
    if groups:
        members.append(_one(name, groups, learning_rate, momentum, nesterov, betas))
    return Optimizers(members)


def decay_groups(parameters: list[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Matrices and embeddings with decay, then norms, biases and other vectors without."""
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _one(
    name: OptimizerName,
    groups: list[dict[str, Any]],
    lr: float,
    momentum: float | None,
    nesterov: bool,
    betas: tuple[float, float] | None,
) -> torch.optim.Optimizer:
    """The optimiser called `name`; AdamW beside Muon."""
    if name == "sgd":
        speed = 0.9 if momentum is None else momentum
        return torch.optim.SGD(groups, lr, momentum=speed, nesterov=nesterov, fused=True)
    if name == "rmsprop":
        return torch.optim.RMSprop(groups, lr, momentum=momentum or 0.0, foreach=True)
    if name == "adafactor":
        return Adafactor(groups, lr)
    if name == "lion":
        return Lion(groups, lr, betas or (0.9, 0.99))
    # Second moments of language models go stale: 0.95 in place of 0.999 (Brown et al. 2020, B).
    pair = betas or (0.9, 0.95)
    if name != "adam" and parts.in_use("lmwright.training.adamw:adamw_step"):
        return adamw.AdamW(groups, lr, pair)
    adam = torch.optim.Adam if name == "adam" else torch.optim.AdamW
    return adam(groups, lr=lr, betas=pair, fused=True)
