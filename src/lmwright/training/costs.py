"""What training any architecture costs: operations by its config, memory by measurement."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lmwright.models import accounting, classic_accounting
from lmwright.models.accounting import Precision
from lmwright.models.config import TransformerConfig
from lmwright.models.foreign import Foreign
from lmwright.training.objectives.loss import Batch, Objective

SAMPLE = 4
"""Rows that memory is measured on."""


@dataclass(frozen=True)
class Costs:
    """What planning and logging ask for.

    Args:
        flops_per_token: of training, matrix products alone.
        memory_bytes: for (rows at once, precision).
    """

    flops_per_token: float
    memory_bytes: Callable[[int, Precision], int]


def of_transformer(config: TransformerConfig, row_length: int, optimizer: Any) -> Costs:
    """The costs of training a language model on rows of one length, from its config alone.

    Args:
        config: of the model.
        row_length: T.
        optimizer: its name.
    """
    context = min(config.max_position_embeddings, row_length)
    return Costs(
        flops_per_token=accounting.flops_per_token(config, context, training=True),
        memory_bytes=lambda rows, precision: accounting.training_memory_bytes(
            config, rows, row_length, precision, optimizer
        ),
    )


def measured(model: nn.Module, objective: Objective, batch: Any, optimizer: str) -> Costs:
    """The costs of training a model, whatever it is made of.

    Memory: weights, gradients and the optimiser's state in fp32, and what autograd keeps of a few
    rows of `batch`, which grows with the rows.

    Args:
        model: in fp32; not changed.
        objective: its loss is what is run.
        batch: of the longest usual rows.
        optimizer: its name.
    """
    weights = sum(p.numel() for p in model.parameters())
    held = weights * 4 * (2 + accounting.OPTIMIZER_STATES[optimizer])
    rows = batch.slice(max(0, len(batch) - SAMPLE), len(batch))  # the longest, where sorted
    kept = _kept_bytes(model, objective, rows) / len(rows)
    length = rows.input_ids.shape[1]
    written = getattr(rows, "decoder_input_ids", None)
    if isinstance(model, Foreign):
        flops = model.training_flops_per_token
    else:
        flops = flops_per_token(model.config, length, 0 if written is None else written.shape[1])
    return Costs(
        flops_per_token=flops,
        # bf16 keeps at most as much, and copies of the weights besides.
        memory_bytes=lambda rows, precision: int(
            held + kept * rows + (2 * weights if precision == "bfloat16" else 0)
        ),
    )


def flops_per_token(config: Any, length: int, target_length: int = 0) -> float:
    """Operations of training for one token of rows like these.

    Args:
        config: of a transformer, or of one of the models before attention.
        length: tokens of a row.
        target_length: tokens that an encoder-decoder writes.
    """
    if isinstance(config, TransformerConfig):
        return accounting.flops_per_token(config, length, training=True)
    return classic_accounting.flops_per_token(
        config, length, training=True, target_length=target_length
    )


def _kept_bytes(model: nn.Module, objective: Objective, rows: Batch) -> int:
    """Bytes that a forward pass keeps for its backward pass, the weights left out."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    # Dropout draws: what follows must not depend on having measured.
    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with torch.random.fork_rng(), hooks:
        objective.loss(model, rows)
    return sum(kept.values())
