"""What a training step will need, said before it runs; torch-free."""

from lmwright.models import accounting, classic_accounting
from lmwright.models.config import TransformerConfig
from lmwright.pipeline.step import Estimate
from lmwright.training.commands import ShapeConfig, TaskConfig
from lmwright.training.shape import USUAL_VOCABULARY, transformer_config
from lmwright.training.task_shapes import USUAL_LENGTH, model_config, usual_needs

USUAL_ROW = 256
"""Tokens in a row, as the packing steps cut them by default."""

PROCESS_BYTES = 1_000_000_000
"""PyTorch, its compiler and kernels, and the data in memory: on the quickstart 1.5 GB at the peak
of pretraining, 0.53 GB of them the model's tensors."""


def pretrain(config: ShapeConfig) -> Estimate:
    """Memory and size of the model that a training step starts from nothing."""
    shape = transformer_config(config, USUAL_VOCABULARY)
    rows = config.micro_rows or max(1, config.batch_tokens // USUAL_ROW)
    needed = accounting.training_memory_bytes(shape, rows, USUAL_ROW, "float32", config.optimizer)
    total = accounting.parameters(shape)["total"]
    flops = accounting.flops_per_token(shape, USUAL_ROW, training=True)
    return Estimate(
        bytes=PROCESS_BYTES + needed,
        text=(
            f"{total / 1e6:.1f} M parameters with {USUAL_VOCABULARY:,} tokens in the vocabulary, "
            f"{config.batch_tokens:,} tokens, {flops * config.batch_tokens / 1e9:.0f} GFLOP a step"
        ),
    )


def task(config: TaskConfig) -> Estimate:
    """Memory and size of the model that a labelled task starts from nothing."""
    shape = model_config(config.kind_of_model(), config.shape, usual_needs(config.TASK))
    if isinstance(shape, TransformerConfig):
        total = accounting.parameters(shape)["total"]
        flops = accounting.flops_per_token(shape, USUAL_LENGTH, training=True)
    else:
        total = classic_accounting.parameters(shape)["total"]
        half = USUAL_LENGTH // 2 if config.TASK == "translation" else 0
        flops = classic_accounting.flops_per_token(
            shape, USUAL_LENGTH - half, training=True, target_length=half
        )
    return Estimate(
        # Weights, gradients and AdamW's two averages; what a batch keeps is small beside torch.
        bytes=PROCESS_BYTES + 16 * total,
        text=(
            f"{total / 1e6:.1f} M parameters with {shape.vocab_size:,} tokens in the vocabulary, "
            f"{config.batch_tokens:,} tokens, {flops * config.batch_tokens / 1e9:.1f} GFLOP a step"
        ),
    )
